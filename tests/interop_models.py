"""The models of tests/interop/make_fixtures.py, in gpugrad."""

import gpugrad as gg
from gpugrad import nn


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.GELU(), nn.Linear(16, 3))


class Conv(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(
            nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.GroupNorm(2, 8), nn.MaxPool2d(2),
            nn.ConvTranspose2d(8, 4, 2, stride=2),
        )  # fmt: skip
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(gg.mean(self.body(x), axis=(2, 3)))


class Tied(nn.Module):
    """A linear layer whose weight (out, in) is another's."""

    def __init__(self, weight):
        self.weight = weight

    def forward(self, x):
        return x @ self.weight.mT


class Transformer(nn.Module):
    def __init__(self, tied=True):
        self.embed = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.norm = nn.LayerNorm(16)
        self.head = Tied(self.embed.weight) if tied else nn.Linear(16, 20, bias=False)

    def forward(self, ids):
        return self.head(self.norm(self.encoder(self.embed(ids))))


class Recurrent(nn.Module):
    def __init__(self):
        self.lstm = nn.LSTM(5, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(16, 6, batch_first=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0]


MODELS = {"mlp": mlp, "conv": Conv, "transformer": Transformer, "recurrent": Recurrent}
