"""The cases in gpugrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpugrad as gg
from gpugrad import nn

from .cases import CHANNELS, DENSE, HEADS, HIDDEN, LAYERS, MLP, RATE, WIDTH, batch, weights


class Transformer(nn.Module):
    """Causal encoder layers."""

    def __init__(self) -> None:
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.layers = [nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, **options) for _ in range(LAYERS)]

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x, is_causal=True)
        return x


def model(case: str) -> Any:
    """The model, with weights of its own."""
    if case == "transformer":
        return Transformer()
    if case == "mlp":
        a, b, c, d = MLP
        dense = lambda into, out: nn.Linear(into, out, activation="relu")
        return nn.Sequential(dense(a, b), dense(b, c), nn.Linear(c, d))
    a, b, c, d = CHANNELS
    conv = lambda into, out: nn.Conv2d(into, out, 3, padding="same", activation="relu")
    return nn.Sequential(
        conv(a, b), conv(b, c), nn.MaxPool2d(2), conv(c, d), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(*DENSE)
    )


def load(net: Any, given: dict[str, Any]) -> None:
    """Weights in PyTorch's layouts and order."""
    own = dict(zip(net.state_dict(), given.values(), strict=True))
    for path, m in net.named_modules():
        for name in m.transposed:
            full = f"{path}.{name}"
            own[full] = own[full].T
    net.load_state_dict(own)


def training(case: str, way: str, small: bool = False) -> Callable[[], float]:
    """A step, which answers the loss."""
    net = model(case)
    load(net, weights(case))
    x, y = map(gg.tensor, batch(case, small))
    loss_of = nn.mse_loss if case == "transformer" else nn.cross_entropy
    optimizer = gg.optim.Adam(net.parameters(), RATE)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
