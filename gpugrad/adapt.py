"""Floor 2: `adapted`, a function under another library's parameters, or `later`; `chosen`, what a name stands for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .habits import missing


def adapted(
    f: Callable[..., Any],
    parameters: str,
    box: Callable[[Any], Any] | None = None,
    doc: str | None = None,
    refused: Callable[[ValueError], Exception] | None = None,
    **turned: Callable[[Any], Any],
) -> Any:
    """`f`, called by the names of another library.

        adapted(reduce.sum, "input, dim:axis=None, keepdim:keepdims=False, -name=None")
        # def sum(input, dim=None, keepdim=False, name=None): return f(input, axis=dim, keepdims=keepdim)

    parameters  in their order, with their defaults; `dim:axis` where f calls `dim` `axis`; `-name` is taken and
                ignored; `*name` takes the rest; `dim|axis` is called `axis` by keyword, too.  The first and `+name`
                go to f by position, the others by name
    box         what the first one becomes before f sees it
    doc         the docstring; None: that of f
    refused     what is raised in the place of a ValueError of f
    turned      what another parameter becomes before f sees it, by its name
    """
    heads, tails, keywords, also = [], [], [], []
    for word in parameters.split(", "):
        name, _, default = word.partition("=")
        name, _, own = name.partition(":")
        name, _, second = name.partition("|")
        bare = name.lstrip("-*+")
        if second:
            also.append(f"if {second} is not ...: {bare} = {second}")
            keywords.append(f"{second}=...")
            if not default:
                default = "..."
                also.append(f"if {bare} is ...: raise TypeError('missing required argument: {bare}')")
        heads.append(name.lstrip("-+") + (f"={default}" if default else ""))
        if not name.startswith("-"):
            value = f"_{bare}({bare})" if bare in turned else bare
            by_name = f"{own or bare}={value}" if tails and not name.startswith("+") else value
            tails.append(f"box({value})" if box and not tails else by_name)
    # Written out, as dataclasses are: a wrapper that sorts its arguments at every call takes a microsecond.
    if keywords and "*" not in heads:
        heads.append("*")
    lines = [*also, f"return f({', '.join(tails)})"]
    if refused:
        lines[-1:] = ["try:", f"    {lines[-1]}", "except ValueError as e:", "    raise refused(e) from None"]
    source = "\n    ".join([f"def call({', '.join(heads + keywords)}):", *lines])
    made: dict[str, Any] = {}
    given = {f"_{name}": g for name, g in turned.items()}
    exec(source, {"f": f, "box": box, "refused": refused, "__name__": __name__, **given}, made)
    call = made["call"]
    call.__name__, call.__qualname__, call.__doc__ = f.__name__, f.__name__, doc or f.__doc__
    return call


def chosen(what: str, identifier: Any, table: Mapping[str, Any]) -> Any:
    """What `table` has under a name; a function as it is.  ValueError for an unknown name."""
    if callable(identifier):
        return identifier
    if identifier not in table:
        raise ValueError(f"unknown {what} {identifier!r}; known are {sorted(map(str, table))}")
    return table[identifier]


def by_place(rows: Mapping[str, str], own: Mapping[str, str]) -> dict[str, dict[str, tuple[str, str]]]:
    """{place: {name: (the core's name, parameters)}} of {parameters: "place.name=core's name ..."}.

    Where the core's name is not said, it is the same one, in the same place or in the one that `own` says for it.
    """
    out: dict[str, dict[str, tuple[str, str]]] = {}
    for parameters, names in rows.items():
        for word in names.split():
            path, _, core = word.partition("=")
            place, _, name = path.rpartition(".")
            inside = own.get(place, place)
            out.setdefault(place, {})[name] = core or (f"{inside}.{name}" if inside else name), parameters
    return out


def later(
    module: str, names: Iterable[str], make: Callable[[str], Any], words: Mapping[str, str] | None = None
) -> tuple[Any, Any]:
    """`__getattr__` and `__dir__` of a module of which make(name) makes what is in `names`, once it is asked for.

    Hundreds of functions under other parameters would delay the import.  `words`: what to write for names of others.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(missing(f"module {module!r}", name, words or {}))
        f = make(name)
        setattr(sys.modules[module], name, f)
        return f

    return get, lambda: sorted({*vars(sys.modules[module]), *names})


class Later:
    """A method of class `owner` that make(name) makes, once it is asked for."""

    def __init__(self, owner: type, name: str, make: Callable[[str], Any]) -> None:
        self.owner, self.name, self.make = owner, name, make

    def __get__(self, x: Any, kind: type | None = None) -> Any:
        f = self.make(self.name)
        setattr(self.owner, self.name, f)
        return f.__get__(x, kind)
