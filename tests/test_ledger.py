"""The ledger: what a tape keeps, why, and to the byte what comes back when it is dropped."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import gpugrad as gg
from gpugrad.profile import ledger

pytestmark = pytest.mark.devices


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def array_bytes():
    """The bytes that NumPy has allocated for array data, the stand-in's too, since tracemalloc was started."""
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([only]).traces)


def ones(*shape):
    return gg.tensor(np.ones(shape, np.float32))


# ---------------------------------------------------------------------------------------------- to the byte
class Scale(gg.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.twice = gg.exp(x).array
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


@gg.custom_gradient
def cube(x):
    factor = x * x
    return factor * x, lambda g: g * factor * 3


again = gg.recompute_grad(lambda x: gg.tanh(gg.exp(x * 0.1)))
UNARY = [
    gg.exp, gg.tanh, gg.nn.relu, lambda x: x * 2, lambda x: x + 1, lambda x: x * x, cube, again, Scale.apply,
    lambda x: gg.reshape(x, (6, 4))[1:], lambda x: gg.concat([x, x])[3:, ::2], lambda x: gg.split(x, 2)[1] * x,
    lambda x: gg.sort(x), lambda x: x[np.array([0, 1])], gg.nn.softmax, lambda x: gg.broadcast_to(x, (3, *x.shape)),
    lambda x: gg.linalg.svd(x)[0],
]  # fmt: skip
BINARY = [lambda x, y: gg.sum(x) * y, lambda x, y: x @ gg.ones((x.shape[-1], 4)) + gg.mean(y)]


@st.composite
def programs(draw):
    """Steps that each append a tensor to the list of those there are: (function, which operands)."""
    steps = []
    for i in range(draw(st.integers(1, 8))):
        f = draw(st.sampled_from(range(len(UNARY) + len(BINARY))))
        steps.append((f, draw(st.integers(0, i + 2)), draw(st.integers(0, i + 2))))
    return steps


def run(steps, made):
    for f, i, j in steps:
        with np.errstate(all="ignore"):
            try:
                out = UNARY[f](made[i]) if f < len(UNARY) else BINARY[f - len(UNARY)](made[i], made[j])
            except (ValueError, RuntimeError, IndexError, np.linalg.LinAlgError):  # a shape that does not fit
                out = made[i] + 0
        made.append(out)


def leaves(kind):
    data = np.linspace(0.1, 1, 24, dtype=np.float32).reshape(4, 6)
    return [gg.tensor(data), gg.tensor(data, requires_grad=kind != "watched"), gg.Variable(data)]


@pytest.mark.parametrize("kind", ["watched", "on the graph", "outer", "persistent outer"])
@settings(max_examples=25, deadline=None)
@given(steps=programs(), persistent=st.booleans(), names=st.sets(st.integers(0, 10)), hook=st.booleans())
def test_what_is_freed_is_what_the_process_gets_back(kind, steps, persistent, names, hook):
    outer = gg.GradientTape(persistent=kind.startswith("persistent"))
    tape = gg.GradientTape(persistent=persistent)
    tracemalloc.start()
    try:
        made = leaves(kind)
        early = [made[1] * 3.0]  # on the graph before the tape, if made[1] is
        made[0] = early[0]
        if "outer" in kind:
            outer.__enter__()
            outer.watch(made[1])
        with tape:
            tape.watch(made[1])
            run(steps, made)
            if hook and made[-1].requires_grad:
                kept = gg.exp(made[1]).array
                made[-1].register_hook(lambda g, kept=kept: g)
                del kept
        if "outer" in kind:
            outer.__exit__(None, None, None)
        made = [t for i, t in enumerate(made) if i in names]
        early.clear()
        found = tape.memory()
        before = array_bytes()
        del tape
        assert before - array_bytes() == found.freed
        found = ledger(outer)
        before = array_bytes()
        del outer
        assert before - array_bytes() == found.freed
    finally:
        tracemalloc.stop()


@settings(max_examples=25, deadline=None)
@given(steps=programs(), names=st.sets(st.integers(0, 10)), retain=st.booleans())
def test_what_a_loss_frees_is_what_the_process_gets_back(steps, names, retain):
    tracemalloc.start()
    try:
        made = leaves("on the graph")
        made[0] = made[1] * 3.0
        run(steps, made)
        loss = sum([gg.sum(t) for t in made], gg.tensor(0.0))
        if retain and loss.requires_grad:
            loss.backward()
        made = [t for i, t in enumerate(made) if i in names]
        found, own = ledger(loss), 4 if loss.device.kind == "standin" else 0  # NumPy's scalars are no arrays
        before = array_bytes()
        del loss
        assert before - array_bytes() == found.freed + own
    finally:
        tracemalloc.stop()
