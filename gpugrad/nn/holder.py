"""Holder: what has variables and modules inside it, and the walks that find them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import RLock
from typing import Any

from ..core import Tensor, trainable
from ..variable import Variable

making = RLock()  # one thread makes parameters at their first call; others wait, and find them


class Own:
    """What a module knows beside its attributes; the walk for variables does not look into it."""

    def __init__(self) -> None:
        self.buffers: dict[str, bool] = {}  # name -> whether it is saved with the model
        self.before: dict[int, Callable[..., Any]] = {}
        self.after: dict[int, Callable[..., Any]] = {}
        self.backward: dict[int, Callable[..., Any]] = {}
        self.waiting: Any = None  # of a layer whose first input makes its parameters: how they are to be made


class Holder:
    """An object whose attributes, and the lists, tuples and dicts among them, hold tensors and other holders."""

    def _mine(self) -> Own:
        return vars(self).setdefault("_own", Own())

    def _inside(self) -> Iterable[tuple[str, Any]]:
        """What it holds, by name."""
        return vars(self).items()


# What has nothing inside it: a vocabulary of 50,000 words is looked through in a millisecond.
_PLAIN = frozenset({str, bytes, int, float, complex, bool, type(None)})


def _children(x: Any) -> Any:
    if isinstance(x, Holder):
        return x._inside()
    if isinstance(x, dict):
        return () if _PLAIN.issuperset(map(type, x.values())) else x.items()
    if isinstance(x, (list, tuple)):
        return () if _PLAIN.issuperset(map(type, x)) else enumerate(x)
    return ()


def joined(path: str, name: Any) -> str:
    """The path of what is called `name` in what is at `path`."""
    return f"{path}.{name}" if path else str(name)


def waiting(x: Any) -> bool:
    """Whether x is a layer whose first input makes its parameters, which has not come yet."""
    own = vars(x).get("_own") if isinstance(x, Holder) else None
    return own is not None and own.waiting is not None


class NoParameters(ValueError, AttributeError):
    """What an attribute answers that a layer does not have yet, so that `hasattr` says no."""


def refuse_waiting(x: Any, path: str = "", error: type[Exception] = ValueError) -> None:
    """ValueError for a layer that has no parameters yet."""
    if waiting(x):
        where = f" at {path!r}" if path else ""
        raise error(
            f"{type(x).__name__}{where} has no parameters yet: its {x._size} is None, which the first input tells. "
            "Call the model once, as model(x), or load a state_dict; then ask for parameters or make an optimizer"
        )


def tensors(x: Any, path: str = "", seen: set[int] | None = None, wait: bool = False) -> Iterator[tuple[str, Tensor]]:
    """(path, tensor) for the variables and trainable tensors in x, each once, in the order of the attributes.

    ValueError for a layer whose parameters are still to be made, unless `wait`.
    """
    seen = set() if seen is None else seen
    if isinstance(x, Tensor):
        if (isinstance(x, Variable) or trainable(x)) and id(x) not in seen:
            seen.add(id(x))
            yield path, x
        return
    if id(x) in seen:
        return
    seen.add(id(x))
    if not wait:
        refuse_waiting(x, path)
    for name, child in _children(x):
        yield from tensors(child, joined(path, name), seen, wait)


def all_names(x: Any, path: str = "", above: tuple[int, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    """(path, tensor) for all paths to variables and trainable tensors: one that is shared has several."""
    if isinstance(x, Tensor):
        if isinstance(x, Variable) or trainable(x):
            yield path, x
    elif id(x) not in above:
        for name, child in _children(x):
            yield from all_names(child, joined(path, name), (*above, id(x)))


def at(x: Any, name: str) -> Any:
    """The attribute or entry of this name.  AttributeError if there is none."""
    for key, child in _children(x):
        if str(key) == name:
            return child
    raise AttributeError(f"{type(x).__name__} has no attribute `{name}`")


def nearest(x: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, holder) for x if it is one, else for those that a list, tuple or dict has, in any depth."""
    if isinstance(x, Holder):
        yield path, x
    elif not isinstance(x, Tensor):
        for name, child in _children(x):
            yield from nearest(child, f"{path}.{name}")


def inner_first(x: Any, seen: set[int]) -> Iterator[Any]:
    """The holders inside x, each once and after those inside it, then x."""
    if id(x) in seen or isinstance(x, Tensor):
        return
    seen.add(id(x))
    for _, child in _children(x):
        yield from inner_first(child, seen)
    if isinstance(x, Holder):
        yield x


def holders(x: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """(path, holder) for x and all holders inside it, each once."""
    if id(x) in seen or isinstance(x, Tensor):
        return
    seen.add(id(x))
    if isinstance(x, Holder):
        yield path, x
    for name, child in _children(x):
        yield from holders(child, joined(path, name), seen)
