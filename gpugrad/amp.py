"""Floor 7: `autocast`, in which the listed functions take their operands in another dtype.

A function that is listed is armed (`arming.py`) when a program first enters an autocast: it looks whether there is one
around it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple
from weakref import ref

from numpy import generic

from . import backprop
from .arming import Armed, arm, armed
from .array import library
from .core import Tensor, tick, writes
from .dtypes import DTypeLike, as_dtype, bfloat16, float16, float32, is_inexact
from .forward import promoted
from .ops import (
    activation,
    attention,
    batch_norm,
    conv,
    conv_activation,
    ctc,
    distance,
    distances,
    divergence,
    feed_forward,
    group_norm,
    linalg,
    linear,
    loss,
    margin,
    math,
    norm,
    normalization,
    piecewise,
    recurrent,
    recurrent_step,
    reduce,
    scan,
    scatter,
    softmax,
    special,
)
from .ops.casting import astype
from .recording import active, scope, tracked
from .repeat import carried

# What runs in the dtype of the autocast: products, which half types make faster.  Ops are listed where all operands
# reach them as they are; functions, where they look at dtypes themselves or have several steps.
LOWER: dict[ModuleType, str] = {
    linalg: "matmul tensordot einsum",
    linear: "linear",
    feed_forward: "feed_forward",
    conv_activation: "conv_relu conv_sigmoid conv_tanh",
    conv: "conv_op conv_transpose1d conv_transpose2d conv_transpose3d",
    attention: "attention",
    recurrent: "gru lstm rnn",
    recurrent_step: "gru_cell lstm_cell",
    piecewise: "prelu",
}
# What runs in float32: what has a larger range than its input, sums of many, and losses.
FLOAT32: dict[ModuleType, str] = {
    math: "acos asin cosh exp exp2 expm1 float_power log log10 log1p log2 logaddexp logaddexp2 pow reciprocal rsqrt "
    "sinh tan",
    reduce: "logsumexp prod sum",
    scan: "cumlogsumexp cumprod cumsum",
    special: "erfinv",
    activation: "softplus",
    softmax: "log_softmax softmax softmax_xent",
    batch_norm: "batch_norm batch_norm_inference",
    group_norm: "_group_norm_op",
    normalization: "norm",
    linalg: "vector_norm",
    norm: "l2_normalize normalize",
    ctc: "ctc_loss",
    distance: "cosine_similarity huber_loss l1_loss pairwise_distance smooth_l1_loss",
    distances: "cdist",
    divergence: "binary_cross_entropy binary_cross_entropy_with_logits gaussian_nll_loss kl_div poisson_nll_loss",
    loss: "absolute_rows binary_rows class_rows cross_entropy label_rows mse_loss nll_loss sigmoid_xent squared_error "
    "squared_rows",
    margin: "cosine_embedding_loss hinge_embedding_loss hinge_loss margin_ranking_loss multi_margin_loss "
    "multilabel_margin_loss multilabel_soft_margin_loss soft_margin_loss triplet_margin_loss",
}
# What runs in the widest dtype of its operands, and without autocast in that of the first.  Everything that is on no
# list runs in the dtype of its inputs; of two dtypes in the wider one, as it always does.
WIDEST: dict[ModuleType, str] = {scatter: "index_add put_along_axis scatter"}
# What has no autocast inside: a walk back runs in the dtypes of the way there.
OUTSIDE: dict[ModuleType, str] = {backprop: "backprop"}

_HALF = (float16, bfloat16)
_CAST = (float32, float16, bfloat16)  # what is cast; a call with another floating dtype is left as it is


class autocast:
    """Inside, products of matrices run in `dtype`, and what half types cannot hold in float32.

        with gg.autocast("bfloat16"):          @gg.autocast("bfloat16")
            loss = loss_of(model(x), y)        def loss_of(x, y): ...

    The lists are LOWER, FLOAT32 and WIDEST of `gpugrad.amp`, as PyTorch has them.  Operands are cast by recorded ops,
    so gradients of float32 weights are float32, and what the tape keeps of a product is half as large.  A weight is
    cast once for the outermost block, and again when it has changed.  Integers are not cast, and a call that has a
    float64 or complex operand is left as it is.  The way back runs in the dtypes of the way there, wherever it is asked
    for.

    dtype     "bfloat16", or "float16", whose small gradients need a `GradScaler`; ValueError for another
    enabled   False: as without, inside another autocast, too

    A context manager and a decorator, re-entrant, for each thread or task its own; functions that a checkpoint runs
    again run as they did.
    """

    def __new__(cls, *given: Any, **options: Any) -> autocast:
        """ValueError for a device, which PyTorch's takes first, before Python finds `dtype` given twice."""
        device = options.get("device_type", given[0] if given else None)
        if isinstance(device, str) and device.partition(":")[0] in ("cuda", "cpu", "gpu"):
            dtype = str(as_dtype(options.get("dtype") or (given[1] if given[1:] else "bfloat16")))
            raise ValueError(f"autocast takes no device, here {device!r}: write gg.autocast({dtype!r})")
        return super().__new__(cls)

    def __init__(self, dtype: DTypeLike = "bfloat16", enabled: bool = True) -> None:
        self.dtype, self.enabled = as_dtype(dtype), bool(enabled)
        if self.dtype not in _HALF:
            raise ValueError(f"autocast: dtype is 'bfloat16' or 'float16', not {str(self.dtype)!r}")

    def __enter__(self) -> None:
        _arm()
        around = _entered.get()
        weights = next((e.weights for e in around if e.weights is not None), None)
        if self.enabled and weights is None:
            weights = {}
        _entered.set((*around, _Entry(self, self.dtype if self.enabled else None, weights)))

    def __exit__(self, *exc: object) -> None:
        around = _entered.get()
        for i in reversed(range(len(around))):  # its own, wherever that is: blocks may end in any order
            if around[i].owner is self:
                left = (*around[:i], *around[i + 1 :])
                _entered.set(left)
                if not left and (weights := around[i].weights) is not None:
                    weights.clear()
                return

    __call__ = scope.__call__
    _steps = scope._steps


_takes = list(inspect.signature(autocast.__init__).parameters.values())[1:]
autocast.__signature__ = inspect.Signature(_takes)  # type: ignore[attr-defined]  # and not that of __new__


class _Entry(NamedTuple):
    """One autocast that has been entered.

    dtype     what it casts to; None where it is not enabled
    weights   the casts of leaves, by the id of the tensor and the dtype: one dict for all blocks in an outermost one
    """

    owner: autocast
    dtype: Any
    weights: dict[Any, _Weight] | None


class _Weight(NamedTuple):
    """A leaf that has been cast: what must still be so for the cast to stand for it."""

    leaf: Any  # a weak reference to the tensor
    array: Callable[[], Any]
    age: int
    open: tuple
    landed: list
    cast: Tensor


_entered: ContextVar[tuple[_Entry, ...]] = ContextVar("gpugrad_autocast", default=())
carried.append(_entered)


# ---------------------------------------------------------------------------------------------- arming
_SLOT = "_autocast"
_arming = Lock()


def _arm() -> None:
    """Arm what is listed, once.  After an error nothing is armed."""
    with _arming:
        if not armed(backprop.backprop, _SLOT):
            for f, names in list(listed()):
                arm(f, _SLOT, _current, _run, names)


def listed() -> Iterator[tuple[Any, dict[ModuleType, str]]]:
    """Each function of the lists, and the list that it is on; of an op, those of all classes of tensors."""
    lists = [(m, line, on) for on in (LOWER, FLOAT32, WIDEST, OUTSIDE) for m, line in on.items()]
    for f, names in [(getattr(m, name), on) for m, line, on in lists for name in line.split()]:
        for each in [c for r in f.op.calls if (c := r()) is not None] if hasattr(f, "op") else [f]:
            yield each, names


def _current(args: tuple, more: dict[str, Any]) -> _Entry | None:
    around = _entered.get()
    return around[-1] if around and around[-1].dtype is not None else None


# ---------------------------------------------------------------------------------------------- casting
def _run(what: Armed, now: _Entry, args: tuple, more: dict[str, Any]) -> Any:
    """One call of a listed function, with its operands cast and without autocast inside."""
    token = _entered.set(())
    try:
        floats = [] if what.about is OUTSIDE else _floats([*args, *more.values()])
        if floats and all([d in _CAST for d in floats]):
            to = now.dtype if what.about is LOWER else float32 if what.about is FLOAT32 else promoted(*floats)
            wanted = _HALF if what.about is FLOAT32 else _CAST
            args = tuple([_cast(a, wanted, to, now.weights) for a in args])
            more = {k: _cast(v, wanted, to, now.weights) if _holds(v) else v for k, v in more.items()}
        return what.run(*args, **more)
    finally:
        _entered.reset(token)


def _holds(v: Any) -> bool:
    return isinstance(v, Tensor) or type(v) in (list, tuple)


def _floats(values: Iterable[Any]) -> list[Any]:
    """The dtypes of the Tensors among values, and in lists of them, but for integers."""
    found = []
    for v in values:
        if isinstance(v, Tensor):
            found += [v.array.dtype] if is_inexact(v.array.dtype) else []
        elif type(v) in (list, tuple):
            found += _floats(v)
    return found


def _cast(v: Any, wanted: tuple, to: Any, weights: Any) -> Any:
    """`v`, or what is in a list, in dtype `to`, if it is of one of the dtypes `wanted`; arrays beside Tensors, too."""
    if isinstance(v, Tensor):
        d = v.array.dtype
        if d == to or d not in wanted:
            return v
        n = v.node
        return astype(v, to) if n is None or n.op is not None else _weight(v, to, weights)
    if type(v) in (list, tuple):
        return type(v)([_cast(a, wanted, to, weights) for a in v])
    if isinstance(v, generic) or library(v) is None or v.dtype not in wanted:
        return v
    return astype(v, to)


def _weight(t: Tensor, to: Any, weights: dict[Any, _Weight]) -> Tensor:
    """A leaf in dtype `to`: the same cast for as long as its value, and the tapes that record, are the same."""
    key, now, a = (id(t), to), active(), t.array
    landed = tracked(now.tapes, [t.node])[1] if now.tapes else []
    found = weights.get(key)
    if (
        found is not None
        and found.array() is a
        and found.open == now.open
        and found.landed == landed
        and _untouched(found, a)
    ):
        return found.cast
    cast = astype(t, to)
    leaf = ref(t, lambda r: weights.pop(key) if key in weights and weights[key].leaf is r else None)
    weights[key] = _Weight(leaf, writes.ask(a), tick(), now.open, landed, cast)
    return cast


def _untouched(found: _Weight, a: Any) -> bool:
    """Whether nobody has written to the memory of the leaf or of its cast, and no walk has freed a node of that."""
    if writes.ages and any([age > found.age for b in (a, found.cast.array) for age in writes.of(b)]):
        return False
    n = found.cast.node
    while n is not None:
        if n.saved is None:
            return False
        n = n.next
    return True
