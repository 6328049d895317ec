"""Linear, and layers made of functions."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from inspect import Signature, signature
from typing import Any

import numpy as np

from .. import random
from ..core import Tensor, raw
from ..ops.linear import ACTIVATIONS, linear
from ..ops.piecewise import prelu
from ..tensor import full
from .lazy_sizes import Sized
from .module import Module


class Linear(Sized):
    """y = activation(x @ weight + bias), x (..., in_features) -> (..., out_features).

    in_features    None: the length of the first input's last axis
    activation     "gelu" (exact), "gelu_tanh", "relu", "sigmoid", "silu", "tanh" or None, fused with the product
    weight (in_features, out_features) and bias are drawn from U(-1/sqrt(in), 1/sqrt(in)), PyTorch's default
    (He et al. 2015 with a = sqrt 5).  ValueError for sizes that are not positive and for an input of another length.
    """

    _size = "in_features"
    in_features: Any  # None until the first input has come
    transposed = ("weight",)

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        activation: str | None = None,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        for name, n in (("in_features", in_features), ("out_features", out_features)):
            if (n is not None or name == "out_features") and (not hasattr(n, "__index__") or n < 1):  # type: ignore[operator]
                raise ValueError(f"Linear: {name} is a positive integer, not {n!r}")
        if activation is not None and activation not in ACTIVATIONS:
            raise ValueError(f"Linear: activation is one of {sorted(ACTIVATIONS)} or None, not {activation!r}")
        self.in_features, self.out_features, self._with_bias = in_features, out_features, bias
        self.activation = activation
        self._sized(dtype, device)

    def _make(self, dtype: Any, device: Any) -> None:
        bound = 1 / math.sqrt(self.in_features)
        draw = lambda shape: random.uniform(shape, -bound, bound, dtype=dtype, device=device)
        self.weight = self._parameter(draw(self._shape()), "weight", "weight" in self.transposed)
        self.bias = self._parameter(draw((self.out_features,)), "bias") if self._with_bias else None

    def _shape(self) -> tuple[Any, ...]:
        return self.in_features, self.out_features

    def _seen(self, x: Any) -> int:
        shape = np.shape(raw(x))
        if not shape or not shape[-1]:
            raise ValueError(f"Linear: takes (..., in_features), given an array of shape {shape}")
        return shape[-1]

    def _told(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes["weight"][0] if "weight" in shapes else None

    def forward(self, input: Any) -> Any:
        try:
            return linear(input, self.weight, self.bias, self.activation)
        except (ValueError, TypeError):
            if (shape := np.shape(raw(input)))[-1:] == (self.in_features,):
                raise
            raise ValueError(f"Linear: made for (..., {self.in_features}), given an array of shape {shape}") from None

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        fused = "" if self.activation is None else f", activation={self.activation!r}"
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self._with_bias}{fused}"


class PReLU(Module):
    """x where it is positive, else x times a weight that is learnt, one or one a channel (He et al. 2015)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        self.num_parameters = num_parameters
        self.weight = self._parameter(full((num_parameters,), init, dtype=dtype, device=device), "weight")

    def forward(self, input: Any) -> Any:
        return prelu(input, self.weight)

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        return f"num_parameters={self.num_parameters}"


def layer_of(name: str, f: Callable[..., Any], inputs: int = 1, base: type[Module] = Module) -> Any:
    """A class of modules that call f: the options with which one is made are what f takes after its inputs."""
    options = Signature(list(signature(f).parameters.values())[inputs:])
    names = [k for k in options.parameters if k != "inplace"]

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        try:
            bound = options.bind(*args, **given)
        except TypeError as e:
            raise TypeError(f"{name}{options}: {e}") from None
        bound.apply_defaults()
        for k, v in bound.arguments.items():
            if isinstance(v, Tensor):
                self.register_buffer(k, v)
            else:
                setattr(self, k, v)

    given = ", ".join(list(signature(f).parameters)[:inputs])
    # Written out, as dataclasses are: gathering the options at every call takes microseconds.
    source = f"lambda self, {given}: _f({', '.join([given, *[f'{k}=self.{k}' for k in names]])})"
    body = {
        "__init__": __init__,
        "__signature__": options,
        "__doc__": f.__doc__,
        "__module__": sys._getframe(1).f_globals["__name__"],  # where pickle finds it
        "forward": eval(source, {"_f": f}),
        "extra_repr": lambda self: ", ".join(f"{k}={getattr(self, k)!r}" for k in names if inputs == 1),
    }
    return type(name, (base,), body)
