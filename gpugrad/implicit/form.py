"""Trees of Tensors as one real vector, and back."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import optree

from ..array import device_of
from ..core import Tensor, tick, wrap, writes
from ..dtypes import is_inexact, wide
from ..ops.casting import astype
from ..ops.index import getitem
from ..ops.math import imag, real
from ..ops.shape import concat, reshape
from ..tensor import tensor

WIDTH = 32  # unknowns of one of many groups


class Form:
    """How the tensors of a tree lie in one vector: each flat, of a complex one the real parts, then the imaginary ones.

    TypeError for tensors of integers, of half types, and on several devices.
    """

    def __init__(self, name: str, tree: Any) -> None:
        leaves, self.spec = optree.tree_flatten(tree, namespace="gpugrad")
        self.name, self.leaves = name, [x if isinstance(x, Tensor) else tensor(x) for x in leaves]
        if not self.leaves:
            raise ValueError(f"{name}: x0 is a Tensor or a nest of them, and {tree!r:.60} has none")
        for x in self.leaves:
            if not is_inexact(x.array.dtype) or x.array.dtype != wide(x.array.dtype):
                raise TypeError(
                    f"{name}: x0 of {x.array.dtype} is too coarse to solve in; it is of float32, float64, complex64 or "
                    f"complex128: write x0.astype({x.prefix}float32)"
                )
        where = {str(device_of(x.array)): None for x in self.leaves}
        if len(where) > 1:
            raise TypeError(f"{name}: the tensors of x0 are on several devices, {', '.join(where)}; move them to one")
        self.shapes = [x.array.shape for x in self.leaves]
        self.dtypes = [x.array.dtype for x in self.leaves]
        self.kinds = [x.kind for x in self.leaves]
        parts = [np.dtype(d.char.lower()) for d in self.dtypes]
        self.dtype, coarse = max(parts, key=lambda d: d.itemsize), min(parts, key=lambda d: d.itemsize)
        self.eps = float(np.finfo(coarse).eps)

    def flat(self, leaves: list[Tensor]) -> Tensor:
        """The vector of tensors that have our shapes."""
        parts = [p for x in leaves for p in ((real(x), imag(x)) if x.array.dtype.kind == "c" else (x,))]
        parts = [astype(reshape(p, (-1,)), self.dtype) for p in parts]
        return parts[0] if len(parts) == 1 else concat(parts)

    def tree(self, x: Tensor) -> Any:
        """The tree whose vector is x."""
        out, end = [], 0
        for shape, dtype, kind in zip(self.shapes, self.dtypes, self.kinds, strict=True):
            size, parts = prod(shape), []
            for _ in range(1 + (dtype.kind == "c")):
                begin, end = end, end + size
                part = x if size == x.array.size else getitem(x, slice(begin, end))
                parts.append(wrap(part.array, part.node, kind))
            whole = parts[0] if len(parts) == 1 else parts[0] + parts[1] * 1j
            out.append(astype(reshape(whole, shape), dtype))
        return optree.tree_unflatten(self.spec, out)

    def call(self, f: Callable[..., Any], x: Tensor, args: tuple) -> Any:
        """f of the tree of x, and args.  RuntimeError where it changes x in place, which solvers go on with."""
        start = tick()
        answer = f(self.tree(x), *args)
        if writes.ages and any([age > start for age in writes.of(x.array)]):
            raise RuntimeError(f"{self.name}: x is changed in place: write x = x + 1 in the place of x += 1")
        return answer

    def groups(self) -> list[np.ndarray]:
        """Ways in which equations beside each other may lie here: (groups, positions in the vector), of small groups.

        Element by element, where all tensors have one shape; by the first axis, where all have the same.
        """
        sizes = [prod(s) for s, d in zip(self.shapes, self.dtypes, strict=True) for _ in range(1 + (d.kind == "c"))]
        ends = np.cumsum(sizes)
        counts = [{prod(s) for s in self.shapes}, {s[0] if s else 1 for s in self.shapes}]
        found: dict[int, np.ndarray] = {}
        for n in [min(c) for c in counts if len(c) == 1]:
            if n > 1 and ends[-1] // n <= WIDTH:
                parts = [np.arange(end - size, end).reshape(n, -1) for end, size in zip(ends, sizes, strict=True)]
                found[n] = np.concatenate(parts, 1)
        return [*found.values()]

    def checked(self, answer: Any, who: str) -> list[Tensor]:
        """The tensors of an answer that is like x.  TypeError, ValueError where it is not."""
        leaves, spec = optree.tree_flatten(answer, namespace="gpugrad")
        for y in leaves:
            if not isinstance(y, Tensor):
                raise TypeError(
                    f"{self.name}: {who} answers Tensors, like x, not {type(y).__name__}; what is computed outside of "
                    "gpugrad has no gradient"
                )
        shapes = [y.array.shape for y in leaves]  # type: ignore[union-attr]
        if spec != self.spec or shapes != self.shapes:
            ours, theirs = (str(s[0] if len(s) == 1 else s) for s in (self.shapes, shapes))
            nest = "" if spec == self.spec else f" in the nest {spec} where x is {self.spec}"
            raise ValueError(f"{self.name}: {who} answers the shape {theirs}{nest}, and not that of x, {ours}")
        for y, dtype in zip(leaves, self.dtypes, strict=True):
            if not is_inexact(y.array.dtype) or (y.array.dtype.kind == "c") > (dtype.kind == "c"):  # type: ignore[union-attr]
                raise TypeError(
                    f"{self.name}: {who} answers {y.array.dtype} for an x of {dtype}; "  # type: ignore[union-attr]
                    "it is floating, and complex only where x is"
                )
        return leaves  # type: ignore[return-value]

    def vector(self, answer: Any, who: str) -> Tensor:
        """The vector of an answer that is like x; a real tensor beside a complex x has imaginary parts of zero."""
        leaves = self.checked(answer, who)
        return self.flat([y if d.kind != "c" else astype(y, d) for y, d in zip(leaves, self.dtypes, strict=True)])
