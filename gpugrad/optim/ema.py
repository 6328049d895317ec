"""Running averages of weights, and gradients summed over small batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..array import Array, xp
from ..core import Tensor, raw, wrap
from ..dtypes import is_inexact, wide
from ..ops.casting import view
from ..tensor import tensor
from ..variable import Variable
from .sgd import SGD
from .state import Todo


class _Mover(SGD):
    """What moves averages: x ← x - lr (x - g), one launch or one pass for all."""

    def blockwise(self, todo: Todo) -> bool:
        return True

    def move(self, to: list[Array], rate: float) -> None:
        """A share of the way to these."""
        (group,) = self.param_groups
        group["lr"] = rate
        self._step([(w, a, group) for w, a in zip(to, group["params"])])


class EMA:
    """Averages of weights beside them: a ← a + (1 - decay) (w - a) at each `update()`; the first takes the weights.

        ema = EMA(model, 0.999)
        ...; optimizer.step(); ema.update()
        with ema.applied(): check(model)            # the model with the averages, inside

    model     a module, or variables: a list, or a dict by name
    decay     a number from 0 to below 1; None: the mean of all so far, each as heavy (stochastic weight averaging,
              Izmailov et al. 2018); or f(updates so far) -> number, such as lambda n: min(0.999, (1 + n) / (10 + n))
    buffers   average the floating buffers of a module, too; otherwise they are as the model has them
    Averages of half types are kept in float32.  An update is an optimizer's step, fused as those are.
    """

    def __init__(self, model: Any, decay: float | Callable[[int], float] | None = 0.999, buffers: bool = False) -> None:
        self.decay, self.updates, self._model, self._buffers, self._inside = decay, 0, model, buffers, False
        if not callable(decay) and decay is not None:
            _checked(decay)
        if isinstance(model, dict):
            named = dict(model)
        elif hasattr(model, "named_parameters"):
            named = dict(model.named_parameters())
        else:
            named = {str(i): v for i, v in enumerate(model)}
        if not named or not all([isinstance(v, Tensor) and is_inexact(v.array.dtype) for v in named.values()]):
            raise ValueError("EMA: give a module that has parameters, or a list or dict of floating variables")
        self._named = named
        if buffers and not hasattr(model, "named_buffers"):
            raise ValueError("EMA: buffers=True is for a module; a list or dict of variables has none")
        self.averages = {k: _average(v) for k, v in self._tensors().items()}
        self._mover = _Mover(list(self.averages.values()), learning_rate=1.0, weight_decay=1.0, maximize=True)

    def _tensors(self) -> dict[str, Tensor]:
        """What is averaged, by name: parameters, and buffers as they are now."""
        if not self._buffers:
            return self._named
        return self._named | {k: b for k, b in self._model.named_buffers() if is_inexact(b.array.dtype)}

    @property
    def variables(self) -> list[Tensor]:
        """The parameters that are averaged."""
        return list(self._named.values())

    def update(self) -> None:
        """Move the averages towards the weights as they are now.  RuntimeError inside `applied()`."""
        if self._inside:
            raise RuntimeError("EMA.update() inside applied(): the weights are the averages there")
        n, now = self.updates, self._tensors()
        keep = n / (n + 1) if self.decay is None else self.decay(n) if callable(self.decay) else self.decay
        rate = 1.0 - _checked(keep)
        pairs = [(now[k].array, a) for k, a in self.averages.items()]
        if n == 0:
            for w, a in pairs:
                a.array = xp(w).array(w, a.array.dtype)
        else:
            self._mover.move([w.astype(a.array.dtype, copy=False) for w, a in pairs], rate)
        self.updates = n + 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averages inside, and its own weights again afterwards, whatever happens.

        What is assigned to them inside is lost.
        """
        if self._inside:
            yield
            return
        now = self._tensors()
        before = {k: v.array for k, v in now.items()}
        self._inside = True
        try:
            for k, a in self.averages.items():
                now[k].array = view(a.array.astype(before[k].dtype, copy=False))
            yield
        finally:
            self._inside = False
            for k, v in now.items():
                v.array = before[k]

    def copy_to(self) -> None:
        """Give the averages to the model for good."""
        for k, v in self._tensors().items():
            v.array = xp(v.array).array(self.averages[k].array, v.array.dtype)

    def state_dict(self) -> dict[str, Any]:
        """{"updates": how many, "averages": tensors by name, which share the memory: copy them to keep them}."""
        averages = {k: wrap(view(a.array)) for k, a in self.averages.items()}
        return {"updates": self.updates, "averages": averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict.  ValueError for other names or shapes; then nothing has changed."""
        if not isinstance(state_dict, dict) or {*state_dict} != {"updates", "averages"}:
            raise ValueError("loaded state dict is none of an EMA: it has no 'updates' and 'averages'")
        given = state_dict["averages"]
        if given.keys() != self.averages.keys():
            raise ValueError(
                f"loaded state dict has averages of other variables: {sorted(given.keys() ^ self.averages.keys())[:6]}"
            )
        new = {k: raw(tensor(given[k], a.array.dtype, a.device)) for k, a in self.averages.items()}
        for k, a in self.averages.items():
            if new[k].shape != a.array.shape:
                raise ValueError(f"loaded state dict has {k} of shape {new[k].shape}, here it is {a.array.shape}")
        for k, a in self.averages.items():
            a.array = xp(new[k]).array(new[k])
        self.updates = int(state_dict["updates"])


def _average(v: Tensor) -> Variable:
    return Variable(wrap(v.array.astype(wide(v.array.dtype))), device=v.device)


def _checked(decay: Any) -> float:
    if not 0 <= decay < 1:
        raise ValueError(f"EMA: decay is a number from 0 to below 1, not {decay!r}")
    return decay


class Accumulator:
    """The mean of gradients over several batches, for tapes: what one batch of all their rows would give.

        total = Accumulator()
        for x, y in parts:
            with gg.GradientTape() as tape: loss = loss_of(model(x), y)         # a mean over rows
            total.add(tape.gradient(loss, variables), len(x))
        optimizer.apply_gradients(zip(total.mean(), variables))

    With backward() only `optimizer.accumulates = True` is needed: it adds to `.grad`.  Divide each loss by the number
    of batches there.
    """

    def __init__(self) -> None:
        self.weight = 0.0  # of all that was added since the last mean
        self._sums: list[Any] = []
        self._kinds: list[Any] = []  # the dtypes of the gradients, whose means have them, too

    def add(self, gradients: Iterable[Any], weight: float = 1.0) -> None:
        """Add the gradients of one batch, `weight` times: the number of its rows, where the loss is their mean.

        A gradient of None counts as zeros, unless it is None in all batches.  ValueError for another number of them,
        other shapes, and a weight that is not above 0.
        """
        new = [None if g is None else raw(g) for g in gradients]
        if not 0 < weight < float("inf"):
            raise ValueError(f"Accumulator: weight is a number above 0, not {weight!r}")
        if self.weight and len(new) != len(self._sums):
            raise ValueError(f"Accumulator: {len(new)} gradients, and {len(self._sums)} before")
        sums = self._sums if self.weight else [None] * len(new)
        for i, (s, g) in enumerate(zip(sums, new)):
            if s is not None and g is not None and s.shape != g.shape:
                raise ValueError(f"Accumulator: gradient {i} has shape {g.shape}, and {s.shape} before")
        self._kinds = [k if g is None else g.dtype for k, g in zip(self._kinds or sums, new)]
        self._sums = [_plus(s, g, weight) for s, g in zip(sums, new)]
        self.weight += weight

    def mean(self) -> list[Tensor | None]:
        """The weighted mean, as tensors; it starts anew.  ValueError if nothing was added."""
        if not self.weight:
            raise ValueError("Accumulator.mean(): nothing was added since the last one")
        means = [None if s is None else _times(s, 1 / self.weight) for s in self._sums]
        kinds, self._sums, self._kinds, self.weight = self._kinds, [], [], 0.0
        return [None if m is None else wrap(m.astype(k, copy=False)) for m, k in zip(means, kinds)]


def _times(a: Any, factor: float) -> Any:
    a *= a.dtype.type(factor)
    return a


def _plus(total: Any, g: Any, weight: float) -> Any:
    """total + weight g in the memory of total, which is our own; half types in float32."""
    if g is None:
        return total
    part = _times(xp(g).array(g, wide(g.dtype)), weight)
    if total is None:
        return part
    total += part
    return total
