"""Modules that hold others by number or name, under the names that PyTorch gives what is inside: "0.weight"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

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


class ModuleDict(Module):
    """Modules by name."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Put in several."""
        for name, m in dict(modules).items():
            self[name] = m

    def keys(self) -> list[str]:
        """The names."""
        return [k for k, v in vars(self).items() if isinstance(v, Module)]

    def values(self) -> list[Module]:
        """The modules."""
        return [vars(self)[k] for k in self.keys()]

    def items(self) -> list[tuple[str, Module]]:
        """(name, module)."""
        return [(k, vars(self)[k]) for k in self.keys()]

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __getitem__(self, name: str) -> Module:
        return vars(self)[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if hasattr(type(self), name):
            raise KeyError(f"attribute '{name}' already exists: another name for the module, please")
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        delattr(self, name)
