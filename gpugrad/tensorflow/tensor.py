"""TensorFlow's conventions of tensors: how they print, how operands join, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..array import library, to_host, xp
from ..core import Tensor as CoreTensor, raw, wrap
from ..dtypes import DTypeLike, as_dtype
from ..forward import explain, pair, placed
from ..inplace import category
from ..op import spoken as _spoken
from ..ops.shape import stack
from ..tensor import tensor, to_numpy
from ..variable import Ref, Variable as CoreVariable, _Slice as CoreSlice
from .errors import InvalidArgumentError

_OPS = {"add": "AddV2", "subtract": "Sub", "multiply": "Mul", "divide": "RealDiv", "matmul": "MatMul", "pow": "Pow"}
_DTYPES = {"float32": "float", "float64": "double", "float16": "half"}


class TensorShape(tuple):
    """A shape: a tuple with TensorFlow's methods."""

    __slots__ = ()

    rank = ndims = property(len, doc="The number of axes.")

    def as_list(self) -> list[int]:
        """The length of each axis."""
        return list(self)

    def num_elements(self) -> int:
        """The product of all lengths."""
        return int(np.prod(self, dtype=np.int64))

    def is_compatible_with(self, other: Any) -> bool:
        """Whether `other`, in which None stands for any length, is this shape."""
        return len(self) == len(other) and all(b is None or a == b for a, b in zip(self, other))

    def is_fully_defined(self) -> bool:
        """True: shapes are known here."""
        return True


def op_name(op: str) -> str:
    return _OPS.get(op, op.title().replace("_", ""))


class Conventions:
    """What EagerTensor and ResourceVariable share."""

    __slots__ = ()
    prefix, copies = "tf.", True
    ignored = frozenset({"name"})

    @property
    def shape(self: Any) -> TensorShape:
        """The length of each axis."""
        return TensorShape(self.array.shape)

    def get_shape(self) -> TensorShape:
        """The length of each axis."""
        return self.shape

    def numpy(self: Any) -> Any:
        """The values as a NumPy array; of a 0-d tensor, as a NumPy scalar."""
        return to_numpy(self)[()]

    def ref(self: Any) -> Ref:
        """The tensor as a key for dicts and sets."""
        return Ref(self)

    def __hash__(self) -> int:
        what = "Variable" if isinstance(self, CoreVariable) else "Tensor"
        raise TypeError(f"{what} is unhashable. Instead, use {what.lower()}.ref() as the key.")

    def __str__(self: Any) -> str:
        return f"tf.Tensor({_lines(str(to_host(self.array)[()]))}, shape={self.array.shape}, dtype={_dtype(self)})"

    def __repr__(self: Any) -> str:
        return f"<tf.Tensor: shape={self.array.shape}, dtype={_dtype(self)}, numpy={_lines(_literal(self))}>"

    def __format__(self: Any, spec: str) -> str:
        return format(to_host(self.array)[()], spec) if spec and self.array.size == 1 else format(str(self), spec)

    @staticmethod
    def box(x: Any) -> Any:
        """Numbers, lists and arrays are tensors wherever an op takes one."""
        return convert_to_tensor(x)

    @staticmethod
    def pair(x: Any, b: Any) -> tuple[Any, Any]:
        """Operands take the tensor's dtype; TypeError for one that does not go into it, as a float beside integers."""
        array: Any = np.asarray(b) if isinstance(b, (float, complex, np.generic)) else b if library(b) else None
        if array is not None and category(array.dtype) > category(x.dtype):
            raise TypeError(
                f"Cannot convert {b!r:.60} to EagerTensor of dtype {x.dtype}. Write tf.cast(tensor, tf.float32) first."
            )
        if array is not None and array is b:
            b = placed(array.astype(x.dtype, copy=False), x)  # NumPy's are copied to the tensor's device
        return pair(x, b)

    @staticmethod
    def meet(name: str, x: Any, y: Any) -> tuple[Any, Any]:
        """Nothing is cast by itself."""
        if x.dtype == y.dtype:
            return x, y
        a, b = (_DTYPES.get(str(d), str(d)) for d in (x.dtype, y.dtype))
        raise InvalidArgumentError(
            f"cannot compute {op_name(name)} as input #1(zero-based) was expected to be a {a} tensor but is a {b} "
            f"tensor [Op:{op_name(name)}]. Write tf.cast(tensor, tf.{x.dtype}) on one of them."
        )

    @staticmethod
    def explain(name: str, e: Exception, values: Sequence[Any]) -> Exception:
        """Shapes that do not fit, as TensorFlow says it."""
        shapes = [str(list(v.shape)).replace(" ", "") for v in values if library(v) is not None]
        if isinstance(e, ValueError) and len(shapes) == 2 and name == "matmul":
            return InvalidArgumentError(
                f"Matrix size-incompatible: In[0]: {shapes[0]}, In[1]: {shapes[1]} [Op:MatMul]. The last axis of the "
                "first and the second last of the second must be as long; tf.transpose one of them."
            )
        if isinstance(e, ValueError) and len(shapes) == 2 and "broadcast" in str(e):
            return InvalidArgumentError(
                f"Incompatible shapes: {shapes[0]} vs. {shapes[1]} [Op:{op_name(name)}]. Axes are matched from the "
                "last; lengths must be equal or 1: tf.reshape or tf.expand_dims one of them."
            )
        told = explain(name, e, values)
        return InvalidArgumentError(*told.args) if type(told) is ValueError else told


def _dtype(t: Any) -> str:
    return "string" if t.array.dtype.kind in "SUO" else str(t.array.dtype)


def _lines(text: str) -> str:
    return f"\n{text}" if "\n" in text else text


def _literal(t: Any) -> str:
    value = to_host(t.array)[()]
    return repr(value) if isinstance(value, np.ndarray) else repr(value.item() if hasattr(value, "item") else value)


class EagerTensor(Conventions, CoreTensor):
    """tf.Tensor."""

    __slots__ = ()


EagerTensor.kind = EagerTensor


class _Slice(Conventions, CoreSlice):
    __slots__ = ()


class ResourceVariable(Conventions, CoreVariable):
    """tf.Variable(initial_value, trainable=True, name='Variable', dtype=None)."""

    __slots__ = ()
    kind, part = EagerTensor, _Slice

    def __init__(
        self, initial_value: Any = None, trainable: bool | None = True, name: str | None = None,
        dtype: DTypeLike = None, **options: Any,
    ) -> None:  # fmt: skip
        if callable(initial_value):
            initial_value = initial_value()
        if initial_value is None:
            raise ValueError("The `initial_value` arg to `tf.Variable` must be specified: a number, list or array.")
        refuse(options, {"validate_shape", "caching_device", "synchronization", "aggregation", "import_scope"})
        super().__init__(initial_value, trainable is not False, f"{name or 'Variable'}:0", dtype)

    def __repr__(self) -> str:
        return (
            f"<tf.Variable {self.name!r} shape={self.array.shape} dtype={_dtype(self)}, numpy={_lines(_literal(self))}>"
        )

    __str__ = __repr__

    def __len__(self) -> int:
        raise TypeError("object of type 'ResourceVariable' has no len(); use v.shape[0]")

    read_value = CoreVariable.value


def refuse(options: dict[str, Any], known: set[str]) -> None:
    """TypeError for an argument that TensorFlow does not have; those in `known` change nothing here."""
    if unknown := set(options) - known:
        raise TypeError(f"unexpected argument {min(unknown)!r}; leave it out. Taken, to no effect, are {sorted(known)}")


def as_tf(t: CoreTensor) -> EagerTensor:
    """A core Tensor, or a Variable's value, as tf.Tensor, with its history."""
    return t if type(t) is EagerTensor else wrap(t.array, t.node, EagerTensor)  # type: ignore[return-value]


def spoken(f: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """An op of the core's for users of tf, who call its arrays `names`: numbers, lists and arrays are tensors to it."""
    return _spoken(f, EagerTensor, names)


def constant(value: Any, dtype: DTypeLike = None, shape: Any = None, name: str = "Const") -> EagerTensor:
    """A tensor of numbers, nested lists or arrays, filled or reshaped to `shape`; of a text, a string tensor.

    A tensor is answered as it is; of a Variable, and with a shape, the values alone.
    """
    if isinstance(value, (str, bytes)) or (isinstance(value, (list, tuple)) and _texts(value)):
        return wrap(np.asarray(value, dtype=np.bytes_), None, EagerTensor)  # type: ignore[return-value]
    if type(value) is EagerTensor and shape is None and dtype in (None, value.array.dtype):
        return value
    t = as_tf(tensor(value, dtype))
    if shape is not None:
        a = t.array
        t.array = xp(a).broadcast_to(a, shape).copy() if a.size == 1 else a.reshape(shape)
    return t


def _texts(value: Any) -> bool:
    return any([isinstance(v, (str, bytes)) or (isinstance(v, (list, tuple)) and _texts(v)) for v in value])


def convert_to_tensor(value: Any, dtype: DTypeLike = None, dtype_hint: Any = None, name: str | None = None) -> Any:
    """`value` as a tensor; a tensor as it is, a list of tensors stacked, with their history."""
    if isinstance(value, CoreTensor):
        if dtype is not None and raw(value).dtype != as_dtype(dtype):
            raise ValueError(
                f"Tensor conversion requested dtype {as_dtype(dtype)} for Tensor with dtype {raw(value).dtype}. "
                "Write tf.cast(tensor, dtype)."
            )
        return as_tf(value)
    if isinstance(value, (list, tuple)) and any([isinstance(v, CoreTensor) for v in value]):
        return as_tf(stack([convert_to_tensor(v, dtype) for v in value]))
    return constant(value, dtype)
