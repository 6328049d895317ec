"""Burgers' equation solved by a network: its derivatives by nested tapes, its error against the exact solution.

u_t + u u_x = ν u_xx on -1 < x < 1, 0 < t < 1 with u(x, 0) = -sin πx and u(±1, t) = 0: a wave that steepens until
viscosity stops it, at t ≈ 1/π.  No data is given: the network learns from the equation alone (Raissi et al. 2019).
"""

import math
from time import perf_counter

import numpy as np
from common import figure, options
from tqdm import trange

import gpugrad as gg

VISCOSITY = 0.02 / math.pi


class Solution(gg.nn.Module):
    """u(x, t), which has the right values at t = 0 and at x = ±1 whatever the network says."""

    def __init__(self, width=32, depth=4):
        hidden = [gg.nn.Linear(width if i else 2, width, activation="tanh") for i in range(depth)]
        self.net = gg.nn.Sequential(*hidden, gg.nn.Linear(width, 1))

    def forward(self, x, t):
        return t * (1 - x * x) * self.net(gg.concat([x, t], axis=1)) - gg.sin(math.pi * x)


def residual(u_of, x, t):
    """By how much u misses the equation, at all points at once.

    u of a point depends on that point only, so the gradient of the sum of all u (which is what a tape answers for a
    target that is no scalar) holds each point's own derivative.  The outer tape records the inner one's walk back.
    """
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as inner:
            inner.watch([x, t])
            u = u_of(x, t)
        u_x, u_t = inner.gradient(u, [x, t])
    u_xx = outer.gradient(u_x, x)
    return u_t + u * u_x - VISCOSITY * u_xx


def exact(x, t):
    """The solution by Cole's and Hopf's substitution, its integrals by Gauss's and Hermite's quadrature."""
    nodes, weights = np.polynomial.hermite.hermgauss(100)
    y = x[..., None] - np.sqrt(4 * VISCOSITY * t)[..., None] * nodes
    f = weights * np.exp(-np.cos(np.pi * y) / (2 * np.pi * VISCOSITY))
    return -(np.sin(np.pi * y) * f).sum(-1) / f.sum(-1)


def points(n):
    return gg.random.uniform((n, 1), -1.0, 1.0), gg.random.uniform((n, 1))


def loss_of(u_of, x, t):
    """The mean square of the residual, and its gradients."""
    with gg.GradientTape() as tape:
        loss = gg.mean(residual(u_of, x, t) ** 2)
    return loss, tape.gradient(loss, u_of.trainable_variables)


def train(u_of, steps, refinements, peak=8e-3):
    """Adam at points drawn anew for every step, then L-BFGS at fixed ones."""
    variables = u_of.trainable_variables
    optimizer, losses = gg.optim.Adam(variables), []
    for step in trange(steps, desc="Adam", disable=None):
        optimizer.learning_rate = peak * min(1, (step + 1) / 50) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        loss, grads = loss_of(u_of, *points(512))
        optimizer.apply_gradients(zip(grads, variables))
        losses.append(float(loss))

    optimizer = gg.optim.LBFGS(variables, max_iter=20, history_size=50, line_search_fn="strong_wolfe")
    fixed = points(2048)
    for _ in trange(refinements, desc="L-BFGS", unit="20 steps", disable=None):
        losses.append(float(optimizer.step(lambda: loss_of(u_of, *fixed))))
    return losses


def main(arguments=None):
    given = options(arguments, __doc__, "few steps")
    start = perf_counter()
    u_of = Solution()
    steps, refinements = (80, 2) if given.short else (4000, 40)
    losses = train(u_of, steps, refinements)

    x, t = np.meshgrid(np.linspace(-1, 1, 201), np.linspace(0.005, 1, 200), indexing="ij")
    truth = exact(x, t)
    with gg.no_grad():
        found = u_of(*[gg.tensor(a.reshape(-1, 1), "float32") for a in (x, t)]).numpy().reshape(x.shape)
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    print(f"relative L2 error {error:.3%} after {len(losses)} steps in {perf_counter() - start:.0f} s")

    if given.output:
        picture, axes = figure(14, 3.6, 1, 4)
        shown = (found, "u(x, t) by the network"), (found - truth, f"its error, {error:.2%} in all")
        for axis, (values, title) in zip(axes, shown):
            scale = np.abs(values).max()
            image = axis.imshow(
                values, extent=(0, 1, -1, 1), origin="lower", aspect="auto", cmap="RdBu_r", vmin=-scale, vmax=scale
            )
            axis.set(xlabel="t", ylabel="x", title=title)
            picture.colorbar(image, ax=axis)
        for i in (49, 99, 199):
            axes[2].plot(x[:, i], found[:, i], label=f"t = {t[0, i]:.2f}")
            axes[2].plot(x[:, i], truth[:, i], "k:", linewidth=1)
        axes[2].set(xlabel="x", ylabel="u", title="network, and exact (dotted)")
        axes[2].legend(loc="lower left", fontsize="small")
        axes[3].semilogy(losses[:steps], linewidth=0.5, label="Adam")
        axes[3].semilogy(steps + 20 * np.arange(refinements), losses[steps:], label="L-BFGS")
        axes[3].set(xlabel="step", ylabel="mean squared residual", title="Training")
        axes[3].legend()
        picture.savefig(given.output, dpi=120)


if __name__ == "__main__":
    main()
