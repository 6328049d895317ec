"""What learning-rate schedules share, the one that looks at a measure, and those that are made of others."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, ClassVar

from .optimizer import Optimizer


class LRScheduler:
    """A learning rate for each step, written into the groups of an optimizer.

    optimizer   whose groups have the rates; "initial_lr" is noted there the first time
    last_epoch  the number of the last step done; -1: none.  From 0 on every group must have its "initial_lr", as after
                the optimizer's load_state_dict
    A schedule steps after the optimizer did, once an epoch or once a step, as its numbers are meant.  It goes on from
    the rate that it finds in a group, as PyTorch's do: schedules can be chained, and a rate that is assigned between
    two steps counts.  A subclass gives `rate(lr, base, i)`, the next rate of group i, or `get_lr()`, those of all, and
    may give `closed(base, i)`, the rate that depends on `last_epoch` alone.
    """

    functions: ClassVar[tuple[str, ...]] = ()  # attributes that are no state: what the user wrote
    first = False  # whether this step is the one that leads to the first rate
    last_epoch: int

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: {type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}]: with last_epoch={last_epoch} the rates "
                    "from before are needed; load the optimizer's state first, or make the schedule with last_epoch=-1 "
                    "and load its own state"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.begin()

    def begin(self) -> None:
        """The step that leads to the first rate."""
        self._step_count = 0
        self.first = True
        try:
            self.advance()
        finally:
            del self.first

    def step(self) -> None:
        """Go on to the next rate.  A warning if the optimizer has not stepped yet: it would miss the first one."""
        if self._step_count == 1 and not (self.optimizer._done or self.optimizer._tried):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call `optimizer.step()` first: "
                "otherwise the first value of the learning rate schedule is skipped.",
                stacklevel=2,
            )
        self.advance()

    def advance(self) -> None:
        """A step without the warning."""
        self.last_epoch += 1
        self._step_count += 1
        self._write(self.get_lr())

    def restart(self) -> None:
        """Take the rates of step 0."""
        self.last_epoch = 0
        shut = type(self).closed is LRScheduler.closed
        self._write(self.get_lr() if shut else [self.closed(base, i) for i, base in enumerate(self.base_lrs)])

    def get_lr(self) -> list[float]:
        """The rates of the step that `last_epoch` says, computed from those in the groups."""
        groups = self.optimizer.param_groups
        return [self.rate(group["lr"], base, i) for i, (group, base) in enumerate(zip(groups, self.base_lrs))]

    def rate(self, lr: float, base: float, i: int) -> float:
        """The rate of group i, which is `lr` now and was `base` in the beginning."""
        raise TypeError(f"{type(self).__name__} has neither rate(lr, base, i) nor get_lr()")

    def closed(self, base: float, i: int) -> float:
        """The rate of group i by `last_epoch` alone."""
        raise TypeError(f"{type(self).__name__} has no closed(base, i)")

    def get_last_lr(self) -> list[float]:
        """The rate of each group that the last step has left."""
        return list(self._last_lr)

    def _write(self, rates: Sequence[float]) -> None:
        groups = self.optimizer.param_groups
        if len(rates) != len(groups):
            raise ValueError(
                f"{type(self).__name__} was made for {len(rates)} parameter groups, and the optimizer has "
                f"{len(groups)}; make the schedule after the last add_param_group"
            )
        for group, lr in zip(groups, rates):
            group["lr"] = lr
        self._last_lr = list(rates)

    def state_dict(self) -> dict[str, Any]:
        """Where it is and what it was made with: plain numbers, strings and lists; functions are left out."""
        return {k: deepcopy(v) for k, v in vars(self).items() if k != "optimizer" and k not in self.functions}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict, this schedule's or PyTorch's.  ValueError where it is another's; nothing changes."""
        own = self.state_dict()
        if not isinstance(state_dict, dict) or (missing := own.keys() - state_dict.keys()):
            lacks = f"lacks {sorted(missing)}" if isinstance(state_dict, dict) else f"is a {type(state_dict).__name__}"
            raise ValueError(f"loaded state dict is none of a {type(self).__name__}: it {lacks}")
        for name in ("base_lrs", "_last_lr"):
            if name in own and len(state_dict[name]) != len(own[name]):
                raise ValueError(
                    f"loaded state dict has {name} for {len(state_dict[name])} parameter groups, here are "
                    f"{len(own[name])}"
                )
        vars(self).update({k: deepcopy(state_dict[k]) for k in own})


def each(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each group: `value` itself, or those of a list."""
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(f"{name}: the optimizer has {n} parameter groups, given {len(value)} values")
    return list(value)


class ReduceLROnPlateau(LRScheduler):
    """factor times the rate, once a measure has not become better for more than `patience` steps; `step(measure)`.

    mode            "min" or "max": what is better
    threshold       how much better counts: a share of the best so far (threshold_mode "rel"), or a difference ("abs")
    cooldown        how many steps after a reduction are not counted
    min_lr          the lowest rate, or a list of one for each group
    eps             smaller changes are not made
    A measure that is NaN is not better.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"ReduceLROnPlateau: {type(optimizer).__name__} is not an Optimizer")
        if not 0 <= factor < 1:
            raise ValueError(f"Factor should be < 1.0, and not below 0; given {factor!r}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"mode is 'min' or 'max', threshold_mode 'rel' or 'abs'; given {mode!r}, {threshold_mode!r}"
            )
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.min_lrs = each("min_lr", optimizer, min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.cooldown_counter = self.num_bad_epochs = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any) -> None:
        """Take note of a measure, a number or a tensor of one; the rates may become lower."""
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        groups = self.optimizer.param_groups
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            for group, low in zip(groups, self.min_lrs):
                new = max(group["lr"] * self.factor, low)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
        self._last_lr = [group["lr"] for group in groups]

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            return sign * value < sign * self.best - self.threshold
        return sign * value < sign * (self.best * (1 - sign * self.threshold))


class _Several(LRScheduler):
    """Schedules of one optimizer, kept under `_schedulers`, whose states are kept with it."""

    functions = ("_schedulers",)

    def _accept(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name} expects at least one scheduler, but got no scheduler")
        self.optimizer = optimizer = optimizer or schedulers[0].optimizer
        for i, s in enumerate(schedulers):
            if not isinstance(s, LRScheduler) or isinstance(s, ReduceLROnPlateau):
                raise TypeError(
                    f"{name} takes schedules whose step() has no argument; number {i} is a {type(s).__name__}"
                )
            if s.optimizer is not optimizer:
                raise ValueError(f"{name} expects all schedulers to belong to the same optimizer; number {i} does not")
        self._schedulers = list(schedulers)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before = self.state_dict()
        try:
            given = state_dict["_schedulers"]
            if len(given) != len(self._schedulers):
                raise ValueError(f"loaded state dict has {len(given)} schedulers, here are {len(self._schedulers)}")
            for s, state in zip(self._schedulers, given):
                s.load_state_dict(state)
            rest = {k: state_dict[k] for k in before if k != "_schedulers"}
            vars(self).update(deepcopy(rest))
        except Exception as e:
            for s, state in zip(self._schedulers, before["_schedulers"]):
                s.load_state_dict(state)
            if isinstance(e, (KeyError, TypeError)):
                raise ValueError(f"loaded state dict is none of a {type(self).__name__}: {e!r}") from None
            raise


class SequentialLR(_Several):
    """One schedule after the other: the next from each milestone on, where it starts at its step 0.

        SequentialLR(optimizer, [LinearLR(optimizer, 0.01, total_iters=5), CosineAnnealingLR(optimizer, 95)], [5])

    milestones  the steps at which the second, third … begin.  ValueError for another number of them
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self._accept(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(milestones):
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} milestones, in order; given "
                f"{list(milestones)}"
            )
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        _back(self._schedulers)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first.begin()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        now = self._schedulers[i]
        if i and self._milestones[i - 1] == self.last_epoch:
            now.restart()
        else:
            now.step()
        self._last_lr = now.get_last_lr()

    advance = step


def _back(schedulers: Sequence[LRScheduler]) -> None:
    """Take back the first step of schedules that were just made."""
    for s in schedulers:
        if isinstance(s, _Several):
            _back(s._schedulers)
        else:
            s.last_epoch -= 1


class ChainedScheduler(_Several):
    """Schedules that all step at once: each changes the rate that the one before has left."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self._accept(optimizer, schedulers)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:
        for s in self._schedulers:
            s.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    advance = step
