"""ONNX files: what onnxruntime answers is what the model answers, for any batch; what cannot be written is an error.

The batch of the example is 2; the files are run with 1, 2 and 5.
"""

import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from interop_models import MODELS
from table import ROWS as TABLE
from table.row import inputs as drawn

import gpugrad as gg
from gpugrad import nn
from gpugrad.interop.onnx import OPSET, ROWS, ExportError, export

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

RANDOM = np.random.default_rng(3)
RNN = {n: getattr(nn, n) for n in ("LSTM", "GRU", "RNN")}


def normal(*shape, dtype="float32"):
    return RANDOM.standard_normal(shape).astype(dtype)


X, IMAGE, LINE, CUBE = normal(2, 6), normal(2, 4, 9, 8), normal(2, 4, 11), normal(2, 4, 5, 6, 5)
IDS = RANDOM.integers(0, 20, (2, 7))
WORDS = normal(2, 7, 16)


class Two(nn.Module):
    """A module of a function of several inputs, with modules that it calls."""

    def __init__(self, f, *inner):
        self.inner, self._f = list(inner), f

    def forward(self, *xs):
        return self._f(*self.inner, *xs)


attend = lambda **options: nn.MultiheadAttention(16, 4, batch_first=True, **options)
encoder = lambda **options: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, **options)
decoder = lambda **options: nn.TransformerDecoderLayer(16, 4, 32, batch_first=True, **options)

LAYERS = {
    "Linear": (lambda: nn.Linear(6, 3), X),
    "Linear of more axes": (lambda: nn.Linear(8, 3), IMAGE),
    "Linear without bias": (lambda: nn.Linear(6, 3, bias=False), X),
    **{f"Linear {a}": (lambda a=a: nn.Linear(6, 3, activation=a), X) for a in ("relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")},
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), LINE),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(1, 0), dilation=(2, 1), groups=2), IMAGE),
    "Conv2d same": (lambda: nn.Conv2d(4, 6, 4, padding="same", bias=False), IMAGE),
    "Conv3d": (lambda: nn.Conv3d(4, 2, 3, stride=2), CUBE),
    **{f"Conv1d {a}": (lambda a=a: nn.Conv1d(4, 2, 3, activation=a), LINE) for a in ("relu", "gelu", "sigmoid", "tanh")},
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2), LINE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, output_padding=1, groups=2), IMAGE),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 2, 2, bias=False), CUBE),
    "MaxPool1d": (lambda: nn.MaxPool1d(3), LINE),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), IMAGE),
    "MaxPool2d ceil": (lambda: nn.MaxPool2d(2, 2, ceil_mode=True), IMAGE),
    "MaxPool3d": (lambda: nn.MaxPool3d(2), CUBE),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2), LINE),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1), IMAGE),
    "AvgPool2d without padding": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "AvgPool2d ceil": (lambda: nn.AvgPool2d(2, 2, ceil_mode=True), IMAGE),
    "AvgPool3d": (lambda: nn.AvgPool3d(2), CUBE),
    "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(4), LINE),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, 4)), IMAGE),
    "AdaptiveAvgPool2d overlapping": (lambda: nn.AdaptiveAvgPool2d((2, 3)), IMAGE),
    "AdaptiveAvgPool2d of one": (lambda: nn.AdaptiveAvgPool2d(1), IMAGE),
    "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(4), LINE),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d((3, 4)), IMAGE),
    "AdaptiveMaxPool3d": (lambda: nn.AdaptiveMaxPool3d(2), CUBE),
    "GlobalMaxPool": (lambda: nn.GlobalMaxPool(), IMAGE),
    "GlobalAvgPool": (lambda: nn.GlobalAvgPool(), IMAGE),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6), X),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGE),
    "BatchNorm2d without affine": (lambda: nn.BatchNorm2d(4, affine=False), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm(8), IMAGE),
    "LayerNorm of two axes": (lambda: nn.LayerNorm((9, 8)), IMAGE),
    "LayerNorm without affine": (lambda: nn.LayerNorm(8, elementwise_affine=False), IMAGE),
    "RMSNorm": (lambda: nn.RMSNorm(8), IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4), LINE),
    "InstanceNorm2d with statistics": (lambda: nn.InstanceNorm2d(4, track_running_stats=True), IMAGE),
    "Dropout": (lambda: nn.Dropout(0.5), X),
    "Dropout2d": (lambda: nn.Dropout2d(0.5), IMAGE),
    "Embedding": (lambda: nn.Embedding(20, 5, padding_idx=3), IDS),
    "Embedding of int32": (lambda: nn.Embedding(20, 5), IDS.astype(np.int32)),
    "Flatten": (lambda: nn.Flatten(), IMAGE),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 3)), X),
    "Identity": (lambda: nn.Identity(), X),
    "ZeroPad2d": (lambda: nn.ZeroPad2d((1, 2, 0, 1)), IMAGE),
    "ConstantPad1d": (lambda: nn.ConstantPad1d(2, 1.5), LINE),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(2), IMAGE),
    "ReplicationPad1d": (lambda: nn.ReplicationPad1d((1, 2)), LINE),
    "CircularPad1d": (lambda: nn.CircularPad1d(2), LINE),
    "Upsample nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(scale_factor=2), IMAGE),
    "RReLU": (lambda: nn.RReLU(), X),
    "sizes not seen yet": (lambda: nn.Sequential(nn.Conv2d(None, 3, 3), nn.Flatten(), nn.Linear(None, 2)), IMAGE),
    "Transformer": (lambda: Two(lambda f, x, y: f(x, y), nn.Transformer(16, 4, 1, 1, 32, batch_first=True)), (WORDS, WORDS[:, :3])),
    "positions": (lambda: Two(lambda e, p, i: e(i) + p(gg.arange(i.shape[1])), nn.Embedding(20, 8), nn.Embedding(50, 8)), IDS),
    "one_hot": (lambda: Two(lambda i: gg.one_hot(i, 20)), IDS),
    "topk and sort": (lambda: Two(lambda x: (*gg.topk(x, 3), gg.sort(x, descending=True))), X),
    "PReLU": (lambda: nn.PReLU(4), IMAGE),
    "CosineSimilarity": (lambda: Two(lambda f, x, y: f(x, y), nn.CosineSimilarity()), (X, X[::-1].copy())),
    "MultiheadAttention": (lambda: Two(lambda f, x: f(x, x, x), attend()), WORDS),
    "MultiheadAttention causal": (lambda: Two(lambda f, x: f(x, x, x, need_weights=False, is_causal=True)[0], attend()), WORDS),
    "MultiheadAttention of others": (lambda: Two(lambda f, x, y: f(x, y, y, need_weights=False)[0], attend()), (WORDS, WORDS[:, :3])),
    "MultiheadAttention kdim": (lambda: Two(lambda f, x, y: f(x, y, y)[0], attend(kdim=6, vdim=6)), (WORDS, normal(2, 3, 6))),
    "MultiheadAttention padding": (
        lambda: Two(lambda f, x, m: f(x, x, x, m, need_weights=False)[0], attend()), (WORDS, RANDOM.random((2, 7)) < 0.4)
    ),
    "TransformerEncoderLayer": (lambda: encoder(), WORDS),
    "TransformerEncoderLayer norm_first gelu": (lambda: encoder(norm_first=True, activation="gelu"), WORDS),
    "TransformerDecoderLayer": (lambda: Two(lambda f, x, y: f(x, y), decoder()), (WORDS, WORDS[:, :5])),
    "TransformerEncoder": (lambda: nn.TransformerEncoder(encoder(), 2, norm=nn.LayerNorm(16)), WORDS),
    **{f"model {name}": (make, {"mlp": X, "conv": normal(2, 2, 12, 12), "transformer": IDS, "recurrent": normal(2, 4, 5)}[name]) for name, make in MODELS.items()},
    **{n: (lambda f=f: f(16, 5, batch_first=True), WORDS) for n, f in RNN.items()},
    **{f"{n} of two layers": (lambda f=f: f(16, 5, 2, batch_first=True, bidirectional=True), WORDS) for n, f in RNN.items()},
    **{f"{n} from a state": (lambda f=f, n=n: Two(lambda m, x, h: m(x, (h[None], h[None]) if n == "LSTM" else h[None]), f(16, 5, bias=False, batch_first=True)), (WORDS, normal(2, 5))) for n, f in RNN.items()},
    **{f"{n} with lengths": (lambda f=f: Two(lambda m, x, many: m(x, lengths=many), f(16, 5, 2, batch_first=True, bidirectional=True)), (WORDS, np.array([7, 3]))) for n, f in RNN.items()},
    "RNN relu": (lambda: nn.RNN(16, 5, nonlinearity="relu", batch_first=True), WORDS),
    "LSTMCell": (lambda: Two(lambda m, x: m(x), nn.LSTMCell(6, 4)), X),
    "GRUCell": (lambda: Two(lambda m, x: m(x, x[:, :4]), nn.GRUCell(6, 4)), X),
    "RNNCell": (lambda: Two(lambda m, x: m(x), nn.RNNCell(6, 4)), X),
}  # fmt: skip

ACTIVATIONS = [
    "ReLU", "GELU", "SiLU", "Mish", "Softplus", "ELU", "SELU", "CELU", "LeakyReLU", "Hardswish", "Hardsigmoid", "Hardtanh",
    "ReLU6", "Hardshrink", "Softshrink", "Softsign", "Tanhshrink", "LogSigmoid", "Tanh", "Sigmoid", "GLU", "Softmin",
    "Softmax", "LogSoftmax",
]  # fmt: skip
LAYERS |= {
    name: (lambda name=name: getattr(nn, name)(*([-1] if name in ("Softmax", "LogSoftmax", "Softmin") else [])), X)
    for name in ACTIVATIONS
}

FUNCTIONS = {
    "arithmetic": lambda x: ((x + 1) * 2 - x / 3, 1 / (x * x + 1), abs(x) ** 0.5, -x, x @ x.T, gg.remainder(x, 0.3)),
    "mixed dtypes": lambda x: (x + gg.arange(6), x * 2, x.astype("int32") + 1, x.astype("int64") // 2, x.astype("bool")),
    "elementary": lambda x: (gg.exp(x), gg.log(abs(x) + 1), gg.sqrt(gg.square(x)), gg.rsqrt(x * x + 1), gg.sin(x), gg.cos(x), gg.atan(x), gg.erf(x), gg.expm1(x), gg.log1p(x * x), gg.log2(x * x + 1), gg.log10(x * x + 1), gg.exp2(x), gg.sign(x), gg.floor(x), gg.reciprocal(x + 5)),
    "comparisons": lambda x: (x > 0, x >= x, x < 0.5, x == x, x != 0, (x > 0) & (x < 1), (x > 0) | (x < -1), ~(x > 0), gg.isnan(x)),
    "choices": lambda x: (gg.where(x > 0, x, -x), gg.where(x > 0, 1.0, 0.0), gg.maximum(x, 0.1), gg.minimum(x, -x), gg.clip(x, -1, 1), gg.clip(x, min=0)),
    "reductions": lambda x: (x.sum(1), x.sum(), x.mean(0), x.max(1, keepdims=True), x.min(1), x.prod(1), gg.logsumexp(x, axis=1), gg.var(x, axis=1), gg.std(x, axis=1, correction=1), gg.argmax(x, axis=1), gg.argmin(x), gg.all(x > -9, axis=1), gg.any(x > 9), gg.cumsum(x, axis=1), gg.norm(x, axis=1)),
    "shapes": lambda x: (x.reshape(-1), x.reshape(x.shape[0], 2, -1), x.T, x[:, None], gg.concat([x, x], 1), gg.stack([x, x]), *gg.split(x, 3, 1), gg.flip(x, axis=1), gg.pad(x, ((0, 0), (1, 2))), gg.broadcast_to(x[:, None], (x.shape[0], 4, 6)), gg.tile(x, (2, 1)), gg.squeeze(x[:, None], axis=1), gg.swapaxes(x, 0, 1), gg.repeat(x, 2, axis=1), gg.tril(x)),
    "indices": lambda x: (x[0], x[-1], x[..., -1], x[:, 1:-1:2], x[:, ::-1], x[None, :, 2], x[:, [0, 2, 2]], gg.take(x, [1, 0], axis=1), gg.take_along_axis(x, gg.argmax(x, axis=1)[:, None], 1)),
    "free sizes": lambda x: (x.reshape(-1)[: x.shape[0] * 2], x.reshape(-1) + gg.zeros(x.size), gg.arange(x.shape[0]) * 2, x * x.reshape(x.shape[0] * 3, 2)[: x.shape[0], :1]),
    "numbers that are free sizes": lambda x: x.sum(0) / x.shape[0] + x.shape[0] * x,
    "limits that are arrays": lambda x: gg.clip(x, np.zeros(6, "float32"), gg.tensor(np.arange(6) / 6).numpy().astype("float32")),
    "masks of free sizes": lambda x: gg.where(gg.tril(gg.ones((x.shape[0], x.shape[0]))) > 0, x @ x.T, 0.0),
    "attention": lambda x: (nn.scaled_dot_product_attention(x, x, x), nn.scaled_dot_product_attention(x, x, x, np.eye(2, dtype=bool)[0, 0] * np.ones((1, 1), bool)), nn.scaled_dot_product_attention(x, x, x, is_causal=True)),
    "a constant": lambda x: (x, gg.ones(3)),
    "an input": lambda x: x,
    "einsum": lambda x: gg.einsum("bi,bj->bij", x, x),
}  # fmt: skip


def answers(path, inputs):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs)})


def agree(model, inputs, path, batches=(1, 2, 5), atol=1e-5, **options):
    """Export with the inputs and compare, with other batches, too."""
    export(model, inputs, path, **options)
    if isinstance(model, nn.Module):
        model.eval()
    for n in batches:
        some = [np.concatenate([x, x[::-1], x])[:n] for x in inputs]
        with gg.no_grad():
            wanted = model(*map(gg.tensor, some))
        for w, got in zip(flat(wanted), answers(path, some), strict=True):
            assert (got.shape, got.dtype) == (w.shape, w.dtype)
            np.testing.assert_allclose(got, w.numpy(), rtol=1e-5, atol=atol)


def flat(x):
    return [y for part in x for y in flat(part)] if isinstance(x, tuple) else [] if x is None else [x]


def tuple_of(x):
    return x if isinstance(x, tuple) else (x,)


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, tmp_path):
    make, inputs = LAYERS[name]
    agree(make(), tuple_of(inputs), tmp_path / "m.onnx")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, tmp_path):
    agree(FUNCTIONS[name], (X,), tmp_path / "m.onnx", batches=(2, 5) if name == "free sizes" else (1, 2, 5))


SPATIAL = {
    name: (make, xs, 1 if xs.ndim == 2 or xs is WORDS else 2)
    for name, (make, xs) in LAYERS.items()
    if name not in ("LayerNorm of two axes", "sizes not seen yet")  # which take one length
    and isinstance(xs, np.ndarray)
    and (xs is IDS or xs is WORDS or any(xs is x for x in (IMAGE, LINE, CUBE)))
}
# What goes by the length of the free axis in a way that no row can say.
REFUSED = {
    "AvgPool2d without padding", "AvgPool2d ceil", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d",
    "AdaptiveAvgPool2d overlapping", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "GlobalMaxPool",
    "ReflectionPad2d", "ReplicationPad1d", "CircularPad1d", "Upsample nearest", "UpsamplingBilinear2d",
}  # fmt: skip


@pytest.mark.parametrize("name", SPATIAL)
def test_layers_with_a_free_axis(name, tmp_path):
    make, x, axis = SPATIAL[name]
    model, path = make().eval(), tmp_path / "m.onnx"
    if name in REFUSED:
        with pytest.raises(ExportError, match="has no row|goes by|by no op"):
            export(model, x, path, dynamic_axes={"input": {axis: "length"}})
        return
    export(model, x, path, dynamic_axes={"input": {axis: "length"}})
    for length in (6, 7, 8, 13):
        other = np.concatenate([x] * 3, axis).take(range(length), axis)
        wanted = model(gg.tensor(other))
        for w, got in zip(flat(wanted), answers(path, (other,)), strict=True):
            assert got.shape == w.shape
            np.testing.assert_allclose(got, w.numpy(), rtol=1e-5, atol=1e-5)


windows = lambda f: lambda x: f(x[:, None])
NOT_LINEAR = {
    "padding to a multiple": lambda x: gg.pad(x, ((0, 0), (0, -x.shape[1] % 4))),
    "half, rounded up": lambda x: x[:, : (x.shape[1] + 1) // 2],
    "half of the threes, rounded up": lambda x: x.reshape(x.shape[0], x.shape[1] // 3, 3)[
        :, : (x.shape[1] // 3 + 1) // 2
    ],
    "the least of two": lambda x: x[:, : min(x.shape[1], 25)],
    "the most of two": lambda x: x.reshape(-1)[: max(x.shape[1], 20)],
    "a branch by parity": lambda x: x * 2 if x.shape[1] % 2 == 0 else x * 3,
    "a branch above": lambda x: x * 2 if x.shape[1] > 20 else x * 3,
    "a branch below": lambda x: gg.exp(x) if x.shape[1] < 20 else gg.sin(x),
    "means of windows that are cut off": windows(nn.AvgPool1d(2, ceil_mode=True)),
    "same with a stride": windows(lambda x: nn.conv1d(x, gg.ones((1, 1, 3)), stride=2, padding="same")),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_a_size_that_is_no_multiple_is_an_error(name, tmp_path):
    for length in (24, 36, 27, 30):
        with pytest.raises(ExportError, match="goes by|needs a size|a number from the inputs|has no row"):
            export(NOT_LINEAR[name], normal(2, length), tmp_path / "m.onnx", dynamic_axes={"input": {1: "time"}})
    assert not os.listdir(tmp_path)


LINEAR = {
    "half": lambda x: x[:, : x.shape[1] // 2],
    "nothing left in the example": lambda x: gg.concat([x[:, 16:], x], 1).reshape(-1)[: x.shape[0] * x.shape[1]],
    "pairs": lambda x: x.reshape(x.shape[0], -1, 2).sum(2),
    "fours": lambda x: x.reshape(x.shape[0], x.shape[1] // 4, 4) * 2,
    "windows that are cut off": windows(nn.MaxPool1d(4, ceil_mode=True)),
    "same with a stride": windows(lambda x: nn.conv1d(x, gg.ones((1, 1, 2)), stride=2, padding="same")),
    "down, up and cut": windows(
        lambda x: x + nn.conv_transpose1d(nn.max_pool1d(x, 2, ceil_mode=True), gg.ones((1, 1, 2)), stride=2)[:, :, : x.shape[2]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
def test_a_size_that_follows_from_others(name, tmp_path):
    f = LINEAR[name]
    for length in (16, 12):
        export(f, normal(2, length), tmp_path / "m.onnx", dynamic_axes={"input": {1: "time"}})
        for n in range(4, 18, 4 if name == "fours" else 2 if name == "pairs" else 1):
            x = normal(3, n)
            (got,) = answers(tmp_path / "m.onnx", (x,))
            np.testing.assert_allclose(got, f(gg.tensor(x)).numpy(), rtol=1e-5, atol=1e-5)


def test_two_free_lengths_that_the_example_has_equal(tmp_path):
    down, up = nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 4, 2, stride=2)
    cut = lambda x: up(down(x))[:, :, : x.shape[2], : x.shape[3]] + x
    patches = lambda x: x.reshape(x.shape[0], 4, x.shape[2] // 4, 4, x.shape[3] // 4, 4)
    rows = lambda x: patches(x).sum((3, 5)).reshape(x.shape[0], 4, -1)
    axes = {"input": {2: "height", 3: "width"}}
    for f, sizes in ((cut, ((7, 12), (9, 9), (1, 2))), (rows, ((8, 12), (12, 8), (4, 20)))):
        export(f, normal(2, 4, 16, 16), tmp_path / "m.onnx", dynamic_axes=axes)
        for size in sizes:
            x = normal(3, 4, *size)
            (got,) = answers(tmp_path / "m.onnx", (x,))
            np.testing.assert_allclose(got, f(gg.tensor(x)).numpy(), rtol=1e-5, atol=1e-5)
    with pytest.raises(ExportError, match="needs a size, 2 in the first run"):
        half = lambda x: patches(x)[:, :, : (x.shape[2] // 4 + 1) // 2]
        export(half, normal(2, 4, 16, 16), tmp_path / "m.onnx", dynamic_axes=axes)


@pytest.mark.parametrize(
    "example", [np.zeros((2, 6)), np.ones((2, 6), int), np.zeros((2, 6), int), np.zeros((2, 6), bool)]
)
def test_values_that_are_equal_in_the_example_differ_in_the_runs(example, tmp_path):
    with pytest.raises(ExportError, match="made by no op of gpugrad's"):
        export(lambda x: x * 1.0 + gg.tensor(np.exp(x.numpy())[:1, :1]), example, tmp_path / "m.onnx")
    if example.dtype == int:
        agree(nn.Embedding(2, 3), (example,), tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
def test_division_of_floats_rounds_down_as_in_numpy(name, tmp_path):
    a = np.float32([1, -1, 7.5, 0.3, -0.3, 5, -5, 1e8, 0, np.inf])
    for b in map(np.float32, (0.1, -0.1, 0.3, 3, 0, np.inf, -np.inf)):
        with np.errstate(all="ignore"):
            export(lambda x, b=b: getattr(gg, name)(x, b), np.ones_like(a), tmp_path / "m.onnx")
            wanted = getattr(np, name)(a, b)
        np.testing.assert_array_equal(answers(tmp_path / "m.onnx", (a,))[0], wanted)


@pytest.mark.parametrize("name", ["expm1", "log1p"])
def test_digits_near_zero(name, tmp_path):
    x = np.float32([1e-30, 1e-8, 3e-5, 1e-3, 0.1, 0.45, 0.55, 0.9, 1.1, 30])
    x = np.concatenate([x, -x[:8], np.float32([0, np.inf])])
    export(getattr(gg, name), np.zeros_like(x), tmp_path / "m.onnx")
    np.testing.assert_allclose(answers(tmp_path / "m.onnx", (x,))[0], getattr(np, name)(x), rtol=1e-6)


def test_a_row_of_the_op_table_is_written_right_or_not_at_all(tmp_path):
    path, right, wrong = tmp_path / "m.onnx", 0, []
    for row in TABLE:
        xs = tuple(drawn(row, np.float32))
        if not xs or any(x.size == 0 for x in xs):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of losses, for shapes that broadcast
                export(row.f, xs, path, batch_axis=None)
                wanted = row.f(*map(gg.tensor, xs)).numpy()
        except ExportError:
            continue
        (got,) = answers(path, xs)
        same = (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        if same and np.allclose(got, wanted, rtol=1e-4, atol=2e-5, equal_nan=True):
            right += 1
        else:
            wrong.append(row.name)
    assert not wrong and right >= 560, (wrong, right)


# ---------------------------------------------------------------------------------------------- what is in the file
def proto(path):
    return onnx.load(os.fspath(path))


def test_names_opset_and_producer(tmp_path):
    model = MODELS["conv"]()
    export(model, IMAGE[:, :2], tmp_path / "m.onnx")
    m = proto(tmp_path / "m.onnx")
    assert m.producer_name == "gpugrad" and [(o.domain, o.version) for o in m.opset_import] == [("", OPSET)]
    own = model.state_dict()
    for t in m.graph.initializer:
        if t.name in own:
            assert np.array_equal(onnx.numpy_helper.to_array(t), own[t.name].numpy())
    assert {k for k in own if not k.endswith("num_batches_tracked")} <= {t.name for t in m.graph.initializer}
    shape = [d.dim_param or d.dim_value for d in m.graph.input[0].type.tensor_type.shape.dim]
    assert (m.graph.input[0].name, shape) == ("input", ["batch", 2, 9, 8])
    assert [d.dim_param or d.dim_value for d in m.graph.output[0].type.tensor_type.shape.dim] == ["batch", 5]
    assert all("test_interop_onnx" not in n.doc_string for n in m.graph.node if n.op_type == "Conv")


def test_fixed_sizes_and_several_free_ones(tmp_path):
    path = tmp_path / "m.onnx"
    agree(nn.Linear(6, 3), (X,), path, batches=(2,), batch_axis=None)
    assert [d.dim_value for d in proto(path).graph.input[0].type.tensor_type.shape.dim] == [2, 6]
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    f = Two(lambda layer, x: layer(x, is_causal=True), model)
    export(f, WORDS, path, input_names=["x"], output_names="y", dynamic_axes={"x": {1: "time"}})
    for lengths in ((2, 7), (1, 1), (3, 12)):
        x = normal(*lengths, 16)
        np.testing.assert_allclose(answers(path, (x,))[0], f(gg.tensor(x)).numpy(), rtol=1e-5, atol=1e-5)
    dims = [d.dim_param or d.dim_value for d in proto(path).graph.output[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "time", 16]
    images = nn.Sequential(nn.Conv2d(4, 3, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2, 1), nn.Upsample(size=(4, 4))).eval()  # fmt: skip
    with pytest.raises(ExportError, match="rows_at.* it goes by values or sizes"):
        export(images, IMAGE, path, dynamic_axes={"input": {2: "height", 3: "width"}})
    images = nn.Sequential(*list(images)[:-1])
    export(images, IMAGE, path, dynamic_axes={"input": {2: "height", 3: "width"}})
    for size in ((1, 4, 9, 8), (3, 4, 16, 21)):
        x = normal(*size)
        np.testing.assert_allclose(answers(path, (x,))[0], images(gg.tensor(x)).numpy(), rtol=1e-5, atol=1e-5)


def test_a_length_that_another_equals_in_the_example(tmp_path):
    """Six tokens before the six given are as many as six batches, in the example alone."""
    prefix = gg.Parameter(normal(1, 6, 4))

    def f(x):
        wide = gg.broadcast_to(x[:, :1, :1], (x.shape[0], 6, 1)).reshape(-1)  # of 6 batch elements
        whole = gg.concat([gg.broadcast_to(prefix, (x.shape[0], 6, 4)), x], 1)
        return whole.reshape(whole.shape[0], whole.shape[1], 2, 2), wide

    export(f, normal(2, 6, 4), tmp_path / "m.onnx", dynamic_axes={"input": {1: "time"}})
    for shape in ((1, 2, 4), (3, 9, 4)):
        x = normal(*shape)
        for wanted, got in zip(f(gg.tensor(x)), answers(tmp_path / "m.onnx", (x,)), strict=True):
            assert np.array_equal(wanted.numpy(), got)


def test_several_inputs_of_one_free_length(tmp_path):
    export(lambda a, b: (a * b, a @ b.T), (X, X), tmp_path / "m.onnx", input_names=["a", "b"], output_names=["p", "q"])
    m = proto(tmp_path / "m.onnx").graph
    assert [v.name for v in (*m.input, *m.output)] == ["a", "b", "p", "q"]
    assert [d.dim_param for d in m.output[1].type.tensor_type.shape.dim] == ["batch", "batch"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes(dtype, tmp_path):
    dtype = gg.tensor(0, dtype=dtype).dtype
    model = nn.Sequential(nn.Linear(6, 8, activation="relu"), nn.LayerNorm(8), nn.Linear(8, 3)).to(dtype)
    export(model, X.astype(dtype), tmp_path / "m.onnx")
    types = {t.data_type for t in proto(tmp_path / "m.onnx").graph.initializer if t.name in model.state_dict()}
    assert types == {onnx.helper.np_dtype_to_tensor_dtype(dtype)}
    if dtype != gg.bfloat16:  # which onnxruntime has on GPUs alone
        (got,) = answers(tmp_path / "m.onnx", (X.astype(dtype),))
        np.testing.assert_allclose(
            got, model(gg.tensor(X.astype(dtype))).numpy(), atol=5e-3 if got.itemsize == 2 else 1e-12
        )


def test_hostile_names(tmp_path):
    class Hostile(nn.Module):
        def __init__(self):
            self.parts = {k: nn.Linear(6, 6) for k in ("input", "", "a/../b", "matmul", "output", "\n", "é" * 300)}
            self.input, self.output, self.gemm = [gg.Parameter(np.full(6, i, "float32")) for i in range(3)]

        def forward(self, x):
            for f in self.parts.values():
                x = f(x)
            return x + self.input + self.output * self.gemm

    agree(Hostile(), (X,), tmp_path / "m.onnx", atol=1e-4)
    with pytest.raises(ValueError, match="2 different names, that are not empty"):
        export(lambda a, b: a + b, (X, X), tmp_path / "n.onnx", input_names=["a", "a"])
    with pytest.raises(ValueError, match="an input and an output are called 'a'"):
        export(lambda a: a + 1, X, tmp_path / "n.onnx", input_names="a", output_names="a")
    with pytest.raises(ValueError, match="'z' is none of the inputs"):
        export(lambda a: a, X, tmp_path / "n.onnx", dynamic_axes={"z": {0: "n"}})
    with pytest.raises(ValueError, match="has 2 axes, and no axis 2"):
        export(lambda a: a, X, tmp_path / "n.onnx", dynamic_axes={"input": {2: "n"}})
    assert not (tmp_path / "n.onnx").exists()


def test_files_of_one_model_are_equal(tmp_path):
    model = MODELS["transformer"]()
    for name in "ab":
        export(model, IDS, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_row_that_is_wrong(tmp_path):
    ROWS["mine"] = lambda g, c: g.Nonsense(c[0])
    try:
        with pytest.raises(ExportError, match="a row made a node that is none"):
            export(mine, X, tmp_path / "m.onnx")
    finally:
        del ROWS["mine"]
    assert not os.listdir(tmp_path)


def test_shared_parameters_are_one(tmp_path):
    model = MODELS["transformer"]()
    export(model, IDS, tmp_path / "m.onnx")
    sizes = [t.dims for t in proto(tmp_path / "m.onnx").graph.initializer]
    assert sizes.count([20, 16]) == 1


def test_a_model_stays_as_it_was(tmp_path):
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)).train()
    model[1].eval()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    given = X.copy()
    export(model, given, tmp_path / "m.onnx")
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert all(np.array_equal(v.numpy(), before[k]) for k, v in model.state_dict().items())
    assert np.array_equal(given, X) and sys.getprofile() is None
    assert all(v.grad is None for v in model.parameters())


# ---------------------------------------------------------------------------------------------- what cannot be written
@gg.op(x=lambda g: g)
def mine(xp, x):
    return xp.cbrt(x)


def test_an_op_without_a_row_and_a_row_for_it(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"what was there")
    with pytest.raises(ExportError, match=r"ONNX: mine at test_interop_onnx.py:\d+ has no row(.|\n)*ROWS\['mine'\]"):
        export(lambda x: mine(x) + 1, X, path)
    assert path.read_bytes() == b"what was there" and os.listdir(tmp_path) == ["m.onnx"]
    ROWS["mine"] = lambda g, c: g.Mul(g.Sign(c[0]), g.Pow(g.Abs(c[0]), c.number(1 / 3)))
    try:
        agree(lambda x: mine(x) + 1, (X,), path)
    finally:
        del ROWS["mine"]


def by_numpy(x):
    return x + gg.tensor(np.exp(x.numpy()))


def by_item(x):
    return x * x.sum().item()


def by_size(x):
    return x + np.random.default_rng(0).random((x.shape[0], 6))


def by_branch(x):
    return gg.exp(x) if x.shape[0] < 3 else gg.sin(x)


def by_loop(x):
    return gg.stack([row * 2 for row in x])


def by_random(x):
    return nn.dropout(x, 0.5)


def by_mask(x):
    return x[x > 0]


CANNOT = {
    by_numpy: "reads an array",
    by_item: "is given .* in the first run and .* in the second: a number from the inputs",
    by_size: "has other values where a free size is another",
    by_branch: "is sin in the second run: a branch or a loop that goes by values or sizes",
    by_loop: "in the second",
    by_random: "draws random numbers: export the model in evaluation",
    by_mask: "by a mask makes as many elements as the mask has",
}


@pytest.mark.parametrize("f", CANNOT, ids=lambda f: f.__name__)
def test_what_cannot_be_followed_is_an_error(f, tmp_path):
    with pytest.raises(ExportError, match=CANNOT[f]):
        export(f, X, tmp_path / "m.onnx")
    assert not os.listdir(tmp_path)


def test_a_branch_that_goes_by_values_is_told(tmp_path):
    def f(x):
        return x * 2 if (x > -100).all() else x

    with pytest.warns(UserWarning, match=r"test_interop_onnx.py:\d+: values that depend on the inputs became Python's"):
        export(f, X, tmp_path / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(lambda x: x * float(gg.ones(1).sum()), X, tmp_path / "m.onnx")


def test_masks(tmp_path):
    for mask in (np.tri(7, dtype=bool), np.where(np.tri(7), 0, -np.inf).astype("float32")):
        for weights in (False, True):
            hide = ~mask if mask.dtype == bool else mask
            f = Two(lambda f, x, hide=hide, weights=weights: f(x, x, x, attn_mask=hide, need_weights=weights), attend())
            agree(f, (WORDS,), tmp_path / "m.onnx")
    f = Two(lambda f, x, m: f(x, x, x, m, need_weights=True, is_causal=True), attend())
    hidden = RANDOM.random((2, 7)) < 0.5
    hidden[0] = True
    agree(f, (WORDS, hidden), tmp_path / "m.onnx")
    agree(f, (WORDS, np.where(hidden, -np.inf, 0.5).astype("float32")), tmp_path / "m.onnx")


@pytest.mark.devices
def test_on_a_device(tmp_path):
    device = gg.default_device()
    w, b = gg.Parameter(normal(6, 3), device=device), gg.tensor(normal(3), device=device)
    export(lambda x: gg.where(x @ w > b, x @ w, 0.5)[:, 1:], gg.tensor(X, device=device), tmp_path / "m.onnx")
    (got,) = answers(tmp_path / "m.onnx", (X,))
    wanted = X @ w.numpy()
    np.testing.assert_allclose(got, np.where(wanted > b.numpy(), wanted, 0.5)[:, 1:], rtol=1e-5, atol=1e-5)


def of_two(x):
    assert len(x) == 2
    return x


def test_models_of_the_front_doors(tmp_path):
    from gpugrad import tensorflow as tf, torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(6, 4)

        def forward(self, x):
            return torch.relu(self.fc(x)).view(x.size(0), 2, -1).sum(dim=1).transpose(0, 1)

    class Model(tf.Module):
        def __init__(self):
            self.w = tf.Variable(X[:, :3].T @ X)

        def __call__(self, x):
            return tf.nn.softmax(tf.matmul(x, self.w, transpose_b=True) + tf.reduce_sum(x, axis=1, keepdims=True))

    for model, x in ((Net(), torch.tensor(X)), (Model(), tf.constant(X))):
        export(model, x, tmp_path / "m.onnx")
        with gg.no_grad():
            wanted = model(x).numpy()
        np.testing.assert_allclose(answers(tmp_path / "m.onnx", (X,))[0], wanted, rtol=1e-5, atol=1e-6)
        names = [t.name for t in proto(tmp_path / "m.onnx").graph.initializer]
        assert {"fc.weight", "fc.bias"} <= set(names) or "w" in names


def test_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, names = Path(__file__).resolve().parent.parent / "docs" / "interop.md", {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(block, names)
    np.testing.assert_allclose(answers("mlp.onnx", (X,))[0], names["model"](gg.tensor(X)).numpy(), atol=1e-5)
    np.testing.assert_allclose(answers("cube.onnx", (X,))[0], X**3, rtol=1e-5)
    del ROWS["cube"]


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'gpugrad\[onnx\]'"):
        export(lambda x: x, X, tmp_path / "m.onnx")


def test_what_is_no_model(tmp_path):
    for f in (lambda x: {"y": x}, lambda x: x.numpy(), lambda x: (x, 3)):
        with (
            pytest.raises(ExportError, match="a model answers a Tensor, or a tuple of Tensors"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            export(f, X, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="it needs elements"):
        export(lambda x: x, X[:0], tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="complex64, which ONNX does not have"):
        export(lambda x: x, X.astype("complex64"), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="two lengths called 'batch': 2 and 3"):
        export(lambda x, y: x, (X, normal(3, 6)), tmp_path / "m.onnx")
    with pytest.raises(AssertionError) as e:
        export(of_two, X, tmp_path / "m.onnx")
    assert "exported with batch_axis=None" in e.value.__notes__[0]
    with pytest.raises(ZeroDivisionError):
        export(lambda x: 1 / 0, X, tmp_path / "m.onnx")
    assert sys.getprofile() is None and not os.listdir(tmp_path)
