"""Functions with a derivative of their own, under every transformation: what comes out is what the rule says.

All of them compute exp and say that its slope is three times that, so a transformation that looks at the ops inside is
seen.  Where the rule uses a value that was computed by such a function, its slope is the rule's, too.
"""

import numpy as np
import pytest

import gpugrad as gg
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
