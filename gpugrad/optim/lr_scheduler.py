"""Learning-rate schedules, with PyTorch's names and numbers.  t is the number of the step, from 0 on.

A rate is written into the optimizer's groups.  On a GPU the next step writes it to the device if it has changed, which
waits for nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .optimizer import Optimizer
from .scheduling import (
    ChainedScheduler as ChainedScheduler,
    LRScheduler as LRScheduler,
    ReduceLROnPlateau as ReduceLROnPlateau,
    SequentialLR as SequentialLR,
    each,
)

Factor = Callable[[int], float]


def _whole(name: str, value: Any) -> int:
    """`value`, a number of steps from 1 on.  ValueError otherwise."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"Expected positive integer {name}, but got {value!r}")
    return value


def _share(name: str, value: Any, positive: bool = False) -> float:
    """`value`, a number from 0, or above it, to 1.  ValueError otherwise."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1 or (positive and not value):
        raise ValueError(f"{name} must be a number from 0 to 1{', and not 0' if positive else ''}; given {value!r}")
    return value


class LambdaLR(LRScheduler):
    """base f(t): `lr_lambda` is f, or a list of one function for each group."""

    functions = ("lr_lambdas",)

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas: list[Factor] = each("lr_lambda", optimizer, lr_lambda)
        if not all([callable(f) for f in self.lr_lambdas]):
            raise TypeError(f"lr_lambda is a function of the step's number, or a list of them, not {lr_lambda!r:.60}")
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        return base * self.lr_lambdas[i](self.last_epoch)


class MultiplicativeLR(LambdaLR):
    """The rate before, times f(t)."""

    def rate(self, lr: float, base: float, i: int) -> float:
        return lr if self.first else lr * self.lr_lambdas[i](self.last_epoch)


class StepLR(LRScheduler):
    """base gamma^(t // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = _whole("step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        t = self.last_epoch
        return lr if t == 0 or t % self.step_size else lr * self.gamma

    def closed(self, base: float, i: int) -> float:
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """base gamma^(the number of milestones up to t)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        n = self.milestones.count(self.last_epoch)
        return lr * self.gamma**n if n else lr

    def closed(self, base: float, i: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, self.last_epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if isinstance(state_dict, dict) and "milestones" in state_dict:  # PyTorch's is a Counter
            state_dict = {**state_dict, "milestones": sorted(Counter(state_dict["milestones"]).elements())}
        super().load_state_dict(state_dict)


class ConstantLR(LRScheduler):
    """base factor before step total_iters, then base."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor, self.total_iters = _share("factor", factor, positive=True), total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        if self.last_epoch == 0:
            return lr * self.factor
        return lr if self.last_epoch != self.total_iters else lr * (1.0 / self.factor)

    def closed(self, base: float, i: int) -> float:
        return base * (1 if self.last_epoch >= self.total_iters else self.factor)


class LinearLR(LRScheduler):
    """base times a factor that goes from start_factor to end_factor in total_iters steps: a warmup, as a rule."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = _share("start_factor", start_factor, positive=True)
        self.end_factor, self.total_iters = _share("end_factor", end_factor), _whole("total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        t, rise = self.last_epoch, self.end_factor - self.start_factor
        if t == 0:
            return lr * self.start_factor
        if self.first or t > self.total_iters:
            return lr
        return lr * (1.0 + rise / (self.total_iters * self.start_factor + (t - 1) * rise))

    def closed(self, base: float, i: int) -> float:
        rise = self.end_factor - self.start_factor
        return base * (self.start_factor + rise * min(self.total_iters, self.last_epoch) / self.total_iters)


class ExponentialLR(LRScheduler):
    """base gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        return lr if self.first else lr * self.gamma

    def closed(self, base: float, i: int) -> float:
        return base * self.gamma**self.last_epoch


class PolynomialLR(LRScheduler):
    """base (1 - min(t, total_iters) / total_iters)^power."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = _whole("total_iters", total_iters), power
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        t, n = self.last_epoch, self.total_iters
        return lr if self.first or t > n else lr * ((1.0 - t / n) / (1.0 - (t - 1) / n)) ** self.power

    def closed(self, base: float, i: int) -> float:
        return base * (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """eta_min + (base - eta_min) (1 + cos(π t / T_max)) / 2 (Loshchilov & Hutter 2016): half a wave in T_max steps."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = _whole("T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, base: float, i: int) -> float:
        t, n, low = self.last_epoch, self.T_max, self.eta_min
        if self.first:
            return lr
        if (t - 1 - n) % (2 * n) == 0:  # at the bottom of the wave the ratio below is 0 / 0
            return lr + (base - low) * (1 - math.cos(math.pi / n)) / 2
        return (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n)) * (lr - low) + low

    def closed(self, base: float, i: int) -> float:
        low = self.eta_min
        return low + (base - low) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """As CosineAnnealingLR, over T_0 steps, then from the start over T_0 T_mult steps, T_0 T_mult² steps and so on."""

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_0, self.T_mult, self.eta_min = _whole("T_0", T_0), _whole("T_mult", T_mult), eta_min
        self.T_i, self.T_cur = T_0, last_epoch
        super().__init__(optimizer, last_epoch)

    def advance(self) -> None:
        if self.last_epoch < 0:
            self.T_cur, self.T_i = 0, self.T_0
        else:
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        super().advance()

    def rate(self, lr: float, base: float, i: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2


def _cos(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _linear(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


_WAYS = {"cos": _cos, "linear": _linear}


class OneCycleLR(LRScheduler):
    """Up to max_lr, then down to nearly nothing, in total_steps steps (Smith & Topin 2017); it steps after each batch.

    max_lr            the highest rate, or a list of one for each group
    total_steps       how many steps, or epochs times steps_per_epoch.  ValueError for a step after the last
    pct_start         the share of the steps that go up
    anneal_strategy   "cos" or "linear"
    cycle_momentum    let momentum, or the first of betas, go from max_momentum to base_momentum and back
    div_factor        it starts at max_lr / div_factor, and ends at that / final_div_factor
    three_phase       go down to the first rate as long as up, and only then to the last
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"OneCycleLR: {type(optimizer).__name__} is not an Optimizer")
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
        if total_steps is None:
            total_steps = _whole("epochs", epochs) * _whole("steps_per_epoch", steps_per_epoch)
        if anneal_strategy not in _WAYS:
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy!r}")
        self.total_steps, self._way = _whole("total_steps", total_steps), anneal_strategy
        up, last = float(_share("pct_start", pct_start) * total_steps) - 1, total_steps - 1
        # (the phase's last step, rates from and to, momenta from and to)
        rise = [up, "initial_lr", "max_lr", "max_momentum", "base_momentum"]
        if three_phase:
            fall = [2 * (up + 1) - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"]
            self._phases = [rise, fall, [last, "initial_lr", "min_lr", "max_momentum", "max_momentum"]]
        else:
            self._phases = [rise, [last, "max_lr", "min_lr", "base_momentum", "max_momentum"]]
        self.cycle_momentum, self.use_beta1 = cycle_momentum, "betas" in optimizer.defaults
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        tops = each("max_lr", optimizer, max_lr)
        high, low = (each("momentum", optimizer, m) for m in (max_momentum, base_momentum))
        if last_epoch == -1:
            for group, top, most, least in zip(optimizer.param_groups, tops, high, low):
                start = top / div_factor
                group.update(initial_lr=start, max_lr=top, min_lr=start / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=most, base_momentum=least)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, way = self.last_epoch, _WAYS[self._way]
        if t > self.total_steps:
            raise ValueError(f"Tried to step {t} times. The specified number of total steps is {self.total_steps}")
        i = sum([t > phase[0] for phase in self._phases[:-1]])
        end, first, then, first_momentum, then_momentum = self._phases[i]
        before = self._phases[i - 1][0] if i else 0.0
        share = (t - before) / (end - before) if end != before else 1.0
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            for group in groups:
                m = way(group[first_momentum], group[then_momentum], share)
                group.update({"betas": (m, *group["betas"][1:])} if self.use_beta1 else {"momentum": m})
        return [way(group[first], group[then], share) for group in groups]
