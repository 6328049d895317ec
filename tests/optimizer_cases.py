"""The optimizers' rows of fused_cases.CASES: many arrays in one launch, none of them the size of another."""

import math

import numpy as np
from fused_cases import Wide, case

from gpugrad import fused
from gpugrad.array import library
from gpugrad.fused.optimizer import (
    CLIP,
    GOOD,
    GRADIENT,
    LOSS_SCALE,
    NORM,
    PARAMETER,
    SCALE,
    SKIP,
    SKIPPED,
    STATE,
    STATE2,
    STATE3,
    STEP,
)

COUNTS = [(0,), (1,), (31,), (33,), (255,), (1000,), (1009,), (4096,), (8200,)]


def parameters(rng):
    return [rng.standard_normal(s) for _ in range(3) for s in COUNTS]


def table(xs, gs, *states):
    """A table of parameters, gradients and states, and new arrays for its results."""
    made = fused.Table(xs)
    for column, arrays in [(PARAMETER, xs), (GRADIENT, gs), *zip((STATE, STATE2, STATE3), states)]:
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


def with_moments(kernel, step, variants, xs, gs, ms, vs):
    """The case of a kernel that keeps two moments: each variant, and a step that is skipped."""
    n = len(xs)

    def call(*arrays):
        xs, gs, ms, vs = (arrays[i * n : (i + 1) * n] for i in range(4))
        schedule, scaling, out = fused.schedule(xs[0], 0.01, 2), fused.scaling(xs[0]), []
        for options in variants:
            m2, v2, schedule[STEP] = [m.copy() for m in ms], [v.copy() for v in vs], 2
            one, new = table(xs, gs, m2, v2)
            kernel(one, schedule, **options)
            out += [*new, *m2, *v2]
            assert schedule.tolist() == [0.01, 3, 0, 1]
        scaling[SKIP], m2 = 1, [m.copy() for m in ms]
        one, skipped = table(xs, gs, m2, m2)
        kernel(one, schedule, scaling)
        assert schedule.tolist() == [0.01, 3, 0, 1]
        return [*out, *skipped, *m2]

    def reference(*arrays):
        out, all_of = [], list(zip(*(arrays[i * n : (i + 1) * n] for i in range(4))))
        for options in variants:
            new = [step(*four, **options) for four in all_of]
            out += [a for column in zip(*new) for a in column]
        return [*out, *arrays[:n], *arrays[2 * n : 3 * n]]

    return [*xs, *gs, *map(Wide, ms), *map(Wide, vs)], call, reference


@case([(1,)])
def adam(rng, shape):
    xs, gs, ms = parameters(rng), parameters(rng), parameters(rng)
    vs = [m * m for m in parameters(rng)]
    variants = [
        {}, {"decay": 0.1}, {"decay": 0.1, "decoupled": True}, {"raw_eps": True, "eps": 1e-3}, {"maximize": True},
    ]  # fmt: skip

    return with_moments(fused.adam, adam_step, variants, xs, gs, ms, vs)


def adam_step(x, g, m, v, eps=1e-8, decay=0.0, decoupled=False, raw_eps=False, maximize=False, rate=0.01, step=3):
    g = -g if maximize else g
    x, g = (x * (1 - rate * decay), g) if decoupled else (x, g + decay * x)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    c1, c2 = 1 - 0.9**step, 1 - 0.999**step
    if raw_eps:
        return x - rate * math.sqrt(c2) / c1 * m / (np.sqrt(v) + eps), m, v
    return x - rate * (m / c1) / (np.sqrt(v / c2) + eps), m, v


def rule_step(kind, x, g, s, o):  # (the new variable, its new states), at step 3, where NAdam's product was 0.5
    a, b, eps, extra, rate, step = (o.get(k, 0.0) for k in ("a", "b", "eps", "extra", "rate", "step"))
    g = -g if o.get("maximize") else g
    x, g = (x * (1 - rate * o["decay"]), g) if o.get("decoupled") else (x, g + o.get("decay", 0.0) * x)
    m, v, c1, c2 = a * s[0] + (1 - a) * g, b * s[1] + (1 - b) * g * g, 1 - a**step, 1 - b**step
    if kind == "amsgrad":
        top = np.maximum(s[2], v)
        r = np.sqrt(top) / math.sqrt(c2) + eps if not o.get("option") else (np.sqrt(top) + eps) / math.sqrt(c2)
        return x - rate * m / c1 / r, [m, v, top]
    if kind == "nadam":
        now, then = (a * (1 - 0.5 * 0.96 ** (t * extra)) for t in (step, step + 1))
        n = (1 - now) * g / (1 - 0.5 * now) + then * m / (1 - 0.5 * now * then)
        return x - rate * n / (np.sqrt(v / c2) + eps), [m, v]
    if kind == "radam":
        far = 2 / (1 - b) - 1
        rho = far - 2 * step * b**step / c2
        if rho <= 5:
            return x - rate * m / c1, [m, v]
        r = math.sqrt((rho - 4) * (rho - 2) * far / ((far - 4) * (far - 2) * rho))
        return x - rate * r * math.sqrt(c2) * m / c1 / (np.sqrt(v) + eps), [m, v]
    if kind == "adamax":
        u = np.maximum(b * s[1], np.abs(g) + eps)
        return x - rate * m / c1 / u, [m, u]
    if kind == "lion":
        return x - rate * np.sign(m), [b * s[0] + (1 - b) * g]
    if kind == "dampened":
        v = a * s[0] + (1 - extra) * g
        return x - rate * v, [v]
    if kind == "adagrad":
        v = s[0] + g * g
        r = np.sqrt(v + eps) if o.get("option") else np.sqrt(v) + eps
        return x - rate / (1 + 2 * extra) * g / r, [v]
    v = a * s[0] + (1 - a) * g * g
    if kind == "adadelta":
        d = g * np.sqrt(s[1] + eps) / np.sqrt(v + eps)
        return x - rate * d, [v, a * s[1] + (1 - a) * d * d]
    new, inner = [v], v  # rmsprop
    if b == 0:
        new.append(a * s[1] + (1 - a) * g)
        inner = v - new[1] ** 2
    d = g / (np.sqrt(inner + eps) if o.get("option") else np.sqrt(inner) + eps)
    if not extra:
        return x - rate * d, new
    new.append(extra * s[len(new)] + (rate * d if o.get("option") else d))
    return x - (new[-1] if o.get("option") else rate * new[-1]), new


RULES = [
    ("amsgrad", 3, {"a": 0.8, "b": 0.7, "eps": 1e-3, "decay": 0.1}),
    ("amsgrad", 3, {"a": 0.8, "b": 0.7, "eps": 1e-3, "decay": 0.1, "decoupled": True, "option": True}),
    ("nadam", 2, {"a": 0.8, "b": 0.7, "eps": 1e-3, "extra": 0.5, "maximize": True}),
    ("radam", 2, {"a": 0.8, "b": 0.7, "eps": 1e-3, "decay": 0.1}),
    ("radam", 2, {"a": 0.8, "b": 0.999, "eps": 1e-3}),
    ("adamax", 2, {"a": 0.8, "b": 0.7, "eps": 1e-3}),
    ("adadelta", 2, {"a": 0.8, "eps": 1e-3, "decay": 0.1}),
    ("adagrad", 1, {"eps": 1e-3, "extra": 0.3}),
    ("adagrad", 1, {"eps": 1e-3, "option": True}),
    ("rmsprop", 1, {"a": 0.8, "b": 1.0, "eps": 1e-3}),
    ("rmsprop", 2, {"a": 0.8, "b": 1.0, "eps": 1e-3, "extra": 0.5, "option": True}),
    ("rmsprop", 2, {"a": 0.8, "b": 0.0, "eps": 1e-1}),
    ("rmsprop", 3, {"a": 0.8, "b": 0.0, "eps": 1e-1, "extra": 0.5, "maximize": True}),
    ("lion", 1, {"a": 0.8, "b": 0.7, "decay": 0.1, "decoupled": True}),
    ("dampened", 1, {"a": 0.8, "extra": 0.3, "decay": 0.1}),
]


@case([(1,)])
def rule(rng, shape):
    counts = [(1,), (33,), (1009,), (4100,)]
    draw = lambda: [rng.standard_normal(s) for s in counts]
    xs, gs, n = draw(), draw(), len(counts)
    states = [[0.5 + 0.01 * a for a in draw()] for _ in range(3)]  # so that no variance is below 0

    def call(*arrays):
        xs, gs, *kept = (arrays[i * n : (i + 1) * n] for i in range(5))
        out = []
        for kind, many, options in RULES:
            schedule, moving = fused.schedule(xs[0], 0.01, 2, 0.5), [[a.copy() for a in s] for s in kept[:many]]
            one, new = table(xs, gs, *moving)
            fused.rule(one, schedule, kind=kind, states=many, **options)
            assert int(schedule[STEP]) == 3 and float(schedule[2]) == 0
            out += [*new, *[a for s in moving for a in s]]
        return out

    def reference(*arrays):
        xs, gs, *kept = (arrays[i * n : (i + 1) * n] for i in range(5))
        out = []
        for kind, many, options in RULES:
            new = [rule_step(kind, *all_of[:2], all_of[2:], {**options, "rate": 0.01, "step": 3})
                   for all_of in zip(xs, gs, *kept)]  # fmt: skip
            out += [x for x, _ in new]
            out += [s[j] for j in range(many) for _, s in new]
        return out

    return [*xs, *gs, *[Wide(a) for s in states for a in s]], call, reference


def lamb_step(x, g, m, v, eps=1e-6, decay=0.0, maximize=False, rate=0.01, step=3):
    g = -g if maximize else g
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    r = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + eps) + decay * x
    ours, theirs = np.sqrt((x * x).sum()), np.sqrt((r * r).sum())
    return x - rate * (ours / theirs if ours > 0 and theirs > 0 else 1.0) * r, m, v


@case([(1,)])
def lamb(rng, shape):
    xs, gs, ms = parameters(rng), parameters(rng), parameters(rng)
    vs = [m * m for m in parameters(rng)]
    xs[4] = xs[4] * 0  # a length of 0
    variants = [{}, {"decay": 0.1, "eps": 1e-3}, {"maximize": True}]

    return with_moments(fused.lamb, lamb_step, variants, xs, gs, ms, vs)


@case([(1,)])
def masters(rng, shape):
    """The parameter is wide and is changed; the result is it, rounded.  Of a skipped step, too."""
    xs, gs, vs = parameters(rng), parameters(rng), parameters(rng)
    n = len(xs)

    def call(*arrays):
        copies, gs, vs = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
        like = [x.astype(g.dtype) for x, g in zip(copies, gs)]
        schedule, scaling, out = fused.schedule(gs[0], 0.1), fused.scaling(gs[0]), []
        for skip in (0, 1):
            scaling[SKIP] = skip
            kept, moving, one = [x.copy() for x in copies], [v.copy() for v in vs], fused.Table(like, True)
            for column, given in ((PARAMETER, kept), (GRADIENT, gs), (STATE, moving)):
                one.set(column, given)
            new = one.allocate(like)
            fused.sgd(one, schedule, scaling, momentum=0.9)
            out += [*new, *kept, *moving]
        return out

    def reference(*arrays):
        xs, gs, vs = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
        moving = [0.9 * v + g for v, g in zip(vs, gs)]
        new = [x - 0.1 * v for x, v in zip(xs, moving)]
        return [*new, *new, *moving, *xs, *xs, *vs]

    return [*map(Wide, xs), *gs, *map(Wide, vs)], call, reference


@case([(1,)])
def moving_scale(rng, shape):
    """A loss scale read, told of a skip, made smaller and larger."""
    gs = parameters(rng)

    def call(*gs):
        scaling, moving, out = fused.scaling(gs[0]), fused.moving(gs[0], [8, 0, 0, 0, 0]), []
        norm = lambda found: fused.global_norm([table(gs, gs)[0]], scaling, skips=True, moving=moving, found=found)
        zero = fused.entry(fused.scaling(gs[0]), SKIP)
        for bad, found in ((0, None), (0, None), (1, None), (0, zero), (0, zero + 1), (0, None)):
            gs[4][7] = np.inf if bad else 0.5
            norm(found)
            out += [scaling[:3].copy(), moving.copy()]
            fused.update_scale(moving, 4.0, 0.5, 2)
            out.append(moving.copy())
        gs[4][7] = 0.5
        moving[SCALE], moving[GOOD] = 3e38, 1
        fused.update_scale(moving, 2.0, 0.5, 2)
        return [*out, moving]

    def reference(*gs):
        return [
            [8, 1, 0], [8, 0, 0, 0, 0], [8, 1, 0, 0, 0], [8, 1, 0], [8, 1, 0, 0, 0], [32, 0, 0, 0, 0],
            [32, 1, 1], [32, 0, 1, 0, 0], [16, 0, 0, 1, 1], [1, 1, 0], [16, 0, 0, 1, 1], [16, 1, 0, 1, 0],
            [1, 1, 1], [16, 1, 1, 1, 0], [8, 0, 0, 2, 1], [8, 1, 0], [8, 0, 0, 2, 1], [8, 1, 0, 2, 0],
            [3e38, 0, 0, 2, 0],
        ]  # fmt: skip

    gs[4][7] = 0.5
    return gs, call, reference


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
