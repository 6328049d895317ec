"""Floor 6: operators and methods of Tensor, creation functions, Variable, Parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import array as _array, autograd, dtypes as _dtypes
from .array import Device, asarray, default_device, library, placing
from .core import Tensor, raw, wrap
from .dlpack import dlpack_device, to_dlpack
from .dtypes import DTypeLike, as_dtype, default_float
from .forward import explain, pair, size_of
from .habits import METHODS, Missing, unknown
from .hooks import exhausting
from .levels import Traced, innermost
from .ops import casting, choice, index, linalg, logic, math, reduce, rounding, scan, scatter, shape
from .origin import BRANCH, LEFT, STOPPED, left, logs
from .recording import lost


# ---------------------------------------------------------------------------------------------- creation
def tensor(
    value: Any, dtype: DTypeLike = None, device: str | Device | None = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor of `value`: a number, nested lists of numbers, an array, or a Tensor (whose values it takes).

    Python floats become float32, integers int32; arrays keep their dtype.  An array of the right dtype and device is
    shared, not copied.  `requires_grad`: a leaf of the graph, whose `.grad` backward() fills.
    """
    given: Any = value
    if isinstance(value, Tensor):
        value = casting.view(value.array)
    elif isinstance(value, (list, tuple)) and _has_tensor(value):
        parts = [tensor(v) for v in value]
        inside = innermost(parts) is not None
        value = shape.stack([*map(raw, parts)]) if inside else np.stack([*map(to_numpy, parts)])
    with exhausting("tensor"):
        data = asarray(value, dtype, device)
    # A tape tells values apart by the array object: two tensors of one array must not share it.
    t = lost(wrap(casting.view(data) if data is value else data), "tensor", (given,), STOPPED)
    return autograd.require_grad(t) if requires_grad else t


def _has_tensor(value: Any) -> bool:
    return any([isinstance(v, Tensor) or (isinstance(v, (list, tuple)) and _has_tensor(v)) for v in value])


def _made(name: str, device: str | Device | None, requires_grad: bool, *args: Any, **kw: Any) -> Tensor:
    d = default_device() if device is None else _array.device(device)
    with exhausting(name), d.library.scope(d):
        t = wrap(d.library.asarray(getattr(d.library.xp, name)(*args, **kw), None, d))
    return autograd.require_grad(t) if requires_grad else t


def _plan(name: str, shape: Any, dtype: DTypeLike) -> tuple[Any, np.dtype]:
    if isinstance(dtype, (int, np.integer)):
        lengths = *np.ravel(shape).tolist(), int(dtype)
        raise TypeError(f"the shape is one tuple. Write gg.{name}({lengths}), with its other lengths")
    return size_of(shape), as_dtype(dtype or default_float())


def zeros(
    shape: Any, dtype: DTypeLike = None, device: str | Device | None = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor of zeros."""
    return _made("zeros", device, requires_grad, *_plan("zeros", shape, dtype))


def ones(
    shape: Any, dtype: DTypeLike = None, device: str | Device | None = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor of ones."""
    return _made("ones", device, requires_grad, *_plan("ones", shape, dtype))


def full(shape: Any, fill_value: Any, dtype: DTypeLike = None, device: str | Device | None = None) -> Tensor:
    """A Tensor filled with one number."""
    value = raw(tensor(fill_value, dtype, "cpu"))
    return _made("full", device, False, size_of(shape), value.item(), value.dtype)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: DTypeLike = None, device: Any = None
) -> Tensor:
    """start, start + step, … up to but without stop; integers unless an argument is a float."""
    args = (0, start, step) if stop is None else (start, stop, step)
    if all([isinstance(a, (int, np.integer)) for a in args]):
        kind = _dtypes.int32 if -(2**31) <= min(args[:2]) and max(args[:2]) < 2**31 else _dtypes.int64
    else:
        kind = default_float()
    return _made("arange", device, False, *args, dtype=as_dtype(dtype or kind))


def linspace(start: float, stop: float, num: int, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """`num` equally spaced numbers from start to stop, both included."""
    return _made("linspace", device, False, start, stop, num, dtype=as_dtype(dtype or default_float()))


def eye(n: int, m: int | None = None, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """The identity matrix."""
    return _made("eye", device, False, n, m, dtype=as_dtype(dtype or default_float()))


def _like(name: str, doc: str) -> Callable[..., Tensor]:
    def f(x: Any, dtype: DTypeLike = None) -> Tensor:
        a = raw(x) if isinstance(x, Tensor) or library(x) is not None else raw(tensor(x))
        with exhausting(name):
            out = getattr(_array.xp(a), name)(a, dtype=a.dtype if dtype is None else as_dtype(dtype))
        return wrap(out, None, x.kind if isinstance(x, Tensor) else Tensor)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = doc
    return f


zeros_like = _like("zeros_like", "Zeros in the shape, dtype and device of x.")
ones_like = _like("ones_like", "Ones in the shape, dtype and device of x.")


def full_like(x: Any, fill_value: float, dtype: DTypeLike = None) -> Tensor:
    """One number in the shape, dtype and device of x."""
    zeros = zeros_like(x, dtype)
    return wrap(zeros.array + zeros.array.dtype.type(fill_value), None, zeros.kind)


# ---------------------------------------------------------------------------------------------- leaving
def to_numpy(t: Any) -> np.ndarray:
    """The values as a NumPy array; they leave the graph."""
    if logs:
        left(t, LEFT)
    return _array.to_host(raw(t))


def item(t: Tensor) -> Any:
    """The one element as a Python number.  RuntimeError if there are more, or none."""
    if t.array.size != 1:
        raise RuntimeError(
            f"a Tensor with {t.array.size} elements cannot be converted to Scalar; item() needs exactly one. "
            "Use .numpy() or .tolist()."
        )
    return to_numpy(t).item()


def _to_array(t: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    return np.array(to_numpy(t), dtype=dtype, copy=copy) if copy else np.asarray(to_numpy(t), dtype=dtype)


def _leave(t: Tensor, func: Any, types: Any, args: tuple, kw: dict[str, Any]) -> Any:
    """np.f(tensor) leaves the graph: NumPy's function on the values."""
    host = lambda v: to_numpy(v) if isinstance(v, Tensor) else type(v)(map(host, v)) if type(v) in (list, tuple) else v
    return func(*[host(a) for a in args], **{k: host(v) for k, v in kw.items()})


def _bool(t: Tensor) -> bool:
    if t.array.size != 1:
        p = t.prefix
        raise RuntimeError(f"Boolean value of Tensor with more than one value is ambiguous; use {p}any(t) or {p}all(t)")
    if logs:
        left(t, BRANCH)
    return bool(_array.to_host(t.array).item())


def _repr(t: Tensor) -> str:
    if isinstance(t.array, Traced):
        return f"tensor({t.array!r})"
    values = _array.to_host(t.array)
    if values.dtype == _dtypes.bfloat16:  # NumPy prints its whole numbers as if they were integers
        values = values.astype(np.float32)
    body = np.array2string(values, separator=", ", prefix="tensor(", threshold=1000)
    extra = "" if t.array.dtype == np.dtype("float32") else f", dtype={t.array.dtype}"
    if _array.device_of(t.array).kind != "cpu":
        extra += f", device='{_array.device_of(t.array)}'"
    if t.node is not None and t.node.op is not None:
        extra += f", grad_fn=<{t.node.op.name}>"
    elif autograd.requires_grad(t):
        extra += ", requires_grad=True"
    return f"tensor({body}{extra})"


def to(t: Tensor, where: Any = None, dtype: DTypeLike = None, device: str | Device | None = None) -> Tensor:
    """t on another device, in another dtype, or both; t itself if it is so already.  The gradient travels back.

    TypeError for two devices, or two dtypes.
    """
    device, dtype = placing(where, dtype, device)
    out = t if device is None else casting.to_device(t, device)
    return out if dtype is None else casting.astype(out, dtype)


def _iter(t: Tensor) -> Any:
    if not t.array.ndim:
        raise TypeError("iteration over a 0-d tensor; use .item() for its value")
    return (index.getitem(t, i) for i in range(t.array.shape[0]))


def _len(t: Tensor) -> int:
    if not t.array.ndim:
        raise TypeError("len() of a 0-d tensor")
    return t.array.shape[0]


def _no_setitem(t: Tensor, key: Any, value: Any) -> None:
    raise TypeError(
        f"'{type(t).__name__}' object does not support item assignment; tensors do not change. "
        f"Use t.at[key].set(value), {t.prefix}where(mask, new, t), or a Variable and v[key].assign(value)."
    )


def _shape_args(shape: tuple) -> Any:
    return shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape


def _transpose(t: Tensor, *axes: Any) -> Tensor:
    if len(axes) == 2 and t.array.ndim > 2:
        a, b = axes
        raise ValueError(f"x.transpose takes all {t.array.ndim} axes; to exchange two write gg.swapaxes(x, {a}, {b})")
    return shape.permute_dims(t, _shape_args(axes) if axes else range(t.array.ndim)[::-1])


def _compare(f: Any, fallback: bool | None = None) -> Any:
    def call(a: Tensor, b: Any) -> Any:
        if fallback is not None and (b is None or isinstance(b, str)):
            return fallback
        return f(a, b)

    return call


def _reflect(f: Any) -> Any:
    return lambda a, b: f(b, a)


def _in_place(name: str, f: Any) -> Any:
    """t += x.  Of a leaf that requires grad, a change of its value; of any other tensor, t = t + x."""

    def call(t: Tensor, other: Any) -> Tensor:
        if not (autograd.is_leaf(t) and autograd.requires_grad(t)):
            return f(t, other)
        if autograd.is_grad_enabled():
            raise RuntimeError(
                f"a leaf Variable that requires grad is being used in an in-place operation ({name}). Write "
                f"`with {t.prefix}no_grad(): t {name} x` to change its value, or `y = t {name[0]} x` for a new tensor."
            )
        _set_data(t, f(t, other))
        return t

    return call


OPERATORS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow"}


def _bind() -> None:
    T: Any = Tensor
    two: dict[str, Any] = {name: getattr(math, function) for name, function in OPERATORS.items()}
    two |= {"mod": rounding.remainder, "floordiv": rounding.floor_divide, "matmul": linalg.matmul}
    for name, f in two.items():
        setattr(T, f"__{name}__", f)
        setattr(T, f"__r{name}__", _reflect(f))
    T.__iadd__, T.__isub__ = _in_place("+=", math.add), _in_place("-=", math.subtract)
    T.__imul__, T.__itruediv__ = _in_place("*=", math.multiply), _in_place("/=", math.divide)
    T.__neg__, T.__pos__, T.__abs__ = math.negative, math.positive, math.abs
    T.__lt__, T.__le__ = _compare(logic.less), _compare(logic.less_equal)
    T.__gt__, T.__ge__ = _compare(logic.greater), _compare(logic.greater_equal)
    T.__eq__, T.__ne__ = _compare(logic.equal, False), _compare(logic.not_equal, True)
    T.__and__, T.__or__, T.__xor__ = logic.bitwise_and, logic.bitwise_or, logic.bitwise_xor
    T.__invert__, T.__lshift__, T.__rshift__ = logic.bitwise_invert, logic.bitwise_left_shift, logic.bitwise_right_shift
    T.__rlshift__, T.__rrshift__ = _reflect(logic.bitwise_left_shift), _reflect(logic.bitwise_right_shift)
    T.pair, T.explain = staticmethod(pair), staticmethod(explain)
    T.__deepcopy__, T.__reduce__ = _deepcopy, _reduce
    T.__hash__ = object.__hash__  # by identity, so that tensors can be keys
    T.__getitem__, T.__setitem__ = index.getitem, _no_setitem
    T.at = property(scatter.at, doc=scatter.at.__doc__)
    T.__contains__ = lambda t, x: bool(to_numpy(logic.equal(t, x)).any())
    T.__len__, T.__iter__, T.__bool__, T.__repr__ = _len, _iter, _bool, _repr
    T.__float__ = lambda t: float(item(t))
    T.__int__ = lambda t: int(item(t))
    T.__index__ = _index
    T.__complex__ = lambda t: complex(item(t))
    T.__format__ = lambda t, spec: format(item(t), spec) if spec and t.array.size == 1 else format(str(t), spec)
    T.__array__, T.__array_function__ = _to_array, _leave
    T.__dlpack__, T.__dlpack_device__ = to_dlpack, dlpack_device

    prop = lambda get, doc: property(get, doc=doc)
    T.shape = prop(lambda t: t.array.shape, "The length of each axis.")
    T.dtype = prop(lambda t: t.array.dtype, "The dtype of the elements.")
    T.ndim = prop(lambda t: t.array.ndim, "The number of axes.")
    T.size = prop(lambda t: t.array.size, "The number of elements.")
    T.nbytes = prop(lambda t: t.array.nbytes, "The bytes of the elements.")
    T.device = prop(lambda t: _array.device_of(t.array), "Where the array lives.")
    T.T = prop(lambda t: shape.permute_dims(t, range(t.array.ndim)[::-1]), "The axes in reverse order.")
    T.mT = prop(shape.matrix_transpose, "The last two axes exchanged.")
    T.requires_grad = property(autograd.requires_grad, _toggle, doc="Whether ops on it are recorded.")
    T.grad = property(autograd.grad_of, autograd.set_grad, doc="What backward() has left; None if nothing.")
    T.is_leaf = prop(autograd.is_leaf, "Whether no recorded op made it.")
    T.grad_fn = prop(lambda t: t.node if t.node is not None and t.node.op is not None else None, "Its node, or None.")
    T.data = property(_data, _set_data, doc="The values, off the graph, sharing memory; setting it changes a leaf.")
    T.real, T.imag = prop(math.real, "The real part."), prop(math.imag, "The imaginary part.")

    T.backward, T.retain_grad = autograd.backward, autograd.retain_grad
    T.register_hook = autograd.register_hook
    T.register_post_accumulate_grad_hook = autograd.register_post_accumulate_grad_hook
    T.requires_grad_ = autograd.require_grad
    T.detach = casting.stop_gradient
    T.clone = lambda t: math.positive(t)
    T.numpy, T.item, T.to, T.astype = to_numpy, item, to, casting.astype
    T.tolist = lambda t: to_numpy(t).tolist()
    T.cpu = lambda t: to(t, "cpu")
    T.cuda = lambda t, i=0: to(t, f"cuda:{i}")
    T.reshape = lambda t, *s: shape.reshape(t, _shape_args(s))
    T.permute_dims = lambda t, *axes: shape.permute_dims(t, _shape_args(axes))
    T.transpose = _transpose
    T.flatten, T.broadcast_to = shape.flatten, shape.broadcast_to
    T.squeeze = lambda t, axis=None, **other: shape.squeeze(t, axis=axis, **other)
    T.expand_dims = shape.expand_dims
    for f in (reduce.sum, reduce.mean, reduce.max, reduce.min, reduce.prod, reduce.argmax, reduce.argmin,
              reduce.any, reduce.all, reduce.logsumexp):  # fmt: skip
        setattr(T, f.__name__, _reduction(f))
    T.var = lambda t, axis=None, correction=0, keepdims=False, **other: reduce.var(
        t, axis=axis, correction=correction, keepdims=keepdims, **other
    )
    T.std = lambda t, axis=None, correction=0, keepdims=False, **other: reduce.std(
        t, axis=axis, correction=correction, keepdims=keepdims, **other
    )
    T.cumsum = lambda t, axis=-1, **other: scan.cumsum(t, axis=axis, **other)
    for name in ("abs", "exp", "log", "sqrt", "square", "sin", "cos", "tanh", "conj"):
        setattr(T, name, getattr(math, name))
    T.clip = choice.clip
    for name in METHODS:
        setattr(T, name, Missing(name))
    T.__dir__ = lambda t: [name for name in object.__dir__(t) if name not in METHODS or hasattr(t, name)]


def _index(t: Tensor) -> int:
    if t.array.size != 1 or t.array.dtype.kind not in "iu":
        raise TypeError(f"only a one-element integer tensor can be an index, not {t.array.dtype}{list(t.array.shape)}")
    return int(item(t))


def _toggle(t: Tensor, flag: bool) -> None:
    autograd.require_grad(t, flag)


def _data(t: Tensor) -> Tensor:
    return wrap(casting.view(t.array), None, t.kind)


def _set_data(t: Tensor, value: Any) -> None:
    if not autograd.is_leaf(t):
        raise RuntimeError(
            f"only a leaf's .data can be set; this tensor was computed by {t.node.op.name}. "  # type: ignore[union-attr]
            f"Write t = {t.prefix}tensor(value) for a new one"
        )
    new = raw(tensor(value, None if isinstance(value, Tensor) else t.array.dtype, t.device))
    if new.shape != t.array.shape or new.dtype != t.array.dtype:
        raise RuntimeError(
            f".data takes a value of the same shape and dtype: {t.array.dtype}{list(t.array.shape)}, not "
            f"{new.dtype}{list(new.shape)}"
        )
    t.array = new


def _reduce(t: Tensor) -> tuple[Any, ...]:
    return _restore, (t.kind, t.array, autograd.is_leaf(t) and autograd.requires_grad(t))


def _restore(kind: type[Tensor], array: Any, requires_grad: bool) -> Tensor:
    """What pickle and copy make of a Tensor: its values, and whether it is a leaf; never the graph."""
    t = wrap(casting.view(array), None, kind)
    return autograd.require_grad(t) if requires_grad else t


def _deepcopy(t: Tensor, memo: dict[int, Any]) -> Tensor:
    """A leaf's copy is a leaf of its own, without the gradient."""
    if not autograd.is_leaf(t):
        raise RuntimeError(
            "Only tensors made by the user (leaves of the graph) can be deep-copied; write t.detach() for the values"
        )
    copy = memo[id(t)] = wrap(_array.xp(t.array).array(t.array), None, t.kind)
    return autograd.require_grad(copy) if autograd.requires_grad(t) else copy


def _reduction(f: Any) -> Any:
    def method(t: Tensor, axis: Any = None, keepdims: bool = False, **other: Any) -> Tensor:
        if other:
            raise TypeError(unknown(f"x.{f.__name__}", other, ["axis", "keepdims"]))
        return f(t, axis=axis, keepdims=keepdims)

    method.__name__, method.__qualname__, method.__doc__ = f.__name__, f"Tensor.{f.__name__}", f.__doc__
    return method


_bind()
