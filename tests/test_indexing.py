"""Indexing beside the op table: what is no gradient, conventions where elements repeat, bad input."""

import tracemalloc

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.array import library, to_host
from gpugrad.ops.places import combine
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


@pytest.fixture
def x():
    return gg.tensor(np.arange(12.0).reshape(3, 4))


def values(t):
    return to_host(t.array if isinstance(t, gg.Tensor) else t).tolist()


# ---------------------------------------------------------------------------------------------- reading
def test_indices_may_be_lists_arrays_and_tensors_from_anywhere(x):
    expected = values(x)[2][1:3]
    for i in ([2, 2], np.array([2, 2]), np.array([2, -1], np.int8), gg.tensor([2, 2]), gg.tensor([2, 2], device="cpu")):
        for j in ([1, 2], np.array([1, -2]), gg.tensor(np.array([1, 2], np.uint8))):
            assert values(x[i, j]) == expected
        assert values(gg.take(x, i, axis=0)[0]) == values(x)[2]
        assert values(x.at[i].set(0))[2] == [0] * 4
    mask = np.arange(12).reshape(3, 4) > 9
    for m in (mask, mask.tolist(), gg.tensor(mask), gg.tensor(mask, device="cpu")):
        assert values(x[m]) == [10, 11] == values(gg.masked_select(x, m))
        assert values(gg.masked_fill(x, m, -1))[2] == [8, 9, -1, -1]
    array = x.array
    assert values(gg.at(array)[[0, 0], 1].add(2.0))[0] == [0, 5, 2, 3] and values(array)[0] == [0, 1, 2, 3]


def test_an_index_in_a_list_may_change_afterwards(x):
    rows = [0, 1]
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = x[rows, [0, 0]]
    rows[:] = [2, 2]
    assert values(gg.sum(tape.gradient(y, x), axis=1)) == [1, 1, 0]


def test_one_hot():
    assert values(gg.one_hot(gg.tensor([1, -1, 3]), 3)) == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert values(gg.one_hot([1, 0], 2, dtype="int32", on=5, off=-1, axis=0)) == [[-1, 5], [5, -1]]


# ---------------------------------------------------------------------------------------------- writing
def test_nothing_is_written_into_x(x):
    before = values(x)
    made = [
        x.at[0].set(5),
        x.at[[0, 0]].add(5),
        x.at[x > 3].multiply(0),
        x.at[...].max(50),
        gg.index_add(x, [1], x[1:2]),
    ]
    for y in made:
        assert values(y) != before == values(x)


def test_the_last_value_is_set_and_it_alone_has_a_gradient():
    x, v = gg.tensor(np.zeros(3), requires_grad=True), gg.tensor(np.arange(1.0, 5.0), requires_grad=True)
    y = x.at[[0, 2, 0, -3]].set(v)
    assert values(y) == [4, 0, 2]
    gx, gv = gg.grad(y, [x, v], gg.ones_like(y))
    assert values(gx) == [0, 1, 0] and values(gv) == [0, 1, 0, 1]


def test_a_product_of_several_factors_with_zeros_has_its_gradients():
    x, v = gg.tensor(np.array([2.0, 3.0]), requires_grad=True), gg.tensor(np.array([0.0, 5.0, 7.0]), requires_grad=True)
    y = x.at[[0, 0, 1]].multiply(v)
    assert values(y) == [0, 21]
    gx, gv = gg.grad(y.sum(), [x, v], create_graph=True)
    assert values(gx) == [0, 7] and values(gv) == [10, 0, 3]
    assert values(gg.grad(gv[1], v)[0]) == [2, 0, 0]


def test_many_factors_of_one_place():
    """Neither their number nor what others are multiplied by matters: no matrix of places and factors, no 0 * inf."""
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.zeros(5000, int), np.arange(3000)])
    v = rng.uniform(0.99, 1.01, (8000, 2))
    expected = np.ones((3000, 2))
    np.multiply.at(expected, ids, v)
    assert_close(gg.segment_prod(v, ids), expected, rtol=1e-12)
    x = gg.tensor(np.array([np.inf, 2, 0, 3, np.nan]), requires_grad=True)
    y = gg.segment_prod(x, [0, 1, 2, 1, 3])
    np.testing.assert_array_equal(values(y), [np.inf, 6, 0, np.nan])
    assert values(gg.grad(y.sum(), x)[0]) == [1, 3, 1, 2, 1]
    tracemalloc.start()
    gg.segment_prod(v[:, 0], ids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "uint32", "int64", "uint64", "complex64"])
def test_repeated_indices_in_all_dtypes(dtype):
    """Those for which CuPy has no atomic instruction, too; the CPU's answer is NumPy's."""
    rng = np.random.default_rng(0)
    bits = 8 if dtype == "complex64" else 62
    x, v = [(rng.integers(0, 2**bits, n) // (1 << rng.integers(0, bits, n))).astype(dtype) for n in (5, 20)]
    if x.dtype.kind == "i":
        x, v = x * (-1) ** np.arange(5).astype(dtype), v * (-1) ** np.arange(20).astype(dtype)
    i = rng.integers(0, 5, 20)
    for how, f in {"add": np.add, "max": np.maximum, "min": np.minimum, "multiply": np.multiply}.items():
        if x.dtype.kind == "c" and how in ("max", "min"):
            with pytest.raises(TypeError, match="complex numbers have no order"):
                getattr(gg.tensor(x).at[i], how)(1)
            continue
        expected = x.copy()
        with np.errstate(over="ignore"):
            f.at(expected, i, v)
        y = getattr(gg.tensor(x).at[i], how)(gg.tensor(v))
        assert y.dtype == x.dtype
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5 if dtype == "complex64" else 0)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_largest_and_smallest_of_floats_are_exact_and_keep_nan():
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32, np.float16):
        x, v = rng.standard_normal(40).astype(dtype), rng.standard_normal(99).astype(dtype)
        v[:6] = np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0
        i = np.concatenate([np.arange(6), rng.integers(6, 40, 93)])
        for how, f in {"max": np.maximum, "min": np.minimum}.items():
            expected = x.copy()
            f.at(expected, i, v)
            np.testing.assert_array_equal(getattr(gg.tensor(x).at[i], how)(gg.tensor(v)).numpy(), expected)


def test_sums_of_many_half_numbers_do_not_stop():
    for dtype in ("float16", "bfloat16"):
        x = gg.zeros(2, dtype=dtype).at[np.zeros(5000, int)].add(gg.ones(5000, dtype=dtype))
        assert x.dtype == gg.tensor(0, dtype).dtype and abs(float(x[0]) - 5000) <= 8
        assert abs(float(gg.segment_mean(gg.full(5000, 100, dtype), np.zeros(5000, int))[0]) - 100) < 0.5


def test_rows_and_single_numbers_take_other_ways_to_one_sum():
    rng = np.random.default_rng(1)
    cases = [
        ((50, 8), rng.integers(0, 50, 99)),
        ((50, 8), rng.permutation(50)[:20]),
        ((50,), rng.integers(0, 50, 99)),
        ((50,), rng.integers(-50, 50, 99)),
        ((5, 0), np.array([1, 1])),
        ((4, 5, 3), (slice(1, None), rng.integers(0, 5, 9))),
        ((4, 5, 3), (rng.integers(0, 4, (2, 9)), rng.integers(-5, 0, 9))),
        ((2, 3, 4), (..., np.array([1, 2, 1]), slice(None))),
        ((300, 2), (rng.integers(0, 200, 999).astype(np.uint8), ..., None)),
    ]
    for shape, key in cases:
        expected = np.zeros(shape)
        v = rng.standard_normal(expected[key].shape)
        np.add.at(expected, key, v)
        out = np.zeros(shape)
        combine(np, np.add, out, key, v)
        assert_close(out, expected, rtol=1e-13, atol=1e-13)
        assert_close(gg.zeros(shape, "float64").at[key].add(v), expected, rtol=1e-13, atol=1e-13)


def drawn_key(rng, shape):
    """Any index into an array of `shape`."""
    parts = []
    for n in shape:
        parts.append(
            [slice(None), slice(None, None, -1), slice(1, None, 2), int(rng.integers(n)), rng.integers(-n, n, 3),
             rng.integers(-n, n, (2, 1)), rng.integers(n), rng.random(n) < 0.6, [int(rng.integers(n))]][rng.integers(9)]
        )  # fmt: skip
    parts = parts[: rng.integers(len(parts) + 1)]
    for extra in (None, ...):
        if rng.random() < 0.3:
            parts.insert(rng.integers(len(parts) + 1), extra)
    return tuple(parts)


def test_any_index_selects_and_changes_what_numpys_does():
    rng, hit = np.random.default_rng(0), 0
    for _ in range(200):
        x = rng.standard_normal(rng.integers(1, 5, rng.integers(1, 4)))
        key = drawn_key(rng, x.shape)
        try:
            expected = x[key]
        except IndexError:  # masks and arrays that do not broadcast, and an Ellipsis that moved the others
            continue
        hit += 1
        t = gg.tensor(x)
        np.testing.assert_array_equal(t[key].numpy(), expected)
        shape = [1 if rng.random() < 0.2 else n for n in expected.shape[rng.integers(expected.ndim + 1) :]]
        v = rng.standard_normal(shape)
        flat = np.arange(x.size).reshape(x.shape)[key].reshape(-1), np.broadcast_to(v, expected.shape).reshape(-1)
        for how, f in {"add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum}.items():
            out = x.copy()
            f.at(out.reshape(-1), *flat)
            assert_close(getattr(t.at[key], how)(gg.tensor(v)), out, rtol=1e-12, atol=1e-12)
        out = x.copy()
        out[key] = v
        np.testing.assert_array_equal(t.at[key].set(gg.tensor(v)).numpy(), out)
    assert hit > 100


def test_integers_stay_integers():
    i = gg.tensor([1, 2, 3])
    assert gg.segment_sum(i, [1, 0, 1]).dtype == np.int32 and values(gg.segment_sum(i, [1, 0, 1])) == [2, 4]
    assert values(gg.segment_mean(i, [1, 0, 1])) == [2, 2] and gg.segment_mean(i, [1, 0, 1]).dtype == np.float32
    assert values(i.at[[0, 0]].multiply(3)) == [9, 2, 3] and i.at[0].multiply(3).dtype == np.int32
    assert values(gg.put_along_axis(i, [0, 0], [7, 8], axis=0, reduce="max")) == [8, 2, 3]


# ---------------------------------------------------------------------------------------------- segments
def test_segments_without_a_row():
    x = gg.tensor(np.array([[1.0], [2.0]]))
    ids = [1, 1]
    assert values(gg.segment_sum(x, ids, 3)) == [[0], [3], [0]] and values(gg.segment_mean(x, ids, 3)) == [
        [0],
        [1.5],
        [0],
    ]
    assert values(gg.segment_prod(x, ids, 3)) == [[1], [2], [1]]
    assert values(gg.segment_max(x, ids, 3)) == [[-np.inf], [2], [-np.inf]]
    assert values(gg.segment_min(x, ids, 3)) == [[np.inf], [1], [np.inf]]
    i = gg.tensor(np.array([5, 7], np.int8))
    assert values(gg.segment_max(i, ids)) == [-128, 7] and values(gg.segment_min(i, ids)) == [127, 5]
    assert values(gg.segment_max(i > 6, ids)) == [False, True]
    nothing = gg.tensor(np.zeros((0, 2)))
    assert gg.segment_sum(nothing, []).shape == (0, 2) and gg.segment_max(nothing, [], 2).shape == (2, 2)


def test_numbers_out_of_range_on_a_gpu_are_left_out(default_device):
    x = gg.tensor(np.arange(1.0, 5.0), requires_grad=True)
    ids = gg.tensor([0, -1, 5, 1])
    for f in (gg.segment_sum, gg.segment_mean, gg.segment_max, gg.segment_min, gg.segment_prod):
        if default_device == "cpu":
            with pytest.raises(IndexError, match=f"{f.__name__}: index .* is out of bounds"):
                f(x, ids, 2)
        else:
            y = f(x, ids, 2)
            assert values(y) == [1, 4] and values(gg.grad(y.sum(), x)[0]) == [1, 0, 0, 1]


# ---------------------------------------------------------------------------------------------- bad input
BYTES = lambda: gg.tensor([1], "uint8")
BAD = {
    "is out of bounds for axis 0 with size 3": (IndexError, lambda x: x[3]),
    "index 4 is out of bounds": (IndexError, lambda x: x[..., [0, 4], None]),
    "index -4 is out of bounds": (IndexError, lambda x: x.at[[[-4]], 1].add(1)),
    "getitem: a mask of shape (2,) for axes of shape (3,)": (IndexError, lambda x: x[[True, False]]),
    "getitem: a mask of shape (3, 3) for axes of shape (3, 4)": (IndexError, lambda x: x[np.ones((3, 3), bool)]),
    "getitem: a mask of shape (0,) for axes of shape (4,)": (IndexError, lambda x: x[..., np.ones(0, bool)]),
    "getitem: 'a' is no index": (IndexError, lambda x: x["a"]),
    "getitem: array([1.5]) is no index": (IndexError, lambda x: x[np.array([1.5])]),
    "take: index 4 is out of bounds; allowed are -4..3": (IndexError, lambda x: gg.take(x, [4], axis=1)),
    "take: index 1 is out of bounds; the axis is empty": (IndexError, lambda x: gg.take(x[:0], [1], 0, "wrap")),
    "take: indices are integers, not float64": (TypeError, lambda x: gg.take(x, [0.5])),
    "take: mode is 'raise', 'wrap' or 'clip', not 'drop'": (ValueError, lambda x: gg.take(x, [0], mode="drop")),
    "take: axis 2 is out of bounds": (ValueError, lambda x: gg.take(x, [0], axis=2)),
    "take_along_axis: index -5 is out of bounds": (IndexError, lambda x: gg.take_along_axis(x, [[-5]], axis=1)),
    "take_along_axis: indices have 1 axes and x has 2": (ValueError, lambda x: gg.take_along_axis(x, [1])),
    "take_along_axis: indices of shape (2, 1) do not match": (ValueError, lambda x: gg.take_along_axis(x, [[0], [0]])),
    "put_along_axis: index 4 is out of bounds": (IndexError, lambda x: gg.put_along_axis(x, [[4]], 0.0, axis=1)),
    "put_along_axis: reduce is one of": (ValueError, lambda x: gg.put_along_axis(x, [[0]], 0.0, reduce="mean")),
    "repeat: 2 repeats for the 3 slices": (ValueError, lambda x: gg.repeat(x, [1, 2], axis=0)),
    "repeat: repeats are integers from 0 on, not -1": (ValueError, lambda x: gg.repeat(x, -1)),
    "gather_nd: index 3 is out of bounds": (IndexError, lambda x: gg.gather_nd(x, [[3, 0]])),
    "gather_nd: index vectors (1, 3)": (ValueError, lambda x: gg.gather_nd(x, [[0, 0, 0]])),
    "gather_nd: the first 1 axes": (ValueError, lambda x: gg.gather_nd(x, [[0]], batch_dims=1)),
    "scatter_nd: index 3 is out of bounds": (IndexError, lambda x: gg.scatter_nd([[3]], [1.0], (3,))),
    "scatter_nd: updates have the shape (2,); for these indices it is (1,)": (
        ValueError, lambda x: gg.scatter_nd([[0]], [1.0, 2.0], (3,))),
    "index_add: index 3 is out of bounds": (IndexError, lambda x: gg.index_add(x, [3], 1.0)),
    "index_add: axis 2 is out of bounds": (ValueError, lambda x: gg.index_add(x, [0], 1.0, axis=2)),
    "masked_fill: the shapes (3, 4), (2,)": (ValueError, lambda x: gg.masked_fill(x, [True, False], 0)),
    "masked_fill: a mask is of bool, not int64": (TypeError, lambda x: gg.masked_fill(x, np.ones(4, int), 0)),
    "masked_fill: the value is a number": (ValueError, lambda x: gg.masked_fill(x, x > 1, [1.0, 2.0])),
    "masked_fill: an array of float64 cannot hold values of": (TypeError, lambda x: gg.masked_fill(x, x > 1, 1j)),
    "masked_select: the shapes": (ValueError, lambda x: gg.masked_select(x, [True, False])),
    "one_hot: indices are integers": (TypeError, lambda x: gg.one_hot(x, 3)),
    "one_hot: num_classes is a number from 0 on": (ValueError, lambda x: gg.one_hot([1], -1)),
    "segment_sum: segment_ids of shape (2,) do not number the rows": (ValueError, lambda x: gg.segment_sum(x, [0, 1])),
    "segment_sum: index -1 is out of bounds; allowed are 0..1": (IndexError, lambda x: gg.segment_sum(x, [0, 1, -1])),
    "segment_sum: num_segments is a number from 0 on": (ValueError, lambda x: gg.segment_sum(x, [0, 0, 0], -1)),
    "at: 1.5 is no index": (IndexError, lambda x: x.at[1.5]),
    "at.set: an array of int32 cannot hold values of float32": (TypeError, lambda x: gg.tensor([1]).at[0].set(1.5)),
    "at.divide: an array of int32 cannot hold quotients": (TypeError, lambda x: gg.tensor([1]).at[0].divide(2)),
    "at.max: values of shape (2, 4) have more axes than the 1 of x[key]": (ValueError, lambda x: x.at[0].max(x[:2])),
    "at.set: ": (ValueError, lambda x: x.at[[0, 1]].set([1.0, 2.0, 3.0])),
    "at.add: ": (ValueError, lambda x: x.at[[0, 1]].add([1.0, 2.0, 3.0])),
    "index_add: ": (ValueError, lambda x: gg.index_add(x, [0, 1], [1.0, 2.0, 3.0])),
    "index_add: an array of int32 cannot hold": (TypeError, lambda x: gg.index_add(gg.tensor([1]), [0], 1.5)),
    "put_along_axis: an array of int32 cannot hold": (
        TypeError, lambda x: gg.put_along_axis(gg.tensor([1]), [0], [1.5])),
    "segment_sum: num_segments is an integer, not 1.5": (TypeError, lambda x: gg.segment_sum(x, [0, 0, 0], 1.5)),
    "at.set: 300 is out of range for uint8, 0 .. 255": (OverflowError, lambda x: BYTES().at[0].set(300)),
    "at.max: 300 is out of range": (OverflowError, lambda x: BYTES().at[0].max(300)),
    "at.add: [1, -1] is out of range": (OverflowError, lambda x: BYTES().at[[0, 0]].add([1, -1])),
    "masked_fill: 300 is out of range": (OverflowError, lambda x: gg.masked_fill(BYTES(), [True], 300)),
    "put_along_axis: [200] is out of range for int8": (
        OverflowError, lambda x: gg.put_along_axis(gg.tensor([1], "int8"), [0], [200])),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_input(x, message):
    kind, f = BAD[message]
    with pytest.raises(kind) as caught:
        f(x)
    assert message in str(caught.value)


def test_every_index_out_of_range_is_an_error_on_the_cpu():
    for f in (lambda x, i: x[i], lambda x, i: x[0, i], lambda x, i: x.at[i].set(1), lambda x, i: x.at[:, i].add(1),
              lambda x, i: x.at[i].multiply(1), lambda x, i: x.at[i, i].max(1)):  # fmt: skip
        for i in ([4], [-5], np.array([[0, 9]])):
            with pytest.raises(IndexError, match="is out of bounds for axis"):
                f(gg.tensor(np.ones((4, 4)), device="cpu"), i)


def test_keys_on_another_device_than_x_are_brought_there(x):
    assert library(x.at[gg.tensor([0], device="cpu")].add(1).array) is library(x.array)
