"""What custom_vjp and custom_jvp refuse: rules that are missing or answer something else, tensors closed over."""

import gc
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import rule
from gpugrad.testing import assert_close

X = np.linspace(-1, 1, 6).reshape(3, 2)


def vjp_of(fwd=lambda x: (x * 2, x), bwd=lambda x, g: (g,)):
    @gg.custom_vjp
    def f(x):
        return x * 2

    f.defvjp(fwd, bwd)
    return f


def jvp_of(pushes):
    @gg.custom_jvp
    def f(x):
        return x * 2

    f.defjvp(pushes)
    return f


def test_without_a_rule_the_call_fails_in_any_case():
    for kind, named in ((gg.custom_vjp, r"defvjp\(fwd, bwd\)"), (gg.custom_jvp, "defjvp")):
        with pytest.raises(AttributeError, match=f"f\\) has no rule: define it with {named}"):

            @kind
            def f(x):
                return x

            f(gg.tensor(1.0))
        with pytest.raises(TypeError, match="takes a function, not 3"):
            kind(3)
    with pytest.raises(TypeError, match="defvjp takes two functions"):
        gg.custom_vjp(lambda x: x).defvjp(lambda x: (x, x), 3)
    with pytest.raises(TypeError, match="defjvp takes a function"):
        gg.custom_jvp(lambda x: x).defjvp(3)
    with pytest.raises(TypeError, match="defjvps knows no nondiff_argnums"):
        gg.custom_jvp(lambda n, x: x, nondiff_argnums=(0,)).defjvps(None, None)


@pytest.mark.parametrize(
    "parts, error, said",
    [
        ({"fwd": lambda x: x * 2}, TypeError, "fwd answers .what the function answers, residuals."),
        ({"fwd": lambda x: ("no", x)}, TypeError, "it answers tensors, or trees of them, not 'no'"),
        ({"bwd": lambda x, g: g}, TypeError, "bwd answers a tuple with a cotangent for each of 1 arguments"),
        ({"bwd": lambda x, g: (g, g)}, TypeError, "it answered 2 cotangents"),
        ({"bwd": lambda x, g: ([g, g],)}, ValueError, "bwd answered PyTreeSpec.* for argument 0"),
        ({"bwd": lambda x, g: (3.0,)}, TypeError, "bwd answered 3.0 in argument 0, which is no tensor"),
        ({"bwd": lambda x, g: (g[:1],)}, ValueError, r"shape \(1, 2\) in argument 0, for a tensor of shape \(3, 2\)"),
    ],
)
def test_what_fwd_and_bwd_answer_is_checked(parts, error, said):
    with pytest.raises(error, match=said):
        gg.grad(lambda x: gg.sum(vjp_of(**parts)(x)))(gg.tensor(X))


def test_a_cotangent_for_a_tree_is_nested_like_it_and_none_stands_for_any_part():
    @gg.custom_vjp
    def f(tree):
        return tree["a"] * tree["b"][0] + tree["b"][1]

    f.defvjp(lambda tree: (f(tree), tree), lambda tree, g: ({"a": g * 7, "b": None},))
    tree = {"a": gg.tensor(X), "b": [gg.tensor(X), gg.tensor(X)]}
    g = gg.grad(lambda tree: gg.sum(f(tree)))(tree)
    assert_close(g["a"], np.full_like(X, 7))
    assert_close(g["b"][0], 0 * X)
    f.defvjp(lambda tree: (f(tree), tree), lambda tree, g: ({"a": g * 7, "b": g},))
    with pytest.raises(ValueError, match="for argument 0, which is PyTreeSpec.*nest it alike"):
        gg.grad(lambda tree: gg.sum(f(tree)))(tree)


@pytest.mark.parametrize(
    "rule, said",
    [
        (lambda p, t: t[0], "the rule answers .what the function answers, its tangent."),
        (lambda p, t: (p[0], (t[0], t[0])), "the rule's tangent is PyTreeSpec"),
        (lambda p, t: (p[0], t[0][:1]), r"the rule's tangent is float64 of shape \(1, 2\)"),
        (lambda p, t: (p[0], t[0].astype("float32")), "the rule's tangent is float32 of shape"),
        (lambda p, t: (gg.sum(p[0]), t[0]), r"the rule's value is float64 of shape \(\)"),
        (lambda p, t: (p[0], 0.0), "the rule's tangent has 0.0, which is no tensor; write gg.zeros_like"),
    ],
)
def test_what_a_jvp_rule_answers_is_checked_in_both_modes(rule, said):
    f, x = jvp_of(rule), gg.tensor(X)
    with pytest.raises(TypeError, match=said):
        gg.jvp(f, (x,), (x,))
    with pytest.raises(TypeError, match=said):
        gg.grad(lambda x: gg.sum(f(x)))(x)


def function_of(back):
    class Doubled(gg.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return back(g)

    return Doubled.apply


def registered_with(back):
    rule.registered.pop("Doubled", None)
    doubled = gg.op(lambda xp, x: x * 2, name="Doubled", args=["x"])
    gg.register_gradient("Doubled", lambda op, g: back(g))
    return doubled


WITH_BACK = {
    "custom_gradient": lambda back: gg.custom_gradient(lambda x: (x * 2, back)),
    "Function": function_of,
    "register_gradient": registered_with,
    "custom_vjp": lambda back: vjp_of(bwd=lambda x, g: (back(g),)),
}


@pytest.mark.parametrize("kind", WITH_BACK)
def test_a_rule_is_not_transposed_where_nothing_follows_what_it_computes(kind):
    """The tangent, and of a rule for tangents the gradient, would be zero."""
    numpys, x = lambda g: gg.tensor(g.numpy() * 2), gg.tensor(X)
    f = WITH_BACK[kind](numpys)
    assert_close(gg.grad(lambda x: gg.sum(f(x)))(x), np.full_like(X, 2))
    with pytest.raises(RuntimeError, match="does not follow by ops from what it is given.*forward mode transposes it"):
        gg.jvp(f, (x,), (x,))
    assert_close(gg.jvp(WITH_BACK[kind](gg.zeros_like), (x,), (x,))[1], 0 * X)
    f = jvp_of(lambda p, t: (f(*p), numpys(t[0])))
    assert_close(gg.jvp(f, (x,), (x,))[1], 2 * X)
    with pytest.raises(RuntimeError, match="a walk back transposes it"):
        gg.grad(lambda x: gg.sum(f(x)))(x)


@pytest.mark.parametrize("kind", ["custom_gradient", "register_gradient"])
@pytest.mark.parametrize(
    "back, error, said",
    [
        (lambda g: 2.0, TypeError, "the gradient of input 0 is a Tensor, an array or None, not 2.0"),
        (lambda g: [[g]], TypeError, "the gradient of input 0 is a Tensor, an array or None, not"),
        (lambda g: gg.ones(5), ValueError, r"input 0 has shape \(5,\), and the input \(3, 2\)"),
    ],
)
def test_what_a_gradient_of_ones_own_answers_is_checked(kind, back, error, said):
    f, x = WITH_BACK[kind](back), gg.tensor(X)
    for run in (lambda: gg.grad(lambda x: gg.sum(f(x)))(x), lambda: gg.jvp(f, (x,), (x,))):
        with pytest.raises(error, match=said):
            run()


def test_what_declares_a_gradient_is_checked():
    for wrong in (lambda x: x, lambda x: (x, 3), lambda x: (x, x, x)):
        with pytest.raises(TypeError, match="answers .outputs, the function from their gradients to those of the"):
            gg.custom_gradient(wrong)(gg.tensor(X))
    with pytest.raises(TypeError, match="the gradient of Nobody is a function of an operation and a cotangent"):
        gg.register_gradient("Nobody", 3)


def test_rules_for_each_argument_are_as_many():
    f = gg.custom_jvp(lambda x, y: x * y)
    f.defjvps(lambda t, z, x, y: 10 * t * y, None)
    x, y = gg.tensor(X), gg.tensor(X + 3)
    gx, gy = gg.grad(lambda x, y: gg.sum(f(x, y)), (0, 1))(x, y)
    assert_close(gx, 10 * (X + 3))
    assert_close(gy, 0 * X)
    f.defjvps(None, None)
    assert_close(gg.grad(lambda x: gg.sum(f(x, y)))(x), 0 * X)
    f.defjvps(None)
    with pytest.raises(TypeError, match="defjvps was given 1 rules, and 2 arguments came"):
        gg.grad(lambda x: gg.sum(f(x, y)))(x)


def test_names_are_places_and_what_only_has_a_name_is_refused():
    f = gg.custom_jvp(lambda x, y=3.0: x * y)
    f.defjvp(lambda p, t: (f(*p), 100 * t[0] * p[1]))
    x = gg.tensor(X)
    assert_close(gg.grad(lambda x: gg.sum(f(x=x)))(x), np.full_like(X, 300))
    assert_close(gg.grad(lambda x: gg.sum(f(x, y=2.0)))(x), np.full_like(X, 200))
    assert_close(gg.grad(lambda x: gg.sum(f(x)))(x), np.full_like(X, 300))  # rules get defaults, too
    g = gg.custom_jvp(lambda x, *, y: x * y)
    g.defjvp(lambda p, t: (p[0], t[0]))
    with pytest.raises(TypeError, match=r"\['y'\] can be given by name only"):
        g(x, y=2.0)


# ---------------------------------------------------------------------------------------------- closures
def closing(kind, c):
    """A function with a rule that reads c beside its argument."""
    f = getattr(gg, kind)(lambda x: x * c)
    if kind == "custom_vjp":
        f.defvjp(lambda x: (f(x), x), lambda x, g: (g,))
    else:
        f.defjvp(lambda p, t: (f(*p), t[0]))
    return f


def on_a_tape(f):
    with gg.GradientTape():
        return f()


@pytest.mark.parametrize("kind", ["custom_vjp", "custom_jvp"])
def test_a_tensor_closed_over_is_refused_wherever_somebody_differentiates_it(kind):
    x, c = gg.tensor(X), gg.tensor(X + 2)
    said = "reads a tensor.* that a gradient is for and that it is not given"
    f = lambda x, c: gg.sum(closing(kind, c)(x))
    row = gg.tensor(X[0])
    ways = {
        "tape": lambda: gg.grad(f, 1)(x, c),
        "both": lambda: gg.grad(f, (0, 1))(x, c),
        "graph": lambda: f(x, gg.tensor(X, requires_grad=True)),
        "parameter": lambda: gg.grad(f)(x, gg.Parameter(X)),
        "variable": lambda: on_a_tape(lambda: f(x, gg.Variable(X))),
        "forward": lambda: gg.jvp(lambda c: f(x, c), (c,), (c,)),
        "in vmap": lambda: gg.vmap(gg.grad(f, 1))(x, c),
        "around vmap": lambda: gg.grad(lambda c: gg.sum(gg.vmap(f)(x, c)))(c),
        "around vmap, both": lambda: gg.grad(lambda c: gg.sum(gg.vmap(f)(c, c)))(c),
        "the same of all": lambda: gg.grad(lambda r: gg.sum(gg.vmap(lambda x: f(x, r))(x)))(row),
        "forward around": lambda: gg.jvp(lambda c: gg.vmap(f)(x, c), (c,), (c,)),
    }
    for way in ways.values():
        with pytest.raises(RuntimeError, match=said):
            way()
    # what nobody differentiates, or is cut off, is a constant
    assert_close(gg.grad(f)(x, c), np.ones_like(X))
    assert_close(gg.vmap(gg.grad(f))(x, c), np.ones_like(X))
    assert_close(gg.grad(lambda x: gg.sum(gg.vmap(f)(x, c)))(x), np.ones_like(X))
    cut = lambda x, c: gg.sum(closing(kind, gg.stop_gradient(c))(x))
    assert_close(gg.grad(cut, 1)(x, c), 0 * X)
    assert_close(gg.grad(lambda c: gg.sum(gg.vmap(cut)(x, c)))(c), 0 * X)
    with gg.no_grad():
        assert_close(f(x, gg.Variable(X)), (X * X).sum())


def test_closed_over_by_a_custom_gradient_is_a_constant_as_its_docstring_says():
    x, c = gg.tensor(X), gg.tensor(X + 2)

    def f(x, c):
        @gg.custom_gradient
        def inner(x):
            return x * c, lambda g: g

        return gg.sum(inner(x))

    for g in (gg.grad(f, 1), lambda x, c: gg.grad(lambda c: gg.sum(gg.vmap(f)(x, c)))(c)):
        assert_close(g(x, c), 0 * X)


# ---------------------------------------------------------------------------------------------- what is kept
@pytest.mark.parametrize("kind", ["custom_vjp", "custom_jvp"])
def test_what_a_rule_keeps_goes_with_the_tape_and_there_are_no_cycles(kind):
    f = closing(kind, 2.0)
    x = gg.tensor(np.ones(10))
    gc.disable()
    try:
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        alive = weakref.ref(y.array), weakref.ref(tape)
        del y, tape
        assert [r() for r in alive] == [None, None]
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x * 1.0)
        tape.gradient(y, x)
        alive = weakref.ref(y.array)
        del y
        assert alive() is None
    finally:
        gc.enable()


def test_where_nobody_differentiates_fwd_does_not_run():
    def fail(*_):
        raise AssertionError

    f = vjp_of(fail, fail)
    assert_close(f(gg.tensor(X)), 2 * X)
    assert_close(gg.vmap(f)(gg.tensor(X)), 2 * X)
