"""Floor 6: random tensors from a counter-based generator, whose state is plain numbers."""

from typing import Any

from . import habits as _habits
from .generator import (
    Generator as Generator,
    get_state as get_state,
    seed as seed,
    set_state as set_state,
    split as split,
)
from .ops.discrete import (
    bernoulli as bernoulli,
    categorical as categorical,
    choice as choice,
    dropout as dropout,
    permutation as permutation,
    randint as randint,
    shuffle as shuffle,
)
from .ops.random import (
    beta as beta,
    exponential as exponential,
    gamma as gamma,
    gumbel as gumbel,
    laplace as laplace,
    normal as normal,
    truncated_normal as truncated_normal,
    uniform as uniform,
)


def __getattr__(name: str) -> Any:
    """An AttributeError that says what to write."""
    raise AttributeError(_habits.missing(f"module {__name__!r}", name, _habits.RANDOM))
