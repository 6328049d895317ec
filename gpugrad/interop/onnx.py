"""ONNX files of models: the ops that a model calls, written down as they run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..array import device_of, to_host
from ..autograd import no_grad
from ..core import Tensor, raw, wrap
from ..dtypes import is_float
from ..nn.module import Module
from ..origin import shown
from ..replacing import replace
from ..tensor import tensor
from .calls import Run, run
from .graph import TYPES, ExportError as ExportError, Graph
from .recurrent_rows import ROWS as ROWS

OPSET, IR = 23, 10  # ONNX 1.18 of 2025; what onnxruntime 1.22 and later run
_LIMIT = 2**31 - 1  # bytes of a protobuf file
_GROWTH = (2, 3, 5, 7)  # times which free sizes grow in the second run, each another


def export(
    model: Callable[..., Any],
    inputs: Any,
    path: str | os.PathLike[str],
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    batch_axis: int | None = 0,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write `model` as an ONNX file of opset 23: whole, or not at all.

    inputs        an example of the model's input, or a tuple of them: arrays or Tensors; values do not matter
    input_names, output_names   None: "input", "output", of several with a number
    batch_axis    the axis of all inputs that may have any length, called "batch"; None: no axis
    dynamic_axes  more of them: {name of an input: {axis: name of the length}}; equal names are equal lengths
    Parameters and buffers are constants under their names in the model, which is run twice, in evaluation, with
    other values and lengths: what differs must come from ops.  A Python branch or loop that goes by values is written
    as it went, and one that goes by a free length is an error.
    ExportError, a ValueError that names the op and the line, for what cannot be written.
    """
    onnx = _onnx()
    examples = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    names = _names("input", input_names, len(examples))
    free = _free(names, [np.shape(raw(x)) for x in examples], batch_axis, dynamic_axes or {})
    first, second = _examples(examples, free)
    one = _run(model, first)
    try:
        two = _run(model, second)
    except Exception as e:
        e.add_note(
            "This was the second run of gpugrad's ONNX export: the example's values in another order, and longer free "
            "axes. A model that takes one length only is exported with batch_axis=None."
        )
        raise
    g = Graph(onnx)
    given = [g.bind(g.free(name), a, b) for name, a, b in zip(names, map(raw, first), map(raw, second))]
    _parameters(g, model)
    g.add(one.calls, two.calls, ROWS)
    g.place, g.op, g.near = None, "the model's output", []
    wanted = _names("output", output_names, len(one.out))
    made = [g.value(a, b) for a, b in zip(one.out, two.out)]
    if len(one.out) != len(two.out):
        raise ExportError(
            f"ONNX: the model has {len(one.out)} outputs in the first run, and {len(two.out)} in the second"
        )
    _warn(g, {v.name for v in given}, one)
    outputs = [g.free(name) for name in wanted]
    for name, value in zip(outputs, made):
        g.nodes.append(onnx.helper.make_node("Identity", [value.name], [name], name=name))
    lengths = _Lengths(free, given)
    proto = onnx.helper.make_graph(
        _used(g, outputs),
        type(model).__name__,
        [_info(onnx, v.name, v, lengths) for v in given],
        [_info(onnx, name, v, lengths) for name, v in zip(outputs, made)],
    )
    read = {i for node in proto.node for i in node.input}
    proto.initializer.extend([p for name, p in g.constants.items() if name in read])
    _write(onnx, proto, path)


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError('ONNX files need onnx: pip install "gpugrad[onnx]"') from None
    return onnx


def _names(what: str, given: Sequence[str] | None, n: int) -> list[str]:
    if given is None:
        return [what] if n == 1 else [f"{what}_{i}" for i in range(n)]
    names = [given] if isinstance(given, str) else list(given)
    if len(names) != n or len(set(names)) < n or not all([isinstance(s, str) and s for s in names]):
        raise ValueError(f"{what}_names: {n} different names, that are not empty, are needed; given {names}")
    return names


# ---------------------------------------------------------------------------------------------- two runs
def _free(
    names: list[str], shapes: list[tuple[int, ...]], batch: int | None, more: Mapping[str, Mapping[int, str]]
) -> list[dict[int, str]]:
    """For each input axis -> what its free length is called.  ValueError for axes that are not there."""
    free: list[dict[int, str]] = []
    if unknown := sorted(set(more) - set(names)):
        raise ValueError(f"dynamic_axes: {unknown[0]!r} is none of the inputs {names}")
    for name, shape in zip(names, shapes):
        axes = {} if batch is None or not -len(shape) <= batch < len(shape) else {batch % len(shape): "batch"}
        for axis, length in more.get(name, {}).items():
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"dynamic_axes: {name} has {len(shape)} axes, and no axis {axis}")
            axes[axis % len(shape)] = length
        free.append(axes)
    return free


def _examples(examples: tuple[Any, ...], free: list[dict[int, str]]) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs of both runs: copies; and others: in another order, floats smaller, free axes longer."""
    lengths = list(dict.fromkeys([name for axes in free for name in axes.values()]))
    if len(lengths) > len(_GROWTH):
        raise ValueError(f"at most {len(_GROWTH)} different free lengths; given {lengths}")
    first, second = [], []
    seen: dict[str, int] = {}
    for x, axes in zip(examples, free):
        t = x if isinstance(x, Tensor) else tensor(x)
        a = b = np.array(to_host(t.array))
        if a.dtype not in TYPES:
            raise ValueError(f"an input has dtype {a.dtype}, which ONNX does not have")
        if not a.size:
            raise ValueError(f"an example input has the shape {a.shape}: it needs elements")
        for axis, name in axes.items():
            if seen.setdefault(name, a.shape[axis]) != a.shape[axis]:
                raise ValueError(f"the examples have two lengths called {name!r}: {seen[name]} and {a.shape[axis]}")
            if a.shape[axis] == 1:  # which would broadcast
                a = b = a.repeat(2, axis)
            b = np.concatenate([b] * _GROWTH[lengths.index(name)], axis)
        b = np.flip(b) * b.dtype.type(0.75) if is_float(b.dtype) else np.flip(b)
        for values, out in ((a, first), (b, second)):
            out.append(wrap(tensor(np.array(values), device=device_of(t.array)).array, None, t.kind))
    return first, second


def _run(model: Any, inputs: list[Tensor]) -> Run:
    """The model's outputs, a list of arrays, and the calls that made them, in evaluation."""
    modes = [(m, m.training) for m in model.modules()] if isinstance(model, Module) else []
    for m, _ in modes:
        m.training = False
    try:
        with no_grad():
            out, calls, left = run(lambda: model(*inputs))
    finally:
        for m, mode in modes:
            m.training = mode
    outs = _flat(out)
    if not outs or not all([isinstance(o, Tensor) for o in outs]):
        kinds = ", ".join([type(o).__name__ for o in outs])
        raise ExportError(f"ONNX: a model answers a Tensor, or a tuple of Tensors; this one ({kinds})")
    return Run([raw(o) for o in outs], calls, left)


def _flat(out: Any) -> list[Any]:
    """The outputs in a nest of tuples, without None."""
    if isinstance(out, (tuple, list)):
        return [o for part in out for o in _flat(part)]
    return [] if out is None else [out]


def _parameters(g: Graph, model: Any) -> None:
    """Make the model's parameters and buffers constants of the graph, under their names."""
    if isinstance(model, Module):
        for name, t in {**model.state(), **dict(model.named_buffers())}.items():
            g.bind(g.store(t.array, name), t.array, t.array)


def _warn(g: Graph, inputs: set[str], run: Run) -> None:
    """A warning for each line at which values that depend on the inputs left for Python."""
    depend = set(inputs)
    for node in g.nodes:
        if depend & set(node.input):
            depend |= set(node.output)
    for line in dict.fromkeys([shown(at) for a, at in run.left if (v := g.known(a)) is not None and v.name in depend]):
        warnings.warn(
            f"{line}: values that depend on the inputs became Python's or NumPy's (if, .item(), .numpy()). What comes "
            "of them is written into the ONNX file as it was for these inputs.",
            stacklevel=3,
        )


# ---------------------------------------------------------------------------------------------- the file
def _used(g: Graph, outputs: list[str]) -> list[Any]:
    """The nodes that lead to an output."""
    wanted, out = set(outputs), []
    for node in reversed(g.nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            out.append(node)
    return out[::-1]


class _Lengths:
    """What a size is called that is one length in the first run and another in the second."""

    def __init__(self, free: list[dict[int, str]], given: list[Any]) -> None:
        self.names = {
            (v.shape[axis], v.other[axis]): name for axes, v in zip(free, given) for axis, name in axes.items()
        }

    def of(self, a: int, b: int) -> int | str | None:
        """A number, a name, or None for what has neither."""
        return a if a == b else self.names.get((a, b))


def _info(onnx: Any, name: str, v: Any, lengths: _Lengths) -> Any:
    shape = [lengths.of(a, b) for a, b in zip(v.shape, v.other)]
    return onnx.helper.make_tensor_value_info(name, TYPES[v.dtype], shape)


def _write(onnx: Any, graph: Any, path: str | os.PathLike[str]) -> None:
    size = sum([len(p.raw_data) for p in graph.initializer])
    if size > _LIMIT:
        raise ExportError(f"ONNX: the weights are {size} bytes, and a file has at most {_LIMIT}")
    model = onnx.helper.make_model(
        graph,
        producer_name="gpugrad",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()

    def write(aside: str) -> None:
        with open(aside, "wb") as f:
            f.write(data)

    replace(path, write)
