"""Transformer layers and their stacks (Vaswani et al. 2017), under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from ..core import Tensor
from ..ops.activation import gelu
from ..ops.feed_forward import feed_forward
from ..ops.linear import ACTIVATIONS, linear
from ..ops.math import add
from ..tensor import tensor
from . import init
from .calling import plain
from .dropout import Dropout, dropout
from .layers import Linear
from .module import Module
from .multihead import MultiheadAttention
from .normalization import LayerNorm

Activation = str | Callable[[Any], Any]
_FUSED: dict[Any, str] = {**{f: name for name, f in ACTIVATIONS.items()}, gelu: "gelu"}


class _Layer(Module):
    """What the layers of both stacks share: the residual connections around attention and two linear layers."""

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int, dropout: float, activation: Activation,
        layer_norm_eps: float, batch_first: bool, norm_first: bool, bias: bool, device: Any, dtype: Any, norms: int,
    ) -> None:  # fmt: skip
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(
                f"{type(self).__name__}: activation is one of {sorted(ACTIVATIONS)} or a function, not {activation!r}"
            )
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        attention = lambda: self._kind(MultiheadAttention)(
            d_model, nhead, dropout, bias, batch_first=batch_first, **where
        )
        self.self_attn = attention()
        if norms > 2:
            self.multihead_attn = attention()
        self.linear1 = self._kind(Linear)(d_model, dim_feedforward, bias, **where)
        self.dropout = self._kind(Dropout)(dropout)
        self.linear2 = self._kind(Linear)(dim_feedforward, d_model, bias, **where)
        self.norm_first = norm_first
        for i in range(1, norms + 1):
            setattr(self, f"norm{i}", self._kind(LayerNorm)(d_model, layer_norm_eps, bias=bias, **where))
            setattr(self, f"dropout{i}", self._kind(Dropout)(dropout))
        self.activation = activation if isinstance(activation, str) else _FUSED.get(activation, activation)

    def _through(self, x: Any, blocks: list[Callable[[Any], Any]]) -> Any:
        """x through the blocks, beside each of which it passes; a norm before each or after the sum."""
        norms = [getattr(self, f"norm{i}") for i in range(1, len(blocks) + 1)]
        drops = [getattr(self, f"dropout{i}") for i in range(1, len(blocks) + 1)]
        beside: Any = None  # what is to be added to x before the next norm, which does that in its pass
        for norm, drop, block in zip(norms, drops, blocks):
            fused = plain(norm, LayerNorm)
            if self.norm_first:
                if beside is not None and not fused:
                    x, beside = add(x, beside), None
                n, x = (norm(x), x) if beside is None else norm(beside, x)
                x, beside = _dropped(drop, block(n), x)
            else:
                x, beside = _dropped(drop, block(x), x)
                if beside is not None and not fused:
                    x, beside = add(x, beside), None
                x, beside = norm(x) if beside is None else norm(beside, x)[0], None
        return x if beside is None else add(x, beside)

    def _feed_forward(self, x: Any) -> Any:
        first, second = self.linear1, self.linear2
        if not isinstance(self.activation, str):
            x = self.activation(first(x))
        elif not _bare(first):
            x = ACTIVATIONS[self.activation](first(x))
        elif _bare(second) and plain(self.dropout, Dropout) and not _drops(self.dropout):
            return feed_forward(x, first.weight, first.bias, second.weight, second.bias, self.activation)
        else:
            x = linear(x, first.weight, first.bias, self.activation)
        return second(self.dropout(x))


def _bare(m: Any) -> bool:
    """Whether m computes x @ weight + bias and nothing else."""
    return plain(m, Linear) and m.activation is None


def _drops(drop: Dropout) -> bool:
    return drop.training and drop.p > 0


def _dropped(drop: Any, y: Any, x: Any) -> tuple[Any, Any]:
    """x and drop(y), which is to be added to it; or their sum and None, where that is one op."""
    if not plain(drop, Dropout):
        return x, drop(y)
    return (dropout(y, drop.p, residual=x), None) if _drops(drop) else (x, y)


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers, each with a residual connection and a layer norm.

    dim_feedforward  how many features are between the linear layers
    dropout          the probability, in training, for weights of attention, and for elements after each part
    activation       "relu", "gelu" or another that `linear` knows, or a function
    norm_first       the norm is before each part instead of after the sum (Xiong et al. 2020)
    bias             whether linear layers and norms have one
    batch_first      arrays are (batch, length, d_model), else (length, batch, d_model)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
            device, dtype, norms=2,
        )  # fmt: skip

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        """The output, like src.  The masks are those of `MultiheadAttention`: True is what is not looked at."""
        attend = lambda x: self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
        return self._through(src, [attend, self._feed_forward])


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to a memory, two linear layers; the options are those of `TransformerEncoderLayer`."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
            device, dtype, norms=3,
        )  # fmt: skip

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        """The output, like tgt; `memory` is what an encoder answers."""
        own = lambda x: self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]
        other = lambda x: self.multihead_attn(
            x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
        )[0]
        return self._through(tgt, [own, other, self._feed_forward])


class _Stack(Module):
    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = [deepcopy(layer) for _ in range(num_layers)]
        self.norm = norm

    def _through(self, x: Any, *args: Any) -> Any:
        for layer in self.layers:
            x = layer(x, *args)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """`num_layers` copies of an encoder layer, one after the other, and a norm; the copies start with its values."""

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        """The last two are PyTorch's, for what is not done here: they are taken and ignored."""
        super().__init__(encoder_layer, num_layers, norm)

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        return self._through(src, mask, src_key_padding_mask, is_causal)


class TransformerDecoder(_Stack):
    """`num_layers` copies of a decoder layer, one after the other, and a norm; the copies start with its values."""

    def __init__(self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        return self._through(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
            memory_is_causal,
        )  # fmt: skip


class Transformer(Module):
    """An encoder and a decoder, each with a norm at its end; matrices from Xavier's uniform distribution.

    The options are those of the layers; custom_encoder and custom_decoder take the place of the stacks.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        of = (dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype)
        norm = lambda: self._kind(LayerNorm)(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.encoder = custom_encoder or self._kind(TransformerEncoder)(
            self._kind(TransformerEncoderLayer)(d_model, nhead, *of), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or self._kind(TransformerDecoder)(
            self._kind(TransformerDecoderLayer)(d_model, nhead, *of), num_decoder_layers, norm()
        )
        for v in self.parameters():
            if len(v.array.shape) > 1:
                v.array = tensor(init.xavier_uniform(v.array.shape), v.array.dtype, v.device).array

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        """The decoder's output, like tgt, whose memory is the encoder's output of src."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
            memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """(sz, sz) with -inf above the diagonal and 0 elsewhere: a causal mask to be added to scores."""
        return tensor(np.triu(np.full((sz, sz), -math.inf), 1), "float32" if dtype is None else dtype, device)
