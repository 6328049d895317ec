"""A second array library on the CPU, on a device called `standin`: every path of a GPU array runs without a GPU.

Its arrays are no NumPy arrays, and refuse what CuPy's refuse: to become one unasked (`np.asarray`, NumPy's functions),
to meet one in an operation, to be hashed.  Reductions answer 0-d arrays, never NumPy's scalars.  So whatever code
forgot that not every array is NumPy's fails here as it would on a GPU.
"""

import contextlib
import importlib
import operator
from operator import attrgetter
from sys import getrefcount
from types import ModuleType

import numpy as np

from gpugrad import host_special
from gpugrad.array import NUMPY, Device, Library
from gpugrad.dtypes import bfloat16

_OURS = "Unsupported type <class 'numpy.ndarray'>"  # CuPy's words


class Flags:
    """Those that CuPy has."""

    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata


class Array:
    """NumPy's array `host`, behind a wall."""

    __slots__ = ("__weakref__", "base", "host")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, host, base=None):
        self.host, self.base = np.asarray(host), base

    flags = property(lambda self: Flags(self.host.flags))
    T = property(lambda self: self.transpose())

    def _made(self, out):
        """What NumPy answered as ours; a view knows the array whose memory it has, and nobody else's."""
        if not isinstance(out, np.ndarray | np.generic):
            return out
        shares = isinstance(out, np.ndarray) and out.base is not None and np.may_share_memory(out, self.host)
        return Array(out, (self if self.base is None else self.base) if shares else None)

    def get(self):
        return self.host.copy()

    def __array__(self, *args, **options):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *args, **options):
        return _ours(getattr(ufunc, method))(*args, **options)

    def __getitem__(self, key):
        return self._made(self.host[_open(key)])

    def __setitem__(self, key, value):
        _refuse((value,))
        self.host[_open(key)] = _open(value)

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        return map(self.__getitem__, range(len(self)))

    def __repr__(self):
        return repr(self.host)


def _open(x):
    """x with NumPy's arrays in the place of ours."""
    if isinstance(x, Array):
        return x.host
    return type(x)(map(_open, x)) if isinstance(x, list | tuple) else x


def _refuse(args):
    """TypeError for a NumPy array among the arguments; its scalars may meet ours, as in CuPy."""
    for a in args:
        if isinstance(a, np.ndarray):
            raise TypeError(_OURS)
        if isinstance(a, list | tuple):
            _refuse(a)


def _ours(f, takes_numpy=False):
    """NumPy's function f for our arrays."""

    def call(*args, out=None, **options):
        if not takes_numpy:
            _refuse((*args, *options.values()))
        out = out[0] if isinstance(out, tuple) else out
        more = {} if out is None else {"out": out.host}
        found = f(*map(_open, args), **{k: _open(v) for k, v in options.items()}, **more)
        if out is not None:
            return out
        first = next((a for a in args if isinstance(a, Array)), None)
        made = Array if first is None else first._made
        box = lambda v: made(v) if isinstance(v, np.ndarray | np.generic) else v
        return [box(v) for v in found] if isinstance(found, list | tuple) else box(found)

    call.__name__ = f.__name__
    return call


def _method(name):
    def method(self, *args, **options):
        _refuse((*args, *options.values()))
        return self._made(getattr(self.host, name)(*map(_open, args), **{k: _open(v) for k, v in options.items()}))

    return method


def _operator(f, swapped=False, in_place=False):
    def method(self, other):
        # as CuPy: who has the greater priority is asked
        if not hasattr(other, "__array_ufunc__") and getattr(other, "__array_priority__", 0) > Array.__array_priority__:
            return NotImplemented
        _refuse((other,))
        if other is None or isinstance(other, str | list | tuple | dict):
            raise TypeError(f"Unsupported type {type(other)}")
        found = f(*((_open(other), self.host) if swapped else (self.host, _open(other))))
        return self if in_place else self._made(found)

    return method


for _name in "shape dtype ndim size nbytes itemsize strides".split():
    setattr(Array, _name, property(attrgetter(f"host.{_name}")))
for _name in ("real", "imag"):
    setattr(Array, _name, property(lambda self, name=_name: self._made(getattr(self.host, name))))
for _name in (
    "all any argmax argmin argsort astype clip conj copy cumsum dot fill flatten item max mean min nonzero prod ravel "
    "repeat reshape round squeeze std sum swapaxes take tolist transpose var view __neg__ __pos__ __abs__ __invert__ "
    "__bool__ __int__ __float__ __complex__ __index__"
).split():
    setattr(Array, _name, _method(_name))
for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    _f = getattr(operator, f"__{_name}__")
    setattr(Array, f"__{_name}__", _operator(_f))
    setattr(Array, f"__r{_name}__", _operator(_f, swapped=True))
    setattr(Array, f"__i{_name}__", _operator(getattr(operator, f"__i{_name}__"), in_place=True))
for _name in "lt le gt ge eq ne".split():
    setattr(Array, f"__{_name}__", _operator(getattr(operator, f"__{_name}__")))


# The dtypes for which CuPy's f.at is right: its maximum of doubles is one of floats, and none of floats keeps NaN.
_WHOLE = "int32 uint32 uint64"
_ATOMIC = {"add": f"{_WHOLE} float16 float32 float64", "maximum": _WHOLE, "minimum": _WHOLE}


def _atomic(at, dtypes):
    def call(a, indices, b):
        if str(a.dtype) not in dtypes.split() or a.dtype != b.dtype:
            raise TypeError(f"only supports {dtypes}, as data type")
        # NumPy 2.4 mistakes values that are to be broadcast to one index array of several axes.
        b = np.broadcast_to(b.host, a.host[_open(indices)].shape)
        at(a.host, _open(indices), b)

    return call


class Namespace:
    """NumPy's functions for our arrays; NumPy's own they refuse, but for those that make ours of them."""

    ndarray = Array

    def __init__(self, module=np):
        self._module = module

    def where(self, mask, *values):
        """As CuPy's, which has no loop for bfloat16."""
        out = _ours(np.where)(mask, *values)
        return out.astype(np.float32) if values and out.dtype == bfloat16 else out

    def __getattr__(self, name):
        value = found = getattr(self._module, name)
        if isinstance(value, ModuleType):
            value = Namespace(value)
        elif callable(value) and not isinstance(value, type):
            value = _ours(value, takes_numpy=name in ("asarray", "array"))
            if name in _ATOMIC:
                value.at = _atomic(found.at, _ATOMIC[name])
        setattr(self, name, value)
        return value


class Sparse:
    """SciPy's sparse matrices for our arrays: what CuPy has of them, as far as gpugrad asks for it."""

    def __init__(self, host=None):
        self.host = host

    def csr_matrix(self, parts, shape):
        return self._made("csr_matrix", parts, shape)

    def csc_matrix(self, parts, shape):
        return self._made("csc_matrix", parts, shape)

    def _made(self, kind, parts, shape):
        _refuse(parts)
        return Sparse(getattr(importlib.import_module("scipy.sparse"), kind)(_open(parts), shape=shape))

    def copy(self):
        return Sparse(self.host.copy())

    @property
    def linalg(self):
        return self

    def splu(self, matrix):
        return Sparse(importlib.import_module("scipy.sparse.linalg").splu(matrix.host))

    def solve(self, b, trans="N"):
        _refuse((b,))
        return Array(self.host.solve(b.host, trans))

    def __matmul__(self, x):
        _refuse((x,))
        return Array(self.host @ x.host)


class StandIn(Library):
    name = "standin"
    types = (Array,)

    def __init__(self):
        self.xp = Namespace()

    def asarray(self, value, dtype, device):
        return Array(np.array(_open(value), dtype))

    def to_host(self, x):
        return x.get()

    def device_of(self, x):
        return Device("standin")

    def special(self):
        return Namespace(host_special)

    def sparse(self):
        return Sparse()

    def address(self, x):
        return x.host.ctypes.data

    def owns(self, x):
        return x.base is None and getrefcount(x.host) == 2  # the attribute, and getrefcount's argument

    def block(self, x):
        return NUMPY.block(x.host)

    def scope(self, device):
        return contextlib.nullcontext()
