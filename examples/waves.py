"""Seeing with echoes: the medium that waves went through, recovered from what microphones at its edge heard.

A handwritten digit slows waves down.  Sources knock around it, one a shot, and microphones record.  Each time step of
the simulation is a CUDA kernel, made an op by `gg.kernel_op`; the gradient of the misfit goes back through all steps to
the speed in every cell.  On a CPU the kernel's reference runs, in NumPy.
"""

from pathlib import Path
from time import perf_counter

import numpy as np
from common import figure, options
from tqdm import trange

import gpugrad as gg

SOURCE = """
#include "common.cuh"
// The sum of the four neighbours less four times the cell; outside the grid is 0.
template <typename T> __device__ wide<T> laplace(const T* u, long long i, int y, int x, int h, int w) {
    wide<T> sum = -4 * wide<T>(u[i]);
    if (y > 0) sum += wide<T>(u[i - w]);
    if (y < h - 1) sum += wide<T>(u[i + w]);
    if (x > 0) sum += wide<T>(u[i - 1]);
    if (x < w - 1) sum += wide<T>(u[i + 1]);
    return sum;
}
template <typename T> __global__ void wave(
    const T* u, const T* before, const T* speed, const T* damping, T* out, int shots, int h, int w) {
    long long i = thread_id();
    if (i >= (long long)shots * h * w) return;
    int cell = i % (h * w);
    wide<T> d = damping[cell], lap = laplace(u, i, cell / w, cell % w, h, w);
    out[i] = T((2 * wide<T>(u[i]) - (1 - d) * wide<T>(before[i]) + wide<T>(speed[cell]) * lap) / (1 + d));
}
template <typename T> __device__ wide<T> flux(const T* g, const T* speed, const T* damping, long long i, int cell) {
    return wide<T>(speed[cell]) * wide<T>(g[i]) / (1 + wide<T>(damping[cell]));
}
template <typename T> __global__ void wave_grad(
    const T* g, const T* speed, const T* damping, T* du, T* dbefore, int shots, int h, int w) {
    long long i = thread_id();
    if (i >= (long long)shots * h * w) return;
    int cell = i % (h * w), y = cell / w, x = cell % w;
    wide<T> d = damping[cell], own = wide<T>(g[i]) / (1 + d), lap = -4 * flux(g, speed, damping, i, cell);
    if (y > 0) lap += flux(g, speed, damping, i - w, cell - w);
    if (y < h - 1) lap += flux(g, speed, damping, i + w, cell + w);
    if (x > 0) lap += flux(g, speed, damping, i - 1, cell - 1);
    if (x < w - 1) lap += flux(g, speed, damping, i + 1, cell + 1);
    du[i] = T(2 * own + lap);
    dbefore[i] = T((d - 1) * own);
}
template <typename T> __global__ void wave_speed_grad(
    const T* g, const T* u, const T* damping, T* dspeed, int shots, int h, int w) {
    int cell = thread_id();
    if (cell >= h * w) return;
    wide<T> sum = 0;
    for (long long i = cell; i < (long long)shots * h * w; i += h * w)
        sum += wide<T>(g[i]) * laplace(u, i, cell / w, cell % w, h, w);
    dspeed[cell] = T(sum / (1 + wide<T>(damping[cell])));
}
"""


def _laplace(xp, u):
    out = -4 * u
    out[..., 1:, :] += u[..., :-1, :]
    out[..., :-1, :] += u[..., 1:, :]
    out[..., 1:] += u[..., :-1]
    out[..., :-1] += u[..., 1:]
    return out


laplace = gg.op(_laplace, name="laplace", u=lambda g: laplace(g))  # a symmetric matrix is its own transpose

wave = gg.kernel_op(
    SOURCE,
    forward="wave",
    backward=("wave_grad", "wave_speed_grad"),
    shapes="shots h w, shots h w, h w, h w -> shots h w",  # speed: (velocity * time step / cell) squared
    reference=lambda xp, u, before, speed, damping: (
        (2 * u - (1 - damping) * before + speed * laplace(u)) / (1 + damping)
    ),
    u=lambda g, speed, damping: 2 * (g / (1 + damping)) + laplace(speed * (g / (1 + damping))),
    before=lambda g, damping: g * ((damping - 1) / (1 + damping)),
    speed=lambda g, u, damping: gg.sum(g * laplace(u), axis=0) / (1 + damping),
    damping=None,
)


class Survey:
    """Sources and microphones on a ring, in a square whose edge swallows waves.  Unknown is what lies inside."""

    def __init__(self, size, edge, shots, steps, period):
        self.steps, self.shape = steps, (shots, size, size)
        middle, radius = (size - 1) / 2, size / 2 - edge - 1
        depth = np.maximum(np.abs(np.arange(size) - middle) - (middle - edge), 0) / edge
        self.damping = gg.tensor(0.3 * np.maximum(depth[:, None], depth) ** 2, "float32")
        ring = lambda n: np.rint(middle + radius * np.stack([np.sin(a := 2 * np.pi * np.arange(n) / n), np.cos(a)]))
        self.sources, self.microphones = ring(shots).astype(int), np.unique(ring(8 * edge).astype(int), axis=1)
        distance = np.hypot(*(np.indices((size, size)) - middle))
        self.inside = gg.tensor(distance < radius - 1, "float32")
        place = np.zeros(self.shape, np.float32)
        place[np.arange(shots), *self.sources] = 1
        t = np.pi * (np.arange(steps) / period - 1)
        self.place, self.knock = gg.tensor(place), ((1 - 2 * t**2) * np.exp(-(t**2))).tolist()  # Ricker's wavelet

    def march(self, speed, u, before, start, stop):
        """Steps start to stop: the last two fields, and what the microphones heard."""
        heard = []
        for n in range(start, stop):
            u, before = wave(u, before, speed, self.damping) + self.knock[n] * self.place, u
            heard.append(u[:, *self.microphones])
        return u, before, gg.stack(heard)

    def record(self, speed, every=25):
        """What all microphones hear.  Fields are kept every 25 steps, and those between made again on the way back."""
        segment, heard = gg.checkpoint(self.march), []
        u = before = gg.zeros(self.shape)
        for start in range(0, self.steps, every):
            u, before, part = segment(speed, u, before, start, min(start + every, self.steps))
            heard.append(part)
        return gg.concat(heard)


def digit(which, size, scale):
    """A handwritten digit in the middle of a square, each pixel `scale` cells wide, from 0 to 1."""
    with np.load(Path(__file__).with_name("data") / "digits.npz", allow_pickle=False) as f:
        image = f["images"][which].reshape(8, 8) / 16
    around = (size - 8 * scale) // 2
    return np.pad(np.kron(image, np.ones((scale, scale))), around).astype(np.float32)


def main(arguments=None):
    given = options(arguments, __doc__, "a smaller square, fewer steps and updates")
    size, scale, shots, steps, updates = (40, 3, 4, 120, 16) if given.short else (64, 5, 8, 260, 120)
    survey = Survey(size, edge=8, shots=shots, steps=steps, period=14)
    outside, inside = 0.35, 0.20  # speeds, squared
    truth = outside - (outside - inside) * digit(given.seed + 3, size, scale)
    data = survey.record(gg.tensor(truth))

    unknown = gg.Variable(np.full((size, size), -4.0, np.float32))  # through a sigmoid: speeds stay between the two
    optimizer = gg.optim.Adam([unknown], learning_rate=0.3)
    losses, start = [], perf_counter()
    with trange(updates, unit="update", disable=None) as bar:
        for _ in bar:
            with gg.GradientTape() as tape:
                speed = outside - (outside - inside) * survey.inside * gg.nn.sigmoid(unknown)
                loss = gg.mean((survey.record(speed) - data) ** 2) / gg.mean(data**2)
            kept = tape.nbytes()
            optimizer.apply_gradients([(tape.gradient(loss, unknown), unknown)])
            losses.append(float(loss))
            bar.set_postfix(misfit=f"{losses[-1]:.5f}")
    found = speed.numpy()
    likeness = np.corrcoef(found.ravel(), truth.ravel())[0, 1]
    print(f"misfit {losses[0]:.4f} -> {losses[-1]:.6f}, correlation with the true medium {likeness:.3f}")
    print(f"{updates} updates through {steps} steps in {perf_counter() - start:.0f} s")
    with gg.GradientTape() as tape:
        tape.watch(speed)
        rest = gg.zeros(survey.shape)
        u, *_ = survey.march(speed, rest, rest, 0, steps)
    print(f"the tape kept {kept / 1e6:.1f} MB; without checkpoints it keeps {tape.nbytes() / 1e6:.1f} MB")

    if given.output:
        picture, axes = figure(15, 3.8, 1, 4)
        for axis, values, title in zip(axes, (truth, found), ("the medium", f"what was found: {likeness:.3f}")):
            image = axis.imshow(values, cmap="viridis", vmin=inside, vmax=outside)
            axis.plot(*survey.microphones[::-1], "w.", markersize=2)
            axis.plot(*survey.sources[::-1], "r*", markersize=6)
            axis.set(title=title)
        picture.colorbar(image, ax=axes[:2], label="speed², (cells a step)²", shrink=0.8)
        seen = min(100, steps)
        u = survey.march(speed, rest, rest, 0, seen)[0].numpy()[0]
        axes[2].imshow(u, cmap="RdBu_r", vmin=-(top := np.abs(u).max()), vmax=top)
        axes[2].plot(*survey.sources[::-1, :1], "r*", markersize=8)
        axes[2].set(title=f"the first shot after {seen} steps")
        for axis in axes[:3]:
            axis.set(xlabel="cell", ylabel="cell", xticks=[0, size // 2], yticks=[0, size // 2])
        axes[3].semilogy(range(1, updates + 1), losses)
        axes[3].set(xlabel="update", ylabel="misfit, of the recordings' power", title="Descent", xlim=(0, updates))
        picture.savefig(given.output, dpi=120)


if __name__ == "__main__":
    main()
