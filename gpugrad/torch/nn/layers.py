"""torch.nn: layers, activations, losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

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


class Sequential(Module):
    """Modules, one after the other."""

    def __init__(self, *args: Any) -> None:
        named = args[0].items() if len(args) == 1 and isinstance(args[0], dict) else enumerate(args)
        for name, m in named:
            if not isinstance(m, Module):
                raise TypeError(f"{type(m).__name__} is not a Module subclass")
            setattr(self, str(name), m)

    def append(self, module: Module) -> Any:
        """Put a module at the end."""
        setattr(self, str(len(self)), module)
        return self

    def forward(self, input: Any) -> Any:
        for m in self.children():
            input = m(input)
        return input

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, i: Any) -> Any:
        found = list(self.children())[i]
        return Sequential(*found) if isinstance(i, slice) else found


class ModuleList(Sequential):
    """A list of modules."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__(*modules)

    def forward(self, *args: Any) -> Any:
        """A list is not called: NotImplementedError."""
        return Module.forward(self, *args)


def _activation(name: str, f: Callable[..., Any], **defaults: Any) -> type[Module]:
    def __init__(self: Any, *args: Any, inplace: bool = False, **options: Any) -> None:
        self.options = {**defaults, **dict(zip(defaults, args)), **options}
        if unknown := set(options) - set(defaults):
            raise TypeError(f"{name}: unexpected argument {min(unknown)!r}; it takes {sorted(defaults)}")

    forward = lambda self, input: f(input, **self.options)
    extra = lambda self: ", ".join(f"{k}={v}" for k, v in self.options.items() if v is not None)
    return type(name, (Module,), {"__init__": __init__, "forward": forward, "extra_repr": extra, "__doc__": f.__doc__})


ReLU, Sigmoid, Tanh = _activation("ReLU", F.relu), _activation("Sigmoid", F.sigmoid), _activation("Tanh", F.tanh)
GELU, SiLU = _activation("GELU", F.gelu, approximate="none"), _activation("SiLU", F.silu)
ELU, Softplus = _activation("ELU", F.elu), _activation("Softplus", F.softplus)
LeakyReLU = _activation("LeakyReLU", F.leaky_relu, negative_slope=0.01)
Softmax, LogSoftmax = _activation("Softmax", T.softmax, dim=None), _activation("LogSoftmax", T.log_softmax, dim=None)
Flatten = _activation("Flatten", T.flatten, start_dim=1, end_dim=-1)
Identity = _activation("Identity", lambda x: x)


def _loss(name: str, f: Callable[..., Any]) -> type[Module]:
    def __init__(self: Any, reduction: str = "mean") -> None:
        self.reduction = reduction

    forward = lambda self, input, target: f(input, target, self.reduction)
    return type(name, (Module,), {"__init__": __init__, "forward": forward, "__doc__": f.__doc__})


MSELoss, L1Loss = _loss("MSELoss", F.mse_loss), _loss("L1Loss", F.l1_loss)
CrossEntropyLoss = _loss("CrossEntropyLoss", F.cross_entropy)
BCEWithLogitsLoss = _loss("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits)
