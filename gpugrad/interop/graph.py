"""An ONNX graph that grows from several runs of a model, whose inputs differ in their values and in their free sizes.

What is equal in all runs is a constant.  A size that differs is read from the tensor that had it first.  An array that
differs, and that no recorded op has made, cannot be followed: an error, not a wrong constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..array import library, to_host
from ..dtypes import bfloat16, is_float, is_inexact
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
    """A tensor of the graph: its name, dtype, and shape in each run."""

    name: str
    dtype: np.dtype
    shapes: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[0]

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """For each axis its length in each run."""
        return list(zip(*self.shapes))

    def fixed(self, axis: int) -> bool:
        """Whether the axis has one length in all runs."""
        return len(set(self.sizes[axis])) == 1


class Graph:
    """Nodes and constants.  `graph.Relu(x)` adds a node and answers its output's name, `outs=2` a list of them."""

    def __init__(self, onnx: Any, runs: int) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}  # by name, TensorProtos
        self.op, self.place = "the model", None  # the call that nodes are added for
        self.near: list[Value] = []  # what it reads
        self.lasts: dict[str, str] = {}  # by the names of what ONNX has no tensor for, that of its last element
        self._names: set[str] = {""}
        self._count: dict[str, int] = {}
        self._known: list[dict[Any, Value]] = [{} for _ in range(runs)]  # of each run, by where the array is
        self._equal: dict[Any, str] = {}  # constants by what they hold
        self._sizes: dict[tuple[int, ...], tuple[str, int]] = {}  # of each run -> the tensor and axis that had it first
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
    def bind(self, name: str, *arrays: Any) -> Value:
        """Say that `name` holds these arrays, one of each run."""
        value = Value(name, np.dtype(arrays[0].dtype), tuple([tuple(a.shape) for a in arrays]))
        for known, a in zip(self._known, arrays):
            known[where(a)] = value
        for axis, sizes in enumerate(value.sizes):
            if not value.fixed(axis):
                self._sizes.setdefault(sizes, (name, axis))
        return value

    def known(self, a: Any) -> Value | None:
        """The value that array `a` of the first run is."""
        return self._known[0].get(where(a))

    def value(self, *arrays: Any) -> Value:
        """The value that the arrays of all runs are; a constant where they are equal.  ExportError elsewhere."""
        found = [known.get(where(a)) for known, a in zip(self._known, arrays)]
        first = found[0]
        if any([v != first for v in found]):
            raise self.error(f"reads another tensor in {nth(unlike(found))} run")
        if first is not None:
            if first.name in self.lasts:
                raise self.error("reads the cells of all steps of an LSTM; of those ONNX has the last, cells[-1]")
            return first
        xs = [to_host(a) for a in arrays]
        if all([x.dtype == xs[0].dtype and x.shape == xs[0].shape for x in xs]):
            if not all([np.array_equal(xs[0], x, equal_nan=is_float(x.dtype)) for x in xs]):
                raise self.error(
                    "reads an array that depends on the inputs, or on a free length, and was made by no op of "
                    "gpugrad's (by NumPy, or from .item()?): write that part with gpugrad's ops"
                )
            return self.bind(self.constant(xs[0]), *arrays)
        return self.bind(self._grown(xs), *arrays)

    def _grown(self, xs: list[np.ndarray]) -> str:
        """What makes each of xs where sizes are those of its run."""
        x = xs[0]
        if all([y.dtype == x.dtype and y.ndim == x.ndim and y.size for y in xs]):
            shapes = [y.shape for y in xs]
            if all([(y == x.flat[0]).all() for y in xs]):
                return self.Expand(self.constant(x.flat[0]), self.dims(shapes))
            if all([y.size == max(y.shape) and (y.reshape(-1) == np.arange(y.size)).all() for y in xs]):
                stop = self.Squeeze(self.size(*[y.size for y in xs]))
                numbers = self.Range(self.constant(np.int64(0)), stop, self.constant(np.int64(1)))
                line = self.cast(numbers, np.dtype(np.int64), x.dtype)
                return line if x.ndim == 1 else self.Reshape(line, self.dims(shapes, free=True))
        other = next(y.shape for y in xs if y.shape != x.shape or y.dtype != x.dtype)
        raise self.error(
            f"reads an array of shape {x.shape} that has other values where a free size is another, {other}. Make it "
            "by ops from gg.zeros, gg.ones or gg.arange, or once, as a buffer of the largest size, and slice it"
        )

    def has(self, *sizes: int) -> bool:
        """Whether an axis has had these lengths, one in each run."""
        return sizes in self._sizes

    def size(self, *sizes: int) -> str:
        """A vector of one int64: the size that is sizes[i] in run i.  ExportError if unknown."""
        if len(set(sizes)) == 1:
            return self.ints(sizes[0])
        own = [(v.name, i) for v in self.near for i, found in enumerate(v.sizes) if found == sizes]
        at = own[0] if own else self._sizes.get(sizes)
        if at is None:
            return self._product(sizes)
        if at not in self._read:
            self._read[at] = self.Shape(at[0], start=at[1], end=at[1] + 1)
        return self._read[at]

    def _product(self, sizes: tuple[int, ...]) -> str:
        """The size as a known one times, or over, a number (rounded down), or times another known one."""
        for known in self._sizes:
            times = sizes[0] // known[0] if known[0] else 0
            if times and sizes == tuple([k * times for k in known]):
                return self.Mul(self.size(*known), self.ints(times))
        for known in self._sizes:  # a number that divides the first: others would fit by chance
            over = known[0] // sizes[0] if sizes[0] > 0 and known[0] % sizes[0] == 0 else 0
            if over and sizes == tuple([k // over for k in known]):
                return self.Div(self.size(*known), self.ints(over))
        for known in self._sizes:
            rest = tuple([n // k if k and n % k == 0 else -1 for n, k in zip(sizes, known)])
            if rest in self._sizes:
                return self.Mul(self.size(*known), self.size(*rest))
        raise self.error(
            f"needs a size, {told(sizes)}, that no tensor before has. Sizes may be those of tensors, and times or over "
            "a number that divides the example's: not rounded up, nor what %, min or max make of them"
        )

    def dims(self, shapes: Sequence[Sequence[int]], free: bool = False) -> str:
        """A shape, of each run, as a vector.  free: the only size that differs may be -1, as Reshape takes it."""
        counts = [len(s) for s in shapes]
        if len(set(counts)) > 1:
            i = unlike(counts)
            raise self.error(f"makes arrays of {counts[0]} axes in the first run and of {counts[i]} in {nth(i)}")
        sizes = list(zip(*shapes))
        differ = [len(set(s)) > 1 for s in sizes]
        if free and sum(differ) == 1 and 0 not in shapes[0]:
            return self.ints(*[-1 if d else s[0] for d, s in zip(differ, sizes)])
        if not any(differ):
            return self.ints(*shapes[0])
        return self.Concat(*[self.size(*s) for s in sizes], axis=0)

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

    def add(self, runs: Sequence[Sequence[Call]], rows: dict[str, Callable[..., Any]]) -> None:
        """Add the calls of all runs, by the rows for their names; those without one by the calls inside them."""
        for calls in zip(*runs):
            names = [c.name for c in calls]
            self.place, self.op = calls[0].place, names[0]
            if i := unlike(names):
                raise self.error(f"is {names[i]} in {nth(i)} run: a branch or a loop that goes by values or sizes")
            self._call(calls, rows)
        counts = [len(calls) for calls in runs]
        if i := unlike(counts):
            raise self.error(f"is followed by {counts[0]} calls in the first run, and by {counts[i]} in {nth(i)}")

    def _call(self, calls: Sequence[Call], rows: dict[str, Callable[..., Any]]) -> None:
        a = calls[0]
        arrays = [x for x in (*a.args, *_arrays(a.static)) if library(x) is not None]
        if not any([self.known(x) is not None for x in arrays]) and all([_same(a.outs, b.outs) for b in calls]):
            return  # of constants: one itself, if anybody reads it
        row = rows.get(a.name)
        if row is None and a.inner:
            return self.add([c.inner for c in calls], rows)
        if row is None:
            raise self.error(
                "has no row for ONNX. Write it with ops that have one, or give it one: "
                f"gpugrad.interop.onnx.ROWS[{a.name!r}] = lambda graph, call: name of the output"
            )
        self.near = [v for x in arrays if (v := self.known(x)) is not None]
        made = row(self, Made(self, calls))
        made = [made] if isinstance(made, str) else made
        for name, *outs in zip(made, *[c.outs for c in calls]):
            if name is not None:
                self.bind(name, *outs)


class Made:
    """One call in all runs, as a row sees it: `call[0]` is its first input's name, in the dtype of the output."""

    def __init__(self, graph: Graph, calls: Sequence[Call]) -> None:
        self.graph, self.calls, self.one = graph, calls, calls[0]
        self.dtype = np.dtype(self.one.outs[0].dtype)
        self.shapes = [tuple(c.outs[0].shape) for c in calls]
        self.shape = self.shapes[0]

    def __len__(self) -> int:
        return len(self.one.args)

    def __getitem__(self, i: int) -> Any:
        return self.input(i, self.dtype)

    def input(self, i: int, dtype: np.dtype | None = None) -> Any:
        """The name of input i, in this dtype (None: its own); None if it is None."""
        xs = [c.args[i] for c in self.calls]
        if xs[0] is None:
            return None
        if library(xs[0]) is None:
            other = unlike(xs, _same)
            if not other:
                return self.number(xs[0], dtype or self.dtype)
            if isinstance(xs[0], int) and self.graph.has(*xs):
                size = self.graph.Squeeze(self.graph.size(*xs))
                return self.graph.cast(size, np.dtype(np.int64), dtype or self.dtype)
            raise self.graph.error(
                f"is given {xs[0]!r} in the first run and {xs[other]!r} in {nth(other)}: a number from the inputs"
            )
        value = self.graph.value(*xs)
        return self.graph.cast(value.name, value.dtype, dtype or value.dtype)

    def value(self, i: int) -> Value:
        """Input i, an array."""
        return self.graph.value(*[c.args[i] for c in self.calls])

    def fixed(self, axis: int) -> bool:
        """Whether this axis of the output has one length in all runs."""
        return len({s[axis] for s in self.shapes}) == 1

    def number(self, x: Any, dtype: np.dtype | None = None) -> str:
        """A constant number, of the output's dtype unless another is said."""
        return self.graph.constant(np.asarray(x, dtype or self.dtype))

    def __call__(self, name: str, f: Callable[[Any], Any] = lambda v: v) -> Any:
        """A static argument, or f of it.  ExportError if the runs do not agree."""
        xs = [f(c.static[name]) for c in self.calls]
        if i := unlike(xs, _same):
            raise self.graph.error(
                f"has {name}={xs[0]} in the first run and {xs[i]} in {nth(i)}: it goes by values or sizes"
            )
        return xs[0]


def unlike(xs: Sequence[Any], same: Callable[[Any, Any], bool] = lambda x, y: x == y) -> int:
    """The first run with another x than the first run's; 0 if there is none."""
    return next((i for i, x in enumerate(xs) if not same(xs[0], x)), 0)


def nth(run: int) -> str:
    return ("the first", "the second", "the third")[run]


def told(xs: Sequence[Any]) -> str:
    """What each run had: "2 in the first run, 5 in the second"."""
    return ", ".join([f"{x} in {nth(i)}{'' if i else ' run'}" for i, x in enumerate(xs)])


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
        return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=is_inexact(x.dtype))
    return type(x) is type(y) and (x == y or (x != x and y != y))
