"""tf.keras.layers: built on their first input."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...dtypes import as_dtype
from ...nn import LazyModule, dropout
from ...nn.init import by_name
from ...ops import casting, linear, shape
from ...train import unknown
from ..module import Module, snake
from ..tensor import ResourceVariable, convert_to_tensor
from . import activations

_named: Counter[str] = Counter()


class KerasVariable(ResourceVariable):
    """A variable of a layer, whose `trainable` can be set."""

    __slots__ = ()
    trainable = ResourceVariable.trainable.setter(lambda self, on: self.freeze(not on))


class Layer(Module, LazyModule):
    """A layer: `build(input_shape)` makes its variables at the first call, `call(inputs)` computes."""

    _made = KerasVariable
    by_name, dtype = False, as_dtype("float32")

    def __init__(
        self, name: str | None = None, trainable: bool = True, dtype: Any = None, input_shape: Any = None,
        input_dim: int | None = None, autocast: bool = True, **options: Any,
    ) -> None:  # fmt: skip
        unknown(Layer, options, type(self).__name__)
        if name is None:
            name = snake(type(self).__name__)
            _named[name] += 1
            name = name if _named[name] == 1 else f"{name}_{_named[name] - 1}"
        self._name, self._trains, self.autocast = name, trainable, autocast
        self.dtype = as_dtype(dtype or "float32")
        self.declared_shape = input_shape if input_dim is None else (input_dim,)

    weights = variables = LazyModule.variables
    trainable_weights = trainable_variables = LazyModule.trainable_variables
    non_trainable_weights = non_trainable_variables = LazyModule.non_trainable_variables


class Dense(Layer):
    """activation(inputs @ kernel + bias), with kernel (last axis of the input, units)."""

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(**options)
        if not isinstance(units, int) or units < 1:
            raise ValueError(
                f"Received an invalid value for `units`, expected a positive integer. Received: units={units}"
            )
        self.units, self.activation, self.use_bias = units, activations.get(activation), use_bias
        self._initializers = kernel_initializer, bias_initializer
        for identifier in self._initializers:
            by_name(identifier)  # an unknown name is an error here, not at the first call

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((input_shape[-1], self.units), self._initializers[0], name="kernel")
        self.bias = self.add_weight((self.units,), self._initializers[1], name="bias") if self.use_bias else None

    def call(self, inputs: Any) -> Any:
        x = convert_to_tensor(inputs)
        x = casting.astype(x, self.kernel.dtype) if x.dtype.kind in "iub" else x
        fused = activations.FUSED.get(self.activation)
        y = linear.linear(x, self.kernel, self.bias, fused)
        return self.activation(y) if fused is None else y


class Flatten(Layer):
    """All axes but the first as one."""

    def call(self, inputs: Any) -> Any:
        x = convert_to_tensor(inputs)
        return shape.reshape(x, (x.shape[0], -1))


class Dropout(Layer):
    """In training, elements set to 0 with probability `rate`, and the others scaled to keep the mean."""

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= rate < 1:
            raise ValueError(f"Invalid value received for argument `rate`: {rate!r}; it is a number from 0 to below 1")
        self.rate, self.seed = rate, seed

    def call(self, inputs: Any, training: bool = False) -> Any:
        return dropout(convert_to_tensor(inputs), self.rate, self.seed) if training else convert_to_tensor(inputs)


class Activation(Layer):
    """A function by name."""

    default: Any = None

    def __init__(self, activation: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation or self.default)

    def call(self, inputs: Any) -> Any:
        return self.activation(convert_to_tensor(inputs))


class ReLU(Activation):
    """max(x, 0)."""

    default = "relu"


class Softmax(Activation):
    """exp(x) over their sum along the last axis."""

    default = "softmax"


class InputLayer(Activation):
    """Says the shape of the inputs, without the batch; a Sequential that starts with it is built at once."""

    only_declares = True

    def __init__(self, shape: Any = None, batch_size: int | None = None, **options: Any) -> None:
        super().__init__(input_shape=shape, **options)


Input = InputLayer
