"""RNN, LSTM and GRU over sequences, under PyTorch's names.  `cells.py` has their single steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import random
from ..array import to_host, xp as xp_of
from ..core import Tensor, raw, wrap
from ..dtypes import int64, is_float
from ..forward import boxed, placed
from ..ops import recurrent as ops
from ..ops.casting import astype
from ..ops.index import getitem
from ..ops.logic import greater_equal, where
from ..ops.math import add, subtract
from ..ops.shape import concat, expand_dims, flip, squeeze, stack, swapaxes, unstack
from .dropout import dropout
from .lazy_sizes import Sized


def sizes(name: str, **given: int | None) -> None:
    """ValueError for a size that is not positive."""
    for what, n in given.items():
        if n is None and what == "input_size":
            continue
        if n is None or not hasattr(n, "__index__") or n < 1:
            raise ValueError(f"{name}: {what} is a positive integer, not {n!r}")


def squash(name: str, nonlinearity: str) -> str:
    """ "tanh" or "relu".  ValueError for another one."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{name}: nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
    return nonlinearity


def _as(a: Any, dtype: np.dtype) -> Any:
    return a if a is None or raw(a).dtype == dtype else astype(a, dtype)


class Gated(Sized):
    """Weights and biases of `gates` blocks of rows, from U(-1/√hidden_size, 1/√hidden_size)."""

    _size = "input_size"
    gates = 1
    input_size: Any  # None until the first input has come
    hidden_size: int
    bias: bool
    suffix = ""  # of the names of the first weights

    def _seen(self, x: Any) -> int:
        shape = np.shape(raw(x))
        if not shape or not shape[-1]:
            raise ValueError(f"{type(self).__name__}: input is (..., input_size), given an array of shape {shape}")
        return shape[-1]

    def _told(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes[name][1] if (name := f"weight_ih{self.suffix}") in shapes else None

    def _draw(self, suffix: str, inputs: int, dtype: Any, device: Any, proj: int = 0) -> None:
        """The parameters of one layer, one way."""
        n, bound = self.gates * self.hidden_size, 1 / math.sqrt(self.hidden_size)
        shapes: dict[str, Any] = {"weight_ih": (n, inputs), "weight_hh": (n, proj or self.hidden_size)}
        shapes |= {"bias_ih": (n,), "bias_hh": (n,)} if self.bias else {}
        shapes |= {"weight_hr": (proj, self.hidden_size)} if proj else {}
        for name, shape in shapes.items():
            value = random.uniform(shape, -bound, bound, dtype=dtype, device=device)
            setattr(self, name + suffix, self._parameter(value, name + suffix))

    def _of(self, suffix: str, dtype: np.dtype) -> list[Any]:
        """weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, each or None, in this dtype."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [_as(getattr(self, name + suffix, None), dtype) for name in names]

    def _taken(self, input: Any) -> Any:
        """The input as a tensor, of the dtype that it and the weights make.  TypeError unless it is floating."""
        x = boxed(input, type(self).__name__)
        if not is_float(raw(x).dtype):
            raise TypeError(f"{type(self).__name__}: input is floating, given {raw(x).dtype}")
        dtype = np.result_type(raw(x).dtype, getattr(self, f"weight_ih{self.suffix}").array.dtype)
        return _as(x, dtype)

    def _zeros(self, like: Any, *shape: int) -> Any:
        return xp_of(raw(like)).zeros_like(raw(like), shape=shape)


# ---------------------------------------------------------------------------------------------- sequences
class _Recurrent(Gated):
    """Layers over sequences, each over the outputs of the one before it; with `bidirectional`, both ways."""

    suffix = "_l0"

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        sizes(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout is a probability, from 0 to 1, not {dropout!r}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"{name}: proj_size is smaller than hidden_size {hidden_size}, or 0; not {proj_size!r}")
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.proj_size = proj_size
        self._sized(dtype, device)

    def _make(self, dtype: Any, device: Any) -> None:
        for layer in range(self.num_layers):
            inputs = self.input_size if layer == 0 else self._width() * self._ways()
            for way in ("", "_reverse")[: self._ways()]:
                self._draw(f"_l{layer}{way}", inputs, dtype, device, self.proj_size)

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed, as PyTorch has it."""
        given = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        given |= {"proj_size": 0}
        rest = [f"{k}={getattr(self, k)}" for k, usual in given.items() if getattr(self, k) != usual]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *rest])

    def flatten_parameters(self) -> None:
        """Nothing: the weights are as they are needed.  For programs written for PyTorch."""

    def _width(self) -> int:
        """Of the output, one way."""
        return self.proj_size or self.hidden_size

    def _ways(self) -> int:
        return 2 if self.bidirectional else 1

    def _steps(self, x: Any, states: list[Any], suffix: str) -> list[Any]:
        """Outputs, and what else a state has, of all steps over x (length, batch, features)."""
        raise NotImplementedError

    def _widths(self) -> list[int]:
        """Of the arrays of a state."""
        return [self._width()]

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """(the last layer's outputs, the state after the last step).

        input    (length, batch, input_size), with batch_first (batch, length, input_size); (length, input_size) is one
        hx       the state before the first step: (layers, batch, hidden_size), of an LSTM a pair, h with proj_size
                 columns if that is not 0, and c; twice as many layers if bidirectional; None: zeros.  Without batch,
                 (layers, hidden_size)
        lengths  (batch,) integers: how many steps of each sequence count.  Outputs behind them are 0, the state is that
                 after the last one that counts, and the way back starts there

        The outputs are (length, batch, width), or as batch_first says, both ways side by side.  TypeError, ValueError
        for what does not fit.
        """
        name = type(self).__name__
        x = self._taken(input)
        shape = raw(x).shape
        form = "(batch, length, {})" if self.batch_first else "(length, batch, {})"
        if len(shape) not in (2, 3) or shape[-1] != self.input_size:
            raise ValueError(f"{name}: input is {form.format(self.input_size)}, or one without batch, given {shape}")
        batched = len(shape) == 3
        x = expand_dims(x, 1) if not batched else swapaxes(x, 0, 1) if self.batch_first else x
        steps, rows, _ = raw(x).shape
        if not steps:
            raise ValueError(f"{name}: a sequence has at least one step, given the shape {shape}")
        counted = None if lengths is None else _Lengths(name, lengths, x)
        if counted is not None:
            x = counted.cut(x)
        states = self._states(hx, x, batched, rows)
        last: list[list[Any]] = [[] for _ in states]
        for layer in range(self.num_layers):
            outs = []
            for k in range(self._ways()):
                given = [s[layer * self._ways() + k] for s in states]
                turn = (lambda a: flip(a, axis=0)) if counted is None else counted.turned
                found = self._steps(turn(x) if k else x, given, f"_l{layer}" + k * "_reverse")
                for kept, a in zip(last, found):
                    kept.append(a[-1] if counted is None else counted.last(a))
                out = found[0] if counted is None else counted.cut(found[0])
                outs.append(turn(out) if k else out)
            x = outs[0] if len(outs) == 1 else concat(outs, -1)
            if self.training and self.dropout and layer < self.num_layers - 1:
                x = dropout(x, self.dropout) if self.dropout < 1 else x * 0.0
        final = [stack(a) for a in last]
        if not batched:
            x, final = squeeze(x, axis=1), [squeeze(a, axis=1) for a in final]
        elif self.batch_first:
            x = swapaxes(x, 0, 1)
        return x, final[0] if len(final) == 1 else tuple(final)

    def _states(self, hx: Any, x: Any, batched: bool, rows: int) -> list[list[Any]]:
        """The arrays of the first state, by layer and way."""
        count, widths = self.num_layers * self._ways(), self._widths()
        if hx is None:
            return [[self._zeros(x, rows, n)] * count for n in widths]
        name = type(self).__name__
        given = hx if isinstance(hx, (tuple, list)) else [hx]
        if len(given) != len(widths):
            raise ValueError(f"{name}: hx is {'a pair (h, c)' if len(widths) > 1 else 'one array'}, given {len(given)}")
        found = []
        for a, n in zip(given, widths):
            a, shape = _as(boxed(a, name), raw(x).dtype), (count, rows, n) if batched else (count, n)
            if raw(a).shape != shape:
                raise ValueError(f"{name}: a state is {shape} here, given {raw(a).shape}")
            found.append(unstack(a if batched else expand_dims(a, 1)))
        return found


class _Lengths:
    """How many steps of each sequence of x (length, batch, features) count."""

    def __init__(self, name: str, lengths: Any, x: Any) -> None:
        steps, rows, _ = raw(x).shape
        given = np.asarray(to_host(raw(lengths)) if isinstance(lengths, Tensor) else lengths)
        if given.shape != (rows,) or given.dtype.kind not in "iu":
            raise ValueError(f"{name}: lengths are {rows} integers, one a sequence, given {given.dtype} {given.shape}")
        if rows and not 1 <= given.min() <= given.max() <= steps:
            raise ValueError(f"{name}: lengths are from 1 to {steps}, given {given.min()} to {given.max()}")
        # By ops from here on, so that an ONNX file reads the lengths.
        given = placed(raw(lengths) if isinstance(lengths, Tensor) else given, raw(x))
        ends = subtract(_as(wrap(given), int64), 1)
        step, row = placed(np.arange(steps)[:, None], raw(x)), placed(np.arange(rows), raw(x))
        counts = greater_equal(ends, step)
        self.counts = expand_dims(counts, -1)
        self.at = raw(where(counts, subtract(ends, step), step)), row
        self.ends = raw(ends), row

    def cut(self, a: Any) -> Any:
        """0 in the place of what does not count."""
        return where(self.counts, a, 0)

    def turned(self, a: Any) -> Any:
        """The steps that count in the other order."""
        return getitem(a, self.at)

    def last(self, a: Any) -> Any:
        """What there is at the last step that counts."""
        return getitem(a, self.ends)


class RNN(_Recurrent):
    """h' = tanh(weight_ih x + bias_ih + weight_hh h + bias_hh), or relu, over sequences (Elman 1990)."""

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.nonlinearity = squash("RNN", nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )

    def _steps(self, x: Any, states: list[Any], suffix: str) -> list[Any]:
        w, u, b, d, _ = self._of(suffix, raw(x).dtype)
        return [ops.rnn(x, w, u, None if b is None else add(b, d), *states, relu=self.nonlinearity == "relu")]


class LSTM(_Recurrent):
    """Long short-term memory over sequences (Hochreiter & Schmidhuber 1997): `LSTMCell` at every step.

    proj_size   the columns of h, which is then weight_hr (o tanh(c')); 0: hidden_size, without weight_hr
    """

    gates = 4

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size=proj_size,
            device=device, dtype=dtype,
        )  # fmt: skip

    def _widths(self) -> list[int]:
        return [self._width(), self.hidden_size]

    def _steps(self, x: Any, states: list[Any], suffix: str) -> list[Any]:
        w, u, b, d, r = self._of(suffix, raw(x).dtype)
        return list(ops.lstm(x, w, u, None if b is None else add(b, d), *states, r))


class GRU(_Recurrent):
    """Gated recurrent units over sequences (Cho et al. 2014): `GRUCell` at every step."""

    gates = 3

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )

    def _steps(self, x: Any, states: list[Any], suffix: str) -> list[Any]:
        w, u, b, d, _ = self._of(suffix, raw(x).dtype)
        return [ops.gru(x, w, u, b, d, *states)]
