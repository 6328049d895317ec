"""Random programs: their gradients against complex-step differentiation, and against PyTorch where it is installed.

A program is a list of steps over three inputs; every step takes earlier values, so subexpressions are shared.  Each
step is written three times: for gpugrad, for NumPy (analytic, so that a complex step differentiates it to the last
digit) and for PyTorch.
"""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import gpugrad as gg
from gpugrad import nn

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
except ImportError:
    torch: Any = None

SHAPES = ((2, 3), (3,), (), (3, 2))
LARGE = 5.0  # a value beyond goes through tanh, so that programs stay in range


def fits(n, rule=lambda *shapes: True):
    """A step on n values, where their shapes allow it."""
    return n, rule


anything, pair = fits(1), fits(2, lambda a, b: broadcast(a, b) is not None)
matrix, axis = fits(1, lambda a: len(a) == 2), fits(1, lambda a: len(a) > 0)


def kept_between(x, low, high):
    """`clip` by the real part, so that a complex step passes."""
    return np.where(x.real < low, low, np.where(x.real > high, high, x))


def broadcast(a, b):
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


# name: (what it takes, gpugrad, NumPy, PyTorch)
STEPS = {
    "sin": (anything, gg.sin, np.sin, lambda x: x.sin()),
    "tanh": (anything, gg.tanh, np.tanh, lambda x: x.tanh()),
    "exp": (anything, lambda x: gg.exp(x * 0.5), lambda x: np.exp(x * 0.5), lambda x: (x * 0.5).exp()),
    "log": (anything, lambda x: gg.log(x * x + 1), lambda x: np.log(x * x + 1), lambda x: (x * x + 1).log()),
    "sqrt": (anything, lambda x: gg.sqrt(1 + x**2), lambda x: np.sqrt(1 + x**2), lambda x: (1 + x**2).sqrt()),
    "sigmoid": (anything, nn.sigmoid, lambda x: 1 / (1 + np.exp(-x)), lambda x: x.sigmoid()),
    "softplus": (anything, nn.softplus, lambda x: np.log(1 + np.exp(x)), lambda x: torch.nn.functional.softplus(x)),
    "atan": (anything, gg.atan, np.arctan, lambda x: x.atan()),
    "cube": (anything, lambda x: x**3 / 2, lambda x: x**3 / 2, lambda x: x**3 / 2),
    "add": (pair, gg.add, np.add, lambda x, y: x + y),
    "subtract": (pair, gg.subtract, np.subtract, lambda x, y: x - y),
    "multiply": (pair, gg.multiply, np.multiply, lambda x, y: x * y),
    "divide": (pair, lambda x, y: x / (y * y + 1), lambda x, y: x / (y * y + 1), lambda x, y: x / (y * y + 1)),
    "power": (
        pair,
        lambda x, y: (x * x + 1) ** gg.sin(y),
        lambda x, y: (x * x + 1) ** np.sin(y),
        lambda x, y: (x * x + 1) ** y.sin(),
    ),
    "logaddexp": (pair, gg.logaddexp, lambda x, y: np.log(np.exp(x) + np.exp(y)), lambda x, y: torch.logaddexp(x, y)),
    "cbrt": (
        anything,
        lambda x: gg.cbrt(x * x + 1),
        lambda x: (x * x + 1) ** (1 / 3),
        lambda x: (x * x + 1) ** (1 / 3),
    ),
    "rsqrt": (anything, lambda x: gg.rsqrt(1 + x**2), lambda x: (1 + x**2) ** -0.5, lambda x: (1 + x**2).rsqrt()),
    "expm1": (anything, lambda x: gg.expm1(x * 0.5), lambda x: np.expm1(x * 0.5), lambda x: (x * 0.5).expm1()),
    "log1p": (anything, lambda x: gg.log1p(x * x), lambda x: np.log1p(x * x), lambda x: (x * x).log1p()),
    "asinh": (anything, gg.asinh, np.arcsinh, lambda x: x.asinh()),
    "sinc": (anything, gg.sinc, lambda x: np.sin(np.pi * x) / (np.pi * x), lambda x: x.sinc()),
    "float_power": (
        anything,
        lambda x: gg.float_power(x * x + 1, 0.3),
        lambda x: (x * x + 1) ** 0.3,
        lambda x: (x * x + 1).float_power(0.3),
    ),
    "abs": (anything, gg.abs, lambda x: x * np.sign(x.real), lambda x: x.abs()),
    "copysign": (
        pair,
        gg.copysign,
        lambda x, y: x * np.sign(x.real) * np.sign(y.real),
        lambda x, y: torch.copysign(x, y),
    ),
    "maximum": (pair, gg.maximum, lambda x, y: np.where(x.real > y.real, x, y), lambda x, y: torch.maximum(x, y)),
    "fmin": (pair, gg.fmin, lambda x, y: np.where(x.real < y.real, x, y), lambda x, y: torch.fmin(x, y)),
    "hypot": (pair, gg.hypot, lambda x, y: np.sqrt(x * x + y * y), lambda x, y: torch.hypot(x, y)),
    "atan2": (
        pair,
        lambda x, y: gg.atan2(x, y * y + 1),
        lambda x, y: np.arctan(x / (y * y + 1)),
        lambda x, y: torch.atan2(x, y * y + 1),
    ),
    "lerp": (
        pair,
        lambda x, y: gg.lerp(x, y, nn.sigmoid(x)),
        lambda x, y: x + (y - x) / (1 + np.exp(-x)),
        lambda x, y: torch.lerp(*torch.broadcast_tensors(x, y, x.sigmoid())),
    ),
    "clip": (anything, lambda x: gg.clip(x, -1, 1), lambda x: kept_between(x, -1, 1), lambda x: x.clamp(-1, 1)),
    "elu": (
        anything,
        lambda x: nn.elu(x, alpha=0.5),
        lambda x: np.where(x.real > 0, x, 0.5 * np.expm1(x)),
        lambda x: torch.nn.functional.elu(x, 0.5),
    ),
    "mish": (
        anything,
        nn.mish,
        lambda x: x * np.tanh(np.log(1 + np.exp(x))),
        lambda x: torch.nn.functional.mish(x),
    ),
    "silu": (anything, nn.silu, lambda x: x / (1 + np.exp(-x)), lambda x: torch.nn.functional.silu(x)),
    "hardswish": (
        anything,
        nn.hardswish,
        lambda x: x * kept_between(x + 3, 0, 6) / 6,
        lambda x: torch.nn.functional.hardswish(x),
    ),
    "softsign": (
        anything,
        nn.softsign,
        lambda x: x / (1 + x * np.sign(x.real)),
        lambda x: torch.nn.functional.softsign(x),
    ),
    "sum": (axis, lambda x: x.sum(axis=-1), lambda x: x.sum(-1), lambda x: x.sum(-1)),
    "mean": (
        axis,
        lambda x: x.mean(axis=0, keepdims=True),
        lambda x: x.mean(0, keepdims=True),
        lambda x: x.mean(0, keepdim=True),
    ),
    "var": (
        axis,
        lambda x: gg.var(x, axis=-1),
        lambda x: ((x - x.mean(-1, keepdims=True)) ** 2).mean(-1),
        lambda x: x.var(-1, correction=0),
    ),
    "logsumexp": (
        axis,
        lambda x: gg.logsumexp(x, axis=0),
        lambda x: np.log(np.exp(x).sum(0)),
        lambda x: x.logsumexp(0),
    ),
    "prod": (axis, lambda x: gg.prod(x, axis=-1), lambda x: x.prod(-1), lambda x: x.prod(-1)),
    "cumsum": (axis, lambda x: x.cumsum(axis=0), lambda x: x.cumsum(0), lambda x: x.cumsum(0)),
    "softmax": (
        axis,
        lambda x: nn.softmax(x, axis=-1),
        lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
        lambda x: x.softmax(-1),
    ),
    "transpose": (matrix, lambda x: x.T, lambda x: x.T, lambda x: x.T),
    "reshape": (matrix, lambda x: x.reshape(-1), lambda x: x.reshape(-1), lambda x: x.reshape(-1)),
    "expand": (
        fits(1, lambda a: len(a) == 1),
        lambda x: gg.broadcast_to(x, (2, *x.shape)),
        lambda x: np.broadcast_to(x, (2, *x.shape)),
        lambda x: x.expand(2, *x.shape),
    ),
    "flip": (axis, lambda x: gg.flip(x, axis=0), lambda x: np.flip(x, 0), lambda x: x.flip(0)),
    "first": (axis, lambda x: x[0], lambda x: x[0], lambda x: x[0]),
    "every second": (axis, lambda x: x[..., ::2], lambda x: x[..., ::2], lambda x: x[..., ::2]),
    "repeat": (axis, lambda x: x[np.array([0, 0, -1])], lambda x: x[[0, 0, -1]], lambda x: x[[0, 0, -1]]),
    "concat": (
        fits(2, lambda a, b: len(a) == len(b) > 0 and a[1:] == b[1:] and a[0] + b[0] < 8),
        lambda x, y: gg.concat([x, y]),
        lambda x, y: np.concatenate([x, y]),
        lambda x, y: torch.cat([x, y]),
    ),
    "matmul": (fits(2, lambda a, b: len(a) > 0 and len(b) > 0 and a[-1] == b[-2:][0]), *[lambda x, y: x @ y] * 3),
    "einsum": (
        fits(2, lambda a, b: len(a) == len(b) == 2 and a[1] == b[1]),
        *[lambda x, y, f=f: f("ij,kj->ik", x, y) for f in (gg.einsum, np.einsum, torch and torch.einsum)],
    ),
}
NAMES = list(STEPS)
GPUGRAD, NUMPY, TORCH = 1, 2, 3


def build(picks, xs):
    """The steps that `picks` stand for on inputs xs: (name, the places of its arguments)."""
    values, steps = list(xs), []

    def step(name, *places):
        values.append(STEPS[name][NUMPY](*[values[p] for p in places]))
        steps.append((name, places))

    for which, *back in picks:
        for k in range(len(NAMES)):  # the next step that fits
            name = NAMES[(which + k) % len(NAMES)]
            n, rule = STEPS[name][0]
            places = [len(values) - 1 - b % len(values) for b in back[:n]]
            if rule(*[values[p].shape for p in places]):
                break
        step(name, *places)
        if np.abs(values[-1]).max() > LARGE:
            step("tanh", len(values) - 1)
    return steps


def run(language, steps, xs):
    """The sum of every value that no step took, weighted by its place."""
    values, taken = list(xs), set()
    for name, places in steps:
        values.append(STEPS[name][language](*[values[p] for p in places]))
        taken |= set(places)
    total = 0.0
    for i, v in enumerate(values):
        if i not in taken:
            total = total + v.sum() * (1 + i / 10)
    return total


def complex_step(steps, xs, ds):
    """The derivative along each direction alone: no subtraction, so no cancellation."""
    h = 1e-30
    moved = [[x + 1j * h * d if j == i else x for j, x in enumerate(xs)] for i, d in enumerate(ds)]
    return [np.imag(run(NUMPY, steps, m)) / h for m in moved]


def close(a, b, scale):
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9 * scale)


programs = st.lists(
    st.tuples(st.integers(0, len(NAMES) - 1), st.integers(0, 9), st.integers(0, 9)), min_size=10, max_size=30
)
hundred = settings(max_examples=100, deadline=None, derandomize=True)


def inputs(seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.5, 1.5, s) for s in SHAPES], [rng.standard_normal(s) for s in SHAPES]


def by_tape(steps, xs):
    ts = [gg.tensor(x) for x in xs]
    with gg.GradientTape() as tape:
        tape.watch(ts)
        y = run(GPUGRAD, steps, ts)
    return y, [g.numpy() for g in tape.gradient(y, ts, unconnected_gradients="zero")]


@given(programs, st.integers(0, 2**16))
@hundred
def test_gradients(picks, seed):
    xs, ds = inputs(seed)
    steps = build(picks, xs)
    y, grads = by_tape(steps, xs)
    close(float(y), run(NUMPY, steps, xs), 1)

    scale = max(1.0, *[np.abs(g).max() for g in grads])
    for g, d, expected in zip(grads, ds, complex_step(steps, xs, ds), strict=True):
        close(np.vdot(g, d), expected, scale)

    leaves = [gg.tensor(x, requires_grad=True) for x in xs]
    run(GPUGRAD, steps, leaves).backward()
    for leaf, g in zip(leaves, grads, strict=True):
        close(np.zeros(g.shape) if leaf.grad is None else leaf.grad.numpy(), g, scale)


def in_torch(steps, xs):
    ts = [torch.tensor(x, requires_grad=True) for x in xs]
    return ts, run(TORCH, steps, ts)


needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch")


@needs_torch
@given(programs, st.integers(0, 2**16))
@hundred
def test_gradients_are_those_of_torch(picks, seed):
    xs, _ = inputs(seed)
    steps = build(picks, xs)
    y, grads = by_tape(steps, xs)
    ts, expected = in_torch(steps, xs)
    close(float(y), expected.item(), 1)
    scale = max(1.0, *[np.abs(g).max() for g in grads])
    for g, e in zip(grads, torch.autograd.grad(expected, ts, allow_unused=True, materialize_grads=True), strict=True):
        close(g, e.numpy(), scale)


@given(programs, st.integers(0, 2**16))
@hundred
def test_second_derivatives(picks, seed):
    """The Hessian along a direction: nested tapes, grad(create_graph=True), and PyTorch or central differences."""
    xs, ds = inputs(seed)
    steps = build(picks, xs)
    ts = [gg.tensor(x) for x in xs]
    directions = [gg.tensor(d) for d in ds]
    with gg.GradientTape() as outer:
        outer.watch(ts)
        with gg.GradientTape() as inner:
            inner.watch(ts)
            y = run(GPUGRAD, steps, ts)
        gs = inner.gradient(y, ts, unconnected_gradients="zero")
        slope = sum([gg.sum(g * d) for g, d in zip(gs, directions, strict=True)], gg.tensor(0.0, dtype="float64"))
    hessian = [h.numpy() for h in outer.gradient(slope, ts, unconnected_gradients="zero")]
    scale = max(1.0, *[np.abs(h).max() for h in hessian])

    leaves = [gg.tensor(x, requires_grad=True) for x in xs]
    firsts = gg.grad(run(GPUGRAD, steps, leaves), leaves, create_graph=True, allow_unused=True)
    slopes = [gg.sum(g * d) for g, d in zip(firsts, directions, strict=True) if g is not None and g.requires_grad]
    if slopes:
        for h, other in zip(hessian, gg.grad(slopes, leaves, allow_unused=True), strict=True):
            close(h, np.zeros(h.shape) if other is None else other.numpy(), scale)

    if torch is not None:
        leaves, total = in_torch(steps, xs)
        firsts = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
        slope = sum([(g * torch.tensor(d)).sum() for g, d in zip(firsts, ds, strict=True)])
        expected = [torch.zeros(x.shape) for x in xs]
        if slope.requires_grad:
            expected = torch.autograd.grad(slope, leaves, allow_unused=True, materialize_grads=True)
        for h, e in zip(hessian, expected, strict=True):
            close(h, e.numpy(), scale)
    else:
        step = 1e-5
        up, down = [by_tape(steps, [x + s * step * d for x, d in zip(xs, ds, strict=True)])[1] for s in (1, -1)]
        for h, a, b in zip(hessian, up, down, strict=True):
            np.testing.assert_allclose(h, (a - b) / (2 * step), rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.devices
@pytest.mark.parametrize("test", [test_gradients, test_second_derivatives])
@given(programs, st.integers(0, 2**16))
@settings(hundred, max_examples=10)
def test_on_every_device(test, picks, seed):
    test.hypothesis.inner_test(picks, seed)
