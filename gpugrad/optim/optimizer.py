"""What optimizers share: their variables, their state, and two ways of stepping."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from ..array import Array, device_of, library, wide, xp
from ..autograd import zero_grad
from ..core import Tensor, trainable


class Optimizer:
    """An optimizer over `variables`.

    Two ways of stepping: `apply_gradients(zip(grads, variables))` after a tape, or `zero_grad()`, `backward()`,
    `step()`.  Both do the same update.  A subclass gives `init(array)`, the state of one variable, and
    `update(array, gradient, state, step)`, its new array.  The state is updated in place where nothing else can
    see it; the variable's array always anew if a tape or a view may hold it.
    """

    def __init__(self, variables: Iterable[Any] | None = None, learning_rate: float = 1e-3) -> None:
        self.learning_rate = learning_rate
        self.iterations = 0
        self.variables: list[Tensor] = []
        self._state: dict[int, Any] = {}
        if variables is not None:
            if isinstance(variables, Tensor):
                variables = [variables]
            elif isinstance(variables, (str, dict)) or not hasattr(variables, "__iter__"):
                raise TypeError(
                    f"{type(self).__name__}: the first argument is the variables to optimize, for example "
                    f"model.parameters(), not {variables!r:.40}; the learning rate is learning_rate="
                )
            variables = list(variables)
            if not variables:
                raise ValueError("optimizer got an empty parameter list")
            for v in variables:
                self._add(v)
        self._fixed = variables is not None

    @property
    def learning_rate(self) -> float:
        """The length of a step.  ValueError if it is set to a negative number or NaN."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = check("learning_rate", value)

    def _add(self, v: Any) -> None:
        if not isinstance(v, Tensor):
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(v).__name__}")
        if v.node is not None and v.node.op is not None:
            raise ValueError(
                "can't optimize a non-leaf Tensor; give Variables, or tensors made with requires_grad=True"
            )
        if not trainable(v):
            raise ValueError(
                "can't optimize a tensor that does not require a gradient; give trainable Variables, or tensors made "
                "with requires_grad=True"
            )
        if id(v) in self._state:
            raise ValueError("some parameters appear twice in the optimizer's list")
        self.variables.append(v)
        self._state[id(v)] = None

    # ------------------------------------------------------------------------------------ stepping
    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """One update from (gradient, variable) pairs.  Pairs whose gradient is None are skipped with a warning.

        ValueError if there is no gradient at all, for a variable the optimizer was not made for, and for a gradient
        of another shape; then no variable has changed.
        """
        pairs = list(grads_and_vars)
        if not pairs:
            raise ValueError("apply_gradients: the list of (gradient, variable) pairs is empty")
        known = self._state
        todo, without, new = [], [], []
        for pair in pairs:
            if type(pair) is not tuple or len(pair) != 2:
                raise TypeError("apply_gradients takes (gradient, variable) pairs: zip(grads, variables)")
            g, v = pair
            if id(v) not in known:
                new.append(v)
            if g is None:
                without.append(getattr(v, "name", "a tensor"))
            elif isinstance(g, Tensor):
                todo.append((g.array, v))
            elif library(g) is not None:
                todo.append((g, v))
            else:
                raise TypeError(f"apply_gradients: a gradient is a Tensor, an array or None, not {g!r:.40}")
        if not todo:
            raise ValueError(
                "No gradients provided for any variable. Was the loss computed inside the tape, from these variables?"
            )
        self._check(todo)
        self._meet(new)
        if without:
            warnings.warn(f"Gradients do not exist for variables {without}; they stay as they are.", stacklevel=2)
        self._step(todo)

    def _meet(self, new: list[Any]) -> None:
        """Adopt variables that the optimizer sees for the first time: all, or after an error none."""
        if new and self._fixed:
            v = new[0]
            raise ValueError(
                f"Unknown variable: {v!r:.80}. This optimizer can only be called for the variables it was "
                "made with. Make a new optimizer for a new set of variables."
            )
        before = len(self.variables)
        try:
            for v in new:
                self._add(v)
        except (TypeError, ValueError):
            for v in self.variables[before:]:
                del self._state[id(v)]
            del self.variables[before:]
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_state": list(self._state.values())}  # ids are for this process

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._state = {id(v): s for v, s in zip(self.variables, state["_state"], strict=True)}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set `.grad` of every variable to None, or to zeros."""
        zero_grad(self.variables, set_to_none)

    def step(self) -> None:
        """One update from the `.grad` of every variable; those without are skipped."""
        if not self.variables:
            raise ValueError(
                f"step() needs the optimizer to be made with variables: {type(self).__name__}(model.parameters())"
            )
        gradients = [(v.node.grad if trainable(v) else None, v) for v in self.variables]  # type: ignore[union-attr]
        pairs = [(g.array, v) for g, v in gradients if g is not None]  # a frozen variable has none
        self._check(pairs)
        if pairs:
            self._step(pairs)

    @staticmethod
    def _check(pairs: list[tuple[Array, Tensor]]) -> None:
        for g, v in pairs:
            if not isinstance(v, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(v).__name__}")
            if g.shape != v.array.shape:
                name = getattr(v, "name", "a tensor")
                raise ValueError(f"the gradient of {name!r} has shape {g.shape}, the variable {v.array.shape}")
            if type(g) is not type(v.array) and device_of(g) != device_of(v.array):
                raise TypeError(f"the gradient is on {device_of(g)} and its variable on {device_of(v.array)}")

    def _step(self, pairs: list[tuple[Array, Tensor]]) -> None:
        states = self._state
        pairs = self.clipped(pairs)
        for _, v in pairs:  # all of them before the first change, since init may refuse one
            if states[id(v)] is None:
                states[id(v)] = self.init(v.array.astype(wide(v.array.dtype), copy=False))
        self.iterations += 1
        for g, v in pairs:
            x, state = v.array, states[id(v)]
            own = x.dtype
            kind = wide(own)  # half types are updated in float32, where a small eps is not 0
            if kind is not own:
                x = x.astype(kind)
            if g.dtype is not kind:
                g = g.astype(kind)
            new = self.update(x, g, state, self.iterations)
            if kind is not own:
                new = new.astype(own)
            v.array = new if new.ndim else xp(x).asarray(new)  # of 0-d arrays NumPy makes scalars

    # ------------------------------------------------------------------------------------ for subclasses
    def clipped(self, pairs: list[tuple[Array, Tensor]]) -> list[tuple[Array, Tensor]]:
        """The (gradient, variable) pairs that the update takes."""
        return pairs

    def init(self, x: Array) -> Any:
        """The state for one variable."""
        raise TypeError(f"{type(self).__name__} has no init(array)")

    def update(self, x: Array, g: Array, state: Any, step: int) -> Array:
        """The new array of one variable."""
        raise TypeError(f"{type(self).__name__} has no update(array, gradient, state, step)")


def decayed(x: Array, g: Array, weight_decay: float) -> Array:
    """g + weight_decay x, the gradient with the penalty's."""
    return g + x * x.dtype.type(weight_decay) if weight_decay else g


def root(v: Array, eps: float, inside: bool) -> Array:
    """√v + eps, or √(v + eps)."""
    small = v.dtype.type(eps)
    return xp(v).sqrt(v + small) if inside else xp(v).sqrt(v) + small


def check(name: str, value: float, low: float = 0.0, high: float = float("inf")) -> float:
    """`value`, if low <= value < high.  ValueError otherwise, for NaN too."""
    if isinstance(value, Tensor):
        value = float(value)
    if not isinstance(value, (int, float)) or not low <= value < high:
        raise ValueError(f"Invalid {name.replace('_', ' ')}: {value!r}; it must be a number from {low} to below {high}")
    return value
