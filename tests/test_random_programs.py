"""Random programs against an independent reference: forward-mode dual numbers, written here in a few lines of NumPy."""

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings, strategies as st

import gpugrad as gg


class Dual(NamedTuple):
    """A value and its derivative along one direction."""

    v: np.ndarray
    d: np.ndarray


# name -> (number of inputs, gpugrad's op, the op on dual numbers)
OPS = {
    "add": (2, gg.add, lambda a, b: Dual(a.v + b.v, a.d + b.d)),
    "sub": (2, gg.subtract, lambda a, b: Dual(a.v - b.v, a.d - b.d)),
    "mul": (2, gg.multiply, lambda a, b: Dual(a.v * b.v, a.d * b.v + a.v * b.d)),
    "div": (2, lambda a, b: a / (b * b + 1), lambda a, b: Dual(
        a.v / (b.v**2 + 1), a.d / (b.v**2 + 1) - a.v * 2 * b.v * b.d / (b.v**2 + 1) ** 2)),
    "matmul": (2, lambda a, b: a @ gg.matrix_transpose(b), lambda a, b: Dual(a.v @ b.v.T, a.d @ b.v.T + a.v @ b.d.T)),
    "tanh": (1, gg.tanh, lambda a: Dual(np.tanh(a.v), a.d * (1 - np.tanh(a.v) ** 2))),
    "sin": (1, gg.sin, lambda a: Dual(np.sin(a.v), a.d * np.cos(a.v))),
    "sigmoid": (1, gg.nn.sigmoid, lambda a: (lambda s: Dual(s, a.d * s * (1 - s)))(1 / (1 + np.exp(-a.v)))),
    "scale": (1, lambda a: 0.5 * a + 1, lambda a: Dual(0.5 * a.v + 1, 0.5 * a.d)),
    "mean": (1, lambda a: gg.mean(a, axis=0, keepdims=True), lambda a: Dual(*[u.mean(0, keepdims=True) for u in a])),
    "total": (1, gg.sum, lambda a: Dual(np.asarray(a.v.sum() * 1.0), np.asarray(a.d.sum()))),
    "flip": (1, lambda a: gg.flip(a, axis=0), lambda a: Dual(*[u[::-1] for u in a])),
    "slice": (1, lambda a: a[1:2], lambda a: Dual(*[u[1:2] for u in a])),
    "softmax": (1, lambda a: gg.nn.softmax(a), lambda a: (lambda p: Dual(p, p * (a.d - (p * a.d).sum(-1, keepdims=True))))(
        np.exp(a.v - a.v.max(-1, keepdims=True)) / np.exp(a.v - a.v.max(-1, keepdims=True)).sum(-1, keepdims=True))),
}  # fmt: skip

INPUTS = 3


def fits(name: str, values: list) -> bool:
    """Whether the op takes these shapes, and keeps values small."""
    shapes = [v.v.shape for v in values]
    if name in ("mean", "flip", "slice", "softmax") and (len(shapes[0]) != 2 or (name == "slice" and shapes[0][0] < 2)):
        return False
    if name == "matmul":
        return all(len(s) == 2 for s in shapes) and shapes[0] == shapes[1] == (3, 3)
    return True


@st.composite
def programs(draw):
    """(op, operand numbers) for each step; operands are inputs and earlier results, so results are shared."""
    steps = []
    for i in range(draw(st.integers(3, 25))):
        name = draw(st.sampled_from(sorted(OPS)))
        steps.append((name, [draw(st.integers(0, INPUTS + i - 1)) for _ in range(OPS[name][0])]))
    return steps


def evaluate(steps, inputs, column):
    """Run a program with the ops in `column`; a step whose operands do not fit is left out the same way in both."""
    values = list(inputs)
    for name, where in steps:
        operands = [values[w] for w in where]
        values.append(OPS[name][column](*operands) if fits(name, [_shaped(o) for o in operands]) else operands[0])
    return values[-1], values


def _shaped(o):
    return o if isinstance(o, Dual) else Dual(o, o)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 2**31))
def test_gradients_agree_with_dual_numbers(steps, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((3, 3)) for _ in range(INPUTS)]
    directions = [rng.standard_normal((3, 3)) for _ in range(INPUTS)]
    dual, _ = evaluate(steps, [Dual(a, d) for a, d in zip(arrays, directions, strict=True)], 2)
    weights = rng.standard_normal(dual.v.shape)
    expected = float((weights * dual.d).sum())
    scale = 1e-8 * (1 + abs(weights * dual.d).sum() + abs(weights * dual.v).sum())

    xs = [gg.tensor(a, requires_grad=True) for a in arrays]
    with gg.GradientTape() as tape:
        y, values = evaluate(steps, xs, 1)
    np.testing.assert_allclose(y.numpy(), dual.v, rtol=1e-9, atol=1e-9)
    grads = tape.gradient(y, xs, output_gradients=gg.tensor(weights), unconnected_gradients="zero")
    got = sum(float((g.numpy() * d).sum()) for g, d in zip(grads, directions, strict=True))
    assert abs(got - expected) <= scale
    del values, y

    y, _ = evaluate(steps, xs, 1)  # the same on the graph of tensors
    y.backward(gg.tensor(weights))
    for x, g in zip(xs, grads, strict=True):
        np.testing.assert_allclose(0 if x.grad is None else x.grad.numpy(), g.numpy(), rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 2**31))
def test_second_order_agrees_with_differences_of_the_first(steps, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((3, 3)) * 0.5 for _ in range(INPUTS)]
    direction = rng.standard_normal((3, 3))

    def gradient(first, lift=False):
        xs = [first, *[gg.tensor(a) for a in arrays[1:]]]
        with gg.GradientTape() as tape:
            tape.watch(first)
            y = gg.sum(gg.tanh(evaluate(steps, xs, 1)[0]))
        return tape.gradient(y, first, unconnected_gradients="zero")

    x = gg.tensor(arrays[0])
    with gg.GradientTape() as outer:
        outer.watch(x)
        slope = gg.sum(gradient(x) * direction)
    hvp = outer.gradient(slope, x, unconnected_gradients="zero").numpy()
    eps = 1e-5
    moved = [gradient(gg.tensor(arrays[0] + s * eps * direction)).numpy() for s in (1, -1)]
    numeric = (moved[0] - moved[1]) / (2 * eps)
    np.testing.assert_allclose(hvp, numeric, rtol=1e-4, atol=1e-6 * (1 + abs(numeric).max()))
