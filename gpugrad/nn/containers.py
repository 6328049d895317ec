"""Modules that hold others by number or name, under the names that PyTorch gives what is inside: "0.weight"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from ..core import Tensor
from .module import Module


class _Numbered(Module):
    """A list whose entries are the attributes "0", "1", and so on."""

    def __init__(self, entries: Iterable[Any] = ()) -> None:
        self.extend(entries)

    def _check(self, entry: Any) -> None:
        raise NotImplementedError

    def append(self, entry: Any) -> Any:
        """Put one at the end."""
        self._check(entry)
        setattr(self, str(len(self)), entry)
        return self

    def extend(self, entries: Iterable[Any]) -> Any:
        """Put several at the end."""
        for entry in entries:
            self.append(entry)
        return self

    def _entries(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k.isdigit()}

    def __len__(self) -> int:
        return len(self._entries())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries().values())

    def __getitem__(self, i: Any) -> Any:
        found = list(self)[i]
        return type(self)(found) if isinstance(i, slice) else found

    def __setitem__(self, i: int, entry: Any) -> None:
        self._check(entry)
        setattr(self, list(self._entries())[i], entry)

    def __delitem__(self, i: Any) -> None:
        entries = list(self)
        del entries[i]
        self._renew(entries)

    def __iadd__(self, entries: Iterable[Any]) -> Any:
        return self.extend(entries)

    def __add__(self, entries: Iterable[Any]) -> Any:
        """A list of these and the others."""
        return type(self)([*self, *entries])

    def insert(self, i: int, entry: Any) -> None:
        """Put one before that of number i."""
        self._check(entry)
        entries = list(self)
        entries.insert(i, entry)
        self._renew(entries)

    def pop(self, i: int = -1) -> Any:
        """Take one out and answer it; those behind it move up."""
        entry = self[i]
        del self[i]
        return entry

    def _renew(self, entries: list[Any]) -> None:
        for name in self._entries():
            delattr(self, name)
        self.extend(entries)


class ModuleList(_Numbered):
    """A list of modules."""

    def _check(self, entry: Any) -> None:
        if not isinstance(entry, Module):
            raise TypeError(f"{type(entry).__name__} is not a Module subclass")


class ParameterList(_Numbered):
    """A list of parameters."""

    def _check(self, entry: Any) -> None:
        if not isinstance(entry, Tensor):
            raise TypeError(f"ParameterList holds Parameters, not {type(entry).__name__}: write nn.Parameter(...)")


class _Named(Module):
    """A dict whose entries are attributes."""

    _holds: ClassVar[type]

    def _check(self, name: str, entry: Any) -> None:
        raise NotImplementedError

    def __init__(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self.update(entries)

    def update(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Put in several."""
        for name, entry in dict(entries).items():
            self[name] = entry

    def keys(self) -> list[str]:
        """The names."""
        return [k for k, v in vars(self).items() if isinstance(v, self._holds)]

    def values(self) -> list[Any]:
        """What it holds."""
        return [vars(self)[k] for k in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """(name, entry)."""
        return [(k, vars(self)[k]) for k in self.keys()]

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]

    def __setitem__(self, name: str, entry: Any) -> None:
        if hasattr(type(self), name):
            raise KeyError(f"attribute '{name}' already exists: another name for the entry, please")
        self._check(name, entry)
        setattr(self, name, entry)

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def pop(self, name: str) -> Any:
        """Take one out and answer it."""
        entry = self[name]
        del self[name]
        return entry

    def clear(self) -> None:
        """Take all out."""
        for name in self.keys():
            del self[name]


class ModuleDict(_Named):
    """Modules by name."""

    _holds = Module

    def _check(self, name: str, entry: Any) -> None:
        if not isinstance(entry, Module):
            raise TypeError(f"ModuleDict: {name!r} is a {type(entry).__name__}, which is not a Module subclass")


class ParameterDict(_Named):
    """Parameters by name."""

    _holds = Tensor

    def _check(self, name: str, entry: Any) -> None:
        if not isinstance(entry, Tensor):
            raise TypeError(f"ParameterDict holds Parameters, not {type(entry).__name__}: write nn.Parameter(...)")


class Sequential(Module):
    """Layers and functions, one after the other: `layers`, called "0", "1", ... or as the keys of a dict that is given.

    Calls like those of a list: len, iteration, [i], slices, append, extend, insert, del.  TypeError for what cannot be
    called.
    """

    def __init__(self, *layers: Any) -> None:
        self._names: list[str] = []  # of the first layers; the others have their numbers
        self.layers: list[Any] = []
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, f in layers[0].items():
                self.add_module(name, f)
        else:
            self.extend(layers)

    def _check(self, i: int | str, f: Any) -> None:
        if isinstance(f, type):
            raise TypeError(f"Sequential: layer {i} is the class {f.__name__}: write {f.__name__}(...)")
        if not callable(f):
            hint = ": write Sequential(*layers)" if isinstance(f, (list, tuple)) else ""
            raise TypeError(f"Sequential: layer {i} is a {type(f).__name__}, which cannot be called{hint}")

    def names(self) -> list[str]:
        """What the layers are called in paths such as "0.weight"."""
        return [*self._names, *map(str, range(len(self._names), len(self.layers)))]

    def _inside(self) -> Iterable[tuple[str, Any]]:
        yield from [(k, v) for k, v in vars(self).items() if k not in ("layers", "_names")]
        yield from zip(self.names(), self.layers)

    def forward(self, input: Any) -> Any:
        for f in self.layers:
            input = f(input)
        return input

    def add_module(self, name: str, module: Any) -> None:
        """Put a layer at the end, under a name of its own; it is an attribute of this name, too."""
        self._check(name, module)
        if hasattr(self, name) or "." in name:
            raise KeyError(f"attribute '{name}' already exists, or has a dot: another name for the layer, please")
        self._names = [*self.names(), name]
        self.layers.append(module)

    def append(self, layer: Any) -> Any:
        """Put one at the end."""
        self._check(len(self.layers), layer)
        self.layers.append(layer)
        return self

    def extend(self, layers: Iterable[Any]) -> Any:
        """Put several at the end."""
        for layer in layers:
            self.append(layer)
        return self

    def insert(self, i: int, layer: Any) -> Any:
        """Put one before the layer i.  ValueError where layers have names."""
        self._check(i, layer)
        if self._names:
            raise ValueError("Sequential: insert is for layers that go by number; these have names")
        self.layers.insert(i, layer)
        return self

    def pop(self, i: int = -1) -> Any:
        """Take one out and answer it."""
        layer = self.layers[i]
        del self[i]
        return layer

    def __add__(self, others: Iterable[Any]) -> Any:
        """A Sequential of these layers, and then the others."""
        if not isinstance(others, Sequential):
            return NotImplemented
        return type(self)(*self, *others)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __getitem__(self, i: Any) -> Any:
        if not isinstance(i, slice):
            return self.layers[i]
        return type(self)(dict(zip(self.names()[i], self.layers[i]))) if self._names else type(self)(*self.layers[i])

    def __setitem__(self, i: int, layer: Any) -> None:
        self._check(i, layer)
        self.layers[i] = layer

    def __delitem__(self, i: Any) -> None:
        if self._names:
            names = self.names()
            del names[i]
            self._names = names
        del self.layers[i]

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        if "layers" in own and name in (names := self.names()):
            self[names.index(name)] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if "layers" in vars(self) and name in (names := self.names()):
            del self[names.index(name)]
        else:
            super().__delattr__(name)

    def __getattr__(self, name: str) -> Any:
        if "layers" in vars(self) and name in (names := self.names()):
            return self.layers[names.index(name)]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
