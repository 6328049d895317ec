"""The rows of `rows.py` for normalizations, windows, shapes and indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import to_host
from ..ops.places import parts
from .graph import Graph, Made, Value, unlike
from .rows import INT32, INT64, ROWS as ROWS, SAME, axes_of, reduce, row

_END = 2**62  # where a slice that goes to the end ends


# ---------------------------------------------------------------------------------------------- normalizations
@row("layer_norm", "rms_norm")
def _norm(g: Graph, c: Made) -> Any:
    columns = c.shape[-1]
    weight = c.number(np.ones(columns)) if c.one.args[1] is None else c[1]
    if c.one.name == "layer_norm":
        out = g.LayerNormalization(c[0], weight, c[2], axis=-1, epsilon=float(c("eps")))
    else:
        out = g.RMSNormalization(c[0], weight, axis=-1, epsilon=float(c("eps")))
        out = out if c.one.args[2] is None else g.Add(out, c[2])
    return (out, c[0]) if len(c.one.outs) > 1 else out


def _channels(c: Made) -> tuple[str, str]:
    """Weight and bias of the channels, ones and zeros where they are None."""
    n = c.shape[1]
    return (
        c.number(np.ones(n)) if c.one.args[1] is None else c[1],
        c.number(np.zeros(n)) if c.one.args[2] is None else c[2],
    )


@row("group_norm")
def _group_norm(g: Graph, c: Made) -> Any:
    groups, eps, n = c("groups"), float(c("eps")), len(c.shape)
    if groups == c.shape[1] and n > 2:
        return g.InstanceNormalization(c[0], *_channels(c), epsilon=eps)
    one, zero = c.number(np.ones(groups)), c.number(np.zeros(groups))
    rows = g.InstanceNormalization(g.Reshape(c[0], g.ints(0, groups, -1)), one, zero, epsilon=eps)
    weight, bias = [g.Reshape(name, g.ints(-1, *[1] * (n - 2))) for name in _channels(c)]
    return g.Add(g.Mul(g.Reshape(rows, g.dims(c.shapes, free=True)), weight), bias)


@row("batch_norm_inference")
def _batch_norm(g: Graph, c: Made) -> Any:
    running = [g.value(*[call.static[n] for call in c.calls]) for n in ("running_mean", "running_var")]
    names = [g.cast(v.name, v.dtype, c.dtype) for v in running]
    return g.BatchNormalization(c[0], *_channels(c), *names, epsilon=float(c("eps")))


@row("batch_norm")
def _batch_norm_of_batch(g: Graph, c: Made) -> Any:
    """By the batch's own statistics, which a model without running ones has in evaluation, too."""
    if c.one.static["running_mean"] is not None:
        raise g.error("moves its running statistics: export the model in evaluation, model.eval()")
    n = len(c.shape)
    over = [0, *range(2, n)]
    d = g.Sub(c[0], reduce(g, "ReduceMean", c[0], over, True))
    var = reduce(g, "ReduceMean", g.Mul(d, d), over, True)
    column = lambda name: g.Reshape(name, g.ints(-1, *[1] * (n - 2)))
    weight, bias = map(column, _channels(c))
    return g.Add(g.Mul(g.Div(d, g.Sqrt(g.Add(var, c.number(c("eps"))))), weight), bias)


@row("dropout", "dropout_add")
def _dropout(g: Graph, c: Made) -> Any:
    raise g.error("draws random numbers: export the model in evaluation, model.eval()")


# ---------------------------------------------------------------------------------------------- windows
def _pads(g: Graph, c: Made) -> list[int]:
    """Elements before and after each axis: after, whatever makes as many windows in all runs."""
    runs, after = [call.static["at"] for call in c.calls], []
    before = runs[0].before
    if unlike([at.before for at in runs]):
        raise g.error("has padding that goes by the free size of an axis ('same' with a stride?): pad by numbers")
    for i, b in enumerate(before):
        low = max([0, *[at.span[i] - at.size[i] - b for at in runs]])
        high = min([at.span[i] - at.size[i] - b + at.stride[i] - 1 for at in runs])
        ways = [b, b + runs[0].stride[i] - 1]  # as before, or as that with windows that begin inside and end outside
        if low == high or len({at.size[i] for at in runs}) == 1:
            ways.append(low)
        fit = [n for n in ways if low <= n <= high]
        if not fit:
            raise g.error("has padding that goes by the free size of an axis")
        after.append(fit[0])
    return [*before, *after]


def _windowed(g: Graph, c: Made) -> dict[str, Any]:
    """The attributes of a sliding window."""
    kernel, strides, dilations = [c("at", lambda at, n=n: getattr(at, n)) for n in ("kernel", "stride", "dilation")]
    return {"kernel_shape": kernel, "strides": strides, "dilations": dilations}


@row("conv", "conv_relu", "conv_sigmoid", "conv_tanh")
def _conv(g: Graph, c: Made) -> Any:
    out = g.Conv(c[0], c[1], c[2], pads=_pads(g, c), group=c("groups"), **_windowed(g, c))
    kind = c.one.name.removeprefix("conv_")
    return out if kind == "conv" else getattr(g, SAME[kind])(out)


@row("conv_input")
def _conv_transpose(g: Graph, c: Made) -> Any:
    before = c("at", lambda at: at.before)
    rest = c("at", lambda at: tuple([s - b - n for s, b, n in zip(at.span, at.before, at.size)]))
    pads = [*before, *[max(r, 0) for r in rest]]
    out = g.ConvTranspose(c[0], c[1], pads=pads, group=c("groups"), **_windowed(g, c))
    more = [0] * (4 + len(before)) + [max(-r, 0) for r in rest]  # beyond the last window there is nothing
    return g.Pad(out, g.ints(*more)) if any(more) else out


def _pooled(g: Graph, c: Made, kind: str, **options: Any) -> str:
    """Pooling, of arrays without a batch, too."""
    batched = len(c.shape) == len(c("at", lambda at: at.kernel)) + 2
    x = c[0] if batched else g.Unsqueeze(c[0], g.ints(0))
    out = getattr(g, kind)(x, pads=_pads(g, c), **_windowed(g, c), **options)
    return out if batched else g.Squeeze(out, g.ints(0))


@row("max_pool")
def _max_pool(g: Graph, c: Made) -> Any:
    if len(c.one.outs) > 1:
        raise g.error("with the places of the largest has no row")
    return _pooled(g, c, "MaxPool")


@row("mean_pool")
def _mean_pool(g: Graph, c: Made) -> Any:
    """The mean of whole windows, times what each window's share is of that."""
    if unlike([call.static["share"] for call in c.calls], np.array_equal):
        raise g.error("over an axis of a free size has no row with windows that are cut off, as ceil_mode makes them")
    times = np.asarray(c("share")) * math.prod(c("at", lambda at: at.kernel))
    mean = _pooled(g, c, "AveragePool", count_include_pad=1)
    return mean if np.all(times == 1) else g.Mul(mean, c.number(times))


@row("_places")
def _largest_places(g: Graph, c: Made) -> Any:
    """Where the largest of the windows of adaptive max pooling are: counted in the flattened last axes."""
    size = c("size")
    n, lead = len(size), len(c.shape) - len(size)
    x, lengths, wide = c.input(0), c.value(0).shape[lead:], []
    if not all([c.value(0).fixed(lead + i) for i in range(n)]):
        raise g.error("over an axis of a free size has no row")
    for i, (length, count) in enumerate(zip(lengths, size)):
        start = np.arange(count) * length // count
        many = -(-(np.arange(count) + 1) * length // count) - start
        index = start[:, None] + np.minimum(np.arange(many.max()), many[:, None] - 1)  # the last one again
        x = g.Gather(x, g.constant(index), axis=lead + 2 * i)
        wide.append((start, int(many.max())))
    x = g.Transpose(x, perm=[*range(lead), *range(lead, lead + 2 * n, 2), *range(lead + 1, lead + 2 * n, 2)])
    flat = g.Concat(g.dims(c.shapes), g.ints(math.prod([m for _, m in wide])), axis=0)
    rest, out, step = g.ArgMax(g.Reshape(x, flat), axis=-1, keepdims=0), g.ints(0), 1
    for i in reversed(range(n)):
        start, many = wide[i]
        at = g.Add(g.Mod(rest, g.ints(many)), g.constant(start.reshape(-1, *[1] * (n - 1 - i))))
        out, rest = g.Add(out, g.Mul(at, g.ints(step))), g.Div(rest, g.ints(many))
        step *= lengths[i]
    return g.cast(out, INT64, c.dtype)


# ---------------------------------------------------------------------------------------------- shapes
@row("reshape", "squeeze", "expand_dims")
def _reshape(g: Graph, c: Made) -> Any:
    return g.Reshape(c.input(0), g.dims(c.shapes, free=True))


@row("broadcast_to")
def _broadcast(g: Graph, c: Made) -> Any:
    return g.Expand(c.input(0), g.dims(c.shapes))


@row("permute_dims", "swapaxes", "matrix_transpose")
def _permute(g: Graph, c: Made) -> Any:
    order = list(range(len(c.shape)))
    if c.one.name == "permute_dims":
        order = [a % len(order) for a in c("axes")]
    else:
        i, j = (c("axis1"), c("axis2")) if c.one.name == "swapaxes" else (-1, -2)
        order[i], order[j] = order[j], order[i]
    return g.Transpose(c.input(0), perm=order)


@row("concat")
def _concat(g: Graph, c: Made) -> Any:
    return g.Concat(*[c[i] for i in range(len(c))], axis=c("axis"))


@row("split")
def _split(g: Graph, c: Made) -> Any:
    sizes = g.dims([call.static["sizes"] for call in c.calls])
    made = g.Split(c.input(0), sizes, outs=len(c.one.outs), axis=c("axis"))
    return [made] if isinstance(made, str) else made


@row("roll")
def _roll(g: Graph, c: Made) -> Any:
    shift, axis = c("shift"), c("axis")
    if axis is None or not isinstance(axis, int) or not isinstance(shift, int):
        raise g.error("along several axes, or none, has no row: roll one axis after the other")
    x = c.input(0)
    cut = lambda start, stop: g.Slice(x, g.ints(start), g.ints(stop), g.ints(axis))
    if not c.fixed(axis) or not 0 < abs(shift) < c.shape[axis]:
        raise g.error("of an axis of a free size, or by more than its length, has no row")
    return g.Concat(cut(-shift, _END), cut(0, -shift), axis=axis)


@row("diff")
def _diff(g: Graph, c: Made) -> Any:
    x, axis = c[0], g.ints(c("axis"))
    return g.Sub(g.Slice(x, g.ints(1), g.ints(_END), axis), g.Slice(x, g.ints(0), g.ints(-1), axis))


@row("argsort", "topk_places")
def _order(g: Graph, c: Made) -> Any:
    """By TopK, which of equal elements takes the first, as a stable sort."""
    axis, given = c("axis"), c.value(0)
    if c.one.name == "argsort":
        if not given.fixed(axis):
            raise g.error("of an axis of a free size has no row")
        count, largest = given.shape[axis], c("descending")
    else:
        count, largest = c("k"), c("largest")
    places = g.TopK(given.name, g.ints(count), outs=2, axis=axis, largest=int(largest), sorted=1)[1]
    return g.cast(places, INT64, c.dtype)


@row("tril", "triu")
def _triangle(g: Graph, c: Made) -> Any:
    return g.Trilu(c.input(0), g.constant(np.int64(c("k"))), upper=int(c.one.name == "triu"))


@row("flip")
def _flip(g: Graph, c: Made) -> Any:
    axes = axes_of(c)
    axes = list(range(len(c.shape))) if axes is None else axes
    n = len(axes)
    return g.Slice(c.input(0), g.ints(*[-1] * n), g.ints(*[-_END] * n), g.ints(*axes), g.ints(*[-1] * n))


@row("pad")
def _pad(g: Graph, c: Made) -> Any:
    width, value = c("width"), c("value")
    if np.ndim(value):
        raise g.error("with several constants has no row")
    return g.Pad(c[0], g.ints(*[a for a, _ in width], *[b for _, b in width]), c.number(value))


@row("rows_at")
def _rows_at(g: Graph, c: Made) -> Any:
    return g.Gather(c.input(0), g.constant(np.asarray(c("index"), np.int64)), axis=c("axis"))


@row("getitem")
def _getitem(g: Graph, c: Made) -> Any:
    found = g.known(c.one.args[0])
    if found is not None and found.name in g.lasts and (last := _last(g, c, found)) is not None:
        return last
    x = c.value(0)
    every = [_spelled(call.static["key"], len(x.shape)) for call in c.calls]
    keys = every[0]
    if unlike([[type(k) for k in some] for some in every]):
        raise g.error("takes another kind of index in another run: it goes by values or sizes")
    arrays = [i for i, k in enumerate(keys) if hasattr(k, "dtype")]
    if any([keys[i].dtype.kind == "b" for i in arrays]) or any([isinstance(k, bool) for k in keys]):
        raise g.error("by a mask makes as many elements as the mask has; write gg.where")
    name = _sliced(g, x.name, every)
    if not arrays:
        return _placed(g, name, keys)
    if [k for k in keys if k is None or isinstance(k, int)]:
        raise g.error("by arrays and by numbers or None at once has no row: index in two steps")
    indices = [g.value(*[k[i] for k in every]) for i in arrays]
    if len(arrays) == 1:
        return g.Gather(name, g.cast(indices[0].name, indices[0].dtype, INT64), axis=arrays[0])
    if arrays != list(range(len(arrays))):
        raise g.error("by several arrays that are not first has no row: move those axes to the front")
    shapes = [np.broadcast_shapes(*some) for some in zip(*[v.shapes for v in indices])]
    spread = [g.Expand(g.cast(v.name, v.dtype, INT64), g.dims(shapes)) for v in indices]
    return g.GatherND(name, g.Concat(*[g.Unsqueeze(i, g.ints(-1)) for i in spread], axis=-1))


def _last(g: Graph, c: Made, cells: Value) -> str | None:
    """The last cell of an LSTM, or that of each sequence by the numbers of its last step; None for other cells."""
    keys = [call.static["key"] for call in c.calls]
    if type(keys[0]) is int:
        ends = all([k in (-1, s[0] - 1) for k, s in zip(keys, cells.shapes)])
        return g.lasts[cells.name] if ends and (keys[0] == -1 or cells.fixed(0)) else None
    if not all([type(k) is tuple and len(k) == 2 and hasattr(k[0], "dtype") for k in keys]):
        return None
    if not all([np.array_equal(to_host(k[1]), np.arange(s[1])) for k, s in zip(keys, cells.shapes)]):
        return None
    made = {name: node for node in g.nodes for name in node.output}
    lstm = made[made[g.lasts[cells.name]].input[0]]
    ends = g.value(*[k[0] for k in keys])
    lengths = g.Add(g.cast(ends.name, ends.dtype, INT32), g.constant(np.int32(1)))
    inputs = [*lstm.input[:4], lengths, *lstm.input[5:]]  # once more: outputs behind the lengths may be asked for
    again = g.LSTM(*inputs, outs=3, **{a.name: g.onnx.helper.get_attribute_value(a) for a in lstm.attribute})
    return g.Squeeze(again[2], g.ints(0))


def _spelled(key: Any, ndim: int) -> list[Any]:
    """An index with a part for each axis, and None for new ones."""
    found = list(parts(key))
    used = sum([k is not None and k is not Ellipsis for k in found])
    rest = [slice(None)] * (ndim - used)
    at = next((i for i, k in enumerate(found) if k is Ellipsis), None)
    return found + rest if at is None else found[:at] + rest + found[at + 1 :]


def _sliced(g: Graph, name: str, every: list[list[Any]]) -> str:
    """The slices taken, by the indices of all runs; axes that a number selects are left with one element."""
    cuts: list[tuple[int, str, str, int]] = []
    for axis, keys in enumerate([ks for ks in zip(*every) if ks[0] is not None]):
        k = keys[0]
        if isinstance(k, int):
            cuts.append((axis, _bound(g, keys, 0), _after(g, keys), 1))
        elif isinstance(k, slice) and any([other != slice(None) for other in keys]):
            step = 1 if k.step is None else k.step
            if any([other.step != k.step for other in keys]):
                raise g.error("takes slices by a step that goes by values or sizes")
            first, last = (0, _END) if step > 0 else (_END, -_END)
            starts, stops = [[getattr(other, n) for other in keys] for n in ("start", "stop")]
            cuts.append((axis, _bound(g, starts, first), _bound(g, stops, last), step))
    if not cuts:
        return name
    axes, starts, stops, steps = zip(*cuts)
    join = lambda names: names[0] if len(names) == 1 else g.Concat(*names, axis=0)
    return g.Slice(name, join(starts), join(stops), g.ints(*axes), g.ints(*steps))


def _bound(g: Graph, bounds: Sequence[int | None], default: int) -> str:
    """Where a slice starts or stops in each run, as a vector of one."""
    found = [default if v is None else int(v) for v in bounds]
    return g.Neg(g.size(*[-v for v in found])) if len(set(found)) > 1 and max(found) < 0 else g.size(*found)


def _after(g: Graph, keys: Sequence[int]) -> str:
    """One after the element at a number; after the last, the end."""
    if len(set(keys)) == 1:
        return g.ints(_END if keys[0] == -1 else keys[0] + 1)
    return g.Add(_bound(g, keys, 0), g.ints(1))


def _placed(g: Graph, name: str, keys: list[Any]) -> str:
    """Without the axes that numbers selected, with those that None makes."""
    numbers = [i for i, k in enumerate([k for k in keys if k is not None]) if isinstance(k, int)]
    if numbers:
        name = g.Squeeze(name, g.ints(*numbers))
    new = [i for i, k in enumerate([k for k in keys if not isinstance(k, int)]) if k is None]
    return g.Unsqueeze(name, g.ints(*new)) if new else name
