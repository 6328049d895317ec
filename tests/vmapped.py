"""What the tests of vmap share: a loop over examples, a gradient inside, a comparison."""

import numpy as np

import gpugrad as gg


def same(got, want, tol=1e-5):
    want = np.asarray(want.numpy() if hasattr(want, "numpy") else want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=tol, atol=tol)


def rows(f, *xs):
    """f of each example, by a loop."""
    return gg.stack([f(*[x[i] for x in xs]) for i in range(xs[0].shape[0])])


def grad(f):
    """The gradient of f by its first argument, by a tape inside."""

    def call(x, *more):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x, *more)
        return tape.gradient(y, x)

    return call
