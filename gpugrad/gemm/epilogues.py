"""act(x @ weight + bias) in one pass, and back through it: cuBLASLt's epilogues."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import blas, fused as kernels
from ..array import Array, library
from ..kernels import place
from .layout import problem, view
from .products import (
    Home,
    Product,
    check,
    get_float32_matmul_precision,
    home_of,
    product,
    shape_of,
    signs,
    tf32,
    usable,
)

EVERY, HALF = tuple(blas.TYPES), ("float16", "bfloat16")

# activation: its epilogue forward and backward, and the dtypes to use them for.  cuBLASLt has those that save something
# for no float64, and its tanh is said to be approximate: too much so for float32.
EPILOGUES: dict[str, tuple[str, str, Sequence[str]]] = {
    "identity": ("BIAS", "", EVERY),
    "relu": ("RELU_AUX_BIAS", "DRELU_BGRAD", ("float32", *HALF)),
    "gelu_tanh": ("GELU_AUX_BIAS", "DGELU_BGRAD", HALF),
}


def fused(activation: str, x: Any) -> bool:
    """Whether cuBLASLt takes this activation along in both directions, for arrays like x."""
    _, back, dtypes = EPILOGUES.get(activation, ("", "", ()))
    return bool(back) and usable(x) and x.dtype.name in dtypes


def linear(
    x: Array, weight: Array, bias: Array, activation: str, save: bool = True
) -> tuple[Array, Array | None] | None:
    """(act(x @ weight + bias), saved) in one pass; None where cuBLASLt does not do that: then do it in steps.

    x (..., k) of two axes or more, weight (k, m), bias (m,) -> (..., m).  activation: "identity", whose saved is None;
    "relu"; "gelu_tanh", the approximation of GELU by tanh (Hendrycks & Gimpel 2016).  For others, and for empty
    arrays, the answer is None.  saved is for `linear_grad` and `activation_grad`, a row for each row of x: relu's mask,
    a bit an element, padded to 16 bytes; or what gelu was taken of, padded to 8 elements.
    save: False where nobody will go back through it; saved is None then.
    TypeError for two dtypes or devices, ValueError for shapes that do not fit.
    """
    home = home_of(x, weight, bias)
    if home is None:
        return _plan_linear(None, x, weight, bias, activation, save) or None
    key = "linear", activation, save, get_float32_matmul_precision(), signs(home.lib, x, weight, bias)
    found = home.way(key, _plan_linear, x, weight, bias, activation, save)
    if not found:
        return None
    run, aux, whole = found
    with home.scope():
        if not whole:
            bias = bias.copy()
        saved = None if aux is None else home.empty(*aux)
        out = run(home, x, weight, None, home.address(bias), 0 if saved is None else home.address(saved))
    return None if out is None else (out, saved)


def _plan_linear(home: Home | None, x: Array, weight: Array, bias: Array, activation: str, save: bool) -> Any:
    """(the product, shape and dtype of what it saves, whether the bias is whole); False if it does not exist."""
    check(x, weight, bias)
    shape = shape_of(x, weight, None)
    if weight.ndim != 2 or bias.shape != shape[-1:]:
        raise ValueError(f"linear takes a weight (k, m) and a bias (m,), given {weight.shape} and {bias.shape}")
    epilogue, _, dtypes = EPILOGUES.get(activation, ("", "", ()))
    if home is None or x.dtype.name not in dtypes:
        return False
    if not save:
        epilogue = epilogue.replace("AUX_", "")
    aux = _saved(activation, shape, x.dtype) if "AUX" in epilogue else None
    made = _made(x, weight, shape, epilogue, aux)
    return made and (made, aux, home.lib.sign(bias)[-1])


def linear_grad(g: Array, weight: Array, saved: Array, activation: str) -> tuple[Array, Array]:
    """(dz, dbias) of a block whose linear step with `activation` is followed by one with `weight`.

    z -> act(z) -> act(z) @ weight, whose cotangent is g: dz = (g @ weight^T) * act'(z), and dbias is dz summed over
    all axes but the last.  g (..., p) of two axes or more, weight (m, p) -> dz (..., m), dbias (m,).  saved, of the
    linear step before: what `linear` answered beside its output, for activation "relu" or "gelu_tanh".
    In one pass where cuBLASLt does that, else in steps.
    TypeError for two dtypes or devices, ValueError for shapes that do not fit and for another activation.
    """
    home, turned = home_of(g, weight, saved), weight.swapaxes(-1, -2)
    if home is None:
        _plan_linear_grad(None, g, turned, saved, activation)
        return activation_grad(product(g, turned), saved, activation)
    key = "linear_grad", activation, get_float32_matmul_precision(), signs(home.lib, g, turned, saved)
    run = home.way(key, _plan_linear_grad, g, turned, saved, activation)
    if run:
        with home.scope():
            dbias = home.empty(turned.shape[-1:], g.dtype)
            dz = run(home, g, turned, None, home.address(dbias), home.address(saved))
        if dz is not None:
            return dz, dbias
    return activation_grad(product(g, turned), saved, activation)


def _plan_linear_grad(home: Home | None, g: Array, turned: Array, saved: Array, activation: str) -> Any:
    """The product; False if it does not exist."""
    check(g, turned)
    shape = shape_of(g, turned, None)
    if turned.ndim != 2:
        raise ValueError(f"linear_grad takes a weight of two axes, given {turned.ndim}")
    _check_saved(saved, activation, shape, g)
    _, epilogue, dtypes = EPILOGUES[activation]
    if home is None or g.dtype.name not in dtypes:
        return False
    return _made(g, turned, shape, epilogue, _saved(activation, shape, g.dtype))


def activation_grad(g: Array, saved: Array, activation: str) -> tuple[Array, Array]:
    """(dz, dbias) from the cotangent g (..., m) of what `linear` answered, by our own kernels.

    dz = g * act'(z); dbias is dz summed over all axes but the last.  ValueError for shapes that do not fit.
    """
    _check_saved(saved, activation, g.shape, g)
    p, m = place(g, saved), g.shape[-1]
    xp = p.lib.xp
    with p.scope():
        if activation == "gelu_tanh":
            return kernels.bias_act_grad(g, saved[:, :m].reshape(g.shape), None, activation)
        columns = xp.arange(m)
        bits = (saved[:, columns >> 3] >> (columns & 7).astype(np.uint8)) & 1  # of a byte, the lowest bit comes first
        dz = xp.where(bits.reshape(g.shape) != 0, g, xp.zeros((), g.dtype)).astype(g.dtype, copy=False)
        return dz, kernels.column_sums(dz)


def _saved(activation: str, shape: tuple[int, ...], dtype: Any) -> tuple[tuple[int, int], Any]:
    """Shape and dtype of what is saved: a row of it is a multiple of 128 bits, or of 8 elements."""
    rows, m = math.prod(shape[:-1]), shape[-1]
    return ((rows, -(-m // 128) * 16), np.uint8) if activation == "relu" else ((rows, -(-m // 8) * 8), dtype)


def _check_saved(saved: Any, activation: str, shape: tuple[int, ...], g: Array) -> None:
    if activation not in ("relu", "gelu_tanh"):
        raise ValueError(f"nothing is saved for the activation {activation!r}; it is for 'relu' and 'gelu_tanh'")
    wanted, kind = _saved(activation, shape, g.dtype)
    if library(saved) is not library(g):
        raise TypeError(f"saved is an array beside g, given {type(saved).__name__}")
    if saved.shape != wanted or saved.dtype != kind or not saved.flags.c_contiguous:
        raise ValueError(f"saved is what linear answered for {shape}: {wanted} of {np.dtype(kind)}, whole")


def _made(x: Array, y: Array, shape: tuple[int, ...], epilogue: str, aux: Any) -> Product | bool:
    """The product with an epilogue; False if a size is 0 or more than cuBLASLt's integers hold."""
    if not 0 < min(*shape, x.shape[-1]) or max(math.prod(shape[:-1]), *y.shape) > blas.LIMIT:
        return False
    options: dict[str, Any] = {"dtype": x.dtype.name, "tf32": tf32(x.dtype), "epilogue": epilogue}
    if aux is not None:
        (_, row), kind = aux
        options["aux_ld"] = 8 * row if kind is np.uint8 else row  # relu's in bits
    found = problem(view(x), view(y), None, shape, rows=True, **options)
    assert found is not None
    return Product(shape, *found, (0, 0, 0), x.dtype.itemsize)
