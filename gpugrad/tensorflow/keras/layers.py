"""tf.keras.layers: built on their first input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ...nn import init
from ...ops import linalg, math, shape
from ..module import Module, snake
from ..tensor import ResourceVariable, convert_to_tensor
from . import activations

_named: Counter[str] = Counter()


def _of(f: Callable[..., Any]) -> Callable[[Any], Any]:
    """The core's function of a weight (out, in), for a kernel (in, out) or a vector."""
    return lambda s: f(s[::-1]).T if len(s) == 2 else f((s[0], s[0]))[0]


INITIALIZERS: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "zeros": init.zeros, "ones": init.ones, "glorot_uniform": _of(init.xavier_uniform),
    "glorot_normal": _of(init.xavier_normal), "he_uniform": _of(init.kaiming_uniform),
    "he_normal": _of(init.kaiming_normal), "random_normal": lambda s: init.normal(s, 0.0, 0.05),
    "random_uniform": lambda s: init.uniform(s, -0.05, 0.05),
}  # fmt: skip


def _initializer(identifier: Any) -> Callable[[tuple[int, ...]], Any]:
    if callable(identifier):
        return identifier
    if identifier not in INITIALIZERS:
        raise ValueError(f"unknown initializer {identifier!r}; known are {sorted(INITIALIZERS)}")
    return INITIALIZERS[identifier]


class Layer(Module):
    """A layer: `build(input_shape)` makes its variables at the first call, `call(inputs)` computes."""

    def __init__(self, name: str | None = None, trainable: bool = True, **options: Any) -> None:
        if unknown := set(options) - {"dtype", "input_shape", "input_dim", "autocast"}:
            raise TypeError(f"{type(self).__name__}: unexpected argument {min(unknown)!r}")
        if name is None:
            name = snake(type(self).__name__)
            _named[name] += 1
            name = name if _named[name] == 1 else f"{name}_{_named[name] - 1}"
        self._name, self.trainable, self.built = name, trainable, False

    def add_weight(
        self, shape: Any = (), initializer: Any = "glorot_uniform", name: str = "weight", trainable: bool = True,
        dtype: Any = None,
    ) -> ResourceVariable:  # fmt: skip
        """A variable of this layer."""
        trainable = trainable and self.trainable
        return ResourceVariable(_initializer(initializer)(tuple(shape)), trainable, f"{self.name}/{name}", dtype)

    def build(self, input_shape: Any) -> None:
        """Make the variables for inputs of this shape."""

    def call(self, inputs: Any) -> Any:
        """The layer's output."""
        raise NotImplementedError(f"{type(self).__name__} has no method call(inputs)")

    def __call__(self, inputs: Any, *args: Any, **kw: Any) -> Any:
        if not getattr(self, "built", True):
            self.build(convert_to_tensor(inputs).shape)
            self.built = True
        return self.call(inputs, *args, **kw)

    weights = Module.variables
    trainable_weights = Module.trainable_variables

    def get_weights(self) -> list[Any]:
        """The values of all variables."""
        return [v.numpy() for v in self.variables]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """New values for all variables.  ValueError for another number of them."""
        weights = list(weights)
        if len(weights) != len(self.variables):
            raise ValueError(f"{self.name} has {len(self.variables)} variables, given {len(weights)} values")
        for v, w in zip(self.variables, weights):
            v.assign(w)


class Dense(Layer):
    """activation(inputs @ kernel + bias), with kernel (last axis of the input, units)."""

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not isinstance(units, int) or units < 1:
            raise ValueError(
                f"Received an invalid value for `units`, expected a positive integer. Received: units={units}"
            )
        self.units, self.activation, self.use_bias = units, activations.get(activation), use_bias
        self._initializers = kernel_initializer, bias_initializer
        for identifier in self._initializers:
            _initializer(identifier)  # an unknown name is an error here, not at the first call

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((input_shape[-1], self.units), self._initializers[0], "kernel")
        self.bias = self.add_weight((self.units,), self._initializers[1], "bias") if self.use_bias else None

    def call(self, inputs: Any) -> Any:
        y = linalg.matmul(convert_to_tensor(inputs), self.kernel)
        return self.activation(y if self.bias is None else math.add(y, self.bias))


class Flatten(Layer):
    """All axes but the first as one."""

    def call(self, inputs: Any) -> Any:
        x = convert_to_tensor(inputs)
        return shape.reshape(x, (x.shape[0], -1))


class Activation(Layer):
    """A function by name."""

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        return self.activation(convert_to_tensor(inputs))


class ReLU(Activation):
    """max(x, 0)."""

    def __init__(self, **options: Any) -> None:
        super().__init__("relu", **options)


class Softmax(Activation):
    """exp(x) over their sum along the last axis."""

    def __init__(self, **options: Any) -> None:
        super().__init__("softmax", **options)


class InputLayer(Layer):
    """Does nothing: layers are built on their first input."""

    def __init__(self, shape: Any = None, **options: Any) -> None:
        super().__init__(**options)

    def call(self, inputs: Any) -> Any:
        return convert_to_tensor(inputs)


Input = InputLayer
