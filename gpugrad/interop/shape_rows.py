"""The rows of `rows.py` for normalizations, windows, shapes and indices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops.places import parts
from .graph import Graph, Made
from .rows import INT64, ROWS as ROWS, axes_of, reduce, row

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
    return g.Add(g.Mul(g.Reshape(rows, g.dims(c.shape, c.other, free=True)), weight), bias)


@row("batch_norm_inference")
def _batch_norm(g: Graph, c: Made) -> Any:
    running = [g.value(c.one.static[n], c.two.static[n]) for n in ("running_mean", "running_var")]
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
    """Elements before and after each axis: after, whatever makes as many windows in both runs, as before if it can."""
    before, after = c("at", lambda at: at.before), []
    runs = [call.static["at"] for call in (c.one, c.two)]
    for i, b in enumerate(before):
        low = max([0, *[at.span[i] - at.size[i] - b for at in runs]])
        high = min([at.span[i] - at.size[i] - b + at.stride[i] - 1 for at in runs])
        if low > high:
            raise g.error("has padding that goes by the free size of an axis")
        after.append(min(max(b, low), high))
    return [*before, *after]


def _windowed(g: Graph, c: Made) -> dict[str, Any]:
    """The attributes of a sliding window."""
    kernel, strides, dilations = [c("at", lambda at, n=n: getattr(at, n)) for n in ("kernel", "stride", "dilation")]
    return {"kernel_shape": kernel, "strides": strides, "dilations": dilations}


@row("conv")
def _conv(g: Graph, c: Made) -> Any:
    return g.Conv(c[0], c[1], c[2], pads=_pads(g, c), group=c("groups"), **_windowed(g, c))


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
    times = np.asarray(c("share")) * math.prod(c("at", lambda at: at.kernel))
    mean = _pooled(g, c, "AveragePool", count_include_pad=1)
    return mean if np.all(times == 1) else g.Mul(mean, c.number(times))


@row("_places")
def _largest_places(g: Graph, c: Made) -> Any:
    """Where the largest of the windows of adaptive max pooling are: counted in the flattened last axes."""
    size = c("size")
    n, lead = len(size), len(c.shape) - len(size)
    x, lengths, wide = c.input(0), c.value(0).shape[lead:], []
    if lengths != c.value(0).other[lead:]:
        raise g.error("over an axis of a free size has no row")
    for i, (length, count) in enumerate(zip(lengths, size)):
        start = np.arange(count) * length // count
        many = -(-(np.arange(count) + 1) * length // count) - start
        index = start[:, None] + np.minimum(np.arange(many.max()), many[:, None] - 1)  # the last one again
        x = g.Gather(x, g.constant(index), axis=lead + 2 * i)
        wide.append((start, int(many.max())))
    x = g.Transpose(x, perm=[*range(lead), *range(lead, lead + 2 * n, 2), *range(lead + 1, lead + 2 * n, 2)])
    flat = g.Concat(g.dims(c.shape, c.other), g.ints(math.prod([m for _, m in wide])), axis=0)
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
    return g.Reshape(c.input(0), g.dims(c.shape, c.other, free=True))


@row("broadcast_to")
def _broadcast(g: Graph, c: Made) -> Any:
    return g.Expand(c.input(0), g.dims(c.shape, c.other))


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
    sizes = g.dims(c.one.static["sizes"], c.two.static["sizes"])
    made = g.Split(c.input(0), sizes, outs=len(c.one.outs), axis=c("axis"))
    return [made] if isinstance(made, str) else made


@row("roll")
def _roll(g: Graph, c: Made) -> Any:
    shift, axis = c("shift"), c("axis")
    if axis is None or not isinstance(axis, int) or not isinstance(shift, int):
        raise g.error("along several axes, or none, has no row: roll one axis after the other")
    x = c.input(0)
    cut = lambda start, stop: g.Slice(x, g.ints(start), g.ints(stop), g.ints(axis))
    if c.shape[axis] != c.other[axis] or not 0 < abs(shift) < c.shape[axis]:
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
        if given.shape[axis] != given.other[axis]:
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
    if found is not None and found.name in g.lasts and type(key := c("key")) is int and key in (-1, found.shape[0] - 1):
        if key == -1 or found.shape == found.other:
            return g.lasts[found.name]
    x = c.value(0)
    keys, others = [_spelled(call.static["key"], len(x.shape)) for call in (c.one, c.two)]
    arrays = [i for i, k in enumerate(keys) if hasattr(k, "dtype")]
    if any([keys[i].dtype.kind == "b" for i in arrays]) or any([isinstance(k, bool) for k in keys]):
        raise g.error("by a mask makes as many elements as the mask has; write gg.where")
    name = _sliced(g, x.name, keys, others)
    if not arrays:
        return _placed(g, name, keys)
    if [k for k in keys if k is None or isinstance(k, int)]:
        raise g.error("by arrays and by numbers or None at once has no row: index in two steps")
    indices = [g.value(keys[i], others[i]) for i in arrays]
    if len(arrays) == 1:
        return g.Gather(name, g.cast(indices[0].name, indices[0].dtype, INT64), axis=arrays[0])
    if arrays != list(range(len(arrays))):
        raise g.error("by several arrays that are not first has no row: move those axes to the front")
    shape, other = [np.broadcast_shapes(*[getattr(v, n) for v in indices]) for n in ("shape", "other")]
    spread = [g.Expand(g.cast(v.name, v.dtype, INT64), g.dims(shape, other)) for v in indices]
    return g.GatherND(name, g.Concat(*[g.Unsqueeze(i, g.ints(-1)) for i in spread], axis=-1))


def _spelled(key: Any, ndim: int) -> list[Any]:
    """An index with a part for each axis, and None for new ones."""
    found = list(parts(key))
    used = sum([k is not None and k is not Ellipsis for k in found])
    rest = [slice(None)] * (ndim - used)
    at = next((i for i, k in enumerate(found) if k is Ellipsis), None)
    return found + rest if at is None else found[:at] + rest + found[at + 1 :]


def _sliced(g: Graph, name: str, keys: list[Any], others: list[Any]) -> str:
    """The slices taken; axes that a number selects are left with one element."""
    cuts: list[tuple[int, str, str, int]] = []
    pairs = [(k, o) for k, o in zip(keys, others) if k is not None]
    for axis, (k, o) in enumerate(pairs):
        if isinstance(k, int):
            cuts.append((axis, _bound(g, k, o, 0), _after(g, k, o), 1))
        elif isinstance(k, slice) and k != slice(None):
            step = 1 if k.step is None else k.step
            first, last = (0, _END) if step > 0 else (_END, -_END)
            cuts.append((axis, _bound(g, k.start, o.start, first), _bound(g, k.stop, o.stop, last), step))
    if not cuts:
        return name
    axes, starts, stops, steps = zip(*cuts)
    join = lambda names: names[0] if len(names) == 1 else g.Concat(*names, axis=0)
    return g.Slice(name, join(starts), join(stops), g.ints(*axes), g.ints(*steps))


def _bound(g: Graph, a: int | None, b: int | None, default: int) -> str:
    """Where a slice starts or stops, as a vector of one."""
    a, b = [default if v is None else int(v) for v in (a, b)]
    if a == b:
        return g.ints(a)
    return g.size(a, b) if a > 0 else g.Neg(g.size(-a, -b))


def _after(g: Graph, a: int, b: int) -> str:
    """One after the element at a number; after the last, the end."""
    return g.ints(_END) if a == b == -1 else g.ints(a + 1) if a == b else g.Add(_bound(g, a, b, 0), g.ints(1))


def _placed(g: Graph, name: str, keys: list[Any]) -> str:
    """Without the axes that numbers selected, with those that None makes."""
    numbers = [i for i, k in enumerate([k for k in keys if k is not None]) if isinstance(k, int)]
    if numbers:
        name = g.Squeeze(name, g.ints(*numbers))
    new = [i for i, k in enumerate([k for k in keys if not isinstance(k, int)]) if k is None]
    return g.Unsqueeze(name, g.ints(*new)) if new else name
