"""vmap of every row of the op table: all in_axes; its value, the gradient from around it and from inside."""

import itertools

import numpy as np
import pytest
from table import ROWS
from table.row import inputs

import gpugrad as gg
from gpugrad.batching import RULES
from gpugrad.op import every
from gpugrad.vmap import vmap

N = 3
DRAWN = "random.dropout", "nn.dropout"  # other numbers for each example
# Ops that run example by example: right, and slow.
LOOPS = {
    "added": "a kernel has computed it already, and kernels take no arrays of a vmap",
    "relu_mask": "the bits of an example end in the middle of a byte; relu says how",
    "sparse_at_pattern": "SciPy's matrices have two axes",
    "sparse_cg": "each example takes steps of its own",
    "sparse_product": "SciPy's matrices have two axes",
    "sparse_solve": "each example has factors of its own",
}


def grads(f, xs):
    with gg.GradientTape() as tape:
        tape.watch(xs)
        y = f(*xs)
    return y, tape.gradient(y, xs, unconnected_gradients="zero")


def test_what_runs_example_by_example():
    ours = {f.op.name: f.op.batch for f in every if f.__module__.startswith("gpugrad")}
    assert {name for name, batch in ours.items() if batch is None} == {*LOOPS}
    assert {batch for batch in ours.values() if isinstance(batch, str)} <= {*RULES}


def close(got, want, what):
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-8, atol=1e-8, err_msg=what)


def forms():
    """Rows and in_axes: all of up to three operands, of more each alone and all together."""
    for row in ROWS:
        if row.op in DRAWN or row.op.startswith("dropout"):
            continue
        n = len(inputs(row))
        flags = [f for f in itertools.product([True, False], repeat=n) if any(f)]
        if n > 3:
            flags = [f for f in flags if sum(f) in (1, n)]
        yield pytest.param(row, flags, id=row.name)


@pytest.mark.parametrize(("row", "flags"), [*forms()])
def test_a_row_for_many_examples(row, flags):
    xs = inputs(row)
    many = [np.stack([x * (1 + 0.01 * i) for i in range(N)]) for x in xs]
    for each in flags:
        axes = [(k % (x.ndim + 1) if b else None) for k, (b, x) in enumerate(zip(each, xs))]
        given = [np.moveaxis(m, 0, a) if b else x for m, x, b, a in zip(many, xs, each, axes)]
        one = [[gg.tensor(m[i] if b else x) for m, x, b in zip(many, xs, each)] for i in range(N)]
        wanted = [grads(row.f, v) for v in one]
        f = vmap(row.f, in_axes=tuple(axes))
        y, around = grads(f, [gg.tensor(x) for x in given])
        close(y, np.stack([v.numpy() for v, _ in wanted]), "value")
        for j, (b, a) in enumerate(zip(each, axes)):
            parts = [g[j].numpy() for _, g in wanted]
            close(around[j], np.moveaxis(np.stack(parts), 0, a) if b else sum(parts), f"gradient {j} from around")
        inside = vmap(lambda *v: grads(row.f, list(v))[1], in_axes=tuple(axes))(*map(gg.tensor, given))
        for j, g in enumerate(inside):
            close(g, np.stack([v[j].numpy() for _, v in wanted]), f"gradient {j} from inside")


# Functions that mix arrays of the vmap, of the device and of the host.
MIXED = ["cummax 0", "median None False", "multi_margin_loss", "multilabel_margin_loss", "at multiply elements"]
MIXED += ["layer_norm residual", "ctc_loss"]


@pytest.mark.devices
@pytest.mark.parametrize(("row", "flags"), [p for p in forms() if p.id in MIXED])
def test_a_row_that_mixes_arrays_on_devices(row, flags):
    test_a_row_for_many_examples(row, flags)


@pytest.mark.slow
@pytest.mark.devices
@pytest.mark.parametrize(("row", "flags"), [*forms()])
def test_a_row_for_many_examples_on_devices(row, flags):
    test_a_row_for_many_examples(row, flags)


def second(f):
    """The gradient of the sum of the squares of the gradients of the sum of f."""

    def call(*xs):
        xs = list(xs)
        with gg.GradientTape() as outer:
            outer.watch(xs)
            found = grads(f, xs)[1]
            total = sum(gg.sum(g * g) for g in found)
        return outer.gradient(total, xs, unconnected_gradients="zero")

    return call


SOME = """exp tanh pow maximum where sum mean max prod var std logsumexp softmax log_softmax matmul einsum reshape
concat getitem take_along_axis cumsum cumprod sort linear layer_norm group_norm batch_norm conv2d max_pool2d
embedding cross_entropy scaled_dot_product_attention linalg.inv linalg.det linalg.cholesky fft.rfft pad
diagonal lstm gelu silu cdist""".split()


@pytest.mark.parametrize("name", SOME)
def test_gradients_of_gradients(name):
    row = next(r for r in ROWS if r.name.removeprefix("nn.") == name or r.op.removeprefix("nn.") == name)
    xs = inputs(row)
    many = [np.stack([x * (1 + 0.01 * i) for i in range(N)]) for x in xs]
    found = vmap(lambda *v: second(row.f)(*v))(*map(gg.tensor, many))
    wanted = [second(row.f)(*[gg.tensor(m[i]) for m in many]) for i in range(N)]
    outer, given = gg.GradientTape(), [*map(gg.tensor, many)]
    with outer:
        outer.watch(given)
        inner = vmap(lambda *v: tuple(grads(row.f, list(v))[1]))(*given)
        total = sum(gg.sum(g * g) for g in inner)
    around = outer.gradient(total, given, unconnected_gradients="zero")
    for j, (g, h) in enumerate(zip(found, around, strict=True)):
        want = np.stack([w[j].numpy() for w in wanted])
        np.testing.assert_allclose(g.numpy(), want, rtol=1e-6, atol=1e-7, err_msg="both inside")
        np.testing.assert_allclose(h.numpy(), want, rtol=1e-6, atol=1e-7, err_msg="one around")
