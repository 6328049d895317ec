"""Products of matrices in half types beside float32's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .case import Case, Step


def ours(n: int, dtype: str) -> Step:
    import gpugrad as gg

    gg.random.seed(0)
    x, y, g = [gg.random.normal((n, n), dtype=dtype) for _ in range(3)]

    def step() -> Any:
        with gg.GradientTape() as tape:
            tape.watch([x, y])
            out = x @ y
        return tape.gradient(out, [x, y], g)

    return step


def _makers(n: int) -> dict[str, Callable[[], Step]]:
    return {dtype: partial(ours, n, dtype) for dtype in ("float32", "float16", "bfloat16")}


LIMITS = {(half, "float32"): 1.5 for half in ("float16", "bfloat16")}
CASES = [Case(f"matmul {n}", _makers(n), LIMITS) for n in (256, 512, 1024)]
