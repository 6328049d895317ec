"""Floor 6: users' kernels against the array functions that they stand for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..array import CPU, Device, cupy_or_reason, default_device, device as named
from ..axes import grown
from ..core import Tensor, wrap
from ..dtypes import DTypeLike, as_dtype, bfloat16, is_inexact, wide
from ..kernel_op import Kernels
from ..tensor import tensor, to_numpy
from .derivatives import check_grads, epsilon, vjp

Arrays = dict[str, np.ndarray]


def check_kernel(
    op: Any,
    *args: Any,
    dtypes: Sequence[DTypeLike] | None = None,
    order: int = 2,
    device: str | Device | None = None,
    rtol: float | None = None,
    seed: int = 0,
    **static: Any,
) -> list[str]:
    """Compare the kernels of a `gg.kernel_op` with its reference, and the reference's rules with central differences.

    args, static   what the op is called with.  The kernels run on these values, on them repeated to other sizes, odd
                   ones and none, and on them lying apart in memory.  What they compute, and the gradient along a random
                   cotangent, is compared with the reference in float64
    dtypes         the dtypes of T that are tried; without it all that the kernels are made for
    order          of the derivatives of the reference that are checked, as in check_grads
    device         where the kernels run: without it the GPU.  "cpu" checks the reference and its rules alone
    rtol           how far values may be off, of themselves and of the largest; without it 4 units in the last place of
                   a half type, 64 of the others
    Answers the dtypes in which the kernels ran, "any" for kernels without T.  Where there is no GPU that is none, and
    without `device` a warning says so.  AssertionError naming the op, the dtype and the sizes for a kernel or a rule
    that is wrong; TypeError for an op without kernels and for arguments that its kernels do not take.
    """
    k: Kernels | None = getattr(op, "kernels", None)
    if k is None:
        raise TypeError(f"check_kernel checks what gg.kernel_op declares, not {op!r:.60}; for others see check_grads")
    if len(args) != len(op.op.args):
        raise TypeError(f"check_kernel: {op.__name__} takes the arrays {op.op.args}; given {len(args)}")
    given = dict(zip(op.op.args, map(to_numpy, args)))
    live = [n for n in k.differentiable if is_inexact(given[n].dtype)]
    where = default_device() if device is None else named(device)
    run = _Run(op, k, live, static, where, np.random.default_rng(seed), rtol)
    with CPU:
        exact = {n: v.astype(np.float64) if is_inexact(v.dtype) else v for n, v in given.items()}
        if live:
            check_grads(lambda *xs: run.call(exact, xs), [exact[n] for n in live], order, seed=seed)
    if not where.library.compiles:
        if device is None:
            reason = cupy_or_reason()[1] or f"the default device is {where}"
            warnings.warn(
                f"check_kernel: the kernels of {op.__name__} were not run, only its reference and its rules were "
                f"checked: {reason}. device='cpu' says that this is meant",
                stacklevel=2,
            )
        return []
    tried = [None] if "T" not in k.forward.signature.template else [as_dtype(d) for d in dtypes or k.forward.dtypes]
    for dtype in tried:
        for words, values in [*_sizes(k, given), ("apart in memory", given)]:
            label = f"{op.__name__}, {words}, {dtype or 'of its dtype'}"
            try:
                _compare(run, values, dtype, words == "apart in memory", label)
            except (RuntimeError, TypeError, ValueError) as e:
                e.add_note(f"check_kernel: {label}")
                raise
    return [str(d or "any") for d in tried]


class _Run(NamedTuple):
    """An op under check: the arguments that it is differentiated by, and where its kernels run."""

    op: Any
    kernels: Kernels
    live: list[str]
    static: dict[str, Any]
    where: Device
    rng: np.random.Generator
    rtol: float | None

    def call(self, given: dict[str, Any], xs: Sequence[Any]) -> Any:
        """The op on `given`, with `xs` in the places of the arguments that it is differentiated by."""
        return self.op(*{**given, **dict(zip(self.live, xs))}.values(), **self.static)

    def gradient(self, given: dict[str, Any], cotangent: Tensor) -> tuple[Tensor, list[Any]]:
        if not self.live:
            return self.call(given, ()), []
        return vjp(lambda *xs: self.call(given, xs), [given[n] for n in self.live], cotangent)


def _sizes(k: Kernels, given: Arrays) -> Iterator[tuple[str, Arrays]]:
    """(words, arguments): those given, and their values repeated to other sizes."""
    yield "as given", given
    if k.axes.broadcast:
        for n in (0, 1, 33, 257, 1025):
            same = np.broadcast_arrays(*given.values())
            yield f"{n} elements", {name: np.resize(v, n) for name, v in zip(given, same)}
        return
    measured = k.axes.sizes([(n, k.axes.inputs[n], v.shape) for n, v in given.items()])
    for axis in [a for a in k.axes.known(k.axes.inputs.values()) if a != k.axes.lead and measured[a] != ()]:
        size = measured[axis][0] if axis == "..." else measured[axis]
        # An axis that indices go along may grow, not shrink.
        for n in (*((0, 1) if axis == "..." else ()), 2 * size + 1, size + 257):
            yield f"{axis} of {n}", {name: grown(v, k.axes.inputs[name], axis, n) for name, v in given.items()}


def _compare(run: _Run, values: Arrays, dtype: np.dtype | None, apart: bool, label: str) -> None:
    """The kernels against the reference, which computes in float64 on the CPU."""
    made = [run.kernels.forward, *(run.kernels.backward if run.live else ())]
    values = {n: v.astype(_pointed(run.kernels, n, dtype, v)) for n, v in values.items()}
    given = {n: (_apart if apart else tensor)(v, device=run.where) for n, v in values.items()}
    exact = {n: tensor(v, dtype=np.float64 if is_inexact(v.dtype) else None, device=CPU) for n, v in values.items()}
    out = run.call(given, ())
    with np.errstate(all="ignore"):
        own = run.call({n: tensor(v, device=CPU) for n, v in values.items()}, ()).dtype
    if own != out.dtype and dtype != bfloat16:  # NumPy makes float32 of bfloat16 beside a number
        raise AssertionError(f"check_kernel: {label}: out of the kernel is of {out.dtype}, of the reference {own}")
    u = run.rng.standard_normal(out.shape).astype(out.dtype)
    before = [k.launches for k in made]
    out, grads = run.gradient(given, tensor(u, device=run.where))
    for k, n in zip(made, before):
        if k.launches == n and all([v.size for v in values.values()]):
            shown = ", ".join([f"{n} of {v.dtype}" for n, v in {**values, "g": u}.items()])
            raise TypeError(f"check_kernel: {label}: kernel {k.name} was not made for {shown}; the reference ran")
    expected, exact_grads = run.gradient(exact, tensor(u, dtype=np.float64, device=CPU))
    names = ["out", *[f"the cotangent of {n}" for n in run.live]]
    for name, a, e in zip(names, [out, *grads], [expected, *exact_grads]):
        _near(f"check_kernel: {label}: {name}", to_numpy(a), to_numpy(e), dtype or a.dtype, run.rtol)


def _pointed(k: Kernels, name: str, dtype: np.dtype | None, value: np.ndarray) -> np.dtype:
    """The dtype in which the forward's kernel takes an array, where T is `dtype`.  TypeError for floats as integers."""
    found = k.forward.dtype_of(name, {"I": value.dtype} if dtype is None else {"T": dtype, "I": value.dtype})
    if is_inexact(value.dtype) and not is_inexact(found):
        raise TypeError(f"check_kernel: the kernel takes {name} in {found}; given {value.dtype}")
    return found


def _apart(v: np.ndarray, device: Device) -> Tensor:
    """`v` as every second element of a longer array; a 0-d array as it is."""
    whole = tensor(np.repeat(v, 2, -1) if v.ndim else v, device=device)
    return wrap(whole.array[..., ::2]) if v.ndim else whole


def _near(what: str, a: np.ndarray, e: np.ndarray, dtype: np.dtype, rtol: float | None) -> None:
    """AssertionError unless kernel (a) and reference (e) agree; where the kernel's dtype overflows, so may it."""
    if a.shape != e.shape:
        raise AssertionError(f"{what} of the kernel has shape {a.shape}, of the reference {e.shape}")
    with np.errstate(over="ignore"):
        e = e.astype(a.dtype).astype(np.float64)
    if rtol is None:
        rtol = max(epsilon(a.dtype), epsilon(dtype)) * (64 if wide(dtype) == dtype else 4)
    scale = np.abs(e[np.isfinite(e)]).max(initial=0)
    np.testing.assert_allclose(a.astype(np.float64), e, rtol, rtol * scale, err_msg=what)
