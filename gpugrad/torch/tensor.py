"""PyTorch's conventions of tensors: how they print, how operands join, methods, changes in place."""

from __future__ import annotations

import math as _math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import autograd as _autograd
from ..array import device_of, library, xp
from ..core import Tensor as CoreTensor, raw, trainable, wrap
from ..dtypes import as_dtype, bfloat16, bool_, float16, float32, int64
from ..forward import explain, pair
from ..graph import GradFn as CoreGradFn
from ..inplace import category, get_item, set_item
from ..printing import text
from ..recording import inferred
from ..tensor import tensor as core_tensor, to_numpy
from ..variable import Parameter as CoreParameter
from ..wording import axis_of, fits, name_of, refused


class Size(tuple):
    """A shape: a tuple that prints as torch.Size."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def numel(self) -> int:
        """The product of all lengths."""
        return _math.prod(self)


# ---------------------------------------------------------------------------------------------- operands
def promoted(x: Any, y: Any) -> np.dtype:
    """The dtype in which two arrays meet: a higher category wins, then an array with axes over one without."""
    a, b = category(x.dtype), category(y.dtype)
    if a != b:
        return x.dtype if a > b else y.dtype
    if bool(x.ndim) != bool(y.ndim):
        return x.dtype if x.ndim else y.dtype
    return float32 if {x.dtype, y.dtype} == {float16, bfloat16} else np.result_type(x.dtype, y.dtype)


class GradFn(CoreGradFn):
    """The op that made a tensor, as `grad_fn` shows it."""

    kind = CoreTensor  # PyTorch's Tensor, once it is there


class Tensor(CoreTensor):
    """torch.Tensor."""

    __slots__ = ()
    prefix, ordered = "torch.", True

    @staticmethod
    def box(x: Any) -> Any:
        """TypeError: PyTorch's functions take tensors."""
        raise TypeError(f"argument must be Tensor, not {type(x).__name__}. Write torch.tensor({x!r:.40})")

    @staticmethod
    def pair(x: Any, b: Any) -> tuple[Any, Any]:
        """Numbers are weak; arrays promote; TypeError for lists."""
        if isinstance(b, (list, tuple)):
            raise TypeError(
                f"unsupported operand type(s): 'Tensor' and {type(b).__name__!r}. Write torch.tensor({b!r:.40})"
            )
        if library(b) is not None and not isinstance(b, np.generic) and b.dtype != x.dtype:
            return Tensor.meet("", x, b)
        return pair(x, b)

    @staticmethod
    def meet(name: str, x: Any, y: Any) -> tuple[Any, Any]:
        """PyTorch's promotion; RuntimeError for a product of matrices of two dtypes."""
        if name == "matmul" and x.dtype != y.dtype:
            a, b = name_of(x.dtype), name_of(y.dtype)
            raise RuntimeError(f"mat1 and mat2 must have the same dtype, but got {a} and {b}. Write .to(dtype) on one.")
        d = promoted(x, y)
        return x.astype(d, copy=False), y.astype(d, copy=False)

    @staticmethod
    def explain(name: str, e: Exception, values: Sequence[Any]) -> Exception:
        """What does not fit, as PyTorch says it."""
        if (found := refused(name, e, values)) is not None:
            return found
        given = explain(name, e, values)
        return RuntimeError(str(given)) if isinstance(given, ValueError) else given

    def __repr__(self) -> str:
        extra = ""
        d = self.array.dtype
        if not self.array.size and self.array.ndim > 1:
            extra += f", size={self.array.shape}"
        if d not in (float32, bool_, int64, np.dtype("complex64")) or (not self.array.size and d != float32):
            extra += f", dtype=torch.{d}"
        if device_of(self.array).kind != "cpu":
            extra += f", device='{device_of(self.array)}'"
        if (maker := self.grad_fn) is not None:
            extra += f", grad_fn=<{maker.name()}>"
        elif _autograd.requires_grad(self):
            extra += ", requires_grad=True"
        return f"tensor({text(self)}{extra})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.array.size == 1 else format(str(self), spec)

    # ------------------------------------------------------------------------------------ asking
    @property
    def shape(self) -> Size:  # type: ignore[override]
        """The length of each axis."""
        return Size(self.array.shape)

    @property
    def grad_fn(self) -> GradFn | None:  # type: ignore[override]
        """The op that made it; None of a leaf."""
        n = self.node
        return GradFn(n) if n is not None and n.op is not None and _autograd.requires_grad(self) else None

    def size(self, dim: int | None = None) -> Any:  # type: ignore[override]
        """The shape, or the length of one axis."""
        return self.shape if dim is None else self.shape[axis_of(dim, self.array.ndim)]

    def dim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self.array.size

    nelement = numel

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array that shares memory.  RuntimeError if the tensor requires grad."""
        if _autograd.requires_grad(self):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return np.asarray(to_numpy(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype=dtype)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a real floating one."""
        return category(self.array.dtype) == 2

    def is_inference(self) -> bool:
        """Whether it was made under inference_mode."""
        return _autograd.is_inference(self)

    @property
    def is_cuda(self) -> bool:
        """Whether it is on a GPU."""
        return device_of(self.array).kind == "cuda"

    __getitem__, __setitem__ = get_item, set_item  # type: ignore[assignment]


Tensor.kind = GradFn.kind = Tensor


class Parameter(CoreParameter, Tensor):
    """nn.Parameter(data, requires_grad=True)."""

    __slots__ = ()
    kind = Tensor

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        CoreParameter.__init__(self, data, name="")
        if not requires_grad:
            _autograd.require_grad(self, False)

    __getitem__ = Tensor.__getitem__  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Parameter containing:\n{Tensor.__repr__(self)}"


def as_torch(t: CoreTensor) -> Tensor:
    """A core Tensor as torch.Tensor, the same leaf or with the same history."""
    if isinstance(t, Tensor):
        return t
    out = wrap(t.array, None if trainable(t) else t.node, Tensor)
    return _autograd.require_grad(out) if trainable(t) else out  # type: ignore[return-value]


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of numbers, nested lists or an array: a copy.  Python floats are float32, integers int64."""
    if not isinstance(data, CoreTensor) and library(data) is None:
        host = raw(core_tensor(data, device="cpu"))
        if dtype is None:
            dtype = int64 if host.dtype.kind == "i" else None
        else:
            fits(host, as_dtype(dtype))
    array = raw(core_tensor(data, dtype, device))
    return created(wrap(xp(array).array(array), None, Tensor), requires_grad)


def created(t: CoreTensor, requires_grad: bool = False) -> Tensor:
    """A new tensor, a leaf where asked for, marked under inference_mode."""
    out = as_torch(t)
    if _autograd.is_inference_mode_enabled():
        inferred(out)
    return _autograd.require_grad(out) if requires_grad else out  # type: ignore[return-value]
