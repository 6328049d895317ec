"""Out of memory: the post-mortem, and that a program which catches the error goes on with a smaller batch."""

import contextlib
import gc
import pickle
import subprocess
import sys
import textwrap
import tracemalloc
import weakref

import numpy as np
import pytest
import standin

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch
from gpugrad.core import Node
from gpugrad.exhausted import OutOfMemoryError

HUGE = 10**12


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    for n in [n for n in gc.get_objects() if issubclass(type(n), Node) and n.op is not None]:
        n.free()  # of graphs that other tests of this process have left, a post-mortem would tell, too
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def array_bytes():
    """The bytes that NumPy has allocated for array data since tracemalloc was started."""
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    traces = tracemalloc.take_snapshot().filter_traces([only]).traces
    return sum(t.size for t in traces if t.size < HUGE)  # NumPy traces an allocation that failed, too, at address 0


def huge(x):
    """An op that asks for more than any machine has, and holds something as large as x meanwhile."""

    def forward(xp, x):
        held = x + 1
        return xp.empty((HUGE, *held.shape), held.dtype)

    return gg.op(forward, name="huge", args=["x"], x=lambda g: g)(x)


def caught(f, *args):
    """The message of the MemoryError that f raises; the error itself is gone."""
    try:
        f(*args)
    except MemoryError as e:
        return str(e)
    raise AssertionError("no MemoryError")


# ---------------------------------------------------------------------------------------------- what it says
def test_it_is_numpys_error_with_a_post_mortem():
    w = gg.Variable(np.ones((100, 100)), name="w", dtype="float32")
    x = gg.tensor(np.ones((50, 100), np.float32))
    with pytest.raises(MemoryError) as info, gg.profile.lines(), gg.GradientTape():
        h = gg.exp(x @ w * 0.01)
        h = gg.tanh(h) * 2.0
        huge(h)
    e = info.value
    numpys = np._core._exceptions._ArrayMemoryError
    assert isinstance(e, OutOfMemoryError) and isinstance(e, numpys) and type(e.__cause__) is numpys
    assert e.shape == (HUGE, 50, 100) and e.args == e.__cause__.args
    said = str(e)
    assert "out of memory in huge of float32[50, 100]. Unable to allocate" in said
    assert "h = gg.exp(x @ w * 0.01)" in said and "matmul: input x" in said and "test_exhausted.py:" in said
    assert e.ledger.nbytes == 3 * 20000 and e.ledger.freed == 2 * 20000  # x is held by its name
    assert 1 <= len(e.remedies) <= 3 and all(r.what in said and r.nbytes > 0 for r in e.remedies)
    assert type(pickle.loads(pickle.dumps(e))) is MemoryError


@pytest.mark.parametrize("door", [gg.tensor, tf.constant, torch.tensor])
def test_all_doors_and_both_ways_of_recording(door):
    x = door(np.ones(10, np.float32))
    assert "out of memory in huge" in caught(huge, x)
    with gg.GradientTape() as tape:
        tape.watch(x)
        assert "out of memory in huge of float32[10]" in caught(huge, gg.exp(x))
        with pytest.raises(MemoryError, match="broadcast_to|multiply"):
            gg.broadcast_to(x, (HUGE, 10)) * x
    x = gg.tensor(np.ones(10, np.float32), requires_grad=True)
    h = gg.exp(x)
    assert "exp: output" in caught(huge, gg.tanh(h))


def test_packing_what_an_op_saves_counts_as_the_op():
    x = gg.tensor(np.ones(10, np.float32), requires_grad=True)
    with gg.saved_tensors_hooks(lambda t: np.empty((HUGE, 10**6)), lambda p: p):
        assert "out of memory in exp of float32[10]" in caught(gg.exp, x)


def test_a_walk_names_the_op():
    bad = gg.op(lambda xp, x: x * 2, name="bad", args=["x"], x=lambda g: np.empty((HUGE, 10**6)))
    x = gg.tensor(np.ones(10, np.float32), requires_grad=True)
    assert "out of memory in the backward of bad." in caught(gg.sum(bad(gg.exp(x))).backward)
    with gg.GradientTape() as tape:
        y = gg.sum(gg.exp(bad(x)))
    assert "the backward of bad" in caught(tape.gradient, y, x)
    with gg.GradientTape() as outer, gg.GradientTape() as tape:
        y = gg.sum(gg.exp(bad(x)))
    assert "the backward of bad" in caught(tape.gradient, y, x)
    assert outer.memory().entries == () or outer.nbytes() > 0
    y = gg.sum(bad(x))
    y.register_hook(lambda g: None)
    assert "the backward of bad" in caught(y.backward)


def test_persistent_tapes_have_their_share():
    x = gg.tensor(np.ones(2000, np.float32))
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = gg.sum(gg.exp(gg.tanh(x)))
    with pytest.raises(OutOfMemoryError, match="persistent tapes") as info:
        huge(x)
    assert "% of it on persistent tapes" in str(info.value)
    first = info.value.remedies[0]
    assert "uses=N" in first.what and first.nbytes == tape.memory().freed == 16000 and y.node
    bfloat16 = next(r for r in info.value.remedies if "bfloat16" in r.what)
    assert bfloat16.nbytes == info.value.ledger.freed // 2


def test_remedies_save_what_they_say():
    layers = [gg.nn.Linear(64, 64, activation="relu") for _ in range(3)]

    def model(h):
        for layer in layers:
            h = gg.nn.gelu(layer(h))
        return h

    def recorded(batch=64, f=model, within=None):
        x = gg.tensor(np.ones((batch, 64), np.float32))
        with gg.profile.lines(), within or contextlib.nullcontext(), gg.GradientTape() as tape:
            out = f(x)
            loss = gg.sum(out * out)
        del out, x
        return tape, loss

    tape, loss = recorded()
    kept = tape.memory().freed
    with pytest.raises(OutOfMemoryError) as info:
        huge(loss)
    narrow, again, smaller = info.value.remedies
    saved = lambda other: kept - other[0].memory().freed
    assert narrow.nbytes == saved(recorded(within=gg.save_as(gg.bfloat16))) > 0
    assert smaller.nbytes == saved(recorded(batch=32)) > 0 and "32 in the place of 64" in smaller.what
    assert again.nbytes >= saved(recorded(f=gg.checkpoint(model))) > kept / 2 and "out = f(x)" not in again.what
    assert "h = gg.nn.gelu(layer(h))" in again.what


def test_nothing_is_kept():
    assert "what was asked for alone is too much" in caught(huge, gg.tensor(np.ones(10)))


# ---------------------------------------------------------------------------------------------- the memory is back
@pytest.mark.parametrize("way", ["recording", "on the graph", "gradient", "persistent", "backward", "second order"])
def test_what_was_kept_comes_back(way):
    bad = gg.op(lambda xp, x: x * 2, name="bad", args=["x"], x=lambda g, x: gg.exp(g * x) + huge(x))
    x = gg.tensor(np.ones(1000, np.float32), requires_grad=way in ("on the graph", "backward"))

    def program():
        if way in ("recording", "gradient", "persistent", "second order"):
            with gg.GradientTape(persistent=way == "persistent") as tape:
                tape.watch(x)
                if way == "second order":
                    with gg.GradientTape() as inner:
                        inner.watch(x)
                        y = gg.sum(bad(gg.exp(gg.tanh(x))) * x)
                    return inner.gradient(y, x)
                y = gg.exp(gg.tanh(x))
                y = huge(gg.exp(y)) if way == "recording" else gg.sum(bad(y) * y)
            return tape.gradient(y, x)
        y = gg.exp(gg.tanh(x))
        return huge(gg.exp(y)) if way == "on the graph" else gg.sum(bad(y) * y).backward()

    caught(program)
    tracemalloc.start()
    try:
        message = caught(program)
        assert array_bytes() == 0 and "out of memory in" in message
    finally:
        tracemalloc.stop()


def test_our_functions_hold_nothing_while_the_error_is_looked_at():
    x = gg.tensor(np.ones(1000, np.float32), requires_grad=True)
    tracemalloc.start()
    try:
        z = gg.broadcast_to(gg.exp(x), (HUGE, 1000))[0]
        y = gg.sum(gg.tanh(z * gg.exp(z)) * z)
        before = array_bytes()
        with pytest.raises(MemoryError, match="the backward of getitem") as info:
            y.backward()
        assert array_bytes() < before and info.value.ledger
        before = array_bytes()
        with pytest.raises(MemoryError, match="multiply") as info, gg.GradientTape() as tape:
            tape.watch(x)
            gg.broadcast_to(gg.exp(x), (HUGE, 1000)) * gg.tanh(x)
        assert array_bytes() == before and info.value.ledger
    finally:
        tracemalloc.stop()


TRAIN = """
import gc, resource, sys
import numpy as np
import gpugrad as gg

gc.disable()
model = gg.nn.Sequential(gg.nn.Linear(256, 256), gg.nn.relu, gg.nn.Linear(256, 256), gg.nn.relu)
optimizer = gg.optim.SGD(model.parameters(), learning_rate=0.01)
ways = sys.argv[1]

def step(batch):
    x = gg.tensor(np.ones((batch, 256), np.float32))
    if ways == "tape":
        with gg.GradientTape(persistent=True) as tape:
            loss = gg.mean(model(x) ** 2)
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables))
    else:
        optimizer.zero_grad()
        loss = gg.mean(model(x) ** 2)
        loss.backward()
        optimizer.step()
    return float(loss)

step(64)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
batch, failures = 2**18, 0
while True:
    try:
        step(batch)
        break
    except MemoryError as e:
        assert isinstance(e, gg.OutOfMemoryError), repr(e)
        said, failures = str(e), failures + 1
    batch //= 2
assert failures and batch > 10000, (failures, batch)
for _ in range(3):
    step(batch)
print(failures, batch, said)
"""


@pytest.mark.parametrize("way", ["tape", "backward"])
def test_a_smaller_batch_trains_after_it(way):
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TRAIN), way], capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    assert "out of memory in" in found.stdout


class Limited:
    """Memory of the stand-in, of which there is no more than `limit`."""

    def __init__(self, limit):
        self.limit, self.live = limit, {}

    def take(self, array):
        nbytes = array.host.nbytes
        if sum(n for _, n in self.live.values()) + nbytes > self.limit:
            raise Exceeded(f"Out of memory allocating {nbytes} bytes")
        key = id(array)
        self.live[key] = weakref.ref(array, lambda _: self.live.pop(key, None)), nbytes


class Exceeded(MemoryError):
    """As CuPy's: a class of its own."""


@pytest.fixture
def limited(monkeypatch):
    made = standin.Array.__init__
    memory = Limited(2**30)

    def init(self, host, base=None):
        made(self, host, base)
        if base is None:
            memory.take(self)

    monkeypatch.setattr(standin.Array, "__init__", init)
    return memory


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("default_device", ["standin"], indirect=True)
def test_a_smaller_batch_trains_on_a_device_whose_memory_is_small(default_device, limited, persistent):
    model = gg.nn.Sequential(gg.nn.Linear(16, 16), gg.nn.relu, gg.nn.Linear(16, 16), gg.nn.relu)
    optimizer = gg.optim.SGD(model.parameters(), learning_rate=0.01)

    def step(batch):
        x = gg.tensor(np.ones((batch, 16), np.float32))
        with gg.GradientTape(persistent=persistent) as tape:
            loss = gg.mean(model(x) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))

    step(8)
    used = sum(n for _, n in limited.live.values())
    seen = set()
    for room in range(64 * 1000, 64 * 6000, 64 * 250):  # the error strikes at one op after another
        limited.limit = used + room
        try:
            step(1000)
        except MemoryError as e:
            assert isinstance(e, Exceeded) and isinstance(e, OutOfMemoryError) and "standin" not in str(e.__cause__)
            seen.add(str(e).splitlines()[0].partition(". Out")[0])
            del e
        assert sum(n for _, n in limited.live.values()) == used
        step(100)
    assert any("backward" in s for s in seen) and any("backward" not in s for s in seen), seen


# ---------------------------------------------------------------------------------------------- whatever happens
def test_a_circle_of_causes_ends():
    with pytest.raises(MemoryError) as info, gg.GradientTape():
        try:
            np.ones(10**16)
        except MemoryError as e:
            raise e from e
    assert type(info.value) is not OutOfMemoryError


class Own(MemoryError):
    """With a __new__ that NumPy's error does not have."""

    def __new__(cls, *, code):
        return super().__new__(cls, "own")

    def __init__(self, *, code):
        self.code = code


class Unsaid(MemoryError):
    def __str__(self):
        raise KeyError("nothing to say")


class Sealed(MemoryError):
    def __init_subclass__(cls):
        raise TypeError("no subclasses")


@pytest.mark.parametrize(("make", "told"), [(lambda: Own(code=3), True), (Unsaid, False), (Sealed, False)])
def test_an_error_of_the_programs_stays_one(make, told):
    @gg.custom_gradient
    def f(x):
        def grad(g):
            raise make()

        return x * 1.0, grad

    v = gg.Variable(np.ones(10, np.float32))
    with gg.GradientTape() as tape:
        y = gg.sum(f(v))
    with pytest.raises(type(make())) as info:
        tape.gradient(y, v)
    assert isinstance(info.value, OutOfMemoryError) == told
    assert getattr(info.value, "code", 3) == 3


class Hostile:
    """A key that cannot be shown, and something whose class cannot be asked."""

    def __repr__(self):
        raise RuntimeError("no repr")

    @property
    def __class__(self):
        raise RuntimeError("outside of its context")


def test_hostile_things_around_it():
    x = gg.tensor(np.ones(10, np.float32), requires_grad=True)
    named, proxy = {Hostile(): gg.exp(x), "k" * 1000: gg.tanh(x)}, Hostile()

    @gg.custom_gradient
    def closing(x):
        return x * 2, lambda g: proxy and g

    closed = closing(x)
    said = caught(huge, gg.sum(named["k" * 1000]) + gg.sum(closed) + gg.sum(next(iter(named.values()))))
    assert "out of memory in huge" in said and "could not be told" not in said


def test_a_post_mortem_that_fails_says_so(monkeypatch):
    monkeypatch.setattr("gpugrad.exhausted.of_everything", lambda *_: 1 / 0)
    said = caught(huge, gg.tensor(np.ones(10)))
    assert "out of memory in huge" in said and "could not be told: ZeroDivisionError" in said


def test_updates_and_creation_have_one():
    v = gg.Variable(np.ones(10, np.float32))
    with gg.GradientTape(persistent=True) as tape:
        y = gg.sum(gg.exp(v))
    g = tape.gradient(y, v)

    class Large(gg.optim.SGD):
        def init(self, x, group):
            return {"much": np.empty((HUGE, 10**6))}

    assert "out of memory in an optimizer's update." in caught(Large([v], learning_rate=0.1).apply_gradients, [(g, v)])
    made = [
        (gg.zeros, (HUGE, 10**6)), (gg.ones, (HUGE, 10**6)), (gg.random.normal, (HUGE, 10**6)),
        (gg.random.uniform, (HUGE, 10**6)), (gg.random.randint, 0, 5, (HUGE, 10**6)), (gg.eye, 10**6, 10**9),
        (torch.zeros, HUGE, 10**6), (tf.zeros, (HUGE, 10**6)), (gg.zeros_like, np.broadcast_to(g.array, (HUGE, 10))),
    ]  # fmt: skip
    for f, *args in made:
        said = caught(f, *args)
        assert "out of memory in" in said and "exp: output" in said, (f, said)


def test_doors_call_it_by_their_names():
    assert gg.OutOfMemoryError is OutOfMemoryError is torch.OutOfMemoryError is torch.cuda.OutOfMemoryError
    assert tf.errors.ResourceExhaustedError is OutOfMemoryError
    with pytest.raises(torch.OutOfMemoryError) as info:
        huge(torch.ones(3))
    assert info.value.ledger.nbytes >= 0 and type(info.value.remedies) is tuple


EXHAUSTED = """
import resource, sys
import numpy as np
import gpugrad as gg

v = gg.Variable(np.ones((250, 250), np.float32) / 1000)
x = gg.tensor(np.ones((int(sys.argv[1]), 250), np.float32))
with gg.GradientTape() as tape:
    y = gg.sum(gg.tanh(x @ v))
tape.gradient(y, v)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20, -1))
for _ in range(2):
    try:
        with gg.GradientTape() as tape:
            h = x
            while True:
                h = gg.tanh(h @ v)
    except gg.OutOfMemoryError as e:
        assert e.ledger.nbytes > 50e6 and e.remedies, e
    del h, tape
print("told twice")
"""


@pytest.mark.parametrize("rows", [100, 4000])
def test_there_is_memory_left_to_tell(rows):
    run = [sys.executable, "-c", EXHAUSTED, str(rows)]
    found = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0 and found.stdout == "told twice\n", found.stderr
