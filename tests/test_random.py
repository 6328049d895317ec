"""Random numbers: what repeats and what does not, distributions, gradients to their parameters, errors."""

import json
import pickle
import threading
from copy import deepcopy

import numpy as np
import pytest
from scipy import stats

import gpugrad as gg
from gpugrad import nn
from gpugrad.dtypes import bfloat16
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices
r = gg.random
N = 20_000

DRAWS = {
    "normal": r.normal, "truncated_normal": r.truncated_normal, "uniform": r.uniform, "exponential": r.exponential,
    "gumbel": r.gumbel, "laplace": r.laplace, "randint": lambda shape, **o: r.randint(-3, 1000, shape, **o),
    "permutation": lambda shape, **o: r.permutation(int(np.prod(shape)), **o),
    "bernoulli": lambda shape, **o: r.bernoulli(0.3, shape, **o),
    "gamma": lambda shape, **o: r.gamma(2.5, shape, **o), "beta": lambda shape, **o: r.beta(2.0, 3.0, shape, **o),
    "categorical": lambda shape, **o: r.categorical([0.0, 1.0, 2.0], shape, **o),
    "choice": lambda shape, **o: r.choice(100, shape, **o),
    "shuffle": lambda shape, **o: r.shuffle(gg.arange(100), **o),
    "dropout": lambda shape, **o: nn.dropout(gg.ones(shape), 0.5, **o),
}  # fmt: skip
each = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


# ---------------------------------------------------------------- what repeats
@each
def test_the_same_seed_gives_the_same_numbers(draw):
    take = lambda **o: draw((50,), **o).numpy().tobytes()
    r.seed(3)
    first, second, stream = take(), take(), take(seed=7)
    assert len({first, second, stream}) == 3
    r.seed(3)
    assert [take(seed=7), take(), take()] == [stream, first, second]
    r.seed(4)
    assert take() != first
    a, b = r.Generator(3), r.Generator(3)
    assert take(generator=a) == take(generator=b) == first != take(generator=a)


@each
def test_a_state_is_plain_numbers_that_bring_the_stream_back(draw):
    take = lambda **o: draw((20,), **o).numpy().tobytes()
    r.seed(1)
    take(), take(seed=2)
    state = json.loads(json.dumps(r.get_state()))
    expected = [take(), take(seed=2), take()]
    r.set_state(state)
    assert [take(), take(seed=2), take()] == expected
    g = r.Generator()
    take(generator=g)
    h = r.Generator()
    h.set_state(g.get_state())
    copies = [h, deepcopy(g), pickle.loads(pickle.dumps(g))]
    assert {take(generator=c) for c in copies} == {take(generator=g)}


def test_other_threads_and_devices_do_not_matter():
    take = lambda **o: r.normal((5,), **o).tolist()
    r.seed(1)
    expected = [take(), take()]
    r.seed(1)
    assert take() == expected[0]
    thread = threading.Thread(target=lambda: (r.seed(1), take()))
    thread.start()
    thread.join()
    if gg.default_device() != "cpu":
        take(device="cpu")
    assert take() == expected[1]


def test_no_two_draws_share_numbers():
    """One counter, many draws: of each kind, of dropout among them."""
    r.seed(0)
    seen = np.concatenate([r.uniform((1000,), dtype="float64").numpy() for _ in range(20)])
    seen = np.concatenate([seen, *[r.uniform((100,), dtype="float64", seed=s).numpy() for s in range(20)]])
    assert len(np.unique(seen)) == len(seen)
    before = r.get_state()["draws"]
    nn.dropout(gg.ones(1001), 0.5)
    after = r.get_state()["draws"]
    name = str(gg.default_device())
    assert after[name] == before[name] + 251  # an offset for each four elements


def test_unseeded_generators_differ():
    assert len({r.Generator().get_state()["key"] for _ in range(10)}) == 10


def test_seeds_of_all_sizes_differ():
    g = r.Generator(0)
    keys = [r.Generator(s).get_state()["key"] for s in (0, 1, -1, 2**32, 2**32 + 1, 2**63)]
    keys += [g.fork(*numbers).get_state()["key"] for numbers in [(0,), (0, 0), (1,), (0, 1), (2**32,), (2**32, 0)]]
    assert len(set(keys)) == len(keys)


def test_forks_depend_on_their_numbers_alone():
    g = r.Generator(5)
    first = r.normal((3,), generator=g.fork(1)).tolist()
    r.normal((3,), generator=g)
    assert r.normal((3,), generator=g.fork(1)).tolist() == first
    assert r.normal((3,), generator=r.Generator(5).fork(1)).tolist() == first
    others = [g.fork(2), g.fork(1, 0), g.fork(1).fork(1), *g.split(2), *g.split(2), g, *r.split(1)]
    assert len({tuple(r.normal((3,), generator=h).tolist()) for h in others} | {tuple(first)}) == len(others) + 1
    assert r.normal((2,), seed=1, generator=g.fork(1)).tolist() != r.normal((2,), seed=1, generator=g.fork(2)).tolist()


def test_threads_that_share_a_generator_never_get_the_same_numbers():
    g, found = r.Generator(0), []
    work = lambda: found.extend([r.uniform(dtype="float64", generator=g).item() for _ in range(200)])
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(found)) == 800


# ---------------------------------------------------------------- distributions
CONTINUOUS = {
    "normal": (lambda **o: r.normal((N,), 1.0, 2.0, **o), stats.norm(1, 2)),
    "truncated_normal": (lambda **o: r.truncated_normal((N,), 1.0, 2.0, **o), stats.truncnorm(-2, 2, 1, 2)),
    "uniform": (lambda **o: r.uniform((N,), -1, 3, **o), stats.uniform(-1, 4)),
    "exponential": (lambda **o: r.exponential((N,), 2.0, **o), stats.expon(scale=2)),
    "gumbel": (lambda **o: r.gumbel((N,), 1.0, 2.0, **o), stats.gumbel_r(1, 2)),
    "laplace": (lambda **o: r.laplace((N,), 1.0, 2.0, **o), stats.laplace(1, 2)),
    "gamma": (lambda **o: r.gamma(2.5, (N,), 2.0, **o), stats.gamma(2.5, scale=2)),
    "gamma small": (lambda **o: r.gamma(0.3, (N,), **o), stats.gamma(0.3)),
    "beta": (lambda **o: r.beta(2.0, 0.7, (N,), **o), stats.beta(2, 0.7)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("draw, law", CONTINUOUS.values(), ids=CONTINUOUS)
def test_distribution(draw, law, dtype):
    x = draw(dtype=dtype, generator=r.Generator(11)).numpy()
    assert x.dtype == dtype and x.shape == (N,)
    x = x.astype(np.float64)
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    assert abs(x.mean() - law.mean()) < 5 * law.std() / np.sqrt(N)
    assert abs(np.corrcoef(x[::2], x[1::2])[0, 1]) < 0.05 and abs(np.corrcoef(x[: N // 2], x[N // 2 :])[0, 1]) < 0.05


def test_discrete_distributions():
    fits = lambda found, expected: stats.chisquare(found, np.asarray(expected) * found.sum()).pvalue > 1e-3
    g = r.Generator(12)
    x = r.randint(-3, 7, (N,), generator=g).numpy()
    assert x.dtype == np.int64 and fits(np.bincount(x + 3), np.full(10, 0.1))
    x = r.bernoulli(0.3, (N,), generator=g).numpy()
    assert x.dtype == np.float32 and fits(np.bincount(x.astype(int)), [0.7, 0.3])
    p = np.array([0.1, 0.2, 0.0, 0.7])
    with np.errstate(divide="ignore"):
        logits = np.log(p)
    for x in (r.categorical(logits, N, generator=g), r.choice(4, N, p=p, generator=g)):
        found = np.bincount(x.numpy(), minlength=4)
        assert found[2] == 0 and fits(found[[0, 1, 3]], p[[0, 1, 3]])
    x = np.stack([r.choice(4, 2, replace=False, p=p, generator=g).numpy() for _ in range(500)])
    assert (x[:, 0] != x[:, 1]).all() and not (x == 2).any() and fits(np.bincount(x[:, 0])[[0, 1, 3]], p[[0, 1, 3]])
    x = np.stack([r.permutation(3, generator=g).numpy() for _ in range(1200)])
    assert fits(np.unique(x @ [9, 3, 1], return_counts=True)[1], np.full(6, 1 / 6))
    assert sorted(r.choice(10, 10, replace=False, generator=g).tolist()) == list(range(10))


def test_what_has_no_probability_is_never_chosen():
    p = np.array([0.0, 1e-300, 1.0, 0.0, 2.0, 0.0])
    g = r.Generator(0)
    with np.errstate(divide="ignore"):
        logits = np.log(p)
    for x in (r.choice(6, N, p=p, generator=g), r.categorical(logits, N, generator=g)):
        found = np.bincount(x.numpy(), minlength=6)
        assert not found[[0, 1, 3, 5]].any() and abs(found[4] / N - 2 / 3) < 0.02
    assert sorted(r.choice(6, 3, False, p, generator=g).tolist()) == [1, 2, 4]
    assert r.categorical(logits, generator=g).shape == ()


def test_doubles_do_not_tie_in_the_tail():
    x = r.exponential((1_000_000,), 1e8, "float64", generator=r.Generator(1)).numpy()
    assert len(np.unique(x)) == x.size and x.min() > 0
    assert r.categorical(gg.zeros((2, 1000)), (3,), generator=r.Generator(1)).shape == (3, 2)


def test_shapes_of_choices():
    logits = gg.tensor(np.zeros((2, 3, 5)))
    assert r.categorical(logits).shape == (2, 3) and r.categorical(logits, (4,), axis=1).shape == (4, 2, 5)
    x = gg.tensor(np.arange(12.0).reshape(4, 3))
    assert r.choice(x, (2, 2)).shape == (2, 2, 3) and r.choice(x, axis=1).shape == (4,)
    assert sorted(r.shuffle(x, axis=1)[0].tolist()) == [0, 1, 2]
    assert r.bernoulli(gg.tensor([[0.0], [1.0]]), (2, 3)).tolist() == [[0] * 3, [1] * 3]


@pytest.mark.parametrize("dtype", [np.float16, bfloat16, np.float32, np.float64])
def test_dtypes(dtype):
    g = r.Generator(1)
    for draw in (r.normal, r.uniform, r.truncated_normal, r.exponential, r.gumbel, r.laplace):
        assert draw((3,), dtype=dtype, generator=g).dtype == dtype
    assert r.gamma(2.0, (3,), dtype=dtype).dtype == r.bernoulli(0.5, (3,), dtype=dtype).dtype == dtype
    x = r.uniform((100_000,), dtype=dtype, generator=g).numpy().astype(np.float64)
    assert 0 <= x.min() and x.max() < 1  # no number of a half type is rounded up to 1
    mean = gg.tensor([1.0, 2.0], dtype=dtype)
    assert r.normal((3, 2), mean, 0.5).dtype == dtype and r.normal((3, 2), mean, dtype="float64").dtype == np.float64
    for low, high in ((1.0, 2.0), (-2.0, -1.0), (gg.tensor(3.0, dtype), gg.tensor(4.0, dtype))):
        x = r.uniform((100_000,), low, high, dtype, generator=g).numpy()
        assert float(low) <= x.min() and x.max() < float(high)
    assert r.uniform((2,), 1.0, 1.0, dtype).tolist() == [1, 1]
    x = r.uniform((5,), 0, 10, dtype="int32")
    assert x.dtype == np.int32
    x = r.randint(-128, 127, (5000,), dtype="int8", endpoint=True, generator=g).numpy()
    assert x.dtype == np.int8 and x.min() == -128 and x.max() == 127


# ---------------------------------------------------------------- gradients
A, B = np.array([[0.5], [2.0]]), np.array([1.5, 0.7, 2.5])
REPARAMETERISED = {
    "normal": lambda a, b, g: r.normal((2, 3), a, b, generator=g),
    "truncated_normal": lambda a, b, g: r.truncated_normal(mean=a, std=b, generator=g),
    "uniform": lambda a, b, g: r.uniform((), -a, b, generator=g),
    "gumbel": lambda a, b, g: r.gumbel((4, 2, 3), a, b, generator=g),
    "laplace": lambda a, b, g: r.laplace((), a, b, generator=g),
    "exponential": lambda a, b, g: r.exponential((), a * b, generator=g),
    "gamma": lambda a, b, g: r.gamma(a, (2, 3), b, generator=g), "beta": lambda a, b, g: r.beta(a, b, generator=g),
    "shuffle": lambda a, b, g: r.shuffle(a * b, 1, generator=g),
    "choice": lambda a, b, g: r.choice(a * b, (2,), axis=1, generator=g),
}  # fmt: skip


@pytest.mark.parametrize("draw", REPARAMETERISED.values(), ids=REPARAMETERISED)
def test_gradients_to_parameters(draw):
    check_grads(lambda a, b: draw(a, b, r.Generator(2)), [A, B])


def test_tails_of_gamma_and_beta():
    """A small shape makes numbers below the smallest float: they are 0, beta is 0 or 1 then, no gradient is NaN."""
    g = r.Generator(5)
    x = r.beta(0.01, 0.01, (2000,), generator=g).numpy()
    assert 0.45 < x.mean() < 0.55 and 0.95 < ((x < 0.01) | (x > 0.99)).mean()
    a = gg.tensor(np.full(2000, 0.05, np.float32), requires_grad=True)
    for x in (r.gamma(a, generator=g), r.gamma(a, dtype="float16", generator=g), r.beta(a, 0.02, generator=g)):
        assert np.isfinite(gg.grad(gg.sum(x), a)[0].numpy()).all() and np.isfinite(x.numpy()).all()
    assert len(np.unique(r.gamma(0.5, (5000,), dtype="bfloat16", generator=g).numpy())) > 1000


def test_what_jumps_has_no_gradient():
    x = gg.tensor([0.3, 0.6], requires_grad=True)
    assert r.bernoulli(x).node is None and r.categorical(x).node is None
    with gg.GradientTape(explain=True) as tape:
        tape.watch(x)
        y = gg.sum(r.bernoulli(x))
    assert tape.gradient(y, x) is None


# ---------------------------------------------------------------- errors
def test_errors():
    x = gg.tensor([0.5, -1.0])
    cases = [
        (lambda: r.normal((2,), std=-1), "normal: std must be 0 or more, given -1"),
        (lambda: r.uniform((2,), 2, 1), "uniform: low must not be above high"),
        (lambda: r.randint(3, 3), "randint: low must be below high"),
        (lambda: r.gamma(0.0), "gamma: a must be above 0, given 0.0"),
        (lambda: r.bernoulli(1.5), "bernoulli: p is a probability, from 0 to 1, given 1.5"),
        (lambda: r.categorical(gg.ones((2, 0))), "categorical: there is nothing to choose from"),
        (lambda: r.categorical([[1.0]], axis=3), "categorical: axis 3 is out of bounds"),
        (lambda: r.choice([[1.0]], axis=3), "choice: axis 3 is out of bounds"),
        (lambda: r.shuffle([[1.0]], axis=4), "shuffle: axis 4 is out of bounds"),
        (lambda: r.shuffle(1.0), "shuffle: axis 0 is out of bounds for an array of 0 axes"),
        (lambda: r.permutation(-1), "permutation: n is a number from 0 on, not -1"),
        (lambda: nn.dropout(x, 1.0), "dropout: rate is a number from 0 to below 1"),
        (lambda: r.choice(3, 4, replace=False), "choice: 4 of 3 without any twice"),
        (lambda: r.choice(3, 2, p=[0.5, 0.5]), r"choice: p has shape \(2,\), there are 3"),
        (lambda: r.set_state({"key": 1}), "set_state: takes what get_state answered"),
        (lambda: r.Generator(0).fork(), "fork: give a number"),
        (lambda: r.normal((3,), x), "shape mismatch"),
    ]
    cases += [
        (lambda: r.uniform((2,), 0, 1000, dtype="uint8"), r"uniform: uint8 does not hold all of 0 \.\. 999"),
        (lambda: r.randint(0, 129, dtype="int8"), r"randint: int8 does not hold all of 0 \.\. 128"),
        (lambda: r.randint(-1, 5, dtype="uint64"), "randint: uint64 does not hold all of -1"),
        (lambda: r.beta(1.0, 0.0), "beta: b must be above 0, given 0.0"),
    ]
    if gg.default_device() == "cpu":  # a GPU is not waited for
        for p in ([-1.0, 1, 1], [np.nan, 1, 1], [0.0, 0, 0], [np.inf, 1, 1]):
            cases += [(lambda p=p: r.choice(3, 1, p=p), "choice: p is finite, from 0 on and not all 0")]
        cases += [(lambda: r.choice(3, 2, False, [1.0, 0, 0]), "choice: 2 of 1 without any twice")]
        for z in ([np.nan, 0.0], [-np.inf, -np.inf], [[0.0, 0], [np.nan, 0]], [[0.0, 0], [-np.inf] * 2], [np.inf, 0]):
            cases += [(lambda z=z: r.categorical(z), "categorical: the largest of the logits is a finite number")]
        cases += [(lambda: r.normal((2,), 0.0, x), "normal: std must be 0 or more, given others")]
        cases += [(lambda: r.exponential((), x), "exponential: scale must be 0 or more")]
    for f, words in cases:
        with pytest.raises(ValueError, match=words):
            f()
    for f, words in [
        (lambda: r.normal((2,), "x"), "normal: cannot take 'x'"),
        (lambda: r.normal((2,), dtype="int32"), "normal: dtype int32 holds no fractions"),
        (lambda: r.gamma(1.0, dtype=bool), "gamma: dtype bool holds no fractions"),
        (lambda: r.randint(0, 2.5), "randint: low and high are integers, given 0 and 2.5"),
        (lambda: nn.dropout(x, gg.tensor(0.5)), "dropout: rate is a number, of no gradient, not a Tensor"),
        (lambda: r.randint(0, 2, dtype="float32"), "randint: dtype float32 is none of integers"),
    ]:
        with pytest.raises(TypeError, match=words):
            f()
    assert_close(r.normal((2,), [1.0, 2.0], 0), [1.0, 2.0])
