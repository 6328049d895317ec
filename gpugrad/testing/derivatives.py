"""Floor 6: derivatives against central differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..array import xp
from ..autograd import enable_grad, grad, require_grad, requires_grad
from ..core import Tensor, raw, wrap
from ..dtypes import bfloat16, float64, is_inexact
from ..forward_mode import ForwardAccumulator
from ..ops import math
from ..ops.reduce import sum
from ..random import uniform
from ..tape import GradientTape
from ..tensor import tensor, to_numpy


def assert_close(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None) -> None:
    """AssertionError unless the values agree, to a tolerance that follows from the coarser dtype."""
    a, b = to_numpy(actual), np.asarray(to_numpy(expected))
    eps = max(epsilon(a.dtype), epsilon(b.dtype) if is_inexact(b.dtype) else 0.0)
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    np.testing.assert_allclose(
        a.astype(wide), b.astype(wide), rtol=16 * eps if rtol is None else rtol, atol=4 * eps if atol is None else atol
    )


def epsilon(dtype: np.dtype) -> float:
    return 2.0**-7 if dtype == bfloat16 else float(np.finfo(dtype).eps) if dtype.kind in "fc" else 2.0**-52


def vjp(f: Callable[..., Any], xs: Sequence[Tensor], cotangent: Any) -> tuple[Tensor, list[Any]]:
    """(f(*xs), the cotangents of xs)."""
    with GradientTape() as tape:
        tape.watch(list(xs))
        y = f(*xs)
    return y, tape.gradient(y, list(xs), output_gradients=cotangent, unconnected_gradients="zero")


def jvp(f: Callable[..., Any], xs: Sequence[Tensor], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """(f(*xs), its change along `tangents`), by forward mode."""
    with ForwardAccumulator(list(xs), list(tangents)) as acc:
        y = f(*xs)
    return y, acc.jvp(y, unconnected_gradients="zero")


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
        if "fwd" in modes:
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


# ---------------------------------------------------------------------------------------------- whole Jacobians
class GradcheckError(RuntimeError):
    """A gradient is not that of central differences."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether the Jacobians of func, element by element, are those of central differences.

    inputs           a tensor or a tuple; those that require grad are checked, and should be float64 or complex128
    raise_exception  False: answer False instead of raising GradcheckError, which numbers tensors that require grad
    ValueError if no input requires grad.
    """
    xs = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    checked = [i for i, x in enumerate(xs) if isinstance(x, Tensor) and requires_grad(x)]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    for i in checked:
        if xs[i].array.dtype not in (float64, np.dtype("complex128")):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or complex. This check "
                "will likely fail if all the inputs are not of double precision floating point or complex.",
                stacklevel=2,
            )
    try:
        outs = _outputs(func(*xs))
        live = [out for out in outs if requires_grad(out)]
        for o, out in enumerate(live or outs):
            for part in ("real", "imag") if out.array.dtype.kind == "c" else ("real",):
                _check_jacobians(func, xs, checked, o, out, part, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
    """gradcheck of the gradient of func, in `inputs` and in the cotangents `grad_outputs` (None: random ones)."""
    xs = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    live = [i for i, x in enumerate(xs) if isinstance(x, Tensor) and requires_grad(x)]
    if grad_outputs is None:
        seeds = [require_grad(_drawn(o)) for o in _outputs(func(*xs)) if requires_grad(o)]
    else:
        seeds = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]

    def pull(*args: Any) -> tuple[Any, ...]:
        given = args[: len(xs)]
        outs = [o for o in _outputs(func(*given)) if requires_grad(o)]
        found = grad(outs, [given[i] for i in live], list(args[len(xs) :]), create_graph=True, allow_unused=True)
        return tuple([g for g in found if g is not None])

    return gradcheck(pull, (*xs, *seeds), **options)


def _outputs(found: Any) -> list[Tensor]:
    outs = found if isinstance(found, (tuple, list)) else [found]
    return [o for o in outs if isinstance(o, Tensor) and is_inexact(o.array.dtype)]


def _drawn(o: Tensor) -> Tensor:
    """Random numbers in [-1, 1) like o."""
    draw = lambda: uniform(o.array.shape, -1, 1, float64, o.device).array
    values = draw() + 1j * draw() if o.array.dtype.kind == "c" else draw()
    return wrap(values.astype(o.array.dtype), None, o.kind)


def _check_jacobians(
    func: Any, xs: list[Any], checked: list[int], o: int, out: Tensor, part: str, eps: float, atol: float, rtol: float
) -> None:
    real, live = getattr(math, part), requires_grad(out)
    analytic = _by_rows(real(out), [xs[i] for i in checked]) if live else []

    def moved(i: int, x: Tensor) -> Tensor:
        outs = _outputs(func(*xs[:i], x, *xs[i + 1 :]))
        return real([out for out in outs if requires_grad(out) or not live][o])

    for j, i in enumerate(checked):
        columns = list(_by_columns(lambda x, i=i: moved(i, x), xs[i], eps))
        numeric = np.stack(columns) if columns else np.zeros((0, out.array.size))
        if live and not np.allclose(analytic[j], numeric, rtol, atol):
            complex_part = {"real": "real", "imag": "imaginary"}[part] if out.array.dtype.kind == "c" else ""
            raise GradcheckError(
                (complex_part and f"While considering the {complex_part} part of complex outputs only, ")
                + f"Jacobian mismatch for output {o} with respect to input {j},\n"
                f"numerical:{wrap(numeric, None, out.kind)!r}\nanalytical:{wrap(analytic[j], None, out.kind)!r}\n"
            )
        if not live and not np.allclose(numeric, 0, rtol, atol):
            raise GradcheckError(
                f"Numerical gradient for function expected to be zero. Output {o} requires no gradient and changes "
                f"with input {j}:\n{numeric}"
            )


def _by_rows(out: Tensor, xs: list[Tensor]) -> list[np.ndarray]:
    """d out / d x, (elements of x, elements of out), by one walk back for each element of out."""
    rows: list[list[Any]] = [[] for _ in xs]
    for k in range(out.array.size):
        seed = xp(out.array).zeros(out.array.shape, out.array.dtype)
        seed.reshape(-1)[k] = 1
        found = grad(out, xs, wrap(seed, None, out.kind), retain_graph=True, allow_unused=True)
        for row, x, g in zip(rows, xs, found):
            row.append(np.zeros(x.array.size, x.array.dtype) if g is None else to_numpy(g).reshape(-1))
    return [np.stack(row, 1) if row else np.zeros((x.array.size, 0)) for row, x in zip(rows, xs)]


def _by_columns(f: Callable[[Tensor], Tensor], x: Tensor, eps: float) -> Iterator[np.ndarray]:
    """The same by central differences, one element of x after the other; of a complex one, d/d re + i d/d im."""
    own = x.array
    for k in range(own.size):
        total: Any = 0
        for unit in (1, 1j) if own.dtype.kind == "c" else (1,):
            ends = []
            for sign in (1, -1):
                moved = xp(own).array(own, order="C")  # of which reshape is a view
                moved.reshape(-1)[k] += sign * eps * unit
                with enable_grad():
                    ends.append(to_numpy(f(require_grad(wrap(moved, None, x.kind)))).reshape(-1))
            total = total + (ends[0] - ends[1]) / (2 * eps) * unit
        yield total
