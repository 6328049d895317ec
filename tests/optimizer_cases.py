"""The optimizers' rows of fused_cases.CASES: many arrays in one launch, none of them the size of another."""

import math

import numpy as np
from fused_cases import Wide, case

from gpugrad import fused, kernels

COUNTS = [(0,), (1,), (31,), (33,), (255,), (1000,), (1009,), (4096,), (8200,)]


def parameters(rng):
    return [rng.standard_normal(s) for _ in range(3) for s in COUNTS]


@case([(1,)])
def sgd(rng, shape):
    xs, gs, vs = parameters(rng), parameters(rng), parameters(rng)
    n = len(xs)

    def call(*arrays):
        xs, gs, vs = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
        control = fused.control(xs[0], 0.1)
        control[fused.optimizer.LOSS_SCALE], control[fused.optimizer.CLIP] = 4.0, 0.5
        plain, heavy, nesterov = ([x.copy() for x in xs] for _ in range(3))
        moving, moving2 = ([v.copy() for v in vs] for _ in range(2))
        fused.sgd(xs, plain, gs, None, control, decay=0.01)
        fused.sgd(heavy, heavy, gs, moving, control, momentum=0.9)
        fused.sgd(xs, nesterov, gs, moving2, control, momentum=0.9, decay=0.01, nesterov=True)
        control[fused.optimizer.SKIP] = 1
        skipped = [fresh(x) for x in xs]
        fused.sgd(xs, skipped, gs, moving, control, momentum=0.9)
        return [*plain, *heavy, *moving, *nesterov, *skipped]

    def reference(*arrays):
        xs, gs, vs = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
        gs = [g / 8 for g in gs]
        decayed = [g + 0.01 * x for g, x in zip(gs, xs)]
        moving, moving2 = ([0.9 * v + g for v, g in zip(vs, some)] for some in (gs, decayed))
        return [
            *[x - 0.1 * g for x, g in zip(xs, decayed)],
            *[x - 0.1 * v for x, v in zip(xs, moving)],
            *moving,
            *[x - 0.1 * (g + 0.9 * v) for x, g, v in zip(xs, decayed, moving2)],
            *xs,
        ]

    return [*xs, *gs, *map(Wide, vs)], call, reference


def fresh(x):
    return kernels.library(x).xp.empty(x.shape, x.dtype)


@case([(1,)])
def adam(rng, shape):
    xs, gs, ms = parameters(rng), parameters(rng), parameters(rng)
    vs, n = [m * m for m in parameters(rng)], len(xs)
    variants = [{}, {"decay": 0.1}, {"decay": 0.1, "decoupled": True}, {"raw_eps": True, "eps": 1e-3}]

    def call(*arrays):
        xs, gs, ms, vs = (arrays[i * n : (i + 1) * n] for i in range(4))
        control, out = fused.control(xs[0], 0.01, step=3), []
        for options in variants:
            m2, v2, y = [m.copy() for m in ms], [v.copy() for v in vs], [fresh(x) for x in xs]
            fused.adam(xs, y, gs, m2, v2, control, **options)
            out += [*y, *m2, *v2]
        return out

    def reference(*arrays):
        out, all_of = [], list(zip(*(arrays[i * n : (i + 1) * n] for i in range(4))))
        for options in variants:
            new = [adam_step(*four, **options) for four in all_of]
            out += [a for column in zip(*new) for a in column]
        return out

    return [*xs, *gs, *map(Wide, ms), *map(Wide, vs)], call, reference


def adam_step(x, g, m, v, eps=1e-8, decay=0.0, decoupled=False, raw_eps=False, rate=0.01, step=3):
    x, g = (x * (1 - rate * decay), g) if decoupled else (x, g + decay * x)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    c1, c2 = 1 - 0.9**step, 1 - 0.999**step
    if raw_eps:
        return x - rate * math.sqrt(c2) / c1 * m / (np.sqrt(v) + eps), m, v
    return x - rate * (m / c1) / (np.sqrt(v / c2) + eps), m, v


@case([(1,)])
def global_norm(rng, shape):
    gs = parameters(rng)

    def call(*gs):
        control = fused.control(gs[0], 0.1)
        control[fused.optimizer.LOSS_SCALE] = 2.0
        fused.global_norm(gs, control, limit=3.0, eps=1e-6)
        clipped = control.copy()
        fused.global_norm(gs, control)
        free = control.copy()
        gs[4][7] = np.inf
        fused.global_norm(gs, control)
        assert control[fused.optimizer.SKIP] == 1
        gs[4][7] = 0.5  # as the reference has it
        return [clipped[3:], free[3:]]

    def reference(*gs):
        gs[4][7] = 0.5
        length = math.sqrt(sum((g * g).sum() for g in gs)) / 2
        return [[3 / (length + 1e-6), 0, length], [1, 0, length]]

    gs[4][7] = 0.5
    return gs, call, reference
