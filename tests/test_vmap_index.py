"""vmap: indices and integers of each example's own."""

import numpy as np
import pytest
from vmapped import grad, rows, same

import gpugrad as gg
import gpugrad.torch as torch
from gpugrad import nn
from gpugrad.vmap import vmap

RNG = np.random.default_rng(0)


def drawn(*shape, dtype=np.float32):
    return gg.tensor(RNG.standard_normal(shape).astype(dtype))


# ---------------------------------------------------------------------------------------------- indices
KEYS = {
    "first": lambda i, j: i,
    "second": lambda i, j: (slice(None), i),
    "last": lambda i, j: (..., i),
    "two": lambda i, j: (i, j),
    "apart": lambda i, j: (i, slice(None), j),
    "apart by dots": lambda i, j: (i, ..., j),
    "new before": lambda i, j: (None, i),
    "new after": lambda i, j: (slice(1, 3), i, None),
    "with a number": lambda i, j: (slice(None), i, 1),
    "with a number apart": lambda i, j: (0, slice(None), i),
    "with one for all": lambda i, j: (slice(None), i, np.array([2, 0])),
    "one for all apart": lambda i, j: (np.array([2, 0]), slice(None), np.array([1, 1])),
    "one for all": lambda i, j: (slice(None), np.array([[1], [2]])),
    "a mask for all": lambda i, j: (slice(None), np.array([True, False, True])),
    "a mask for all and one": lambda i, j: (np.array([True, True, False]), i),
    "a matrix": lambda i, j: (slice(None), gg.stack([i, j])),
    "a number of each": lambda i, j: (i[0], slice(None), j[1]),
}


@pytest.mark.devices
@pytest.mark.parametrize("name", KEYS)
def test_an_index_of_each_example(name):
    key = KEYS[name]
    x, i, j = drawn(4, 3, 3, 3, dtype=np.float64), gg.tensor(RNG.integers(-3, 3, (4, 2))), gg.tensor([[0, 2]] * 4)
    same(vmap(lambda a, i, j: a[key(i, j)])(x, i, j), rows(lambda a, i, j: a[key(i, j)], x, i, j), 1e-12)
    f = lambda a, i, j: gg.sum(a[key(i, j)] ** 2)
    same(vmap(grad(f))(x, i, j), rows(grad(f), x, i, j), 1e-12)
    shared = x[0]
    g = lambda x, i, j: gg.cos(x)[key(i, j)]
    same(vmap(g, in_axes=(None, 0, 0))(shared, i, j), rows(lambda i, j: g(shared, i, j), i, j), 1e-12)
    loss = lambda x: gg.sum(vmap(g, in_axes=(None, 0, 0))(x, i, j) ** 2)
    same(grad(loss)(shared), grad(lambda x: gg.sum(rows(lambda i, j: g(x, i, j), i, j) ** 2))(shared), 1e-12)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("change", ["set", "add", "max"])
def test_changes_at_an_index_of_each_example(name, change):
    key = KEYS[name]
    x, i, j = drawn(4, 3, 3, 3, dtype=np.float64), gg.tensor([[0, 2], [1, 0], [2, 1], [1, 1]]), gg.tensor([[2, 0]] * 4)
    v = drawn(4, dtype=np.float64)  # of elements named twice the last is set
    f = lambda a, i, j, v: getattr(a.at[key(i, j)], change)(v * a[key(i, j)])
    same(vmap(f)(x, i, j, v), rows(f, x, i, j, v), 1e-12)
    loss = lambda a, *more: gg.sum(f(a, *more) ** 2)
    same(vmap(grad(loss))(x, i, j, v), rows(grad(loss), x, i, j, v), 1e-12)
    plain = lambda a, i, j: getattr(a.at[key(i, j)], change)(2.0)
    same(vmap(plain)(x, i, j), rows(plain, x, i, j), 1e-12)


@pytest.mark.devices
@pytest.mark.parametrize("name", KEYS)
def test_an_index_of_a_vmap_around(name):
    """Of arrays that are the same for all there."""
    key = KEYS[name]
    x, i, j = drawn(2, 3, 3, 3, dtype=np.float64), gg.tensor(RNG.integers(-3, 3, (4, 2))), gg.tensor([[0, 2]] * 4)
    for f in (lambda a, i, j: a[key(i, j)] ** 2, lambda a, i, j: a.at[key(i, j)].add(1.0)):
        whole = lambda i, j, f=f: gg.stack([f(x[k], i, j) for k in range(2)])
        same(vmap(lambda i, j, f=f: vmap(lambda a: f(a, i, j))(x))(i, j), rows(whole, i, j), 1e-12)
        g = grad(lambda a, i, j, f=f: gg.sum(f(a, i, j)))
        whole = lambda i, j, g=g: gg.stack([g(x[k], i, j) for k in range(2)])
        same(vmap(lambda i, j, g=g: vmap(lambda a: g(a, i, j))(x))(i, j), rows(whole, i, j), 1e-12)


@pytest.mark.devices
@pytest.mark.parametrize(
    "f",
    [
        lambda a: gg.sort(a),
        lambda a: gg.topk(a, 2)[0],
        lambda a: gg.cummax(a, axis=0)[0],
        lambda a: nn.adaptive_max_pool1d(a[None], 2),
        lambda a: nn.max_pool1d(a[None], 2, return_indices=True)[1] * a[0],
        lambda a: gg.median(a),
        lambda a: gg.argmax(a, keepdims=True) * a,
    ],
)
def test_places_that_two_vmaps_find(f):
    x, loss = drawn(2, 3, 6, dtype=np.float64), lambda a: gg.sum(f(a) ** 2)
    for g in (f, grad(loss)):
        same(vmap(vmap(g))(x), gg.stack([rows(g, x[i]) for i in range(2)]), 1e-12)


WITHIN = {
    "vmap": lambda f: lambda a: vmap(f)(gg.stack([a, a * 2])),
    "jacfwd": gg.jacfwd,
    "hessian": lambda f: gg.hessian(lambda a: gg.sum(f(a))),
    "laplacian": lambda f: lambda a: gg.laplacian(f, a),
}


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("f", [lambda a, i: a[i] ** 3, lambda a, i: gg.sort(a) ** 3, lambda a, i: a.at[i].set(2.0) * a])
def test_an_index_of_each_example_inside_another_transformation(within, f):
    """An index of the outer level, into what only the inner one has examples of."""
    x, i = drawn(3, 4, dtype=np.float64), gg.tensor([2, 0, 2])
    g = lambda a, i: WITHIN[within](lambda a: f(a, i))(a)
    same(vmap(g)(x, i), rows(g, x, i), 1e-12)
    shared = x[0]
    same(vmap(g, in_axes=(None, 0))(shared, i), rows(lambda i: g(shared, i), i), 1e-12)


OUT_OF_RANGE = {
    "take": lambda a, i: gg.take(a, i, axis=1),
    "index": lambda a, i: a[:, i],
    "take_along_axis": lambda a, i: gg.take_along_axis(a, i[None], axis=1),
    "gather_nd": lambda a, i: gg.gather_nd(a, gg.stack([i * 0, i], -1)),
    "set": lambda a, i: a.at[:, i].set(1.0),
    "one_hot": lambda a, i: gg.one_hot(i, 3),
    "segment_sum": lambda a, i: gg.segment_sum(a[:2], i, 3),
    "embedding": lambda a, i: nn.embedding(i, a.T),
    "cross_entropy": lambda a, i: nn.cross_entropy(a[:2], i),
    "nll_loss": lambda a, i: nn.nll_loss(a[:2], i),
    "multi_margin_loss": lambda a, i: nn.multi_margin_loss(a[:2], i),
    "ctc_loss": lambda a, i: nn.ctc_loss(a[:, None], i[None], [4], [2]),
    "gather": lambda a, i: torch.gather(a, 1, gg.stack([i, i])),
}


@pytest.mark.parametrize("wrong", [9, 3, -1, -9])
@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_an_index_that_is_wrong_in_one_example(name, wrong):
    """Is the same error; an example has nothing of its neighbours'."""
    f, x, i = OUT_OF_RANGE[name], drawn(3, 4, 3, dtype=np.float64), gg.tensor([[1, 2], [1, wrong], [2, 1]])
    try:
        want = rows(f, x, i)
    except (IndexError, ValueError) as e:
        for g in (f, grad(lambda a, i: gg.sum(f(a, i)))):
            with pytest.raises(type(e)):
                vmap(g)(x, i)
            with pytest.raises(type(e)):
                vmap(lambda i, g=g: g(x[0], i))(i)
    else:
        same(vmap(f)(x, i), want)


def test_probabilities_and_variances_of_each_are_looked_at():
    p = gg.tensor([[0.5, 0.5], [0.5, 1.5]])
    with pytest.raises(ValueError, match="allowed are probabilities"):
        vmap(lambda p: nn.binary_cross_entropy(p, p * 0))(p)
    with pytest.raises(ValueError, match="a negative entry"):
        vmap(lambda p: nn.gaussian_nll_loss(p, p, 1 - p))(p)


def test_products_at_an_index_of_each_example_are_refused():
    with pytest.raises(TypeError, match="at.multiply: .*a number is asked for"):
        vmap(lambda a, i: a.at[i].multiply(2.0))(drawn(3, 4), gg.tensor([[0], [1], [2]]))


@pytest.mark.parametrize(
    "f",
    [
        lambda a, i: gg.take(a, i, axis=1),
        lambda a, i: gg.take_along_axis(a, i[:, None], axis=0),
        lambda a, i: gg.one_hot(i, 3) @ a,
        lambda a, i: gg.masked_fill(a, a > 0, 7.0),
        lambda a, i: gg.where(a > a[0], a, i[0]),
        lambda a, i: nn.cross_entropy(a[:2], i),
        lambda a, i: nn.nll_loss(nn.log_softmax(a[:2], axis=-1), i),
        lambda a, i: nn.embedding(i, a),
        lambda a, i: gg.roll(a, 1) + gg.roll(a, (1, 2), axis=(0, -1)),
        lambda a, i: gg.clip(a, a[0], a[1]),
        lambda a, i: gg.clip(a, np.array([-0.1, 0.0, 0.1]), 0.5) + gg.clip(a[0, 0], np.array([0.1, 0.2, 0.3]), 0.5),
        lambda a, i: gg.pad(a, ((1, 0), (0, 2)), constant_values=((1, 2), (3, 4))),
        lambda a, i: gg.tril(a) + gg.triu(a[0]),
        lambda a, i: gg.squeeze(a[:1]) + gg.squeeze(a[:1], axis=0),
        lambda a, i: gg.broadcast_to(a[0], (2, 3, 3)),
        lambda a, i: gg.concat([a, gg.ones((1, 3), dtype="float64")], axis=-2),
        lambda a, i: gg.stack([a[0], gg.zeros(3, dtype="float64")], axis=-1),
        lambda a, i: gg.split(a, [1, 2], axis=-1)[1],
        lambda a, i: gg.searchsorted(gg.tensor([-1.0, 0.0, 1.0]), a),
        lambda a, i: gg.max(a, axis=(0, 1)) + gg.argmax(a) + gg.argmin(a, axis=-1, keepdims=True),
        lambda a, i: gg.sum(a[0, 0], axis=0) + nn.softmax(a[0, 0], axis=0),
        lambda a, i: a.T @ a[0],
    ],
)
def test_functions_with_integers_and_axes(f):
    x, i = drawn(4, 3, 3, dtype=np.float64), gg.tensor(RNG.integers(0, 3, (4, 2)))
    same(vmap(f)(x, i), rows(f, x, i), 1e-10)
    same(vmap(f, in_axes=(2, 1))(gg.moveaxis(x, 0, 2), gg.moveaxis(i, 0, 1)), rows(f, x, i), 1e-10)


def test_masks_that_select_different_numbers_are_refused():
    x = gg.tensor([[1.0, -1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match=r"of shape \(1,\) in one and \(2,\) in another: .* write gg.where"):
        vmap(lambda a: a[a > 0])(x)
    same(vmap(lambda a: a[a > 0])(abs(x)), abs(x))
