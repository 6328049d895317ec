"""tape.explain: why a gradient is None, and in which line."""

import gc
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import gpugrad as gg
from gpugrad.data import Dataset
from gpugrad.explain import ADVICE


def line(n=0):
    """The number of the line that calls this, and n more."""
    return sys._getframe(1).f_lineno + n


def check(found, reason, at=None, *words):
    assert found.reason == reason and found.line == at, str(found)
    assert found.file == (None if at is None else __file__)
    assert ADVICE[reason] in found.text and all(w in found.text for w in words), found.text
    where = "" if at is None else f" at {Path(__file__).name}:{at}"
    assert str(found) == f"{reason}{where}: {found.text}"


def test_connected():
    x = gg.Variable(2.0)
    with gg.GradientTape(explain=True) as tape:
        y = gg.exp(x) * 2.0
    check(tape.explain(y, x), "connected")
    assert tape.gradient(y, x) is not None
    check(tape.explain(y, x), "connected")  # after use, too
    check(tape.explain(x, x), "connected")


def test_not_watched():
    x = gg.tensor(2.0)
    with gg.GradientTape(explain=True) as tape:
        y = x * x
    check(tape.explain(y, x), "not watched", None, "not a Variable")
    with gg.GradientTape(watch_accessed_variables=False, explain=True) as tape:
        v = gg.Variable(1.0)
        y = v * v
    check(tape.explain(y, v), "not watched", None, "watch_accessed_variables=False")
    check(tape.explain(y, 3.0), "not watched", None, "a float")
    with gg.GradientTape(watch_accessed_variables=False, explain=True) as tape:
        y, at = v * v, line()
        tape.watch(v)
    check(tape.explain(y, v), "not watched", at, "multiply", "yet")
    with gg.GradientTape(explain=True) as tape:
        with gg.no_grad():
            z, at = v * v, line()
        y = z + 1.0
    check(tape.explain(y, z), "not watched", at, "multiply")


def test_not_trainable():
    x = gg.Variable(2.0, trainable=False, name="scale")
    with gg.GradientTape(explain=True) as tape:
        y = x * x
    check(tape.explain(y, x), "not trainable", None, "'scale'")


def test_computed_outside_the_block():
    x = gg.Variable(2.0)
    with gg.GradientTape(explain=True) as tape:
        y = x * x
    z, at = gg.exp(y), line()
    check(tape.explain(z, x), "computed outside the block", at, "exp")
    check(tape.explain(x * x, x), "computed outside the block", line())
    check(tape.explain(z, y), "computed outside the block", at)
    tape = gg.GradientTape(explain=True)
    h, at = x * 2.0, line()
    with tape:
        y = h + x * 0.0
        z = h + 1.0
    check(tape.explain(z, x), "computed outside the block", at)
    check(tape.explain(y, x), "connected")
    p = gg.Parameter(2.0)  # recorded on the graph of tensors
    h = p * 2.0
    with gg.GradientTape(explain=True) as tape:
        y = h * 3.0
    check(tape.explain(y, p), "computed outside the block", None, "multiply")
    with gg.GradientTape(explain=True) as tape:
        y, at = x * x, line()
        tape.reset()
    check(tape.explain(y, x), "computed outside the block", at)
    with gg.GradientTape(explain=True) as tape:
        tape.gradient(x * x, x)
        y, at = x * x, line()  # that used the tape up
    check(tape.explain(y, x), "computed outside the block", at)


def test_recording_stopped():
    x = gg.Variable(2.0)
    with gg.GradientTape(explain=True) as tape, gg.GradientTape(explain=True) as other:
        a = x * x
        with tape.stop_recording():
            b, at = a * a, line()
        c = b * 2.0
        with gg.no_grad():
            d, later = c * 2.0, line()
        e = d + c
    check(tape.explain(c, x), "recording stopped", at, "multiply")
    check(other.explain(c, x), "connected")
    check(other.explain(d, x), "recording stopped", later)
    check(tape.explain(e, x), "recording stopped", at)
    check(other.explain(e, x), "connected")


@pytest.mark.parametrize(
    "leave",
    [
        lambda t: np.mean(t),
        lambda t: np.exp(t),
        lambda t: t.numpy(),
        lambda t: np.asarray(t),
        lambda t: t.sum().item(),
        lambda t: t.tolist(),
        lambda t: float(t.sum()),
        lambda t: np.concatenate([t, t]),
    ],
)
def test_left_through_numpy(leave):
    x = gg.Variable([1.0, 2.0])
    with gg.GradientTape(explain=True) as tape:
        y = x**2
        a, at = leave(y), line()
        z = gg.sum(gg.tensor(a))
    assert f"{z}" and repr(y)  # printing is not leaving
    check(tape.explain(z, x), "left through NumPy", leave.__code__.co_firstlineno)
    check(tape.explain(a, x), "left through NumPy", leave.__code__.co_firstlineno)
    assert at


def test_left_through_numpy_more_than_once():
    x = gg.Variable([1.0, 2.0])
    with gg.GradientTape(explain=True) as tape:
        a, at = np.mean(x * 2.0), line()
        b = np.sum(x)
        y = gg.tensor(a) + gg.tensor(b)
    check(tape.explain(y, x), "left through NumPy", at, f"and at {Path(__file__).name}:{at + 1}.")
    w = gg.Variable(1.0)
    check(tape.explain(y, w), "not connected")


def test_integer_op():
    x = gg.Variable([1.0, 2.0])
    with gg.GradientTape(explain=True) as tape:
        i, at = gg.astype(x * 2.0, gg.int32), line()
        y = gg.astype(i, gg.float32) * 2.0
    check(tape.explain(y, x), "integer op", at, "astype")
    i = gg.tensor(10)
    with gg.GradientTape(explain=True) as tape:
        with pytest.warns(UserWarning, match="must be floating"):
            tape.watch(i)
        at = line(-1)
        y = i * i
    check(tape.explain(y, i), "integer op", at, "int32")


def test_state_assigned():
    x, v = gg.Variable(3.0), gg.Variable([0.0, 0.0], name="total")
    for write in (
        lambda: v.assign(gg.stack([x, x])),
        lambda: v.assign_add(x),
        lambda: v.assign_sub(x * 2.0),
        lambda: v[0].assign(x),
        lambda: v[1].assign_add(x),
    ):
        with gg.GradientTape(explain=True) as tape:
            write()
            y = v**2
        check(tape.explain(y, x), "state assigned", write.__code__.co_firstlineno, "'total")
        check(tape.explain(y, v), "connected")
    with gg.GradientTape(explain=True) as tape:
        for e in Dataset.from_tensors(x * 2.0):
            at = line(-1)
            y = e * 2.0
    check(tape.explain(y, x), "state assigned", at)


def test_name_rebound_to_a_tensor():
    x = gg.Variable(2.0)
    for _ in range(2):
        with gg.GradientTape(explain=True) as tape:
            y = x + 1.0
        first = tape.explain(y, x)
        x = x * 2.0 + 1.0
        at = line(-1)
    check(first, "name rebound to a tensor", at)
    x = gg.Variable(2.0)
    tape = gg.GradientTape(explain=True)
    z, at = x + 1.0, line()
    with tape:
        y = z + 1.0
    check(tape.explain(y, z), "computed outside the block", at)  # a name of its own


def test_op_with_no_gradient():
    x = gg.Variable([1.0, 2.0])
    half = gg.op(lambda xp, x: x / 2, name="half", x=None)
    with gg.GradientTape(explain=True) as tape:
        a, at = gg.where(x > 1.5, 1.0, 2.0), line()
        b = gg.take(gg.arange(2) * 1.0, gg.argmax(x))
        c = half(x) * 2.0
        d = gg.one_hot(gg.argmax(x), 2) * 3.0
    for i, (y, name) in enumerate([(a, "greater"), (b, "argmax"), (c, "half"), (d, "argmax")]):
        check(tape.explain(y, x), "op with no gradient", at + i, name)


def test_gradient_stopped():
    x = gg.Variable([1.0, 2.0])
    with gg.GradientTape(explain=True) as tape:
        a, at = gg.stop_gradient(x) * 2.0, line()
        b = x.detach() * 2.0
        c = gg.tensor(x * 1.0) * 2.0
    for i, y in enumerate((a, b, c)):
        check(tape.explain(y, x), "gradient stopped", at + i)


def test_not_connected():
    x, v = gg.Variable(2.0), gg.Variable(3.0)
    with gg.GradientTape(explain=True) as tape:
        y = v * v
    check(tape.explain(y, x), "not connected")
    assert tape.gradient(y, x) is None
    check(tape.explain(y, x), "not connected")
    with gg.GradientTape(explain=True) as tape:
        if x > 1.0:
            at = line(-1)
            y = v * v
    check(tape.explain(y, x), "not connected", at, "decided a branch")


def test_a_path_that_holds_counts():
    x = gg.Variable(2.0)
    with gg.GradientTape(explain=True) as tape:
        y = gg.stop_gradient(x) * x
        z, at = gg.stop_gradient(y) + gg.tensor(1.0), line()
    check(tape.explain(y, x), "connected")
    check(tape.explain(z, x), "gradient stopped", at)
    check(tape.explain([z, y], x), "connected")  # of a sum of targets
    check(tape.explain({"a": z}, x), "gradient stopped", at)
    found = tape.explain(y, {"a": x, "b": [x, gg.tensor(1.0)]})
    check(found["a"], "connected")
    check(found["b"][1], "not watched")


def test_through_several_outputs_custom_gradients_and_changes_of_class():
    x = gg.Variable([1.0, 2.0])
    with gg.GradientTape(explain=True) as tape:
        a, b = gg.split(x * 2.0, 2)
        c = gg.custom_gradient(lambda v: (v * 3.0, lambda g: g))(a)
        d = gg.recompute_grad(lambda v: v * v)(b)
        y = c + d
    check(tape.explain(y, x), "connected")
    assert tape.gradient(y, x).tolist() == [2.0, 16.0]
    with gg.GradientTape(explain=True) as tape, gg.no_grad():
        a, b = gg.split(x * 2.0, 2)
        at = line(-1)
    check(tape.explain(b, x), "recording stopped", at, "multiply")


def test_values_that_go_through_variables_and_datasets():
    x = gg.Variable([1.0, 2.0])
    with gg.GradientTape(explain=True) as tape:
        v, at = gg.Variable(x * 1.0), line()
        y = v * 2.0
        z = next(iter(Dataset.from_tensor_slices(x * 1.0))) * 2.0
    check(tape.explain(y, x), "state assigned", at)
    check(tape.explain(z, x), "state assigned", at + 2)


def test_a_gradient_taken_too_late_for_an_outer_tape():
    x = gg.Variable(2.0)
    with gg.GradientTape(explain=True) as outer:
        with gg.GradientTape() as inner:
            y = x**3
    dy, at = inner.gradient(y, x), line()
    assert outer.gradient(dy, x) is None
    check(outer.explain(dy, x), "computed outside the block", at, "gradient was called there")


def test_gradient_functions_that_answer_none():
    x = gg.Variable(2.0)
    f = gg.custom_gradient(lambda v: (v * 2.0, lambda g: None))
    with gg.GradientTape(explain=True) as tape:
        y = f(x)
    assert tape.gradient(y, x) is None
    check(tape.explain(y, x), "connected", None, "a gradient function of yours says so")

    class Sign(gg.Function):
        @staticmethod
        def forward(ctx, v):
            out = gg.sign(v)
            ctx.mark_non_differentiable(out)
            return out

    with gg.GradientTape(explain=True) as tape:
        y, at = Sign.apply(x * 1.0) * 2.0, line()
    check(tape.explain(y, x), "op with no gradient", at, "Sign")


def test_a_tensor_watched_too_late():
    c = gg.tensor(2.0)
    with gg.GradientTape(explain=True) as tape:
        y = c * c
        tape.watch(c)
    check(tape.explain(y, c), "not connected", None, "before tape.watch(tensor) leave no trace")
    i = gg.tensor(3)
    with gg.GradientTape(explain=True) as tape:
        pass
    check(tape.explain(i, i), "integer op", None)


def test_programs_without_a_name():
    namespace = {"__name__": None, "gg": gg, "x": gg.Variable(2.0)}
    exec("with gg.GradientTape(explain=True) as tape:\n    y = x * x\nz = y * 2.0", namespace)
    assert namespace["tape"].explain(namespace["z"], namespace["x"]).line == 3


def test_a_name_rebound_in_one_line_with_its_condition():
    w, g = gg.Variable(2.0), gg.tensor(1.0)
    tape = gg.GradientTape(explain=True)
    if g is not None: w = w - 0.1 * g  # fmt: skip
    at = line(-1)
    with tape:
        y = w * 2.0
    check(tape.explain(y, w), "name rebound to a tensor", at)


def test_errors():
    with pytest.raises(RuntimeError, match=r"GradientTape\(explain=True\)"):
        gg.GradientTape().explain(1, 2)
    with pytest.raises(RuntimeError, match="never entered"):
        gg.GradientTape(explain=True).explain(1, 2)
    with pytest.raises(TypeError, match="explain are True or False"):
        gg.GradientTape(explain=1)  # type: ignore[arg-type]


def test_nothing_is_followed_when_nobody_asks():
    from gpugrad.origin import Followed, logs

    gc.collect()
    before = len(logs)
    x = gg.Variable(2.0)
    with gg.GradientTape(explain=True) as tape:
        y = x * x
    assert len(logs) == before + 1 and type(y.node) is Followed
    del tape
    assert len(logs) == before == 0
    with gg.GradientTape():
        y = x * x
        z = gg.astype(y, gg.int32)
    assert type(y.node) is not Followed and z.node is None


def test_explaining_keeps_no_array():
    gc.disable()
    try:
        x = gg.Variable(np.ones(1000, np.float32))
        with gg.GradientTape(explain=True) as tape:
            a = gg.exp(x)
            dead = weakref.ref(a.array)
            b = gg.exp(a)
            y = gg.stop_gradient(b) * x
            assert tape.nbytes() == 2 * 4000  # a, and b, which the product shares
            del a, b
            assert dead() is None and tape.nbytes() == 4000
        tape.gradient(y, x)
        assert tape.nbytes() == 0
    finally:
        gc.enable()


UNARY = {
    "tanh": gg.tanh,
    "stop": gg.stop_gradient,
    "int": lambda t: gg.astype(gg.astype(t, gg.int32), gg.float32),
    "mask": lambda t: gg.where(t > 0.5, t, 0.0),
    "sign": lambda t: gg.where(t > 0.5, 1.0, 0.0),
    "numpy": lambda t: gg.tensor(t.numpy() * 2),
    "copy": gg.tensor,
    "pair": lambda t: gg.split(gg.stack([t, t * 2.0]), 2)[1][0],
}
BINARY = {"add": gg.add, "multiply": gg.multiply, "where": lambda a, b: gg.where(a > b, a, 1.0)}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_gradient_is_none_where_the_explanation_says_so(data):
    """Random programs under random modes: `explain` says "connected" if and only if there is a gradient."""
    draw = data.draw
    tape = gg.GradientTape(persistent=True, explain=True)
    with gg.GradientTape(persistent=True) as plain:
        pool = [gg.Variable(0.7), gg.Variable(1.3, trainable=False), gg.tensor(0.4), gg.tensor(0.9)]
        leaves = list(pool)
        pool.append(pool[0] * 2.0)
        with tape:
            tape.watch(pool[2])
            plain.watch(pool[2])
            for _ in range(draw(st.integers(1, 8))):
                a, b = draw(st.sampled_from(range(len(pool)))), draw(st.sampled_from(range(len(pool))))
                name = draw(st.sampled_from([*UNARY, *BINARY, "assign"]))
                mode = draw(st.sampled_from(["", "", "", "stop", "no_grad"]))
                scope = {"": lambda: gg.set_grad_enabled(True), "stop": tape.stop_recording, "no_grad": gg.no_grad}[
                    mode
                ]
                with scope():
                    if name == "assign":
                        leaves[0].assign(pool[a])
                    else:
                        pool.append(UNARY[name](pool[a]) if name in UNARY else BINARY[name](pool[a], pool[b]))
        pool.append(pool[-1] * 2.0)
    for target in pool[len(leaves) :]:
        for source in pool:
            gradient, found = tape.gradient(target, source), tape.explain(target, source)
            assert (gradient is None) == (found.reason != "connected"), f"{gradient} {found}"
    fresh = [t for t in pool if t.array.dtype.kind == "f"]
    assert all(t.array.shape == () for t in fresh)
