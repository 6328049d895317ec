"""Convolutions and pooling beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .case import Case, Step

IMAGES = (8, 32, 32, 32)


def _arrays(*shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


def ours(name: str, shapes: list[tuple[int, ...]], options: dict[str, Any]) -> Step:
    import gpugrad as gg
    from gpugrad import nn

    f, xs = getattr(nn, name), [gg.tensor(a, device="cpu") for a in _arrays(*shapes)]
    g = gg.ones_like(f(*xs, **options))

    def step() -> Any:
        with gg.GradientTape() as tape:
            tape.watch(xs)
            out = f(*xs, **options)
        return tape.gradient(out, xs, g)

    return step


def torchs(name: str, shapes: list[tuple[int, ...]], options: dict[str, Any]) -> Step:
    import torch

    f = getattr(torch.nn.functional, name)
    xs = [torch.tensor(a, requires_grad=True) for a in _arrays(*shapes)]
    options = {"kernel_size" if k == "kernel" else k: v for k, v in options.items()}
    g = torch.ones_like(f(*xs, **options))
    return lambda: torch.autograd.grad(f(*xs, **options), xs, g)


def _case(title: str, name: str, *shapes: tuple[int, ...], limit: float | None = None, **options: Any) -> Case:
    makers: dict[str, Callable[[], Step]] = {
        "gpugrad": partial(ours, name, list(shapes), options),
        "torch": partial(torchs, name, list(shapes), options),
    }
    return Case(title, makers, {} if limit is None else {("gpugrad", "torch"): limit})


CASES = [
    _case("conv2d 3x3", "conv2d", IMAGES, (32, 32, 3, 3), (32,), limit=3.0, padding=1),
    _case("conv2d 3x3 stride 2", "conv2d", IMAGES, (64, 32, 3, 3), (64,), padding=1, stride=2),
    _case("conv2d 1x1", "conv2d", IMAGES, (64, 32, 1, 1), (64,)),
    _case("conv2d depthwise", "conv2d", IMAGES, (32, 1, 3, 3), (32,), padding=1, groups=32),
    _case("conv_transpose2d stride 2", "conv_transpose2d", (8, 32, 16, 16), (32, 32, 4, 4), (32,), padding=1, stride=2),
    _case("conv1d", "conv1d", (8, 64, 1024), (64, 64, 5), (64,), padding=2),
    _case("max_pool2d 2x2", "max_pool2d", IMAGES, kernel=2),
    _case("avg_pool2d 3x3", "avg_pool2d", IMAGES, kernel=3, stride=2, padding=1),
    _case("bilinear, twice as large", "interpolate", IMAGES, scale_factor=2, mode="bilinear"),
]
