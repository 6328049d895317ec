"""Jacobians that are written out: whole, or as the blocks on the diagonal of one whose groups of unknowns are apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..array import Array, xp
from ..core import Tensor, wrap
from ..jacobian import walks
from ..krylov import beside, norm
from ..levels import concrete
from ..ops.decompositions import eigvalsh
from ..ops.index import getitem
from ..ops.linalg import matmul
from ..ops.matrices import LinAlgError
from ..ops.shape import expand_dims, reshape, stack
from ..ops.solve import inv

Product = Callable[[Tensor], Tensor]
SINGULAR = (
    "{}: the Jacobian of f is singular, so x is not a function of what f reads there. There may be several solutions "
    "side by side, or f does not depend on all of x."
)
FLAT = (
    "{}: the Hessian of f is not positive definite: x is no minimum, or f is flat in some direction. A small ridge, "
    "f(x) + 1e-6 * gg.sum(x * x), makes the minimum one point."
)


class Blocks(NamedTuple):
    """A matrix that is zero outside of square blocks.

    places    (blocks, width) which rows, and columns, each block has
    matrix    (blocks, width, width)
    inverse   of each block
    """

    places: np.ndarray
    matrix: Array
    inverse: Array

    @property
    def T(self) -> Blocks:
        return Blocks(self.places, self.matrix.swapaxes(1, 2), self.inverse.swapaxes(1, 2))

    def solve(self, b: Array) -> Array:
        """s with A s = b, refined once."""
        places = _there(self.places, b)
        v = expand_dims(getitem(b, places), -1)  # ops, as b may be that of all examples of a vmap
        s = matmul(self.inverse, v)
        s = s + matmul(self.inverse, v - matmul(self.matrix, s))
        return getitem(reshape(s, -1), _there(np.argsort(self.places, axis=None), b))


def written(
    name: str, across: Product, like: Array, groups: Sequence[np.ndarray], symmetric: bool, step: int
) -> Blocks | None:
    """The matrix as the blocks of the first of `groups` outside of which it is zero; None if it is so of none.

    across   the product of its transpose with a vector like `like`
    step     how many such products may be made at once
    LinAlgError where it is singular to the precision of its dtype, or `symmetric` and not positive definite.
    """
    for places in groups:
        matrix = _rows(across, like, places, step)
        if not bool(xp(like).isfinite(matrix).all()):
            raise LinAlgError(f"{name}: the Jacobian of f is not finite")
        if len(places) == 1 or _holds_all(across, like, places, matrix):
            return Blocks(places, matrix, _inverse(name, matrix, symmetric))
    return None


def _there(places: np.ndarray, like: Array) -> Array:
    return xp(concrete(like)).asarray(places)


def _rows(across: Product, like: Array, places: np.ndarray, step: int) -> Array:
    """Row j of all blocks in one product, of as many j at once as `step` says."""
    lib, inside, width, found = xp(like), _there(places, like), places.shape[1], []
    for lo in range(0, width, step):
        units = lib.zeros((min(step, width - lo), like.size), like.dtype)
        for j, unit in enumerate(units, lo):
            unit[inside[:, j]] = 1
        try:
            (rows,) = walks(lambda u: [across(u)], units, like)
        except TypeError:  # a user's rule may take arrays of NumPy's alone
            rows = stack([across(wrap(unit)) for unit in units])
        found.append(rows.array[:, inside])
    return lib.moveaxis(lib.concatenate(found) if len(found) > 1 else found[0], 0, 1)


def _holds_all(across: Product, like: Array, places: np.ndarray, matrix: Array) -> bool:
    """Whether nothing is outside of the blocks: they have the whole product with a vector taken at random."""
    v = beside(np.random.default_rng(0).standard_normal(like.shape), like)
    inside = _there(places, like)
    whole = across(wrap(v)).array[inside]
    rest = whole - (v[inside][:, None] @ matrix)[:, 0]
    return norm(rest.reshape(-1)) <= 100 * float(np.finfo(like.dtype).eps) * norm(whole.reshape(-1))


def _inverse(name: str, matrix: Array, symmetric: bool) -> Array:
    limits = np.finfo(matrix.dtype)
    if symmetric:
        size = abs(xp(matrix).diagonal(matrix, 0, 1, 2)) ** 0.5 + float(limits.tiny)
        least = eigvalsh(matrix / size[:, None] / size[:, :, None]).min()
        if not float(least) > matrix.shape[1] * float(limits.eps):
            raise LinAlgError(FLAT.format(name))
    try:
        inverse = inv(matrix)
        condition = float((abs(inverse) @ abs(matrix)).sum(2).max())  # Skeel's: no matter in which units f is
    except LinAlgError:
        condition = float("inf")
    if not condition < 1 / float(limits.eps):
        raise LinAlgError(SINGULAR.format(name))
    return inverse
