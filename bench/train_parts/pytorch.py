"""The cases in PyTorch, eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .cases import CHANNELS, DENSE, HEADS, HIDDEN, LAYERS, MLP, RATE, WIDTH, batch, weights


class Transformer(nn.Module):
    """Causal encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        options: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(
            [nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, **options) for _ in range(LAYERS)]
        )
        self.mask = nn.Transformer.generate_square_subsequent_mask(128)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=True)
        return x


def model(case: str) -> Any:
    """The model, with weights of its own."""
    if case == "transformer":
        return Transformer()
    if case == "mlp":
        a, b, c, d = MLP
        return nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c), nn.ReLU(), nn.Linear(c, d))
    a, b, c, d = CHANNELS
    conv = lambda into, out: nn.Conv2d(into, out, 3, padding=1)
    return nn.Sequential(
        conv(a, b), nn.ReLU(), conv(b, c), nn.ReLU(), nn.MaxPool2d(2), conv(c, d), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(*DENSE),
    )  # fmt: skip


def training(case: str, way: str, small: bool = False) -> Callable[[], float]:
    """A step, which answers the loss.  The way "fused" has the fused Adam."""
    net = model(case)
    net.load_state_dict({name: torch.tensor(a) for name, a in weights(case).items()})
    x, y = map(torch.tensor, batch(case, small))
    loss_of = F.mse_loss if case == "transformer" else F.cross_entropy
    optimizer = torch.optim.Adam(net.parameters(), RATE, fused=way == "fused" or None)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
