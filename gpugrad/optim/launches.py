"""An optimizer's steps in kernels: one launch for all variables of a group, dtype, device and number of steps.

A variable whose array nobody else holds (`Library.alone`) is written over; the others get new arrays.
The learning rate, the number of steps, the loss scale and the clip factor are read on the device (`fused.schedule`,
`fused.scaling`).  `state["step"]` is then the number there, a 0-d array: reading it waits for the device.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

from .. import fused
from ..array import Array, Library, library
from ..core import Tensor, writes
from ..dtypes import wide
from ..fused.optimizer import GRADIENT, PARAMETER, PRODUCT, RATE, SKIPPED, STATE, STEP
from ..kernels import Place, place, usable
from . import clip
from .masters import MASTER, half
from .state import Group, States, Todo


class Kernel(NamedTuple):
    """What does `update` for many variables: a function of `fused`, the arrays of the state it keeps, its options."""

    run: Callable[..., None]
    states: tuple[str, ...]
    options: dict[str, Any]
    zeros: bool = True  # whether arrays that are not there begin as zeros; else `update` makes the first step

    def compile(self, table: fused.Table) -> None:
        """An error here comes before the first launch."""
        kind = self.options.get("kind")
        for name in fused.LAUNCHES.get(self.run.__name__, (self.run.__name__,)):
            table.compile(name, *([] if kind is None else [fused.RULES.index(kind)]))


class Schedule:
    """The learning rate and the number of steps done, on the device; the rate is written when it has changed."""

    def __init__(self, array: Array, rate: float) -> None:
        self.array, self.rate = array, rate
        self.counts = {"step": fused.entry(array, STEP), "mu_product": fused.entry(array, PRODUCT)}

    def split(self) -> Schedule:
        """The same numbers, for variables that from here on take steps of their own."""
        with place(self.array).scope():
            return Schedule(self.array.copy(), self.rate)

    def write(self, rate: float) -> None:
        if rate != self.rate:
            _write(self.array, RATE, rate)
            self.rate = rate


class Bucket:
    """The variables of one launch, by their places in the list of what is to do."""

    def __init__(self, group: Group, kernel: Kernel, masters: bool) -> None:
        self.group, self.kernel, self.masters = group, kernel, masters
        self.at: list[int] = []
        self.variables: list[Tensor] = []
        self.states: list[dict[str, Any]] = []
        self.table: fused.Table
        self.schedule: Schedule

    def load(self, todo: Todo) -> list[Array]:
        """Put the step's arrays into the table; answers those for the results: where nobody can tell, the same."""
        lib = self.table.place.lib
        alone = [lib.alone(v.array) for v in self.variables]  # before the table holds them, too
        xs = [v.array for v in self.variables]
        self.table.set(PARAMETER, [s[MASTER] for s in self.states] if self.masters else xs)
        self.table.set(GRADIENT, [todo[i][0] for i in self.at])
        return self.table.allocate(xs, alone)


def _write(control: Array, i: int, value: Any) -> None:
    with place(control).scope():
        control[i] = value


class Launches:
    """The plan of an optimizer's steps, good for as long as the same variables come with the same states."""

    def __init__(self) -> None:
        self._key: list[Any] = []
        self._masters = False  # whether half variables have float32 copies
        self._buckets: list[Bucket] = []
        self._rest: list[int] = []
        self._schedules: dict[int, Schedule] = {}  # by the id of their `step`
        self._scalings: dict[tuple[Place, bool], Array] = {}  # by the place, and whether there is a loss scale

    def skipped(self) -> int:
        """How many steps were skipped.  Waits for the device, which knows, if there was a loss scale."""
        return sum([int(scaling[SKIPPED]) for (_, scales), scaling in self._scalings.items() if scales])

    def step(self, optimizer: Any, todo: Todo) -> Todo | None:
        """One step of the variables that there are kernels for; answers what is left.  None: it was skipped.

        After an error no variable has changed.
        """
        kernels = {id(group): optimizer.kernel(group) for group in optimizer.param_groups}
        if self._masters is not optimizer.master_weights:
            self._masters, self._key = optimizer.master_weights, []
        self._plan(optimizer, todo, kernels)
        limits, scaled = optimizer.limits, optimizer.scaled
        scaling = None
        if limits or scaled is not None:
            places = {b.table.place for b in self._buckets}
            if len(places) == 1 and not self._rest and limits.keys() <= {"global_clipnorm"}:
                scaling = self._scaling(places.pop(), scaled is not None)
            else:
                within = clip.limited(todo, limits, scaled)
                if within is None:
                    return None
                todo = within
                self._plan(optimizer, todo, kernels)
        outs = [b.load(todo) for b in self._buckets]
        for b in self._buckets:
            kernels[id(b.group)].compile(b.table)
        if scaling is not None:
            limit = limits.get("global_clipnorm", math.inf)
            tables, like = [b.table for b in self._buckets], self._buckets[0].variables[0].array
            moving, found = (None, None) if scaled is None else (scaled.moving.at(like), scaled.found)
            fused.global_norm(tables, scaling, limit, 0.0, scaled is not None, moving, found)
        for b in self._buckets:
            run, _, options, _ = kernels[id(b.group)]
            b.schedule.write(b.group["lr"])
            run(b.table, b.schedule.array, scaling, **options)
        for b, new in zip(self._buckets, outs):  # after the last launch: one that fails leaves every variable as it was
            for v, out in zip(b.variables, new):
                if id(out) in writes.asked:
                    writes.add(out)
                v.array = out
        return [todo[i] for i in self._rest]

    def _scaling(self, place: Place, scales: bool) -> Array:
        found = self._scalings.get((place, scales))
        if found is None:
            found = self._scalings[place, scales] = fused.scaling(self._buckets[0].variables[0].array)
        return found

    # ------------------------------------------------------------------------------------ planning
    def _plan(self, optimizer: Any, todo: Todo, kernels: dict[int, Kernel | None]) -> None:
        """Which variables go together, unless it is as the last time."""
        states: States = optimizer.state
        if _key(states, todo, kernels) == self._key:
            return
        self._key = []  # if what follows raises, there is no plan
        self._buckets, self._rest = _buckets(optimizer, todo, kernels, self._masters)
        users = Counter([id(s["step"]) for _, s in states.items() if "step" in s])
        for b in self._buckets:
            b.schedule = self._schedule(b, users)
            for state in b.states:
                state.update({k: a for k, a in b.schedule.counts.items() if k in state})
        known = {**self._schedules, **{id(b.schedule.counts["step"]): b.schedule for b in self._buckets}}
        used = {id(s["step"]) for _, s in states.items() if "step" in s}
        self._schedules = {i: s for i, s in known.items() if i in used}
        self._key = _key(states, todo, kernels)

    def _schedule(self, b: Bucket, users: Counter[int]) -> Schedule:
        """The schedule that the variables of a bucket have had; one of their own if they shared it with others."""
        like, rate, step = b.variables[0].array, b.group["lr"], b.states[0].get("step", 0)
        if (known := self._schedules.get(id(step))) is not None:
            return known if users[id(step)] == len(b.states) else known.split()
        product = b.states[0].get("mu_product", 1.0)
        if library(step) is None:
            return Schedule(fused.schedule(like, rate, int(step), product), rate)
        array = fused.schedule(like, rate)
        _write(array, STEP, step)
        _write(array, PRODUCT, product)
        return Schedule(array, rate)


def _key(states: States, todo: Todo, kernels: dict[int, Kernel | None]) -> list[Any]:
    """What a plan is for.  The ids are of what its buckets hold."""
    key: list[Any] = [None if k is None else (k.run, k.states) for k in kernels.values()]
    by_id, lib = states.by_id, _compiler(todo)
    for g, v, group in todo:
        x = v.array
        key += (id(v), id(group), x.dtype, g.dtype, x.size)
        if lib is not None and isinstance(x, lib.types):
            key.append(lib.index(x))
        key += [id(a) for a in by_id[id(v)][1].values() if type(a) is not int]
    return key


def _buckets(
    optimizer: Any, todo: Todo, kernels: dict[int, Kernel | None], masters: bool
) -> tuple[list[Bucket], list[int]]:
    """(what goes in one launch each, what is left for array functions)."""
    lib, found, rest, seen, states = _compiler(todo), {}, [], set(), optimizer.state
    for i, (g, v, group) in enumerate(todo):
        x, state, kernel = v.array, states[v], kernels[id(group)]
        again = id(v) in seen  # one after the other
        seen.add(id(v))
        if lib is None or kernel is None or library(x) is not lib or not (usable(x, g) and x.size) or again:
            rest.append(i)
        elif optimizer.single(x, group) or not (kernel.zeros or all([n in state for n in kernel.states])):
            rest.append(i)
        elif not _ready(lib, (*kernel.states, MASTER) if masters and half(v) else kernel.states, x, state):
            rest.append(i)
        else:
            step = state.get("step")
            same: Any = id(step) if isinstance(step, lib.types) else (step, state.get("mu_product"))
            new = Bucket(group, kernel, masters and half(v))
            b = found.setdefault((id(group), x.dtype, lib.index(x), same), new)
            b.at.append(i)
            b.variables.append(v)
            b.states.append(state)
    for b in found.values():
        b.table = fused.Table([v.array for v in b.variables], b.masters)
        for j, name in enumerate(b.kernel.states):
            b.table.set(STATE + j, [s[name] for s in b.states])
    return list(found.values()), rest


def _compiler(todo: Todo) -> Library | None:
    lib = library(todo[0][1].array)
    return lib if lib is not None and lib.compiles else None


def _ready(lib: Library, names: Iterable[str], x: Array, state: dict[str, Any]) -> bool:
    """Whether a variable's state is as a kernel takes it: wide, beside x, contiguous; made if it is not there."""
    p, dtype = place(x), wide(x.dtype)
    with p.scope():
        for name in names:
            a = state.get(name)
            if a is None:
                state[name] = lib.xp.zeros(x.shape, dtype)
            elif isinstance(a, lib.types) and a.dtype == dtype and a.shape == x.shape and lib.index(a) == lib.index(x):
                state[name] = p.whole(a)
            else:
                return False
    return True


@cache
def fusable(cls: type) -> bool:
    """Whether `kernel` speaks for an optimizer: a subclass of its class may have an `update` or `init` of its own."""
    where = lambda name: next(i for i, c in enumerate(cls.__mro__) if name in vars(c))
    return min(where("kernel"), where("single")) <= min(where("update"), where("init"))
