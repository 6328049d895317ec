"""GradientTape against TensorFlow's behaviour, value by value."""

import threading
from collections import namedtuple

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


def T(v):
    return gg.tensor(np.asarray(v, np.float64))


X = 3.0


def recorded(f, x, **options):
    tape = gg.GradientTape(**options)
    with tape:
        tape.watch(x)
        out = f(x)
    return tape, out


@pytest.fixture
def x():
    return T(X)


# ---------------------------------------------------------------- what is recorded
def test_gradient_of_a_variable():
    v = gg.Variable(3.0)
    with gg.GradientTape() as tape:
        y = v**2
    g = tape.gradient(y, v)
    assert float(g) == 6.0 and g.dtype == np.float32 and g.shape == ()


def test_an_intermediate_is_a_source_like_any_other(x):
    tape, (y, z) = recorded(lambda x: (lambda y: (y, y * y))(x * x), x)
    a, b = tape.gradient(z, [x, y])
    assert_close(a, 108)
    assert_close(b, 18)
    tape, (y, z) = recorded(lambda x: (lambda y: (y, y * x))(x * x), x)
    a, b = tape.gradient(z, [x, y])
    assert_close(a, 27)
    assert_close(b, 3)


def test_what_is_computed_after_the_block_is_not_recorded(x):
    tape, y = recorded(lambda x: x * x, x)
    assert tape.gradient(y * y, x) is None


def test_a_result_of_a_tape_that_is_over_is_a_constant(x):
    _, h = recorded(lambda x: x * x, x)
    with gg.GradientTape() as tape:
        k = h * h
    assert tape.gradient(k, h) is None
    assert k.node is None


def test_watched_too_late(x):
    with gg.GradientTape() as tape:
        y = x * x
        tape.watch(x)
    assert tape.gradient(y, x) is None


def test_target_that_is_a_source(x):
    tape, _ = recorded(lambda x: x * x, x)
    assert_close(tape.gradient(x, x), 1)
    with gg.GradientTape() as tape:
        pass
    assert_close(tape.gradient(x, x), 1)  # even unwatched, as TensorFlow


def test_an_unread_variable_as_target_and_source():
    v0, v1 = gg.Variable(2.0), gg.Variable(2.0)
    x = gg.tensor(1.0)
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        result = v0 if x > 0.0 else v1**2
    dv0, dv1 = tape.gradient(result, [v0, v1])
    assert float(dv0) == 1.0 and dv1 is None
    assert tape.gradient(result, x) is None


def test_several_targets_are_summed(x):
    tape, (y, z) = recorded(lambda x: (x * x, x * 3.0), x)
    assert_close(tape.gradient([y, z], x), 9)
    tape, (y, z) = recorded(lambda x: (lambda y: (y, y * 3.0))(x * x), x)
    assert_close(tape.gradient({"y": y, "z": [z]}, x), 24)
    tape, y = recorded(lambda x: x * x, x)
    assert_close(tape.gradient([y, y], x), 12)  # a repeated target is doubled


def test_repeated_source_repeated_gradient(x):
    tape, y = recorded(lambda x: x * x, x)
    a, b = tape.gradient(y, [x, x])
    assert_close(a, 6)
    assert_close(b, 6)


def test_non_scalar_target_is_summed():
    v = gg.Variable(2.0)
    with gg.GradientTape() as tape:
        y = v * [3.0, 4.0]
    assert float(tape.gradient(y, v)) == 7.0


def test_sources_in_any_nesting(x):
    Pair = namedtuple("Pair", "a b")
    w, c = gg.Variable(2.0), gg.Variable(4.0)
    with gg.GradientTape(persistent=True) as tape:
        y = w * w * c
    out = tape.gradient(y, {"p": Pair(w, [c, (w,)]), "none": ()})
    assert isinstance(out["p"], Pair) and out["none"] == ()
    assert float(out["p"].a) == 16 and float(out["p"].b[0]) == 4 and float(out["p"].b[1][0]) == 16
    assert isinstance(tape.gradient(y, (w, c)), tuple)
    assert tape.gradient(y, ()) == ()


def test_variables_are_watched_by_themselves():
    w, c, fixed = gg.Variable(2.0), gg.tensor(5.0), gg.Variable(3.0, trainable=False)
    with gg.GradientTape() as tape:
        y = w * w * c * fixed
    a, b, d = tape.gradient(y, [w, c, fixed])
    assert float(a) == 60 and b is None and d is None
    with gg.GradientTape(watch_accessed_variables=False) as tape:
        y = w * w
    assert y.node is None and tape.gradient(y, w) is None


def test_watched_variables():
    v2, v1, v0 = (gg.Variable(float(i), name=f"v{i}") for i in range(3))
    unread = gg.Variable(1.0)
    with gg.GradientTape() as tape:
        y = v0 * v1 * v2
    assert [v.name for v in tape.watched_variables()] == ["v0", "v1", "v2"]
    tape.gradient(y, v0)
    assert [id(v) for v in tape.watched_variables()] == [id(v2), id(v1), id(v0)]
    assert unread.name not in [v.name for v in tape.watched_variables()]


def test_a_variable_outside_a_tape_records_nothing():
    assert (gg.Variable(2.0) * 3.0).node is None


def test_reentry_goes_on_with_the_same_tape(x):
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    with tape:
        z = y * x
    assert_close(tape.gradient(z, x), 27)


def test_watching_an_intermediate_does_not_cut_history(x):
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = x * x
        tape.watch(y)
        z = y * x
    a, b = tape.gradient(z, [x, y])
    assert_close(a, 27)
    assert_close(b, 3)


def test_stop_recording(x):
    with gg.GradientTape() as tape:
        tape.watch(x)
        with tape.stop_recording():
            y = x * x
        z = y * x
    assert_close(tape.gradient(z, x), 9)


def test_reset(x):
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = x * x
        tape.reset()
        z, w = x * 2.0, y * 2.0
        tape.watch(x)
        v = x * 5.0
    assert w.node is None
    assert_close(tape.gradient([z, w, v], x), 5)


def test_persistent_tape():
    x = T([1.0, 2.0])
    tape, (y, z) = recorded(lambda x: (lambda y: (y, y * y))(x * x), x, persistent=True)
    assert_close(tape.gradient(z, x), [4, 32])
    assert_close(tape.gradient(y, x), [2, 4])
    assert_close(tape.gradient(z, y), [2, 8])
    assert_close(tape.gradient(y, x, output_gradients=T([10.0, 1.0])), [20, 4])
    assert_close(tape.gradient([y, z], x, output_gradients=[T([1.0, 1.0]), None]), [6, 36])


def test_unconnected_gradients():
    x, y = gg.Variable([2.0, 2.0]), gg.Variable(3.0)
    with gg.GradientTape(persistent=True) as tape:
        z = y**2
    assert tape.gradient(z, x) is None
    g = tape.gradient(z, x, unconnected_gradients=gg.UnconnectedGradients.ZERO)
    assert_close(g, [0, 0])
    assert g.dtype == np.float32


def test_numpy_leaves_the_tape():
    x = gg.Variable([[1.0, 2.0], [3.0, 4.0]])
    with gg.GradientTape() as tape:
        y = np.mean(x**2, axis=0)
        assert isinstance(y, np.ndarray)
        y = gg.mean(gg.tensor(y), axis=0)
    assert tape.gradient(y, x) is None


def test_state_stops_gradients():
    x0, x1 = gg.Variable(3.0), gg.Variable(0.0)
    with gg.GradientTape() as tape:
        x1.assign_add(x0)
        y = x1**2
    assert tape.gradient(y, x0) is None


def test_a_variable_assigned_after_the_forward_differentiates_at_the_old_value():
    v, x = gg.Variable(3.0), gg.Variable(2.0)
    with gg.GradientTape() as tape:
        y = v * v * x
    v.assign(10.0)
    a, b = tape.gradient(y, [v, x])
    assert float(a) == 12 and float(b) == 9


def test_tapes_of_a_thread_are_its_own(x):
    out = []
    with gg.GradientTape() as tape:
        tape.watch(x)
        t = threading.Thread(target=lambda: out.append(x * x))
        t.start()
        t.join()
    assert tape.gradient(out[0], x) is None


def test_many_threads_one_variable():
    w = gg.Variable(np.ones(8))
    bad = []

    def work(k):
        for _ in range(100):
            with gg.GradientTape() as tape:
                loss = gg.sum(w * float(k) * w)
            if not np.allclose(tape.gradient(loss, w).numpy(), 2 * k):
                bad.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 7)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad


def test_an_exception_leaves_no_tape_behind(x):
    with pytest.raises(ZeroDivisionError), gg.GradientTape() as tape:
        tape.watch(x)
        1 / 0  # noqa: B018
    assert (x * x).node is None


def test_two_tapes_at_once(x):
    with gg.GradientTape() as t1, gg.GradientTape() as t2:
        t1.watch(x)
        y = x * x
        t2.watch(y)
        z = y * y
    assert_close(t1.gradient(z, x), 108)
    assert_close(t2.gradient(z, y), 18)


# ---------------------------------------------------------------- higher orders
def test_nested_tapes(x):
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as inner:
            inner.watch(x)
            y = x * x * x
        g = inner.gradient(y, x)
    assert_close(g, 27)
    assert_close(outer.gradient(g, x), 18)


def test_outer_gradient_inside_its_own_block():
    x = gg.Variable(2.0)
    with gg.GradientTape() as outer:
        with gg.GradientTape() as inner:
            y = x**3
        dy = inner.gradient(y, x)
        d2y = outer.gradient(dy, x)
    assert float(dy) == 12 and float(d2y) == 12


def test_inner_tape_that_does_not_watch(x):
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as inner:
            y = x * x * x
        assert inner.gradient(y, x) is None
    assert_close(outer.gradient(y, x), 27)


def test_inner_gradient_leaves_the_outer_tape_whole(x):
    with gg.GradientTape() as outer:
        outer.watch(x)
        with gg.GradientTape() as inner:
            inner.watch(x)
            y = x * x * x
        inner.gradient(y, x)
    assert_close(outer.gradient(y, x), 27)


def test_gradient_taken_in_a_later_tape_sees_the_saved_values(x):
    t1, y = recorded(lambda x: x * x * x, x)
    with gg.GradientTape() as t2:
        t2.watch(x)
        g = t1.gradient(y, x)
    assert_close(g, 27)
    assert_close(t2.gradient(g, x), 12)  # TensorFlow's own answer


def test_an_operand_first_watched_after_an_op_used_it():
    x, c = T(2.0), T(5.0)
    with gg.GradientTape() as t1:
        t1.watch(x)
        y = x * c
    with gg.GradientTape() as t2:
        t2.watch(c)
        g = t1.gradient(y, x)
    assert_close(t2.gradient(g, c), 1)


def test_a_detached_operand_is_not_mistaken_for_its_original():
    x, c = T([2.0]), T([5.0])
    with gg.GradientTape() as t1:
        t1.watch(x)
        y = x * c.detach()
    with gg.GradientTape() as t2:
        t2.watch(c)
        g = t1.gradient(y, x)
    assert t2.gradient(g, c) is None


def test_two_tensors_of_one_array_are_two():
    a = np.array([5.0])
    x, c, d = T([2.0]), gg.tensor(a), gg.tensor(a)
    with gg.GradientTape() as t1:
        t1.watch(x)
        y = x * c * gg.real(d) * gg.conj(d)
    with gg.GradientTape() as t2:
        t2.watch(d)
        g = t1.gradient(y, x)
    assert t2.gradient(g, d) is None


def test_third_order_mixed_partials():
    x, c = T(2.0), T(3.0)
    with gg.GradientTape() as t3:
        t3.watch(x)
        with gg.GradientTape() as t2:
            t2.watch([x, c])
            with gg.GradientTape() as t1:
                t1.watch(x)
                y = x * x * x * c
            g1 = t1.gradient(y, x)
        gx, gc = t2.gradient(g1, [x, c])
    assert_close(g1, 36)
    assert_close(gx, 36)
    assert_close(gc, 12)
    assert_close(t3.gradient(gx, x), 18)


@pytest.mark.filterwarnings("ignore:Calling GradientTape.gradient on a persistent tape")
def test_persistent_tape_on_itself(x):
    tape = gg.GradientTape(persistent=True)
    with tape:
        tape.watch(x)
        y = x * x * x
        g = tape.gradient(y, x)
    assert_close(g, 27)
    assert_close(tape.gradient(g, x), 18)


def test_tenth_derivative():
    x = T(0.5)

    def derivative(f, n):
        if n == 0:
            return f(x)
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = derivative(f, n - 1)
        return tape.gradient(y, x)

    assert_close(derivative(gg.exp, 10), np.exp(0.5))
    assert_close(derivative(gg.sin, 6), -np.sin(0.5))


# ---------------------------------------------------------------- both fronts on one forward
def test_backward_and_tape_on_one_forward():
    w = gg.tensor(3.0, requires_grad=True)
    with gg.GradientTape() as tape:
        y = w * w * w
    y.backward(retain_graph=True)
    assert float(w.grad) == 27 and float(tape.gradient(y, w)) == 27
    h = w * w  # on the graph, outside the tape
    v = gg.tensor(5.0, requires_grad=True)
    w.grad = None
    with gg.GradientTape() as tape:
        z = h * v
    z.backward(retain_graph=True)
    assert float(w.grad) == 30 and float(v.grad) == 9
    a, b = tape.gradient(z, [v, w])
    assert float(a) == 9 and b is None


def test_backward_leaves_a_persistent_tape_alone():
    w = gg.Parameter(3.0)
    with gg.GradientTape(persistent=True) as tape:
        y = w * w * w
    y.backward()
    assert float(w.grad) == 27
    assert float(tape.gradient(y, w)) == 27 and float(tape.gradient(y, w)) == 27


def test_double_backward_under_a_tape():
    w = gg.tensor(3.0, requires_grad=True)
    with gg.GradientTape() as tape:
        y = w * w * w
        (g,) = gg.grad(y, w, create_graph=True)
    assert float(tape.gradient(g, w)) == 18


def test_a_tape_inside_no_grad():
    w, v = gg.tensor(3.0, requires_grad=True), T(2.0)
    with gg.no_grad(), gg.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(v)
        y, z = w * w, v * v
    assert y.node is None
    assert_close(tape.gradient(z, v), 4)


# ---------------------------------------------------------------- errors
def test_a_used_tape():
    x = gg.Variable(3.0)
    with gg.GradientTape() as tape:
        y = x**2
    tape.gradient(y, x)
    with pytest.raises(RuntimeError, match="can only be used to compute one set of gradients.*persistent=True"):
        tape.gradient(y, x)
    with pytest.raises(RuntimeError, match="has been used"), tape:
        pass
    with pytest.raises(RuntimeError, match="never been entered"):
        gg.GradientTape().gradient(y, x)


def test_misuse_of_the_block():
    with gg.GradientTape() as tape:
        with pytest.raises(ValueError, match="Tape is still recording"), tape:
            pass
    with pytest.raises(ValueError, match="Tape is not recording"):
        tape.reset()
    with pytest.raises(ValueError, match="Tape is not recording"), tape.stop_recording():
        pass
    with pytest.raises(RuntimeError, match="not recording"), gg.GradientTape().stop_recording():
        pass
    with pytest.raises(ValueError, match="inside its `with` block"):
        gg.GradientTape().watch(gg.tensor(1.0))


def test_bad_arguments_leave_the_tape_usable():
    x = gg.Variable(3.0)
    with gg.GradientTape() as tape:
        y = x * x
    with pytest.raises(TypeError, match="received None"):
        tape.gradient(None, x)
    with pytest.raises(TypeError, match="every source must be a Tensor or Variable, given 'x'"):
        tape.gradient(y, ["x"])
    with pytest.raises(TypeError, match="every target"):
        tape.gradient(3.0, x)
    with pytest.raises(ValueError, match="Unknown value for unconnected_gradients: 'foo'"):
        tape.gradient(y, x, unconnected_gradients="foo")
    with pytest.raises(ValueError, match="Mismatch in shape"):
        tape.gradient(y, x, output_gradients=gg.ones(3))
    with pytest.raises(ValueError, match="2 targets need as many output_gradients, given 1"):
        tape.gradient([y, y], x, output_gradients=[gg.ones(())])
    with pytest.raises(TypeError, match="gradients can be either Tensors or None"):
        tape.gradient(y, x, output_gradients=["s"])
    assert float(tape.gradient(y, x)) == 6
    with pytest.raises(TypeError, match="persistent, watch_accessed_variables and explain are True or False"):
        gg.GradientTape(persistent=float("nan"))


def test_integers_and_other_things_cannot_be_watched():
    x = gg.tensor(10)
    with gg.GradientTape() as tape:
        with pytest.warns(UserWarning, match="must be floating .*got gg.int32"):
            tape.watch(x)
        for bad in (1.0, np.ones(2), "s"):
            with pytest.raises(ValueError, match="not a Tensor or Variable"):
                tape.watch(bad)
        y = x * x
    assert tape.gradient(y, x) is None


def test_an_op_without_gradient():
    contrast = gg.op(lambda xp, x: x * 2, name="AdjustContrastv2", args=["x"])
    two = gg.op(lambda xp, x, y: x + y, name="Two", args=["x", "y"])
    x = gg.Variable(1.0)
    for f, name in ((contrast, "AdjustContrastv2"), (lambda x: two(x, 1.0), "Two")):
        with gg.GradientTape() as tape:
            y = f(x) * 3.0
        with pytest.raises(LookupError, match=f"gradient registry has no entry for: {name}"):
            tape.gradient(y, x)
    constant = gg.op(lambda xp, x: x * 2, name="constant", args=["x"], differentiable=False)
    with gg.GradientTape() as tape:
        y = constant(x)
    assert y.node is None and tape.gradient(y, x) is None


def test_a_persistent_tape_differentiated_inside_its_block_warns(x):
    with gg.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        with pytest.warns(UserWarning, match="inside its context"):
            tape.gradient(y, x)


def test_advice_for_what_is_no_tensor():
    model = gg.nn.Linear(2, 1)
    x = gg.ones((1, 2))
    for sources, text in [
        (model, "model.trainable_variables"),
        (model.parameters(), "Give a list"),
        (1.0, "gg.tensor"),
    ]:
        with gg.GradientTape() as tape:
            y = gg.sum(model(x))
        with pytest.raises(TypeError, match=text):
            tape.gradient(y, sources)
    with pytest.raises(TypeError, match="A NumPy function in its computation has left the tape"):
        tape.gradient(np.sum(y), model.weight)


def test_watching_on_a_used_tape(x):
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    tape.gradient(y, x)
    with pytest.raises(RuntimeError, match="has been used. Make a new GradientTape"):
        tape.watch(x)
