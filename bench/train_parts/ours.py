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
        return nn.Sequential(
            nn.Linear(a, b, activation="relu"), nn.Identity(), nn.Linear(b, c, activation="relu"), nn.Identity(),
            nn.Linear(c, d),
        )  # fmt: skip
    a, b, c, d = CHANNELS
    conv = lambda into, out: nn.Conv2d(into, out, 3, padding=1)
    return nn.Sequential(
        conv(a, b), nn.ReLU(), conv(b, c), nn.ReLU(), nn.MaxPool2d(2), conv(c, d), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(DENSE[0], DENSE[1]), nn.ReLU(), nn.Linear(DENSE[1], DENSE[2]),
    )  # fmt: skip


def training(case: str, way: str, small: bool = False) -> Callable[[], float]:
    """A step, which answers the loss."""
    net = model(case)
    given = weights(case)
    for path, m in net.named_modules():
        if isinstance(m, nn.Linear) and f"{path}.weight" in given:  # (in, out) here, (out, in) in PyTorch
            given[f"{path}.weight"] = given[f"{path}.weight"].T
    net.load_state_dict(given)
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
