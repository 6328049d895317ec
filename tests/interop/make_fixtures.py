"""Makes the files of this folder with PyTorch: for each model its weights, an input and its output in evaluation.

    python tests/interop/make_fixtures.py

The tests read them, so they need no PyTorch.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).resolve().parent


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.GELU(), nn.Linear(16, 3))


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.GroupNorm(2, 8), nn.MaxPool2d(2),
            nn.ConvTranspose2d(8, 4, 2, stride=2),
        )  # fmt: skip
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embed.weight  # tied

    def forward(self, ids):
        return self.head(self.norm(self.encoder(self.embed(ids))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(16, 6, batch_first=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0]


def main():
    torch.manual_seed(7)
    inputs = {
        "mlp": (mlp(), torch.randn(4, 6)),
        "conv": (Conv(), torch.randn(3, 2, 12, 12)),
        "transformer": (Transformer(), torch.randint(0, 20, (2, 7))),
        "recurrent": (Recurrent(), torch.randn(3, 4, 5)),
    }
    for name, (model, x) in inputs.items():
        if name == "conv":
            model(torch.randn(8, 2, 12, 12) * 2 + 1)  # so that the running statistics are not 0 and 1
        with torch.no_grad():
            y = model.eval()(x)
        weights = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
        save_file(weights, HERE / f"{name}.safetensors", {"format": "pt"})
        save_file({"x": x, "y": y.contiguous()}, HERE / f"{name}_io.safetensors")


if __name__ == "__main__":
    main()
