"""gg.profile.memory(): every allocation of a run, to the byte."""

import contextvars
import gc
import json
import subprocess
import sys
import threading
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import origin
from gpugrad.profile import numpy_memory

DOMAIN = 389047  # NumPy's, of tracemalloc


@pytest.fixture(autouse=True)
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def traced():
    """Bytes of NumPy's arrays that tracemalloc has seen allocated and not freed."""
    return sum(t.size for t in tracemalloc.take_snapshot().traces if t.domain == DOMAIN)


@pytest.fixture
def tracing():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def program(seed, steps=120):
    """A random program of NumPy: yields after each step what it holds."""
    rng = np.random.default_rng(seed)
    held = {}
    for _ in range(steps):
        kind, key = rng.integers(8), int(rng.integers(12))
        n = int(rng.choice([0, 1, 3, 100, 127, 128, 129, 5000, 100_000]))
        if kind == 0:
            held[key] = np.zeros(n)
        elif kind == 1:
            held[key] = np.empty((n, 3), np.int8)
        elif kind == 2:
            held.pop(key, None)
        elif kind == 3 and key in held:
            held[(key + 1) % 12] = held[key] + 1
        elif kind == 4 and key in held:
            held[(key + 1) % 12] = held[key][::2]  # a view
        elif kind == 5:
            held[key] = np.fromiter(iter(range(n)), np.float64)  # grows by realloc
        elif kind == 6 and key in held:
            np.sort(held[key].ravel())
        else:
            a = np.arange(n)
            a.resize(2 * n, refcheck=False)
            held[key] = a
        yield held


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("least", [0, 1024, 10**9])
def test_live_and_peak_are_exact(tracing, seed, least):
    start, most = traced(), 0
    with gg.profile.memory(least) as m:
        for i, _ in enumerate(program(seed)):
            if i % 8 == 0:
                live = traced() - start
                most = max(most, live)
                assert m.live == live
        del _
    assert m.live == traced() - start
    assert m.peak >= most
    assert not m.errors
    if least < 10**9:
        assert m.peak == m.timeline()[1].max()
        assert sum(b.nbytes for b in m.at_peak()) <= m.peak


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("least", [0, 1024])
def test_peak_is_what_was_there_at_once(seed, least):
    rng = np.random.default_rng(seed)
    plan = [(int(rng.integers(10)), int(rng.choice([1, 7, 1000, 1023, 1024, 50_000]))) for _ in range(500)]
    held: dict[int, np.ndarray] = {}
    live = most = 0
    with gg.profile.memory(least) as m:
        for key, n in plan:
            live += n
            most = max(most, live)
            live -= held[key].nbytes if key in held else 0
            held[key] = np.zeros(n, np.int8)  # the old one dies after the new one is born
            if n == 7:
                live -= held.pop(key).nbytes
            assert (m.live, m.peak) == (live, most)
    times, steps = m.timeline()
    assert steps.max() == most and (np.diff(times) >= 0).all()
    assert sum(b.nbytes for b in m.there(m.seconds)) + sum(n.nbytes for n in held.values() if n.nbytes < least) == live
    for by in ("op", "line", "kind", "phase"):
        _, stack = m.stack(by, top=2)
        assert (sum(stack.values()) == steps[1::2]).all()
    if least == 0:
        assert sum(b.nbytes for b in m.at_peak()) == most


def test_blocks_from_before_are_remembered():
    old, tiny = np.zeros(10_000), np.zeros(10)
    with gg.profile.memory() as m:
        new = np.zeros(2000)
        del old, tiny
        newer = np.zeros(5000)
    before = [b for b in m.blocks if b.phase == "before"]
    assert [b.nbytes for b in before] == [80_000]
    assert before[0].born == 0
    assert m.peak == m.timeline()[1].max() == 96_080
    assert m.live == m.timeline()[1][-1] == 56_000
    assert sum(m.stack("phase")[1].values()).tolist() == [96_080, 16_080, 56_000]
    del new, newer


def test_blocks_that_outlive_it_are_freed_by_numpy():
    with gg.profile.memory() as m:
        kept = [np.ones(n) for n in (1, 100, 1000, 100_000)]
    n = len(m.blocks)
    tracemalloc.start()
    kept.append(kept[-1] + 1)
    del kept
    assert traced() == 0
    tracemalloc.stop()
    assert len(m.blocks) == n and m.live > 800_000


def test_numpy_is_as_it_was_after_the_last():
    fields = lambda: [getattr(numpy_memory._handler(), f) for f in ("ctx", "malloc", "calloc", "realloc", "free")]
    before = fields()
    with gg.profile.memory() as outer:
        inside = fields()
        with gg.profile.memory() as inner:
            a = np.ones(1000)
        assert fields() == inside != before
        b = np.ones(2000)
    assert fields() == before
    assert inner.live == 8000 and outer.live == 24_000
    del a, b
    with pytest.raises(KeyError), gg.profile.memory():
        raise KeyError
    assert fields() == before


def test_what_is_not_safe_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(RuntimeError, match="global lock"), gg.profile.memory():
        pass
    assert not gg.hooks.observers and not gg.recording.recorded and not numpy_memory.watchers
    assert gg.recording.active().open == (gg.recording.AMBIENT,)


def test_a_profile_is_of_one_run():
    with gg.profile.memory() as m:
        with pytest.raises(RuntimeError, match="one run"), m:
            pass
        a = np.ones(1000)
    assert m.live == 8000
    del a
    for wrong in (-1, 1.5, "1", True, None):
        with pytest.raises(TypeError, match="number of bytes"):
            gg.profile.memory(wrong)


# ---------------------------------------------------------------------------------------------- errors on their way
def fail(*held):
    raise KeyError("mine")


def test_an_exception_survives_the_frees_on_its_way():
    with gg.profile.memory() as m:
        for f in (
            lambda: [np.ones(1000), fail()],
            lambda: fail(np.ones(1000)),
            lambda: np.ones(9) / fail(np.ones(200)),
        ):
            with pytest.raises(KeyError, match="mine") as e:
                f()
            assert not any("numpy_memory" in str(t.path) for t in e.traceback)
        with pytest.raises(FloatingPointError), np.errstate(all="raise"):
            np.ones(3000) / np.zeros(3000)
        del e
    assert m.live == 0 and not m.errors


def test_no_memory_is_numpys_error():
    with gg.profile.memory() as m:
        with pytest.raises(MemoryError):
            np.empty(2**46)
        with pytest.raises(MemoryError):
            np.zeros(2**60, np.int8)
        a = np.ones(1000)
        with pytest.raises(MemoryError):
            a.resize(2**46, refcheck=False)
        assert m.live == 8000
        del a
    assert m.live == 0 and not m.errors


def test_recursion_to_the_end_is_an_error_and_no_crash():
    def deeper(x):
        return deeper(x + 1)

    with gg.profile.memory() as m:
        for _ in range(3):
            with pytest.raises((MemoryError, RecursionError)):
                deeper(np.zeros(500))
    assert m.peak > 4000 * 100


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timers")
@pytest.mark.parametrize("inside", [False, True])
def test_signals_arrive_outside_of_the_handler(inside):
    import signal

    def alarm(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, signal.SIG_DFL if inside else alarm)
    try:
        with gg.profile.memory() as m:
            assert signal.signal(signal.SIGALRM, alarm) is (signal.SIG_DFL if inside else alarm)
            assert signal.getsignal(signal.SIGALRM) is alarm
            for i in range(300):
                with pytest.raises(TimeoutError):
                    signal.setitimer(signal.ITIMER_REAL, 1e-5 * (i % 37 + 1))
                    while True:
                        np.empty(3000)
        assert signal.getsignal(signal.SIGALRM) is alarm
        assert not m.errors and m.live == 0
    finally:
        signal.signal(signal.SIGALRM, before)


def test_without_the_main_thread_signals_would_not_wait():
    errors = []

    def work():
        try:
            with gg.profile.memory():
                pass
        except RuntimeError as e:
            errors.append(str(e))

    def in_a_thread():
        t = threading.Thread(target=work)
        t.start()
        t.join()

    in_a_thread()
    assert "main thread" in errors.pop()
    with gg.profile.memory() as m:
        in_a_thread()  # they wait already
        assert not errors
        kept = np.ones(1000)
    assert m.live == kept.nbytes


# ---------------------------------------------------------------------------------------------- threads
def test_all_threads_are_seen(tracing):
    start, barrier, kept = traced(), threading.Barrier(4), []

    def work(seed):
        barrier.wait()
        *_, held = program(seed, 60)
        kept.append(held.copy())

    with gg.profile.memory() as m:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        threads += [threading.Thread(target=contextvars.copy_context().run, args=(work, i)) for i in (2, 3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        del threads, t
        assert m.live == traced() - start
        kept.clear()
        assert m.live == traced() - start
    assert not m.errors


def test_helpers_of_an_op_ask_for_its_caller(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    q = gg.tensor(np.random.default_rng(0).normal(size=(4, 2, 64, 16)).astype(np.float32))
    with gg.profile.memory() as m:
        gg.nn.scaled_dot_product_attention(q, q, q)
    lines = {b.line for b in m.blocks}
    assert len(lines) == 1 and "test_memory_profile.py" in lines.pop()
    assert {b.op for b in m.blocks} == {"scaled_dot_product_attention"}


# ---------------------------------------------------------------------------------------------- kinds, phases, askers
def model(x, w):
    y = gg.tanh(x @ w)
    return (y * y).mean()


def step_on_a_tape(persistent, w, x, optimizer):
    with gg.GradientTape(persistent=persistent) as tape:
        loss = model(x, w)
    optimizer.apply_gradients([(tape.gradient(loss, w), w)])


def step_on_the_graph(w, x, optimizer):
    optimizer.zero_grad()
    model(x, w).backward()
    optimizer.step()


STEPS = {
    "tape": lambda *args: step_on_a_tape(False, *args),
    "persistent": lambda *args: step_on_a_tape(True, *args),
    "graph": step_on_the_graph,
}


@pytest.fixture(params=STEPS)
def profiled(request):
    """The profile of two steps."""
    make = gg.Variable if request.param != "graph" else lambda a: gg.tensor(a, requires_grad=True)
    w = make(np.ones((20, 30), np.float32))
    x, optimizer = gg.tensor(np.ones((100, 20), np.float32), device="cpu"), gg.optim.Adam([w])
    with gg.profile.memory() as m:
        for _ in range(2):
            STEPS[request.param](w, x, optimizer)
    return m


def test_phases_follow_each_other(profiled):
    m = profiled
    assert [p.name for p in m.phases] == ["forward", "backward", "update"] * 2
    ends = [t for p in m.phases for t in (p.start, p.end)]
    assert ends == sorted(ends) and ends[-1] <= m.seconds
    for b in m.blocks:
        if b.phase != "before":
            (p,) = [p for p in m.phases if p.start <= b.born <= p.end]
            assert b.phase == p.name


def test_phases_are_of_a_run_and_an_end_is_one():
    m = gg.profile.memory()
    m.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="not open"), m.phase("early"):
        pass
    with m:
        with pytest.raises(TypeError, match="a name is a text"), m.phase(None):
            pass
        with m.phase("a"):
            kept = np.ones(1000)
            assert "not over" in str(m) and "inf" not in str(m)
    seconds = m.seconds
    m.__exit__(None, None, None)
    assert m.seconds == seconds and m.live == kept.nbytes and "<pre>" in m._repr_html_()


def test_blocks_know_their_op_line_and_kind(profiled):
    m = profiled
    forward = {(b.op, b.kind, b.nbytes) for b in m.blocks if b.phase == "forward"}
    assert forward == {("matmul", "other", 12_000), ("tanh", "saved", 12_000), ("multiply", "other", 12_000)}
    lines = {(b.op, b.source) for b in m.blocks if b.phase == "forward"}
    assert ("tanh", "y = gg.tanh(x @ w)") in lines and ("multiply", "return (y * y).mean()") in lines
    backward = [b for b in m.blocks if b.phase == "backward"]
    assert {b.op for b in backward} <= {"mean backward", "multiply backward", "tanh backward", "matmul backward"}
    assert {b.source for b in backward if b.op == "tanh backward"} == {"y = gg.tanh(x @ w)"}
    assert {b.kind for b in backward if b.nbytes > 2400} == {"temporary"}
    gradients = [b for b in backward if b.kind == "other"]
    assert {b.nbytes for b in gradients} == {2400}
    updates = [b for b in m.blocks if b.phase == "update"]
    assert all(b.op.startswith("Optimizer.") for b in updates)
    assert all(b.kind != "saved" for b in updates)  # the parameter, too, which matmul saves
    assert all(b.line.startswith("test_memory_profile.py:") for b in m.blocks if b.phase != "before")


def test_what_a_tape_keeps_is_what_its_ledger_says():
    w = gg.Variable(np.ones((20, 30), np.float32))
    with gg.profile.memory(0) as m:
        x = gg.tensor(np.ones((100, 20), np.float32), device="cpu")
        with gg.GradientTape(persistent=True) as tape:
            loss = model(x, w)
        after = m.now()
        kept = tape.memory().nbytes
        tape.gradient(loss, w)
        assert m.saved_at(m.now()) == m.saved_at(after) == kept
        del tape, loss
        assert m.saved_at(m.now()) == x.nbytes
    assert m.saved_at(after) == kept


KEEPERS = [
    gg.nn.relu, gg.nn.gelu, gg.nn.softmax, gg.tanh, gg.exp, gg.sort,
    lambda x: x * x, lambda x: x @ x.T @ x, lambda x: gg.concat([x[::2], x[1::2]], 0), lambda x: gg.where(x > 0, x, 2),
    lambda x: gg.nn.layer_norm(x, x.shape[-1:]), lambda x: x - gg.sum(x, axis=1, keepdims=True),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("way", ["tape", "persistent", "graph"])
def test_saved_is_what_the_ledger_has(seed, way):
    rng = np.random.default_rng(seed)
    with gg.profile.memory(0) as m:
        x = gg.tensor(rng.normal(size=(64, 32)).astype(np.float32), device="cpu").detach()
        tape = None if way == "graph" else gg.GradientTape(persistent=way == "persistent")
        with nullcontext() if tape is None else tape:
            if tape is not None:
                tape.watch(x)
            y = x * (gg.tensor(2.0, device="cpu", requires_grad=True) if tape is None else x)
            for i in rng.integers(0, len(KEEPERS), 6):
                y = KEEPERS[i](y) * 0.1
        kept = gg.profile.ledger(y).nbytes if tape is None else tape.memory().nbytes
        assert m.saved_at(m.now()) == kept


def test_errors_of_the_profile_are_told(monkeypatch):
    def fail(*_):
        raise ValueError("mine")

    with gg.profile.memory() as m:
        monkeypatch.setattr(sys.modules["gpugrad.profile.trace"], "asker", fail)
        a = np.zeros(1000)
        monkeypatch.undo()
        del a
    assert [str(e) for e in m.errors] == ["mine"] and "not complete: 1 errors" in str(m)


def test_parts_may_be_named():
    w = gg.Variable(np.ones(1000))
    with gg.profile.memory() as m:
        with m.phase("data"):
            x = gg.tensor(np.zeros(1000))
        np.zeros(1000)
        with gg.GradientTape() as tape:
            with m.phase("layer 1"):
                y = gg.exp(w * x)
            loss = gg.sum(y * y)
        with m.phase("pulling"), m.phase("back"):
            tape.gradient(loss, w)
    assert [p.name for p in m.phases] == ["data", "layer 1", "forward", "pulling", "back", "backward"]
    assert all(p.end is not None for p in m.phases)
    assert {b.phase for b in m.blocks} == {"data", None, "layer 1", "forward", "backward"}
    with gg.profile.memory() as m, pytest.raises(KeyError), m.phase("wrong"):
        raise KeyError
    assert m.phases[0].end is not None


def test_a_result_that_dies_as_the_next_op_ends_is_no_temporary():
    twice = gg.op(lambda xp, x: xp.add(x, x.copy()), name="twice", x=lambda g: g * 2)
    x = gg.tensor(np.zeros(1000), requires_grad=True, device="cpu")
    with gg.profile.memory() as outer, gg.profile.memory() as inner:
        twice(twice(twice(x)))
    for m in (outer, inner):
        assert [b.kind for b in m.blocks] == ["temporary", "other"] * 3  # the copy, the result
        assert {b.op for b in m.blocks} == {"twice"}


def test_recomputed_ops_are_ops_in_the_walk():
    w = gg.Variable(np.ones(1000))
    f = gg.recompute_grad(lambda w: gg.exp(gg.exp(w) * 1e-3))
    with gg.profile.memory() as m:
        with gg.GradientTape() as tape:
            loss = gg.sum(f(w))
        tape.gradient(loss, w)
    ops = {b.op for b in m.blocks if b.phase == "backward"}
    assert "exp" in ops and "exp backward" in ops


def test_steps_end_where_they_began():
    w = gg.Variable(np.ones((20, 30), np.float32))
    x, optimizer = gg.tensor(np.ones((100, 20), np.float32), device="cpu"), gg.optim.SGD([w], 0.1)
    step_on_a_tape(False, w, x, optimizer)
    with gg.profile.memory() as m:
        live = []
        for _ in range(5):
            step_on_a_tape(False, w, x, optimizer)
            live.append(m.live)
    assert len(set(live)) == 1, live


def test_it_is_data(profiled):
    m = profiled
    d = json.loads(json.dumps(m.to_dict()))
    assert d["schema"] == 1 and d["devices"]["cpu"]["peak"] == m.peak
    assert {len(column) for column in d["blocks"].values()} == {len(m.blocks)}
    text = str(m)
    assert "in backward" in text and "y = gg.tanh(x @ w)" in text and "saved" in text
    assert len(text.splitlines()) < 20
    with pytest.raises(ValueError, match="'op', 'line'"):
        m.stack("colour")
    with pytest.raises(ValueError, match="they were on cpu"):
        m.timeline("cuda:0")


def test_nothing_is_left_behind():
    x = gg.tensor(np.ones(3), requires_grad=True)
    gg.sum(x * x).backward()
    with gg.profile.memory():
        pass
    assert not gg.hooks.observers and not gg.hooks.walking and not gg.recording.recorded
    assert gg.recording.active().open == (gg.recording.AMBIENT,)


def run(program):
    """(exit code, what it printed, with errors) of a Python program."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_process_may_end_inside():
    program = """
import atexit, threading, numpy as np, gpugrad as gg
kept = [np.ones(n) for n in (10, 100_000)]
m = gg.profile.memory().__enter__()
kept.append(gg.exp(gg.tensor(np.ones(5000), requires_grad=True)))
def work():
    while True:
        np.ones(3000)
threading.Thread(target=work, daemon=True).start()
atexit.register(lambda: np.ones(10_000))
class Late:
    def __del__(self):
        self.x = kept[0] + 1
late = Late()
print(m.live >= 40_000)
"""
    assert run(program) == (0, "True\n")


def test_it_is_imported_when_asked_for():
    program = "import sys, gpugrad; print('gpugrad.profile.trace' in sys.modules, gpugrad.profile.memory.__name__)"
    assert run(program) == (0, "False memory\n")


@pytest.mark.devices
def test_phases_and_steps_on_every_device(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] in ("standin", "cudahost")]:
        monkeypatch.setitem(origin._ours, name, True)  # as CuPy's functions are, which gpugrad calls
    w = gg.Variable(np.ones((20, 30), np.float32))
    x, optimizer = gg.tensor(np.ones((100, 20), np.float32)), gg.optim.Adam([w])
    for _ in range(3):  # caches are filled: some with the second step
        step_on_a_tape(False, w, x, optimizer)
    gc.collect()
    live = []
    with gg.profile.memory() as m:
        for _ in range(4):
            step_on_a_tape(False, w, x, optimizer)
            live.append(m.live)
    assert [p.name for p in m.phases] == ["forward", "backward", "update"] * 4
    assert len(set(live)) == 1, live
    assert {b.op for b in m.blocks if b.kind == "saved"} == {"tanh"}
    assert "temporary" in {b.kind for b in m.blocks}
