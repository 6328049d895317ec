"""What ops make of numbers, lists and NumPy scalars, alone and beside arrays."""

import inspect
import pickle

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.testing import assert_close

ROWS = [[3.0, 1.0, 2.0], [0.5, 4.0, 1.5]]
COUNTS = [[3, 1, 2], [0, 4, 5]]

ON_LISTS = {
    "sum": lambda x: gg.sum(x, axis=0),
    "argmax": lambda x: gg.argmax(x, axis=1),
    "argmin": gg.argmin,
    "any": lambda x: gg.any(x, axis=0),
    "all": gg.all,
    "count_nonzero": gg.count_nonzero,
    "argsort": gg.argsort,
    "sort": gg.sort,
    "take": lambda x: gg.take(x, [0, 2], axis=1),
    "take flat": lambda x: gg.take(x, [5]),
    "take_along_axis": lambda x: gg.take_along_axis(x, [[0], [1]], axis=1),
    "split": lambda x: gg.split(x, 3, axis=1)[1],
    "unstack": lambda x: gg.unstack(x)[1],
    "tensordot": lambda x: gg.tensordot(x, x, axes=2),
    "vecdot": lambda x: gg.vecdot(x, x),
    "outer": lambda x: gg.outer(x[0], x[1]),
    "matmul": lambda x: gg.matmul(x, [1.0, 2.0, 3.0]),
    "mse_loss": lambda x: nn.mse_loss(x, [[1.0] * 3] * 2),
    "cross_entropy": lambda x: nn.cross_entropy(x, [0, 1]),
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "softplus": nn.softplus,
    "reshape": lambda x: gg.reshape(x, (3, 2)),
    "flatten": gg.flatten,
    "permute_dims": lambda x: gg.permute_dims(x, (1, 0)),
    "swapaxes": lambda x: gg.swapaxes(x, 0, 1),
    "moveaxis": lambda x: gg.moveaxis(x, 0, 1),
    "flip": gg.flip,
    "roll": lambda x: gg.roll(x, 1),
    "concat": lambda x: gg.concat([x, x]),
    "stack": lambda x: gg.stack([x, x]),
    "tril": gg.tril,
    "triu": gg.triu,
    "expand_dims": gg.expand_dims,
    "squeeze": gg.squeeze,
    "broadcast_to": lambda x: gg.broadcast_to(x, (2, 2, 3)),
    "matrix_transpose": gg.matrix_transpose,
    "einsum": lambda x: gg.einsum("ij,kj->ik", x, x),
    "clip": lambda x: gg.clip(x, 1, 2),
    "where": lambda x: gg.where(x, x, 0.0),
    "maximum": lambda x: gg.maximum(x, 1.0),
    "astype": lambda x: gg.astype(x, "float64"),
    "sign": gg.sign,
    "floor": gg.floor,
    "cumsum": gg.cumsum,
    "logsumexp": gg.logsumexp,
    "var": gg.var,
    "prod": gg.prod,
    "getitem": lambda x: gg.getitem(x, 1),
}


@pytest.mark.parametrize("name", ON_LISTS)
def test_lists_are_arrays(name):
    f = ON_LISTS[name]
    for values in (ROWS, COUNTS):
        if name == "cross_entropy" and values is COUNTS:
            continue
        got, expected = f(values), f(gg.tensor(values))
        assert isinstance(got, gg.Tensor), name
        assert got.dtype == expected.dtype
        assert_close(got, expected)


def test_one_hot_of_a_list():
    assert gg.one_hot([1, 0], 3).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_nonsense_is_refused():
    for f in (gg.argmax, gg.sort, gg.any, gg.flip, lambda x: gg.take(x, [0]), lambda x: gg.split(x, 2), gg.flatten):
        for bad in ("text", None, {"a": 1}):
            with pytest.raises(TypeError, match="cannot take"):
                f(bad)


def test_axes_may_be_lists_and_numpy_integers():
    x = gg.tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    for f in (gg.sum, gg.mean, gg.max, gg.min, gg.prod, gg.var, gg.std, gg.logsumexp, gg.any, gg.all, gg.count_nonzero):
        for axis in ([0, 2], (np.int64(0), 2), [np.int64(2), 0]):
            got, expected = f(x, axis=axis), f(x, axis=(0, 2))
            assert_close(got, expected)
            if expected.node is not None:
                assert_close(gg.grad(gg.sum(got), x)[0], gg.grad(gg.sum(expected), x)[0])
    assert gg.sum(x, axis=np.int64(1)).shape == (2, 4)
    assert gg.squeeze(gg.ones((1, 2, 1)), axis=[0, 2]).shape == gg.squeeze(gg.ones((1, 2, 1)), [0, 2]).shape == (2,)
    assert gg.flip(x, axis=[0, 1]).shape == gg.roll(x, [1, 1], axis=[0, 1]).shape == x.shape
    assert gg.expand_dims(x, [0, 1]).shape == (1, 1, 2, 3, 4)
    assert gg.moveaxis(x, (0, 1), (1, 0)).shape == (3, 2, 4)
    assert gg.moveaxis(x, [0, 2], [-1, 0]).shape == np.moveaxis(x.numpy(), [0, 2], [-1, 0]).shape
    assert gg.reshape(x, [np.int64(6), 4]).shape == gg.reshape(x, np.int64(24)).reshape(6, 4).shape


def test_a_float_list_beside_integers():
    i = gg.tensor([1, 2])
    assert (i * [0.5, 0.5]).dtype == np.float32 and (i * [0.5, 0.5]).tolist() == [0.5, 1]


def test_complex_numbers_keep_the_precision_of_their_neighbours():
    assert (gg.tensor([1, 2]) * 1j).dtype == np.complex64
    assert (gg.ones(2) * [1j, 2]).dtype == np.complex64 and (
        gg.ones(2, dtype="float64") * [1j, 2]
    ).dtype == np.complex128
    assert gg.where(gg.tensor([True, False]), gg.ones(2), 1j).tolist() == [1, 1j]
    assert gg.concat([gg.ones(1), [1j]]).dtype == np.complex64


def test_an_integer_takes_the_precision_of_a_float64_neighbour():
    i, x = gg.tensor([3]), gg.tensor(np.array([7.0]), requires_grad=True)
    for y in (i / x, gg.atan2(i, x), gg.logaddexp(i, x), gg.hypot(i, x)):
        assert y.dtype == np.float64
    assert (i / x).item() == 3 / 7
    assert gg.grad((i**x).sum(), x)[0].item() == pytest.approx(3**7 * np.log(3), rel=1e-14)


def test_numbers_and_lists_join_arrays_in_their_dtype():
    x = gg.tensor([1.5], dtype="float64")
    assert gg.concat([[2.5], x]).dtype == gg.stack([x, [3.0]]).dtype == np.float64
    assert gg.stack([1.0, gg.tensor(2.0)]).tolist() == [1, 2]
    assert gg.einsum("i,i", [2.0], x).dtype == (x @ [2.0]).dtype == np.float64


def test_numpys_scalars_are_weak_in_where():
    x = gg.ones(2)
    assert gg.where(x > 0, x, np.float64(2)).dtype == gg.where(x > 0, np.float64(2), x).dtype == np.float32


def test_steps_of_integers_are_integers():
    i = gg.tensor([1, -2])
    for f in (gg.floor, gg.ceil, gg.trunc, gg.round, gg.sign):
        assert f(i).dtype == np.int32 and f(i).shape == (2,)
    assert nn.silu(i).dtype == np.float32


def test_the_sign_of_complex_numbers():
    z = gg.tensor(np.array([3 + 4j, 0]))
    assert_close(gg.sign(z), np.array([0.6 + 0.8j, 0]))


def test_gathered_halves_add_up_in_float32():
    x = gg.tensor(np.ones(1), dtype="float16", requires_grad=True)
    gg.sum(x[np.zeros(4096, int)] * 1.0009765625).backward()
    assert float(x.grad.numpy()[0]) == pytest.approx(4100, rel=1e-3)


def test_splitting_nothing_has_a_gradient():
    x = gg.ones((0, 4), requires_grad=True)
    part, _ = gg.split(x, 2, axis=1)
    gg.sum(part).backward()
    assert x.grad.shape == (0, 4)


def test_logsumexp_over_nothing_keeps_the_shape():
    assert gg.logsumexp(gg.ones((2, 3)), axis=()).shape == (2, 3)


def test_empty_products():
    assert (gg.ones((2, 3, 0)) @ gg.ones((0, 4))).tolist() == np.zeros((2, 3, 4)).tolist()
    x = gg.ones((2, 0, 3), requires_grad=True)
    (x @ gg.ones((3, 4))).sum().backward()
    assert x.grad.shape == (2, 0, 3)


def test_large_ranges_are_not_wrapped():
    assert gg.arange(3_000_000_000, 3_000_000_002).tolist() == [3_000_000_000, 3_000_000_001]
    assert gg.arange(3).dtype == np.int32


def test_the_deviation_of_equal_numbers_is_flat():
    x = gg.tensor([2.0, 2.0], requires_grad=True)
    gg.std(x).backward()
    assert x.grad.tolist() == [0, 0]


def test_layers_take_numpy_integers():
    assert nn.Linear(np.int64(2), np.int32(3))(gg.ones((1, 2))).shape == (1, 3)
    for bad in (2.0, 0, "2"):
        with pytest.raises(ValueError, match="positive integer"):
            nn.Linear(bad, 3)


def test_a_list_as_index_is_an_index_array():
    x = gg.tensor(np.arange(30.0).reshape(3, 10), requires_grad=True)
    for key in ([0, 2], [[0, 1], [2, 2]], [], [True, False, True]):
        assert np.array_equal(x[key].numpy(), x.numpy()[key])
    for bad in ([0, 5], [True, False]):
        with pytest.raises(IndexError):
            x[bad]
    assert gg.Variable([[1.0, 2.0], [3.0, 4.0]])[[1]].tolist() == [[3, 4]]


def test_a_list_that_changes_after_it_was_an_index():
    x, key = gg.tensor([1.0, 2.0], requires_grad=True), [0]
    y = x[key]
    key[0] = 1
    assert gg.grad(y.sum(), x)[0].tolist() == [1, 0]


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses_of_ndarray():
    m = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    x = gg.tensor(m, requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.tolist() == [[2, 4], [6, 8]]
    y = gg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert gg.grad((y * m).sum(), y)[0].tolist() == m.tolist()
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for f in (gg.tensor, lambda v: gg.tensor([1.0, 2.0]) * v):
        with pytest.raises(TypeError, match=r"masked arrays are not supported; write x.filled"):
            f(masked)


def test_axes_and_sizes_out_of_bounds():
    x = gg.tensor(np.ones((2, 3)))
    for f in (lambda: gg.take(x, [0], axis=5), lambda: gg.take_along_axis(x, np.zeros((2, 3), int), axis=3)):
        with pytest.raises(ValueError, match="out of bounds for an array of 2 axes"):
            f()
    assert gg.take(x, (1,)).shape == (1,)
    with pytest.raises(ValueError, match="do not add up"):
        gg.split(gg.tensor([1.0, 2.0, 3.0]), [-1, 4])
    with pytest.raises(ValueError, match="axis is an integer"):
        gg.cumsum(x, axis=None)
    three = gg.op(lambda xp, x, y, z: x + y + z, name="three", x=lambda g: g, y=lambda g: g, z=lambda g: g)
    with pytest.raises(TypeError, match="three.. takes 3 positional arguments but 5 were given"):
        three(x, x, x, x, x)


def test_parts_of_a_variable_change_from_where_they_are():
    v = gg.Variable([1.0, 2.0])
    first = v[0]
    first.assign_add(1.0)
    first.assign_add(1.0)
    assert v.numpy().tolist() == [3, 2]


def test_a_list_of_tensors_that_were_tracked_once():
    x = gg.tensor([1.0])
    with gg.GradientTape() as tape:
        tape.watch(x)
    assert gg.add(gg.tensor([1.0]), [x, x]).tolist() == [[2], [2]]


def test_clip_with_a_bound_that_is_nan():
    x, bound = gg.tensor([1.0, 5.0]), np.float32([np.nan, 2.0])
    assert np.array_equal(gg.clip(x, gg.tensor(bound), None).numpy(), [np.nan, 5], equal_nan=True)
    assert np.array_equal(gg.clip(x, None, gg.tensor(bound)).numpy(), [np.nan, 2], equal_nan=True)


def test_arrays_by_name():
    a = gg.tensor([1.0, 2.0])
    assert gg.multiply(y=2.0, x=a).tolist() == [2, 4] and gg.sum(x=a, axis=0).item() == 3
    assert gg.exp(x=gg.zeros(1)).tolist() == [1]
    for f in (lambda: gg.multiply(a, z=a), lambda: gg.exp(a, name="e"), lambda: gg.sum(a, name="s")):
        with pytest.raises(TypeError, match="'z'|'name'"):
            f()
    assert str(inspect.signature(gg.multiply)) == "(x, y)"


def test_one_number_for_all_axes():
    x = gg.ones((2, 1))
    assert (
        gg.pad(x, 1).shape == (4, 3)
        and gg.pad(x, (0, 2)).shape == (4, 3)
        and gg.pad(x, [[1, 0], [0, 0]]).shape == (3, 1)
    )
    assert gg.tile(x, 2).shape == (2, 2)
    for bad in ([[1, 2, 3]], [[1, 1]] * 3, -1):
        with pytest.raises(ValueError, match="is not a pair of numbers"):
            gg.pad(x, bad)


def test_functions_without_a_gradient_are_pickled_by_name():
    for f in (gg.argmax, gg.all, gg.equal, gg.isnan, gg.argsort, gg.sign, gg.count_nonzero):
        assert pickle.loads(pickle.dumps(f)) is f
