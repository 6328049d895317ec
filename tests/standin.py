"""A second array library on the CPU: an ndarray subclass on a device called `standin`.

It takes every path that a GPU array takes (dispatch by type, `gpu=` forwards, transfers, errors for mixed devices)
and shows where code forgot that not every array is NumPy's: mixing the two raises, as CuPy does.
"""

import contextlib

import numpy as np

from gpugrad.array import Device, Library


class Array(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *args, out=None, **kw):
        for a in args:
            if type(a) is np.ndarray and a.ndim:
                raise TypeError(f"Unsupported type {type(a)}")
        args = [a.view(np.ndarray) if isinstance(a, Array) else a for a in args]
        if out is not None:
            kw["out"] = tuple(o.view(np.ndarray) if isinstance(o, Array) else o for o in out)
        result = getattr(ufunc, method)(*args, **kw)
        if out is not None:
            return out[0]
        return None if result is None else np.asarray(result).view(Array)

    def __getitem__(self, key):
        return np.asarray(super().__getitem__(key)).view(Array)

    def _reduced(name):
        def method(self, *args, **kw):
            return np.asarray(getattr(self.view(np.ndarray), name)(*args, **kw)).view(Array)

        return method

    sum, mean, max, min, prod, var, std, any, all = map(
        _reduced, ("sum", "mean", "max", "min", "prod", "var", "std", "any", "all")
    )
    argmax, argmin = map(_reduced, ("argmax", "argmin"))


def _wrapped(f):
    def call(*args, **kw):
        if any(type(a) is np.ndarray and a.ndim and f.__name__ not in ("asarray", "array") for a in args):
            raise TypeError(f"{f.__name__}: Unsupported type <class 'numpy.ndarray'>")
        out = f(*args, **kw)
        boxed = lambda v: np.asarray(v).view(Array)
        return [boxed(v) for v in out] if isinstance(out, (list, tuple)) else boxed(out) if out is not None else None

    call.at = getattr(f, "at", None)
    call.__name__ = f.__name__
    return call


class Namespace:
    """numpy whose functions answer stand-in arrays, and refuse plain ones."""

    ndarray = Array

    def __getattr__(self, name):
        value = getattr(np, name)
        return _wrapped(value) if callable(value) and not isinstance(value, type) else value


class StandIn(Library):
    name = "standin"
    xp = Namespace()
    types = (Array,)

    def asarray(self, value, dtype, device):
        return np.array(value, dtype, subok=False).view(Array)

    def to_host(self, x):
        return np.array(x).view(np.ndarray)

    def device_of(self, x):
        return Device("standin")

    def scope(self, device):
        return contextlib.nullcontext()
