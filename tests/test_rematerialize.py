"""Ops that are run again in the backward pass, chosen from a first run: what is kept, to the byte, and equal gradients."""

import gc
import re
import tracemalloc

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.hooks import remade
from gpugrad.recording import packing
from gpugrad.rematerialize import within

MB = 2**20


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def numpy_bytes():
    """The bytes of NumPy's arrays that are alive and were made since tracemalloc started."""
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum([t.size for t in tracemalloc.take_snapshot().filter_traces([only]).traces])


def weights(*shapes):
    rng = np.random.default_rng(len(shapes))
    return [gg.tensor((rng.standard_normal(s) * 0.3).astype(np.float32), requires_grad=True) for s in shapes]


def block(x, w, v, scale, bias):
    """A bit of everything: views, several outputs, auxiliaries, an index array, static arguments, a random op."""
    h = nn.layer_norm(x, (x.shape[-1],), scale, bias)
    a, b = gg.split(gg.permute_dims(gg.reshape(nn.gelu(h @ w), (4, -1, 16)), (0, 2, 1)), 2, axis=1)
    h = gg.reshape(gg.concat([gg.tanh(a) * b, gg.exp(-gg.square(a))], axis=1), (x.shape[0], -1))
    h = nn.dropout(h[np.arange(x.shape[0])[::-1]], 0.25, seed=3) if "seed" in DROPOUT else h[::-1] * 0.75
    return x + nn.softmax(gg.cumsum(nn.relu(h @ v), axis=-1))


DROPOUT = ""


def gradients(f, ts):
    for t in ts:
        t.grad = None
    gg.sum(gg.square(f(*ts))).backward()
    return [t.grad.numpy() for t in ts]


def assert_same(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


SHAPES = [(32, 24), (24, 32), (32, 24), (24,), (24,)]


@pytest.mark.devices
@pytest.mark.parametrize("part", [1.0, 0.6, 0.3, 0.0])
def test_gradients_are_equal_to_the_bit_under_every_bound(part):
    ts = weights(*SHAPES)
    expected = gradients(block, ts)
    free = within(block, 1e9)
    assert_same(gradients(free, ts), expected)
    assert free.plan.saved == free.plan.before and not free.plan.until
    bound = int(free.plan.before * part) or least(block, ts)
    g = within(block, bound)
    assert_same(gradients(g, ts), expected)  # the first run, which keeps all
    assert g.plan.saved <= bound and bool(g.plan.until) == (part < 1)
    assert_same(gradients(g, ts), expected)
    assert not packing and not remade


def least(f, ts):
    """The least that can be kept of f."""
    with pytest.raises(ValueError, match="the least found possible here is") as e:
        within(f, 0)(*ts)
    return int(re.search(r"max_bytes=(\d+), or", str(e.value))[1])
