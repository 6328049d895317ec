"""The optimizers' rows of fused_cases.CASES: many arrays in one launch, none of them the size of another."""

import math

import numpy as np
from fused_cases import Wide, case

from gpugrad import fused
from gpugrad.array import library
from gpugrad.fused.optimizer import CLIP, GRADIENT, LOSS_SCALE, NORM, PARAMETER, SKIP, SKIPPED, STATE, STATE2, STEP

COUNTS = [(0,), (1,), (31,), (33,), (255,), (1000,), (1009,), (4096,), (8200,)]


def parameters(rng):
    return [rng.standard_normal(s) for _ in range(3) for s in COUNTS]


def table(xs, gs, *states):
    """A table of parameters, gradients and states, and new arrays for its results."""
    made = fused.Table(xs)
    for column, arrays in [(PARAMETER, xs), (GRADIENT, gs), *zip((STATE, STATE2), states)]:
        made.set(column, arrays)
    return made, made.allocate(xs)


@case([(1,)])
def sgd(rng, shape):
    xs, gs, vs = parameters(rng), parameters(rng), parameters(rng)
    n = len(xs)

    def call(*arrays):
        xs, gs, vs = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
        schedule, scaling = fused.schedule(xs[0], 0.1), fused.scaling(xs[0], 4.0)
        scaling[CLIP] = 0.5
        out = []
        for scale, options in [
            (scaling, {"decay": 0.01}), (scaling, {"momentum": 0.9}),
            (None, {"momentum": 0.9, "decay": 0.01, "nesterov": True}),
            (None, {"decay": 0.5, "decoupled": True, "maximize": True}),
        ]:  # fmt: skip
            moving = [v.copy() for v in vs]
            one, new = table(xs, gs, moving)
            fused.sgd(one, schedule, scale, **options)
            out += [*new, *moving]
        moving, scaling[SKIP] = [v.copy() for v in vs], 1
        one, skipped = table(xs, gs, moving)
        fused.sgd(one, schedule, scaling, momentum=0.9)
        return [*out, *skipped, *moving]

    def reference(*arrays):
        xs, gs, vs = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
        small = [g / 8 for g in gs]
        decayed = [g + 0.01 * x for g, x in zip(gs, xs)]
        moving, moving2 = ([0.9 * v + g for v, g in zip(vs, some)] for some in (small, decayed))
        return [
            *[x - 0.1 * (g + 0.01 * x) for x, g in zip(xs, small)], *vs,
            *[x - 0.1 * v for x, v in zip(xs, moving)], *moving,
            *[x - 0.1 * (g + 0.9 * v) for x, g, v in zip(xs, decayed, moving2)], *moving2,
            *[x * 0.95 + 0.1 * g for x, g in zip(xs, gs)], *vs,
            *xs, *vs,
        ]  # fmt: skip

    return [*xs, *gs, *map(Wide, vs)], call, reference


@case([(1,)])
def adam(rng, shape):
    xs, gs, ms = parameters(rng), parameters(rng), parameters(rng)
    vs, n = [m * m for m in parameters(rng)], len(xs)
    variants = [
        {}, {"decay": 0.1}, {"decay": 0.1, "decoupled": True}, {"raw_eps": True, "eps": 1e-3}, {"maximize": True},
    ]  # fmt: skip

    def call(*arrays):
        xs, gs, ms, vs = (arrays[i * n : (i + 1) * n] for i in range(4))
        schedule, scaling, out = fused.schedule(xs[0], 0.01, 2), fused.scaling(xs[0]), []
        for options in variants:
            m2, v2, schedule[STEP] = [m.copy() for m in ms], [v.copy() for v in vs], 2
            one, new = table(xs, gs, m2, v2)
            fused.adam(one, schedule, **options)
            out += [*new, *m2, *v2]
            assert schedule.tolist() == [0.01, 3, 0]
        scaling[SKIP], m2 = 1, [m.copy() for m in ms]
        one, skipped = table(xs, gs, m2, m2)
        fused.adam(one, schedule, scaling)
        assert schedule.tolist() == [0.01, 3, 0]
        return [*out, *skipped, *m2]

    def reference(*arrays):
        out, all_of = [], list(zip(*(arrays[i * n : (i + 1) * n] for i in range(4))))
        for options in variants:
            new = [adam_step(*four, **options) for four in all_of]
            out += [a for column in zip(*new) for a in column]
        return [*out, *arrays[:n], *arrays[2 * n : 3 * n]]

    return [*xs, *gs, *map(Wide, ms), *map(Wide, vs)], call, reference


def adam_step(x, g, m, v, eps=1e-8, decay=0.0, decoupled=False, raw_eps=False, maximize=False, rate=0.01, step=3):
    g = -g if maximize else g
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
        lib, scaling = library(gs[0]), fused.scaling(gs[0], 2.0)
        norm = lambda *more, **options: fused.global_norm([table(gs, gs)[0]], scaling, *more, **options)
        norm(3.0, 1e-6)
        limited, one = scaling[1:4].copy(), table(gs, gs)[0]
        small = fused.clipped(one, scaling)
        norm()
        free = scaling[1:4].copy()
        gs[4][7] = np.inf
        norm(skips=True)
        assert scaling[SKIP] == 1 and scaling[SKIPPED] == 1
        norm(3.0)
        assert scaling[SKIP] == 0 and scaling[SKIPPED] == 1 and scaling[CLIP] == 0 and np.isinf(float(scaling[NORM]))
        gs[4][7] = np.nan
        norm(3.0)
        assert np.isnan(lib.to_host(scaling)[[CLIP, NORM]]).all() and scaling[LOSS_SCALE] == 2
        gs[4][7] = 0.5  # as the reference has it
        return [limited, free, *small]

    def reference(*gs):
        gs[4][7] = 0.5
        length = math.sqrt(sum((g * g).sum() for g in gs)) / 2
        clip = 3 / (length + 1e-6)
        return [[clip, 0, length], [1, 0, length], *[g * clip / 2 for g in gs]]

    gs[4][7] = 0.5
    return gs, call, reference
