"""Connectionist temporal classification: ctc_loss.

A target of S labels is 2 S + 1 states: a blank, the first label, a blank, the second, and so on.  A way through them
stays, goes on to the next state, or leaves out the blank between two labels that differ (Graves et al. 2006).
"""

# pyright: reportGeneralTypeIssues=false
# (a rule may name the op it belongs to, which pyright calls circular)
from __future__ import annotations

from typing import Any

import numpy as np

from ..array import to_host, xp as xp_of
from ..core import Tensor, raw
from ..dtypes import is_float
from ..forward import boxed, indices, placed
from ..levels import looked_at
from ..op import op
from .attention import LOW
from .choice import clip
from .examples import join, own, part
from .index import getitem, put_add
from .logic import where
from .loss import operands, reduce
from .math import divide, exp, multiply, subtract
from .reduce import logsumexp
from .shape import concat, expand_dims, reshape, squeeze, stack, unstack
from .softmax import softmax, within


# ---------------------------------------------------------------------------------------------- the ways
def _skips(xp: Any, states: Any, blank: int) -> Any:
    """Which states can be reached from the one before the one before."""
    skips = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    return concat([xp.zeros((states.shape[0], 2), bool), skips], 1)


def _ways(xp: Any, before: Any, skips: Any) -> Any:
    """The logarithms of the ways into each state: to stay, from the one before, from the one before that."""
    none = xp.full((*before.shape[:-1], 2), LOW, before.dtype)
    shifted = concat([none, before], -1)
    return stack([before, shifted[..., 1:-1], where(skips, shifted[..., :-2], LOW)])


def _trellis(x: Any, states: Any, last: Any, blank: int) -> Any:
    """The logarithm of the probability to be in each state, (times, rows, states)."""
    xp, (n, length) = xp_of(states), states.shape
    steps, skips = xp.arange(x.shape[0]), _skips(xp, states, blank)
    # what is after the last time may be anything
    x = clip(where((steps[:, None] <= last[:, 0])[:, :, None], x, 0), LOW)
    own = unstack(getitem(x, (slice(None), xp.arange(n)[:, None], states)))
    found = [where(xp.arange(length) < 2, own[0], LOW)]
    for here in own[1:]:
        found.append(logsumexp(_ways(xp, found[-1], skips), axis=0) + here)
    return stack(found)


def _ended(xp: Any, found: Any, ends: Any, last: Any) -> Any:
    """The logarithms of the states at the last time of each row, LOW where no target ends."""
    out = getitem(found, (xp.maximum(last[:, 0], 0), xp.arange(len(last))))
    return where(ends & (last >= 0), out, LOW)


def _ctc(xp: Any, x: Any, states: Any, ends: Any, last: Any, *, blank: int) -> tuple[Any, Any]:
    """(-log of the probability of each target, infinite where there is no way; the trellis)."""
    found = _trellis(x, states, last, blank)
    whole = logsumexp(_ended(xp, found, ends, last), axis=-1)
    loss = xp.where(whole < LOW / 2, x.dtype.type(np.inf), -whole)
    return xp.where(ends[:, 0] & (last[:, 0] < 0), x.dtype.type(0), loss), found  # nothing in no time


def _posterior(x: Any, states: Any, ends: Any, last: Any, found: Any, blank: int) -> Any:
    """The probability to be in each class at each time, given the target; 0 where there is no way to it."""
    states, ends, last, found = map(raw, (states, ends, last, found))
    xp, (n, length) = xp_of(states), states.shape
    if isinstance(x, Tensor):  # once more, with a history
        found = _trellis(x, states, last, blank)
    ended = _ended(xp, found, ends, last)
    whole = logsumexp(ended, axis=-1, keepdims=True)
    at_end = where(ends & (raw(whole) > LOW / 2), exp(subtract(ended, whole)), 0)
    none = xp.zeros((n, 2), x.dtype)
    t = x.shape[0] - 1
    here = where(last == t, at_end, 0)
    out = [here]
    ways = softmax(_ways(xp, found[:-1], _skips(xp, states, blank)), axis=0)
    for come in reversed(unstack(ways, axis=1) if t else ()):
        t -= 1
        stayed, one, two = unstack(multiply(come, here))
        here = stayed + concat([one, none], 1)[:, 1 : length + 1] + concat([two, none], 1)[:, 2:]
        here = where(last == t, at_end, here)
        out.append(here)
    key = xp.arange(len(out))[:, None, None], xp.arange(n)[:, None], states
    return put_add(stack(out[::-1]), key=key, shape=x.shape)


def _batch(call: Any, xs: Any, each: Any, static: dict[str, Any], level: Any) -> Any:
    """Rows of all examples are rows of one batch."""
    xs = [join(own(v, e, level.n), int(i == 0)) for i, (v, e) in enumerate(zip(xs, each))]
    loss, found = call(*xs, **static)
    return part(loss, level.n), part(found, level.n, 1)


_ctc_op = op(
    _ctc,
    batch=_batch,
    name="ctc_loss",
    aux=("found",),
    x=lambda g, x, states, ends, last, found, blank: (
        expand_dims(-g, -1) * _posterior(x, states, ends, last, found, blank)
    ),
    states=None,
    ends=None,
    last=None,
)


# ---------------------------------------------------------------------------------------------- what is given
def ctc_loss(
    log_probabilities: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    reduction: str = "mean",
    blank: int = 0,
    zero_infinity: bool = False,
) -> Any:
    """-log of the probability of a target, however its labels lie in time (Graves et al. 2006).

    log_probabilities  (times, rows, classes), logarithms along the last axis, such as log_softmax answers
    targets            (rows, most labels), or all labels one after the other; without the blank
    input_lengths      how many of the times each row has
    target_lengths     how many labels; the lengths are read on the host
    reduction          "mean" divides each row by its number of labels, at least 1, and takes the mean of rows
    zero_infinity      a row that cannot be, having too little time for its labels, counts 0 instead of infinity

    Without rows: (times, classes), (labels,) and two numbers.  What is after a row's last time is not looked at.  The
    gradient is that for the logarithms themselves; through log_softmax it is PyTorch's, too.
    TypeError for labels that are no integers; ValueError for what does not fit or is out of range; on a GPU, which is
    not waited for, such a label gives NaN.

    Kink: the gradient of a row that cannot be is 0.
    """
    x = boxed(log_probabilities, "ctc_loss")
    if not is_float(raw(x).dtype) or raw(x).ndim not in (2, 3):
        raise ValueError(
            f"ctc_loss: log_probabilities are floats (times, rows, classes) or (times, classes), given "
            f"{raw(x).dtype} {raw(x).shape}"
        )
    alone = raw(x).ndim == 2
    (x,), dtype = operands("ctc_loss", expand_dims(x, 1) if alone else x)
    times, rows, classes = raw(x).shape
    if not times or not hasattr(blank, "__index__") or not 0 <= blank < classes:
        raise ValueError(
            f"ctc_loss: needs a time and a blank in 0..{classes - 1}, given {times} times and blank {blank!r}"
        )
    spans = _lengths("input_lengths", input_lengths, rows, times)
    counts = _lengths("target_lengths", target_lengths, rows, None)
    labels, weights = _labels(placed(targets, raw(x)), counts, classes, blank, raw(x))
    blanks = xp_of(labels).full((rows, labels.shape[1] + 1), blank, labels.dtype)
    states = reshape(stack([blanks[:, 1:], labels], -1), (rows, 2 * labels.shape[1]))
    states = concat([states, blanks[:, :1]], 1)
    place, end = np.arange(states.shape[1]), 2 * counts[:, None]
    ends, last = [placed(a, labels) for a in ((place == end) | (place == end - 1), spans[:, None] - 1)]
    loss = _ctc_op(x[: max([1, *spans.tolist()])], states, ends, last, blank=blank)
    loss = loss if weights is None else multiply(loss, weights)
    if zero_infinity:
        loss = where(raw(loss) == np.inf, 0, loss)
    if reduction == "mean":
        loss = divide(loss, placed(np.maximum(counts, 1).astype(raw(x).dtype), raw(x)))
    return reduce(squeeze(loss, axis=0) if alone else loss, reduction, dtype)


def _lengths(name: str, given: Any, rows: int, most: int | None) -> np.ndarray:
    """The lengths as an array of the host.  ValueError unless there is one for each row, from 0 to `most`."""
    a = to_host(indices(given)).reshape(-1)
    limit, to = (np.inf, "") if most is None else (most, f" to {most}")
    if a.dtype.kind not in "iu" or a.shape != (rows,) or (rows and not 0 <= a.min() <= a.max() <= limit):
        raise ValueError(f"ctc_loss: {name} are {rows} integers from 0 on{to}, given {given!r:.60}")
    return a.astype(np.int64)


def _labels(given: Any, counts: np.ndarray, classes: int, blank: int, x: Any) -> tuple[Any, Any]:
    """(labels (rows, most), blanks after the last; None, or on a GPU 1 for a row, NaN with a label out of range)."""
    xp, rows, most = xp_of(given), len(counts), int(counts.max(initial=0))
    if given.dtype.kind not in "iu":
        raise TypeError(f"ctc_loss: targets are integer class indices, given {given.dtype}")
    flat = given.ndim == 1 and given.shape == (counts.sum(),)
    if not flat and (given.ndim != 2 or given.shape[0] != rows or given.shape[1] < most):
        raise ValueError(
            f"ctc_loss: targets of shape {given.shape} do not fit; they are ({rows}, {most}) or more columns, or all "
            f"{counts.sum()} labels that target_lengths count, one after the other"
        )
    used = np.arange(most) < counts[:, None]
    at = np.where(used, (np.cumsum(counts) - counts)[:, None] + np.arange(most), 0)
    labels = given[placed(at, given)] if flat and given.size else given.reshape(rows, -1)[:, :most]
    used = placed(used, given)
    seen = looked_at(labels)
    if seen is None:
        labels, inside = within(xp, labels, classes)
        one = x.dtype.type
        weights = xp.where((inside | ~used).all(axis=1), one(1), one(np.nan))
        return xp.where(used, labels, labels.dtype.type(blank)), weights
    wrong = seen[used & ((seen < 0) | (seen >= classes) | (seen == blank))]
    if wrong.size:
        raise ValueError(f"ctc_loss: targets hold {wrong[0]}; allowed are 0..{classes - 1} without {blank}, the blank")
    return xp.where(used, labels, labels.dtype.type(blank)), None
