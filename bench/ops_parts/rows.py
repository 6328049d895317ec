"""softmax and the normalizations beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .case import Case, Step

ROWS, COLUMNS = 4096, 512


def _arrays(affine: int) -> list[Any]:
    """x, the cotangent, and as many vectors."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(np.float32) for s in ((ROWS, COLUMNS),) * 2 + ((COLUMNS,),) * affine]


def ours(name: str, affine: int) -> Step:
    import gpugrad as gg
    from gpugrad import nn

    x, g, *more = [gg.tensor(a, device="cpu") for a in _arrays(affine)]
    f, shape = getattr(nn, name), [(COLUMNS,)] if affine else []

    def step() -> Any:
        with gg.GradientTape() as tape:
            tape.watch([x, *more])
            out = f(x, *shape, *more)
        return tape.gradient(out, [x, *more], g)

    return step


def torchs(name: str, affine: int) -> Step:
    import torch

    x, g, *more = [torch.tensor(a) for a in _arrays(affine)]
    for a in (x, *more):
        a.requires_grad_()
    f, option = getattr(torch.nn.functional, name), [(COLUMNS,)] if affine else [-1]
    return lambda: torch.autograd.grad(f(x, *option, *more), [x, *more], g)


def _makers(name: str, affine: int = 0) -> dict[str, Callable[[], Step]]:
    return {"gpugrad": partial(ours, name, affine), "torch": partial(torchs, name, affine)}


LIMITS = {("gpugrad", "torch"): 1.5}
CASES = [
    Case("softmax", _makers("softmax"), LIMITS),
    Case("log_softmax", _makers("log_softmax"), LIMITS),
    Case("layer_norm", _makers("layer_norm", 2), LIMITS),
    Case("rms_norm", _makers("rms_norm", 1), {}),
]
