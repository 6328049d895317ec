"""Floor 1: CUDA kernels from `kernels/*.cu`: found, compiled when first used, their arguments checked, launched.

A kernel is a template.  The names of its template parameters say what they may be (`VALUES`), the names and types of
its parameters what it is to be given; both are read from the source, so there is no second list to keep in step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import index
from typing import Any, NamedTuple

import numpy as np

from .array import Array, Device, Library, device_of, library
from .dtypes import bfloat16, float16, float32, float64, wide
from .files import resource

CTYPES = {float32: "float", float64: "double", float16: "__half", bfloat16: "__nv_bfloat16"}
BLOCK, MAX_GRID = 256, 4096
HELD = 16  # values of a row that a thread keeps in registers (kernels/row.cuh)
TABLES = (64, 512)  # arrays in one launch: within 4 KB of arguments; within the 32 KB that CUDA 12.1 and later take
VALUES: dict[str, tuple[Any, ...]] = {
    "T": tuple(CTYPES),
    "I": (np.dtype("int32"), np.dtype("int64")),
    "TEAM": (32, BLOCK),  # threads that share a row: a warp, a block
    "ACT": tuple(range(7)),  # kernels/activation.cuh
    "N": TABLES,
    "RULE": tuple(range(9)),  # kernels/optimizer.cu
    "D": (float64,),
}
# Scalars as a kernel gets them.  CuPy hands over a Python int as 8 bytes, a Python float as a double.
SCALARS: dict[str, Callable[[Any], Any]] = {
    "int": lambda a: np.int32(index(a)),
    "unsigned": lambda a: np.uint32(index(a)),
    "long long": index,
    "unsigned long long": lambda a: np.uint64(index(a)),
    "float": np.float32,
    "double": float,
    "bool": np.bool_,
}
DTYPES = {
    "int": np.dtype("int32"), "unsigned": np.dtype("uint32"), "long long": np.dtype("int64"),
    "unsigned long long": np.dtype("uint64"), "bool": np.dtype("bool"), "unsigned char": np.dtype("uint8"),
    **{c: d for d, c in CTYPES.items()},
}  # fmt: skip
NULL = np.uintp(0)
# Patterns of C++, which `re` compiles when a source is read: that takes a millisecond of nobody's import.
_INCLUDE = r'^\s*#include\s+"([\w./-]+)"\s*(?://.*)?$'
_COMMENT = r"(?s)//[^\n]*|/\*.*?\*/"
_BOUNDS = r"(?:__launch_bounds__\s*\([^)]*\)\s*)?"
_KERNEL = rf"(?s)(?:template\s*<([^>]*)>\s*)?(?:static\s+)?__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\(([^)]*)\)"
_PARAMETER = r"(?s)(.*?[\w>])\s*(\*?)\s*\b(\w+)"


# ---------------------------------------------------------------------------------------------- sources
@cache
def source(name: str) -> str:
    """The text of `kernels/NAME` with every `#include "x.cuh"` in its place, once.

    CuPy's compile cache is keyed by this text alone: a header it cannot see would go stale.  `#line` lets the
    compiler's errors name the file and line that they are in.
    """
    return _inlined(name, set())


def _inlined(name: str, done: set[str]) -> str:
    return inlined(name, read(resource("kernels", name)), partial(resource, "kernels"), done)


def inlined(name: str, text: str, find: Callable[[str], str], done: set[str]) -> str:
    """`text`, which the compiler is to call `name`, with its headers in their places: those that are not in `done`.

    find   answers the path of what stands between the quotes of an #include
    """
    done.add(name)
    line_of = '#line {} "' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    out = [line_of.format(1)]
    for number, line in enumerate(text.splitlines(), 2):
        if found := re.match(_INCLUDE, line):
            out += [] if found[1] in done else [inlined(found[1], read(find(found[1])), find, done)]
            out += [line_of.format(number)]
        else:
            out.append(line)
    return "\n".join(out)


def read(path: str) -> str:
    with open(path, encoding="utf-8") as f:
        return f.read()


class Parameter(NamedTuple):
    """A kernel's parameter as it is written: type `const T*`, name `x`."""

    type: str
    name: str


class Signature(NamedTuple):
    template: tuple[str, ...]
    parameters: tuple[Parameter, ...]


@cache
def signatures(code: str) -> dict[str, Signature]:
    """The kernels in a source text."""
    found = {}
    for template, name, parameters in re.findall(_KERNEL, re.sub(_COMMENT, " ", code)):
        written = [p for p in parameters.split(",") if p.strip() not in ("", "void")]
        found[name] = Signature(
            tuple([t.split()[-1] for t in template.split(",") if t.strip()]), tuple([_parameter(p) for p in written])
        )
    return found


def _parameter(text: str) -> Parameter:
    """A parameter's type and name.  ValueError for what is written as kernels here are not."""
    plain = " ".join(re.sub(r"\b(__restrict__|__restrict|__grid_constant__)(?!\w)", " ", text).split())
    if not (found := re.fullmatch(_PARAMETER, plain)):
        raise ValueError(f"a kernel's parameter {plain!r}: a type, one * for an array, and a name are needed")
    words, star, name = found.groups()
    if words.endswith(" const"):  # T const*
        words = "const " + words.removesuffix(" const")
    return Parameter(words + star, name)


def signature(name: str, kernel: str) -> Signature:
    """The template and the parameters of a kernel.  LookupError if `kernels/NAME` has no such kernel."""
    try:
        return signatures(source(name))[kernel]
    except KeyError:
        raise LookupError(f"kernels/{name} has no kernel {kernel!r}") from None


def expression(kernel: str, values: Sequence[Any]) -> str:
    """The instantiation in C++: `softmax<float, 32, false>`."""
    return f"{kernel}<{', '.join([_word(v) for v in values])}>" if values else kernel


def _word(value: Any) -> str:
    if isinstance(value, np.dtype):
        return CTYPES.get(value) or {"int32": "int", "int64": "long long"}[value.name]
    return str(value).lower()


@cache
def instantiations(code: str) -> tuple[str, ...]:
    """Every instantiation of every kernel in a source text that gpugrad may launch."""
    return tuple(
        [
            expression(name, values)
            for name, s in signatures(code).items()
            for values in itertools.product(*[VALUES[t] for t in s.template])
        ]
    )


# ---------------------------------------------------------------------------------------------- checks
class Instance:
    """A compiled kernel: called with (grid, block, its arguments).

    TypeError for what would reach the kernel as garbage: another dtype, another device, strides, a missing argument.
    `function(grid, block, arguments)` is the launch without these checks, `takes` what makes its arguments of them.
    """

    def __init__(
        self, lib: Library, device: Device, code: str, kernel: str, values: tuple[Any, ...], s: Signature
    ) -> None:
        if len(values) != len(s.template):
            raise TypeError(f"kernel {kernel} is a template of {s.template}, given {values}")
        for t, v in zip(s.template, values):
            if t in VALUES and v not in VALUES[t]:
                raise TypeError(f"kernel {kernel} is not made for {t} = {v}; it is for {[str(k) for k in VALUES[t]]}")
        self.name, self.parameters = expression(kernel, values), s.parameters
        bound = dict(zip(s.template, values))
        self.takes = [self._taker(lib, device.index, p, *_expected(p.type, bound)) for p in s.parameters]
        self.function = lib.compile(code, self.name, device)

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], *args: Any) -> None:
        if len(args) != len(self.takes):
            raise TypeError(f"kernel {self.name} takes {len(self.takes)} arguments, given {len(args)}")
        self.function(grid, block, tuple([take(a) for take, a in zip(self.takes, args)]))

    def _taker(self, lib: Library, index: int, parameter: Parameter, pointer: bool, dtype: Any) -> Callable[[Any], Any]:
        """What a parameter takes: a function that answers what is handed over, or raises."""
        if not pointer:
            return partial(self._struct, parameter) if dtype is None else SCALARS[dtype]
        ready, nullable = lib.ready, parameter.name.endswith("_or_null")

        def take(a: Any) -> Any:
            if ready(a, dtype, index):
                return a
            if a is None and nullable:
                return NULL
            raise TypeError(self._wrong(lib, index, parameter, a, dtype))

        return take

    def _struct(self, parameter: Parameter, a: Any) -> Any:
        if not (isinstance(a, np.ndarray) and a.dtype.names):
            raise TypeError(f"kernel {self.name}: {parameter.name} is to be a struct; given {_shown(a)}")
        return a

    def _wrong(self, lib: Library, index: int, parameter: Parameter, a: Any, dtype: np.dtype) -> str:
        if not isinstance(a, lib.types) or a.dtype != dtype:
            wanted = f"an array of {dtype}"
        elif lib.index(a) != index:
            wanted = f"on device {index}, this one is on {lib.index(a)}"
        else:
            wanted = "a contiguous, aligned array"
        return f"kernel {self.name}: {parameter.name} is to be {wanted}; given {_shown(a)}"


def _shown(a: Any) -> str:
    return f"{type(a).__name__} of {a.dtype}" if hasattr(a, "dtype") else repr(a)


def _expected(ctype: str, bound: dict[str, Any]) -> tuple[bool, Any]:
    """(whether it is a pointer, the dtype of what it points to, or the name of the scalar; None for a struct)."""
    word = ctype.removesuffix("*").removeprefix("const ").strip()
    if word in bound:
        dtype = bound[word]
    elif word == "wide<T>":
        dtype = wide(bound["T"])
    else:
        dtype = DTYPES.get(word)
    if ctype.endswith("*"):
        if not isinstance(dtype, np.dtype):
            raise TypeError(
                f"a kernel's parameter of type {ctype!r}: pointers are to {', '.join(DTYPES)}, T or wide<T>"
            )
        return True, dtype
    return False, None if dtype is None else CTYPES.get(dtype, word)


class Place:
    """The device that arrays are on, and what it takes to launch there."""

    def __init__(self, lib: Library, device: Device) -> None:
        self.lib, self.device = lib, device
        self._instances: dict[tuple[Any, ...], Instance] = {}

    def scope(self) -> Any:
        """Inside it new arrays and launches are on this device."""
        return self.lib.scope(self.device)

    def empty(self, shape: Any, dtype: Any) -> Array:
        """A new array whose values are not set."""
        return self.lib.empty(shape, dtype)

    def whole(self, a: Any) -> Array:
        """`a` contiguous and aligned to its dtype: itself, or a copy."""
        if self.lib.ready(a, a.dtype, self.device.index):
            return a
        out = self.lib.xp.ascontiguousarray(a)
        return out.copy() if self.lib.address(out) % out.dtype.itemsize else out

    def get(self, name: str, kernel: str, *values: Any) -> Instance:
        """The kernel `kernel<values>` of `kernels/NAME.cu` on this device, compiled the first time."""
        key = (name, kernel, *values)
        found = self._instances.get(key)
        if found is None:
            file = f"{name}.cu"
            of = signature(file, kernel)
            found = self._instances[key] = Instance(self.lib, self.device, source(file), kernel, values, of)
        return found


_places: dict[tuple[Library, int], Place] = {}


def place(*arrays: Any) -> Place:
    """Where `arrays` are; None among them is left out.

    TypeError for two devices, for what is no array, and for arrays whose library compiles no kernels.
    """
    lib = library(arrays[0])
    if lib is None or not lib.compiles:
        raise TypeError(f"there are no kernels for {type(arrays[0]).__name__}; they run on arrays of a GPU")
    index = lib.index(arrays[0])
    for a in arrays[1:]:
        if a is not None and (not isinstance(a, lib.types) or lib.index(a) != index):
            if library(a) is None:
                raise TypeError(f"a kernel takes arrays, given {type(a).__name__}")
            raise TypeError(f"one array is on {device_of(arrays[0])}, another on {device_of(a)}")
    found = _places.get((lib, index))
    if found is None:
        found = _places[lib, index] = Place(lib, lib.device_of(arrays[0]))
    return found


def usable(*arrays: Any) -> bool:
    """Whether kernels are there for these arrays: one floating dtype that they are made for, one library that compiles.

    None among them is left out.  Arrays on two devices are usable, so that the launch says what is wrong.
    """
    lib = library(arrays[0])
    if lib is None or not lib.compiles or arrays[0].dtype not in CTYPES:
        return False
    dtype = arrays[0].dtype
    for a in arrays[1:]:
        if a is not None and getattr(a, "dtype", None) != dtype:
            return False
    return True


# ---------------------------------------------------------------------------------------------- grids
def ceil(a: int, b: int) -> int:
    return -(-a // b)


def pack(dtype: np.dtype) -> int:
    """Elements in 16 bytes, the most that a thread loads at once."""
    return 16 // dtype.itemsize


def by_element(n: int, dtype: np.dtype) -> tuple[tuple[int], tuple[int]]:
    """Grid and block for `n` elements, 16 bytes a thread and turn."""
    return (min(ceil(n, BLOCK * pack(dtype)), MAX_GRID),), (BLOCK,)


def by_row(rows: int, cols: int) -> tuple[int, tuple[int], tuple[int]]:
    """(threads for a row, grid, block): a warp for rows that its registers hold, else a block."""
    if cols <= 32 * HELD:
        return 32, (min(ceil(rows, BLOCK // 32), MAX_GRID),), (BLOCK,)
    return BLOCK, (min(rows, 4 * MAX_GRID),), (BLOCK,)


def by_column(rows: int, cols: int, dtype: np.dtype) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and block for sums down columns; grid[1] is the number of chunks of rows, each of which leaves a sum.

    A thread takes 16 bytes of a row; a block is as wide as a row has such pieces, at most a warp, and the rest of it
    goes down the rows.  Some 512 blocks fill any GPU; at least four rows a thread make the second stage small.
    """
    width = 1
    while width < 32 and width * pack(dtype) < cols:
        width *= 2
    across = ceil(cols, width * pack(dtype))
    chunks = max(1, min(ceil(rows, 4 * BLOCK // width), ceil(512, across), 256))
    return (across, chunks), (width, BLOCK // width)
