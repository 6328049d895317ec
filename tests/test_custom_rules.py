"""Functions with a derivative of their own, under every transformation: what comes out is what the rule says.

All of them compute exp and say that its slope is three times that, so a transformation that looks at the ops inside is
seen.  Where the rule uses a value that was computed by such a function, its slope is the rule's, too.
"""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.function import once_differentiable
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


class Exp(gg.Function):
    @staticmethod
    def forward(ctx, x):
        y = gg.exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        assert ctx.needs_input_grad == (True,)
        return 3.0 * g * ctx.saved_tensors[0]


class Again(gg.Function):
    @staticmethod
    def forward(x):
        return gg.exp(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 3.0 * g * Again.apply(*ctx.saved_tensors)


@gg.custom_gradient
def enclosed(x):
    y = gg.exp(x)
    return y, lambda g: 3.0 * g * y


@gg.custom_gradient
def nested(x):
    return gg.exp(x), lambda g: 3.0 * g * nested(x)


@gg.custom_gradient
def within(x):  # a custom gradient inside another
    return enclosed(x), lambda g: 3.0 * g * nested(x)


@gg.custom_vjp
def own_vjp(x):
    return gg.exp(x)


own_vjp.defvjp(lambda x: (own_vjp(x), x), lambda x, g: (3.0 * g * own_vjp(x),))


@gg.custom_vjp
def kept_vjp(x):
    return gg.exp(x)


def kept_fwd(x):
    y = gg.exp(x)
    return y, y


kept_vjp.defvjp(kept_fwd, lambda y, g: (3.0 * g * y,))


@gg.custom_jvp
def own_jvp(x):
    return gg.exp(x)


@own_jvp.defjvp
def rule(primals, tangents):
    y = own_jvp(*primals)
    return y, 3.0 * tangents[0] * y


@gg.custom_jvp
def own_jvps(x):
    return gg.exp(x)


own_jvps.defjvps(lambda t, y, x: 3.0 * t * y)


@gg.op(x=lambda g, out: 3.0 * g * out)
def own_op(xp, x):
    return xp.exp(x)


@gg.op
def unruled(xp, x):
    return xp.exp(x)


gg.register_gradient("unruled", lambda op, g: 3.0 * g * unruled(op.inputs[0]))
straight = gg.grad_pass_through(gg.round)
again = gg.recompute_grad(lambda x: nested(x) * 1.0)

exp = np.exp
RULED = (exp, lambda x: 3 * exp(x), lambda x: 9 * exp(x), lambda x: 27 * exp(x))
TRUE_WITHIN = (exp, *[lambda x: 3 * exp(x)] * 3)
CASES = {
    "Function": (Exp.apply, RULED),
    "Function of its inputs": (Again.apply, RULED),
    "custom_gradient, its value": (enclosed, TRUE_WITHIN),
    "custom_gradient, itself": (nested, RULED),
    "custom_gradient in another": (within, RULED),
    "custom_vjp, itself": (own_vjp, RULED),
    "custom_vjp, its value": (kept_vjp, TRUE_WITHIN),
    "custom_jvp": (own_jvp, RULED),
    "defjvps": (own_jvps, RULED),
    "op": (own_op, RULED),
    "register_gradient": (unruled, RULED),
    "recompute_grad": (again, RULED),
    "recompute_grad of a Function": (gg.recompute_grad(Exp.apply), RULED),
    "grad_pass_through": (straight, (np.round, np.ones_like, np.zeros_like, np.zeros_like)),
}
X = np.linspace(-1.3, 1.2, 6).reshape(3, 2)
V = np.array([0.7, -1.1])


def tape_around(f):
    def call(x):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = gg.sum(f(x))
        return tape.gradient(y, x)

    return call


def by_backward(f):
    def call(x):
        x = gg.tensor(x.array, requires_grad=True)
        gg.sum(f(x)).backward()
        return x.grad

    return call


def summed(f):
    return lambda x: gg.sum(f(x))


def along(f):
    """The derivative of f in the direction V."""
    return lambda x: gg.jvp(f, (x,), (gg.broadcast_to(gg.tensor(V), x.shape),))[1]


grad, vmap, hessian = gg.grad, gg.vmap, gg.hessian
# Of f, a function of one example that answers a scalar: what it makes of all examples, and the derivative's order.
TRANSFORMS = {
    "value": (lambda f: vmap(f), 0),
    "vmap(grad)": (lambda f: vmap(grad(f)), 1),
    "grad(vmap)": (lambda f: grad(summed(vmap(f))), 1),
    "tape around vmap": (lambda f: tape_around(vmap(f)), 1),
    "backward through vmap": (lambda f: by_backward(vmap(f)), 1),
    "nested vmap": (lambda f: grad(summed(lambda x: vmap(lambda r: gg.sum(vmap(lambda e: f(e[None]))(r)))(x))), 1),
    "grad(grad(vmap))": (lambda f: grad(summed(grad(summed(vmap(f))))), 2),
    "grad(vmap(grad))": (lambda f: grad(summed(vmap(grad(f)))), 2),
    "vmap(grad(grad))": (lambda f: vmap(grad(summed(grad(f)))), 2),
    "third, all around": (lambda f: grad(summed(grad(summed(grad(summed(vmap(f))))))), 3),
    "third, two inside": (lambda f: grad(summed(vmap(grad(summed(grad(f)))))), 3),
    "vmap(jvp)": (lambda f: vmap(along(f)), "v"),
    "jvp(vmap)": (lambda f: along(vmap(f)), "v"),
    "grad(vmap(jvp))": (lambda f: grad(summed(vmap(along(f)))), "hv"),
    "grad(jvp(vmap))": (lambda f: grad(summed(along(vmap(f)))), "hv"),
    "jvp(vmap(grad))": (lambda f: along(vmap(grad(f))), "hv"),
    "vmap(jvp(grad))": (lambda f: vmap(along(grad(f))), "hv"),
    "jvp(grad(vmap))": (lambda f: along(grad(summed(vmap(f)))), "hv"),
    "jvp(jvp(vmap))": (lambda f: along(along(vmap(f))), "vhv"),
    "vmap(hessian)": (lambda f: vmap(hessian(f)), "h"),
    "vmap(jacfwd(jacrev))": (lambda f: vmap(gg.jacfwd(gg.jacrev(f))), "h"),
    "vmap(jacrev(jacfwd))": (lambda f: vmap(gg.jacrev(gg.jacfwd(f))), "h"),
    "vmap(jacfwd(jacfwd))": (lambda f: vmap(gg.jacfwd(gg.jacfwd(f))), "h"),
}


def expected(F, order):
    """Of sum(F(x) * x), row by row."""
    value = (F[0](X) * X).sum(1)
    first = F[1](X) * X + F[0](X)
    second = F[2](X) * X + 2 * F[1](X)
    third = F[3](X) * X + 3 * F[2](X)
    return {
        0: value, 1: first, 2: second, 3: third, "v": first @ V, "hv": second * V, "vhv": (second * V) @ V,
        "h": second[:, :, None] * np.eye(2),
    }[order]  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Calling GradientTape")
def test_every_transformation_follows_the_rule(case, transform):
    f, F = CASES[case]
    t, order = TRANSFORMS[transform]
    assert_close(t(lambda r: gg.sum(f(r) * r))(gg.tensor(X)), expected(F, order))


@pytest.mark.parametrize("around", ["not", "vmap"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_tangents_that_go_on(case, around):
    """A tangent may have a history of its own; the value outlives the accumulator that it was computed under."""
    f, F = CASES[case]
    both = lambda x, v: gg.sum(gg.multiply(*gg.jvp(f, (x,), (v,))))
    total = both if around == "not" else lambda x, v: gg.sum(gg.vmap(both, in_axes=(0, None))(x, v))
    v = np.broadcast_to(V, X.shape) if around == "not" else V
    by_x, by_v = gg.grad(total, (0, 1))(gg.tensor(X), gg.tensor(v))
    assert_close(by_x, (F[1](X) ** 2 + F[0](X) * F[2](X)) * V)
    assert_close(by_v, (F[0](X) * F[1](X)).sum(0) if around == "vmap" else F[0](X) * F[1](X))
    _, found = gg.jvp(total, (gg.tensor(X), gg.tensor(v)), (gg.ones((3, 2), dtype="float64"), gg.tensor(v)))
    assert_close(found, by_x.numpy().sum() + (by_v.numpy() * v).sum())


@pytest.mark.parametrize("around", ["not", "vmap", "inside", "tape"])
@pytest.mark.parametrize("case", CASES)
def test_taylor_series_follow_the_rule(case, around):
    """y' is what the rule makes of x', and the rule is differentiated in its turn; the curve x(t) = X + V t bends."""
    f, F = CASES[case]
    x, v, c = gg.tensor(X), gg.tensor(np.broadcast_to(V, X.shape)), gg.tensor(np.cos(X))
    series = lambda f, x, v, c: gg.taylor(f, (x,), ([v, c, None],))[1]
    if around == "vmap":
        got = gg.vmap(lambda *args: tuple(series(f, *args)))(x, v, c)
    else:
        got = series(gg.vmap(f) if around == "inside" else f, x, v, c)
    v, c = v.numpy(), c.numpy()
    first, second = F[1](X) * v, F[2](X) * v**2 + F[1](X) * c
    assert_close(got[0], first)
    assert_close(got[1], second)
    assert_close(got[2], F[3](X) * v**3 + 3 * F[2](X) * v * c)
    if around == "tape":
        grads = gg.grad(lambda x: gg.sum(series(f, x, gg.tensor(v), gg.tensor(c))[1]))(x)
        assert_close(grads, F[3](X) * v**2 + F[2](X) * c)


# ---------------------------------------------------------------------------------------------- what is given, answered
def product_rules():
    """f({"a": x, "b": w}, k) = (k * x * w, x + w) with slopes of its own, in four ways."""

    @gg.custom_vjp
    def by_vjp(tree, k):
        return k * tree["a"] * tree["b"], tree["a"] + tree["b"]

    by_vjp.defvjp(
        lambda tree, k: (by_vjp(tree, k), (tree, k)),
        lambda kept, gs: ({"a": 2 * kept[1] * gs[0] * kept[0]["b"], "b": gs[1] * kept[0]["a"] + 5 * gs[0]}, None),
    )

    @gg.custom_jvp
    def by_jvp(tree, k):
        return k * tree["a"] * tree["b"], tree["a"] + tree["b"]

    @by_jvp.defjvp
    def rule(primals, tangents):
        (tree, k), (v, _) = primals, tangents
        return by_jvp(tree, k), (2 * k * v["a"] * tree["b"] + 5 * v["b"], v["b"] * tree["a"])

    @gg.custom_gradient
    def flat(a, b, k):
        def back(g, h):
            return 2 * k * g * b, h * a + 5 * g, None

        return (k * a * b, a + b), back

    class Flat(gg.Function):
        @staticmethod
        def forward(ctx, a, b, k):
            ctx.save_for_backward(a, b)
            ctx.k = k
            return k * a * b, a + b

        @staticmethod
        def backward(ctx, g, h):
            a, b = ctx.saved_tensors
            return 2 * ctx.k * g * b, h * a + 5 * g, None

    spread = lambda f: lambda tree, k: f(tree["a"], tree["b"], k)
    return {"vjp": by_vjp, "jvp": by_jvp, "custom_gradient": spread(flat), "Function": spread(Flat.apply)}


@pytest.mark.parametrize("how", ["vjp", "jvp", "custom_gradient", "Function"])
@pytest.mark.parametrize("inside", [False, True])
def test_several_outputs_arguments_that_all_share_and_numbers(how, inside):
    f = product_rules()[how]
    x, w = gg.tensor(X), gg.tensor(V)

    def loss(w, r):
        p, q = f({"a": r, "b": w}, 3.0)
        return gg.sum(p * p) + gg.sum(gg.exp(q))

    if inside:
        gw, gx = vmap(grad(loss, (0, 1)), (None, 0))(w, x)
        gw = gg.sum(gw, axis=0)
    else:
        gw, gx = grad(lambda w, x: gg.sum(vmap(loss, (None, 0))(w, x)), (0, 1))(w, x)
    g, h = 2 * 3 * X * V, exp(X + V)
    assert_close(gx, 6 * g * V)
    assert_close(gw, (h * X + 5 * g).sum(0))
    # the second order, by the products' own slopes, through the sum over the examples
    out = grad(lambda x: gg.sum(grad(lambda w: gg.sum(vmap(loss, (None, 0))(w, x)))(w)))(x)
    dg = 2 * 6 * V  # of g = 2 p, p = 3 a b, by the rule 6 g b; a + b has no slope by a
    assert_close(out, h + 5 * dg)


def test_a_batched_tensor_that_is_closed_over_beside_one_that_is_given():
    @gg.custom_gradient
    def scaled(w, r):
        return w * r, lambda g: (10 * g * r, 7 * g * w)

    x, w = gg.tensor(X), gg.tensor(V)
    gx = grad(lambda x: gg.sum(vmap(lambda r: gg.sum(vmap(lambda e: gg.sum(scaled(e, r)))(w)))(x)))(x)
    assert_close(gx, np.full_like(X, 7 * V.sum()))
    gw = grad(lambda w: gg.sum(vmap(lambda r: gg.sum(vmap(lambda e: gg.sum(scaled(e, r)))(w)))(x)))(w)
    assert_close(gw, np.full(2, 10 * X.sum()))


def test_gradients_that_are_none_and_inputs_that_nobody_differentiates():
    class Half(gg.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(a, None, b)
            return a * b, a - b

        @staticmethod
        def backward(ctx, g, h):
            assert h is None and ctx.needs_input_grad == (True, False)
            _, none, b = ctx.saved_tensors
            assert none is None
            return g * b * 2, None

    x, c = gg.tensor(X), gg.tensor(X * X)
    f = lambda x: gg.sum(vmap(lambda a, b: Half.apply(a, b)[0])(x, c))
    assert_close(grad(f)(x), 2 * X * X)


def test_variables_that_it_reads_get_the_rule_s_gradient_from_all_examples():
    w = gg.Variable(V)

    @gg.custom_gradient
    def f(x):
        return w * x, lambda g, variables=None: (2 * g * w, [3 * g * x])

    x = gg.tensor(X)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = gg.sum(vmap(lambda r: gg.sum(f(r) * r))(x))
    gx, gw = tape.gradient(y, [x, w])
    assert_close(gx, 2 * X * V + V * X)
    assert_close(gw, (3 * X * X).sum(0))

    def inner(r):
        with gg.GradientTape() as tape:
            y = gg.sum(f(r) * r)
        return tape.gradient(y, w)

    assert_close(vmap(inner)(x), 3 * X * X)


@pytest.mark.parametrize("how", ["custom_gradient", "custom_vjp", "custom_jvp"])
def test_complex_rules(how):
    """4 z**2 as the derivative of z**3: users write conjugated gradients, tangents are plain."""
    rule = lambda z, g: g * gg.conj(4 * z * z)
    if how == "custom_gradient":
        cube = gg.custom_gradient(lambda z: (z * z * z, lambda g: rule(z, g)))
    elif how == "custom_vjp":
        cube = gg.custom_vjp(lambda z: z * z * z)
        cube.defvjp(lambda z: (cube(z), z), lambda z, g: (rule(z, g),))
    else:
        cube = gg.custom_jvp(lambda z: z * z * z)
        cube.defjvps(lambda t, y, z: 4 * z * z * t)
    z = X + 1j * X[::-1]
    t, v = gg.tensor(z), gg.tensor(V + 2j)
    f = lambda z: gg.sum(gg.real(cube(z)))
    assert_close(grad(f)(t), np.conj(4 * z * z))
    assert_close(vmap(grad(f))(t), np.conj(4 * z * z))
    assert_close(grad(lambda t: gg.sum(vmap(f)(t)))(t), np.conj(4 * z * z))
    assert_close(gg.jvp(cube, (t,), (gg.broadcast_to(v, t.shape),))[1], 4 * z * z * v.numpy())
    assert_close(vmap(lambda z: gg.jvp(cube, (z,), (v,))[1])(t), 4 * z * z * v.numpy())
    seen = gg.jvp(lambda z: gg.real(z * gg.conj(cube(z))), (t,), (gg.broadcast_to(v, t.shape),))[1]
    assert_close(seen, np.real(v.numpy() * np.conj(z**3) + z * np.conj(4 * z * z * v.numpy())))


def test_a_clipped_gradient():
    @gg.custom_vjp
    def clipped(x, limit):
        return x

    clipped.defvjp(lambda x, limit: (x, limit), lambda limit, g: (gg.clip(g, -limit, limit), None))
    f = lambda r: gg.sum(clipped(r, 0.5) ** 2)
    want = np.clip(2 * X, -0.5, 0.5)
    for g in (vmap(grad(f)), grad(lambda x: gg.sum(vmap(f)(x)))):
        assert_close(g(gg.tensor(X)), want)
    limits = gg.tensor([0.1, 0.2, 0.3])
    f = lambda r, limit: gg.sum(clipped(r, limit) ** 2)
    want = np.clip(2 * X, -limits.numpy()[:, None], limits.numpy()[:, None])
    assert_close(grad(lambda x: gg.sum(vmap(f)(x, limits)))(gg.tensor(X)), want)


def test_arguments_without_derivatives_stand_in_front():
    @gg.custom_vjp(nondiff_argnums=(0, 2))
    def apply(f, x, n):
        return f(x) * n

    apply.defvjp(lambda f, x, n: (apply(f, x, n), x), lambda f, n, x, g: (g * n * 10,))

    @gg.custom_jvp(nondiff_argnums=0)
    def power(n, x):
        return x**n

    power.defjvp(lambda n, p, t: (power(n, *p), 100 * n * t[0]))
    x = gg.tensor(X)
    assert_close(vmap(grad(lambda r: gg.sum(apply(gg.exp, r, n=2))))(x), np.full_like(X, 20))
    assert_close(grad(lambda x: gg.sum(vmap(lambda r: power(3, r))(x)))(x), np.full_like(X, 300))
    with pytest.raises(TypeError, match="nondiff_argnums .* is a tensor that a gradient is for"):
        grad(lambda n: gg.sum(apply(gg.exp, x, n)))(gg.tensor(2.0))
    with pytest.raises(TypeError, match=r"custom_vjp.apply.: missing a required argument: 'n'"):
        apply(gg.exp, x)
    power.nondiff = (2,)
    with pytest.raises(ValueError, match="nondiff_argnums has 2, and 2 arguments"):
        power(3, x)


def test_a_gradient_that_is_not_to_be_differentiated_says_so_in_a_vmap():
    class Once(gg.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            return 3 * g * ctx.saved_tensors[0]

    f = lambda r: gg.sum(Once.apply(r) ** 2)
    assert_close(vmap(grad(f))(gg.tensor(X)), 6 * X**3)
    assert_close(grad(lambda x: gg.sum(vmap(f)(x)))(gg.tensor(X)), 6 * X**3)
    for twice in (vmap(grad(summed(grad(f)))), grad(summed(vmap(grad(f)))), grad(summed(grad(summed(vmap(f)))))):
        with pytest.raises(RuntimeError, match="trying to differentiate twice"):
            twice(gg.tensor(X))


def test_an_op_by_kernels():
    thrice = gg.kernel_op(
        "template <typename T> __global__ void thrice(const T* x, T* out, long long n) "
        "{ for (long long i = threadIdx.x; i < n; i += blockDim.x) "
        "out[i] = exp(x[i]); }",
        forward="thrice",
        reference=lambda xp, x: xp.exp(x),
        x=lambda g, out: 3 * g * out,
    )
    f = lambda r: gg.sum(thrice(r) * r)
    for transform in ("vmap(grad)", "grad(vmap)", "grad(vmap(grad))", "jvp(vmap(grad))"):
        t, order = TRANSFORMS[transform]
        assert_close(t(f)(gg.tensor(X)), expected(RULED, order))
