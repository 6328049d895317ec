"""Random numbers.  A row draws the same ones each time, in float64, so that they go with every dtype of the inputs."""

from scipy import special as sp

import gpugrad as gg

from .row import row

r = gg.random
SHAPE = (2, 3)


def same(draw):
    """`draw` from one place of one stream, in the dtype of its first argument."""
    return lambda *xs: draw(*xs, dtype="float64", generator=r.Generator(1)).astype(xs[0].dtype)


def drawn(draw, *args):
    return draw(*args, SHAPE, dtype="float64", generator=r.Generator(1)).numpy()


def moved(name):
    """A row of a distribution that is scaled and shifted."""
    f = getattr(r, name)
    return row(
        f"random.{name}",
        same(lambda m, s, **o: f(SHAPE, m, s, **o)),
        lambda m, s: m + s * drawn(f),
        (2, 1),
        (3,),
        low=0.5,
    )


ROWS = [
    *[moved(name) for name in ("normal", "truncated_normal", "gumbel", "laplace")],
    row("random.uniform", same(lambda a, b, **o: r.uniform(SHAPE, -a, b, **o)), lambda a, b: drawn(r.uniform) * (b + a) - a,
        (2, 1), (3,), low=0.5),
    row("random.exponential", same(lambda s, **o: r.exponential(SHAPE, s, **o)), lambda s: drawn(r.exponential) * s, (3,), low=0.5),
    row("random.gamma", same(lambda a, s, **o: r.gamma(a, SHAPE, s, **o)), lambda a, s: sp.gammaincinv(a, drawn(r.uniform)) * s,
        (2, 1), (3,), low=0.5),
    row("random.beta", same(lambda a, b, **o: r.beta(a, b, SHAPE, **o)), lambda a, b: beta(a, b), (2, 1), (3,), low=0.5),
    row("random.shuffle", lambda x: r.shuffle(x, 1, generator=r.Generator(1)),
        lambda x: x[:, r.permutation(4, generator=r.Generator(1)).numpy()], complex=True),
    row("random.choice", lambda x: r.choice(x, (2, 2), generator=r.Generator(1)),
        lambda x: x[r.randint(0, 3, (2, 2), generator=r.Generator(1)).numpy()], complex=True),
    # not complex: on a GPU these numbers take NumPy's bits, others the kernel's
    row("random.dropout", lambda x: r.dropout(x, 0.3, generator=r.Generator(1)),
        lambda x: x * r.dropout(gg.ones(x.shape, dtype="float64"), 0.3, generator=r.Generator(1)).numpy()),
]  # fmt: skip


def beta(a, b):
    g = r.Generator(1)
    x, y = [sp.gammaincinv(p, r.uniform(SHAPE, dtype="float64", generator=g).numpy()) for p in (a, b)]
    return x / (x + y)
