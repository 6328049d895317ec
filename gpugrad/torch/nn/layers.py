"""torch.nn: layers, activations, losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import Signature, signature
from typing import Any

from ... import nn as core
from ...adapt import adapted
from ...random import uniform
from .. import functions as T
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


def _layer(name: str, f: Callable[..., Any], inputs: int = 1) -> type[Module]:
    """A module that calls f: its options are what f takes after its inputs."""
    options = Signature(list(signature(f).parameters.values())[inputs:])
    shown = [k for k in options.parameters if inputs == 1 and k != "inplace"]

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        bound = options.bind(*args, **given)
        bound.apply_defaults()
        vars(self).update(bound.arguments)

    forward = lambda self, *given: f(*given, **{k: getattr(self, k) for k in options.parameters})
    extra = lambda self: ", ".join(f"{k}={getattr(self, k)!r}" for k in shown)
    return type(name, (Module,), {"__init__": __init__, "forward": forward, "extra_repr": extra, "__doc__": f.__doc__})


ReLU, Sigmoid, Tanh = _layer("ReLU", F.relu), _layer("Sigmoid", F.sigmoid), _layer("Tanh", F.tanh)
GELU, SiLU, ELU = _layer("GELU", F.gelu), _layer("SiLU", F.silu), _layer("ELU", F.elu)
LeakyReLU, Softplus = _layer("LeakyReLU", F.leaky_relu), _layer("Softplus", F.softplus)
Softmax = _layer("Softmax", adapted(T.softmax, "input, dim=None"))
LogSoftmax = _layer("LogSoftmax", adapted(T.log_softmax, "input, dim=None"))
Flatten = _layer("Flatten", adapted(T.flatten, "input, start_dim=1, end_dim=-1"))
Identity = _layer("Identity", lambda input: input)
MSELoss, L1Loss = _layer("MSELoss", F.mse_loss, 2), _layer("L1Loss", F.l1_loss, 2)
HuberLoss, SmoothL1Loss = _layer("HuberLoss", F.huber_loss, 2), _layer("SmoothL1Loss", F.smooth_l1_loss, 2)
BCELoss, NLLLoss = _layer("BCELoss", F.binary_cross_entropy, 2), _layer("NLLLoss", F.nll_loss, 2)
BCEWithLogitsLoss = _layer("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits, 2)
CrossEntropyLoss = _layer("CrossEntropyLoss", F.cross_entropy, 2)
