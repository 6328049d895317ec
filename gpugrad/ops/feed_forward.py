"""Two linear layers with an activation between, as one op: what is between them is one pass on the way back, too."""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from .. import gemm
from ..core import Tensor, raw
from ..op import op
from .examples import own
from .linalg import add_product, matmul, product_op, weight_grad
from .linear import ACTIVATIONS, column_sums, fitting, frozen, linear
from .math import add
from .shape import aligned, matrix_transpose


class _Parts(NamedTuple):
    """What the pullbacks start from."""

    g: Any
    hidden: Any
    dz: Any  # the cotangent of the first layer before its activation
    dbias: Any


def _forward(xp: Any, x: Any, weight1: Any, bias1: Any, weight2: Any, bias2: Any, activation: str) -> tuple:
    """(out, the output of the first layer, what its activation's pullback goes by, or None)."""
    found = gemm.linear(x, weight1, bias1, activation) if gemm.usable(x) else None
    hidden, saved = found or (linear(x, weight1, bias1, activation), None)
    return linear(hidden, weight2, bias2), hidden, saved


def _back(g: Any, x: Any, weight1: Any, bias1: Any, weight2: Any, hidden: Any, saved: Any, activation: str) -> _Parts:
    if saved is not None and not isinstance(g, Tensor):
        return _Parts(g, hidden, *gemm.linear_grad(g, weight2, saved, activation))
    z = add(matmul(x, weight1), bias1)
    hidden = ACTIVATIONS[activation](z)
    dz = ACTIVATIONS[activation].op.rules[0](product_op(g, matrix_transpose(weight2)), (z, hidden), z.shape)
    return _Parts(g, hidden, dz, column_sums(dz))


def _batch(activation: str) -> Any:
    """With weights of each example's own, the two layers."""

    def batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
        x, weight1, bias1, weight2, bias2 = xs
        if not any(each[1:]):
            return call(*xs)
        rank = raw(x).ndim - each[0]
        x = own(x, each[0], level.n)
        weight1, bias1, weight2, bias2 = [aligned(v, rank) if e else v for v, e in zip(xs[1:], each[1:])]
        hidden = ACTIVATIONS[activation](add(matmul(x, weight1), bias1))
        return add(matmul(hidden, weight2), bias2), None, None  # the caches are not for a pullback of Tensors

    return batch


@cache
def _made(activation: str) -> Any:
    return op(
        lambda xp, x, weight1, bias1, weight2, bias2: _forward(xp, x, weight1, bias1, weight2, bias2, activation),
        name=f"feed_forward_{activation}",
        aux=("hidden", "saved"),
        batch=_batch(activation),
        via=lambda g, x, weight1, bias1, weight2, hidden, saved: _back(
            g, x, weight1, bias1, weight2, hidden, saved, activation
        ),
        adds={
            "weight1": lambda p, x, total: add_product(p.dz, x, total),
            "weight2": lambda p, total: add_product(p.g, p.hidden, total),
        },
        x=lambda p, weight1: product_op(p.dz, matrix_transpose(weight1)),
        weight1=lambda p, x: weight_grad(p.dz, x, (0, 0)),
        bias1=lambda p: p.dbias,
        weight2=lambda p: weight_grad(p.g, p.hidden, (0, 0)),
        bias2=lambda p: column_sums(p.g),
    )


def feed_forward(x: Any, weight1: Any, bias1: Any, weight2: Any, bias2: Any, activation: str = "relu") -> Any:
    """linear(linear(x, weight1, bias1, activation), weight2, bias2), the block of a transformer (Vaswani et al. 2017).

    x (..., in), weight1 (in, hidden), bias1 (hidden,), weight2 (hidden, out), bias2 (out,) -> (..., out).
    Where cuBLASLt takes the activation, its pullback and the gradient of bias1 along with the products ("relu", and
    "gelu_tanh" of half types), it is one op; otherwise the two layers.  ValueError for an unknown activation.
    """
    a = raw(x)
    if gemm.fused(activation, a) and fitting(a, raw(weight1), raw(bias1)) and not frozen(weight1, x, bias1):
        b, c = raw(weight2), raw(bias2)
        d = getattr(b, "dtype", None)
        if d == a.dtype == getattr(c, "dtype", None) and b.ndim == 2 and b.shape == raw(bias1).shape + c.shape:
            return _made(activation)(x, weight1, bias1, weight2, bias2)
    return linear(linear(x, weight1, bias1, activation), weight2, bias2)
