"""Floor 1: a kernel of a user's own source: what each parameter is given, by its name, and the launch.

    const T* x     an array; T is its dtype, and `const float*`, `const int*`, ... take that dtype alone
    T* out         an array that is made for it; it writes every element
    long long n    a size, of those that the op's axes have, or a static argument of the reference

Nothing here is by position: what a kernel takes and writes, and how many threads it is run by, follow from names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from operator import index
from typing import Any, NamedTuple

import numpy as np

from .array import Array, library
from .axes import Axes, Sizes, Spec, shape
from .dtypes import wide
from .kernels import BLOCK, DTYPES, SCALARS, VALUES, Instance, Parameter, Place, by_row, ceil, place, signatures

MOST_BLOCKS = (2**31 - 1, 65535, 65535)  # of a grid, by its axes
MOST_THREADS = (1024, 1024, 64)  # of a block; 1024 in all
_NUMBERS = (bool, int, float, complex, np.generic)
_TEMPLATES = ("T", "I", "TEAM")
_WHOLE = {  # the least and the largest value of each type
    "int": (-(2**31), 2**31 - 1), "unsigned": (0, 2**32 - 1), "long long": (-(2**63), 2**63 - 1),
    "unsigned long long": (0, 2**64 - 1), "bool": (0, 1),
}  # fmt: skip
_SIZES = [word for word in _WHOLE if word != "bool"]


class Named(NamedTuple):
    """An array among the parameters: what it points to, `T` or `float`, and its axes."""

    name: str
    word: str
    axes: Spec


class UserKernel:
    """A kernel as a function of arrays and numbers by name, which answers its outputs.

    Answers None where it is not made for them: another library than a GPU's, dtypes that it has no parameters for,
    an empty array.
    """

    def __init__(
        self,
        op: str,
        code: str,
        name: str,
        arrays: Mapping[str, Spec],
        outputs: Mapping[str, Spec],
        static: Collection[str],
        axes: Axes,
        dtypes: tuple[np.dtype, ...],
        grid: Any,
    ) -> None:
        """`arrays`, `outputs`: the axes of what it may take and write; `static`: the names of numbers."""
        self.label = f"kernel_op {op}: kernel {name}"
        found = signatures(code)
        if name not in found:
            raise LookupError(
                f"kernel_op {op}: the source has no kernel {name!r}; it has {', '.join(found) or 'none'}. "
                "A kernel is written `template <typename T> __global__ void name(const T* x, ...)`"
            )
        self.code, self.name, self.signature, self.axes, self.grid = code, name, found[name], axes, grid
        self.dtypes = dtypes
        self.specs = {**arrays, **outputs}
        self.inputs, self.outputs, self.numbers = self._sorted(arrays, outputs, static)
        self._check_template()
        needed = {p.name for p in self.numbers} | {axis for out in self.outputs for axis in out.axes}
        needed |= set(parameters(grid) if callable(grid) else ["rows"] if grid == "rows" else [])
        self.static = [n for n in static if n in needed]
        self.needs = needed - set(static)  # the sizes that the arrays it reads are to tell
        self._instances: dict[tuple[Any, ...], Instance] = {}
        self.launches = 0

    @property
    def asks(self) -> list[str]:
        """What it needs beside the cotangent."""
        return [p.name for p in self.inputs if p.name != "g"] + self.static

    # ------------------------------------------------------------------------------------------ declaration
    def _sorted(
        self, arrays: Collection[str], outputs: Collection[str], static: Collection[str]
    ) -> tuple[list[Named], list[Named], list[Parameter]]:
        """Its parameters by what they are: read, written, numbers.  TypeError for one that is nothing."""
        inputs: list[Named] = []
        made: list[Named] = []
        numbers: list[Parameter] = []
        sizes = self.axes.known(self.specs.values())
        for p in self.signature.parameters:
            pointer, const, word = p.type.endswith("*"), p.type.startswith("const "), _word(p)
            if pointer and word not in (*DTYPES, "T", "I", "wide<T>"):
                self._wrong(p, f"pointers are to {', '.join(DTYPES)}, T, wide<T> or I (int or long long)")
            if pointer and const and p.name not in arrays:
                self._wrong(p, f"there is no array {p.name!r} to read; there are {', '.join(arrays)}")
            if pointer and not const and p.name not in outputs:
                self._wrong(p, f"it writes {', '.join(outputs)}, by these names; what it reads is `const`")
            if pointer:
                (inputs if const else made).append(Named(p.name, word, self.specs[p.name]))
                continue
            if word not in (*SCALARS, "T", "wide<T>"):
                self._wrong(p, f"a number is {', '.join(SCALARS)}, T or wide<T>")
            if p.name not in sizes and p.name not in static:
                of = f"static arguments {', '.join(static)}" if static else "static arguments, of which there are none"
                self._wrong(p, f"there is no number {p.name!r}; there are the sizes {_listed(sizes)}, and {of}")
            if p.name in sizes and word not in _SIZES:
                self._wrong(p, f"a size is {', '.join(_SIZES)}")
            if word == "T" and any([d.itemsize == 2 for d in self.dtypes]):
                self._wrong(p, "CUDA's half types are not handed over as numbers; write float, or wide<T>")
            numbers.append(p)
        if not made:
            raise TypeError(f"{self.label} writes nothing; it is to have a parameter `T* {next(iter(outputs))}`")
        return inputs, made, numbers

    def _wrong(self, p: Parameter, text: str) -> None:
        raise TypeError(f"{self.label}, parameter `{p.type} {p.name}`: {text}")

    def _check_template(self) -> None:
        template, words = self.signature.template, {a.word for a in self.inputs}
        for t in template:
            if t not in _TEMPLATES:
                raise TypeError(
                    f"{self.label} is a template on {t!r}; those may be T (a floating dtype), I (int or long long) and "
                    "TEAM (threads that share a row); other numbers are static arguments"
                )
            if t in ("T", "I") and t not in words:
                raise TypeError(f"{self.label} is a template on {t}, and no `const {t}*` among its arrays says which")
        if "TEAM" in template and self.grid != "rows":
            raise TypeError(f"{self.label} is a template on TEAM, the threads that share a row: declare grid='rows'")
        if self.grid == "rows" and "rows" not in self.axes.known(self.specs.values()):
            raise ValueError(f"{self.label}: grid='rows' needs shapes with '...', as in '... cols -> ... cols'")

    # ------------------------------------------------------------------------------------------ launch
    def dtype_of(self, array: str, bound: Mapping[str, np.dtype]) -> np.dtype:
        """The dtype in which it takes an array, where its template has these."""
        return next(_dtype(a.word, bound) for a in self.inputs if a.name == array)

    def untold(self, own: bool) -> set[str]:
        """The sizes that nothing tells it.  `own`: it is told the shape of its output."""
        return self.needs - self.axes.known([a.axes for a in (*self.inputs, *(self.outputs if own else ()))])

    def __call__(
        self, arrays: Mapping[str, Any], static: Mapping[str, Any], like: Iterable[tuple[str, Spec, tuple]] = ()
    ) -> tuple[Array, ...] | None:
        """Its outputs.  `like`: more arrays whose sizes are known, as (name, axes, shape).

        TypeError for numbers that do not fit its parameters and for arrays on two devices, ValueError for shapes that
        do not agree.
        """
        present = [arrays[q.name] for q in self.inputs]
        own = [a for a in present if not isinstance(a, _NUMBERS)]
        lib = library(own[0]) if own else None
        if lib is None or not lib.compiles or any([a is None for a in own]):
            return None
        p = place(*own)
        bound = self._bound(present)
        if bound is None:
            return None
        sizes = self.axes.sizes([*like, *[(q.name, q.axes, np.shape(a)) for q, a in zip(self.inputs, present)]])
        numbers = {**static, **sizes}
        with p.scope():
            outs = tuple([p.empty(shape(q.axes, numbers), _dtype(q.word, bound)) for q in self.outputs])
            if not any([out.size for out in outs]):
                return outs
            if not all([a.size for a in (*own, *outs)]):
                return None  # nothing to read and something to write: the array functions know what
            team, grid, block = self._threads(outs, sizes, numbers)
            given = {q.name: out for q, out in zip(self.outputs, outs)}
            for q, a in zip(self.inputs, present):
                given[q.name] = self._whole(p, a, _dtype(q.word, bound), sizes)
            for n in self.numbers:
                given[n.name] = self._number(n, numbers[n.name])
            self.launches += 1
            self._instance(p, bound, team)(grid, block, *[given[q.name] for q in self.signature.parameters])
        return outs

    def _bound(self, arrays: Sequence[Any]) -> dict[str, np.dtype] | None:
        """The dtypes of its template for its inputs in order; None if it is not made for them."""
        bound: dict[str, np.dtype] = {}
        given = [(q.word, a.dtype) for q, a in zip(self.inputs, arrays) if not isinstance(a, _NUMBERS)]
        for word, dtype in given:
            if word in ("T", "I") and bound.setdefault(word, dtype) != dtype:
                return None
        for t, allowed in (("T", self.dtypes), ("I", VALUES["I"])):
            if t in self.signature.template and bound.get(t) not in allowed:
                return None
        if any([_dtype(word, bound) != dtype for word, dtype in given]):
            return None
        weak = [(q.word, a) for q, a in zip(self.inputs, arrays) if isinstance(a, _NUMBERS)]
        return bound if all([_holds(_dtype(word, bound), a) for word, a in weak]) else None

    def _whole(self, p: Place, a: Any, dtype: np.dtype, sizes: Sizes) -> Array:
        if isinstance(a, _NUMBERS):
            a = p.lib.xp.full((), a, dtype)
        if self.axes.broadcast and a.shape != sizes["..."]:
            a = p.lib.xp.broadcast_to(a, sizes["..."])
        return p.whole(a)

    def _number(self, p: Parameter, value: Any) -> Any:
        word = _word(p)
        if word not in _WHOLE:
            if not isinstance(value, Real):
                self._wrong(p, f"a number is needed, given {value!r:.40} of type {type(value).__name__}")
            return float(value)
        if not isinstance(value, Integral | np.bool_):
            self._wrong(p, f"a whole number is needed, given {value!r:.40} of type {type(value).__name__}")
        whole, (least, most) = int(value), _WHOLE[word]
        if not least <= whole <= most:
            self._wrong(p, f"{whole} does not fit, from {least} to {most}; declare it `long long` for more")
        return whole

    def _instance(self, p: Place, bound: dict[str, np.dtype], team: int) -> Instance:
        values = tuple([team if t == "TEAM" else bound[t] for t in self.signature.template])
        found = self._instances.get((p, *values))
        if found is None:
            found = Instance(p.lib, p.device, self.code, self.name, values, self.signature)
            self._instances[(p, *values)] = found
        return found

    def _threads(
        self, outs: tuple[Array, ...], sizes: Sizes, numbers: Mapping[str, Any]
    ) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """(threads that share a row, grid, block), enough for every element or row without a loop in the kernel."""
        team, blocks, threads = 0, 0, BLOCK
        if self.grid == "elements":
            blocks = ceil(max([out.size for out in outs]), BLOCK)
            if blocks <= MOST_BLOCKS[0]:  # the commonest case, without what follows
                return 0, (blocks,), (BLOCK,)
        elif self.grid == "rows":
            blocks = sizes["rows"]
            if "TEAM" in self.signature.template:
                axes = [a.axes for a in (*self.inputs, *self.outputs)]
                team, _, _ = by_row(blocks, max([math.prod([numbers[n] for n in a if n != "..."]) for a in axes]))
                blocks = ceil(blocks, BLOCK // team)
        else:
            answer = self.grid(*[numbers[n] for n in parameters(self.grid)])
            if not isinstance(answer, Mapping) or set(answer) != {"blocks", "threads"}:
                raise TypeError(
                    f"{self.label}: its grid is to answer {{'blocks': ..., 'threads': ...}}, not {answer!r:.60}"
                )
            blocks, threads = answer["blocks"], answer["threads"]
        return team, self._counted("blocks", blocks, MOST_BLOCKS), self._counted("threads", threads, MOST_THREADS)

    def _counted(self, what: str, n: Any, most: tuple[int, ...]) -> tuple[int, ...]:
        counts = tuple([index(k) for k in (n if isinstance(n, tuple) else (n,))])
        fits = 1 <= len(counts) <= 3 and all([1 <= k <= m for k, m in zip(counts, most)])
        if not fits or (what == "threads" and math.prod(counts) > most[0]):
            raise ValueError(f"{self.label}: CUDA has no {what} {counts}; at least 1 and at most {most} by axis")
        return counts


def parameters(f: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters."""
    code = f.__code__  # type: ignore[attr-defined]
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _word(p: Parameter) -> str:
    """What a parameter is, or points to: `const T*` is T."""
    return p.type.removesuffix("*").removeprefix("const ").strip()


def _dtype(word: str, bound: Mapping[str, np.dtype]) -> np.dtype:
    return wide(bound["T"]) if word == "wide<T>" else bound[word] if word in bound else DTYPES[word]


def _holds(dtype: np.dtype, number: Any) -> bool:
    """Whether an array of this dtype holds a number as it is, up to rounding."""
    if dtype.kind in "iu":
        return isinstance(number, int) and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max
    return dtype.kind != "b" and isinstance(number, (int, float))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted([n for n in names if n != "..."])) or "none"
