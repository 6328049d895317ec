"""Launches that are prepared once: the second call does what the first did, and is as careful."""

import contextlib
import itertools

import numpy as np
import pytest

from gpugrad import fused, kernels, launch
from gpugrad.array import to_host
from gpugrad.launch import Launch, Launcher

RNG = np.random.default_rng(0)


def random(host, *shape, dtype=np.float32):
    return host.put(RNG.standard_normal(shape).astype(dtype))


def twice(f):
    """f(), which is the same the second time; None where an output is left out."""
    a, b = ([None if o is None else to_host(o).copy() for o in f()] for _ in range(2))
    for x, y in zip(a, b, strict=True):
        assert (x is None and y is None) or np.array_equal(x, y, equal_nan=True)
    return a


@pytest.mark.parametrize("left_out", list(itertools.product([True, False], repeat=4)))
def test_arrays_that_are_left_out(host, left_out):
    residual, gamma, beta, plain = left_out
    x, v = random(host, 5, 7), random(host, 7)
    given = {"gamma": None if gamma else v, "beta": None if beta else v, "residual": None if residual else x}
    out, total, mean, rstd = twice(lambda: fused.norm(x, **given, center=not plain))
    a = to_host(x).astype(float) * (1 if residual else 2)
    d = a if plain else a - a.mean(-1, keepdims=True)
    expected = d / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5)
    expected = expected * (1 if gamma else to_host(v)) + (0 if beta else to_host(v))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(total, a, rtol=1e-6)
    assert (mean is None) == plain and rstd.shape == (5,)
    host.check()


def test_varying_scalars_are_those_of_the_call(host):
    x = random(host, 1000)
    a, b, c = (to_host(fused.dropout(x, 0.5, 1, offset)) for offset in (0, 2**40, 0))
    assert np.array_equal(a, c) and not np.array_equal(a, b)


@pytest.fixture
def asked(host):
    """(a launcher, the shapes that it was asked to prepare)."""
    shapes = []

    def make(p, x, n):
        shapes.append(x.shape)
        run = p.get("softmax", "softmax", x.dtype, 32) if x.size else None
        return Launch(run, (1,), (256,), [(x.shape, x.dtype)], (0, *x.shape))

    return Launcher(make), shapes


def test_a_launch_is_prepared_once_for_arrays_of_the_same_signs(host, asked, monkeypatch):
    f, shapes = asked
    x = random(host, 3, 4)
    first = to_host(f((x,), 1)[0])
    monkeypatch.setattr(kernels.Instance, "__call__", lambda *args: pytest.fail("checked again"))
    before = host.launches
    for _ in range(3):
        np.testing.assert_array_equal(to_host(f((host.put(to_host(x)),), 1)[0]), first)
    assert shapes == [(3, 4)] and host.launches == before + 3


def test_other_signs_are_looked_at_anew(host, asked):
    f, shapes = asked
    x = random(host, 4, 4)
    f((x,), 1)
    for other in (random(host, 4, 5), random(host, 4, 4, dtype=np.float64), random(host, 0, 4)):
        f((other,), 1)
    f((x,), 2)
    assert len(shapes) == 5
    for _ in range(2):  # copied first, at every call
        np.testing.assert_array_equal(to_host(f((x.T,), 1)[0]), to_host(f((host.put(to_host(x).T),), 1)[0]))
    assert len(shapes) == 7
    for wrong in (to_host(x), 3.0, None, [1.0]):
        with pytest.raises((TypeError, AttributeError)):
            f((wrong,), 1)


def test_shapes_that_do_not_fit_raise_at_every_call(host):
    x, y = random(host, 3, 4), random(host, 4)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"bias has shape \(4,\), and \(5,\) is needed here"):
            fused.bias_act(random(host, 3, 5), y, "relu")
        fused.bias_act(x, y, "relu")


def test_a_program_whose_shapes_never_repeat_does_not_grow(host, asked, monkeypatch):
    f, shapes = asked
    monkeypatch.setattr(launch, "REMEMBERED", 4)
    for n in range(1, 12):
        f((random(host, 1, n),), 1)
    assert len(f._known) <= 4 and len(shapes) == 11


def test_it_goes_where_the_arrays_are(host, monkeypatch):
    x, inside = random(host, 3, 4), []
    fused.softmax(x)

    @contextlib.contextmanager
    def scope(device):
        inside.append(device)
        yield
        inside.pop()

    made, compiled = [], host.empty
    monkeypatch.setattr(host, "scope", scope)
    monkeypatch.setattr(host, "here", lambda index: bool(inside))
    monkeypatch.setattr(host, "empty", lambda *o: made.append(bool(inside)) or compiled(*o))
    kernels._places.pop((host, 0))
    for _ in range(2):
        fused.softmax(random(host, 3, 5))
    assert made == [True, True] and inside == []
    kernels._places.pop((host, 0))
