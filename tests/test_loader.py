"""Batches of a DataLoader: each element once, in an order that the seed decides, resumed anywhere; what it refuses."""

import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from loader_datasets import Rows, Stream, arrays, plain
from test_courier import AtOnce, Gpu

import gpugrad as gg
from gpugrad.data import (
    ArrayDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

HOST = lambda t: gg.array.to_host(gg.core.raw(t))


KINDS = {"arrays": arrays, "rows": Rows, "stream": Stream}


def place(loader):
    """Its state, but not what its batches are."""
    return {k: v for k, v in loader.state_dict().items() if k in ("seed", "epoch", "batch")}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_left_after_a_resume_is_what_was_left(data):
    kind, n = data.draw(st.sampled_from(sorted(KINDS))), data.draw(st.integers(1, 23))
    size = data.draw(st.one_of(st.none(), st.integers(1, 9)))
    drop = size is not None and size <= n and data.draw(st.booleans())
    shuffle = kind != "stream" and data.draw(st.booleans())
    make = lambda seed: DataLoader(KINDS[kind](n), size, shuffle, drop_last=drop, seed=seed)
    seed, epochs = data.draw(st.integers(0, 2**64 - 1)), 3
    whole = [[plain(b) for b in epoch] for epoch in [make(seed)] * epochs]
    one = make(seed)
    straight = [[plain(b) for b in one] for _ in range(epochs)]
    assert whole[0] == straight[0]
    at, after = data.draw(st.integers(0, epochs - 1)), data.draw(st.integers(0, len(straight[0])))
    stopped, state = make(seed), None
    for _ in range(at):
        list(stopped)
    it = iter(stopped)
    for _ in range(after):
        next(it)
    state = stopped.state_dict()
    assert state == {"seed": seed, "epoch": at, "batch": after, "batch_size": size, "batches": stopped._length()}
    again = make(0)
    again.load_state_dict(state)
    assert [[plain(b) for b in again] for _ in range(epochs - at)] == [straight[at][after:], *straight[at + 1 :]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(0, 5))
def test_each_element_once_an_epoch(n, size, drop, seed):
    if drop and n < size:
        return
    loader = DataLoader(arrays(n), size, shuffle=True, drop_last=drop, seed=seed)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader) == (n // size if drop else -(-n // size))
        seen = [i for _, y in batches for i in y.tolist()]
        assert sorted(seen)[-1] < n and len(set(seen)) == len(seen) == (n - n % size if drop else n)
        for x, y in batches:
            np.testing.assert_array_equal(HOST(x)[:, 0], 2 * HOST(y))
        assert all([len(y) == size for _, y in batches[:-1]])


def test_orders():
    """Each epoch has another, a seed the same, no seed that of this thread's generator."""
    order = lambda loader: [y.tolist() for _, y in loader]
    one, two = DataLoader(arrays(50), 8, True, seed=1), DataLoader(arrays(50), 8, True, seed=1)
    assert (first := order(one)) == order(two) and order(one) != first
    assert order(DataLoader(arrays(50), 8, True, seed=2)) != first
    assert order(DataLoader(arrays(50), 8)) == [list(range(i, min(i + 8, 50))) for i in range(0, 50, 8)]
    found = []
    for _ in range(2):
        gg.random.seed(5)
        before = gg.random.uniform((), device="cpu").tolist()
        gg.random.seed(5)
        found.append(order(DataLoader(arrays(50), 8, True)))
        assert gg.random.uniform((), device="cpu").tolist() == before  # no draw of it is used up
    assert found[0] == found[1]
    g = gg.random.Generator(3)
    assert order(DataLoader(arrays(50), 8, True, generator=g)) != order(DataLoader(arrays(50), 8, True, generator=g))


def test_an_epoch_that_was_left_is_over():
    loader = DataLoader(arrays(10), 4, True, seed=0)
    one, two = (list(map(plain, DataLoader(arrays(10), 4, True, seed=0))) for _ in range(2))
    assert one == two
    for b in loader:
        assert plain(b) == one[0]
        break
    assert plain(next(iter(loader))) != one[0]
    assert place(loader) == {"seed": 0, "epoch": 1, "batch": 1}
    a, b = iter(loader), iter(loader)
    assert plain(next(a)) != plain(next(b))
    next(a)
    assert place(loader) == {"seed": 0, "epoch": 3, "batch": 1}  # where the last one is


def test_random_numbers_outside_are_left_alone():
    gg.random.seed(1)
    np.random.seed(1)
    expected = gg.random.uniform((), device="cpu").tolist(), np.random.rand()
    gg.random.seed(1)
    np.random.seed(1)
    list(DataLoader(Rows(9), 2, seed=0))
    assert (gg.random.uniform((), device="cpu").tolist(), np.random.rand()) == expected


def test_elements_draw_other_numbers_each_epoch():
    loader = DataLoader(Rows(9), 4, seed=0)
    one, two = (np.concatenate([HOST(b["drawn"][0])[:, 0] for b in loader]) for _ in range(2))
    assert len({*one, *two}) == 18


@pytest.mark.devices
def test_dtypes_and_devices(default_device):
    loader = DataLoader(Rows(5), 4, seed=0)
    batch = next(iter(loader))
    assert batch["x"].dtype == gg.float64 and batch["x"].shape == (4, 3) and batch["i"].dtype == gg.int32
    assert batch["name"] == ["e0", "e1", "e2", "e3"] and batch["none"] is None
    assert str(batch["x"].device).startswith(default_device)
    assert str(next(iter(DataLoader(Rows(5), 4, device="cpu")))["x"].device) == "cpu"
    x = gg.ones((6, 2))  # where new tensors are
    for a, b in DataLoader(TensorDataset(x, gg.arange(6)), 4):
        assert a.device == x.device and b.tolist() in ([0, 1, 2, 3], [4, 5])
    assert [a.tolist() for a, _ in DataLoader(Subset(arrays(9), [4, -1]), 1)] == [[[8.0, 9.0]], [[16.0, 17.0]]]
    both = ConcatDataset([TensorDataset(x), TensorDataset(x * 2)])
    (batch,) = DataLoader(both, batch_sampler=[[1, 11, 0, 6]])
    assert batch[0].tolist() == [[1, 1], [2, 2], [1, 1], [2, 2]] and batch[0].device == x.device


def test_a_batch_is_no_view_of_the_data():
    data = np.zeros((4, 2))
    for (x,) in DataLoader(ArrayDataset(data), 2):
        HOST(x)[...] = 1
    assert not data.any()


def test_named_arrays_and_elements():
    d = ArrayDataset(image=np.ones((3, 2)), label=[1, 2, 3])
    assert d[1]["label"] == 2 and len(d) == 3
    (batch,) = DataLoader(d, 3)
    assert batch["label"].tolist() == [1, 2, 3] and batch["label"].dtype == gg.int32
    assert [plain(e) for e in DataLoader(d, None, True, seed=1)] == [
        plain({k: gg.tensor(v) for k, v in d[i].items()}) for i in DataLoader(d, None, True, seed=1).sampler.order(
            gg.random.Generator(1).fork(0))
    ]  # fmt: skip


def test_pytorchs_ways_to_give_elements():
    class Together(Rows):
        def __getitems__(self, indices):
            return [np.float32(10 * i) for i in indices]

    class Mine(Dataset):
        def __init__(self):
            pass

        def __len__(self):
            return 3

        def __getitem__(self, i):
            return np.float32(i), i

    assert [plain(b) for b in DataLoader(Together(5), 3)] == [[0, 10, 20], [30, 40]]
    assert [plain(b) for b in DataLoader(Mine(), 2)] == [[[0, 1], [0, 1]], [[2], [2]]]
    lists = DataLoader(Mine(), 2, collate_fn=lambda rows: [len(rows), rows[0][0]])
    assert [plain(b) for b in lists] == [[2, 0.0], [1, 2.0]]
    tf = Dataset.range(7).map(lambda i: (i, i * 2))
    assert [plain(b) for b in DataLoader(tf, 3)] == [[[0, 1, 2], [0, 2, 4]], [[3, 4, 5], [6, 8, 10]], [[6], [12]]]
    assert len(DataLoader(tf, 3)) == 3
    nothing = DataLoader(Dataset.from_generator(lambda: iter(())), 3)
    with pytest.raises(ValueError, match="no elements"):
        list(nothing)
    with pytest.raises(TypeError, match="length of this DataLoader is unknown"):
        len(nothing)


# ---------------------------------------------------------------------------------------------- samplers
def test_samplers():
    order = lambda s, seed=0: s.order(gg.random.Generator(seed)).tolist()
    assert order(SequentialSampler(range(4))) == [0, 1, 2, 3]
    assert sorted(order(RandomSampler(range(9)))) == list(range(9))
    assert len(set(order(RandomSampler(range(9), False, 4)))) == 4
    many = order(RandomSampler(range(3), True, 1000))
    assert set(many) == {0, 1, 2} and len(many) == 1000
    assert sorted(order(SubsetRandomSampler([3, 5, 8]))) == [3, 5, 8]
    weights = [0.0, 1.0, 3.0, 0.0]
    found = np.bincount(order(WeightedRandomSampler(weights, 20000)), minlength=4) / 20000
    np.testing.assert_allclose(found, [0, 0.25, 0.75, 0], atol=0.02)
    first = [order(WeightedRandomSampler(weights, 1, False), s)[0] for s in range(400)]
    assert 0.65 < first.count(2) / 400 < 0.85 and set(first) == {1, 2}
    assert sorted(order(WeightedRandomSampler(weights, 2, False))) == [1, 2]
    assert len(list(RandomSampler(range(9)))) == 9
    batches = [plain(b)[1] for b in DataLoader(arrays(9), 2, sampler=[4, 2, 0, 1, 8], drop_last=True)]
    assert batches == [[4, 2], [0, 1]]
    loader = DataLoader(arrays(9), batch_sampler=[[4, 2], [0], [1, 8]])
    next(iter(loader))
    again = DataLoader(arrays(9), batch_sampler=[[4, 2], [0], [1, 8]])
    again.load_state_dict(loader.state_dict())
    assert len(again) == 3 and [plain(b)[1] for b in again] == [[0], [1, 8]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.lists(st.floats(0.05, 1), min_size=1, max_size=5), st.integers(0, 9))
def test_a_split_has_each_element_once(n, shares, seed):
    parts = random_split(arrays(n), [s / sum(shares) for s in shares], seed=seed)
    seen = [int(p[i][1]) for p in parts for i in range(len(p))]
    assert sorted(seen) == list(range(n))
    assert all(abs(len(p) - n * s / sum(shares)) <= 1 for p, s in zip(parts, shares))
    again = random_split(arrays(n), [len(p) for p in parts], seed=seed)
    assert [p.indices.tolist() for p in again] == [p.indices.tolist() for p in parts]


# ---------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: DataLoader(arrays(0)), ValueError, "no batches: 0 elements"),
        (lambda: DataLoader(arrays(3), 4, drop_last=True), ValueError, "no batches: 3 elements, batch_size=4"),
        (lambda: DataLoader(arrays(3), sampler=[]), ValueError, "no batches"),
        (lambda: DataLoader(arrays(3), 0), ValueError, "batch_size is a number from 1"),
        (lambda: DataLoader(arrays(3), 2.5), ValueError, "batch_size is a number from 1"),
        (lambda: DataLoader(arrays(3), None, drop_last=True), ValueError, "no last batch"),
        (lambda: DataLoader(arrays(3), num_workers=-1), ValueError, "num_workers is a number from 0"),
        (lambda: DataLoader(arrays(3), timeout=float("nan")), ValueError, "timeout is a number"),
        (lambda: DataLoader(arrays(3), shuffle=True, sampler=[1]), ValueError, "mutually exclusive"),
        (lambda: DataLoader(arrays(3), 2, batch_sampler=[[1]]), ValueError, "mutually exclusive"),
        (lambda: DataLoader(arrays(3), seed=1, generator=gg.random.Generator(1)), ValueError, "not both"),
        (lambda: DataLoader(Stream(3), shuffle=True), ValueError, "own order"),
        (lambda: DataLoader(Stream(3), num_workers=2), ValueError, "num_workers=1"),
        (lambda: DataLoader(3), TypeError, "has neither"),
        (lambda: ArrayDataset(np.ones(3), np.ones(4)), ValueError, "as many rows"),
        (lambda: ArrayDataset(np.ones(())), ValueError, "as many rows"),
        (lambda: ArrayDataset(), TypeError, "takes arrays"),
        (lambda: ArrayDataset(np.ones(3), y=np.ones(3)), TypeError, "takes arrays"),
        (lambda: Subset(arrays(3), [3]), IndexError, "no element 3: there are 3"),
        (lambda: Subset(arrays(3), [1.0]), IndexError, "whole numbers"),
        (lambda: next(iter(DataLoader(arrays(3), sampler=[7]))), IndexError, "no element 7"),
        (lambda: ConcatDataset([]), ValueError, "empty"),
        (lambda: random_split(arrays(3), [1, 1]), ValueError, "sum to 3"),
        (lambda: random_split(arrays(3), [4, -1]), ValueError, "sum to 3"),
        (lambda: RandomSampler(range(3), num_samples=4), ValueError, "replacement=True"),
        (lambda: WeightedRandomSampler([0.0, 0.0], 1), ValueError, "not all of them 0"),
        (lambda: WeightedRandomSampler([1.0, np.nan], 1), ValueError, "not all of them 0"),
        (lambda: WeightedRandomSampler([1.0, 0.0], 2, False), ValueError, "num_samples=2"),
    ],
)
def test_bad_input(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    "rows, error, words",
    [
        ([np.ones(3), np.ones(3), np.ones(4)], ValueError, r"element 2 has shape \(4,\) where element 0 has \(3,\)"),
        ([np.ones(3), 1.0], ValueError, r"element 1 has shape \(\) where"),
        ([{"a": 1}, {"b": 1}], ValueError, r"element 1 is \{'b': int\}, and element 0 is \{'a': int\}; all .* same"),
        ([(1, 2), (1, 2, 3)], ValueError, r"element 1 is \(int, int, int\), and element 0 is \(int, int\); all"),
        ([None, 1], ValueError, r"element 1 is int, and element 0 is None \(does the dataset's __getitem__ lack"),
        ([np.ones(3), None], ValueError, "element 1 has None where element 0 has ndarray: does the dataset's __get"),
        ([(np.ones(3), 1), (np.ones(3), None)], ValueError, "element 1 has None where element 0 has int: does"),
        ([object(), object()], TypeError, "can't put object"),
        ([1, "a"], TypeError, "int, str"),
        ([np.array([None]), np.array([None])], TypeError, "Python objects"),
    ],
)
def test_elements_that_do_not_fit(rows, error, words):
    with pytest.raises(error, match=words):
        list(DataLoader(rows, len(rows)))


@pytest.mark.parametrize("bad", [{}, None, {"seed": 1, "epoch": 0, "batch": 4}, {"seed": 1, "epoch": -1, "batch": 0},
                                 {"seed": 1.5, "epoch": 0, "batch": 0}])  # fmt: skip
def test_a_foreign_state_changes_nothing(bad):
    loader = DataLoader(arrays(3), seed=3)
    with pytest.raises(ValueError, match="loaded state dict"):
        loader.load_state_dict(bad)
    assert place(loader) == {"seed": 3, "epoch": 0, "batch": 0}


def test_a_loader_that_was_closed():
    with DataLoader(arrays(9), 2) as loader:
        it = iter(loader)
        next(it)
    with pytest.raises(RuntimeError, match="closed"):
        next(it)
    assert len(list(loader)) == 5


# ---------------------------------------------------------------------------------------------- to a GPU
ORDERS = [("late", 0), ("early", 0), *[("random", s) for s in range(10)]]


@pytest.mark.parametrize("order, seed", ORDERS)
def test_the_next_batch_sets_out_while_this_one_is_used(order, seed, monkeypatch):
    """Whatever the streams do, the values are right; memory that is given back meanwhile is somebody else's."""
    gpu = Gpu(order, seed)
    courier = gg.courier.Courier(gpu, 0)
    found, before = [], None
    for i in range(12):
        sent = courier.send(np.full(64, i, np.float32))
        if before is not None:
            x = courier.back(before)
            gpu.total(x, found)
            del x
            gpu.filled(-1.0, 64)  # what is computed with it
        before = sent
    gpu.total(courier.back(before), found)
    gpu.synchronize()
    assert found == [{float(i)} for i in range(12)]


class Fake:
    """A courier that notes what happens."""

    def __init__(self):
        self.log = []

    def send(self, x):
        self.log.append(("send", x[0].item()))
        out = gg.courier.Stowed(x, self, None)
        return out

    def back(self, stowed):
        self.log.append(("back", stowed.array[0].item()))
        return stowed.array


def test_copies_run_one_batch_ahead_and_errors_come_when_they_are_due(host, monkeypatch):
    fake = Fake()
    monkeypatch.setattr(type(host), "courier", lambda self, device: fake, raising=False)

    class Failing(Rows):
        def __getitem__(self, i):
            if i == 3:
                raise KeyError("this one")
            return np.float32(i)

    loader, seen = DataLoader(Failing(5), 1, device="standin"), []
    with pytest.raises(KeyError, match="this one"):
        for b in loader:
            seen.append(b.tolist())
            fake.log.append(("use", b.tolist()[0], loader.state_dict()["batch"]))
    assert seen == [[0], [1], [2]]
    assert fake.log[:7] == [
        ("send", 0), ("send", 1), ("back", 0), ("use", 0, 1), ("send", 2), ("back", 1), ("use", 1, 2),
    ]  # fmt: skip
    fake.log.clear()
    assert [b.tolist() for b in DataLoader(Failing(3), 1, device="standin", pin_memory=False)] == [[0], [1], [2]]
    assert not fake.log


def test_a_front_doors_tensors_are_copied_ahead_too(host, monkeypatch):
    import gpugrad.torch as torch

    fake = Fake()
    monkeypatch.setattr(type(host), "courier", lambda self, device: fake, raising=False)
    x = torch.tensor(np.arange(4, dtype=np.float32), device="cpu")
    for dataset in (gg.data.TensorDataset(x, np.arange(4)), [(torch.tensor(a, device="cpu"), a) for a in range(4)]):
        fake.log.clear()
        batches = list(DataLoader(dataset, 2, device="standin"))
        assert [type(b[0]) for b in batches] == [torch.Tensor] * 2 and type(batches[0][1]) is gg.Tensor
        assert [b[0].tolist() for b in batches] == [[0, 1], [2, 3]] and str(batches[0][0].device) == "standin:0"
        assert [what for what, _ in fake.log] == ["send", "send", "send", "send", "back", "back", "back", "back"]


def test_cupys_arrays():
    pytest.importorskip("cupy")
    import cupy
    import cupyhost

    lib = cupyhost.HostCupy(None)
    names = type("Names", (), {"cuda": AtOnce(), "ndarray": cupy.ndarray})
    with cupyhost.taking_part(lib):
        courier = gg.courier.Courier(names, 0)
        for values in (np.arange(6.0).reshape(2, 3), np.arange(8, dtype=np.int8)[::2]):
            x = courier.back(courier.send(values))
            assert type(x) is cupy.ndarray and x.dtype == values.dtype
            np.testing.assert_array_equal(cupyhost.host(x), values)


class Drawing:
    """Batches, and elements, of NumPy's and Python's own random numbers."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return np.random.rand(), random.random()

    def __getbatch__(self, indices):
        return np.random.rand(len(indices)), np.array([random.random() for _ in indices])


class Subclass(gg.data.ArrayDataset):
    def __getbatch__(self, indices):
        return np.random.rand(len(indices))


def test_all_random_numbers_follow_the_seed():
    draw = lambda rows: np.array([len(rows), np.random.rand(), random.random()])
    for made, options in ((Drawing(), {}), (Subclass(np.arange(6)), {}), (Stream(6), {"collate_fn": draw})):
        before = np.random.get_state()[1].tolist(), random.getstate()
        first, second = ([plain(b) for b in DataLoader(made, 3, seed=0, **options)] for _ in range(2))
        assert first == second and first[0] != first[1]
        assert before == (np.random.get_state()[1].tolist(), random.getstate())


class Nested(Drawing):
    """Elements that go through another loader."""

    def __getitem__(self, i):
        (inner,) = DataLoader(Drawing(), 6, seed=i)
        return np.random.rand(), random.random(), inner[0][0].item()


def test_random_numbers_follow_the_seed_in_a_loader_in_a_loader_and_whatever_numpy_draws_from():
    first, second = ([plain(b) for b in DataLoader(Nested(), 3, seed=0)] for _ in range(2))
    assert first == second
    assert len({x for batch in first for x in batch[0]}) == 6
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(own := np.random.PCG64(1))
    try:
        state = own.state
        assert [plain(b) for b in DataLoader(Nested(), 3, seed=0)] == first
        assert np.random.get_bit_generator() is own and own.state == state
    finally:
        np.random.set_bit_generator(before)


def test_the_programs_numpy_goes_on_with_all_that_its_state_has():
    np.random.seed(0)
    expected = np.random.randn(3).tolist()
    np.random.seed(0)
    first = np.random.randn()  # another one is put aside
    list(DataLoader(Drawing(), 3, seed=0))
    assert [first, *np.random.randn(2)] == expected


def test_the_programs_numpy_is_as_it_was_after_threads_that_overlap():
    """What is entered first ends first: it must not leave the numbers of the one that goes on."""
    inside, ended = threading.Event(), threading.Event()

    class Waiting(Drawing):
        def __init__(self, say, wait):
            self.say, self.wait = say, wait

        def __getbatch__(self, indices):
            self.say.set()
            assert self.wait.wait(20)
            return super().__getbatch__(indices)

    before = np.random.get_bit_generator(), random.getstate(), np.random.get_state()[1:3]
    entered = threading.Event()
    first = threading.Thread(target=lambda: list(DataLoader(Waiting(inside, entered), 6, seed=0)))
    second = threading.Thread(target=lambda: list(DataLoader(Waiting(entered, ended), 6, seed=1)))
    first.start()
    assert inside.wait(20)
    second.start()
    first.join()
    ended.set()
    second.join()
    assert np.random.get_bit_generator() is before[0] and random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2][0]) and np.random.get_state()[2] == before[2][1]


class Numbered(gg.data.Dataset):
    """A class of one's own, with its own length."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        if not 0 <= i < 5:
            raise IndexError(i)
        return np.float32(i)


def test_what_is_made_of_a_dataset_of_ones_own_knows_its_length():
    d = Numbered()
    made = d.map(lambda x: x + 1), d.batch(2), d.repeat(2), d.take(3), d.skip(2), d.enumerate(), d.shuffle(2)
    for each in (*made, gg.data.Dataset.zip(d, d)):
        assert len(each) == len(list(each)) == each.cardinality().item()
    assert len(DataLoader(d.map(lambda x: x), 2)) == 3
    for unknown in (d.repeat(), d.filter(lambda x: x > 1), gg.data.Dataset.from_generator(lambda: iter(()))):
        assert unknown.cardinality().item() == -2
        with pytest.raises(TypeError, match="length is unknown"):
            len(unknown.map(lambda x: x))


def test_a_loader_says_what_was_empty():
    once = DataLoader((i for i in range(4)), 2)
    assert len(list(once)) == 2
    with pytest.raises(ValueError, match="gave no elements: .*gone through only once, as a generator"):
        list(once)
    once = DataLoader(arrays(4), batch_sampler=iter([[0, 1], [2, 3]]))
    assert len(list(once)) == 2
    with pytest.raises(ValueError, match="the sampler gave no numbers; .*only once"):
        list(once)
    with pytest.raises(ValueError, match="gave less than a batch of 8, with drop_last"):
        list(DataLoader(Stream(4), 8, drop_last=True))


def test_a_state_of_other_batches_changes_nothing():
    one = DataLoader(arrays(12), 3, seed=0)
    next(iter(one))
    for other in (DataLoader(arrays(12), 4, seed=1), DataLoader(arrays(13), 3, seed=1)):
        with pytest.raises(ValueError, match="loaded state dict is of a DataLoader with batch"):
            other.load_state_dict(one.state_dict())
        assert place(other) == {"seed": 1, "epoch": 0, "batch": 0}
        other.load_state_dict({**one.state_dict(), "batch": 0})  # between two epochs it does not matter


class Mapped(gg.data.Dataset):
    """A dataset as users of PyTorch write it."""

    def __init__(self, n, inits=True):
        if inits:
            super().__init__()
        self.x = np.arange(n, dtype=np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(i) % 2


class Streamed(gg.data.IterableDataset):
    def __iter__(self):
        return iter(np.arange(5, dtype=np.float32))


@pytest.mark.parametrize("inits", [True, False])
def test_a_class_that_derives_from_dataset(inits):
    d = Mapped(5, inits)
    batches = list(DataLoader(d, 2, shuffle=True, seed=0))
    assert len(batches) == 3 and sorted(x for b in batches for x in b[0].tolist()) == [0, 1, 2, 3, 4]
    assert [float(x) for x, _ in d] == [0, 1, 2, 3, 4]
    assert [x.tolist() for x, _ in d.batch(3)] == [[0, 1, 2], [3, 4]]
    assert [float(x) for x in Streamed().map(lambda x: x + 1).take(2)] == [1, 2]
    assert [b.tolist() for b in DataLoader(Streamed(), 3)] == [[0, 1, 2], [3, 4]]
    with pytest.raises(TypeError, match="Bare needs __len__ and __getitem__, or __iter__"):
        next(iter(type("Bare", (gg.data.Dataset,), {})()))
