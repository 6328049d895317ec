"""Floor 8: the main job.  Train a classifier on handwritten digits and show what the tape kept in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from . import random
from .array import Device, default_device, device
from .core import Tensor
from .files import install, resource
from .nn import Linear, Module, Sequential, cross_entropy
from .op import op
from .optim import Adam
from .tape import GradientTape
from .tensor import tensor

CLASSES, TEST_SHARE = 10, 0.2


class Digits(NamedTuple):
    """Images (n, 64) in [0, 1] and labels (n,), split into a training and a test set."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load_digits(seed: int) -> Digits:
    """The 1,797 digits, each class split 80 to 20."""
    with np.load(resource("data", "digits.npz"), allow_pickle=False) as f:
        images, labels = f["images"].astype(np.float32) / 16, f["labels"].astype(np.int64)
    rng = np.random.default_rng(seed)
    test = np.zeros(len(labels), bool)
    for c in range(CLASSES):
        members = rng.permutation(np.flatnonzero(labels == c))
        test[members[: round(TEST_SHARE * len(members))]] = True
    return Digits(images[~test], labels[~test], images[test], labels[test])


def make_model(hidden: int = 512) -> Sequential:
    """A perceptron with two hidden layers."""
    return Sequential(
        Linear(64, hidden, activation="relu"), Linear(hidden, hidden, activation="relu"), Linear(hidden, CLASSES)
    )


class Curve(NamedTuple):
    """One number an epoch."""

    loss: list[float]
    accuracy: list[float]


def accuracy(model: Module, x: np.ndarray, y: np.ndarray, where: Device) -> float:
    """The share of right answers."""
    scores = model(tensor(x, device=where))  # type: ignore[operator]
    return float((scores.numpy().argmax(-1) == y).mean())


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to one pixel in both directions: a digit is the same digit a little beside itself."""
    padded = np.pad(x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(1, 2))
    row, column = rng.integers(0, 3, (2, len(x)))
    return windows[np.arange(len(x)), row, column].reshape(-1, 64)


def train(model: Sequential, data: Digits, where: Device, epochs: int, batch: int, seed: int) -> Curve:
    """Adam with a falling learning rate, a tape a step, a progress bar."""
    optimizer = Adam(model.trainable_variables, learning_rate=3e-3)
    variables = model.trainable_variables
    rng = np.random.default_rng(seed)
    curve = Curve([], [])
    with tqdm(range(epochs), desc="training", unit="epoch") as bar:
        for epoch in bar:
            optimizer.learning_rate = 3e-3 * (1 - epoch / epochs)
            order, total = rng.permutation(len(data.train_y)), 0.0
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                x = tensor(shifted(data.train_x[rows], rng), device=where)
                with GradientTape() as tape:
                    loss = cross_entropy(model(x), tensor(data.train_y[rows], device=where))
                grads = tape.gradient(loss, variables)
                optimizer.apply_gradients(zip(grads, variables, strict=True))
                total += float(loss) * len(rows)
            curve.loss.append(total / len(order))
            curve.accuracy.append(accuracy(model, data.test_x, data.test_y, where))
            bar.set_postfix(loss=f"{curve.loss[-1]:.4f}", test=f"{curve.accuracy[-1]:.1%}")
    return curve


# ---------------------------------------------------------------------------------------------- memory
class TraceMeter:
    """Bytes of live arrays on the CPU: NumPy reports its allocations to tracemalloc."""

    what = "memory traced by tracemalloc, to which NumPy reports its arrays"

    def __enter__(self) -> TraceMeter:
        tracemalloc.start()
        self.base = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        return self

    def __exit__(self, *exc: object) -> None:
        tracemalloc.stop()

    def live(self) -> int:
        return tracemalloc.get_traced_memory()[0] - self.base

    def peak(self) -> int:
        return tracemalloc.get_traced_memory()[1] - self.base


class PoolMeter:
    """Bytes of CuPy's memory pool in use, and their peak by a memory hook."""

    what = "memory of CuPy's pool"

    def __enter__(self) -> PoolMeter:
        import cupy

        meter, self.pool = self, cupy.get_default_memory_pool()

        class Hook(cupy.cuda.MemoryHook):
            name = f"gpugrad demo {id(meter)}"

            def malloc_postprocess(self, **_: Any) -> None:
                meter.highest = max(meter.highest, meter.pool.used_bytes())

        self.base = self.highest = self.pool.used_bytes()
        self.hook = Hook()
        self.hook.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.hook.__exit__(*exc)

    def live(self) -> int:
        return self.pool.used_bytes() - self.base

    def peak(self) -> int:
        return self.highest - self.base


class Footprint(NamedTuple):
    """What one training step kept."""

    persistent: bool
    tape: int  # bytes that the tape keeps after the forward pass, by its own count
    forward: int  # bytes live after the forward pass
    peak: int
    after: int  # bytes live after the gradient, the gradients themselves left out
    timeline: list[tuple[str, int]]  # (phase, bytes live) from layer to layer


def footprint(model: Sequential, x: Tensor, y: Tensor, persistent: bool) -> Footprint:
    """One forward and gradient, its memory sampled after every layer in both directions."""
    timeline: list[tuple[str, int]] = []
    meter = PoolMeter() if x.device.kind == "cuda" else TraceMeter()

    def pull(g: Any) -> Any:
        timeline.append(("backward", meter.live()))
        return g

    probe = op(lambda xp, x: x, name="probe", args=["x"], x=pull)
    variables = model.trainable_variables
    with meter:
        timeline.append(("forward", 0))
        with GradientTape(persistent=persistent) as tape:
            h = x
            for layer in model.layers:
                h = probe(layer(h))
                timeline.append(("forward", meter.live()))
            loss = cross_entropy(h, y)
        del h
        kept, forward = tape.nbytes(), meter.live()
        timeline.append(("forward", forward))
        grads = tape.gradient(loss, variables)
        own = sum(g.nbytes for g in grads)
        after = meter.live() - own
        timeline.append(("backward", after + own))
        peak = meter.peak()
        del tape, loss, grads
        timeline.append(("dropped", meter.live()))
    return Footprint(persistent, kept, forward, peak, max(after, 0), timeline)


def table(prints: list[Footprint], what: str) -> str:
    """The footprints as text."""
    rows: list[tuple[str, ...]] = [("", "kept by the tape", "after forward", "peak", "after gradient")]
    for p in prints:
        name = "persistent tape" if p.persistent else "non-persistent tape"
        rows.append((name, *[f"{b / 1024:,.1f} KiB" for b in (p.tape, p.forward, p.peak, p.after)]))
    widths = [max(len(r[i]) for r in rows) for i in range(5)]
    lines = ["  ".join([r[0].ljust(widths[0]), *[c.rjust(w) for c, w in zip(r[1:], widths[1:])]]) for r in rows]
    lines.insert(1, "-" * len(lines[0]))
    notes = [
        "kept by the tape: what it refers to, the weights and the batch included, which live on without it",
        f"other columns: {what}; in the last one without the gradients themselves",
    ]
    return "\n".join([*lines, *notes])


# ---------------------------------------------------------------------------------------------- the picture
def draw(curve: Curve, prints: list[Footprint], path: Path) -> None:
    """The learning curve and the memory timeline, as one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(curve.loss) + 1)
    left.plot(epochs, curve.loss, color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss (nats)", title="Learning curve")
    left.set_yscale("log")
    left.yaxis.label.set_color("tab:blue")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    other = left.twinx()
    other.plot(epochs, [100 * a for a in curve.accuracy], color="tab:orange")
    other.set_ylabel("test accuracy (%)", color="tab:orange")
    for p, style in zip(prints, ({"color": "tab:green"}, {"color": "tab:red", "linestyle": "--"}), strict=True):
        name = "persistent" if p.persistent else "non-persistent"
        right.plot([b / 1024 for _, b in p.timeline], label=f"{name} tape", marker="o", markersize=4, **style)
        right.axhline(p.peak / 1024, label=f"its peak, {p.peak / 1024:,.0f} KiB", linewidth=1, alpha=0.6, **style)
    phases = [phase for phase, _ in prints[0].timeline]
    turn, end, last = phases.index("backward") - 0.5, phases.index("dropped") - 0.5, len(phases) + 0.2
    for edge in (turn, end):
        right.axvline(edge, color="0.7", linewidth=1)
    for middle, text in (((turn - 0.5) / 2, "forward"), ((turn + end) / 2, "backward"), ((end + last) / 2, "dropped")):
        right.text(middle, 0.97, text, transform=right.get_xaxis_transform(), ha="center", va="top", color="0.4")
    right.set(xlabel="sampled from layer to layer; the peak lies inside one", ylabel="live memory (KiB)")
    right.set(title="Memory of one step", xlim=(-0.5, last))
    right.set_ylim(bottom=0, top=1.15 * max(p.peak for p in prints) / 1024)
    right.set_xticks([])
    right.legend(loc="lower center", fontsize="small")
    figure.savefig(path, dpi=120)


def run(
    where: str | None = None, epochs: int = 120, batch: int = 64, seed: int = 0, output: Path | None = None,
    say: Callable[[str], None] = print,
) -> float:  # fmt: skip
    """The whole demo.  Answers the test accuracy."""
    start = perf_counter()
    random.seed(seed)
    with device(where or default_device()) as place:
        data = load_digits(seed)
        say(f"{len(data.train_y):,} digits to learn from, {len(data.test_y)} to be tested on, on {place}")
        model = make_model()
        curve = train(model, data, place, epochs, batch, seed)
        say(f"test accuracy {curve.accuracy[-1]:.2%} after {epochs} epochs in {perf_counter() - start:.1f} s")
        x, y = tensor(data.train_x[:1024], device=place), tensor(data.train_y[:1024], device=place)
        footprint(model, x, y, False)  # first use allocates what later steps have
        prints = [footprint(model, x, y, persistent) for persistent in (False, True)]
        say(f"\nWhat one step on {len(x)} digits keeps:\n")
        say(table(prints, (PoolMeter if place.kind == "cuda" else TraceMeter).what))
        if output is not None:
            try:
                draw(curve, prints, output)
            except ImportError as e:
                say(f"\nNo picture: {e}. Install matplotlib with: {install('demo')}")
            else:
                say(f"\nlearning curve and memory timeline: {output}")
    return curve.accuracy[-1]
