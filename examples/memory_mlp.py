"""Two losses from one forward pass: an encoder of handwritten digits that names and redraws them.

A plain training script: nothing in it knows of profiling.  What its persistent tape costs:

    gpugrad memory examples/memory_mlp.py
"""

import argparse
from pathlib import Path

import numpy as np

import gpugrad as gg

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--steps", type=int, default=100, help="updates (%(default)s)")
parser.add_argument("--hidden", type=int, default=512, help="width of the encoder (%(default)s)")


class Encoder(gg.nn.Module):
    """What both heads read."""

    def __init__(self, hidden):
        self.first = gg.nn.Linear(64, hidden)
        self.second = gg.nn.Linear(hidden, hidden)

    def forward(self, x):
        h = gg.nn.gelu(self.first(x))
        h = gg.nn.layer_norm(h, h.shape[-1])
        return gg.nn.gelu(self.second(h))


def train(steps, hidden):
    """Adam for each head; the encoder learns from both losses."""
    with np.load(Path(__file__).with_name("data") / "digits.npz", allow_pickle=False) as f:
        images, labels = f["images"].astype(np.float32) / 16, f["labels"].astype(np.int64)
    encoder, name, redraw = Encoder(hidden), gg.nn.Linear(hidden, 10), gg.nn.Linear(hidden, 64)
    naming = encoder.trainable_variables + name.trainable_variables
    drawing = redraw.trainable_variables
    optimizers = gg.optim.Adam(naming, learning_rate=1e-3), gg.optim.Adam(drawing, learning_rate=1e-3)
    for step in range(steps):
        x, y = gg.tensor(images), gg.tensor(labels)
        with gg.GradientTape(persistent=True) as tape:
            h = encoder(x)
            loss = gg.nn.cross_entropy(name(h), y)
            error = gg.mean((redraw(h) - x) ** 2)
        optimizers[0].apply_gradients(zip(tape.gradient(loss, naming), naming))
        optimizers[1].apply_gradients(zip(tape.gradient(error, drawing), drawing))
        if step % 20 == 0:
            print(f"step {step}: loss {float(loss):.3f}, error {float(error):.4f}")


if __name__ == "__main__":
    gg.random.seed(0)
    options = parser.parse_args()
    train(options.steps, options.hidden)
