"""Worker processes of a DataLoader: real ones, killed ones, and what is left of them."""

import gc
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from loader_datasets import Misbehaving, Named, Rows, Shy, Stream, arrays, first_in_worker, growing, plain, wordy

import gpugrad as gg
from gpugrad.data import DataLoader, WorkerError

SHARED = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not (SHARED.exists() and hasattr(os, "pidfd_open")), reason="as Linux has it")


def processes(loader):
    return [os.pidfd_open(w.process.pid) for w in loader._workers._team]


def over(pidfd):
    """Whether a process ends within a minute."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = bool(poll.poll(60_000))
    os.close(pidfd)
    return ended


def segments(loader):
    return [SHARED / name.lstrip("/") for name in loader._workers._all]


@pytest.fixture(scope="module")
def loaders():
    """By the number of workers, which live as long as the module."""
    made = {n: DataLoader(Rows(13), 3, True, seed=4, num_workers=n) for n in (0, 1, 3)}
    yield made
    for loader in made.values():
        loader.close()


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([1, 3]), st.integers(0, 2**63), st.integers(0, 5), st.integers(0, 5), st.sampled_from([None, 0, 2])
)
def test_the_number_of_workers_changes_nothing(loaders, workers, seed, epoch, batch, leave):
    """Batches, their order, random numbers of three kinds; resumed anywhere; after an epoch that was left early."""
    one, two = loaders[0], loaders[workers]
    if leave is not None:
        two.load_state_dict({"seed": seed + 1, "epoch": 0, "batch": 0})
        for i, _ in enumerate(two):
            if i == leave:
                break
        at = {"seed": seed + 1, "epoch": 0, "batch": leave + 1}
        assert {**two.state_dict(), **at} == two.state_dict()  # handed out, not fetched
    for loader in (one, two):
        loader.load_state_dict({"seed": seed, "epoch": epoch, "batch": batch})
    for _ in range(2):
        assert [plain(b) for b in two] == [plain(b) for b in one]
    assert {**one.state_dict(), "seed": seed, "epoch": epoch + 2, "batch": 0} == one.state_dict() == two.state_dict()


def test_two_iterations_at_once_and_a_team_that_was_ended(loaders):
    start = {"seed": 4, "epoch": 0, "batch": 0}
    for loader in loaders.values():
        loader.load_state_dict(start)
    expected = [[plain(b) for b in loaders[0]] for _ in range(3)]
    loader = loaders[1]
    one = iter(loader)
    assert plain(next(one)) == expected[0][0]
    two = iter(loader)
    for a, b in zip(expected[0][1:], expected[1]):
        assert plain(next(one)) == a and plain(next(two)) == b
    del one, two
    assert [plain(b) for b in loader] == expected[2]
    team = loader._workers
    it = iter(loader)
    next(it)
    loader.close()
    assert team.closed and not team._all
    with pytest.raises(RuntimeError, match="closed"):
        next(it)
    with pytest.raises(RuntimeError, match="ended"):
        next(team.run(iter([((0, 0, 0), [1])])))


def test_arrays_streams_and_batches_that_grow():
    for make in [
        lambda n: DataLoader(arrays(11), 4, True, seed=1, num_workers=n, persistent_workers=False),
        lambda n: DataLoader(Stream(11), 4, seed=1, num_workers=n),
        lambda n: DataLoader(Rows(12), 2, seed=1, num_workers=n, collate_fn=growing, prefetch_factor=3),
    ]:
        with make(1) as loader:
            expected = [plain(b) for b in make(0)]
            assert [plain(b) for b in loader] == expected
            again = make(0)
            list(again)
            loader.load_state_dict({"seed": 1, "epoch": 1, "batch": 1})
            assert [plain(b) for b in loader] == [plain(b) for b in again][1:]
            assert (loader._workers is None) == (not loader.persistent_workers)


def test_pipes_that_are_full_both_ways():
    """What is asked and what comes back are both more than a pipe holds."""
    with DataLoader(arrays(160_000), 40_000, True, seed=0, num_workers=1, collate_fn=wordy, timeout=300) as loader:
        assert [len(b) for b in loader] == [40_000] * 4


@pytest.mark.parametrize(
    "what, words", [("killed", "was killed by SIGKILL .*memory"), ("exits", "ended with exit code 3")]
)
def test_a_worker_that_dies(what, words):
    loader = DataLoader(Misbehaving(20, what, 9), 2, num_workers=2)
    it = iter(loader)
    next(it)
    left = processes(loader), segments(loader)
    assert all(p.exists() for p in left[1])
    with pytest.raises(WorkerError, match=f"{words}.* at batch 4 of epoch 0"):
        list(it)
    assert all(map(over, left[0])) and not any(p.exists() for p in left[1])
    if what == "killed":
        return
    loader.dataset.at = None  # another iteration has other workers
    assert [b[2][0] for b in loader] == [f"e{i}" for i in range(0, 20, 2)]


def test_what_a_worker_raises_is_raised_here():
    loader = DataLoader(Misbehaving(12, "raises", 5), 2, num_workers=1, worker_init_fn=first_in_worker)
    it = iter(loader)
    assert next(it)[1].dtype == gg.bfloat16
    next(it)
    with pytest.raises(KeyError, match="element five") as seen:
        next(it)
    (note,) = seen.value.__notes__
    assert "in batch 2 of epoch 0" in note and "__getitem__" in note and 'raise KeyError("element five")' in note
    loader.load_state_dict({"seed": 0, "epoch": 0, "batch": 3})  # the worker lives on
    team = loader._workers
    assert len(list(loader)) == 3 and loader._workers is team
    loader.close()
    with pytest.raises(WorkerError, match="Odd: 1"), DataLoader(Misbehaving(2, "odd", 1), num_workers=1) as loader:
        list(loader)


def test_a_worker_that_cannot_begin():
    with pytest.raises(OSError, match="not here") as seen, DataLoader(Shy(), num_workers=1) as loader:
        list(loader)
    assert "as it began" in seen.value.__notes__[0]
    with pytest.raises(TypeError, match="top level of a module"):
        list(DataLoader(Rows(3), num_workers=1, collate_fn=lambda rows: rows))


def test_a_batch_that_never_comes():
    loader = DataLoader(Misbehaving(4, "waits", 1), num_workers=1, timeout=1.5, worker_init_fn=first_in_worker)
    it = iter(loader)
    left = None
    with pytest.raises(TimeoutError, match="batch 1 of epoch 0|batch 0 of epoch 0"):
        for _ in it:
            left = left or (processes(loader), segments(loader))
    assert left is None or (all(map(over, left[0])) and not any(p.exists() for p in left[1]))


def test_nothing_is_left_of_a_loader_that_is_dropped():
    loader = DataLoader(Named(6), 2, num_workers=2, worker_init_fn=first_in_worker)
    assert {n for b in loader for n in b} <= {"0", "1"}
    loader = DataLoader(Misbehaving(6, "nothing", 0), 2, num_workers=1)
    it = iter(loader)
    next(it)
    fds, memory = processes(loader), segments(loader)
    assert memory and all(p.exists() for p in memory)
    del it, loader
    gc.collect()
    assert all(map(over, fds)) and not any(p.exists() for p in memory)


PROGRAM = """
import multiprocessing.resource_tracker as tracker, os, sys
from loader_datasets import Misbehaving
from gpugrad.data import DataLoader
if __name__ == "__main__":
    loader = DataLoader(Misbehaving(6, "waits", 3), num_workers=2)
    it = iter(loader)
    next(it)
    team = loader._workers
    print(tracker._resource_tracker._pid, *[w.process.pid for w in team._team], *team._all, flush=True)
    for b in it: pass
"""


@pytest.mark.parametrize("sent, to_group", [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_nothing_is_left_of_a_program_that_is_ended(tmp_path, sent, to_group):
    """Ctrl-C, which goes to all processes of the group, and SIGKILL, which leaves no time for anything."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    here = Path(__file__).resolve().parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    with subprocess.Popen(
        [sys.executable, str(script)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as program:  # fmt: skip
        try:
            tracker, a, b, *names = program.stdout.readline().split()
            fds = [os.pidfd_open(int(pid)) for pid in (a, b, tracker)]
            memory = [SHARED / name.lstrip("/") for name in names]
            assert memory and all(p.exists() for p in memory)
            (os.killpg if to_group else os.kill)(program.pid, sent)
            said = program.communicate(timeout=60)[1]
            assert all(map(over, fds))
            if to_group:
                assert "KeyboardInterrupt" in said and said.count("Traceback") == 1
        finally:
            program.kill()
    assert not any(p.exists() for p in memory)
