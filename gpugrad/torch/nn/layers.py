"""torch.nn: the layers that are not as the core's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import nn as core
from ...adapt import adapted
from . import functional as F
from .module import Module


class Linear(core.Linear, Module):
    """input @ weight.T + bias; weight (out, in) and bias from U(-1/√in, 1/√in)."""

    transposed = ()  # as PyTorch has it
    __init__ = adapted(core.Linear.__init__, "self, in_features, out_features, bias=True, device=None, dtype=None")

    def _shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features  # type: ignore[return-value]

    def _told(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes["weight"][1] if "weight" in shapes else None

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)


class ModuleList(core.ModuleList, Module):
    """A list of modules."""


class ModuleDict(core.ModuleDict, Module):
    """Modules by name."""


class ParameterDict(core.ParameterDict, Module):
    """Parameters by name."""


class ParameterList(core.ParameterList, Module):
    """A list of parameters."""


class Sequential(core.Sequential, Module):
    """Modules, one after the other."""

    def _check(self, i: Any, f: Any) -> None:
        core.ModuleList._check(self, f)  # type: ignore[arg-type]
