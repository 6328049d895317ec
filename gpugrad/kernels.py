"""Floor 1: CUDA kernels from `kernels/*.cu`: found, compiled when first used, their arguments checked, launched.

A kernel is a template.  The names of its template parameters say what they may be (`VALUES`), the names and types of
its parameters what it is to be given; both are read from the source, so there is no second list to keep in step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from .array import Array, Device, Library, bfloat16, device_of, float16, float32, float64, library, wide
from .files import resource

CTYPES = {float32: "float", float64: "double", float16: "__half", bfloat16: "__nv_bfloat16"}
BLOCK, MAX_GRID = 256, 4096
HELD = 16  # values of a row that a thread keeps in registers (kernels/row.cuh)
TABLES = (72, 600)  # arrays in one launch: within 4 KB of arguments; within the 32 KB that CUDA 12.1 and later take
VALUES: dict[str, tuple[Any, ...]] = {
    "T": tuple(CTYPES),
    "I": (np.dtype("int32"), np.dtype("int64")),
    "TEAM": (32, BLOCK),  # threads that share a row: a warp, a block
    "ACT": tuple(range(7)),  # kernels/activation.cuh
    "N": TABLES,
    "D": (float64,),
}
_SCALARS = {"int": np.int32, "unsigned": np.uint32, "long long": np.int64, "unsigned long long": np.uint64}
_SCALARS |= {"float": np.float32, "double": np.float64}
_NULL = np.uintp(0)
_INCLUDE = re.compile(r'^\s*#include\s+"([\w.]+)"\s*$')
_KERNEL = re.compile(
    r"template\s*<([^>]*)>\s*__global__\s+void\s+(?:__launch_bounds__\(\w+\)\s+)?(\w+)\s*\(([^)]*)\)", re.S
)


# ---------------------------------------------------------------------------------------------- sources
@cache
def source(name: str) -> str:
    """The text of `kernels/NAME` with every `#include "x.cuh"` in its place, once.

    CuPy's compile cache is keyed by this text alone: a header it cannot see would go stale.  `#line` lets the
    compiler's errors name the file and line that they are in.
    """
    return _inlined(name, set())


def _inlined(name: str, done: set[str]) -> str:
    done.add(name)
    with open(resource("kernels", name), encoding="utf-8") as f:
        lines = f.read().splitlines()
    out = [f'#line 1 "{name}"']
    for number, line in enumerate(lines, 2):
        if found := _INCLUDE.match(line):
            out += [] if found[1] in done else [_inlined(found[1], done)]
            out += [f'#line {number} "{name}"']
        else:
            out.append(line)
    return "\n".join(out)


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
    for template, name, parameters in _KERNEL.findall(code):
        words = [p.replace("__restrict__", "").replace("__grid_constant__", "").split() for p in parameters.split(",")]
        joined = [(" ".join(w[:-1]), w[-1]) for w in words]
        found[name] = Signature(
            tuple([t.split()[-1] for t in template.split(",")]), tuple([Parameter(*j) for j in joined])
        )
    return found


def signature(name: str, kernel: str) -> Signature:
    """The template and the parameters of a kernel.  LookupError if `kernels/NAME` has no such kernel."""
    try:
        return signatures(source(name))[kernel]
    except KeyError:
        raise LookupError(f"kernels/{name} has no kernel {kernel!r}") from None


def expression(kernel: str, values: Sequence[Any]) -> str:
    """The instantiation in C++: `softmax<float, 32, false>`."""
    return f"{kernel}<{', '.join([_word(v) for v in values])}>"


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
    """

    def __init__(self, lib: Library, device: Device, name: str, kernel: str, values: tuple[Any, ...]) -> None:
        s = signature(name, kernel)
        if len(values) != len(s.template):
            raise TypeError(f"kernel {kernel} is a template of {s.template}, given {values}")
        for t, v in zip(s.template, values):
            if v not in VALUES[t]:
                raise TypeError(f"kernel {kernel} is not made for {t} = {v}; it is for {[str(k) for k in VALUES[t]]}")
        self.name = expression(kernel, values)
        bound = dict(zip(s.template, values))
        self._takes = [self._taker(lib, device.index, p, *_expected(p.type, bound)) for p in s.parameters]
        self._function = lib.compile(source(name), self.name, device)

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], *args: Any) -> None:
        if len(args) != len(self._takes):
            raise TypeError(f"kernel {self.name} takes {len(self._takes)} arguments, given {len(args)}")
        self._function(grid, block, tuple([take(a) for take, a in zip(self._takes, args)]))

    def _taker(self, lib: Library, index: int, parameter: Parameter, pointer: bool, dtype: Any) -> Callable[[Any], Any]:
        """What a parameter takes: a function that answers what is handed over, or raises."""
        if not pointer:
            return partial(self._struct, parameter) if dtype is None else dtype
        types, address, where, size = lib.types, lib.address, lib.index, dtype.itemsize
        nullable = parameter.name.endswith("_or_null")

        def take(a: Any) -> Any:
            if a is None or not isinstance(a, types) or a.dtype != dtype:
                if a is None and nullable:
                    return _NULL
                raise TypeError(self._wrong(parameter, a, f"an array of {dtype}"))
            if not a.flags.c_contiguous or address(a) % size:
                raise TypeError(self._wrong(parameter, a, "a contiguous, aligned array"))
            if where(a) != index:
                raise TypeError(self._wrong(parameter, a, f"on device {index}, this one is on {where(a)}"))
            return a

        return take

    def _struct(self, parameter: Parameter, a: Any) -> Any:
        if not (isinstance(a, np.ndarray) and a.dtype.names):
            raise TypeError(self._wrong(parameter, a, "a struct"))
        return a

    def _wrong(self, parameter: Parameter, a: Any, wanted: str) -> str:
        shown = f"{type(a).__name__} of {a.dtype}" if hasattr(a, "dtype") else repr(a)
        return f"kernel {self.name}: {parameter.name} is to be {wanted}; given {shown}"


def _expected(ctype: str, bound: dict[str, Any]) -> tuple[bool, Any]:
    """(whether it is a pointer, the dtype of what it points to, or the NumPy type of the scalar)."""
    pointer = ctype.endswith("*")
    word = ctype.removesuffix("*").removeprefix("const ").strip()
    kind = bound[word].type if word in bound else wide(bound["T"]).type if word == "wide<T>" else _SCALARS.get(word)
    return pointer, np.dtype(kind) if pointer and kind else kind


class Place:
    """The device that arrays are on, and what it takes to launch there."""

    def __init__(self, lib: Library, device: Device) -> None:
        self.lib, self.device = lib, device
        self._instances: dict[tuple[Any, ...], Instance] = {}

    def scope(self) -> Any:
        """Inside it new arrays and launches are on this device."""
        return self.lib.scope(self.device)

    def empty(self, shape: Any, dtype: Any) -> Array:
        return self.lib.xp.empty(shape, dtype)

    def whole(self, a: Any) -> Array:
        """`a` contiguous and aligned to its dtype: itself, or a copy."""
        out = a if a.flags.c_contiguous else self.lib.xp.ascontiguousarray(a)
        return out.copy() if self.lib.address(out) % out.dtype.itemsize else out

    def get(self, name: str, kernel: str, *values: Any) -> Instance:
        """The kernel `kernel<values>` of `kernels/NAME.cu` on this device, compiled the first time."""
        key = (name, kernel, *values)
        found = self._instances.get(key)
        if found is None:
            found = self._instances[key] = Instance(self.lib, self.device, f"{name}.cu", kernel, values)
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

    Arrays on two devices are usable, so that the launch says what is wrong.
    """
    dtype = getattr(arrays[0], "dtype", None)
    lib = library(arrays[0])
    return (
        dtype in CTYPES
        and lib is not None
        and lib.compiles
        and all(getattr(a, "dtype", None) == dtype for a in arrays[1:])
    )


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


# ---------------------------------------------------------------------------------------------- element-wise forwards
def kernel(name: str, kernel: str, otherwise: Callable[..., Array], *values: Any) -> Callable[..., Array]:
    """`kernel` of `kernels/NAME.cu` as an op's `gpu=` forward: arrays of one dtype in, a new array out, broadcast.

    `values`: of its template, after the dtype.
    Strided operands are copied to contiguous ones first.  `otherwise(xp, *arrays)`, the array functions, stands in for
    dtypes that the kernel is not made for, and for libraries that compile none.
    """

    def forward(xp: Any, *arrays: Any) -> Array:
        if not usable(*arrays):
            return otherwise(xp, *arrays)
        p, dtype, shape = place(*arrays), arrays[0].dtype, arrays[0].shape
        with p.scope():
            if any([a.shape != shape for a in arrays]):
                shape = np.broadcast_shapes(*[a.shape for a in arrays])
                arrays = tuple([p.lib.xp.broadcast_to(a, shape) for a in arrays])
            out = p.empty(shape, dtype)
            if out.size:
                run = p.get(name, kernel, dtype, *values)
                run(*by_element(out.size, dtype), *[p.whole(a) for a in arrays], out, out.size)
        return out

    forward.__name__ = kernel
    return forward
