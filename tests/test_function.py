"""gg.Function on core tensors: under tapes, with Variables, and what it leaves in memory."""

import gc
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import assert_close


class Exp(gg.Function):
    @staticmethod
    def forward(ctx, x):
        y = gg.exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


class SinCos(gg.Function):
    @staticmethod
    def forward(ctx, x):
        out = gg.sin(x), gg.cos(x)
        ctx.save_for_backward(*out)
        return out

    @staticmethod
    def backward(ctx, g, h):
        s, c = ctx.saved_tensors
        return g * c - h * s


@pytest.mark.parametrize("f", [Exp.apply, lambda x: SinCos.apply(x)[0], lambda x: sum(SinCos.apply(x))])
def test_every_order_in_both_modes(f):
    gg.testing.check_grads(f, [np.array([0.3, -1.2])], order=3)


def test_on_tapes_and_with_variables():
    v = gg.Variable([0.5, 1.0])
    with gg.GradientTape() as outer:
        with gg.GradientTape() as inner:
            y = gg.sum(Exp.apply(v) * v)
        g = inner.gradient(y, v)
        assert type(g) is gg.Tensor
    e = np.exp([0.5, 1.0])
    assert_close(g, e * np.array([1.5, 2.0]))
    assert_close(outer.gradient(g, v), e * np.array([2.5, 3.0]))
    with gg.GradientTape() as tape:
        y = Exp.apply(v)
    assert tape.gradient(y, v) is not None
    with pytest.raises(RuntimeError, match="used to compute|only be called once|a second time"):
        tape.gradient(y, v)
    assert Exp.apply(gg.tensor([1.0])).node is None


def test_a_saved_value_is_that_of_the_call():
    v = gg.Parameter([2.0])
    y = Square.apply(v)
    v.assign([10.0])
    y.sum().backward()
    assert v.grad.tolist() == [4.0]


class Square(gg.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x * 2


@pytest.mark.parametrize("f", [Exp.apply, Square.apply, lambda x: SinCos.apply(x)[1]])
def test_no_cycles(f):
    gc.collect()
    gc.disable()
    try:
        x = gg.tensor(np.ones(3), requires_grad=True)
        y = f(x)
        dead = weakref.ref(y.node), weakref.ref(y)
        del y
        assert [d() for d in dead] == [None, None]
        y = f(x)
        (g,) = gg.grad(y.sum(), x, create_graph=True)
        dead = weakref.ref(y.node), weakref.ref(g.node) if g.node is not None else lambda: None
        del y, g
        assert [d() for d in dead] == [None, None]
    finally:
        gc.enable()


def test_saved_arrays_are_freed_by_the_walk():
    kept = []

    class Big(Square):
        @staticmethod
        def forward(ctx, x):
            kept.append(ctx)
            inner = gg.exp(x)
            ctx.save_for_backward(inner)
            kept.append(weakref.ref(inner.array))
            return inner * 1

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    x = gg.tensor(np.ones(3), requires_grad=True)
    y = Big.apply(x)
    assert kept[1]() is not None
    y.sum().backward()
    assert kept[1]() is None
    with pytest.raises(RuntimeError, match="a second time"):
        print(kept[0].saved_tensors)
