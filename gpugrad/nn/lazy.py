"""LazyModule: a layer that makes its variables when it first sees an input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from inspect import signature
from typing import Any, ClassVar

from ..core import raw
from ..forward import boxed
from ..tensor import to_numpy
from ..variable import Variable
from .init import by_name
from .module import Module

_training: ContextVar[bool | None] = ContextVar("training", default=None)  # of the outermost call that said so


class LazyModule(Module):
    """`build(input_shape)` makes the variables at the first call, `call(inputs)` computes.

    A `call` with a parameter `training` is given that of the call, or of the layer around it.
    """

    _made: ClassVar[type[Variable]] = Variable  # what add_weight makes
    name = "layer"
    trainable = True
    built = False
    when_built: Callable[[], Any] | None = None  # called once, as the variables are there
    _takes_training: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._takes_training = "training" in signature(cls.call).parameters

    def add_weight(
        self, shape: Any = (), initializer: Any = "glorot_uniform", name: str = "weight", trainable: bool = True,
        dtype: Any = None,
    ) -> Any:  # fmt: skip
        """A variable of this layer, filled by an initializer: a name, or a function of the shape."""
        value = by_name(initializer)(tuple(shape))
        return self._made(value, trainable and self.trainable, f"{self.name}/{name}", dtype)

    def build(self, input_shape: Any) -> None:
        """Make the variables for inputs of this shape."""

    def call(self, inputs: Any) -> Any:
        """The layer's output."""
        raise NotImplementedError(f"{type(self).__name__} has no method call(inputs)")

    def __call__(self, inputs: Any, *args: Any, training: bool | None = None, **kw: Any) -> Any:
        if not self.built:
            self.build(raw(boxed(inputs, type(self).__name__)).shape)
            self.built = True
            if self.when_built is not None:
                self.when_built()
                self.when_built = None
        before = _training.set(training) if training is not None else None
        try:
            if self._takes_training and not args and (mode := _training.get()) is not None:
                kw["training"] = mode
            return self.call(inputs, *args, **kw)
        finally:
            if before is not None:
                _training.reset(before)

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
