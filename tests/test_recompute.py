"""checkpoint: computed again instead of kept."""

import gc
import threading
import tracemalloc
import weakref
from functools import partial

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch
from gpugrad.hooks import walks
from gpugrad.repeat import repeated

pytestmark = pytest.mark.devices


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def same(a, b):
    if a is None or b is None:
        assert a is b
    else:
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def values(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


def block(x, w, b=None):
    h = gg.tanh(x @ w)
    h = gg.sin(h) * x
    return h if b is None else h + b


WAYS = {
    "one": lambda f, x, w, b: f(x, w),
    "nested arguments": lambda f, x, w, b: f(*[x], **{"w": w, "b": b}),
    "twice the same": lambda f, x, w, b: f(x, w, x),
    "of an intermediate": lambda f, x, w, b: f(gg.exp(x), w * 2.0, b),
    "a leaf and what is made of it": lambda f, x, w, b: f(gg.exp(x) * x, w, x),
}


@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_both_orders_on_tapes_and_on_the_graph(way):
    use = WAYS[way]
    x, w, b = [gg.tensor(v, requires_grad=True) for v in values((3, 4), (4, 4), (4,))]
    xs = [x, w, b]
    found = []
    for f in (block, gg.checkpoint(block)):
        loss = lambda f=f: gg.sum(gg.sin(use(f, x, w, b)) ** 2)
        rows = list(gg.grad(loss(), xs, allow_unused=True))
        first = gg.grad(loss(), xs, create_graph=True, allow_unused=True)
        total = sum([gg.sum(g * g) for g in first if g is not None])
        rows += gg.grad(total, xs, allow_unused=True)
        for options in ({}, {"persistent": True}, {"uses": 2}):
            with gg.GradientTape(**options) as outer:
                outer.watch(xs)
                with gg.GradientTape(**options) as tape:
                    tape.watch(xs)
                    y = loss()
                g = tape.gradient(y, xs)
            rows += [*g, *outer.gradient([v for v in g if v is not None], xs)]
            if options:
                rows += tape.gradient(y, xs)
        y = loss()
        y.backward()
        rows += [None if v.grad is None else v.grad + 0.0 for v in xs]
        for v in xs:
            v.grad = None
        found.append(rows)
    for a, b in zip(*found, strict=True):
        if a is None or b is None:
            assert a is b
        else:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-13)


def times(h, v, x):
    return lambda a: gg.sin(a * h) * v * x


def reads_all(h, x):
    return lambda: h * h * x


def test_what_f_reads_without_being_given_it():
    x, v = gg.tensor(values((3,))[0], requires_grad=True), gg.Variable(np.array([1.0, 2.0, 3.0]))
    found = []
    for wrap in (lambda f: f, gg.checkpoint):
        with gg.GradientTape() as outer:
            outer.watch(x)
            with gg.GradientTape() as tape:
                tape.watch(x)
                h = gg.exp(x) * v
                y = gg.sum(wrap(times(h, v, x))(gg.cos(x)))
            g = tape.gradient(y, [x, v, h])
        second = outer.gradient(g, [x, v])
        more = wrap(reads_all(gg.exp(x), x))
        found.append([*g, *second, *gg.grad(gg.sum(more()), x)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13)


def test_nested_checkpoints():
    x, w = [gg.tensor(v, requires_grad=True) for v in values((3, 3), (3, 3))]
    calls = []

    def inner(a):
        calls.append("inner")
        return gg.tanh(a @ w)

    def outer(wrap, a):
        calls.append("outer")
        return wrap(inner)(wrap(inner)(a) * w)

    found = []
    for wrap in (lambda f: f, gg.checkpoint):
        f = wrap(partial(outer, wrap))
        (g,) = gg.grad(gg.sum(f(gg.sin(x))), w, create_graph=True)
        found.append([g, *gg.grad(gg.sum(g * g), [x, w])])
        with gg.GradientTape() as tape:
            y = gg.sum(f(x))
        found[-1].append(tape.gradient(y, w))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_answers_may_be_nested_inputs_numbers_and_unused():
    x, w = [gg.tensor(v, requires_grad=True) for v in values((3,), (3,))]

    @gg.checkpoint
    def f(x, w):
        return {"y": gg.exp(x) * w, "all": (x, 3, None, gg.argmax(x)), "more": [gg.sin(w), w * 2.0]}

    out = f(x, w)
    assert out["all"][0] is x and out["all"][1:3] == (3, None) and not out["all"][3].requires_grad
    y = gg.sum(out["y"] * out["all"][0]) + gg.sum(out["more"][1])  # more[0] is not used
    e = np.exp(x.numpy())
    gx, gw = gg.grad(y, [x, w])
    np.testing.assert_allclose(gx.numpy(), w.numpy() * e * (1 + x.numpy()))
    np.testing.assert_allclose(gw.numpy(), e * x.numpy() + 2)


def test_an_input_that_nobody_tracks_is_handed_through():
    x, c = gg.tensor([2.0], requires_grad=True), gg.tensor([3.0])
    y, same_c = gg.checkpoint(lambda x, c: (x * c, c))(x, c)
    assert same_c is c and c.node is None and float(gg.grad(y, x)[0]) == 3


def test_what_nobody_tracks_is_just_computed():
    f = gg.checkpoint(lambda x: gg.exp(x))
    x = gg.tensor([1.0])
    assert f(x).node is None
    with gg.no_grad():
        assert f(gg.tensor([1.0], requires_grad=True)).node is None
    assert gg.checkpoint(lambda x: x)(x) is x


def test_as_a_decorator():
    @gg.checkpoint
    def one(x):
        """Its words."""
        return gg.exp(x)

    @gg.checkpoint(preserve_rng_state=False)
    def two(x):
        return gg.exp(x)

    layer = gg.nn.Linear(3, 2)
    x = gg.tensor(np.ones((1, 3), "float32"), requires_grad=True)
    assert one.__name__ == "one" and one.__doc__ == "Its words." and two.__name__ == "two"
    y = gg.checkpoint(layer)(x)
    with gg.GradientTape() as tape:
        y = gg.sum(gg.checkpoint(layer)(x))
    same(tape.gradient(y, layer.weight), gg.ones_like(layer.weight))
    assert gg.recompute_grad is gg.checkpoint is tf.recompute_grad
    with pytest.raises(TypeError, match=r"write checkpoint\(f\)\(x\)"):
        gg.checkpoint(x)


class Net(gg.nn.Module):
    def __init__(self):
        self.layer = gg.nn.Linear(4, 4)

    @gg.checkpoint
    def forward(self, x):
        return gg.tanh(self.layer(x))


def test_methods():
    net, x = Net(), gg.tensor(np.ones((2, 4), "float32"))
    with gg.GradientTape() as tape:
        y = gg.sum(net(x))
    assert tape.nbytes() == x.nbytes
    assert all(g is not None for g in tape.gradient(y, net.trainable_variables))


# ---------------------------------------------------------------------------------------------- random numbers
def test_the_second_run_draws_the_same_numbers():
    x = gg.tensor(np.ones(64, "float32"), requires_grad=True)
    mine = gg.random.Generator(7)
    drop = gg.nn.Dropout(0.5)

    def f(x):
        noise = gg.random.normal((64,), generator=mine)
        split = gg.random.split(2)[1]
        return drop(x) * noise + gg.nn.dropout(x, 0.5, seed=3) * gg.random.uniform((64,), generator=split)

    found = []
    for wrap in (lambda f: f, gg.checkpoint, lambda f: gg.checkpoint(gg.checkpoint(f))):
        gg.random.seed(0)
        mine.seed(7)
        y = wrap(f)(x)
        after = gg.random.get_state(), mine.get_state()
        gg.random.normal((3,)), gg.random.normal((2,), generator=mine)
        between = gg.random.get_state(), mine.get_state()
        (g,) = gg.grad(gg.sum(y), x)
        assert (gg.random.get_state(), mine.get_state()) == between != after
        found.append((y, g, after))
    for y, g, after in found[1:]:
        same(y, found[0][0])
        same(g, found[0][1])
        assert after == found[0][2]


def test_without_the_state_the_second_run_draws_on():
    x = gg.tensor(np.ones(256, "float32"), requires_grad=True)
    gg.random.seed(0)
    f = lambda x: gg.nn.dropout(x, 0.5)
    y = gg.checkpoint(f, preserve_rng_state=False)(x)
    before = gg.random.get_state()
    (g,) = gg.grad(gg.sum(y), x)
    assert gg.random.get_state() != before and (g.numpy() != y.numpy()).any()


def test_the_second_run_in_another_thread():
    x = gg.tensor(np.ones(256, "float32"), requires_grad=True)
    y = gg.checkpoint(lambda x: gg.nn.dropout(x, 0.5))(x)
    got = []
    thread = threading.Thread(target=lambda: got.extend(gg.grad(gg.sum(y), x)))
    thread.start()
    thread.join()
    same(got[0], y)


def test_every_second_run_of_a_persistent_tape_draws_the_same():
    x = gg.tensor(np.ones(256, "float32"))
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = gg.checkpoint(lambda x: gg.nn.dropout(x, 0.5))(x)
    for _ in range(3):
        same(tape.gradient(y, x), y)
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = gg.checkpoint(lambda x: gg.nn.dropout(x, 0.5) * x)(x)
        g = tape.gradient(y, x)
    same(g, 2 * y)
    same(outer.gradient(g, x), 2 * y)


def test_running_statistics_move_once():
    for layer in (gg.nn.BatchNorm(3), gg.nn.BatchNorm(3, momentum=None)):
        x = gg.tensor(values((5, 3))[0].astype("float32"), requires_grad=True)
        gg.sum(gg.checkpoint(layer)(x) ** 3).backward()
        g, mean, var = x.grad.numpy(), layer.running_mean.numpy(), layer.running_var.numpy()
        plain = gg.nn.BatchNorm(3, momentum=layer.momentum)
        x.grad = None
        gg.sum(plain(x) ** 3).backward()
        np.testing.assert_array_equal(mean, plain.running_mean.numpy())
        np.testing.assert_array_equal(var, plain.running_var.numpy())
        np.testing.assert_array_equal(g, x.grad.numpy())
        if layer.momentum is None:
            assert layer.num_batches_tracked.item() == 1


# ---------------------------------------------------------------------------------------------- errors
def test_errors_in_either_run():
    x = gg.tensor([1.0], requires_grad=True)
    runs = []

    def fails(at):
        def f(x):
            runs.append(1)
            if len(runs) == at:
                raise ZeroDivisionError
            return gg.nn.dropout(gg.exp(x), 0.5)

        runs.clear()
        return gg.checkpoint(f)

    with pytest.raises(ZeroDivisionError):
        fails(1)(x)
    y = gg.sum(fails(2)(x))
    state = gg.random.get_state()
    with pytest.raises(ZeroDivisionError):
        y.backward(retain_graph=True)
    assert gg.random.get_state() == state and not repeated() and not walks.stack and x.grad is None
    y.backward()  # the third run succeeds
    assert x.grad is not None and gg.exp(x).requires_grad


def test_another_answer_the_second_time():
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    for second in (lambda x: x[:1] * 2.0, lambda x: gg.astype(x, gg.float16), lambda x: 3, lambda x: ()):
        answers = [lambda x: x * 2.0, second]
        y = gg.checkpoint(lambda x, answers=answers: answers.pop(0)(x))(x)
        with pytest.raises(RuntimeError, match="It must compute the same both times"):
            gg.grad(gg.sum(y), x)


def test_a_variable_that_has_changed_since():
    v = gg.Variable([1.0, 2.0], name="w")
    with gg.GradientTape() as tape:
        y = gg.checkpoint(lambda: gg.exp(v))()
    v.assign([3.0, 4.0])
    with pytest.raises(RuntimeError, match="variable 'w', which it reads, has been given another value"):
        tape.gradient(y, v)


def test_an_argument_changed_in_place():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="has changed an argument in place"):
        gg.checkpoint(lambda h: h.add_(1.0) * 2.0)(x * 1.0)
    h = x * 1.0
    y = gg.checkpoint(lambda h: h * h)(h)
    h.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = gg.checkpoint(lambda h: (h * 1.0).mul_(3.0) * h)(x)  # of its own: allowed
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [6.0, 12.0]


def test_gradients_inside_of_it():
    x, w = gg.tensor(values((3,))[0], requires_grad=True), gg.tensor(values((3,), seed=1)[0], requires_grad=True)

    def penalty(x):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = gg.sum(gg.sin(x * w))
        g = tape.gradient(y, x)
        return gg.sum(g * g)

    found = []
    for f in (penalty, gg.checkpoint(penalty)):
        with gg.GradientTape() as tape:
            tape.watch([x, w])
            y = f(gg.exp(x))
        found.append([y, *tape.gradient(y, [x, w])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13)


def test_hooks_are_called_once_with_the_whole_gradient():
    x, w = gg.tensor([2.0], requires_grad=True), gg.tensor([3.0], requires_grad=True)
    seen = []
    h = gg.exp(x)
    for t in (x, w, h):
        t.register_hook(lambda g: seen.append(g.numpy().tolist()))
    f = gg.checkpoint(lambda h: h * w + gg.checkpoint(lambda h: h * w)(h))
    gg.sum(f(h) + h * w).backward()
    e = float(np.exp(np.float32(2)))
    np.testing.assert_allclose(sorted(map(np.ravel, seen)), sorted([[9.0], [3 * e], [9 * e]]), rtol=1e-6)


# ---------------------------------------------------------------------------------------------- memory
def array_bytes():
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([only]).traces)


N, OPS, SEGMENTS = 50_000, 6, 4


def segment(x):
    for _ in range(OPS):
        x = gg.sin(x)
    return x


@pytest.mark.numpy("counts what NumPy allocates")
@pytest.mark.parametrize("kind", ["tape", "persistent", "graph"])
def test_of_several_checkpoints_one_is_in_memory(kind):
    peaks = {}
    for wrap in (lambda f: f, gg.checkpoint):
        x = gg.tensor(np.linspace(-1, 1, N), requires_grad=True)
        tape = gg.GradientTape(persistent=kind == "persistent")
        tracemalloc.start()
        try:
            h = x
            if kind == "graph":
                for _ in range(SEGMENTS):
                    h = wrap(segment)(h)
                loss = gg.sum(h)
            else:
                with tape:
                    tape.watch(x)
                    for _ in range(SEGMENTS):
                        h = wrap(segment)(h)
                    loss = gg.sum(h)
            del h
            kept = array_bytes()
            tracemalloc.reset_peak()
            g = gg.grad(loss, x)[0] if kind == "graph" else tape.gradient(loss, x)
            peaks[wrap] = kept // (8 * N), tracemalloc.get_traced_memory()[1] / (8 * N)
            assert array_bytes() // (8 * N) == (1 + kept // (8 * N) if kind == "persistent" else 1)
            del loss, g, tape
            assert array_bytes() < 1000
        finally:
            tracemalloc.stop()
    (plain, plain_peak), (kept, peak) = peaks.values()
    assert plain == OPS * SEGMENTS - 1  # the input of each sine; x itself was there before
    assert kept == SEGMENTS - 1
    # The inputs of the segments, what one of them saves, and its answer, or a cotangent in its place; a walk that frees
    # nothing has two cotangents.
    assert peak < kept + OPS - 1 + (2 if kind == "persistent" else 1) + 0.1
    assert plain_peak > plain + 1


def test_outputs_and_intermediate_results_die():
    alive = []

    def note(x):
        alive.append(weakref.ref(x.array))
        return x

    x = gg.tensor(np.ones(100), requires_grad=True)
    y = gg.checkpoint(lambda x: note(gg.exp(note(gg.sin(x)))))(gg.exp(x))
    loss = gg.sum(y)
    assert alive[0]() is None and alive[1]() is y.array
    del y
    assert alive[1]() is None
    loss.backward()
    assert not any([r() is not None for r in alive]) and len(alive) == 4


def test_the_node_and_all_it_holds_go_with_the_walk():
    x = gg.tensor(np.ones(100), requires_grad=True)
    held = gg.tensor(np.ones(100))
    watch = weakref.ref(held.array)
    loss = gg.sum(gg.checkpoint(lambda x, c: gg.exp(x) * c)(x, held))
    del held
    assert watch() is not None
    loss.backward()
    assert watch() is None
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


def test_what_f_leaves_elsewhere_keeps_nothing():
    x, metrics = gg.tensor(np.ones(100), requires_grad=True), []

    def f(x):
        metrics.append(gg.exp(x * x))
        return gg.sin(x)

    gg.sum(gg.checkpoint(f)(x)).backward()
    first, second = metrics
    assert all([t.node.saved is None and t.node.edges == () for t in (first, second)])


def test_inputs_are_packed_by_the_hooks_of_their_context():
    x = gg.tensor(np.linspace(0, 1, 100), requires_grad=True)
    seen = []
    hooks = gg.saved_tensors_hooks(lambda t: t.numpy().copy(), lambda a: seen.append(1) or gg.tensor(a))
    with hooks:
        h = gg.exp(x)
        seen.clear()
        array = weakref.ref(h.array)
        y = gg.checkpoint(lambda h: gg.sin(h))(h)
    del h
    loss = gg.sum(y)
    (g,) = gg.grad(loss, x)
    e = np.exp(np.linspace(0, 1, 100))
    np.testing.assert_allclose(g.numpy(), np.cos(e) * e)
    assert seen and array() is None


# ---------------------------------------------------------------------------------------------- what others change
def test_a_change_in_place_of_what_f_reads():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    w, c = torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([1.0, 1.0])
    for read in (w, c):
        y = torch.utils.checkpoint.checkpoint(lambda x, t=None: torch.exp(read * x), x, use_reentrant=False)  # noqa: B023
        with torch.no_grad():
            read.add_(1.0)
        with pytest.raises(RuntimeError, match="given another value since"):
            y.sum().backward()
        y = gg.checkpoint(lambda x: torch.exp(read * x))(x)  # noqa: B023
        y.sum().backward()


def test_an_optimizers_step_in_between():
    w, x = gg.Variable(np.ones(3, "float32")), gg.tensor(np.ones(3, "float32"))
    for opt in (gg.optim.SGD([w], 0.1), gg.optim.Adam([w], 0.1)):
        with gg.GradientTape(persistent=True) as tape:
            y = gg.sum(gg.checkpoint(lambda x: gg.exp(w * x))(x))
        opt.apply_gradients([(tape.gradient(y, w), w)])
        with pytest.raises(RuntimeError, match="given another value since"):
            tape.gradient(y, w)


def test_a_variable_that_is_not_trained():
    s, x = gg.Variable([2.0, 2.0], trainable=False, name="s"), gg.tensor([1.0, 2.0], requires_grad=True)
    y = gg.checkpoint(lambda x: gg.exp(x * s))(x)
    s.assign([5.0, 5.0])
    with pytest.raises(RuntimeError, match="variable 's', which it reads, has been given another value"):
        gg.sum(y).backward()


@pytest.mark.parametrize("trainable", [False, True])
def test_a_variable_that_f_itself_assigns(trainable):
    s, x = gg.Variable([2.0, 2.0], trainable=trainable, name="s"), gg.tensor([1.0, 2.0], requires_grad=True)

    def reads_first(x):
        y = x * s
        s.assign_add([1.0, 1.0])
        return y

    def assigns_first(x):
        local = gg.Variable([0.0, 0.0])
        local.assign([7.0, 7.0])
        s.assign_add([1.0, 1.0])
        return x * s * local

    def moves(x):
        y = gg.exp(x)
        s.assign(0.5 * s + 0.5 * y.detach())
        return y

    with pytest.raises(RuntimeError, match="reads variable 's' and then changes it"):
        gg.checkpoint(reads_first)(x)
    for f in (assigns_first, moves):
        s.assign([2.0, 2.0])
        (expected,) = gg.grad(gg.sum(f(x)), x)
        after = s.numpy()
        s.assign([2.0, 2.0])
        (got,) = gg.grad(gg.sum(gg.checkpoint(f)(x)), x)
        same(got, expected)
        np.testing.assert_array_equal(s.numpy(), after)


# ---------------------------------------------------------------------------------------------- which answers
def test_answers_that_f_detaches():
    x = gg.tensor([1.0, 2.0], requires_grad=True)

    def f(x):
        y = x * 2.0
        with gg.no_grad():
            z = x * 5.0
        return y, (x * 3.0).detach(), gg.stop_gradient(gg.exp(x)), z, gg.tensor([1.0]) * 2.0, y

    y, *rest, again = gg.checkpoint(f)(x)
    assert y.requires_grad and not any([t.requires_grad for t in rest]) and again is y
    assert gg.grad(gg.sum(y + again), x)[0].tolist() == [4.0, 4.0]


def test_answers_that_are_filled_in_place():
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def f(x):
        y = torch.zeros(4)
        y[1:3] = torch.exp(x)
        return y

    for g in (f, gg.checkpoint(f)):
        np.testing.assert_allclose(torch.autograd.grad(g(x).sum(), x)[0].numpy(), np.exp([1.0, 2.0]), rtol=1e-6)
