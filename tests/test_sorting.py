"""Sorting: order among equals, NaN, where values go in what is sorted, and bad input."""

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices
nan = np.nan


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32"])
def test_argsort_keeps_equals_in_order(dtype):
    x = gg.tensor([[2, 1, 2], [0, 3, 3]], dtype=dtype)
    assert gg.argsort(x).tolist() == [[1, 0, 2], [0, 1, 2]]
    assert gg.argsort(x, descending=True).tolist() == [[0, 2, 1], [1, 2, 0]]
    assert gg.argsort(x, axis=0, descending=True, stable=False).tolist() == [[0, 1, 1], [1, 0, 0]]
    values, places = gg.topk(x, 2)
    assert values.tolist() == [[2, 2], [3, 3]] and places.tolist() == [[0, 2], [1, 2]] and values.dtype == x.dtype
    assert sorted(gg.topk(x, 2, sorted=False)[1].tolist()[0]) == [0, 2]


def test_nan_is_the_largest():
    x = gg.tensor([1.0, nan, 3.0])
    assert gg.argsort(x).tolist() == [0, 2, 1] and gg.argsort(x, descending=True).tolist() == [1, 2, 0]
    assert gg.topk(x, 1)[1].tolist() == [1] and gg.topk(x, 1, sorted=False)[1].tolist() == [1]


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted_is_numpys(side, dtype):
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 5, 8, 9):
        rows, values = np.sort(rng.integers(0, 6, (2, n))), rng.integers(-1, 7, (2, 4))
        expected = [np.searchsorted(r, v, side).tolist() for r, v in zip(rows, values, strict=True)]
        rows, values = gg.tensor(rows, dtype=dtype), gg.tensor(values, dtype=dtype)
        assert gg.searchsorted(rows, values, side).tolist() == expected
        assert gg.searchsorted(rows[0], values[0], side=side).tolist() == expected[0]


def test_searchsorted_with_nan_numbers_and_a_sorter():
    x = gg.tensor([1.0, 2.0, nan, nan])
    for side, expected in (("left", [2, 1, 0]), ("right", [4, 2, 0])):
        for shape in ((4,), (1, 4)):
            values = gg.tensor([nan, 2.0, 0.0]).reshape(*shape[:-1], 3)
            assert gg.searchsorted(x.reshape(shape), values, side).reshape(-1).tolist() == expected
    assert gg.searchsorted(x, 1.5).item() == 1 and gg.searchsorted(x, [[0, 5]]).tolist() == [[0, 2]]
    assert gg.searchsorted(gg.tensor([3, 1, 2]), 2.5, sorter=[1, 2, 0]).item() == 2
    found = gg.searchsorted(gg.tensor([[3.0, 1], [1, 2]]), gg.tensor([[2.0], [0]]), sorter=[[1, 0], [0, 1]])
    assert found.tolist() == [[1], [0]]


def test_places_are_not_tracked():
    x = gg.tensor([3.0, 1.0], requires_grad=True)
    for y in (gg.argsort(x), gg.topk(x, 1)[1], gg.searchsorted(gg.sort(x), x)):
        assert isinstance(y, gg.Tensor) and y.node is None and y.dtype == "int64"


@pytest.mark.parametrize(
    ("f", "kind", "words"),
    [
        (lambda x: gg.sort(x, axis=2), ValueError, "sort: axis 2 is out of bounds for an array of 2 axes"),
        (lambda x: gg.sort(x, axis=None), ValueError, "sort: axis is an integer, not None"),
        (lambda x: gg.argsort(x, axis=-3), ValueError, "argsort: axis -3 is out of bounds"),
        (lambda x: gg.sort(x[0, 0]), ValueError, "sort: axis -1 is out of bounds for an array of 0 axes"),
        (lambda x: gg.topk(x, 1, axis=5), ValueError, "topk: axis 5"),
        (lambda x: gg.topk(x, 4), ValueError, "topk: axis 1 has 3 elements, and k is 4; it may be from 0 to 3"),
        (lambda x: gg.topk(x, -1), ValueError, "k is -1"),
        (lambda x: gg.topk(x, 1.5), TypeError, "integer"),
        (lambda x: gg.searchsorted(x, x, side="middle"), ValueError, "side is 'left' or 'right', not 'middle'"),
        (lambda x: gg.searchsorted(x, x[0]), ValueError, r"x has shape \[2, 3\] and values \[3\]"),
        (lambda x: gg.searchsorted(x[0, 0], x), ValueError, r"x has shape \[\]"),
    ],
)
def test_bad_input(f, kind, words):
    with pytest.raises(kind, match=words):
        f(gg.ones((2, 3)))


@pytest.mark.parametrize("largest", [True, False])
def test_topk_is_the_beginning_of_a_stable_order(largest):
    """Ties within the k, across their end, NaN and infinities."""
    rng = np.random.default_rng(0)
    for n, k in ((9, 4), (50, 7), (5, 4)):
        for high in (3, 20, 10**6):
            x = rng.integers(0, high, (n, 6)).astype(np.float32)
            x[rng.random(x.shape) < 0.1] = np.nan if high == 20 else np.inf
            for axis in (0, 1):
                if k < x.shape[axis]:
                    order = gg.argsort(gg.tensor(x), axis, descending=largest).numpy()
                    values, places = gg.topk(gg.tensor(x), k, axis, largest)
                    expected = np.take(order, range(k), axis)
                    np.testing.assert_array_equal(places.numpy(), expected)
                    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, expected, axis))
