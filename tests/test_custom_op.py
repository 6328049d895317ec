"""gg.op from a user's side: what is checked, what is said."""

import inspect
import pickle

import numpy as np
import pytest

import gpugrad as gg


def test_what_a_forward_returns_is_checked():
    for bad in (None, [1.0], "x", 3.0, (np.ones(2),)):
        f = gg.op(lambda xp, x, bad=bad: bad, name="f", args=["x"], x=lambda g: g)
        with pytest.raises(TypeError, match="f: the forward returned .* it must return an array"):
            f(gg.tensor([1.0, 2.0]))
    f = gg.op(lambda xp, x: x, name="f", aux=("more",), x=lambda g: g)
    with pytest.raises(TypeError, match="with aux or several it returns a tuple"):
        f(gg.tensor([1.0]))


@pytest.mark.parametrize(
    "answer, error, text",
    [
        (None, TypeError, "the pullback of 'x' returned None"),
        ("g", TypeError, "the pullback of 'x' returned 'g'"),
        (np.ones(3, np.float32), ValueError, r"the pullback of 'x' returned shape \(3,\)"),
    ],
)
def test_what_a_pullback_returns_is_checked(answer, error, text):
    f = gg.op(lambda xp, x: x * 2, name="f", x=lambda g: answer)
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(error, match="op f: " + text):
        f(x).sum().backward()


def test_an_argument_without_a_rule_is_an_error_and_none_is_no_gradient():
    half = gg.op(lambda xp, x, y: x * y, name="half", x=lambda g, y: g * y)
    x, y = (gg.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    assert float(gg.grad(half(x, 3.0), x)[0]) == 3
    with pytest.raises(LookupError, match="no entry for: half. It has no rule for its argument 'y'"):
        gg.grad(half(x, y), y)
    stated = gg.op(lambda xp, x, y: x * y, name="stated", x=lambda g, y: g * y, y=None)
    assert float(gg.grad(stated(x, y), x)[0]) == 3
    assert gg.grad(stated(x, y), y, allow_unused=True) == (None,)


def test_bad_declarations():
    for make in (lambda: gg.op(3), lambda: gg.op(np.sin, x=lambda g: g)):
        with pytest.raises(TypeError, match="the forward is a Python function"):
            make()
    with pytest.raises(TypeError, match="the rule of 'x' is a function"):
        gg.op(lambda xp, x: x, name="f", x=3)
    with pytest.raises(TypeError, match="'y', which is no array argument"):
        gg.op(lambda xp, x: x, name="f", y=lambda g: g)


def test_a_checked_op_in_every_mode():
    f = gg.op(lambda xp, x, y, *, p=2: x**p * y, name="f", x=lambda g, x, y, p: g * y * p * x ** (p - 1),
              y=lambda g, x, p: g * x**p)  # fmt: skip
    gg.testing.check_grads(lambda x, y: f(x, y, p=3), [np.array([1.0, 2.0]), np.array([0.5])], order=3)


def test_built_in_ops_are_found_by_pickle_and_help():
    model = gg.nn.Sequential(gg.nn.Linear(2, 2), gg.nn.relu)
    x = gg.ones((1, 2))
    assert pickle.loads(pickle.dumps(model))(x).tolist() == model(x).tolist()
    assert list(inspect.signature(gg.sum).parameters) == ["x", "axis", "keepdims", "dtype"]
    assert inspect.signature(gg.sum).parameters["axis"].default is None
    assert list(inspect.signature(gg.multiply).parameters) == ["x", "y"]
    takes = r"sum has no argument 'dim'; write axis=; it takes \['axis', 'keepdims', 'dtype'\]"
    with pytest.raises(TypeError, match=takes):
        gg.sum(x, dim=0)


def test_a_first_step_that_pullbacks_share():
    taken = []
    f = gg.op(
        lambda xp, x, y: (x + y) ** 2,
        name="square_of_sum",
        via=lambda g, x, y: (taken.append(1), g * 2 * (x + y))[1],
        x=lambda d: d,
        y=lambda d: d,
    )
    x, y = (gg.tensor(np.array(v), requires_grad=True) for v in ([1.0, 2.0], [3.0, 4.0]))
    f(x, y).sum().backward()
    assert x.grad.tolist() == y.grad.tolist() == [8, 12] and len(taken) == 1
    gg.testing.check_grads(f, [np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    with pytest.raises(TypeError, match="`via` and `adds` go with a rule for each input"):
        gg.op(lambda xp, x: x, name="both", pull=lambda g: (g,), via=lambda g: g)


def test_outputs_that_pullbacks_ask_for_by_name():
    """Each is a variable: the second order goes through it."""

    def pull(g, size, root):
        total = 0
        if 0 in g:
            total = total + g[0] * root * 1.5
        return total + g[1] / (root * 2) if 1 in g else total

    both = gg.op(lambda xp, x: (x * xp.sqrt(x), xp.sqrt(x)), name="both", several=("size", "root"), x=pull)
    x = gg.tensor(np.array([4.0, 9.0]), requires_grad=True)
    size, root = both(x)
    (g,) = gg.grad((size + root).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), 1.5 * np.sqrt([4, 9]) + 0.5 / np.sqrt([4, 9]))
    (h,) = gg.grad(g.sum(), x)
    np.testing.assert_allclose(h.numpy(), 0.75 / np.sqrt([4, 9]) - 0.25 * np.array([4.0, 9]) ** -1.5)
    (g,) = gg.grad(both(x)[1].sum(), x)  # one alone
    np.testing.assert_allclose(g.numpy(), 0.5 / np.sqrt([4, 9]))


def test_named_outputs_in_a_pullback_are_the_users():
    """As an op's one output is: an outer tape takes the gradient of a gradient with respect to it."""

    def pull(g, size, root):
        return sum((g[0] * root * 1.5 if i == 0 else g[1] / (root * 2)) for i in g)

    both = gg.op(lambda xp, x: (x * xp.sqrt(x), xp.sqrt(x)), name="both", several=("size", "root"), x=pull)
    x = gg.tensor(np.array([4.0, 9.0]))
    with gg.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with gg.GradientTape() as inner:
            inner.watch(x)
            size, root = both(x)
        g = inner.gradient(size, x)
    assert outer.gradient(g, root).tolist() == [1.5, 1.5] and outer.gradient(g, x).tolist() == [0.375, 0.25]
    x = gg.tensor(np.array([4.0, 9.0]), requires_grad=True)
    size, root = both(x)
    (g,) = gg.grad(size.sum(), x, create_graph=True)
    assert gg.grad(g.sum(), root, retain_graph=True)[0].tolist() == [1.5, 1.5]
    del size, root  # their history stays
    assert gg.grad(g.sum(), x)[0].tolist() == [0.375, 0.25]

    a, weights = np.array([[2.0, 1, 0], [1, 3, 1], [0, 1, 5]]), np.array([1.0, 2, 3])
    x = gg.tensor(a)
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as inner:
            inner.watch(x)
            w, v = gg.linalg.eigh(x)
            y = (w * gg.tensor(weights)).sum()
        entry = inner.gradient(y, x)[0, 1] * 1.0
    expected = np.zeros((3, 3))  # of sum_k v_0k a_k v_1k
    expected[:2] = v.numpy()[1::-1] * weights
    np.testing.assert_allclose(outer.gradient(entry, v).numpy(), expected, atol=1e-12)
