"""An ONNX graph that grows from two runs of a model, whose inputs differ in their values and in their free sizes.

What is equal in both runs is a constant.  A size that differs is read from the tensor that had it first.  An array that
differs, and that no recorded op has made, cannot be followed: an error, not a wrong constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..array import library, to_host
from ..dtypes import bfloat16
from ..origin import shown
from .calls import Call, where

# TensorProto.DataType
TYPES = {
    np.dtype(name): number
    for name, number in {
        "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
        "float64": 11, "uint32": 12, "uint64": 13,
    }.items()
} | {bfloat16: 16}  # fmt: skip


class ExportError(ValueError):
    """A model, or a part of one, that cannot be written as ONNX."""


class Value(NamedTuple):
    """A tensor of the graph: its name, dtype, and shape in either run."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    other: tuple[int, ...]


class Graph:
    """Nodes and constants.  `graph.Relu(x)` adds a node and answers its output's name, `outs=2` a list of them."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}  # by name, TensorProtos
        self.op, self.place = "the model", None  # the call that nodes are added for
        self.near: list[Value] = []  # what it reads
        self.lasts: dict[str, str] = {}  # by the names of what ONNX has no tensor for, that of its last element
        self._names: set[str] = {""}
        self._count: dict[str, int] = {}
        self._known: tuple[dict[Any, Value], dict[Any, Value]] = {}, {}  # of either run, by where the array is
        self._equal: dict[Any, str] = {}  # constants by what they hold
        self._sizes: dict[
            tuple[int, int], tuple[str, int]
        ] = {}  # of either run -> the tensor and axis that had it first
        self._read: dict[tuple[str, int], str] = {}  # the lengths of axes that have been read

    # ------------------------------------------------------------------------------------------ names and nodes
    def free(self, wish: str) -> str:
        """A name that nothing has yet: `wish`, or with a number."""
        if wish and wish not in self._names:
            self._names.add(wish)
            return wish
        n = self._count[wish] = self._count.get(wish, 0) + 1
        return self.free(f"{wish}_{n}")

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if not kind[0].isupper():
            raise AttributeError(kind)
        return lambda *inputs, outs=1, **attributes: self._add(kind, inputs, outs, attributes)

    def _add(self, kind: str, inputs: Sequence[str | None], outs: int, attributes: dict[str, Any]) -> Any:
        made = [self.free(kind.lower()) for _ in range(outs)]
        given = [i or "" for i in inputs]
        while not given[-1]:  # the last ones are left out, those between are called ""
            given.pop()
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(self.onnx.helper.make_node(kind, given, made, name=made[0], **attributes))
        if self.place is not None:
            self.nodes[-1].doc_string = shown(self.place)
        return made[0] if outs == 1 else made

    def constant(self, a: Any, wish: str = "constant") -> str:
        """The name of a constant with these values; of equal ones the same."""
        a = np.asarray(a)
        key = a.dtype, a.shape, a.tobytes()
        if key not in self._equal:
            self._equal[key] = self.store(a, wish)
        return self._equal[key]

    def store(self, a: Any, wish: str) -> str:
        """The name of a new constant with the values of `a`, of any library."""
        host = np.ascontiguousarray(to_host(a)).reshape(a.shape)
        name = self.free(wish)
        if host.dtype not in TYPES:
            raise ExportError(f"{name} has dtype {host.dtype}, which ONNX does not have")
        proto = self.onnx.TensorProto(name=name, data_type=TYPES[host.dtype], dims=host.shape)
        proto.raw_data = (host if host.dtype.isnative else host.astype(host.dtype.newbyteorder())).tobytes()
        self.constants[name] = proto
        return name

    def ints(self, *numbers: int) -> str:
        """A constant vector of int64."""
        return self.constant(np.array(numbers, np.int64))

    # ------------------------------------------------------------------------------------------ values
    def bind(self, name: str, a: Any, b: Any) -> Value:
        """Say that `name` holds the arrays a and b of the two runs."""
        value = Value(name, np.dtype(a.dtype), tuple(a.shape), tuple(b.shape))
        self._known[0][where(a)] = self._known[1][where(b)] = value
        for axis, pair in enumerate(zip(value.shape, value.other)):
            if pair[0] != pair[1]:
                self._sizes.setdefault(pair, (name, axis))
        return value

    def known(self, a: Any) -> Value | None:
        """The value that array `a` of the first run is."""
        return self._known[0].get(where(a))

    def value(self, a: Any, b: Any) -> Value:
        """The value that the arrays of both runs are; a constant where they are equal.  ExportError elsewhere."""
        found, other = self.known(a), self._known[1].get(where(b))
        if found is not None and found == other:
            if found.name in self.lasts:
                raise self.error("reads the cells of all steps of an LSTM; of those ONNX has the last, cells[-1]")
            return found
        if found is not None or other is not None:
            raise self.error("reads another tensor in the second run")
        x, y = to_host(a), to_host(b)
        if x.dtype == y.dtype and x.shape == y.shape:
            if not np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
                raise self.error(
                    "reads an array that depends on the inputs and was made by no op of gpugrad's (by NumPy, or from "
                    ".item()?): write that part with gpugrad's ops"
                )
            return self.bind(self.constant(x), a, b)
        return self.bind(self._grown(x, y), a, b)

    def _grown(self, x: np.ndarray, y: np.ndarray) -> str:
        """What makes x where sizes are those of the first run, and y where they are those of the second."""
        if x.dtype == y.dtype and x.ndim == y.ndim and x.size and y.size:
            if (x == x.flat[0]).all() and (y == x.flat[0]).all():
                return self.Expand(self.constant(x.flat[0]), self.dims(x.shape, y.shape))
            if x.size == max(x.shape) and all([(a.reshape(-1) == np.arange(a.size)).all() for a in (x, y)]):
                stop = self.Squeeze(self.size(x.size, y.size))
                numbers = self.Range(self.constant(np.int64(0)), stop, self.constant(np.int64(1)))
                line = self.cast(numbers, np.dtype(np.int64), x.dtype)
                return line if x.ndim == 1 else self.Reshape(line, self.dims(x.shape, y.shape, free=True))
        raise self.error(
            f"reads an array of shape {x.shape} that has other values where a free size is another, {y.shape}. Make it "
            "by ops from gg.zeros, gg.ones or gg.arange, or once, as a buffer of the largest size, and slice it"
        )

    def has(self, a: int, b: int) -> bool:
        """Whether an axis has had the length a in the first run and b in the second."""
        return (a, b) in self._sizes

    def size(self, a: int, b: int) -> str:
        """A vector of one int64: the size that is a in the first run and b in the second.  ExportError if unknown."""
        if a == b:
            return self.ints(a)
        own = [(v.name, i) for v in self.near for i, pair in enumerate(zip(v.shape, v.other)) if pair == (a, b)]
        at = own[0] if own else self._sizes.get((a, b))
        if at is None:
            return self._product(a, b)
        if at not in self._read:
            self._read[at] = self.Shape(at[0], start=at[1], end=at[1] + 1)
        return self._read[at]

    def _product(self, a: int, b: int) -> str:
        """The size as a known one times, or over, a number, or times another known one."""
        for p, q in self._sizes:
            if a * q == b * p and a % p == 0:
                return self.Mul(self.size(p, q), self.ints(a // p))
            if a * q == b * p and p % a == 0:
                return self.Div(self.size(p, q), self.ints(p // a))
        for p, q in self._sizes:
            if a % p == 0 and b % q == 0 and (a // p, b // q) in self._sizes:
                return self.Mul(self.size(p, q), self.size(a // p, b // q))
        raise self.error(f"needs a size, {a} in the first run and {b} in the second, that no tensor before has")

    def dims(self, shape: Sequence[int], other: Sequence[int], free: bool = False) -> str:
        """A shape as a vector.  free: the only size that differs may be -1, as Reshape takes it."""
        if len(shape) != len(other):
            raise self.error(f"makes arrays of {len(shape)} axes in the first run and of {len(other)} in the second")
        if free and sum([a != b for a, b in zip(shape, other)]) == 1 and 0 not in shape:
            return self.ints(*[a if a == b else -1 for a, b in zip(shape, other)])
        if tuple(shape) == tuple(other):
            return self.ints(*shape)
        return self.Concat(*[self.size(a, b) for a, b in zip(shape, other)], axis=0)

    def cast(self, name: str, old: np.dtype, new: np.dtype) -> str:
        """The tensor in another dtype."""
        if new not in TYPES:
            raise self.error(f"has dtype {new}, which ONNX does not have")
        return name if old == new else self.Cast(name, to=TYPES[new])

    # ------------------------------------------------------------------------------------------ calls
    def error(self, what: str) -> ExportError:
        """What is wrong with the call that is being added."""
        place = f" at {shown(self.place)}" if self.place is not None else ""
        return ExportError(f"ONNX: {self.op}{place} {what}")

    def add(self, one: Sequence[Call], two: Sequence[Call], rows: dict[str, Callable[..., Any]]) -> None:
        """Add the calls of both runs, by the rows for their names; those without one by the calls inside them."""
        for a, b in zip(one, two):
            self.place, self.op = a.place, a.name
            if a.name != b.name:
                raise self.error(f"is {b.name} in the second run: a branch or a loop that goes by values or sizes")
            self._call(a, b, rows)
        if len(one) != len(two):
            raise self.error(f"is followed by {len(one)} calls in the first run, and by {len(two)} in the second")

    def _call(self, a: Call, b: Call, rows: dict[str, Callable[..., Any]]) -> None:
        arrays = [x for x in (*a.args, *_arrays(a.static)) if library(x) is not None]
        if not any([self.known(x) is not None for x in arrays]) and _same(a.outs, b.outs):
            return  # of constants: one itself, if anybody reads it
        row = rows.get(a.name)
        if row is None and a.inner:
            return self.add(a.inner, b.inner, rows)
        if row is None:
            raise self.error(
                "has no row for ONNX. Write it with ops that have one, or give it one: "
                f"gpugrad.interop.onnx.ROWS[{a.name!r}] = lambda graph, call: name of the output"
            )
        self.near = [v for x in arrays if (v := self.known(x)) is not None]
        made = row(self, Made(self, a, b))
        made = [made] if isinstance(made, str) else made
        for name, x, y in zip(made, a.outs, b.outs):
            if name is not None:
                self.bind(name, x, y)


class Made:
    """One call in both runs, as a row sees it: `call[0]` is its first input's name, in the dtype of the output."""

    def __init__(self, graph: Graph, one: Call, two: Call) -> None:
        self.graph, self.one, self.two = graph, one, two
        self.dtype = np.dtype(one.outs[0].dtype)
        self.shape, self.other = tuple(one.outs[0].shape), tuple(two.outs[0].shape)

    def __len__(self) -> int:
        return len(self.one.args)

    def __getitem__(self, i: int) -> Any:
        return self.input(i, self.dtype)

    def input(self, i: int, dtype: np.dtype | None = None) -> Any:
        """The name of input i, in this dtype (None: its own); None if it is None."""
        x, y = self.one.args[i], self.two.args[i]
        if x is None:
            return None
        if library(x) is None:
            if _same(x, y):
                return self.number(x, dtype or self.dtype)
            if isinstance(x, int) and self.graph.has(x, y):
                size = self.graph.Squeeze(self.graph.size(x, y))
                return self.graph.cast(size, np.dtype(np.int64), dtype or self.dtype)
            raise self.graph.error(f"is given {x!r} in the first run and {y!r} in the second: a number from the inputs")
        value = self.graph.value(x, y)
        return self.graph.cast(value.name, value.dtype, dtype or value.dtype)

    def value(self, i: int) -> Value:
        """Input i, an array."""
        return self.graph.value(self.one.args[i], self.two.args[i])

    def number(self, x: Any, dtype: np.dtype | None = None) -> str:
        """A constant number, of the output's dtype unless another is said."""
        return self.graph.constant(np.asarray(x, dtype or self.dtype))

    def __call__(self, name: str, f: Callable[[Any], Any] = lambda v: v) -> Any:
        """A static argument, or f of it.  ExportError if the runs do not agree."""
        x, y = f(self.one.static[name]), f(self.two.static[name])
        if not _same(x, y):
            raise self.graph.error(f"has {name}={x} in the first run and {y} in the second: it goes by values or sizes")
        return x


def _arrays(x: Any) -> list[Any]:
    """The arrays in static arguments."""
    if isinstance(x, (tuple, list)):
        return [a for v in x for a in _arrays(v)]
    if isinstance(x, dict):
        return [a for v in x.values() for a in _arrays(v)]
    return [x] if library(x) is not None else []


def _same(x: Any, y: Any) -> bool:
    """Whether two values, or nests of them, are equal."""
    if isinstance(x, (tuple, list)):
        return isinstance(y, (tuple, list)) and len(x) == len(y) and all(map(_same, x, y))
    if library(x) is not None and library(y) is not None:
        x, y = to_host(x), to_host(y)
        return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")
    return type(x) is type(y) and (x == y or (x != x and y != y))
