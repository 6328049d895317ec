"""One body of checks for every row of the op table (tests/table).

Forward against NumPy and SciPy; the gradient, and the gradient of the gradient, against central differences in both
modes; complex and half dtypes; shapes that broadcast, 0-d, empty, strided and Fortran-ordered inputs; the gradient's
shape and dtype; what is kept, and that it is released.  Rows stay off kinks but where they state one.
"""

import gc
import weakref

import numpy as np
import pytest
from table import ROWS
from table.row import inputs

import gpugrad as gg
from gpugrad import nn
from gpugrad.array import library
from gpugrad.dtypes import bfloat16
from gpugrad.rule import Op
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices

COMPLEX = [r for r in ROWS if r.complex]
name = lambda r: r.name
everything = pytest.mark.parametrize("row", ROWS, ids=name)
FLOAT32 = 1e7  # how much more tolerance float32 gets


def gradients(row, xs, seed=None):
    """(the op's value, its gradients) at arrays xs."""
    ts = [gg.tensor(x) for x in xs]
    with gg.GradientTape() as tape:
        tape.watch(ts)
        y = row.f(*ts)
    return y, tape.gradient(y, ts, seed, unconnected_gradients="zero")


def skip_other_bits(row, device):
    if row.op.startswith("dropout") and device != "cpu":
        pytest.skip("a GPU draws other bits: tests/test_wired.py")


@everything
def test_forward(row, default_device):
    skip_other_bits(row, default_device)
    for dtype in (np.float64, np.float32):
        xs = inputs(row, dtype)
        y = row.f(*map(gg.tensor, xs))
        expected = np.asarray(row.reference(*inputs(row)))
        assert y.shape == expected.shape
        assert y.dtype == dtype or row.name == "astype"
        near = row.tolerance * (FLOAT32 if dtype is np.float32 else 1)
        assert_close(y, expected, rtol=near, atol=near * max(1, np.abs(expected).max(initial=0)))


@everything
def test_derivatives(row, default_device):
    """Backward on every device; forward, and so forward over backward, on one."""
    forward = default_device == "cpu"
    check_grads(row.f, inputs(row), order=row.order, modes=("rev", "fwd") if forward else ("rev",))


@pytest.mark.parametrize("row", COMPLEX, ids=name)
def test_complex(row):
    xs = inputs(row, np.complex128)
    y, expected = row.f(*map(gg.tensor, xs)), np.asarray(row.reference(*xs))
    assert y.shape == expected.shape and y.dtype == expected.dtype
    assert_close(y, expected, rtol=row.tolerance, atol=row.tolerance * max(1, np.abs(expected).max(initial=0)))
    check_grads(row.f, xs, order=row.order, modes=("rev", "fwd"))
    for x, g in zip(xs, gradients(row, [x.astype(np.complex64) for x in xs])[1], strict=True):
        assert g.shape == x.shape and g.dtype == np.complex64


@everything
def test_gradient_has_shape_and_dtype_of_its_source(row):
    for dtype in (np.float64, np.float32):
        xs = inputs(row, dtype)
        for x, g in zip(xs, gradients(row, xs)[1], strict=True):
            assert g.shape == x.shape and g.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float16, bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("row", [r for r in ROWS if r.half], ids=name)
def test_half_types(row, dtype, default_device):
    """Value and gradient are those of float64 at the rounded inputs, to a few steps of the dtype."""
    skip_other_bits(row, default_device)
    xs = inputs(row, dtype)
    wide = [x.astype(np.float64) for x in xs]
    y, gs = gradients(row, xs)
    assert y.dtype == dtype or row.name == "astype"
    near = 4 * row.half * (2.0**-7 if dtype == bfloat16 else 2.0**-10)
    if row.op != "astype":
        expected = np.asarray(row.reference(*wide))
        assert_close(y, expected, rtol=near, atol=near * max(1, np.abs(expected).max(initial=0)))
    for g, expected in zip(gs, gradients(row, wide)[1], strict=True):
        expected = expected.numpy()
        assert g.dtype == dtype
        assert_close(g, expected, rtol=near, atol=near * max(1, np.abs(expected).max(initial=0)))


@everything
def test_memory_layout_does_not_matter(row):
    xs = inputs(row)
    results = []
    for layout in (
        lambda x: x,
        lambda x: np.asarray(x, order="F"),
        lambda x: np.repeat(x, 2, axis=0)[::2] if x.ndim else x,
        lambda x: np.flip(np.flip(x).copy()),
    ):
        y, gs = gradients(row, [layout(x) for x in xs])
        results.append([y, *gs])
    near = max(1e-12, row.tolerance)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_close(a, b, rtol=near, atol=near * max(1, float(np.abs(a.numpy()).max(initial=0))))


@pytest.mark.parametrize("row", [r for r in ROWS if r.elementwise], ids=name)
def test_elementwise_on_0d_and_empty(row):
    one, empty, number = [gradients(row, [np.full(shape, row.high * 0.9)]) for shape in ((1,), (0, 3), ())]
    for x, y, z in zip([one[0], *one[1]], [empty[0], *empty[1]], [number[0], *number[1]], strict=True):
        assert y.shape == (0, 3) and z.shape == ()
        assert_close(z, x.numpy().reshape(()), rtol=1e-14)


@pytest.mark.parametrize("row", [r for r in ROWS if r.empty], ids=name)
def test_empty(row):
    xs = [np.zeros(shape) for shape in row.empty]
    y, gs = gradients(row, xs)
    expected = np.asarray(row.reference(*xs))
    assert y.shape == expected.shape
    assert_close(y, expected)
    for x, g in zip(xs, gs, strict=True):
        assert g.shape == x.shape


@pytest.mark.parametrize("row", [r for r in ROWS if r.kinks], ids=name)
def test_kinks(row):
    for at, expected in row.kinks:
        with np.errstate(all="ignore"):
            _, gs = gradients(row, [np.asarray(x, np.float64) for x in at])
        for g, e in zip(gs, expected, strict=True):
            np.testing.assert_array_equal(g.numpy(), np.asarray(e, np.float64))


# ---------------------------------------------------------------- what is kept
def upstream(node):
    """The ops behind a node."""
    found, todo = {}, [node]
    while todo:
        n = todo.pop()
        if n is not None and id(n) not in found:
            found[id(n)] = n
            todo.extend(n.edges)
    return [n for n in found.values() if n.op is not None]


@everything
def test_what_is_kept_is_what_the_rules_ask_for(row):
    xs = [gg.tensor(x) for x in inputs(row)]
    gc.disable()
    try:
        with gg.GradientTape() as tape:
            tape.watch(xs)
            y = row.f(*xs)
        blocks = {}
        for n in upstream(y.node):
            asked = set().union(*[need for need, edge in zip(n.op.needs, n.edges, strict=True) if edge is not None])
            for i, v in enumerate(n.saved[: len(n.op.names)]):
                for a in v if type(v) is tuple else (v,):
                    if i in asked and (lib := library(a)) is not None:
                        owner, nbytes = lib.block(a)
                        blocks[id(owner)] = nbytes
                assert v is None or i in asked, f"{n.op} keeps {n.op.names[i]}, which nobody asks for"
        assert tape.nbytes() == sum(blocks.values())
        nodes = [weakref.ref(n) for n in upstream(y.node)]
        tape.gradient(y, xs)
        assert tape.nbytes() == 0 and not [n for n in nodes if n() is not None and n().saved is not None]
    finally:
        gc.enable()


def test_every_public_op_has_a_row():
    """No differentiable function of the public namespaces is left out of the table."""
    rows = {r.op for r in ROWS}
    missing = []
    for space in (gg, nn):
        for public, f in vars(space).items():
            if (
                isinstance(getattr(f, "op", None), Op)
                and any(f.op.rules)
                and not {f.op.name, public, f"{space.__name__.removeprefix('gpugrad.')}.{public}"} & rows
            ):
                missing.append(public)
    assert set(missing) <= {"floor_divide"}  # its gradient is 0; see test_op_conventions
