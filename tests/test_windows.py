"""Convolution, pooling, resampling: bad input, what is kept, and odd places that the op table does not reach."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.ops import channels_last, conv, conv_activation, threads, windows
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


def array(*shape, dtype="float64"):
    return gg.tensor(np.arange(1, 1 + np.prod(shape), dtype=dtype).reshape(shape))


X = (1, 4, 5, 5)
BAD = {
    "rank": (lambda: nn.conv2d(array(5, 5), array(1, 4, 3, 3)), "conv2d: takes .batch, channels"),
    "rank of w": (lambda: nn.conv2d(array(*X), array(1, 4, 3)), "conv2d: w has shape"),
    "channels": (lambda: nn.conv2d(array(*X), array(1, 3, 3, 3)), "4 channels in 1 groups do not go with w"),
    "groups in": (lambda: nn.conv2d(array(*X), array(3, 1, 3, 3), groups=3), "4 channels in 3 groups"),
    "groups out": (lambda: nn.conv2d(array(*X), array(3, 2, 3, 3), groups=2), "groups divides in and out"),
    "groups 0": (lambda: nn.conv2d(array(*X), array(3, 2, 3, 3), groups=0), "groups is a number from 1 on"),
    "bias": (lambda: nn.conv2d(array(*X), array(3, 4, 3, 3), array(2)), r"bias has shape \(2,\); .*\(3,\)"),
    "kernel": (lambda: nn.conv2d(array(*X), array(1, 4, 6, 3)), r"reaches over \(6, 3\) elements.*\(5, 5\)"),
    "dilated": (lambda: nn.conv2d(array(*X), array(1, 4, 3, 3), dilation=3), r"reaches over \(7, 7\)"),
    "stride 0": (lambda: nn.conv2d(array(*X), array(1, 4, 3, 3), stride=0), "stride is a number from 1 on"),
    "strides": (lambda: nn.conv2d(array(*X), array(1, 4, 3, 3), stride=(1, 1, 1)), "stride is a number from 1 on"),
    "padding": (lambda: nn.conv2d(array(*X), array(1, 4, 3, 3), padding="full"), "'same', 'valid' or numbers"),
    "negative": (lambda: nn.conv2d(array(*X), array(1, 4, 3, 3), padding=-1), "padding is a number from 0 on"),
    "paddings": (lambda: nn.conv2d(array(*X), array(1, 4, 3, 3), padding=(1,)), "or 2 of them or of pairs"),
    "no channels": (lambda: nn.conv1d(array(2, 0, 4), array(1, 0, 2)), "w has shape"),
    "transpose": (lambda: nn.conv_transpose2d(array(*X), array(3, 4, 3, 3)), "4 channels in 1 groups"),
    "output_padding": (lambda: nn.conv_transpose2d(array(*X), array(4, 1, 3, 3), output_padding=1), "not below stride"),
    "same": (lambda: nn.conv_transpose1d(array(1, 1, 2), array(1, 1, 2), padding="same", output_padding=1, stride=2),
             "output_padding .1,. does not go with padding='same'"),
    "nothing left": (lambda: nn.conv_transpose1d(array(1, 1, 2), array(1, 1, 1), padding=1), "leaves nothing"),
    "pool": (lambda: nn.max_pool2d(array(*X), 6), r"max_pool2d: a window reaches over \(6, 6\)"),
    "pool kernel": (lambda: nn.avg_pool2d(array(*X), 0), "avg_pool2d: kernel is a number from 1 on"),
    "pool padding": (lambda: nn.max_pool2d(array(*X), 2, padding=2), "no element of x"),
    "pool words": (lambda: nn.max_pool2d(array(*X), 2, padding="same"), "padding is a number from 0 on"),
    "divisor": (lambda: nn.avg_pool2d(array(*X), 2, divisor_override=0), "divisor_override is not 0"),
    "size": (lambda: nn.adaptive_avg_pool2d(array(*X), (0, 2)), "size is a number from 1 on"),
    "adaptive rank": (lambda: nn.adaptive_max_pool2d(array(3, 3), 1), "adaptive_max_pool2d: takes"),
    "adaptive empty": (lambda: nn.adaptive_max_pool1d(array(2, 3, 0), 1), "nothing to pool"),
    "global": (lambda: nn.global_max_pool(array(3, 3)), "global_max_pool: takes"),
    "mode": (lambda: nn.interpolate(array(*X), 3, mode="cubic"), "mode 'cubic' is not one of"),
    "mode axes": (lambda: nn.interpolate(array(*X), 3, mode="linear"), "mode 'linear' is not one of"),
    "corners": (lambda: nn.interpolate(array(*X), 3, align_corners=True), "align_corners does not go with"),
    "two sizes": (lambda: nn.interpolate(array(*X), 3, 2.0), "give size or scale_factor, one of them"),
    "no size": (lambda: nn.interpolate(array(*X)), "give size or scale_factor, one of them"),
    "scale": (lambda: nn.interpolate(array(*X), scale_factor=-1), "scale_factor is a positive number"),
    "small": (lambda: nn.interpolate(array(*X), scale_factor=0.1), "size is a number from 1 on"),
    "unfold": (lambda: nn.unfold(array(5, 5), 2), "unfold: takes"),
    "fold": (lambda: nn.fold(array(1, 4, 5), (3, 3), 2), r"fold: takes .batch, channels \* 4, 4."),
    "group_norm": (lambda: nn.group_norm(array(*X), 3), "4 channels do not make 3 equal groups"),
    "group_norm weight": (lambda: nn.group_norm(array(*X), 2, array(3)), r"weight has shape \(3,\)"),
    "instance_norm": (lambda: nn.instance_norm(array(2, 3, 1)), "needs more than 1 value"),
    "instance_norm running": (lambda: nn.instance_norm(array(*X), use_input_stats=False), "needs running_mean"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    f, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        f()


def test_bad_types():
    with pytest.raises(TypeError, match="stride is a whole number or 2 of them, given 1.5"):
        nn.conv2d(array(*X), array(1, 4, 3, 3), stride=1.5)
    for f in (
        lambda: nn.conv2d(array(*X), array(1, 4, 3, 3), padding=1.5), lambda: nn.unfold(array(*X), 2, padding=(1.5, 0)),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="padding is a whole number or 2 of them, given 1.5"):
            f()
    with pytest.raises(TypeError, match="unfold: kernel is a whole number or 2 of them, given 1.5"):
        nn.unfold(array(*X), 1.5)
    for f in (nn.max_pool2d, nn.adaptive_max_pool2d):
        with pytest.raises(TypeError, match="complex numbers have no order"):
            f(array(*X, dtype="complex64"), 2)


def test_indices_are_where_the_largest_are():
    x = gg.tensor(np.random.default_rng(0).permutation(np.arange(60.0)).reshape(2, 5, 6))
    flat = x.reshape(2, 30)
    for y, places in (
        nn.max_pool2d(x, (2, 3), 1, padding=1, dilation=(2, 1), ceil_mode=True, return_indices=True),
        nn.adaptive_max_pool2d(x, (3, 4), return_indices=True),
    ):
        assert places.dtype == gg.int64 and places.node is None and places.shape == y.shape
        assert (gg.take_along_axis(flat, places.reshape(2, -1), axis=1).reshape(y.shape) == y).numpy().all()


def test_a_window_of_the_lowest_value_is_no_padding():
    x = gg.tensor(np.full((1, 2, 2), -np.inf), requires_grad=True)
    y, places = nn.max_pool2d(x, 2, padding=1, return_indices=True)
    assert (y.numpy() == -np.inf).all() and places.tolist() == [[[0, 1], [2, 3]]]
    gg.sum(nn.max_pool2d(x, 2, padding=1)).backward()
    assert x.grad.tolist() == [[[1, 1], [1, 1]]]


def test_a_nan_is_the_largest():
    x = gg.tensor([[[1.0, np.nan, 3.0, 2.0]]])
    assert np.isnan(nn.max_pool1d(x, 2).tolist()[0][0][0]) and nn.max_pool1d(x, 2).tolist()[0][0][1] == 3


def test_integers():
    x = gg.tensor(np.arange(16).reshape(1, 4, 4))
    y = nn.max_pool2d(x, 2, padding=1)
    assert y.dtype == x.dtype and y.tolist() == [[[0, 2, 3], [8, 10, 11], [12, 14, 15]]]
    for f in (
        lambda: nn.avg_pool2d(x, 2),
        lambda: nn.conv2d(x, gg.ones((1, 1, 2, 2))),
        lambda: nn.adaptive_avg_pool2d(x, 3),
    ):
        assert f().dtype == gg.float32  # fmt: skip
    assert nn.interpolate(x[None], 8).dtype == x.dtype


def test_an_infinity_stays_where_it_is():
    x = gg.tensor([[[1.0, np.inf, 3.0]]])
    assert nn.adaptive_avg_pool1d(x, 2).tolist() == [[[np.inf, np.inf]]]
    assert nn.interpolate(x, 6).tolist() == [[[1, 1, np.inf, np.inf, 3, 3]]]
    assert nn.adaptive_avg_pool1d(gg.tensor([[[1.0, 2.0, 3.0, np.inf]]]), 3).tolist()[0][0][:2] == [1.5, 2.5]


@pytest.mark.parametrize("block", [1, 300, 2000])
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_of_columns_make_no_difference(monkeypatch, block, stride):
    """As many images and rows of windows as fit into a block, down to one row."""
    rng = np.random.default_rng(0)
    x, w = [gg.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 2, 7, 4), (4, 2, 3, 2))]

    def results():
        y = nn.conv2d(x, w, stride=stride, padding=1)
        return [y, *gg.grad(y, [x, w], gg.ones_like(y))]

    expected = results()
    monkeypatch.setattr(conv, "HOST_BLOCK", block)
    monkeypatch.setattr(conv, "GPU_BLOCK", block)
    for a, b in zip(results(), expected, strict=True):
        assert_close(a, b, atol=1e-14)  # sums in another order


def test_what_convolution_and_pooling_keep():
    x, w = gg.tensor(np.ones((2, 3, 8, 8))), gg.tensor(np.ones((4, 3, 3, 3)))
    with gg.GradientTape() as tape:
        tape.watch([x, w])
        y = nn.conv2d(x, w)
    assert y.node and tape.nbytes() == x.array.nbytes + w.array.nbytes  # no columns
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = nn.max_pool2d(x, 2)
    assert tape.nbytes() == y.array.size  # a byte for each
    for f in (nn.avg_pool2d, nn.adaptive_avg_pool2d, nn.unfold):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x, 2)
        assert y.node and tape.nbytes() == 0


def test_instance_norm_moves_its_running_statistics():
    x = np.random.default_rng(0).standard_normal((4, 3, 5))
    mean, var = gg.zeros(3, dtype="float64"), gg.ones(3, dtype="float64")
    nn.instance_norm(gg.tensor(x), mean, var, momentum=0.25)
    assert_close(mean, 0.25 * x.mean((0, 2)))
    assert_close(var, 0.75 + 0.25 * x.var(2, ddof=1).mean(0))


def test_running_statistics_are_floating_arrays_of_any_kind():
    """Tensors or arrays of the device; integers, which would be moved by whole numbers, are refused."""
    x, made = gg.tensor(np.random.default_rng(0).standard_normal((2, 3, 4))), gg.zeros((3,), dtype="float64")
    mean, var = made.array.copy(), made.array + 1
    y = nn.instance_norm(x, mean, var, use_input_stats=False)
    np.testing.assert_allclose(y.numpy(), x.numpy() / np.sqrt(1 + 1e-5))
    nn.instance_norm(x, mean, var, momentum=0.5)
    np.testing.assert_allclose(gg.tensor(mean).numpy(), x.numpy().mean((0, 2)) / 2)
    whole = gg.zeros((3,), dtype="int32")
    for f in (nn.instance_norm, lambda *a: nn.batch_norm(*a, training=True), nn.batch_norm):
        with pytest.raises(TypeError, match="(batch|instance)_norm: running_mean is floating, given int32"):
            f(x, whole, var)


@pytest.mark.numpy("the way of NumPy's arrays")
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9,), (5, 4), (3, 4, 3)])
def test_channels_last_makes_no_difference(monkeypatch, size, stride, dilation):
    """Many channels on few elements are gathered in another order: the same convolution and gradients."""
    n = len(size)
    at, _ = windows.place("conv", size, (2,) * n, stride, 1, dilation)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 40, *size)), rng.standard_normal((5, 40, *[2] * n))
    g, bias = rng.standard_normal((3, 5, *at.counts)), rng.standard_normal(5)
    assert channels_last.suits(np.zeros((1, 64, 4, 4)), at._replace(counts=(4,) * n, stride=(1,) * n), 1)

    def both(choose):
        monkeypatch.setattr(channels_last, "suits", choose)
        monkeypatch.setattr(channels_last, "many", choose)
        return [
            conv.conv_op(x, w, bias, at=at, groups=1), conv.conv_input(g, w, at=at, groups=1),
            conv.conv_weight(g, x, at=at, groups=1),
        ]  # fmt: skip

    monkeypatch.setattr(conv, "HOST_BLOCK", 2000)
    as_columns = both(lambda *args: False)
    as_rows = both(lambda *args: True)
    for a, b in zip(as_columns, as_rows, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.numpy("the way of NumPy's arrays")
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [2, 40])
def test_threads_make_no_difference(monkeypatch, channels, groups):
    """Each has memory of its own for its windows, which later ones get."""
    at, _ = windows.place("conv", (6, 5), (3, 3), 1, 1, 1)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((24, channels, 6, 5)), rng.standard_normal((24, channels // groups, 3, 3))
    g = rng.standard_normal((24, 24, *at.counts))

    def made():
        return [
            conv.conv_op(x, w, None, at=at, groups=groups), conv.conv_input(g, w, at=at, groups=groups),
            conv.conv_weight(g, x, at=at, groups=groups),
        ]  # fmt: skip

    monkeypatch.setattr(conv, "HOST_BLOCK", 20000)
    expected = made()
    monkeypatch.setattr(conv, "MANY", 0)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    for _ in range(5):
        for a, b in zip(made(), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.numpy("the way of NumPy's arrays")
@pytest.mark.parametrize("activation", [None, "relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("shape", [(2, 1, 7), (3, 16, 4, 4), (2, 5, 3, 3, 2)])
def test_channels_stay_last_in_memory(shape, activation):
    """Convolution, activation and pooling hand on and give back arrays that are not turned, with the same values."""
    n = len(shape) - 2
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape), rng.standard_normal((48, shape[1], *[3] * n))
    v = rng.standard_normal((48, 48, *[1] * n))
    bias = rng.standard_normal(48)

    def net(x, w, v, bias, turn=lambda y: y):
        y = turn(conv_activation.conv(x, w, bias, padding=1, activation=activation))
        z = turn((nn.max_pool1d, nn.max_pool2d, nn.max_pool3d)[n - 1](y, 2))
        return y, z, turn(conv_activation.conv(z, v, activation=activation))

    inputs = [gg.tensor(a, requires_grad=True) for a in (x, w, v, bias)]
    ys = net(*inputs)
    assert all([channels_last.lies(y.array) for y in ys])
    plain = net(*inputs, turn=lambda y: gg.reshape(gg.reshape(y, (-1,)), y.shape))  # channels first in memory
    seed = gg.tensor(rng.standard_normal(ys[-1].shape))
    for y, z in zip(ys, plain):
        assert_close(y, z, rtol=1e-10, atol=1e-12)
    for a, b in zip(gg.grad(ys[-1], inputs, seed), gg.grad(plain[-1], inputs, seed), strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)
