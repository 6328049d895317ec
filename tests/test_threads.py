"""Threads of ours for NumPy's work: the same numbers, errors that reach the caller, nothing kept."""

import os
import threading
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.ops import blocks, conv, threads
from gpugrad.testing import assert_close


@pytest.fixture(autouse=True)
def three(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")


def test_every_item_is_done_once_in_several_threads():
    names, done, all_here = set(), [], threading.Barrier(3)

    def work(part):
        all_here.wait(10)
        names.add(threading.get_ident())
        done.extend(part)

    threads.in_threads(work, range(8))
    assert sorted(done) == list(range(8)) and len(names) == 3
    before = threading.active_count()
    threads.in_threads(work, range(8))
    assert threading.active_count() == before  # the same threads again


def test_threads_share_what_is_left():
    names, done, all_here = set(), [], threading.Barrier(3)

    def work(items):
        for i in items:
            names.add(threading.get_ident())
            done.append(i)
            if i < 3:
                all_here.wait(10)  # so each of three threads has one of the first, and nobody more than one

    threads.shared(work, range(8))
    assert sorted(done) == list(range(8)) and len(names) == 3
    with pytest.raises(KeyError, match="one"):
        threads.shared(lambda items: [{}["one"] for _ in items], range(3))
    threads.shared(work, [])


def test_errors_and_errstate():
    def work(part):
        if 1 in part:
            raise KeyError("one")

    with pytest.raises(KeyError, match="one"):
        threads.in_threads(work, range(3))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        threads.in_threads(lambda part: np.exp(np.float32(1000) * part[0]), range(3))


def test_work_may_start_work():
    out = []
    threads.in_threads(lambda part: threads.in_threads(out.extend, part), range(20))
    assert sorted(out) == list(range(20))


def test_nothing_is_kept():
    class Big:
        pass

    def run():
        big = Big()
        threads.in_threads(lambda part: setattr(big, "seen", part), range(3))
        return weakref.ref(big)

    assert run()() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own():
    threads.in_threads(lambda part: None, range(3))
    child = os.fork()
    if not child:
        threads.in_threads(lambda part: None, range(3))
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


X = np.random.default_rng(0).standard_normal((6, 4, 9, 10)).astype(np.float32)
FUNCTIONS = {
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
    "layer_norm": lambda x: nn.layer_norm(x, (10,)),
    "layer_norm affine": lambda x, w, b: nn.layer_norm(x, (10,), w, b),
    "conv2d": lambda x: nn.conv2d(x, gg.tensor(X[:, :, :3, :3])),
    "conv2d weight": lambda w: nn.conv2d(gg.tensor(X), w[:, :, :3, :3], padding=1),
    "conv2d stride": lambda x: nn.conv2d(x, gg.tensor(X[:, :, :3, :3]), stride=2),
    "conv2d groups": lambda x: nn.conv2d(x, gg.tensor(X[:4, :1, :3, :2]), groups=4),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_threads_make_no_difference(monkeypatch, name):
    f = FUNCTIONS[name]
    xs = [X, X[0, 0, 0], X[0, 0, 1]][: f.__code__.co_argcount if name.startswith("layer") else 1]

    def results():
        ts = [gg.tensor(x, requires_grad=True) for x in xs]
        y = f(*ts)
        return [y, *gg.grad(y, ts, gg.tensor(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)))]

    expected = results()
    monkeypatch.setattr(blocks, "BLOCK", 300)
    monkeypatch.setattr(blocks, "MANY", 1)
    monkeypatch.setattr(conv, "HOST_BLOCK", 2000)
    monkeypatch.setattr(conv, "MANY", 1)
    found = results()
    for a, b, c in zip(found, expected, results(), strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert (a.numpy() == c.numpy()).all()  # every time
