"""tf.random.  `seed=` draws from a sequence of its own, which that number and set_seed's determine."""

from __future__ import annotations

from typing import Any

from .. import random as _random
from ..array import DTypeLike, as_dtype, float32
from ..ops import index, math
from .functions import _integers, _made, named, row
from .tensor import as_tf

_NORMAL = "shape, mean=0.0, stddev:std=1.0, dtype='float32', seed=None"


def uniform(
    shape: Any, minval: float = 0, maxval: Any = None, dtype: DTypeLike = float32, seed: int | None = None,
    name: str | None = None,
) -> Any:  # fmt: skip
    """Uniform numbers in [minval, maxval); integers where dtype is one."""
    if as_dtype(dtype).kind not in "iu":
        return as_tf(_random.uniform(_integers(shape), minval, 1.0 if maxval is None else maxval, dtype, seed=seed))
    if maxval is None:
        raise ValueError("Must specify maxval for integer dtype: tf.random.uniform(shape, maxval=10, dtype=tf.int32)")
    return as_tf(math.astype(_random.randint(int(minval), int(maxval), _integers(shape), seed=seed), dtype))


set_seed = _random.seed
globals().update(named({
    "normal": row(_made(_random.normal), _NORMAL, "Normal numbers.", _integers),
    "shuffle": row(lambda x, seed: index.take(x, _random.permutation(x.shape[0], x.device, seed), 0),
        "value, seed=None", "The slices along the first axis in random order."),
    "truncated_normal": row(_made(_random.truncated_normal), _NORMAL,
        "Normal numbers; those further than 2 stddev from the mean are drawn again.", _integers),
}, __name__))  # fmt: skip
