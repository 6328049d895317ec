"""Two losses from one forward pass: an encoder of handwritten digits, with a head that names and one that redraws.

A plain training script: nothing in it knows of profiling.  What its persistent tape costs:

    gpugrad memory examples/memory_mlp.py
"""

import argparse
from pathlib import Path

import numpy as np

import gpugrad as gg

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--steps", type=int, default=100, help="updates (%(default)s)")
parser.add_argument("--batch", type=int, default=512, help="digits a step (%(default)s)")
parser.add_argument("--hidden", type=int, default=512, help="width of the encoder (%(default)s)")
parser.add_argument("--depth", type=int, default=6, help="layers of the encoder (%(default)s)")


class Block(gg.nn.Module):
    def __init__(self, inputs, hidden):
        self.norm, self.linear = gg.nn.LayerNorm(inputs), gg.nn.Linear(inputs, hidden)

    def forward(self, x):
        h = self.norm(x)
        h = self.linear(h)
        return gg.nn.gelu(h)


def train(steps, batch, hidden, depth):
    """Adam for each head; the encoder learns to name."""
    with np.load(Path(__file__).with_name("data") / "digits.npz", allow_pickle=False) as f:
        images, labels = f["images"].astype(np.float32) / 16, f["labels"].astype(np.int64)
    encoder = gg.nn.Sequential(*[Block(hidden if i else 64, hidden) for i in range(depth)])
    name, redraw = gg.nn.Linear(hidden, 10), gg.nn.Linear(hidden, 64)
    naming, drawing = encoder.trainable_variables + name.trainable_variables, redraw.trainable_variables
    optimizers = gg.optim.Adam(drawing, learning_rate=1e-3), gg.optim.Adam(naming, learning_rate=1e-3)
    rng = np.random.default_rng(0)
    for step in range(steps):
        rows = rng.integers(0, len(images), batch)
        x, y = gg.tensor(images[rows]), gg.tensor(labels[rows])
        with gg.GradientTape(persistent=True) as tape:
            h = encoder(x)
            loss = gg.nn.cross_entropy(name(h), y)
            error = gg.mean((redraw(h) - x) ** 2)
        optimizers[0].apply_gradients(zip(tape.gradient(error, drawing), drawing))
        optimizers[1].apply_gradients(zip(tape.gradient(loss, naming), naming))
        if step % 20 == 0:
            print(f"step {step}: loss {float(loss):.3f}, error {float(error):.4f}")


if __name__ == "__main__":
    gg.random.seed(0)
    options = parser.parse_args()
    train(options.steps, options.batch, options.hidden, options.depth)
