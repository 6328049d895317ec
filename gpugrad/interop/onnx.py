"""ONNX files of models: the ops that a model calls, written down as they run."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..array import device_of, to_host
from ..autograd import no_grad
from ..core import Tensor, raw, wrap
from ..dtypes import is_float
from ..files import install
from ..nn.holder import waiting
from ..nn.module import Module
from ..origin import shown
from ..replacing import replace
from ..tensor import tensor
from .calls import Run, run
from .graph import TYPES, ExportError as ExportError, Graph, nth, unlike
from .recurrent_rows import ROWS as ROWS

OPSET, IR = 23, 10  # ONNX 1.18 of 2025; what onnxruntime 1.22 and later run
_LIMIT = 2**31 - 1  # bytes of a protobuf file
_NAMES = 4  # different free lengths
_STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24, 28, 32, 64)  # what lengths may have to be multiples of


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
    Parameters and buffers are constants under their names in the model, which is run three times, in evaluation, with
    other values and lengths: what differs must come from ops.  A Python branch or loop that goes by values is written
    as it went, and one that goes otherwise at another of those lengths is an error.
    ExportError, a ValueError that names the op and the line, for what cannot be written.
    """
    onnx = _onnx()
    examples = inputs if isinstance(inputs, tuple) else (inputs,)
    names = _names("input", input_names, len(examples))
    free = _free(names, [np.shape(raw(x)) for x in examples], batch_axis, dynamic_axes or {})
    first = _first(examples, free, getattr(model, "takes", Tensor))
    if isinstance(model, Module) and any(map(waiting, model.modules())):
        _run(model, first)  # which makes parameters, and would be seen to
    given_to, runs = _runs(model, first, free)
    one = runs[0]
    g = Graph(onnx, len(runs))
    given = [g.bind(g.free(name), *map(raw, xs)) for name, *xs in zip(names, *given_to)]
    wanted = _names("output", output_names, len(one.out))
    if both := sorted(set(wanted) & set(names)):
        raise ValueError(f"an input and an output are called {both[0]!r}; give them different names")
    outputs = [g.free(name) for name in wanted]
    _parameters(g, model, len(runs))
    g.add([r.calls for r in runs], ROWS)
    g.place, g.op, g.near = None, "the model's output", []
    made = [g.value(*outs) for outs in zip(*[r.out for r in runs])]
    if i := unlike(counts := [len(r.out) for r in runs]):
        raise ExportError(f"ONNX: the model has {counts[0]} outputs in the first run, and {counts[i]} in {nth(i)}")
    _warn(g, {v.name for v in given}, one)
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
        raise ImportError(f"ONNX files need onnx: {install('onnx')}") from None
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


def _first(examples: tuple[Any, ...], free: list[dict[int, str]], kind: type[Tensor]) -> list[Tensor]:
    """The inputs of the first run: copies, with two elements on free axes of one, which would broadcast.

    Of a class that the model's front door has.
    """
    first = []
    seen: dict[str, int] = {}
    for x, axes in zip(examples, free):
        t = x if isinstance(x, kind) else wrap(raw(tensor(x)), None, kind)
        a = np.array(to_host(t.array))
        if a.dtype not in TYPES:
            raise ValueError(f"an input has dtype {a.dtype}, which ONNX does not have")
        if not a.size:
            raise ValueError(f"an example input has the shape {a.shape}: it needs elements")
        for axis, name in axes.items():
            if seen.setdefault(name, a.shape[axis]) != a.shape[axis]:
                raise ValueError(f"the examples have two lengths called {name!r}: {seen[name]} and {a.shape[axis]}")
            if a.shape[axis] == 1:
                a = a.repeat(2, axis)
        first.append(_like(t, a))
    if len(seen) > _NAMES:
        raise ValueError(f"at most {_NAMES} different free lengths; given {list(seen)}")
    return first


def _runs(model: Any, first: list[Tensor], free: list[dict[int, str]]) -> tuple[list[list[Tensor]], list[Run]]:
    """The inputs and the runs: three, or two where no length is free.

    The lengths of the second and the third differ from those of the first by numbers without a common divisor, so
    that what is rounded shows.  A model that refuses them may take multiples of 2, 3, ... or of its example's only.
    """
    one = _run(model, first)
    lengths = {name: t.shape[axis] for t, axes in zip(first, free) for axis, name in axes.items()}
    if not lengths:
        second = _other(first, free, {}, 1)
        return [first, second], [one, _run(model, second)]
    failed: Exception | None = None
    seen: list[dict[str, int]] = []
    for step in (*_STEPS, None):
        longer, *thirds = [dict(zip(lengths, some)) for some in zip(*_lengths(lengths.values(), step))]
        if longer in seen:
            continue
        seen.append(longer)
        try:
            second = _other(first, free, longer, 1)
            two = _run(model, second)
        except Exception as e:
            failed = failed or e
            continue
        for more in thirds:
            try:
                third = _other(first, free, more, 2)
                return [first, second, third], [one, two, _run(model, third)]
            except Exception as e:
                failed = failed or e
    assert failed is not None
    failed.add_note(
        "This was a later run of gpugrad's ONNX export: free axes with other lengths, and other values than the "
        "example's. A model that takes one length only is exported with batch_axis=None."
    )
    raise failed


def _lengths(first: Iterable[int], step: int | None) -> Iterator[tuple[int, int, int]]:
    """For each free length a longer one, a shorter one (if there is), and one that is longer yet."""
    for i, n in enumerate(first):
        d = n if step is None else step if step < n else math.gcd(step, n)
        count = -(-n // d)
        up, down = count * (i + 1) + 1, min(max(2 * count // 3 - i, 1), (n - 2) // d)
        while down > 1 and math.gcd(up, down) > 1:
            down -= 1
        more = 2 * up + 1  # which has no divisor that `up` has
        yield n + up * d, n - down * d if down > 0 else n + more * d, n + more * d


def _other(first: list[Tensor], free: list[dict[int, str]], lengths: dict[str, int], seed: int) -> list[Tensor]:
    """Inputs with these lengths and other values: floats of that size, integers and bools that are as valid."""
    draw, out = np.random.default_rng(seed), []
    for t, axes in zip(first, free):
        a = to_host(t.array)
        for axis, name in axes.items():
            a = np.take(a, np.arange(lengths[name]) % a.shape[axis], axis)
        if is_float(a.dtype):
            wide = a.astype(np.float64)
            scale = np.abs(wide[np.isfinite(wide)]).max(initial=0) or 1.0
            a = (np.flip(wide) * 0.75 + draw.random(a.shape) * (scale / 4)).astype(a.dtype)
        else:  # every one another than there was
            low, high = int(a.min()), int(a.max())
            if low == high:  # ids count from 0
                low, high = min(low, 0), max(high, 1 if low == 0 else 0)
            many = high - low + 1
            a = (low + (a.astype(np.int64) - low + draw.integers(1, many, a.shape)) % many).astype(a.dtype)
        out.append(_like(t, a))
    return out


def _like(t: Tensor, values: np.ndarray) -> Tensor:
    """A tensor of these values, on the device of t and of its kind."""
    return wrap(tensor(np.array(values), device=device_of(t.array)).array, None, t.kind)


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


def _parameters(g: Graph, model: Any, runs: int) -> None:
    """Make the model's parameters and buffers constants of the graph, under their names."""
    if isinstance(model, Module):
        for name, t in {**model.state(), **dict(model.named_buffers())}.items():
            g.bind(g.store(t.array, name), *[t.array] * runs)


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
    """What a size is called that has another length in each run."""

    def __init__(self, free: list[dict[int, str]], given: list[Any]) -> None:
        self.names = {v.sizes[axis]: name for axes, v in zip(free, given) for axis, name in axes.items()}

    def of(self, sizes: tuple[int, ...]) -> int | str | None:
        """A number, a name, or None for what has neither."""
        return sizes[0] if len(set(sizes)) == 1 else self.names.get(sizes)


def _info(onnx: Any, name: str, v: Any, lengths: _Lengths) -> Any:
    shape = [lengths.of(sizes) for sizes in v.sizes]
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
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ExportError(f"ONNX: a row made a node that is none: {e}") from None
    data = model.SerializeToString()

    def write(aside: str) -> None:
        with open(aside, "wb") as f:
            f.write(data)

    replace(path, write)
