"""What test_fused.py runs: each kernel's inputs, its call and its reference in NumPy, at odd sizes.

A row of CASES is a function of (rng, shape) that gives the three.  The reference gets the inputs as float64, after they
were rounded to the dtype.
"""

import math

import numpy as np
import pytest

from gpugrad import fused
from gpugrad.array import device_of, to_host

SIZES = (0, 1, 31, 33, 255, 1000, 1009)
FLAT = [(n,) for n in SIZES] + [(3, 4, 5)]
# rows that a warp holds, that a block holds, that are longer than both, aligned and not
ROWS = [(5, n) for n in SIZES] + [(0, 3), (70, 3), (2, 3, 16), (2, 4104), (2, 4999)]
erf = np.vectorize(math.erf, otypes=[float])
CASES = {}


def case(shapes, order_matters=False):
    def add(f):
        CASES[f.__name__] = (f, shapes, order_matters)
        return f

    return add


class Fixed:
    """An input that is not rounded to the dtype: indices, for example."""

    def __init__(self, value):
        self.value = np.asarray(value)


class Wide:
    """An input in the dtype that the kernel accumulates in."""

    def __init__(self, value):
        self.value = value


# ---------------------------------------------------------------------------------------------- activations
def reference_act(act, z):
    with np.errstate(over="ignore"):
        s = 1 / (1 + np.exp(-z))
    t = np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    phi, density = 0.5 * (1 + erf(z / math.sqrt(2))), np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z)
    return {  # the value, and the derivative
        "identity": (z, np.ones_like(z)),
        "relu": (np.maximum(z, 0), (z > 0) * 1.0),
        "gelu": (z * phi, phi + z * density),
        "gelu_tanh": (0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * inner),
        "silu": (z * s, s * (1 + z * (1 - s))),
        "sigmoid": (s, s * (1 - s)),
        "tanh": (np.tanh(z), 1 - np.tanh(z) ** 2),
    }[act]


ACTS = fused.activation.ACTIVATIONS
BY_OUTPUT = {"relu": lambda y: (y > 0) * 1.0, "sigmoid": lambda y: y * (1 - y), "tanh": lambda y: 1 - y * y}


@case(ROWS)
def bias_act(rng, shape):
    x, b = 3 * rng.standard_normal(shape), rng.standard_normal(shape[-1:])
    return (
        [x, b],
        lambda x, b: [fused.bias_act(x, b, act) for act in ACTS],
        lambda x, b: [reference_act(act, x + b)[0] for act in ACTS],
    )


@case(ROWS)
def bias_act_grad(rng, shape):
    g, x, b = rng.standard_normal(shape), 3 * rng.standard_normal(shape), rng.standard_normal(shape[-1:])
    y = np.abs(np.tanh(x))  # stands for an output: the pullbacks of relu, sigmoid and tanh by it

    def call(g, x, y, b):
        return [
            out for act in ACTS for out in fused.bias_act_grad(g, y if act in fused.activation.BY_OUTPUT else x, b, act)
        ]

    def reference(g, x, y, b):
        slopes = [BY_OUTPUT[a](y) if a in BY_OUTPUT else reference_act(a, x + b)[1] for a in ACTS]
        return [out for s in slopes for out in (g * s, (g * s).sum(tuple(range(g.ndim - 1))))]

    return [g, x, y, b], call, reference


@case([*ROWS, (3000, 5), (3001, 8)])
def column_sums(rng, shape):
    x = rng.standard_normal(shape)
    return [x], lambda x: [fused.column_sums(x)], lambda x: [x.sum(tuple(range(x.ndim - 1)))]


@case(FLAT)
def relu_mask(rng, shape):
    x, g = rng.standard_normal(shape), rng.standard_normal(shape)

    def call(x, g):
        out, bits = fused.relu_mask(x)
        alone = fused.relu_mask_grad(g, fused.positive_bits(out))
        return [out, fused.relu_mask_grad(g, bits), alone]

    return [x, g], call, lambda x, g: [np.maximum(x, 0), g * (x > 0), g * (x > 0)]


@case(FLAT)
def elementwise(rng, shape):
    x, g = 3 * rng.standard_normal(shape), rng.standard_normal(shape)
    y = np.abs(np.tanh(x)) * (x > -0.5)  # stands for an output
    never = lambda xp, *arrays: pytest.fail("the array functions stood in for a kernel")

    def call(x, y, g):
        pulled = [fused.activate_grad(a, never)(None, g, y if a in fused.activation.BY_OUTPUT else x) for a in ACTS]
        return [*[fused.activate(a, never)(None, x) for a in ACTS], *pulled]

    def reference(x, y, g):
        slopes = [BY_OUTPUT[a](y) if a in BY_OUTPUT else reference_act(a, x)[1] for a in ACTS]
        return [*[reference_act(a, x)[0] for a in ACTS], *[g * s for s in slopes]]

    return [x, y, g], call, reference


@case(FLAT)
def weighted_sum(rng, shape):
    xs = [rng.standard_normal(shape) for _ in range(fused.MOST)]
    weights = rng.standard_normal(fused.MOST).tolist()
    some = (1, 3, fused.MOST)
    return (
        xs,
        lambda *xs: [fused.weighted_sum(xs[:n], weights[:n]) for n in some],
        lambda *xs: [sum([w * x for w, x in zip(weights[:n], xs)]) for n in some],
    )


# ---------------------------------------------------------------------------------------------- softmax
def reference_softmax(x):
    if not x.size:
        return x, x
    z = x - x.max(-1, keepdims=True)
    lse = np.log(np.exp(z).sum(-1, keepdims=True))
    return np.exp(z - lse), z - lse


@case(ROWS)
def softmax(rng, shape):
    x = 4 * rng.standard_normal(shape)
    return [x], lambda x: [fused.softmax(x), fused.softmax(x, log=True)], reference_softmax


@case(ROWS)
def softmax_grad(rng, shape):
    g, x = rng.standard_normal(shape), rng.standard_normal(shape)
    y, log_y = reference_softmax(x)
    return (
        [g, y, log_y],
        lambda g, y, z: [fused.softmax_grad(g, y), fused.softmax_grad(g, z, log=True)],
        lambda g, y, z: [y * (g - (g * y).sum(-1, keepdims=True)), g - np.exp(z) * g.sum(-1, keepdims=True)],
    )


@case([s for s in ROWS if s[-1]])
def softmax_xent(rng, shape):
    z, rows = 4 * rng.standard_normal(shape), shape[:-1]
    labels = rng.integers(0, shape[-1], rows)
    g = rng.standard_normal(rows)
    ignored = int(labels.reshape(-1)[0]) if labels.size else -100

    def call(z, g, labels):
        loss, lse = fused.softmax_xent(z, labels)
        one, count = g.reshape(-1)[:1] if g.size else g, lse.reshape(-1)[:1].reshape(()) if g.size else None
        return [
            loss,
            lse,
            fused.softmax_xent_grad(g, z, labels, lse),
            fused.softmax_xent_grad(one, z, labels, lse, 0.5, count),
            fused.softmax_xent(z, labels, ignored)[0],
            fused.softmax_xent_grad(g, z, labels, lse, ignore_index=ignored),
        ]

    def reference(z, g, labels):
        p, log_p = reference_softmax(z)
        hot = np.arange(shape[-1]) == labels[..., None]
        one = g.reshape(-1)[:1] if g.size else g[..., None]
        top = z.max(-1, initial=-np.inf)
        lse = np.stack([top, np.log(np.exp(z - top[..., None]).sum(-1))])
        loss, dz, kept = -log_p[hot].reshape(rows), g[..., None] * (p - hot), labels != ignored
        count = lse.reshape(-1)[0] if g.size else 1.0
        return [loss, lse, dz, one * 0.5 / count * (p - hot), loss * kept, dz * kept[..., None]]

    kind = np.int32 if len(shape) == 2 and shape[-1] % 2 else np.int64
    return [z, g, Fixed(labels.astype(kind))], call, reference


# ---------------------------------------------------------------------------------------------- norms
def reference_norm(x, gamma, beta, center, eps=1e-5):
    mean = x.mean(-1, keepdims=True) if center else 0
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)
    return (x - mean) * rstd * gamma + beta, mean, rstd


def reference_norm_grad(g, x, gamma, center, eps=1e-5):
    _, mean, rstd = reference_norm(x, gamma, 0, center, eps)
    n, a = (x - mean) * rstd, g * gamma
    down = tuple(range(x.ndim - 1))
    c = a.mean(-1, keepdims=True) if center else 0
    return rstd * (a - c - n * (a * n).mean(-1, keepdims=True)), (g * n).sum(down), g.sum(down)


NONEMPTY = [s for s in ROWS if 0 not in s and s[-1] > 1]


@case(NONEMPTY)
def layer_norm(rng, shape):
    x, gamma, beta = 2 + rng.standard_normal(shape), rng.standard_normal(shape[-1:]), rng.standard_normal(shape[-1:])

    def reference(x, gamma, beta):
        out, mean, rstd = reference_norm(x, gamma, beta, True)
        plain = reference_norm(x, 1, 0, True)[0]
        return [out, mean[..., 0], rstd[..., 0], plain]

    def call(x, gamma, beta):
        out, total, mean, rstd = fused.norm(x, gamma, beta)
        assert to_host(total).tobytes() == to_host(x).tobytes()
        return [out, mean, rstd, fused.norm(x)[0]]

    return [x, gamma, beta], call, reference


@case(NONEMPTY)
def rms_norm_with_residual(rng, shape):
    x, r, gamma = rng.standard_normal(shape), rng.standard_normal(shape), rng.standard_normal(shape[-1:])

    def call(x, r, gamma):
        out, total, mean, rstd = fused.norm(x, gamma, residual=r, center=False)
        assert mean is None
        np.testing.assert_array_equal(to_host(total), (to_host(x) + to_host(r)).astype(x.dtype))
        return [out, rstd]

    def reference(x, r, gamma, dtype):
        out, _, rstd = reference_norm((x + r).astype(dtype).astype(float), gamma, 0, False)
        return [out, rstd[..., 0]]

    return [x, r, gamma], call, reference


@case([*NONEMPTY, (300, 40)])
def norm_grad(rng, shape):
    g, x, more = (rng.standard_normal(shape) for _ in range(3))
    gamma = rng.standard_normal(shape[-1:])

    def call(g, x, more, gamma):
        _, total, mean, rstd = fused.norm(x, gamma)
        with_all = [fused.norm_grad(g, total, mean, rstd, gamma, more), *fused.norm_sums(g, total, mean, rstd)]
        _, total, mean, rstd = fused.norm(x, center=False)
        return [*with_all, fused.norm_grad(g, total, mean, rstd), *fused.norm_sums(g, total, mean, rstd)]

    def reference(g, x, more, gamma):
        dx, dgamma, dbeta = reference_norm_grad(g, x, gamma, True)
        return [dx + more, dgamma, dbeta, *reference_norm_grad(g, x, 1, False)[:2]]

    return [g, x, more, gamma], call, reference


@case(
    [
        (4, 3),
        (5, 1, 33),
        (2, 7, 8, 4),
        (70, 33),
        (9, 48),
        (3000, 8),
        (3, 2, 1000),
        (9, 300, 2),
        (700, 3, 4),
        (40, 3, 7, 7),
        (33, 5, 14),
    ]
)
def batch_norm(rng, shape):
    c = shape[1]
    x, g = 5 + rng.standard_normal(shape), rng.standard_normal(shape)
    gamma, beta, mean0, var0 = rng.standard_normal(c), rng.standard_normal(c), rng.standard_normal(c), rng.random(c)

    def call(x, g, gamma, beta, mean0, var0):
        moving = [a.copy() for a in (mean0, var0)]
        out, mean, rstd = fused.batch_norm(x, gamma, beta, *moving)
        plain = [fused.batch_norm(x)[0], *fused.batch_norm_inference(x, gamma, beta, mean0, var0)]
        return [out, mean, rstd, *moving, *plain, *fused.batch_norm_grad(g, x, mean, rstd, gamma)]

    def reference(x, g, gamma, beta, mean0, var0):
        axes, shape1 = (0, *range(2, x.ndim)), (c, *[1] * (x.ndim - 2))
        mean, var, count = x.mean(axes), x.var(axes), x.size // c
        rstd = 1 / np.sqrt(var + 1e-5)
        n = (x - mean.reshape(shape1)) * rstd.reshape(shape1)
        moved = [0.9 * mean0 + 0.1 * mean, 0.9 * var0 + 0.1 * var * count / max(count - 1, 1)]
        dgamma, dbeta = (g * n).sum(axes), g.sum(axes)
        dx = g - (dbeta.reshape(shape1) + n * dgamma.reshape(shape1)) / count
        dx = dx * (gamma * rstd).reshape(shape1)
        gamma, beta, m, r = (a.reshape(shape1) for a in (gamma, beta, mean0, 1 / np.sqrt(var0 + 1e-5)))
        still = [(x - m) * r * gamma + beta, mean0, r.reshape(-1)]
        return [n * gamma + beta, mean, rstd, *moved, n, *still, dx, dgamma, dbeta]

    return [x, g, gamma, beta, Wide(mean0), Wide(var0)], call, reference


# ---------------------------------------------------------------------------------------------- dropout
def philox(counter, seed):
    """The words of Philox 4x32-10 for each counter, (..., 4), in Python's integers."""
    c = [counter & 0xFFFFFFFF, counter >> 32, np.zeros_like(counter), np.zeros_like(counter)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    return rounds(c, k)


def rounds(c, k):
    c, k = [np.asarray(w, np.uint64) for w in c], list(k)
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high, low = lambda v: v >> np.uint64(32), lambda v: v & np.uint64(0xFFFFFFFF)
        c = [high(b) ^ c[1] ^ np.uint64(k[0]), low(b), high(a) ^ c[3] ^ np.uint64(k[1]), low(a)]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return np.stack(c, -1)


@case(FLAT)
def dropout(rng, shape):
    x, r = rng.standard_normal(shape), rng.standard_normal(shape)
    seed, offset = 2**63 + 12345, 2**32 - 3

    def call(x, r, more):
        return [
            fused.dropout(x, 0.3, seed, offset),
            fused.dropout(x, 0.75, seed, offset, residual=r, more_offset=more),
            fused.dropout(x, 0.0, seed, offset),
            fused.dropout(x, 1.0, seed, offset, residual=r),
            fused.dropout(x, 1.0, seed, offset),
        ]

    def reference(x, r, more):
        def kept(rate, start):
            counters = np.uint64(start) + np.arange(-(-x.size // 4), dtype=np.uint64)
            return (philox(counters, seed).reshape(-1)[: x.size] >= round(rate * 2**32)).reshape(x.shape)

        first, second = kept(0.3, offset), kept(0.75, offset + int(more[0]))
        return [first * x / 0.7, second * x * 4 + r, x, r, 0 * x]

    return [x, r, Fixed(np.array([1000], np.uint64))], call, reference


@case(FLAT)
def random_bits(rng, shape):
    n, seed, draws = math.prod(shape), 2**63 + 12345, (0, 2**40 + 7)

    def reference(like):
        i = np.arange(-(-n // 4), dtype=np.uint64)
        words = [[i, 0 * i, 0 * i + draw % 2**32, 0 * i + (draw >> 32)] for draw in draws]
        return [rounds(c, [seed & 0xFFFFFFFF, seed >> 32]).reshape(-1)[:n] for c in words]

    return [np.zeros(shape)], lambda x: [fused.random_bits(device_of(x), n, seed, d) for d in draws], reference


# ---------------------------------------------------------------------------------------------- embedding
@case([(n, c) for n in (0, 300, 1, 31) for c in (1, 8, 33, 520)], order_matters=True)
def embedding(rng, shape):
    n, cols = shape
    table, g, index = rng.standard_normal((13, cols)), rng.standard_normal(shape), rng.integers(0, 12, n)
    index[: n // 2] = cols % 12  # a frequent one, in several pieces of its run

    def call(table, g, index):
        both = [fused.scatter_add(g, index, 13, deterministic=d) for d in (True, False)]
        return [fused.gather(table, index), *both]

    def reference(table, g, index):
        total = np.zeros_like(table)
        np.add.at(total, index, g)
        return [table[index], total, total]

    return [table, g, Fixed(index.astype(np.int32 if cols % 2 else np.int64))], call, reference


# ---------------------------------------------------------------------------------------------- recurrent steps
STATES = [(n, c) for n in (0, 1, 5) for c in (1, 31, 255)] + [(3, 0), (2, 3, 16), (7,), (2, 4104)]
logistic = lambda z: 1 / (1 + np.exp(-z))


@case(STATES)
def lstm_cell(rng, shape):
    wide = (*shape[:-1], 4 * shape[-1])
    x, back, c, g, more = [rng.standard_normal(s) for s in (wide, wide, shape, shape, shape)]
    gates = np.concatenate([np.tanh(abs(x[..., :k])) for k in [shape[-1]] * 4], -1)  # stands for a step's

    def call(x, back, c, g, more, gates):
        pulled = [fused.lstm_cell_grad(gates, c, more, *two) for two in ((g, more), (g, None), (None, more))]
        return [*fused.lstm_cell(x, back, c), *[d for two in pulled for d in two]]

    def reference(x, back, c, g, more, gates):
        i, f, m, o = np.split(x + back, 4, -1)
        acts = logistic(i), logistic(f), np.tanh(m), logistic(o)
        cell = acts[1] * c + acts[0] * acts[2]
        outs = [acts[3] * np.tanh(cell), cell, np.concatenate(acts, -1)]
        i, f, m, o = np.split(gates, 4, -1)
        t = np.tanh(more)
        for a, b in ((g, more), (g, 0), (0 * g, more)):
            total = a * o * (1 - t * t) + b
            parts = total * m * i * (1 - i), total * c * f * (1 - f), total * i * (1 - m * m), a * t * o * (1 - o)
            outs += [np.concatenate(parts, -1), total * f]
        return outs

    return [x, back, c, g, more, gates], call, reference


@case(STATES)
def gru_cell(rng, shape):
    wide = (*shape[:-1], 3 * shape[-1])
    x, back, h, g = [rng.standard_normal(s) for s in (wide, wide, shape, shape)]
    gates = np.concatenate([np.tanh(abs(x)), back[..., : shape[-1]]], -1)  # stands for a step's

    def call(x, back, h, g, gates):
        return [*fused.gru_cell(x, back, h), *fused.gru_cell_grad(gates, h, g)]

    def reference(x, back, h, g, gates):
        (r, z, m), (rb, zb, mb) = np.split(x, 3, -1), np.split(back, 3, -1)
        r, z = logistic(r + rb), logistic(z + zb)
        m = np.tanh(m + r * mb)
        outs = [m + z * (h - m), np.concatenate([r, z, m, mb], -1)]
        r, z, m, mb = np.split(gates, 4, -1)
        dm = g * (1 - z) * (1 - m * m)
        two = [dm * mb * r * (1 - r), g * (h - m) * z * (1 - z)]
        return [*outs, np.concatenate([*two, dm], -1), np.concatenate([*two, dm * r], -1), g * z]

    return [x, back, h, g, gates], call, reference
