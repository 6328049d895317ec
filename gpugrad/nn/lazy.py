"""LazyModule: a layer that makes its variables when it first sees an input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from ..array import library
from ..core import Tensor, raw
from ..dtypes import DTypeLike, is_inexact
from ..forward import boxed
from ..ops.casting import astype
from ..repeat import carried
from ..tensor import to_numpy
from ..variable import Variable
from .holder import making
from .init import by_name
from .module import Module

_training: ContextVar[bool | None] = ContextVar("training", default=None)  # of the outermost call that said so
carried.append(_training)


def _marking(build: Callable[..., Any]) -> Callable[..., Any]:
    """`build`, after which a layer is built; one that calls that of its base class, once."""

    @wraps(build)
    def marked(self: Any, *args: Any, **kw: Any) -> None:
        if self._building:
            return build(self, *args, **kw)
        self._building = True
        try:
            build(self, *args, **kw)
        finally:
            self._building = False
        self._have_built()
        return None

    return marked


def _numbers(x: Any) -> bool:
    """Whether a nested list is one of numbers."""
    while isinstance(x, list) and x:
        x = x[0]
    return isinstance(x, (int, float, np.generic))


def _shapes(x: Any, name: str) -> Any:
    """The shape of an input, or of each in a nest."""
    if isinstance(x, dict):
        return {k: _shapes(v, name) for k, v in x.items()}
    return [_shapes(v, name) for v in x] if isinstance(x, (list, tuple)) else raw(boxed(x, name)).shape


class LazyModule(Module):
    """`build(input_shape)` makes the variables at the first call, `call(inputs)` computes.

    A `call` with a parameter `training` is given that of the call, or of the layer around it.  With a `dtype`, floating
    inputs are cast to it unless `autocast` is False, and variables are made in it.
    """

    _made: ClassVar[type[Variable]] = Variable  # what add_weight makes
    name = "layer"
    dtype: Any = None
    autocast = True
    built = False
    when_built: Callable[[], Any] | None = None  # called once, as the variables are there
    output_shape: tuple[int | None, ...] | None = None  # of the first call
    _building = False
    _trains = True
    _takes_training: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._takes_training = "training" in signature(cls.call).parameters
        if "build" in vars(cls):
            cls.build = _marking(cls.build)

    # ------------------------------------------------------------------------------------ variables
    def add_weight(
        self, shape: Any = (), initializer: Any = "glorot_uniform", dtype: DTypeLike = None, trainable: bool = True,
        name: str = "weight",
    ) -> Any:  # fmt: skip
        """A variable of this layer, filled by an initializer: a name, or a function of the shape."""
        value = by_name(initializer)(tuple(shape))
        return self._made(value, trainable, f"{self.name}/{name}", self.dtype if dtype is None else dtype)

    @property
    def trainable(self) -> bool:
        """Whether it is trained; set, that of all layers inside, too, whose variables freeze or thaw."""
        return self._trains

    @trainable.setter
    def trainable(self, on: bool) -> None:
        for m in self.modules():
            if isinstance(m, LazyModule):
                m._trains = bool(on)
        for v in self.variables:
            if isinstance(v, Variable):
                v.freeze(not on)

    @property
    def trainable_variables(self) -> list[Tensor]:
        """The variables that tapes watch and optimizers change; none of a frozen layer."""
        return super().trainable_variables if self._trains else []

    @property
    def non_trainable_variables(self) -> list[Tensor]:
        """The other variables."""
        return super().non_trainable_variables if self._trains else self.variables

    def count_params(self) -> int:
        """How many numbers the variables have.  ValueError before they are built."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer {self.name!r}, but the layer isn't built. You can build it "
                "manually via: `layer.build(input_shape)`."
            )
        return sum([v.array.size for v in self.variables])

    # ------------------------------------------------------------------------------------ calls
    @_marking
    def build(self, input_shape: Any) -> None:
        """Make the variables for inputs of this shape."""

    def _have_built(self) -> None:
        self.built = True
        if not self._trains:
            self.trainable = False  # what has been made, too
        if self.when_built is not None:
            self.when_built()
            self.when_built = None

    def _before_call(self, inputs: Any) -> None:
        self.build(_shapes(inputs, type(self).__name__))

    def taken(self, x: Any) -> Any:
        """An array as a tensor, of this layer's dtype if it is floating; also tensors, also in a nest."""
        if isinstance(x, (list, tuple)):
            return (tuple if isinstance(x, tuple) else list)(map(self.taken, x))
        if isinstance(x, dict):
            return {k: self.taken(v) for k, v in x.items()}
        if not isinstance(x, Tensor):
            if library(x) is None:
                return x
            x = self._made.box(x)
        own = x.array.dtype
        if self.dtype is None or own == self.dtype or own.kind == "c" or not self.autocast or not is_inexact(own):
            return x
        return astype(x, self.dtype)

    def call(self, inputs: Any) -> Any:
        """The layer's output."""
        raise NotImplementedError(f"{type(self).__name__} has no method call(inputs)")

    def forward(self, inputs: Any, *args: Any, training: bool | None = None, **kw: Any) -> Any:
        inputs = self.taken(self._made.box(inputs) if isinstance(inputs, list) and _numbers(inputs) else inputs)
        if args or kw:
            args, kw = self.taken(args), self.taken(kw)
        if not self.built:
            with making:
                if not self.built:  # else another thread has built it meanwhile
                    self._before_call(inputs)
        before = _training.set(training) if training is not None else None
        try:
            if self._takes_training and not args and (mode := _training.get()) is not None:
                kw["training"] = mode
            out = self.call(inputs, *args, **kw)
        finally:
            if before is not None:
                _training.reset(before)
        if self.output_shape is None and isinstance(out, Tensor):
            self.output_shape = (None, *out.array.shape[1:])
        return out

    def get_weights(self) -> list[Any]:
        """The values of all variables, as NumPy arrays."""
        return [to_numpy(v) for v in self.variables]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """New values for all variables.  ValueError for another number of them."""
        weights, variables = list(weights), self.variables
        if len(weights) != len(variables):
            raise ValueError(f"{type(self).__name__} has {len(variables)} variables, given {len(weights)} values")
        for v, w in zip(variables, weights):
            v.assign(w)  # type: ignore[attr-defined]

    def zeros(self, shape: Iterable[int | None]) -> Any:
        """An input of this shape, in which None stands for 1."""
        return self._made.box(np.zeros([1 if n is None else n for n in shape], self.dtype or "float32"))
