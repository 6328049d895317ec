"""Random programs over the op table: values and gradients against the rows' references, in float64.

A step takes any row and feeds each of its inputs with elements of any value so far, brought into the row's domain by a
smooth map with an offset of its own for each element, so that no two are equal where they were not.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from table import ROWS

import gpugrad as gg
from gpugrad import nn

pytestmark = pytest.mark.devices

# Dropout's bits depend on the device; a result that changes its dtype or its device is no link of a chain.
LINKS = [r for r in ROWS if r.op not in ("dropout", "astype", "to_device") and r.order > 1]
programs = st.lists(
    st.tuples(st.sampled_from(LINKS), st.lists(st.integers(0, 5), min_size=4, max_size=4)), min_size=2, max_size=4
)


def offsets(n):
    """n numbers in (-1, 1), no two alike."""
    return np.modf(np.arange(1, n + 1) * 0.6180339887498949)[0] * 2 - 1


def domain(row):
    """Where its inputs may be: on one side of a kink at 0."""
    return (max(row.low, row.apart), row.high) if row.apart else (row.low, row.high)


def run(program, xs, lib):
    """The weighted sum of all values.  `lib` has what the two worlds do differently."""
    values = list(xs)
    for row, picks in program:
        low, high = domain(row)
        fed = []
        for shape, pick in zip(row.shapes, picks * len(row.shapes)):
            v, n = values[pick % len(values)], int(np.prod(shape))
            index = np.arange(n) % max(1, int(np.prod(v.shape)))
            z = lib.take(lib.flat(v), index) + lib.array(offsets(n))
            fed.append(lib.reshape(low + (high - low) * lib.squash(z), shape))
        value = lib.call(row, fed)
        if 0 not in value.shape:
            values.append(value)
    return sum([lib.total(lib.flat(v) * lib.array(offsets(int(np.prod(v.shape))))) for v in values])


class Numpy:
    array = staticmethod(np.asarray)
    take = staticmethod(lambda v, i: v[i])
    flat, reshape = staticmethod(np.ravel), staticmethod(np.reshape)
    total = staticmethod(np.sum)
    squash = staticmethod(lambda z: 1 / (1 + np.exp(-np.tanh(z * 0.3) * 3)))
    call = staticmethod(lambda row, xs: np.asarray(row.reference(*xs)))


class Ours:
    array, take, flat, reshape, total = gg.tensor, gg.take, gg.flatten, gg.reshape, gg.sum
    squash = staticmethod(lambda z: nn.sigmoid(gg.tanh(z * 0.3) * 3))
    call = staticmethod(lambda row, xs: row.f(*xs))


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))  # kinks are near
@given(program=programs, seed=st.integers(0, 2**16))
def test_values_and_gradients(program, seed):
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal((3, 4)), rng.standard_normal((5,))]
    ts = [gg.tensor(x) for x in xs]
    with gg.GradientTape() as tape:
        tape.watch(ts)
        y = run(program, ts, Ours)
    gs = tape.gradient(y, ts, unconnected_gradients="zero")
    expected = run(program, xs, Numpy)
    assert float(y) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    ways = [rng.standard_normal(x.shape) for x in xs]
    eps = 1e-6
    ends = [run(program, [x + s * eps * w for x, w in zip(xs, ways)], Numpy) for s in (1, -1)]
    along = sum([float(np.vdot(g.numpy(), w)) for g, w in zip(gs, ways)])
    assert along == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-4, abs=1e-5 * max(1, abs(expected)))
