"""Ops that are run again in the backward pass, chosen from a first run: bytes kept, and gradients equal to the bit."""

import gc
import re
import threading
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from table import ROWS
from test_table_programs import Ours, run

import gpugrad as gg
import gpugrad.torch as torch
from gpugrad import choosing, nn, rematerialize
from gpugrad.choosing import Step, Trace, choose, outcome
from gpugrad.hooks import remade
from gpugrad.recording import packing
from gpugrad.rematerialize import within

MB = 2**20


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def numpy_bytes():
    """The bytes of NumPy's arrays that are alive and were made since tracemalloc started."""
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum([t.size for t in tracemalloc.take_snapshot().filter_traces([only]).traces])


def weights(*shapes):
    rng = np.random.default_rng(len(shapes))
    return [gg.tensor((rng.standard_normal(s) * 0.3).astype(np.float32), requires_grad=True) for s in shapes]


def block(x, w, v, scale, bias, rate=0.25):
    """A bit of everything: views, several outputs, auxiliaries, an index array, static arguments, a random op."""
    h = nn.layer_norm(x, (x.shape[-1],), scale, bias)
    a, b = gg.split(gg.permute_dims(gg.reshape(nn.gelu(h @ w), (4, -1, 16)), (0, 2, 1)), 2, axis=1)
    h = gg.reshape(gg.concat([gg.tanh(a) * b, gg.exp(-gg.square(a))], axis=1), (x.shape[0], -1))
    h = nn.dropout(h[np.arange(x.shape[0])[::-1]], rate)
    return x + nn.softmax(gg.cumsum(nn.relu(h @ v), axis=-1))


def gradients(f, ts):
    for t in ts:
        t.grad = None
    gg.random.seed(1)
    gg.sum(gg.square(f(*ts))).backward()
    return [t.grad.numpy() for t in ts]


def assert_same(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


SHAPES = [(32, 24), (24, 32), (32, 24), (24,), (24,)]


@pytest.mark.devices
@pytest.mark.parametrize("part", [1.0, 0.6, 0.3, 0.0])
def test_gradients_are_equal_to_the_bit_under_every_bound(part):
    ts = weights(*SHAPES)
    expected = gradients(block, ts)
    free = within(block, 1e9)
    assert_same(gradients(free, ts), expected)
    assert free.plan.saved == free.plan.before and not free.plan.until
    bound = int(free.plan.before * part) or least(block, ts)
    g = within(block, bound)
    assert_same(gradients(g, ts), expected)  # the first run, which keeps all
    assert g.plan.saved <= bound and bool(g.plan.until) == (part < 1)
    assert_same(gradients(g, ts), expected)
    assert not packing and not any(remade.stack)


def least(f, ts):
    """The least that can be kept of f."""
    with pytest.raises(ValueError, match="the least found possible here is") as e:
        within(f, 0)(*ts)
    return int(re.search(r"max_bytes=(\d+), or", str(e.value))[1])


# ---------------------------------------------------------------------------------------------- what is kept
def deep(x):
    for _ in range(8):
        x = gg.exp(-gg.tanh(x * 1.01 + 0.01))
    return x


@pytest.mark.parametrize("bound", [10 * MB, 4 * MB, 2 * MB, 0])
def test_the_plan_says_what_is_kept_to_the_byte(no_collector, bound):
    x = gg.tensor(np.linspace(-1, 1, MB // 8), requires_grad=True)  # an array is 1 MB
    g = within(deep, bound)
    g(x).sum().backward()
    assert g.plan.before == 15 * MB and g.plan.saved <= bound  # the last of the 16 saved is what f answers
    tracemalloc.start()
    try:
        before = numpy_bytes()
        y = g(x)
        assert numpy_bytes() - before == g.plan.saved + y.nbytes
        with gg.GradientTape() as tape:
            y = g(x)
        assert tape.nbytes() - g.plan.saved in (y.nbytes, y.nbytes + x.nbytes)  # x, if something is made of it again
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bound", [15 * MB, 8 * MB, 3 * MB, 0])
def test_the_plan_says_the_peak_of_a_walk(no_collector, bound):
    x = gg.tensor(np.linspace(-1, 1, MB // 8), requires_grad=True)
    g = within(deep, bound)
    g(x).sum().backward()
    x.grad = None
    tracemalloc.start()
    try:
        y = g(x)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        y.backward(gg.ones(y.shape, dtype=y.dtype))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert g.plan.peak >= g.plan.saved
    extra = peak - held - (g.plan.peak - g.plan.saved)
    assert -2 * MB < extra < 2 * MB, (extra, g.plan)


def test_equal_ops_are_given_up_so_that_little_lives_at_once(monkeypatch):
    monkeypatch.setattr(rematerialize, "_time", lambda *call: 1e-5)
    x = gg.tensor(np.linspace(-1, 1, 1000), requires_grad=True)

    def chain(x):
        for _ in range(16):
            x = gg.exp(x * 0.1)
        return x

    g = within(chain, 8 * 8000)
    g(x)
    assert g.plan.saved <= 8 * 8000 and g.plan.peak <= 13 * 8000, g.plan


def test_blocks_are_let_go_as_the_nodes_are(no_collector):
    x = gg.tensor(np.linspace(-1, 1, MB // 8), requires_grad=True)
    g = within(deep, 3 * MB)
    g(x)
    tracemalloc.start()
    try:
        g(x).sum().backward()
        assert numpy_bytes() == x.grad.nbytes and not any(remade.stack)
    finally:
        tracemalloc.stop()


def test_a_persistent_tape_makes_values_again_each_time_and_holds_none_between(no_collector):
    x = gg.tensor(np.linspace(-1, 1, MB // 8))
    g = within(deep, 2 * MB)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = deep(x)
    expected = tape.gradient(y, x).numpy()
    with gg.GradientTape() as tape:
        tape.watch(x)
        g(x)
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = g(x)
    assert tape.nbytes() - g.plan.saved in (z.nbytes, z.nbytes + x.nbytes)  # x, if something is made of it again
    tracemalloc.start()
    try:
        for _ in range(3):
            np.testing.assert_array_equal(tape.gradient(z, x).numpy(), expected)
            assert numpy_bytes() == 0 and not any(remade.stack)
    finally:
        tracemalloc.stop()


def test_what_lives_anyway_is_not_counted(no_collector):
    frozen = gg.tensor(np.ones(1000))  # not trainable, and held by this test
    x = gg.tensor(np.ones(1000), requires_grad=True)
    g = within(lambda x: x * frozen, 0)
    g(x)
    assert g.plan.saved == g.plan.before == 0

    mask = within(lambda x: x * gg.tensor(np.arange(1000.0)), 8000)
    mask(x)
    assert mask.plan.saved == 8000 and "made by no op" in str(mask.plan)
    with pytest.raises(ValueError, match=r"the least found possible here is 8,000 bytes.*8,000 of made by no op test_"):
        within(lambda x: x * gg.tensor(np.arange(1000.0)), 7999)(x)


# ---------------------------------------------------------------------------------------------- gradients
@pytest.mark.devices
def test_the_second_order_is_equal_to_the_bit():
    x, w, v = weights((6, 5), (5, 8), (8, 5))
    f = lambda x, w, v: nn.softmax(gg.tanh(gg.exp((x @ w) * 0.1)) @ v) * x

    def second(f):
        (g,) = gg.grad(gg.sum(gg.square(f(x, w, v))), x, create_graph=True)
        with gg.GradientTape() as outer:
            outer.watch(x)
            with gg.GradientTape() as inner:
                inner.watch(x)
                y = gg.sum(gg.square(f(x, w, v)))
            h = gg.sum(gg.square(inner.gradient(y, x)))
        return [t.numpy() for t in (*gg.grad(gg.sum(gg.square(g)), [x, w, v]), outer.gradient(h, x))]

    expected = second(f)
    g = within(f, 0)
    assert_same(second(g), expected)
    assert g.plan.until and g.plan.saved == 0
    assert_same(second(g), expected)


links = [r for r in ROWS if r.op not in ("astype",) and r.order > 1]
programs = st.lists(
    st.tuples(st.sampled_from(links), st.lists(st.integers(0, 5), min_size=4, max_size=4)), min_size=2, max_size=5
)


@pytest.mark.parametrize("examples", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_random_programs(examples):
    drawn = given(program=programs, seed=st.integers(0, 2**16), part=st.sampled_from([0.0, 0.3, 0.7]))
    options = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
    settings(max_examples=examples, **options)(drawn(check_program))()


def check_program(program, seed, part):
    rng = np.random.default_rng(seed)
    ts = [gg.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 4), (5,))]
    f = lambda *ts: run(program, list(ts), Ours)

    def both(f):
        with gg.GradientTape() as tape:
            y = f(*ts)
            first = gg.grad(y, ts, create_graph=True, allow_unused=True)
            total = sum([gg.sum(gg.square(g)) for g in first if g is not None])
        second = tape.gradient(total, ts, unconnected_gradients="zero") if isinstance(total, gg.Tensor) else []
        return [t.numpy() for t in (y, *first, *second) if t is not None]

    expected = both(f)
    free = within(f, 1e12)
    free(*ts)
    bound = int(free.plan.before * part)
    try:
        g = within(f, bound)
        g(*ts)
    except ValueError as e:
        g = within(f, int(re.search(r"max_bytes=(\d+), or", str(e))[1]))
        g(*ts)
    for got, one in zip(both(g), expected, strict=True):
        np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("bound", [10**9, 3 * 280_000, 0])
def test_bits_in_the_place_of_large_arrays_are_made_again_too(bound):
    x = gg.tensor(np.linspace(-1, 1, 280_000), requires_grad=True)
    f = lambda x: gg.clip(nn.relu(gg.sin(x) * 3), -0.5, 0.5) * nn.relu6(gg.exp(x))
    expected = gradients(f, [x])
    g = within(f, bound)
    for _ in range(2):
        assert_same(gradients(g, [x]), expected)
    assert g.plan.saved <= bound and (bound > 10**8 or [r["again"] for r in g.plan.rows if r["nbytes"] < 280_000])


def test_the_ledger_counts_what_is_held_to_make_values_again():
    x = gg.tensor(np.linspace(-1, 1, 1000), requires_grad=True)
    g = within(deep, 5 * 8000)
    for _ in range(2):
        with gg.GradientTape() as tape:
            y = g(x)
    held = x.nbytes + y.nbytes  # the inputs of recipes and what f answers live anyway
    assert g.plan.until and 0 <= tape.memory().nbytes - g.plan.saved <= held
    assert tape.memory().nbytes == tape.nbytes()


def test_two_threads_walk_back_at_once():
    x = gg.tensor(np.linspace(-1, 1, 20_000))
    g = within(deep, 300_000)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = g(x)
    expected = tape.gradient(y, x).numpy()
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = g(x)
    got = []
    walk = lambda: got.extend([tape.gradient(y, x).numpy() for _ in range(10)])
    threads = [threading.Thread(target=walk) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 40
    for one in got:
        np.testing.assert_array_equal(one, expected)


# ---------------------------------------------------------------------------------------------- plans
def test_each_sequence_of_shapes_and_ops_has_a_plan_of_its_own():
    def f(x, n):
        for i in range(n):
            x = gg.tanh(x) if i % 3 else gg.exp(x)
        return x * x if n == 5 else x

    g, made = within(f, 3000), []
    inputs = [(gg.tensor(np.linspace(0, 1, m), requires_grad=True), n) for m in (100, 200) for n in (3, 5, 6)]
    for _ in range(2):
        for x, n in inputs:
            x.grad = None
            y = g(x, n)
            made.append(g.plan)
            (got,) = gg.grad(gg.sum(y), x)
            (expected,) = gg.grad(gg.sum(f(x, n)), x)
            np.testing.assert_array_equal(got.numpy(), expected.numpy())
    assert all(a is b for a, b in zip(made[:6], made[6:])) and len(set(map(id, made))) == 6
    assert [bool(p.until) for p in made[:6]] == [p.before > 3000 for p in made[:6]]


def test_the_door_is_checkpoint():
    x = gg.tensor(np.ones(1000), requires_grad=True)

    @gg.checkpoint(max_bytes=24_000)
    def f(x):
        "Its words."
        return deep(x)

    f(x)
    assert f.plan.saved <= 24_000 < f.plan.before and f.__doc__ == "Its words."


def test_where_nothing_is_recorded_there_is_no_plan():
    g = within(gg.tanh, 0)
    with gg.no_grad():
        g(gg.tensor([1.0], requires_grad=True))
    g(gg.tensor([1.0]))
    assert g.plan is None


def test_a_plan_prints_what_becomes_of_each_array(monkeypatch):
    monkeypatch.setattr(rematerialize, "_time", lambda *call: 1e-5)
    x = gg.tensor(np.ones(1000), requires_grad=True)
    g = within(deep, 60_000)
    g(x)
    text = str(g.plan)
    assert text.startswith("of 0.1 MB that 40 ops would keep, 0.1 MB are kept (allowed: 0.1 MB); a backward pass runs")
    assert re.search(r"made again +0\.0 MB +(tanh|exp) +test_rematerialize\.py:\d+$", text, re.M)
    assert sum([r["nbytes"] for r in g.plan.rows if not r["again"]]) == g.plan.saved


@pytest.mark.parametrize(
    "bad, error", [("64e6", TypeError), (True, TypeError), (-1, ValueError), (float("nan"), ValueError)]
)
def test_max_bytes_is_a_number_of_bytes(bad, error):
    with pytest.raises(error, match="checkpoint: max_bytes is a number of bytes"):
        within(gg.tanh, bad)


def test_max_bytes_of_numpy_and_without_the_state():
    assert within(gg.tanh, np.int64(64)) and gg.checkpoint(gg.tanh, max_bytes=np.float32(64))
    with pytest.raises(ValueError, match="preserve_rng_state=False is for f run whole"):
        gg.checkpoint(gg.tanh, max_bytes=64, preserve_rng_state=False)


def test_index_arrays_count(no_collector):
    x = gg.tensor(np.random.default_rng(0).standard_normal(50_000), requires_grad=True)
    f = lambda x: gg.sin(gg.sort(gg.sin(x), -1))
    for bound in (800_000, 400_000):
        g = within(f, bound)
        g(x)
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = g(x)
        assert tape.nbytes() - x.nbytes == g.plan.saved == bound
        np.testing.assert_array_equal(tape.gradient(y, x).numpy(), gg.grad(gg.sum(f(x)), x)[0].numpy())
    with pytest.raises(ValueError, match="the least found possible here is 400,000 bytes"):
        within(f, 399_999)(x)


def test_a_walk_inside_another_clears_its_own_alone(monkeypatch):
    x, calls = gg.tensor(np.linspace(-1, 1, 100), requires_grad=True), [0]

    @gg.op(x=lambda g, x: g * gg.cos(x))
    def counted(xp, x):
        calls[0] += 1
        return xp.sin(x)

    hook = [None]

    def program(x):
        h = counted(x) * x
        if hook[0] is not None:
            h.register_hook(hook[0])
        return gg.exp(gg.tanh(gg.tanh(h)))

    f = within(program, 0)
    f(x)

    def gradient(inner):
        other = gg.sum(f(x))
        hook[0] = (lambda g: gg.grad(other, x) and None) if inner else None
        y = f(x)
        hook[0], calls[0] = None, 0
        (g,) = gg.grad(gg.sum(y), x)
        return calls[0], g.numpy()

    (alone, a), (both, b) = gradient(False), gradient(True)
    np.testing.assert_array_equal(a, b)
    assert both == 2 * alone and not any(remade.stack)


def test_an_error_leaves_nothing_open():
    x = gg.tensor(np.ones(3), requires_grad=True)

    def f(x, fail):
        y = gg.exp(gg.tanh(x))
        if fail:
            raise KeyError("mine")
        return gg.sum(y)

    g = within(f, 0)
    for fail in (True, False, True, False):
        if fail:
            with pytest.raises(KeyError):
                g(x, fail)
        else:
            g(x, fail).backward()
        assert not packing


# ---------------------------------------------------------------------------------------------- what is not run again
def test_ops_that_do_not_repeat_keep_what_they_make():
    count = [0]

    @gg.op(x=lambda g, out: g * out)
    def noisy(xp, x):
        count[0] += 1
        return x + count[0]

    x = gg.tensor(np.ones(100), requires_grad=True)
    f = lambda x: gg.sum(gg.square(noisy(gg.exp(x))))
    g = within(f, 800)
    for _ in range(2):
        count[0] = 0
        (expected,) = gg.grad(f(x), x)
        count[0] = 0
        (got,) = gg.grad(g(x), x)
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
    assert [r["op"] for r in g.plan.rows if not r["again"]] == ["noisy"]
    with pytest.raises(ValueError, match="800 bytes.*800 of noisy test_rematerialize"):
        within(f, 700)(x)


def test_what_is_written_to_in_place_stays_as_it_is():
    def f(x):
        a = torch.exp(x)
        b = torch.tanh(a)
        c = x * 2
        d = torch.relu(c)
        c.add_(1.0)
        return (b * b * d * torch.sin(c)).sum()

    x = torch_tensor()
    (expected,) = torch.autograd.grad(f(x), x)
    for bound in (8 * 800, 5 * 800, 4 * 800):
        g = within(f, bound)
        for _ in range(2):
            (got,) = torch.autograd.grad(g(x), x)
            np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_a_change_of_what_is_needed_to_make_a_value_again_is_an_error():
    x = torch_tensor()
    h = x * 1.0
    f = lambda h: torch.tanh(h + 1.0)
    g = within(lambda h: torch.exp(f(h)), 0)
    g(h)
    y = g(h)
    h.data.add_(1.0)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: .* makes the output of add again"):
        y.sum().backward()


def torch_tensor():
    return torch.linspace(-1, 1, 100, dtype=torch.float64).requires_grad_()


def test_gradients_of_ones_own_keep_what_they_keep():
    @gg.custom_gradient
    def mine(x):
        e = gg.exp(x)
        return gg.log(1 + e), lambda g: g * (1 - 1 / (1 + e))

    x = gg.tensor(np.linspace(-1, 1, 100), requires_grad=True)
    f = lambda x: gg.sum(mine(gg.tanh(gg.exp(x))) * gg.sin(x))
    (expected,) = gg.grad(f(x), x)
    g = within(f, 4000)
    for _ in range(2):
        np.testing.assert_array_equal(gg.grad(g(x), x)[0].numpy(), expected.numpy())


# ---------------------------------------------------------------------------------------------- in one another
@pytest.mark.parametrize("outer", [lambda f: within(f, 20_000), gg.recompute_grad, lambda f: hooked(f)])
def test_in_one_another(outer):
    ts = weights(*SHAPES)
    rate = 0.0 if outer is gg.recompute_grad else 0.25  # it draws other bits when it runs f again
    f = lambda x, w, *more: gg.sum(gg.square(block(gg.tanh(x), w, *more, rate))) * gg.sum(w)
    gg.random.seed(1)
    expected = [g.numpy() for g in gg.grad(f(*ts), ts)]
    inner = within(block, 10_000)
    g = outer(lambda x, w, *more: gg.sum(gg.square(inner(gg.tanh(x), w, *more, rate))) * gg.sum(w))
    for _ in range(2):
        gg.random.seed(1)
        assert_same([g.numpy() for g in gg.grad(g(*ts), ts)], expected)
    assert inner.plan.saved <= 10_000


def hooked(f):
    def call(*ts):
        with gg.saved_tensors_hooks(lambda t: t.numpy().copy(), lambda a: gg.tensor(a)):
            return f(*ts)

    return call


# ---------------------------------------------------------------------------------------------- choosing
def trace_of(rng, n):
    """A program of n ops on blocks of random sizes, some of which cannot be run again."""
    t = Trace()

    def value(maker, block=None):
        if block is None:
            t.sizes.append(int(rng.integers(1, 9)) * 100)
            block = len(t.sizes) - 1
        t.makers.append(maker)
        t.blocks.append(block)
        return len(t.makers) - 1

    values = [value(-1)]
    t.free.add(0)
    for i in range(n):
        if rng.random() < 0.1:
            values.append(value(-1))
        inputs = tuple({values[-int(k)] for k in rng.integers(1, min(4, len(values)) + 1, 2)})
        outs = (
            (value(i, t.blocks[inputs[0]]),)
            if rng.random() < 0.2
            else tuple([value(i) for _ in range(rng.integers(1, 3))])
        )
        saved = [v for v in (*inputs, *outs) if rng.random() < 0.5]
        seconds = np.inf if rng.random() < 0.1 else float(rng.choice([1, 2, 5]))
        t.steps.append(Step((i,), "", "", inputs, tuple(enumerate(inputs)), outs, tuple(enumerate(saved)), seconds))
        values += outs
    return t


@pytest.mark.parametrize("seed", range(40))
def test_choices_fit_their_bound_and_are_near_the_best(seed):
    t = trace_of(np.random.default_rng(seed), 6)
    blocks = [b for b in range(len(t.sizes)) if b not in t.free]
    every = [outcome(t, set(c)) for n in range(len(blocks) + 1) for c in combinations(blocks, n)]
    full = outcome(t, {t.blocks[v] for s in t.steps for _, v in s.saved})
    least = choose(t, 0)[1]
    assert full.seconds == 0 and full.peak == full.saved and least.saved <= 1.5 * min([o.saved for o in every])
    for part in (0.8, 0.5, 0.2):
        bound = least.saved + part * (full.saved - least.saved)
        keep, done = choose(t, bound)
        assert done == outcome(t, keep) and done.saved <= bound and done.peak >= done.saved
        cost = lambda o, bound=bound: o.seconds * max(o.peak, bound)
        assert cost(done) <= 3 * min([cost(o) for o in every if o.saved <= bound]) + 2000


def chain(n):
    """n ops, each of which saves its output, of sizes and costs that differ."""
    t, rng = Trace(), np.random.default_rng(0)
    t.sizes, t.makers, t.blocks, t.free = (
        [1000, *rng.integers(500, 2000, n).tolist()],
        [-1, *range(n)],
        [*range(n + 1)],
        {0},
    )
    for i in range(n):
        inputs = (i,) if i % 7 or i < 5 else (i, i - 4)
        t.steps.append(
            Step((i,), "", "", inputs, tuple(enumerate(inputs)), (i + 1,), ((1, i + 1),), float(rng.choice([1, 2, 5])))
        )
    return t


def test_long_runs_take_few_looks(monkeypatch):
    looked = [0]

    def counted(trace, keep):
        looked[0] += len(trace.steps)
        return outcome(trace, keep)

    monkeypatch.setattr(choosing, "outcome", counted)
    for n in (100, 400, 1600):
        t = chain(n)
        looked[0], bound = 0, 0.2 * sum(t.sizes)
        keep, done = choosing.choose(t, bound)
        assert done == outcome(t, keep) and done.saved <= bound and done.peak <= 1.3 * bound
        assert looked[0] <= 10 * (choosing._WORK + 8 * n)
