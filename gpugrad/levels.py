"""Floor 2: transformations that run: a `vmap`, or forward mode; levels, one inside the other.

Inside a level a Tensor may have for its array a `Traced`, which stands for values of the level: the arrays of all
examples, or an array and its tangent.  It has the shape and dtype that the program inside is to see.

An op that meets one runs twice.  To what was opened inside the level it is an op like any other: tapes record it, with
Traced arrays.  Its forward is the level's: it works with ops on the values, which are Tensors or arrays, where the
tapes that were open around the level record them.  So both sides can be differentiated, and the values may be Traced
themselves, of a level further out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import count
from threading import Lock, RLock
from typing import Any

import numpy as np

from .arming import Armed, arm, armed
from .array import NUMPY, Device, Library, by_type, device_of, library, xp
from .core import Tensor, on, raw, wrap
from .op import every, made
from .origin import Place, find, shown
from .recording import AMBIENT, Change, Mode, active, resume

_depth = count(1)
_arming = Lock()
_reopening = RLock()


# ---------------------------------------------------------------------------------------------- levels
class Values:
    """Whose change of the mode an op on values of a level runs under: what is open around the level is off."""


class Level:
    """One transformation that runs.

    name     of what the user called, for messages
    around   what records around it
    depth    a level further in has a higher one
    open     False once it is over: what it left behind is an error
    device   where its values are; None before the first
    """

    def __init__(self, name: str) -> None:
        arm_all()
        self.name, self.around, self.depth, self.open = name, active(), next(_depth), True
        self.device: Device | None = None
        self._off = Change(Values(), frozenset(self.around.open) - {AMBIENT}, frozenset(), True)
        self._inside: tuple[Any, Any] = (None, None)
        self._outside: tuple[Any, Any] = (None, None)

    def lift(self, value: Any) -> Traced:
        """`value`, an array or a Tensor that nothing of this level has made, as a value of the level."""
        raise NotImplementedError

    def forward(self, op: Any, xs: Sequence[Any], static: dict[str, Any]) -> Any:
        """What the forward of `op` answers, of arrays of which some are values of this level."""
        raise NotImplementedError

    def plain(self, f: Callable[..., Any], xs: Sequence[Any]) -> Any:
        """What `f`, a function of arrays that has no gradient, makes of them."""
        raise NotImplementedError

    def ufunc(self, f: Callable[..., Any], xs: Sequence[Any]) -> Any:
        """`plain` of an f that works element by element."""
        return self.plain(f, xs)

    def function(self, f: Callable[..., Any], xs: Sequence[Any], options: dict[str, Any]) -> Any:
        """`plain` of a function of NumPy's namespace."""
        return self.plain(lambda *v: f(*v, **options), xs)

    def inside(self, now: Mode) -> Mode:
        """What records of `now` an op on values of this level: not what was open around it."""
        if self._inside[0] is not now:
            self._inside = now, Mode(now.open, (*now.changes, self._off))
        return self._inside[1]

    def outside(self, now: Mode) -> Mode:
        """What records an op on what the values are: what was open around, less what has been switched off since."""
        if self._outside[0] is not now:
            own = tuple([c for c in now.changes if c.owner is not self._off.owner])
            self._outside = now, Mode(self.around.open, own)
        return self._outside[1]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Open it once more, for what is computed of its values later: what is open now is around it."""
        with _reopening:
            state = dict(self.__dict__)
            self.around, self.depth, self.open = active(), next(_depth), True
            self._off = self._off._replace(off=frozenset(self.around.open) - {AMBIENT})
            self._inside = self._outside = (None, None)
            try:
                yield
            finally:
                self.__dict__.update(state)

    def check(self) -> None:
        """RuntimeError, if this level is over."""
        if not self.open:
            raise RuntimeError(f"a tensor from inside {self.name} was used after it: return it from the function")

    def lifted(self, x: Any) -> Any:
        """An operand as it is inside: Tensors and arrays that are not of this level lifted, the rest as it is."""
        if isinstance(x, Tensor):
            a = x.array
            if isinstance(a, Traced) and a.level is self:
                return x
            n = x.node
            tracked = n is not None and any([on(n, t) is not None for t in self.outside(active()).tapes])
            return wrap(self.lift(wrap(a, n) if tracked else self.here(a)), n, x.kind)
        if type(x) in (list, tuple):
            return type(x)([self.lifted(y) for y in x]) if any([isinstance(y, Tensor) for y in x]) else x
        if isinstance(x, Traced):
            return x if x.level is self else self.lift(x)
        return x if library(x) is None or isinstance(x, np.generic) else self.lift(self.here(x))

    def here(self, a: Any) -> Any:
        """Array `a`, on the device of the values if it is NumPy's: inside, `xp` makes those."""
        at = self.device
        return a if at is None or at.kind == "cpu" or library(a) is not NUMPY else at.library.asarray(a, None, at)


def concrete(a: Any) -> Any:
    """The array that a Traced one is made of in the end; another array itself."""
    while isinstance(a, Traced):
        a = raw(a.within)
    return a


def looked_at(a: Any) -> Any:
    """The array of NumPy's that a is, or inside levels is made of: numbers that checks may look at.  None elsewhere."""
    a = concrete(a)
    return a if library(a) is NUMPY else None


def innermost(xs: Iterable[Any]) -> Level | None:
    """The innermost level that one of these, Tensors, arrays or lists of them, is a value of."""
    found = None
    for x in xs:
        a = x.array if isinstance(x, Tensor) else x
        if isinstance(a, Traced):
            own: Level | None = a.level
        elif type(a) in (list, tuple):
            own = innermost(a)
        else:
            continue
        if own is not None and (found is None or own.depth > found.depth):
            found = own
    return found


def followed(t: Any) -> bool:
    """Whether t, a Tensor, has a history, inside the level that it is of or around that."""
    while isinstance(t, (Tensor, Traced)):
        if isinstance(t, Tensor) and t.node is not None:
            return True
        t = t.array if isinstance(t, Tensor) else t.within
    return False


def blank(a: Any) -> Callable[[], Any]:
    """What makes zeros like array a, without holding it: on its device, in a level too."""
    shape, dtype, lib = tuple(a.shape), a.dtype, xp(concrete(a))
    return lambda: lib.zeros(shape, dtype)


# ---------------------------------------------------------------------------------------------- arming
def arm_all() -> None:
    """Let all ops look whether they are called on values of a level."""
    if _arm in made and armed(next(iter(every)), "_level"):
        return
    with _arming:
        if _arm not in made:
            made.append(_arm)
        for f in list(every):
            _arm(f)


def _arm(f: Any) -> None:
    arm(f, "_level", _level_of, _enter)


def _level_of(args: tuple, more: dict[str, Any]) -> Level | None:
    return innermost((*args, *more.values()) if more else args)


def _enter(what: Armed, level: Level, args: tuple, more: dict[str, Any]) -> Any:
    """A call of an op on values of `level`: what was open around the level does not record it."""
    if not level.open:
        level.check()
    own = [isinstance(x, Tensor) and getattr(x.array, "level", None) is level for x in args]
    with resume(level.inside(active())):
        return what.run(*[x if o else level.lifted(x) for x, o in zip(args, own)], **more)


# ---------------------------------------------------------------------------------------------- values
class Traced:
    """The array of a Tensor inside a level; shows `shape` and `dtype`."""

    __slots__ = ("__weakref__", "dtype", "level", "shape")
    __array_priority__ = 2000  # Tensors have 1000

    level: Any
    shape: tuple[int, ...]
    dtype: np.dtype

    def __init_subclass__(cls) -> None:
        by_type[cls] = INSIDE

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def within(self) -> Any:
        """A value that has the device, a Tensor or an array."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{self.dtype}{list(self.shape)} inside {self.level.name}>"

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise _no_number(self.level)

    def __array_ufunc__(self, ufunc: Any, method: str, *xs: Any, **options: Any) -> Any:
        if options.get("out") is not None:
            raise unwritable(self.level)
        level, arrays = _of(xs)
        f = lambda *v: getattr(ufunc, method)(*v, **options)
        return (level.ufunc if method == "__call__" and ufunc.signature is None else level.plain)(f, arrays)

    def __array_function__(self, f: Any, types: Any, xs: Any, options: Any) -> Any:
        if f in _SEEN:
            return getattr(self, f.__name__)
        level, arrays = _of(xs)
        return level.function(_anywhere(f), arrays, options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "base":
            raise AttributeError(name)
        if not callable(getattr(np.ndarray, name)):
            return _plain(lambda x: getattr(x, name), [self])
        return lambda *xs, **more: _plain(lambda x, *v: getattr(x, name)(*v, **more), [self, *xs])

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        return _plain(lambda x, *k: x[k if isinstance(key, tuple) else k[0]], [self, *keys])

    def __setitem__(self, key: Any, value: Any) -> None:
        raise unwritable(self.level)

    __hash__ = object.__hash__


_SEEN = np.shape, np.ndim, np.size  # what needs no values


def _of(xs: Sequence[Any]) -> tuple[Any, list[Any]]:
    """(the level that these are values of, all of them as arrays)."""
    level: Any = innermost(xs)
    level.check()
    return level, [level.here(x.array if isinstance(x, Tensor) else x) for x in xs]


def _plain(f: Callable[..., Any], xs: Sequence[Any]) -> Any:
    level, xs = _of(xs)
    return level.plain(f, xs)


def unwritable(level: Level) -> TypeError:
    """What is raised where a value of `level` would be written to, or into an array from outside."""
    return TypeError(
        f"{level.name}: at {shown(find(Place()))} something is changed in place, by values of which each example has "
        "its own: write y = x + 1 for x += 1, x.at[i].set(v) for x[i] = v, and return what is to be kept"
    )


def _no_number(level: Level) -> TypeError:
    return TypeError(
        f"{level.name}: at {shown(find(Place()))} a number is asked for, and inside each example has one of its own: "
        "instead of `if` write gg.where(condition, x, y), instead of NumPy's functions gpugrad's, and do outside what "
        "has to look at numbers"
    )


def _refuse(self: Traced, *_: Any) -> Any:
    self.level.check()
    raise _no_number(self.level)


def _anywhere(f: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function f, as the library of the array that it is given has it."""

    @wraps(f)
    def call(*xs: Any, **options: Any) -> Any:
        own = next((lib for x in xs if (lib := library(x)) is not None), NUMPY)
        return getattr(own.xp, f.__name__, f)(*xs, **options) if own is not NUMPY else f(*xs, **options)

    return call


def _operator(f: Callable[..., Any], turned: bool = False) -> Callable[..., Any]:
    """An operator between arrays of which one is Traced, as the op of that name has it."""

    def call(self: Traced, *other: Any) -> Any:
        if other and isinstance(other[0], Tensor):
            return NotImplemented
        xs = [self, *other]
        return raw(f(*[x if library(x) is None else wrap(x) for x in (reversed(xs) if turned else xs)]))

    return call


for _name in ("neg", "pos", "invert", "abs", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Traced, f"__{_name}__", _operator(getattr(operator, f"__{_name}__")))
for _name in "add sub mul truediv floordiv mod pow and or xor lshift rshift matmul".split():
    setattr(Traced, f"__{_name}__", _operator(getattr(operator, f"__{_name}__")))
    setattr(Traced, f"__r{_name}__", _operator(getattr(operator, f"__{_name}__"), True))
for _name in ("bool", "int", "float", "complex", "index"):
    setattr(Traced, f"__{_name}__", _refuse)
Traced.item = Traced.tolist = _refuse  # type: ignore[attr-defined]


class _Inside(Library):
    """The library of Traced arrays.  Its namespace makes NumPy's, which levels take in as constants."""

    name, traced = "traced", True

    def forward(self, op: Any, xs: Sequence[Any], static: dict[str, Any]) -> Any:
        level: Any = innermost([*xs, *static.values()] if static else xs)
        level.check()
        if static:
            static = {k: raw(v) for k, v in static.items()}  # saved ones come back as Tensors
        for x in xs:
            if x.level is not level if isinstance(x, Traced) else library(x) is not None:
                return level.forward(op, [raw(level.lifted(x)) for x in xs], static)
        return level.forward(op, xs, static)

    def device_of(self, x: Any) -> Device:
        return device_of(raw(x.within))

    def index(self, x: Any) -> int:
        return self.device_of(x).index

    def asarray(self, value: Any, dtype: Any, device: Device) -> Any:
        return device.library.asarray(value, dtype, device)

    def to_host(self, x: Any) -> Any:
        _refuse(x)

    def owns(self, x: Any) -> bool:
        return False

    def alone(self, x: Any) -> bool:
        return False

    def block(self, x: Any) -> tuple[Any, int]:
        a = raw(x.within)
        return library(a).block(a)  # type: ignore[union-attr]


INSIDE = _Inside()
