"""softmax(scale q kᵀ + mask) v, block by block.

Kept are q, k, v, the mask, the output and the logarithm of each row's sum of exponentials, from which the way back
computes the scores again (Dao 2023, FlashAttention-2).  Neither way holds more of them than a block.  The second order
is composed of ops, and holds them whole.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import raw
from ..dtypes import wide
from ..gemm.products import product
from ..op import Parts, op
from .casting import astype
from .dropout import dropped, offsets
from .linalg import matmul
from .logic import where
from .math import total
from .reduce import sum
from .shape import matrix_transpose
from .softmax import softmax, softmax_grad

HOST, DEVICE = 2**16, 2**22  # scores in a block: what the caches of a CPU hold; what keeps a GPU busy
LEAST = 64  # rows of a block, below which products of matrices are slow
LOW = -1e30  # a score that counts nothing: of infinities the gradients of other ways to write this are NaN


def _times(xp: Any, x: Any, y: Any) -> Any:
    return np.matmul(x, y) if xp is np else product(x, y)


def scores_of(q: Any, k: Any, v: Any, mask: Any) -> tuple[int, ...]:
    """The shape of the scores.  ValueError if leading axes do not broadcast."""
    lead = [a.shape[:-2] for a in (q, k, v, mask) if a is not None]
    return (*np.broadcast_shapes(*lead), q.shape[-2], k.shape[-2])


def _later(xp: Any, rows: int, columns: int) -> Any:
    """Which columns come after a row's own."""
    return xp.arange(columns) > xp.arange(rows)[:, None]


def _pieces(xp: Any, scores: tuple[int, ...], causal: bool) -> Iterator[tuple[tuple[int, ...], slice, slice]]:
    """Pieces of the scores (..., rows, columns): the index of leading axes, the rows, the columns that they look at."""
    *lead, rows, columns = scores
    if not columns:
        return
    most = HOST if xp is np else DEVICE
    depth = next((i for i in range(len(lead)) if math.prod(scores[i:]) <= most), len(lead))
    step = max(LEAST, most // columns) if depth == len(lead) else rows
    step = min(step, max(LEAST, rows // 8)) if causal else step
    for at in np.ndindex(*lead[:depth]):
        for a in range(0, rows, step):
            b = min(a + step, rows)
            yield at, slice(a, b), slice(min(b, columns) if causal else columns)


def _walk(
    xp: Any, q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float, rate: float, seed: int, offset: int
) -> Iterator[tuple[Any, Any, Any, Any, Any, Callable[[Any], Any]]]:
    """For each piece of the scores: where its rows are, where its columns; scaled q, k; the scores; what drops some.

    In the wide dtype; a score that does not count is -inf.
    """
    scores, full = scores_of(q, k, v, mask), wide(np.result_type(q.dtype, k.dtype, v.dtype))
    q, k = [xp.broadcast_to(a, (*scores[:-2], *a.shape[-2:])) for a in (q, k)]
    mask = None if mask is None else xp.broadcast_to(mask, scores)
    for at, rows, columns in _pieces(xp, scores, causal):
        here, there = (*at, ..., rows, slice(None)), (*at, ..., columns, slice(None))
        q_here, k_there = q[here].astype(full, copy=False) * full.type(scale), k[there].astype(full, copy=False)
        s = _times(xp, q_here, k_there.swapaxes(-1, -2))
        part = None if mask is None else mask[(*at, ..., rows, columns)]
        if part is not None and part.dtype.kind == "b":
            xp.copyto(s, -math.inf, where=~part)
        elif part is not None:
            s += part.astype(full, copy=False)
        if causal:
            end = s[..., rows.start :]  # all rows look at the columns before
            xp.copyto(end, -math.inf, where=xp.broadcast_to(_later(xp, *end.shape[-2:]), end.shape))
        drop = lambda x, offset=offset: dropped(xp, x, rate=rate, seed=seed, offset=offset) if rate else x
        yield here, there, q_here, k_there, s, drop
        offset += offsets(s.size)


def _attention(
    xp: Any, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float, rate: float, seed: int, offset: int,
    bias: bool,
) -> Any:  # fmt: skip
    """(softmax(scale q kᵀ + mask) v, the logarithm of the sum of exponentials of each row)."""
    shape, dtype = scores_of(q, k, v, mask), np.result_type(q.dtype, k.dtype, v.dtype)
    out, lse = xp.zeros((*shape[:-1], v.shape[-1]), dtype), xp.zeros((*shape[:-1], 1), wide(dtype))
    values = xp.broadcast_to(v, (*shape[:-2], *v.shape[-2:]))
    for here, there, _, _, s, drop in _walk(xp, q, k, v, mask, causal, scale, rate, seed, offset):
        top = s.max(-1, keepdims=True)
        top = xp.where(top == -np.inf, s.dtype.type(0), top)  # of a row that looks at nothing
        s -= top
        total = xp.exp(s, out=s).sum(-1, keepdims=True)
        total = xp.where(total == 0, s.dtype.type(1), total)
        lse[here] = top + xp.log(total)
        out[here] = _times(xp, drop(s), values[there].astype(s.dtype, copy=False)) / total
    return out, lse


def _attention_grad(
    xp: Any, g: Any, q: Any, k: Any, v: Any, mask: Any, out: Any, lse: Any, *, causal: bool, scale: float, rate: float,
    seed: int, offset: int, bias: bool,
) -> Any:  # fmt: skip
    """The cotangents of q, k, v, and with `bias` of the mask; with the leading axes of all together."""
    lead, full = g.shape[:-2], lse.dtype
    dq, dk, dv = [xp.zeros((*lead, *a.shape[-2:]), full) for a in (q, k, v)]
    dmask = [xp.zeros((*[1] * (g.ndim - mask.ndim), *mask.shape), full)] if bias else []
    values = xp.broadcast_to(v, (*lead, *v.shape[-2:]))
    for here, there, q_here, k_there, s, drop in _walk(xp, q, k, v, mask, causal, scale, rate, seed, offset):
        s -= lse[here]
        p, g_here = xp.exp(s, out=s), g[here].astype(full, copy=False)
        d = drop(_times(xp, g_here, values[there].astype(full, copy=False).swapaxes(-1, -2)))
        d -= (g_here * out[here]).sum(-1, keepdims=True)
        d *= p
        dq[here] = _times(xp, d, k_there) * full.type(scale)
        for whole, left, right in ((dk, d, q_here), (dv, drop(p), g_here)):
            part = whole[there]
            part += _times(xp, left.swapaxes(-1, -2), right)
        for whole in dmask:
            _add(whole, d, here, there)
    return tuple([a.astype(b.dtype, copy=False) for a, b in zip((dq, dk, dv, *dmask), (q, k, v, mask))])


def _add(whole: Any, part: Any, here: tuple, there: tuple) -> None:
    """Add a piece of the cotangent of the scores to that of a mask, which may have been broadcast."""
    *at, _, rows, _ = here
    *_, columns, _ = there
    place = [0 if n == 1 else i for i, n in zip(at, whole.shape)]
    spans = [slice(None) if n == 1 else s for n, s in zip(whole.shape[-2:], (rows, columns))]
    view = whole[(*place, ..., *spans)]
    view += part.sum(tuple([i for i, n in enumerate(view.shape) if n == 1]), keepdims=True)


# ---------------------------------------------------------------------------------------------- the second order
def _kept(xp: Any, like: Any, scores: tuple[int, ...], causal: bool, rate: float, seed: int, offset: int) -> Any:
    """What dropout multiplies all weights with, in the dtype of `like`."""
    out = xp.ones_like(like, shape=scores)
    for at, rows, columns in _pieces(xp, scores, causal):
        part = out[(*at, ..., rows, columns)]
        part[...] = dropped(xp, xp.ones_like(part), rate=rate, seed=seed, offset=offset)
        offset += offsets(part.size)
    return out


def _grad_rule(
    h: Parts, g: Any, q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float, rate: float, seed: int, offset: int
) -> tuple[Any, ...]:
    """The cotangents of g, q, k, v and the mask in `_attention_grad`, of cotangents h of what it answers.

    With P the softmax, Z = P K what dropout leaves of it, A = (g v^T) K, and dS = P (A - sum(P A)): dq = scale dS k,
    dk = scale dS^T q, dv = Z^T g, dmask = dS.  So h asks for the sum of dS W + Z (g hv^T), W = scale (hq k^T + q hk^T)
    + hmask; the pullback of softmax is symmetric in A and W.
    """
    xp, full = xp_of(raw(q)), wide(np.result_type(raw(q).dtype, raw(k).dtype, raw(v).dtype))
    g, q, k, v = [astype(a, full) for a in (g, q, k, v)]
    hq, hk, hv, hm = [astype(h[i], full) if i in h else None for i in range(4)]
    t, scores = matrix_transpose, scores_of(q, k, v, mask)
    s, counts = matmul(q, t(k)) * scale, xp.ones(scores, bool)
    if mask is not None:
        flags = raw(mask).dtype.kind == "b"
        counts = counts & (raw(mask) if flags else raw(mask) > -np.inf)
        s = s if flags else s + where(raw(mask) > -np.inf, astype(mask, full), 0)
    if causal:
        counts = counts & ~_later(xp, scores[-2], scores[-1])
    p = where(counts, softmax(where(counts, s, LOW)), 0)
    kept = _kept(xp, raw(q), scores, causal, rate, seed, offset) if rate else None
    drop = lambda x: x if kept is None else x * kept
    z, a = drop(p), drop(matmul(g, t(v)))
    ds = softmax_grad(a, p)
    w = total([x for x in (
        None if hq is None else matmul(hq, t(k)) * scale, None if hk is None else matmul(q, t(hk)) * scale, hm,
    ) if x is not None] or [a * 0])  # fmt: skip
    u = drop(softmax_grad(w, p))
    over = lambda x: sum(x, axis=-1, keepdims=True)
    by_p = a * w - a * over(p * w) - w * over(p * a)
    by_p = by_p if hv is None else by_p + drop(matmul(g, t(hv)))
    by_s = softmax_grad(by_p, p)
    by_g = matmul(u, v) if hv is None else matmul(u, v) + matmul(z, hv)
    by_q, by_k = matmul(by_s, k), matmul(t(by_s), q)
    by_q = by_q if hk is None else by_q + matmul(ds, hk)
    by_k = by_k if hq is None else by_k + matmul(t(ds), hq)
    return (
        by_g,
        by_q * scale,
        by_k * scale,
        matmul(t(u), g),
        by_s,
        None,
        None,
    )  # out and lse are functions of the others


attention = op(
    _attention,
    name="scaled_dot_product_attention",
    aux=("lse",),
    pull=lambda g, q, k, v, mask, out, lse, causal, scale, rate, seed, offset, bias: attention_grad(
        g, q, k, v, mask, out, lse, causal=causal, scale=scale, rate=rate, seed=seed, offset=offset, bias=bias
    ),
)
attention_grad = op(_attention_grad, name="attention_grad", several=True, pull=_grad_rule)
