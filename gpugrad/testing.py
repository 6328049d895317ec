"""Floor 6: checks for users' own ops and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .array import bfloat16, is_inexact
from .core import Tensor, raw, wrap
from .ops.reduce import sum
from .tape import GradientTape
from .tensor import tensor, to_numpy


def assert_close(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None) -> None:
    """AssertionError unless the values agree, to a tolerance that follows from the coarser dtype."""
    a, b = to_numpy(actual), np.asarray(to_numpy(expected))
    eps = max(_eps(a.dtype), _eps(b.dtype) if is_inexact(b.dtype) else 0.0)
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    np.testing.assert_allclose(
        a.astype(wide), b.astype(wide), rtol=16 * eps if rtol is None else rtol, atol=4 * eps if atol is None else atol
    )


def _eps(dtype: np.dtype) -> float:
    return 2.0**-7 if dtype == bfloat16 else float(np.finfo(dtype).eps) if dtype.kind in "fc" else 2.0**-52


def vjp(f: Callable[..., Any], xs: Sequence[Tensor], cotangent: Any) -> tuple[Tensor, list[Any]]:
    """(f(*xs), the cotangents of xs)."""
    with GradientTape() as tape:
        tape.watch(list(xs))
        y = f(*xs)
    return y, tape.gradient(y, list(xs), output_gradients=cotangent, unconnected_gradients="zero")


def jvp(f: Callable[..., Any], xs: Sequence[Tensor], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """(f(*xs), its change along `tangents`), from two pullbacks: a pullback is linear in its cotangent."""
    with GradientTape() as outer:
        with GradientTape() as inner:
            inner.watch(list(xs))
            y = f(*xs)
        u = wrap(y.array * 0)
        outer.watch(u)
        gs = inner.gradient(y, list(xs), output_gradients=u)
    used = [(g, t) for g, t in zip(gs, tangents, strict=True) if g is not None]
    if not used:
        return y, wrap(y.array * 0)
    return y, outer.gradient([g for g, _ in used], u, [t for _, t in used], unconnected_gradients="zero")


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("rev", "fwd"),
    eps: float = 1e-5,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    seed: int = 0,
) -> None:
    """Compare the derivatives of f at `args` with central differences, along random directions, in float64.

    f      a function of tensors that answers a tensor; its arguments are cast to float64 (complex ones to complex128)
    order  1: the gradient; 2: the gradient of the gradient as well; and so on
    modes  "rev": <u, J t> by reverse mode; "fwd": J t by forward mode
    AssertionError naming the argument whose gradient is wrong; ValueError for an unknown mode or order.
    """
    if order < 1 or not set(modes) <= {"rev", "fwd"} or not modes:
        raise ValueError(f"check_grads: order is 1 or more and modes are of 'rev', 'fwd'; given {order} and {modes!r}")
    rng = np.random.default_rng(seed)
    xs = [_to64(a) for a in args]
    _check(f, xs, order, tuple(modes), rng, eps, rtol, atol, "")


def _to64(a: Any) -> Tensor:
    t = tensor(a)
    return tensor(t, dtype="complex128" if t.dtype.kind == "c" else "float64")


def _random(x: Tensor, rng: np.random.Generator) -> Tensor:
    host = rng.standard_normal(x.array.shape)
    if x.array.dtype.kind == "c":
        host = host + 1j * rng.standard_normal(x.array.shape)
    return tensor(np.asarray(host), device=x.device)


def _inner(a: Any, b: Any) -> float:
    """The real inner product."""
    return float(np.real(np.vdot(to_numpy(a), to_numpy(b))))


def _check(
    f: Any, xs: list[Tensor], order: int, modes: tuple, rng: Any, eps: float, rtol: float, atol: float, path: str
):
    y = f(*xs)
    if not isinstance(y, Tensor):
        raise TypeError(f"check_grads: f must answer a Tensor, not {type(y).__name__}")
    u = _random(y, rng)
    grads = vjp(f, xs, u)[1] if "rev" in modes else []
    directions = [_random(x, rng) for x in xs]
    for i, (x, t) in enumerate(zip(xs, directions, strict=True)):
        moved = [_moved(f, xs, i, t, s * eps) for s in (1, -1)]
        numeric = (moved[0] - moved[1]) / (2 * eps)
        where = f"argument {i} of shape {x.array.shape}{path}"
        if "rev" in modes:
            g = grads[i]
            if g.array.shape != x.array.shape or g.array.dtype != x.array.dtype:
                raise AssertionError(
                    f"check_grads: the gradient of {where} has shape {g.array.shape} and dtype {g.array.dtype}"
                )
            _agree(_inner(g, t), float(np.real(np.vdot(numeric, to_numpy(u)))), rtol, atol, "reverse-mode", where)
        if "fwd" in modes and x.array.dtype.kind != "c" and y.array.dtype.kind != "c":
            only = [t if j == i else wrap(x2.array * 0) for j, x2 in enumerate(xs)]
            _agree(to_numpy(jvp(f, xs, only)[1]), numeric, rtol, atol, "forward-mode", where)
    if order > 1:
        n = len(xs)
        weights = [_random(x, rng) for x in xs]

        def pull(*a: Tensor) -> Tensor:
            gs = vjp(f, a[:n], a[n])[1]
            terms = [sum(g * w) for g, w in zip(gs, weights, strict=True)]
            return _total(terms)

        _check(pull, [*xs, u], order - 1, modes, rng, eps, rtol, atol, f"{path}, differentiated again")


def _total(terms: list[Tensor]) -> Tensor:
    out = terms[0]
    for t in terms[1:]:
        out = out + t
    return out


def _moved(f: Any, xs: list[Tensor], i: int, t: Tensor, step: float) -> np.ndarray:
    return to_numpy(f(*[wrap(raw(x) + raw(t) * step) if j == i else x for j, x in enumerate(xs)]))


def _agree(analytic: Any, numeric: Any, rtol: float, atol: float, mode: str, where: str) -> None:
    a, n = np.asarray(analytic), np.asarray(numeric)
    if not np.allclose(a, n, rtol=rtol, atol=atol * max(1.0, float(np.max(np.abs(n), initial=0.0)))):
        raise AssertionError(
            f"check_grads: the {mode} gradient of {where} is wrong:\n  analytic {a}\n  central differences {n}"
        )
