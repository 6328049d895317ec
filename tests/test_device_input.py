"""Odd and bad input of everything that launches kernels: what the CPU answers or raises, and nothing read or written
beside an array.  Kernels see addresses only, so each of these is one mistake away from a wrong number."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.array import to_host
from gpugrad.ops.activation import relu_mask
from gpugrad.ops.loss import cross_entropy

ROWS, COLS, OUT = 5, 33, 4
M, C = (ROWS, COLS), (COLS,)


def labels(x, most):
    """Integers below `most`, one a row of x, on its device."""
    n = x.shape[0] if x.shape else 1
    return gg.tensor(np.arange(n) % most, device=x.device)


def dropped(x):
    """What dropout makes of x, with the places it zeroed filled in: the bits are another's on another device."""
    y = nn.dropout(x, 0.5, seed=1)
    return gg.where(y == 0, x * 2, y)


def running(x):
    """A mean and a variance for each column."""
    make = lambda values: gg.tensor(values.astype(np.float32), device=x.device)
    return make(np.linspace(-1, 1, COLS)), make(np.linspace(1, 2, COLS))


def steps(optimizer, **options):
    """Two steps of an optimizer from x with the gradient g."""

    def run(x, g):
        v = gg.Variable(x)
        made = optimizer([v], learning_rate=0.1, **options)
        for _ in range(2):
            made.apply_gradients([(g, v)])
        return gg.tensor(v.array)

    return run


# name: (the op, the shapes of its arrays)
OPS = {
    "relu": (nn.relu, [M]), "relu_mask": (relu_mask, [M]), "sigmoid": (nn.sigmoid, [M]), "tanh": (gg.tanh, [M]),
    "silu": (nn.silu, [M]), "gelu": (nn.gelu, [M]), "gelu_tanh": (lambda x: nn.gelu(x, "tanh"), [M]),
    "softmax": (nn.softmax, [M]), "log_softmax": (nn.log_softmax, [M]),
    "cross_entropy": (lambda z: cross_entropy(z, labels(z, COLS), "none"), [M]),
    "cross_entropy mean": (lambda z: cross_entropy(z, labels(z, COLS)), [M]),
    "layer_norm": (lambda x, w, b: nn.layer_norm(x, C, w, b), [M, C, C]),
    "rms_norm residual": (lambda x, r, w: nn.rms_norm(x, C, w, 0.1, r)[0], [M, M, C]),
    "batch_norm": (lambda x, w, b: nn.batch_norm(x, None, None, w, b, training=True), [(ROWS, COLS, 2), C, C]),
    "batch_norm inference": (lambda x, w: nn.batch_norm(x, *running(x), w), [M, C]),
    "dropout": (dropped, [M]), "embedding": (lambda w: nn.embedding(labels(w, ROWS), w), [M]),
    "column sums": (lambda x: gg.sum(x, axis=0), [M]), "matmul": (gg.matmul, [M, (COLS, OUT)]),
    "matmul batch": (gg.matmul, [(2, *M), (2, COLS, OUT)]), "linear": (nn.linear, [M, (COLS, OUT), (OUT,)]),
    "linear relu": (lambda x, w, b: nn.linear(x, w, b, "relu"), [M, (COLS, OUT), (OUT,)]),
    "linear gelu": (lambda x, w, b: nn.linear(x, w, b, "gelu"), [M, (COLS, OUT), (OUT,)]),
    "feed_forward": (nn.feed_forward, [M, (COLS, 8), (8,), (8, OUT), (OUT,)]),
    "sgd": (steps(gg.optim.SGD, momentum=0.9), [M, M]), "adam": (steps(gg.optim.Adam), [M, M]),
}  # fmt: skip
NO_GRADIENT = ("sgd", "adam")
everything = pytest.mark.parametrize("name", OPS)


def drawn(shapes, dtype="float32"):
    rng = np.random.default_rng(0)
    return [np.asarray(rng.standard_normal(s) * 3).astype(dtype) for s in shapes]


def answered(f, arrays, gradients):
    """The value and the gradients as NumPy arrays; or the error."""
    try:
        xs = [gg.tensor(a, requires_grad=gradients) for a in arrays]
        y = f(*xs)
        found = [y, *(gg.grad(y, xs, gg.ones_like(y)) if gradients else [])]
    except (TypeError, ValueError, IndexError) as e:
        return e
    for t in found:
        assert t.device == xs[0].device
    return [to_host(t.array) for t in found]


def assert_as_on_the_cpu(host, name, values, placed):
    """The device's answer to `placed`, which hold `values`, is the CPU's."""
    gradients = name not in NO_GRADIENT and all(v.dtype.kind in "fc" for v in values)
    expected = answered(OPS[name][0], [v.copy() for v in values], gradients)
    found = answered(OPS[name][0], placed, gradients)
    host.check()
    if isinstance(expected, Exception):
        assert type(found) is type(expected), (found, expected)
        return
    assert not isinstance(found, Exception), found
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        scale = max(1.0, np.abs(b.astype(complex)).max(initial=0))
        np.testing.assert_allclose(
            a.astype(complex), b.astype(complex), rtol=0, atol=scale * (2e-2 if a.dtype == "float16" else 2e-5)
        )


# ---------------------------------------------------------------------------------------------- memory
def misaligned(put, v):
    """Its address is no multiple of the size of an element."""
    a = put(np.frombuffer(b"?" + v.tobytes() + b"?", np.uint8))[1:-1].view(v.dtype).reshape(v.shape)
    assert a.host.ctypes.data % v.itemsize
    return a


LAYOUTS = {
    "strided": lambda put, v: put(np.repeat(v, 2, axis=-1))[..., ::2] if v.ndim else put(v),
    "Fortran": lambda put, v: put(np.ascontiguousarray(v.T)).T,
    "reversed": lambda put, v: put(np.flip(v).copy())[(slice(None, None, -1),) * v.ndim],
    "shifted": lambda put, v: put(np.concatenate([[0], v.reshape(-1)]).astype(v.dtype))[1:].reshape(v.shape),
    "misaligned": misaligned,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@everything
def test_memory(host, name, layout):
    values, before = drawn(OPS[name][1]), host.launches
    for order in (0, 5):  # arrays at the end of their pages, and at the start
        host.order = order
        assert_as_on_the_cpu(host, name, values, [LAYOUTS[layout](host.put, v) for v in values])
    assert host.launches > before or name.startswith(("matmul", "column sums"))  # cuBLASLt; the array's own, if strided


# ---------------------------------------------------------------------------------------------- shapes
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a mean of nothing
@pytest.mark.parametrize("gone", [ROWS, COLS])
@everything
def test_empty(host, name, gone):
    values = drawn([tuple([0 if n == gone else n for n in s]) for s in OPS[name][1]])
    assert_as_on_the_cpu(host, name, values, [host.put(v) for v in values])


@everything
def test_0d(host, name):
    for i in range(len(OPS[name][1])):
        shapes = [() if j == i else s for j, s in enumerate(OPS[name][1])]
        values = drawn(shapes)
        assert_as_on_the_cpu(host, name, values, [host.put(v) for v in values])


@everything
def test_shapes_that_do_not_fit(host, name):
    for i in range(1, len(OPS[name][1])):
        shapes = [(*s[:-1], s[-1] + 1) if j == i else s for j, s in enumerate(OPS[name][1])]
        values = drawn(shapes)
        assert_as_on_the_cpu(host, name, values, [host.put(v) for v in values])


# ---------------------------------------------------------------------------------------------- dtypes, devices
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "complex64"])
@everything
def test_dtypes_without_kernels(host, name, dtype):
    values = [np.abs(v).astype(dtype) for v in drawn(OPS[name][1])]
    assert_as_on_the_cpu(host, name, values, [host.put(v) for v in values])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
@everything
def test_two_dtypes(host, name, dtype):
    for i in range(len(OPS[name][1])):
        values = drawn(OPS[name][1])
        values[i] = values[i].astype(dtype)
        assert_as_on_the_cpu(host, name, values, [host.put(v) for v in values])


@everything
def test_two_devices(host, name):
    f, shapes = OPS[name]
    for i in range(len(shapes) if len(shapes) > 1 else 0):
        values = [gg.tensor(v if j == i else host.put(v)) for j, v in enumerate(drawn(shapes))]
        before = host.launches
        with pytest.raises(TypeError, match="cpu") as caught:
            f(*values)
        assert "standin" in str(caught.value) and host.launches == before
        host.check()
