"""GradScaler: a loss scale as large as float16 gradients bear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..core import Tensor, raw, wrap
from ..dtypes import float16
from ..fused.optimizer import FOUND, GOOD, MISSED, ROW, SCALE, SKIP, entry
from ..ops.math import multiply
from .checks import number
from .clip import by_kernels, divided, finite
from .loss_scale import Moving, Scaled
from .optimizer import Optimizer


class NonFiniteGradients(FloatingPointError):
    """Gradients were not finite at any loss scale that was tried."""


class GradScaler:
    """Multiplies a loss so that its float16 gradients do not vanish, and skips the steps where they overflow.

        scaler.scale(loss).backward()                  with gg.GradientTape() as tape:
        scaler.unscale_(optimizer)   # to clip them        loss = scaler.scale(loss_of(x))
        scaler.step(optimizer)                         scaler.apply_gradients(optimizer, zip(gs, vs))
        scaler.update()                                scaler.update()

    A step divides the gradients by the scale, and changes nothing, the count of steps included, where one is not
    finite.  `update` makes the scale `backoff_factor` times as large after such a step, and `growth_factor` times after
    `growth_interval` steps without.  Scale and counts are where the gradients are: on a GPU none of these waits for it.
    On the CPU NumPy warns of what overflows, unless `np.errstate(over="ignore")` is around `backward()`.

    max_skips, min_scale   after so many skipped rounds in a row, or one that leads below this scale, `update` raises
               NonFiniteGradients, since then it is not the scale; on a GPU it looks every `max_skips` rounds
    enabled    False: losses and steps are as they are
    ValueError for an argument out of range.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
        max_skips: int = 50,
        min_scale: float = 1e-4,
    ) -> None:
        if isinstance(init_scale, str):
            raise ValueError(f"GradScaler takes no device, here {init_scale!r}: write gg.GradScaler()")
        self.growth_factor, self.backoff_factor, self.growth_interval = _checked(
            growth_factor, backoff_factor, growth_interval
        )
        self.max_skips, self.min_scale = _whole("max_skips", max_skips), float(number("min_scale", min_scale))
        self._enabled, self._moving, self._rounds = bool(enabled), Moving(_scale(init_scale)), 0
        if init_scale < self.min_scale:
            raise ValueError(f"Invalid scale: {init_scale!r} is below min_scale, {self.min_scale!r}")
        self._seen: dict[int, tuple[Optimizer, Any, bool]] = {}  # since the last update: (optimizer, found, stepped)

    # ------------------------------------------------------------------------------------ a round
    def scale(self, outputs: Any) -> Any:
        """A loss, or a list of them, times the scale; the gradient is, too."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return multiply(outputs, wrap(self._moving.beside(outputs.array), None, outputs.kind))
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(o) for o in outputs])
        raise TypeError(f"GradScaler.scale takes a tensor, or a list of them, not {type(outputs).__name__}")

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the `.grad` of the optimizer's variables by the scale, so that they can be clipped or looked at.

        RuntimeError if that has been done since the last update, or the step; ValueError for float16 gradients.
        """
        if not self._enabled:
            return
        grads = _gradients(optimizer)
        for g, new in zip(grads, self.unscale(optimizer, grads)):
            g.array = new.array

    def unscale(self, optimizer: Optimizer, gradients: Sequence[Any]) -> list[Any]:
        """The gradients of a tape over the scale, for `apply_gradients` of this optimizer; those that are None stay so.

        Errors as `unscale_`.
        """
        if not self._enabled:
            return list(gradients)
        if (seen := self._seen.get(id(optimizer))) is not None:
            raise RuntimeError(
                "unscale_() is being called after step()." if seen[2]
                else "unscale_() has already been called on this optimizer since the last update()."
            )  # fmt: skip
        given = [g for g in gradients if g is not None]
        if not given:
            raise ValueError("unscale_: no variable of this optimizer has a gradient; call backward() first")
        arrays = [raw(g) for g in given]
        if any([a.dtype == float16 for a in arrays]):
            raise ValueError(
                "Attempting to unscale FP16 gradients: float16 does not hold them. step() divides them in float32; to "
                "clip them before, keep the variables in float32 and compute under gg.autocast('float16')"
            )
        if (made := by_kernels(arrays, moving=self._moving)) is not None:
            new, found = made[0], entry(made[1], SKIP)
        else:
            new = divided(arrays, Scaled(self._moving).divisor(arrays[0]))
            found = np.asarray(Scaled(self._moving).skips(finite(new)))
            new = [n.astype(a.dtype, copy=False) for n, a in zip(new, arrays)]
        self._seen[id(optimizer)] = optimizer, found, False
        back = iter([wrap(a, None, g.kind) if isinstance(g, Tensor) else a for a, g in zip(new, given)])
        return [None if g is None else next(back) for g in gradients]

    def step(self, optimizer: Optimizer, *args: Any, **kw: Any) -> Any:
        """`optimizer.step(*args, **kw)` with gradients over the scale; nothing changes if one is not finite.

        `.grad` stays multiplied by the scale, unless `unscale_` was called: what reads it afterwards divides it.
        RuntimeError for a second one since the last update, and for a closure; AssertionError, as PyTorch's, where no
        variable has a gradient.
        """
        if self._enabled and (args or "closure" in kw):
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        if self._enabled and not _gradients(optimizer):
            raise AssertionError(
                "No inf checks were recorded for this optimizer: none of its variables has a gradient; call backward() "
                "before step()"
            )
        return self._stepped(optimizer, optimizer.step, *args, **kw)

    def apply_gradients(self, optimizer: Optimizer, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """`optimizer.apply_gradients(grads_and_vars)` as `step` does it, after a tape."""
        self._stepped(optimizer, optimizer.apply_gradients, grads_and_vars)

    def _stepped(self, optimizer: Optimizer, step: Any, *args: Any, **kw: Any) -> Any:
        if not self._enabled:
            return step(*args, **kw)
        if optimizer.loss_scale is not None:
            raise ValueError("this optimizer has a loss_scale of its own; make it without, or step without GradScaler")
        _, found, stepped = self._seen.get(id(optimizer), (optimizer, None, False))
        if stepped:
            raise RuntimeError("step() has already been called since the last update().")
        optimizer.scaled = Scaled(self._moving, found)
        try:
            out = step(*args, **kw)
        finally:
            optimizer.scaled = None
        self._seen[id(optimizer)] = optimizer, found, True
        return out

    def update(self, new_scale: Any = None) -> None:
        """Move the scale after the steps of a round; `new_scale`, a number, sets it.

        RuntimeError where no optimizer has taken a step; NonFiniteGradients where all have been skipped for too long.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            value = _scale(new_scale)
            self._moving.write(SCALE, value)
            self._moving.write(FOUND, 0)
        elif not self._seen:
            raise RuntimeError("No inf checks were recorded prior to update.")
        else:
            self._moving.update(self.growth_factor, self.backoff_factor, self.growth_interval)
        self._seen.clear()
        self._rounds += 1
        if type(self._moving.array) is np.ndarray or self._rounds % self.max_skips == 0:
            self._look()

    def _look(self) -> None:
        """NonFiniteGradients if no scale helps.  Waits for the device."""
        now = self._moving.read()
        if now[ROW] >= self.max_skips or (now[ROW] and now[SCALE] < self.min_scale):
            raise NonFiniteGradients(
                f"GradScaler: the last {int(now[ROW])} steps were skipped, since gradients were not finite, and the "
                f"scale is down to {now[SCALE]:g}. The loss itself may be NaN or infinite: look for the op with "
                "gg.detect_anomaly(), lower the learning rate, or use autocast('bfloat16'), which needs no scale"
            )

    # ------------------------------------------------------------------------------------ asking
    def is_enabled(self) -> bool:
        """Whether it scales."""
        return self._enabled

    def get_scale(self) -> float:
        """The scale; 1.0 if it is not enabled.  Waits for a GPU."""
        return float(self._moving.read()[SCALE]) if self._enabled else 1.0

    @property
    def skipped(self) -> int:
        """How many rounds so far had a step that was skipped.  Waits for a GPU."""
        return int(self._moving.read()[MISSED])

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and counts, as PyTorch names them; empty if it is not enabled.  Waits for a GPU."""
        if not self._enabled:
            return {}
        now = self._moving.read()
        return {
            "scale": float(now[SCALE]), "growth_factor": self.growth_factor, "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval, "_growth_tracker": int(now[GOOD]), "skipped": int(now[MISSED]),
            "skipped_in_a_row": int(now[ROW]),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state_dict, this one's or PyTorch's.  After an error nothing has changed.

        RuntimeError for an empty one, which is of a scaler that was not enabled; KeyError for one that lacks an entry.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        factors = _checked(*[state_dict[k] for k in ("growth_factor", "backoff_factor", "growth_interval")])
        counts = [state_dict["_growth_tracker"], *[state_dict.get(k, 0) for k in ("skipped", "skipped_in_a_row")]]
        moving = Moving(_scale(state_dict["scale"]), *[_whole("a count of state_dict", c, 0) for c in counts])
        self.growth_factor, self.backoff_factor, self.growth_interval = factors
        self._moving, self._rounds = moving, 0
        self._seen.clear()


def _gradients(optimizer: Optimizer) -> list[Tensor]:
    return [n.grad for v in optimizer.variables if (n := v.node) is not None and isinstance(n.grad, Tensor)]


def _scale(value: Any) -> float:
    """A scale.  ValueError unless it is a finite number above 0."""
    if not (scale := float(number("scale", value))):
        raise ValueError("Invalid scale: 0; gradients are divided by it")
    return scale


def _checked(growth_factor: Any, backoff_factor: Any, growth_interval: Any) -> tuple[float, float, int]:
    growth, backoff = float(number("growth_factor", growth_factor)), float(number("backoff_factor", backoff_factor))
    if growth <= 1:
        raise ValueError("The growth factor must be > 1.0.")
    if not 0 < backoff < 1:
        raise ValueError("The backoff factor must be < 1.0, and above 0.")
    return growth, backoff, _whole("growth_interval", growth_interval)


def _whole(name: str, value: Any, least: int = 1) -> int:
    if not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name} is a whole number from {least} on, not {value!r}")
    return int(value)
