"""Shapes beside the op table: what is a view, what stays as it is, bad input."""

import numpy as np
import pytest

import gpugrad as gg

pytestmark = pytest.mark.devices


@pytest.fixture
def x():
    return gg.tensor(np.arange(12.0).reshape(3, 4))


@pytest.mark.numpy
def test_views_share_memory(x):
    for y in (gg.reshape(x, (4, 3)), gg.permute_dims(x, (1, 0)), gg.flip(x), gg.rot90(x), gg.diagonal(x, 1), x[1:],
              gg.broadcast_to(x, (2, 3, 4)), gg.split(x, 3)[1], gg.unstack(x)[0]):  # fmt: skip
        assert np.shares_memory(y.numpy(), x.numpy())


def test_integers_and_bools_stay_so():
    i = gg.tensor([[1, 2], [3, 4]])
    for f in (gg.flip, gg.tril, gg.diag, gg.diagonal, gg.diag_embed, gg.rot90, lambda x: gg.pad(x, 1),
              lambda x: gg.tile(x, 2), lambda x: gg.pad(x, 1, "edge"), lambda x: gg.repeat(x, [1, 2], axis=0),
              lambda x: gg.concat([x, x]), lambda x: gg.stack([x, x])):  # fmt: skip
        assert f(i).dtype == i.dtype and f(i > 2).dtype == bool
    assert int(gg.trace(i)) == 5 and gg.trace(i, dtype="float32").dtype == np.float32


def test_slices_of_none():
    assert gg.unstack(np.zeros((0, 2))) == () == gg.unstack(gg.zeros((2, 0)), axis=1)


def test_widths_of_pads_are_numpys(x):
    for width in (1, [1], [1, 2], [[1, 2]], [[1]], [[1], [2]], [[0, 1], [2, 0]]):
        expected = np.pad(x.numpy(), width, constant_values=2)
        assert gg.pad(x, width, constant_values=2).tolist() == expected.tolist()


def test_meshgrid_sparse():
    a, b = gg.meshgrid(gg.arange(3), gg.arange(2), sparse=True)
    assert a.shape == (1, 3) and b.shape == (2, 1)


BAD = {
    "reshape: cannot reshape array of size 12": (ValueError, lambda x: gg.reshape(x, (5, -1))),
    "permute_dims: ": (ValueError, lambda x: gg.permute_dims(x, (0, 2))),
    "swapaxes: ": (ValueError, lambda x: gg.swapaxes(x, 0, 2)),
    "matrix_transpose: ": (ValueError, lambda x: gg.matrix_transpose(x[0])),
    "moveaxis: axis 5 is out of bounds for an array of 2 axes": (ValueError, lambda x: gg.moveaxis(x, 0, 5)),
    "moveaxis: 2 axes to move, and 1 places for them": (ValueError, lambda x: gg.moveaxis(x, (0, 1), 0)),
    "squeeze: cannot select an axis": (ValueError, lambda x: gg.squeeze(x, axis=0)),
    "expand_dims: ": (ValueError, lambda x: gg.expand_dims(x, 5)),
    "broadcast_to: ": (ValueError, lambda x: gg.broadcast_to(x, (5, 4))),
    "broadcast_arrays: the shapes (3, 4), (3,)": (ValueError, lambda x: gg.broadcast_arrays(x, gg.ones(3))),
    "flip: axis 2 is out of bounds": (ValueError, lambda x: gg.flip(x, axis=2)),
    "roll: axis 2 is out of bounds": (ValueError, lambda x: gg.roll(x, 1, axis=2)),
    "roll: a shift is an integer": (TypeError, lambda x: gg.roll(x, 1.5)),
    "rot90: axis (0, 0) names an axis twice": (ValueError, lambda x: gg.rot90(x, 1, (0, 0))),
    "rot90: two axes": (ValueError, lambda x: gg.rot90(x[None], 1, (0, 1, 2))),
    "tile: repetitions are integers from 0 on, not -1": (ValueError, lambda x: gg.tile(x, -1)),
    "concat: needs at least one tensor": (ValueError, lambda x: gg.concat([])),
    "concat: all the input array dimensions": (ValueError, lambda x: gg.concat([x, x[:, :2]])),
    "stack: arrays have one shape, not (3, 4) and (4,)": (ValueError, lambda x: gg.stack([x, x[0]])),
    "stack: axis 4 is out of bounds": (ValueError, lambda x: gg.stack([x, x], axis=4)),
    "split: 3 elements along axis 0 do not make 2 equal parts": (ValueError, lambda x: gg.split(x, 2)),
    "split: sizes [1, 1] do not add up to 3": (ValueError, lambda x: gg.split(x, [1, 1])),
    "unstack: axis 2 is out of bounds": (ValueError, lambda x: gg.unstack(x, axis=2)),
    "pad: -1 is not a pair of numbers from 0 on for each of 2 axes": (ValueError, lambda x: gg.pad(x, -1)),
    "reshape: a shape is an integer or several, not 2.0": (TypeError, lambda x: gg.reshape(x, 2.0)),
    "broadcast_to: a shape is an integer or several, not 2.0": (TypeError, lambda x: gg.broadcast_to(x, 2.0)),
    "pad: an array of int32 cannot hold values of float32": (
        TypeError, lambda x: gg.pad(gg.tensor([1]), 1, constant_values=1.5)),
    "pad: an array of float32 cannot hold values of complex": (
        TypeError, lambda x: gg.pad(gg.tensor([1.0]), 1, constant_values=1j)),
    "pad: 300 is out of range for uint8": (
        OverflowError, lambda x: gg.pad(gg.tensor([1], "uint8"), 1, constant_values=300)),
    "pad: constant_values are numbers, of no gradient": (
        TypeError, lambda x: gg.pad(x, 1, constant_values=gg.tensor(1.0, requires_grad=True))),
    "pad: 1.5 is not a pair": (ValueError, lambda x: gg.pad(x, 1.5)),
    "pad: mode is one of": (ValueError, lambda x: gg.pad(x, 1, "mean")),
    "pad: reflect makes at most 2 elements of axis 0": (ValueError, lambda x: gg.pad(x, 3, "reflect")),
    "pad: wrap makes at most 0 elements of axis 0": (ValueError, lambda x: gg.pad(x[:0], 1, "wrap")),
    "diag: x has one axis or two, not 3": (ValueError, lambda x: gg.diag(x[None])),
    "diag_embed: x has at least one axis": (ValueError, lambda x: gg.diag_embed(x[0, 0])),
    "diagonal: axis (1, -1) names an axis twice": (ValueError, lambda x: gg.diagonal(x, 0, 1, -1)),
    "trace: axis 1 is out of bounds for an array of 1 axes": (ValueError, lambda x: gg.trace(x[0])),
    "tril: x has at least one axis; of a vector": (ValueError, lambda x: gg.tril(x[0, 0])),
    "meshgrid: indexing is 'xy' or 'ij', not 'yx'": (ValueError, lambda x: gg.meshgrid(x, indexing="yx")),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_input(x, message):
    kind, f = BAD[message]
    with pytest.raises(kind) as caught:
        f(x)
    assert message in str(caught.value)
