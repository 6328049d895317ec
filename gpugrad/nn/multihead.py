"""MultiheadAttention: projections around `scaled_dot_product_attention`, under PyTorch's names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import xp as xp_of
from ..core import Tensor, raw
from ..dtypes import is_float
from ..forward import fit, placed
from ..ops import attention as ops
from ..ops.casting import astype
from ..ops.linear import linear
from ..ops.logic import logical_not, logical_or, pick
from ..ops.math import add
from ..ops.reduce import mean
from ..ops.shape import matrix_transpose, permute_dims, reshape, split
from ..tensor import zeros
from . import init
from .attention import scaled_dot_product_attention
from .dropout import dropout
from .layers import Linear
from .module import Module

_NAME = "MultiheadAttention"


class MultiheadAttention(Module):
    """Attention of several heads: out_proj(joined over heads of softmax(q kᵀ / √width + mask) v) (Vaswani et al. 2017).

    q, k and v are the projections of query, key and value, their embed_dim features cut into heads of equal width.
    in_proj_weight (3 embed_dim, embed_dim), one below the other those of q, k, v; with another kdim or vdim they are
    q_proj_weight, k_proj_weight (embed_dim, kdim) and v_proj_weight (embed_dim, vdim), from Xavier's uniform
    distribution; in_proj_bias (3 embed_dim,) and out_proj.bias are zeros.

    dropout      the probability with which a weight of a key is 0 in training
    batch_first  arrays are (batch, length, features), else (length, batch, features); (length, features) is one alone
    ValueError unless num_heads divides embed_dim.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"{_NAME}: num_heads divides embed_dim, given {num_heads} heads of {embed_dim} features")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{_NAME}: dropout is a probability, from 0 to 1, not {dropout!r}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        made = lambda value, name: self._parameter(value.to(device, dtype=dtype), name)
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = made(init.xavier_uniform((3 * embed_dim, embed_dim)), "in_proj_weight")
        else:
            for name, width in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
                name = f"{name}_proj_weight"
                setattr(self, name, made(init.xavier_uniform((embed_dim, width)), name))
        self.in_proj_bias = made(zeros((3 * embed_dim,)), "in_proj_bias") if bias else None
        self.out_proj = self._kind(Linear)(embed_dim, embed_dim, bias, dtype=dtype, device=device)
        if self.out_proj.bias is not None:
            self.out_proj.bias = made(zeros((embed_dim,)), "bias")

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """(the output like query, the weights or None).  As in PyTorch, a bool mask says what is *not* looked at.

        query             (L, batch, embed_dim), key (S, batch, kdim), value (S, batch, vdim), or as batch_first says
        key_padding_mask  (batch, S): True, or -inf that is added, for a key that nobody looks at
        attn_mask         (L, S) or (batch num_heads, L, S): True, or floats to be added to the scores
        need_weights      whether the weights are answered: (batch, L, S), the mean over heads, or without
                          average_attn_weights (batch, num_heads, L, S).  Without them the scores are never held whole
        is_causal         query i looks at the keys 0..i only, with a mask or without

        A query that looks at nothing answers out_proj.bias.  TypeError, ValueError for what does not fit.
        """
        q, k, v = self._projected(query, key, value)
        batched, heads = raw(q).ndim == 3, self.num_heads
        q, k, v = [self._in_heads(a) for a in (q, k, v)]
        mask = self._mask(key_padding_mask, attn_mask, (*raw(q).shape[:-1], raw(k).shape[-2]), raw(q))
        rate = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (*raw(q).shape[:-1], raw(k).shape[-2])
            how = ops.How(is_causal, (self.embed_dim // heads) ** -0.5)
            weights = astype(ops.weights(q, k, mask, scores, how), raw(q).dtype)
            weights = dropout(weights, rate) if rate < 1 else weights * 0.0
            out = weights @ v
            weights = mean(weights, axis=-3) if average_attn_weights else weights
        else:
            out = scaled_dot_product_attention(q, k, v, mask, rate, is_causal)
        back = (1, 0, 2) if not batched else (0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3)
        out = permute_dims(out, back)
        return self.out_proj(reshape(out, (*raw(out).shape[:-2], self.embed_dim))), weights

    def _projected(self, query: Any, key: Any, value: Any) -> list[Any]:
        """q, k and v before they are cut into heads: of one tensor in one product."""
        same, alike = query is key is value, key is value
        query, key, value = fit([query, key, value], _NAME)
        self._check(*[raw(a).shape for a in (query, key, value)])
        bias = self.in_proj_bias
        if "in_proj_weight" not in vars(self):
            weights: Any = [getattr(self, f"{n}_proj_weight") for n in "qkv"]
        elif same:
            return list(split(linear(query, matrix_transpose(self.in_proj_weight), bias), 3, -1))
        elif alike:
            n = self.embed_dim
            (wq, wkv), biases = split(self.in_proj_weight, (n, 2 * n)), (None, None)
            biases = split(bias, (n, 2 * n)) if bias is not None else biases
            q = linear(query, matrix_transpose(wq), biases[0])
            return [q, *split(linear(key, matrix_transpose(wkv), biases[1]), 2, -1)]
        else:
            weights = split(self.in_proj_weight, 3)
        biases = split(bias, 3) if bias is not None else (None,) * 3
        return [linear(a, matrix_transpose(w), b) for a, w, b in zip((query, key, value), weights, biases)]

    def _check(self, q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> None:
        batch = 0 if self.batch_first else 1
        lead = lambda s: s[:-1] if len(s) < 3 else (s[batch], s[1 - batch])
        if (
            len(q) not in (2, 3) or len(k) != len(q) or lead(k) != lead(v) or lead(q)[:-1] != lead(k)[:-1]
            or (q[-1], k[-1], v[-1]) != (self.embed_dim, self.kdim, self.vdim)
        ):  # fmt: skip
            form = "(batch, {}, {})" if self.batch_first else "({}, batch, {})"
            widths = (self.embed_dim, self.kdim, self.vdim)
            asked = [form.format(n, w) for n, w in zip("LSS", widths)]
            raise ValueError(
                f"{_NAME}: query {q}, key {k} and value {v} do not fit; they are {', '.join(asked)}, or all without "
                "batch"
            )

    def _in_heads(self, a: Any) -> Any:
        """(batch, heads, length, width), or without batch."""
        *lead, _ = raw(a).shape
        a = reshape(a, (*lead, self.num_heads, self.embed_dim // self.num_heads))
        return permute_dims(a, (1, 0, 2) if len(lead) < 2 else (0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3))

    def _mask(self, padding: Any, mask: Any, scores: tuple[int, ...], like: Any) -> Any:
        """One mask for `scaled_dot_product_attention`, where True is what is looked at; or None."""
        *batch, heads, rows, columns = scores
        masks = []
        for name, given, shapes, to in (
            ("key_padding_mask", padding, [(*batch, columns)], (*batch, 1, 1, columns)),
            ("attn_mask", mask, [(rows, columns), (math.prod(batch) * heads, rows, columns)], scores),
        ):
            if given is None:
                continue
            given = given if isinstance(given, Tensor) else placed(given, like)
            a = raw(given)
            if a.shape not in shapes:
                raise ValueError(f"{_NAME}: {name} {a.shape} does not fit; it is {' or '.join(map(str, shapes))}")
            if a.dtype.kind != "b" and not is_float(a.dtype):
                raise TypeError(f"{_NAME}: {name} is bool, True for what is not looked at, or floats, not {a.dtype}")
            masks.append(given if len(a.shape) == 2 and to is scores else reshape(given, to))
        if not masks:
            return None
        if all([raw(m).dtype.kind == "b" for m in masks]):
            return logical_not(masks[0] if len(masks) == 1 else logical_or(*masks))
        floats = [_added(m, like.dtype) for m in masks]
        return floats[0] if len(floats) == 1 else add(*floats)


MultiHeadAttention = MultiheadAttention


def _added(mask: Any, dtype: np.dtype) -> Any:
    """A mask as floats that are added to the scores."""
    if raw(mask).dtype.kind != "b":
        return mask
    hidden, seen = [xp_of(raw(mask)).asarray(v, dtype) for v in (-math.inf, 0)]
    return pick(raw(mask), hidden, seen)
