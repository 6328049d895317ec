"""Layers by name, and what PyTorch's give: outputs, gradients, names in the state_dict.

`python tests/layer_cases.py` writes layer_results.json with PyTorch; tests/test_layers.py compares.
"""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("layer_results.json")
wave = lambda *shape, by=1.7: np.sin(np.arange(np.prod(shape)) * by + 0.3).reshape(shape) * 2
LINE, IMAGE, VOLUME = wave(2, 4, 7), wave(2, 4, 5, 6), wave(2, 2, 4, 3, 4)
ROWS, OTHER, SIGNS = wave(3, 4), wave(3, 4, by=0.4) + 0.05, np.sign(wave(3, 4, by=0.9))
LABELS = np.array([1, 3, 0])
POSITIVE = np.abs(ROWS) % 1 * 0.8 + 0.1

# Layers with a size that may be None: (make(nn, size), size, input).
SIZED = {
    "Linear": (lambda nn, n: nn.Linear(n, 3), 4, ROWS),
    "Linear without bias": (lambda nn, n: nn.Linear(n, 3, bias=False), 7, LINE),
    "Conv1d": (lambda nn, n: nn.Conv1d(n, 3, 3, 2, 1), 4, LINE),
    "Conv1d circular": (lambda nn, n: nn.Conv1d(n, 2, 3, padding=2, padding_mode="circular"), 4, LINE),
    "Conv1d same": (lambda nn, n: nn.Conv1d(n, 2, 4, padding="same", dilation=2), 4, LINE),
    "Conv2d": (lambda nn, n: nn.Conv2d(n, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2), 4, IMAGE),
    "Conv2d of an image": (lambda nn, n: nn.Conv2d(n, 3, 2, bias=False, dilation=2), 4, IMAGE[0]),
    "Conv2d reflect": (lambda nn, n: nn.Conv2d(n, 2, 3, padding=(2, 1), padding_mode="reflect"), 4, IMAGE),
    "Conv2d replicate": (
        lambda nn, n: nn.Conv2d(n, 2, (2, 3), padding="same", padding_mode="replicate"), 4, IMAGE,
    ),
    "Conv2d valid": (lambda nn, n: nn.Conv2d(n, 4, 3, padding="valid", groups=4), 4, IMAGE),
    "Conv3d": (lambda nn, n: nn.Conv3d(n, 2, 2, padding=(1, 0, 1)), 2, VOLUME),
    "ConvTranspose1d": (lambda nn, n: nn.ConvTranspose1d(n, 2, 3, stride=2, output_padding=1), 4, LINE),
    "ConvTranspose2d": (lambda nn, n: nn.ConvTranspose2d(n, 4, 3, 2, 1, 1, groups=2, dilation=2), 4, IMAGE),
    "ConvTranspose3d": (lambda nn, n: nn.ConvTranspose3d(n, 1, 2, bias=False), 2, VOLUME),
    "BatchNorm1d": (lambda nn, n: nn.BatchNorm1d(n), 4, ROWS),
    "BatchNorm1d of lines": (lambda nn, n: nn.BatchNorm1d(n, 1e-3, 0.3, affine=False), 4, LINE),
    "BatchNorm2d": (lambda nn, n: nn.BatchNorm2d(n, momentum=None), 4, IMAGE),
    "BatchNorm2d of each batch": (lambda nn, n: nn.BatchNorm2d(n, track_running_stats=False), 4, IMAGE),
    "BatchNorm3d": (lambda nn, n: nn.BatchNorm3d(n), 2, VOLUME),
    "InstanceNorm1d": (lambda nn, n: nn.InstanceNorm1d(n), 4, LINE),
    "InstanceNorm2d": (lambda nn, n: nn.InstanceNorm2d(n, affine=True, track_running_stats=True), 4, IMAGE),
    "InstanceNorm3d": (lambda nn, n: nn.InstanceNorm3d(n, 1e-2, affine=True), 2, VOLUME),
    "GroupNorm": (lambda nn, n: nn.GroupNorm(2, n), 4, IMAGE),
    "GroupNorm without weights": (lambda nn, n: nn.GroupNorm(4, n, 1e-3, affine=False), 4, LINE),
    "LayerNorm": (lambda nn, n: nn.LayerNorm(n), 4, ROWS),
    "LayerNorm without bias": (lambda nn, n: nn.LayerNorm(n, 1e-3, bias=False), 6, IMAGE),
    "RMSNorm": (lambda nn, n: nn.RMSNorm(n), 4, ROWS),
}  # fmt: skip

# Other layers: (make(nn), inputs).
PLAIN = {
    **{name: (lambda nn, name=name: getattr(nn, name)(), ROWS) for name in (
        "ReLU ReLU6 SELU SiLU Mish Hardsigmoid Hardswish Sigmoid Tanh LogSigmoid Softsign Tanhshrink Identity GELU ELU "
        "CELU LeakyReLU Hardtanh Hardshrink Softshrink Softplus GLU"
    ).split()},
    "GELU tanh": (lambda nn: nn.GELU(approximate="tanh"), ROWS), "ELU 0.5": (lambda nn: nn.ELU(0.5), ROWS),
    "CELU 2": (lambda nn: nn.CELU(alpha=2.0), ROWS), "LeakyReLU 0.2": (lambda nn: nn.LeakyReLU(0.2), ROWS),
    "Hardtanh -0.5 1.5": (lambda nn: nn.Hardtanh(-0.5, 1.5), ROWS),
    "Hardshrink 1": (lambda nn: nn.Hardshrink(1.0), ROWS),
    "Softshrink 1": (lambda nn: nn.Softshrink(lambd=1.0), ROWS), "Softplus 3": (lambda nn: nn.Softplus(3.0, 4.0), ROWS),
    "Threshold": (lambda nn: nn.Threshold(0.1, 20.0), ROWS), "PReLU": (lambda nn: nn.PReLU(), ROWS),
    "PReLU of channels": (lambda nn: nn.PReLU(4, init=0.1), IMAGE), "GLU 1": (lambda nn: nn.GLU(dim=1), LINE),
    "RReLU": (lambda nn: nn.RReLU(0.1, 0.5).eval(), ROWS),
    "Softmax": (lambda nn: nn.Softmax(dim=0), ROWS), "Softmin": (lambda nn: nn.Softmin(1), ROWS),
    "LogSoftmax": (lambda nn: nn.LogSoftmax(dim=1), LINE), "Softmax2d": (lambda nn: nn.Softmax2d(), IMAGE),
    # pooling and places
    "MaxPool1d": (lambda nn: nn.MaxPool1d(3, 2, 1), LINE), "MaxPool2d": (lambda nn: nn.MaxPool2d((2, 3)), IMAGE),
    "MaxPool2d of all": (lambda nn: nn.MaxPool2d(2, 2, 1, 2, False, True), IMAGE),
    "MaxPool3d": (lambda nn: nn.MaxPool3d(2, stride=1), VOLUME),
    "AvgPool1d": (lambda nn: nn.AvgPool1d(3, 2, 1, False, False), LINE),
    "AvgPool2d": (lambda nn: nn.AvgPool2d(2, ceil_mode=True), IMAGE),
    "AvgPool2d over 3": (lambda nn: nn.AvgPool2d(2, 1, 1, False, True, 3), IMAGE),
    "AvgPool3d": (lambda nn: nn.AvgPool3d((2, 1, 2)), VOLUME),
    "AdaptiveAvgPool1d": (lambda nn: nn.AdaptiveAvgPool1d(3), LINE),
    "AdaptiveAvgPool2d": (lambda nn: nn.AdaptiveAvgPool2d((None, 4)), IMAGE),
    "AdaptiveAvgPool3d": (lambda nn: nn.AdaptiveAvgPool3d(2), VOLUME),
    "AdaptiveMaxPool1d": (lambda nn: nn.AdaptiveMaxPool1d(2), LINE),
    "AdaptiveMaxPool2d": (lambda nn: nn.AdaptiveMaxPool2d((2, 4)), IMAGE),
    "AdaptiveMaxPool3d": (lambda nn: nn.AdaptiveMaxPool3d((1, 2, 2)), VOLUME),
    "Unfold": (lambda nn: nn.Unfold((2, 3), 1, 1, 2), IMAGE),
    "Fold": (lambda nn: nn.Fold((4, 3), (2, 2)), wave(2, 4, 6)),
    "Upsample": (lambda nn: nn.Upsample(scale_factor=1.5), IMAGE),
    "Upsample linear": (lambda nn: nn.Upsample(9, mode="linear"), LINE),
    "Upsample corners": (lambda nn: nn.Upsample((7, 4), None, "bicubic", True), IMAGE),
    "UpsamplingNearest2d": (lambda nn: nn.UpsamplingNearest2d((8, 3)), IMAGE),
    "UpsamplingBilinear2d": (lambda nn: nn.UpsamplingBilinear2d(scale_factor=2), IMAGE),
    "PixelShuffle": (lambda nn: nn.PixelShuffle(2), IMAGE),
    "PixelUnshuffle": (lambda nn: nn.PixelUnshuffle(3), wave(2, 1, 6, 3)),
    "ChannelShuffle": (lambda nn: nn.ChannelShuffle(2), IMAGE),
    **{f"{name}{n}d": (lambda nn, name=name, n=n: getattr(nn, f"{name}{n}d")(1), (LINE, IMAGE, VOLUME)[n - 1])
       for n in (1, 2, 3) for name in ("ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad")},
    "ZeroPad2d of each side": (lambda nn: nn.ZeroPad2d((1, -1, 0, 2)), IMAGE),
    "ConstantPad1d": (lambda nn: nn.ConstantPad1d((2, 1), 0.5), LINE),
    "ConstantPad2d": (lambda nn: nn.ConstantPad2d(1, -2.0), IMAGE),
    "ConstantPad3d": (lambda nn: nn.ConstantPad3d((0, 1, 1, 0, 2, 0), 3.0), VOLUME),
    "Flatten": (lambda nn: nn.Flatten(), IMAGE), "Flatten middle": (lambda nn: nn.Flatten(1, -2), IMAGE),
    "Unflatten": (lambda nn: nn.Unflatten(1, (2, -1)), LINE),
    "CosineSimilarity": (lambda nn: nn.CosineSimilarity(), ROWS, OTHER),
    "PairwiseDistance": (lambda nn: nn.PairwiseDistance(1.0, keepdim=True), ROWS, OTHER),
    "Dropout in evaluation": (
        lambda nn: nn.Sequential(nn.Dropout(), nn.Dropout1d(0.2), nn.AlphaDropout()).eval(), LINE,
    ),
    "Embedding": (lambda nn: nn.Embedding(5, 3, padding_idx=1), np.array([[0, 1], [4, 0]])),
    # losses
    **{name: (lambda nn, name=name: getattr(nn, name)(), ROWS, OTHER) for name in (
        "L1Loss MSELoss HuberLoss SmoothL1Loss PoissonNLLLoss"
    ).split()},
    "L1Loss none": (lambda nn: nn.L1Loss(reduction="none"), ROWS, OTHER),
    "HuberLoss 0.5": (lambda nn: nn.HuberLoss("sum", 0.5), ROWS, OTHER),
    "SmoothL1Loss 2": (lambda nn: nn.SmoothL1Loss(beta=2.0), ROWS, OTHER),
    "CrossEntropyLoss": (lambda nn: nn.CrossEntropyLoss(), ROWS, LABELS),
    "CrossEntropyLoss smooth": (lambda nn: nn.CrossEntropyLoss(ignore_index=3, label_smoothing=0.1), ROWS, LABELS),
    "CrossEntropyLoss of lines": (
        lambda nn: nn.CrossEntropyLoss(reduction="sum"), LINE, np.arange(14).reshape(2, 7) % 4,
    ),
    "CrossEntropyLoss of distributions": (lambda nn: nn.CrossEntropyLoss(), ROWS, POSITIVE),
    "NLLLoss": (lambda nn: nn.NLLLoss(ignore_index=0), ROWS, LABELS),
    "BCELoss": (lambda nn: nn.BCELoss(), POSITIVE, (SIGNS + 1) / 2),
    "BCEWithLogitsLoss": (lambda nn: nn.BCEWithLogitsLoss(reduction="sum"), ROWS, (SIGNS + 1) / 2),
    "KLDivLoss": (lambda nn: nn.KLDivLoss(reduction="batchmean"), ROWS, POSITIVE),
    "KLDivLoss log": (lambda nn: nn.KLDivLoss(reduction="sum", log_target=True), ROWS, OTHER),
    "GaussianNLLLoss": (lambda nn: nn.GaussianNLLLoss(full=True), ROWS, OTHER, POSITIVE),
    "SoftMarginLoss": (lambda nn: nn.SoftMarginLoss(), ROWS, SIGNS),
    "MultiLabelMarginLoss": (lambda nn: nn.MultiLabelMarginLoss(), ROWS, np.array([[3, 0, -1, 1]] * 3)),
    "MultiLabelSoftMarginLoss": (lambda nn: nn.MultiLabelSoftMarginLoss(), ROWS, (SIGNS + 1) / 2),
    "MultiMarginLoss": (lambda nn: nn.MultiMarginLoss(p=2, margin=0.5), ROWS, LABELS),
    "HingeEmbeddingLoss": (lambda nn: nn.HingeEmbeddingLoss(2.0), ROWS, SIGNS),
    "MarginRankingLoss": (lambda nn: nn.MarginRankingLoss(0.3), ROWS, OTHER, SIGNS),
    "CosineEmbeddingLoss": (lambda nn: nn.CosineEmbeddingLoss(0.1), ROWS, OTHER, SIGNS[:, 0]),
    "TripletMarginLoss": (
        lambda nn: nn.TripletMarginLoss(swap=True, margin=2.0), ROWS, OTHER, wave(3, 4, by=0.6),
    ),
    "CTCLoss": (
        lambda nn: nn.CTCLoss(zero_infinity=True), -np.abs(wave(6, 2, 4)), np.array([[1, 2], [3, 3]]), np.array([6, 5]),
        np.array([2, 2]),
    ),
    # several
    "Sequential": (
        lambda nn: nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)),
        IMAGE,
    ),
    "Sequential of names": (
        lambda nn: nn.Sequential(
            OrderedDict(body=nn.Sequential(nn.Linear(4, 2), nn.Tanh()), head=nn.Linear(2, 2))
        ), ROWS,
    ),
}  # fmt: skip
CASES = {**{k: (lambda nn, f=f, n=n: f(nn, n), x) for k, (f, n, x) in SIZED.items()}, **PLAIN}


def value(place, shape):
    """What the parameter at this place is set to, in PyTorch's layout."""
    return np.cos(np.arange(np.prod(shape)) * 0.9 + place).reshape(shape) * 0.7


def mark(v):
    """An array as its shape, its first elements and two weighted sums of all, in which every element counts."""
    if v is None:
        return None
    v = np.array(v.tolist(), dtype=float)
    i, flat = np.arange(v.size), v.reshape(-1)
    sums = [(flat * (np.cos(i * 0.7) + 1.5)).sum(), (flat * np.sin(i * 1.3 + 0.2)).sum()]
    return [list(v.shape), np.round([*flat[:4], *sums], 7).tolist()]


def weighted(out):
    return (np.arange(np.prod(out)) % 7 * 0.3 + 1).reshape(out)


def measured(torch, name):
    """What PyTorch's layer gives in training and then in evaluation, its gradients, and its state by name."""
    make, *given = CASES[name]
    layer = make(torch.nn).double()
    with torch.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(torch.tensor(value(i, tuple(p.shape))))
    x = [torch.tensor(v) for v in given]
    if x[0].is_floating_point():
        x[0].requires_grad_()
    out = layer(*x)
    (out * torch.tensor(weighted(tuple(out.shape)))).sum().backward()
    return {
        "out": mark(out.detach()),
        "grad": None if name == "CTCLoss" else mark(x[0].grad),  # PyTorch's is that of a softmax before it, too
        "grads": [mark(p.grad) for p in layer.parameters()],
        "shapes": {k: list(v.shape) for k, v in layer.state_dict().items()},
        "after": mark(layer.eval()(*x).detach()),
    }  # fmt: skip


if __name__ == "__main__":
    import torch as real

    lines = [f"{json.dumps(name)}: {json.dumps(measured(real, name))}" for name in CASES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
