"""Linear, Sequential, and layers made of functions."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from inspect import Signature, signature
from typing import Any

from .. import random
from ..core import Tensor
from ..ops.linear import ACTIVATIONS, linear
from ..variable import Parameter
from .module import Module


class Linear(Module):
    """y = activation(x @ weight + bias).

    weight (in_features, out_features) and bias are drawn from U(-1/sqrt(in), 1/sqrt(in)), PyTorch's default
    (He et al. 2015 with a = sqrt 5).
    """

    transposed = ("weight",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str | None = None,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        for name, n in (("in_features", in_features), ("out_features", out_features)):
            if not hasattr(n, "__index__") or n < 1:
                raise ValueError(f"Linear: {name} is a positive integer, not {n!r}")
        if activation is not None and activation not in ACTIVATIONS:
            raise ValueError(f"Linear: activation is one of {sorted(ACTIVATIONS)} or None, not {activation!r}")
        bound = 1 / math.sqrt(in_features)
        draw = lambda shape: random.uniform(shape, -bound, bound, dtype=dtype, device=device)
        self.weight = Parameter(draw((in_features, out_features)), name="weight", device=device)
        self.bias = Parameter(draw((out_features,)), name="bias", device=device) if bias else None
        self.activation = activation

    def forward(self, x: Any) -> Any:
        return linear(x, self.weight, self.bias, self.activation)


class Sequential(Module):
    """Layers and functions, one after the other."""

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for i, f in enumerate(layers):
            if not callable(f):
                raise TypeError(f"Sequential: layer {i} is a {type(f).__name__}, which cannot be called")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for f in self.layers:
            x = f(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Any:
        return self.layers[i]


def layer_of(name: str, f: Callable[..., Any], inputs: int = 1, base: type[Module] = Module) -> Any:
    """A class of modules that call f: the options with which one is made are what f takes after its inputs."""
    options = Signature(list(signature(f).parameters.values())[inputs:])
    shown = [k for k in options.parameters if inputs == 1 and k != "inplace"]

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        bound = options.bind(*args, **given)
        bound.apply_defaults()
        vars(self).update(bound.arguments)
        for k, v in bound.arguments.items():
            if isinstance(v, Tensor):
                self.register_buffer(k, v)

    body = {
        "__init__": __init__,
        "__signature__": options,
        "__doc__": f.__doc__,
        "__module__": sys._getframe(1).f_globals["__name__"],  # where pickle finds it
        "forward": lambda self, *given: f(*given, **{k: getattr(self, k) for k in options.parameters}),
        "extra_repr": lambda self: ", ".join(f"{k}={getattr(self, k)!r}" for k in shown),
    }
    return type(name, (base,), body)
