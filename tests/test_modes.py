"""no_grad, enable_grad, set_grad_enabled, stop_recording: what is off, where, and for how long."""

import asyncio
import threading

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


def leaf(v):
    return gg.tensor(np.asarray(v, np.float64), requires_grad=True)


def test_modes():
    x, c = leaf(1.0), gg.tensor(1.0)
    assert not (c * 2).requires_grad and (x * 2).requires_grad
    with gg.no_grad():
        assert not (x * 2).requires_grad and not gg.is_grad_enabled()
        with gg.enable_grad():
            assert (x * 2).requires_grad
        with gg.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert not (x.detach() * 2).requires_grad
    gg.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        gg.set_grad_enabled(True)
    assert (x * 2).requires_grad


def test_modes_as_decorators_are_reentrant():
    x = leaf(1.0)

    @gg.no_grad()
    def f(n):
        return x * 2 if n == 0 else f(n - 1)

    @gg.set_grad_enabled(False)
    def g():
        return x * 2

    assert not f(3).requires_grad and not g().requires_grad
    assert (x * 2).requires_grad

    @gg.enable_grad()
    def h():
        return x * 2

    with gg.no_grad():
        assert h().requires_grad


def test_modes_belong_to_a_thread_and_a_task():
    x, seen = leaf(1.0), []
    with gg.no_grad():
        t = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        t.start()
        t.join()
    assert seen == [True]

    async def quiet():
        with gg.no_grad():
            await asyncio.sleep(0)
            return (x * 2).requires_grad

    async def loud():
        await asyncio.sleep(0)
        return (x * 2).requires_grad

    async def both():
        return await asyncio.gather(quiet(), loud())

    assert asyncio.run(both()) == [False, True]


def test_enable_grad_under_a_tape_under_no_grad():
    w = leaf(3.0)
    with gg.no_grad(), gg.GradientTape():
        assert gg.is_grad_enabled()
        with gg.enable_grad():
            z = w * w
    assert w.detach().requires_grad is False and z.node is not None


@pytest.mark.parametrize("again", [gg.enable_grad, lambda: gg.set_grad_enabled(True)])
def test_on_again_inside_off_inside_a_tape_records_on_the_tape(again):
    x = gg.tensor(3.0)
    with gg.GradientTape() as tape:
        tape.watch(x)
        with gg.no_grad():
            lost = x * x
            with again():
                y = x * x
        z = lost * y
    assert float(tape.gradient(z, x)) == 9 * 6


def test_the_statement_inside_a_tape():
    x = gg.Variable(3.0)
    with gg.GradientTape() as tape:
        gg.set_grad_enabled(False)
        lost = x * x
        gg.set_grad_enabled(np.True_)
        y = x * x
        z = lost * y
    assert float(tape.gradient(z, x)) == 9 * 6
    assert gg.is_grad_enabled()


@pytest.mark.parametrize("bad", [None, 1, "no", [True]])
def test_set_grad_enabled_takes_a_bool(bad):
    with pytest.raises(TypeError, match="takes True or False"):
        gg.set_grad_enabled(bad)
    assert gg.is_grad_enabled()


def test_set_grad_enabled_entered_twice():
    quiet = gg.set_grad_enabled(False)
    for _ in range(2):
        with quiet, quiet:
            assert not gg.is_grad_enabled()
        assert gg.is_grad_enabled()


def test_a_generator_function_is_quiet_and_its_caller_is_not():
    x, closed = leaf(2.0), []

    @gg.no_grad()
    def steps():
        try:
            got = yield x * 1
            while True:
                try:
                    got = yield (x * got)
                except KeyError:
                    yield x * 9
                    return x * 10
        finally:
            closed.append(gg.is_grad_enabled())

    g = steps()
    for send, value in [(None, 2.0), (5.0, 10.0)]:
        out = g.send(send)
        assert not out.requires_grad and float(out) == value
        assert (x * 2).requires_grad  # between the steps
    assert float(g.throw(KeyError())) == 18
    with pytest.raises(StopIteration) as end:
        next(g)
    assert float(end.value.value) == 20
    g = steps()
    next(g)
    g.close()
    assert closed == [False, False] and gg.is_grad_enabled()


def test_a_coroutine_function_is_quiet_and_other_tasks_are_not():
    x, turn = leaf(2.0), []

    @gg.no_grad()
    async def quiet():
        out = []
        for _ in range(3):
            await asyncio.sleep(0)
            out.append((x * 2).requires_grad)
            turn.append("quiet")
        return out

    async def loud():
        out = []
        for _ in range(3):
            await asyncio.sleep(0)
            out.append((x * 2).requires_grad)
            turn.append("loud")
        return out

    async def both():
        return await asyncio.gather(quiet(), loud())

    assert asyncio.run(both()) == [[False] * 3, [True] * 3]
    assert turn[:4] == ["quiet", "loud"] * 2
    assert gg.is_grad_enabled()


def test_a_mode_left_later_than_the_tape_does_not_bring_it_back():
    x, quiet = gg.Variable(2.0), gg.no_grad()
    with gg.GradientTape(persistent=True) as tape:
        quiet.__enter__()
    quiet.__exit__(None, None, None)
    y = x * x
    assert tape.gradient(y, x) is None and tape.nbytes() == 0


def test_one_mode_for_many_threads():
    x, quiet = leaf(2.0), gg.no_grad()
    inside, outside = threading.Barrier(4), threading.Barrier(4)
    seen = []

    def work():
        with quiet:
            inside.wait(10)
            seen.append((x * 2).requires_grad)
            outside.wait(10)
        seen.append((x * 2).requires_grad)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(seen) == [False] * 4 + [True] * 4


def test_an_exception_ends_the_mode():
    with pytest.raises(ZeroDivisionError), gg.no_grad():
        1 / 0  # noqa: B018
    assert gg.is_grad_enabled()


def test_modes_of_a_tape_entered_inside():
    """A tape opened inside no_grad records; leaving the tape, the rest is off as before."""
    x, w = gg.Variable(2.0), leaf(3.0)
    with gg.no_grad():
        with gg.GradientTape() as tape:
            y = x * x * w
            with tape.stop_recording():
                z = x * y
        assert not (w * 2).requires_grad
        assert_close(tape.gradient(y, x), 12.0)
    assert z.node is None
    assert (w * 2).requires_grad


def test_modes_end_in_any_order():
    """Each takes out its own entry, not the last."""
    x = gg.Variable(2.0)
    with gg.GradientTape(persistent=True) as a, gg.GradientTape(persistent=True) as b:
        stop_a, stop_b = a.stop_recording(), b.stop_recording()
        stop_a.__enter__()
        stop_b.__enter__()
        stop_a.__exit__(None, None, None)
        y = x * x
        stop_b.__exit__(None, None, None)
        z = x * x
    assert float(a.gradient(y, x)) == 4 and b.gradient(y, x) is None
    assert float(a.gradient(z, x)) == float(b.gradient(z, x)) == 4

    def suspended():
        with gg.no_grad():
            yield

    g = suspended()
    next(g)
    with gg.enable_grad():
        g.close()
        assert gg.is_grad_enabled()
    assert gg.is_grad_enabled()


def test_a_tape_that_starts_over_stays_switched_off():
    x = gg.Variable(2.0)
    with gg.GradientTape() as tape, gg.no_grad():
        with gg.enable_grad():
            tape.reset()
        y = x * x
    assert tape.gradient(y, x) is None


def test_async_generators_are_refused():
    with pytest.raises(TypeError, match="async generator function; write the `with` block inside it"):

        @gg.no_grad()
        async def steps():
            yield 1


def test_create_graph_records_under_no_grad():
    x = leaf(2.0)
    y = x**3
    with gg.no_grad():
        (g,) = gg.grad(y, x, create_graph=True)
        assert not gg.is_grad_enabled()
    assert_close(gg.grad(g, x)[0], 12.0)
