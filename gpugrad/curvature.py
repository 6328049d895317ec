"""Floor 6: products with curvature matrices that are never formed: Gauss-Newton's and Fisher's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

from .core import Tensor
from .transforms import hvp, jvp, vjp


def gauss_newton_product(
    f: Callable[..., Any], loss: Callable[[Any], Tensor], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Jᵀ H J v: the Gauss-Newton matrix of loss(f(*primals)), times `tangents`.

        v = gg.gauss_newton_product(lambda w: model(w, x), lambda y: cross_entropy(y, labels), (w,), (v,))

    f          from the primals to the outputs, whose Jacobian is J
    loss       from the outputs to a scalar, whose Hessian is H: for a convex loss the product is of a matrix that has
               no negative eigenvalues, and for a likelihood of exponential family in its natural parameters it is
               Fisher's (Martens 2014, arXiv 1412.1193)
    primals, tangents   tuples of the same trees; the answer is such a tuple, shaped like the primals

    One run forward, one product with the Hessian of the loss, one walk back (Schraudolph 2002).  ValueError for a loss
    that is no scalar and for tangents that do not fit; TypeError for primals that are no floats.
    """
    primals, tangents = _alike("gauss_newton_product", primals, tangents)
    out, pushed = jvp(f, primals, tangents)
    (bent,) = hvp(loss, (out,), (pushed,))
    return vjp(f, *primals)[1](bent)


def fisher_product(
    log_prob: Callable[..., Tensor], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Any, ...]:
    """1/n Σ_i g_i g_iᵀ v: the empirical Fisher matrix, times `tangents`.

        v = gg.fisher_product(lambda w: -losses(model(w, x), labels), (w,), (v,))

    log_prob   from the primals to the logarithms of the samples' probabilities, shape (n,): g_i is the gradient of the
               i-th.  Of labels that the model itself has drawn the expectation is Fisher's matrix, of those in the data
               it is the empirical one (Kunstner et al. 2019, arXiv 1905.12558).  A loss for each sample does as well
    primals, tangents   tuples of the same trees; the answer is such a tuple, shaped like the primals

    One run forward and one walk back for all samples: no g_i is formed.  ValueError for an answer that is not (n,) and
    for tangents that do not fit; TypeError for primals that are no floats.
    """
    primals, tangents = _alike("fisher_product", primals, tangents)
    each, pushed = jvp(log_prob, primals, tangents)
    if not isinstance(each, Tensor) or len(each.array.shape) != 1 or not each.array.size:
        shape = tuple(each.array.shape) if isinstance(each, Tensor) else type(each).__name__
        raise ValueError(
            f"fisher_product: the function answers a logarithm for each sample, shape (n,), not {shape}; before a sum "
            "or a mean is taken"
        )
    return vjp(log_prob, *primals)[1](pushed / each.array.size)


def _alike(name: str, primals: Any, tangents: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(f"{name}: primals and tangents are tuples, one entry for each argument of the function")
    spaces = [optree.tree_structure(tuple(t), namespace="gpugrad") for t in (primals, tangents)]  # type: ignore[arg-type]
    if spaces[0] != spaces[1]:
        raise ValueError(f"{name}: primals are {spaces[0]} and tangents {spaces[1]}; they must be nested alike")
    return tuple(primals), tuple(tangents)
