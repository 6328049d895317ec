"""RNNCell, LSTMCell and GRUCell: single steps, under PyTorch's names."""

from __future__ import annotations

from typing import Any

from ..core import raw
from ..forward import boxed
from ..ops import recurrent_step as steps
from ..ops.activation import relu
from ..ops.linear import linear
from ..ops.math import add, tanh
from ..ops.shape import matrix_transpose
from .recurrent import Gated, sizes, squash

_SQUASH = {"tanh": tanh, "relu": relu}


class _Cell(Gated):
    def __init__(
        self, input_size: int | None, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._sized(dtype, device)

    def _make(self, dtype: Any, device: Any) -> None:
        self._draw("", self.input_size, dtype, device)

    def _gates(self, input: Any, hx: Any, count: int) -> tuple[Any, Any, list[Any]]:
        """What the input and what the last output give to the gates; and the state, zeros where hx is None."""
        name = type(self).__name__
        x = self._taken(input)
        shape = raw(x).shape
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            raise ValueError(f"{name}: input is (batch, {self.input_size}), or one without batch, given {shape}")
        wanted = (*shape[:-1], self.hidden_size)
        given = [self._zeros(x, *wanted)] * count if hx is None else [hx] if count == 1 else list(hx)
        states = [boxed(a, name) for a in given]
        if [raw(a).shape for a in states] != [wanted] * count:
            raise ValueError(f"{name}: a state is {count} x {wanted} here, given {[raw(a).shape for a in states]}")
        w, u, b, d, _ = self._of("", raw(x).dtype)
        return linear(x, matrix_transpose(w), b), linear(states[0], matrix_transpose(u), d), states


class RNNCell(_Cell):
    """h' = tanh(weight_ih x + bias_ih + weight_hh h + bias_hh), or relu: a step of `RNN`."""

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.nonlinearity = squash("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """h' (batch, hidden_size), of input (batch, input_size) and h, or zeros; or all without batch."""
        x, back, _ = self._gates(input, hx, 1)
        return _SQUASH[self.nonlinearity](add(x, back))


class LSTMCell(_Cell):
    """c' = f c + i m and h' = o tanh(c'): a step of `LSTM`.

    The gates are blocks of rows of weight_ih x + bias_ih + weight_hh h + bias_hh, in the order i, f, m, o: sigmoids, of
    m the tanh.
    """

    gates = 4

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """(h', c'), each (batch, hidden_size), of input (batch, input_size) and (h, c), or zeros; or without batch."""
        x, back, states = self._gates(input, hx, 2)
        return steps.lstm_cell(x, back, states[1])


class GRUCell(_Cell):
    """h' = (1 - z) m + z h: a step of `GRU`.

    With blocks of rows in the order r, z, m: r, z = sigmoid(weight_ih x + bias_ih + weight_hh h + bias_hh) and
    m = tanh(weight_ih x + bias_ih + r (weight_hh h + bias_hh)).
    """

    gates = 3

    def forward(self, input: Any, hx: Any = None) -> Any:
        """h' (batch, hidden_size), of input (batch, input_size) and h, or zeros; or all without batch."""
        x, back, states = self._gates(input, hx, 1)
        return steps.gru_cell(x, back, states[0])
