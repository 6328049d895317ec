"""LazyModel and LazySequential: layers that a first call builds, counted and told in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..recording import scope
from .lazy import LazyModule


class _Layers:
    """`model.layers`: the layers among the attributes, unless an attribute has the name."""

    def __get__(self, model: Any, kind: type) -> Any:
        if model is None:
            return self
        return list({id(m): m for _, m in model.named_children() if isinstance(m, LazyModule)}.values())


class LazyModel(LazyModule):
    """A module whose variables are those of its layers: it is built when a first call has built them."""

    layers: Any = _Layers()

    def build(self, input_shape: Any) -> None:
        """Build the layers for inputs of this shape, in which None stands for any length, by a call with zeros."""
        with scope(False):
            self(self.zeros(input_shape))

    def _before_call(self, inputs: Any) -> None:
        if self._building:
            return
        if type(self).build is LazyModel.build:
            self._have_built()  # in the call that follows
        else:
            super()._before_call(inputs)

    def summary(self, print_fn: Callable[[str], Any] = print, **options: Any) -> None:
        """Print a table: each layer with the shape of its output and the number of its parameters."""
        rows = [("Layer (type)", "Output Shape", "Param #")]
        for layer in self.layers:
            shape = "?" if layer.output_shape is None else str(layer.output_shape)
            many = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
            rows.append((f"{layer.name} ({type(layer).__name__})", shape, many))
        wide = [max(map(len, column)) for column in zip(*rows)]
        lines = [f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}".rstrip() for a, b, c in rows]
        lines.insert(1, "-" * (sum(wide) + 4))
        total, trained = (sum([v.array.size for v in vs]) for vs in (self.variables, self.trainable_variables))
        totals = {"Total": total, "Trainable": trained, "Non-trainable": total - trained}
        print_fn("\n".join([f'Model: "{self.name}"', *lines, *[f"{k} params: {n:,}" for k, n in totals.items()]]))


class LazySequential(LazyModel):
    """Layers, one after the other; built at once where the first says the shape of its inputs."""

    def __init__(self, layers: Sequence[Any] = ()) -> None:
        self.layers: list[Any] = []
        self._reached: Any = None  # what the layers so far make of zeros, where the shape of the input is known
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer at the end.  ValueError for what cannot be called."""
        if not callable(layer):
            raise ValueError(
                f"Only instances of `keras.Layer` can be added to a Sequential model. Received: {layer!r:.60}"
            )
        shape = getattr(layer, "declared_shape", None)
        if not self.layers and shape is not None:
            self._reached = self.zeros((None, *shape))
        if not getattr(layer, "only_declares", False):
            self.layers.append(layer)
            if self._reached is not None:
                with scope(False):
                    self._reached = layer(self._reached)
                self._have_built()

    def call(self, inputs: Any) -> Any:
        """The output of the last layer."""
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs
