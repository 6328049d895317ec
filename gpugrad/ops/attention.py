"""softmax(scale q kᵀ + mask) v, block by block.

Kept are q, k, v, the mask, the output and the logarithm of each row's sum of exponentials, from which the way back
computes the scores again (Dao 2023, FlashAttention-2).  Neither way holds more of them than a block.  The second order
is composed of ops, and holds them whole.
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..array import xp as xp_of
from ..core import Tensor, raw
from ..dtypes import wide
from ..gemm.products import product
from ..op import Parts, op
from .casting import astype
from .dropout import dropped, offsets
from .examples import own
from .linalg import matmul
from .logic import greater, logical_and, where
from .math import total
from .reduce import sum
from .shape import aligned, matrix_transpose
from .softmax import softmax, softmax_grad
from .threads import shared

# Multiplications in the products of a piece.  OpenBLAS spreads larger ones than the first over threads of its own,
# which costs a busy machine many times what it brings; whole heads go to threads of ours.
HOST, DEVICE = 10**6, 2**28
MANY = 2**19  # scores that are worth threads
PIECE = 2**17  # scores of small heads that go together on the CPU: as many as its cache holds
LEAST = 32  # rows of a block, below which products are slow
LOW = -1e30  # the logarithm of what counts nothing, for rules of ops: of infinities their gradients would be NaN


def _times(xp: Any, x: Any, y: Any) -> Any:
    return np.matmul(x, y) if xp is np else product(x, y)


def scores_of(q: Any, k: Any, v: Any, mask: Any) -> tuple[int, ...]:
    """The shape of the scores.  ValueError if leading axes do not broadcast."""
    lead = [a.shape[:-2] for a in (q, k, v, mask) if a is not None]
    return (*np.broadcast_shapes(*lead), q.shape[-2], k.shape[-2])


def _pieces(
    xp: Any, scores: tuple[int, ...], width: int, causal: bool
) -> tuple[list[tuple[int, tuple]], list[tuple[slice, slice]]]:
    """How the scores (..., rows, columns) are cut: pieces, as (scores before it, index of its leading axes), and for
    each of them (the rows, the columns they look at).  Small heads go together."""
    *lead, rows, columns = scores
    if not math.prod(scores):
        return [], []
    most = (HOST if xp is np else DEVICE) // max(width, 1)
    depth = next((i for i in range(len(lead)) if math.prod(scores[i:]) <= (PIECE if xp is np else most)), len(lead))
    step = rows if rows * columns <= most else max(LEAST, most // columns)
    step = min(step, max(2 * LEAST, rows // 8)) if causal else step
    step = -(-rows // -(-rows // step))  # all about as large
    cuts = [slice(a, min(a + step, rows)) for a in range(0, rows, step)]
    cuts = [(r, slice(min(r.stop, columns) if causal else columns)) for r in cuts]
    if not depth:
        return [(0, ())], cuts
    inner = math.prod(scores[depth:])  # of one index of the last axis that is cut
    together = max(1, PIECE // inner) if xp is np else 1
    together = -(-lead[depth - 1] // -(-lead[depth - 1] // together))
    starts = range(0, lead[depth - 1], together)
    at = [(*i, slice(j, j + together)) for i in np.ndindex(*lead[: depth - 1]) for j in starts]
    before = [inner * (i * lead[depth - 1] + j) for i in range(math.prod(lead[: depth - 1])) for j in starts]
    return list(zip(before, at)), cuts


def _turned(xp: Any, a: Any) -> Any:
    """The transpose; on the CPU a copy, of which small products are faster.

    Heads lie in rows of many: gathered first, they are turned in the cache.
    """
    return np.ascontiguousarray(np.ascontiguousarray(a).swapaxes(-1, -2)) if xp is np else a.swapaxes(-1, -2)


class How(NamedTuple):
    """Whether a row looks at later columns; what scores are multiplied with; dropout."""

    causal: bool
    scale: float
    rate: float = 0.0
    seed: int = 0
    offset: int = 0


def _each(
    xp: Any, q: Any, k: Any, v: Any, mask: Any, how: How, turn: bool, alone: bool, work: Callable[..., None]
) -> None:
    """Calls work(where its rows are, where its columns, q scaled, k, v, the scores, what drops some) for each piece.

    In the wide dtype; a score that does not count is -inf.  turn: v is transposed.  On the CPU the leading axes of
    large scores are spread over threads, unless `alone`.
    """
    scores, full = scores_of(q, k, v, mask), wide(np.result_type(q.dtype, k.dtype, v.dtype))
    q, k, v = [xp.broadcast_to(a, (*scores[:-2], *a.shape[-2:])) for a in (q, k, v)]
    mask = None if mask is None else xp.broadcast_to(mask, scores)
    heads, cuts = _pieces(xp, scores, max(q.shape[-1], v.shape[-1]), how.causal)
    hidden = {n: ~xp.tri(*n, dtype=bool) for n in map(_corner, cuts)} if how.causal else {}

    def run(part: Iterable[tuple[int, tuple]]) -> None:
        for before, at in part:
            keys, values = [a[(*at, ...)].astype(full, copy=False) for a in (k, v)]
            turned, values = _turned(xp, keys), _turned(xp, values) if turn else values
            place = how.offset + before
            for cut in cuts:
                rows, columns = cut
                here, there = (*at, ..., rows, slice(None)), (*at, ..., columns, slice(None))
                q_here = q[here].astype(full, copy=False) * full.type(how.scale)
                s = _times(xp, q_here, turned[..., columns])
                if mask is not None:
                    _hide(xp, s, mask[(*at, ..., rows, columns)])
                if how.causal:
                    xp.copyto(s[..., rows.start :], -math.inf, where=hidden[_corner(cut)])
                drop = lambda x, place=place: dropped(xp, x, how.rate, how.seed, place) if how.rate else x
                v_there = values[..., columns] if turn else values[..., columns, :]
                work(here, there, q_here, keys[..., columns, :], v_there, s, drop)
                place += offsets(s.size)

    if xp is np and not alone and math.prod(scores) >= MANY:
        shared(run, heads)
    else:
        run(heads)


def _corner(cut: tuple[slice, slice]) -> tuple[int, int]:
    """How many rows there are, and columns from the first row's on: all rows look at those before."""
    rows, columns = cut
    return rows.stop - rows.start, max(columns.stop - rows.start, 0)


def _hide(xp: Any, s: Any, mask: Any) -> None:
    """s + mask, in place; of a bool mask, -inf where it is false."""
    if mask.dtype.kind == "b":
        xp.copyto(s, -math.inf, where=~mask)
    else:
        s += mask.astype(s.dtype, copy=False)


def _sums(xp: Any, s: Any) -> Any:
    """The sum of each row: as a product, a quarter of the time of NumPy's own."""
    return np.matmul(s, np.ones((s.shape[-1], 1), s.dtype)) if xp is np else s.sum(-1, keepdims=True)


def _zeros(xp: Any, shape: tuple[int, ...], dtype: np.dtype, like: Any) -> Any:
    """Zeros, whose axes lie in memory as those of `like`: heads that lie in the rows are joined without a copy."""
    return xp.zeros_like(like, dtype, "K" if like.ndim == len(shape) else "C", shape=shape)


def _attention(xp: Any, q: Any, k: Any, v: Any, mask: Any, *, how: How, bias: bool = False) -> Any:
    """(softmax(scale q kᵀ + mask) v, the logarithm of the sum of exponentials of each row)."""
    shape, dtype = scores_of(q, k, v, mask), np.result_type(q.dtype, k.dtype, v.dtype)
    out, lse = _zeros(xp, (*shape[:-1], v.shape[-1]), dtype, q), xp.zeros((*shape[:-1], 1), wide(dtype))

    def work(here: Any, there: Any, q: Any, k: Any, v: Any, s: Any, drop: Any) -> None:
        top = s.max(-1, keepdims=True)
        top = xp.where(top == -np.inf, s.dtype.type(0), top)  # of a row that looks at nothing
        s -= top
        total = _sums(xp, xp.exp(s, out=s))
        total = xp.where(total == 0, s.dtype.type(1), total)
        lse[here] = top + xp.log(total)
        out[here] = _times(xp, drop(s), v) / total

    _each(xp, q, k, v, mask, how, False, False, work)
    return out, lse


def _attention_grad(
    xp: Any, g: Any, q: Any, k: Any, v: Any, mask: Any, out: Any, lse: Any, *, how: How, bias: bool = False
) -> Any:
    """The cotangents of q, k, v, and with `bias` of the mask; with the leading axes of all together."""
    full = lse.dtype
    dq, dk, dv = [_zeros(xp, (*g.shape[:-2], *a.shape[-2:]), full, a) for a in (q, k, v)]
    dmask = xp.zeros((*[1] * (g.ndim - mask.ndim), *mask.shape), full) if bias else None

    def work(here: Any, there: Any, q: Any, k: Any, v_turned: Any, s: Any, drop: Any) -> None:
        s -= lse[here]
        p, g_here = xp.exp(s, out=s), g[here].astype(full, copy=False)
        d = drop(_times(xp, g_here, v_turned))
        d -= (g_here * out[here]).sum(-1, keepdims=True)
        d *= p
        dq[here] = _times(xp, d, k) * full.type(how.scale)
        for whole, left, right in ((dk, d, q), (dv, drop(p), g_here)):
            part = whole[there]
            part += _times(xp, left.swapaxes(-1, -2), right)
        if dmask is not None:
            _add(dmask, d, here, there)

    _each(xp, q, k, v, mask, how, True, bias, work)
    found = (dq, dk, dv) if dmask is None else (dq, dk, dv, dmask)
    return tuple([a.astype(b.dtype, copy=False) for a, b in zip(found, (q, k, v, mask))])


def _add(whole: Any, part: Any, here: tuple, there: tuple) -> None:
    """Add a piece of the cotangent of the scores to that of a mask, which may have been broadcast."""
    *at, _, rows, _ = here
    *_, columns, _ = there
    place = [i if n > 1 else slice(None) if isinstance(i, slice) else 0 for i, n in zip(at, whole.shape)]
    spans = [slice(None) if n == 1 else s for n, s in zip(whole.shape[-2:], (rows, columns))]
    view = whole[(*place, ..., *spans)]
    view += part.sum(tuple([i for i, n in enumerate(view.shape) if n == 1]), keepdims=True)


# ---------------------------------------------------------------------------------------------- the second order
def _kept(xp: Any, like: Any, scores: tuple[int, ...], width: int, how: How) -> Any:
    """What dropout multiplies all weights with, in the dtype of `like`."""
    out = xp.ones_like(like, shape=scores)
    heads, cuts = _pieces(xp, scores, width, how.causal)
    for before, at in heads:
        place = how.offset + before
        for rows, columns in cuts:
            part = out[(*at, ..., rows, columns)]
            part[...] = dropped(xp, xp.ones_like(part), how.rate, how.seed, place)
            place += offsets(part.size)
    return out


def weights(q: Any, k: Any, mask: Any, scores: tuple[int, ...], how: How) -> Any:
    """The softmax, whole, of the shape `scores`, before dropout; 0 where a query looks at nothing."""
    xp, full = xp_of(raw(q)), wide(np.result_type(raw(q).dtype, raw(k).dtype))
    s = matmul(astype(q, full), matrix_transpose(astype(k, full))) * how.scale
    counts = xp.ones(scores, bool)
    if mask is not None:
        flags = raw(mask).dtype.kind == "b"
        seen = raw(mask) if flags else greater(raw(mask), -np.inf)
        counts = logical_and(counts, seen)
        s = s if flags else s + where(seen, astype(mask, full), 0)
    if how.causal:
        counts = logical_and(counts, xp.tri(*scores[-2:], dtype=bool))
    return where(counts, softmax(where(counts, s, LOW)), 0)


def _grad_rule(h: Parts, g: Any, q: Any, k: Any, v: Any, mask: Any, how: How) -> tuple[Any, ...]:
    """The cotangents of g, q, k, v and the mask in `_attention_grad`, of cotangents h of what it answers.

    With P the softmax, Z = P K what dropout leaves of it, A = (g v^T) K, and dS = P (A - sum(P A)): dq = scale dS k,
    dk = scale dS^T q, dv = Z^T g, dmask = dS.  So h asks for the sum of dS W + Z (g hv^T), W = scale (hq k^T + q hk^T)
    + hmask; the pullback of softmax is symmetric in A and W.
    """
    xp, full = xp_of(raw(q)), wide(np.result_type(raw(q).dtype, raw(k).dtype, raw(v).dtype))
    g, q, k, v = [astype(a, full) for a in (g, q, k, v)]
    hq, hk, hv, hm = [astype(h[i], full) if i in h else None for i in range(4)]
    t, scores = matrix_transpose, scores_of(q, k, v, mask)
    p = weights(q, k, mask, scores, how)
    kept = _kept(xp, raw(q), scores, max(q.shape[-1], v.shape[-1]), how) if how.rate else None
    drop = lambda x: x if kept is None else x * kept
    z, a = drop(p), drop(matmul(g, t(v)))
    ds = softmax_grad(a, p)
    w = total([x for x in (
        None if hq is None else matmul(hq, t(k)) * how.scale, None if hk is None else matmul(q, t(hk)) * how.scale, hm,
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
    rest = None, None  # out and lse are functions of the others
    return by_g, by_q * how.scale, by_k * how.scale, matmul(t(u), g), by_s, *rest


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """Axes in front broadcast.  What is around may ask for the gradient of a mask that has none inside."""
    if static["how"].rate:
        return NotImplemented  # the same is dropped of all examples
    rank = max([raw(x).ndim - e for x, e in zip(xs, each) if x is not None])
    q, k, v, mask = [aligned(x, rank) if e else x for x, e in zip(xs, each)]
    bias = isinstance(mask, Tensor) and mask.node is not None and raw(mask).dtype.kind not in "biu"
    return call(q, k, v, mask, how=static["how"], bias=static["bias"] or bias)


attention = op(
    _attention,
    batch=_batch,
    name="scaled_dot_product_attention",
    aux=("lse",),
    pull=lambda g, q, k, v, mask, out, lse, how, bias: attention_grad(g, q, k, v, mask, out, lse, how=how, bias=bias),
)


def _grad_batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    if static["how"].rate:
        return NotImplemented
    rank = max([raw(x).ndim - e for x, e in zip(xs, each) if x is not None])
    return call(*[None if x is None else aligned(own(x, e, level.n), rank) for x, e in zip(xs, each)], **static)


attention_grad = op(_attention_grad, name="attention_grad", several=True, pull=_grad_rule, batch=_grad_batch)
