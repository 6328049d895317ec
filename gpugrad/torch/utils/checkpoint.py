"""torch.utils.checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...recompute import recompute_grad


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """function(*args), whose intermediate results are computed again for the gradient instead of kept."""
    return recompute_grad(function)(*args, **kwargs)
