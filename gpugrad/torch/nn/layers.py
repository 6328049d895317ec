"""torch.nn: layers, activations, losses."""

from __future__ import annotations

import math
from typing import Any

from ... import nn as core
from ...adapt import adapted
from ...random import uniform
from ..tensor import Parameter
from . import functional as F
from .module import Module


class Linear(Module):
    """input @ weight.T + bias; weight (out, in) and bias from U(-1/√in, 1/√in)."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        for name, n in (("in_features", in_features), ("out_features", out_features)):
            if not hasattr(n, "__index__") or n < 1:
                raise ValueError(f"Linear: {name} is a positive integer, not {n!r}")
        bound = 1 / math.sqrt(in_features)
        draw = lambda shape: uniform(shape, -bound, bound, dtype, device)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(draw((out_features, in_features)))
        self.bias = Parameter(draw((out_features,))) if bias else None

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class ModuleList(core.ModuleList, Module):
    """A list of modules."""


class ModuleDict(core.ModuleDict, Module):
    """Modules by name."""


class ParameterList(core.ParameterList, Module):
    """A list of parameters."""


class Sequential(ModuleList):
    """Modules, one after the other."""

    def __init__(self, *args: Any) -> None:
        if len(args) == 1 and isinstance(args[0], dict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            super().__init__(args)

    def _entries(self) -> dict[str, Any]:
        return dict(self.named_children())

    def __getitem__(self, i: Any) -> Any:
        return Sequential(*list(self)[i]) if isinstance(i, slice) else super().__getitem__(i)

    def forward(self, input: Any) -> Any:
        for m in self:
            input = m(input)
        return input


class Dropout(core.Dropout, Module):
    """In training, each element is zero with probability p, the others are larger by 1 / (1 - p)."""

    __init__ = adapted(core.Dropout.__init__, "self, p=0.5, -inplace=False")

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace=False"


class LayerNorm(Module, core.LayerNorm):
    """`layer_norm` over the last axes, with a weight of ones and a bias of zeros."""

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module, core.RMSNorm):
    """`rms_norm` over the last axes, with a weight of ones."""

    extra_repr = LayerNorm.extra_repr  # type: ignore[assignment]


class Embedding(Module, core.Embedding):
    """A table of rows from N(0, 1), looked up by integers; the row `padding_idx` is 0 and stays so."""

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
