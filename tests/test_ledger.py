"""The ledger: what a tape keeps, why, and to the byte what comes back when it is dropped."""

import collections
import contextlib
import functools
import gc
import json
import runpy
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies as st

import gpugrad as gg
from gpugrad.profile import ledger

pytestmark = pytest.mark.devices
PHASES = [Phase.reuse, Phase.generate, Phase.shrink]  # to explain, Hypothesis traces, and a traced frame holds locals


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def array_bytes():
    """The bytes that NumPy has allocated for array data, the stand-in's too, since tracemalloc was started."""
    only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([only]).traces)


def ones(*shape):
    return gg.tensor(np.ones(shape, np.float32))


# ---------------------------------------------------------------------------------------------- to the byte
class Scale(gg.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.twice = gg.exp(x).array
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


@gg.custom_gradient
def cube(x):
    factor = x * x
    return factor * x, lambda g: g * factor * 3


again = gg.checkpoint(lambda x: gg.tanh(gg.exp(x * 0.1)))
UNARY = [
    gg.exp, gg.tanh, gg.nn.relu, lambda x: x * 2, lambda x: x + 1, lambda x: x * x, cube, again, Scale.apply,
    lambda x: gg.reshape(x, (6, 4))[1:], lambda x: gg.concat([x, x])[3:, ::2], lambda x: gg.split(x, 2)[1] * x,
    lambda x: gg.sort(x), lambda x: x[np.array([0, 1])], gg.nn.softmax, lambda x: gg.broadcast_to(x, (3, *x.shape)),
    lambda x: gg.linalg.svd(x)[0], gg.nn.gelu, lambda x: gg.nn.dropout(x, 0.5), lambda x: gg.max(x, 0) * x,
    lambda x: gg.nn.layer_norm(x, x.shape[-1:]),
]  # fmt: skip
BINARY = [lambda x, y: gg.sum(x) * y, lambda x, y: x @ gg.ones((x.shape[-1], 4)) + gg.mean(y)]


@st.composite
def programs(draw):
    """Steps that each append a tensor to the list of those there are: (function, which operands)."""
    steps = []
    for i in range(draw(st.integers(1, 8))):
        f = draw(st.sampled_from(range(len(UNARY) + len(BINARY))))
        steps.append((f, draw(st.integers(0, i + 2)), draw(st.integers(0, i + 2))))
    return steps


def run(steps, made):
    for f, i, j in steps:
        with np.errstate(all="ignore"):
            try:
                out = UNARY[f](made[i]) if f < len(UNARY) else BINARY[f - len(UNARY)](made[i], made[j])
            except (ValueError, RuntimeError, IndexError, np.linalg.LinAlgError):  # a shape that does not fit
                out = made[i] + 0
        made.append(out)


def leaves(kind):
    data = np.linspace(0.1, 1, 24, dtype=np.float32).reshape(4, 6)
    return [gg.tensor(data), gg.tensor(data, requires_grad=kind != "watched"), gg.Variable(data)]


@pytest.mark.parametrize("kind", ["watched", "on the graph", "outer", "persistent outer", "explained", "packed"])
@settings(max_examples=15, deadline=None, phases=PHASES)
@given(steps=programs(), persistent=st.booleans(), names=st.sets(st.integers(0, 10)), hook=st.booleans())
def test_what_is_freed_is_what_the_process_gets_back(kind, steps, persistent, names, hook):
    outer = gg.GradientTape(persistent=kind.startswith("persistent"))
    tape = gg.GradientTape(persistent=persistent, explain=kind == "explained")
    within = gg.save_as(gg.float16, min_size=2) if kind == "packed" else contextlib.nullcontext()
    tracemalloc.start()
    try:
        made = leaves(kind)
        early = [made[1] * 3.0]  # on the graph before the tape, if made[1] is
        made[0] = early[0]
        if "outer" in kind:
            outer.__enter__()
            outer.watch(made[1])
        with tape, within:
            tape.watch(made[1])
            run(steps, made)
            if hook and made[-1].requires_grad:
                kept = gg.exp(made[1]).array
                made[-1].register_hook(lambda g, kept=kept: g)
                del kept
        if "outer" in kind:
            outer.__exit__(None, None, None)
        made = [t for i, t in enumerate(made) if i in names]
        early.clear()
        found = tape.memory()
        before = array_bytes()
        del tape
        assert before - array_bytes() == found.freed
        found = ledger(outer)
        before = array_bytes()
        del outer
        assert before - array_bytes() == found.freed
    finally:
        tracemalloc.stop()


@settings(max_examples=25, deadline=None, phases=PHASES)
@given(steps=programs(), names=st.sets(st.integers(0, 10)), retain=st.booleans())
def test_what_a_loss_frees_is_what_the_process_gets_back(steps, names, retain):
    tracemalloc.start()
    try:
        made = leaves("on the graph")
        made[0] = made[1] * 3.0
        run(steps, made)
        loss = sum([gg.sum(t) for t in made], gg.tensor(0.0))
        if retain and loss.requires_grad:
            loss.backward()
        made = [t for i, t in enumerate(made) if i in names]
        found, own = ledger(loss), 4 if loss.device.kind == "standin" else 0  # NumPy's scalars are no arrays
        before = array_bytes()
        del loss
        assert before - array_bytes() == found.freed + own
    finally:
        tracemalloc.stop()


@pytest.mark.numpy("counts what NumPy allocates")
def test_tapes_that_share_give_back_what_is_left_when_the_last_goes():
    x = ones(100)
    tracemalloc.start()
    try:
        with gg.GradientTape(persistent=True) as a, gg.GradientTape(persistent=True) as b:
            a.watch(x), b.watch(x)
            y = gg.sum(gg.exp(x))
        assert a.memory().freed == b.memory().freed == 0 and a.nbytes() == b.nbytes() == 400
        assert {e.held for e in a.memory().entries} == {True}
        before = array_bytes()
        del a
        assert array_bytes() == before and b.memory().freed == 400
        del b
        assert before - array_bytes() == 400 and y.node.saved is None
    finally:
        tracemalloc.stop()


@pytest.mark.numpy("counts what NumPy allocates")
def test_asking_changes_nothing():
    x = gg.tensor(np.ones(1000, np.float32), requires_grad=True)

    def program():
        with gg.GradientTape(persistent=True) as tape:
            h = gg.exp(x)
            local = h * 2
            loss = gg.sum(h * h)
        found = [str(tape.memory()), tape.memory()._repr_html_(), str(ledger([loss, h]))]
        before = array_bytes()
        del local  # as it would: no snapshot of our variables holds it
        assert before - array_bytes() == 4000
        del tape, loss, h
        assert before - array_bytes() == 8000
        return found

    tracemalloc.start()
    try:
        assert len(program()) == 3
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------------- what it says
def described(e):
    return e.op, e.argument, e.made_by, e.released, e.held


def test_each_block_once_with_all_its_users():
    w = gg.Variable(np.ones((4, 4)), name="w", dtype="float32")
    x = ones(2, 4)
    with gg.GradientTape() as tape:
        tape.watch(x)
        h = gg.exp(x @ w)
        y = gg.sum(h[0] * h[1])
        found = tape.memory()
    per = 512 if h.device.kind == "cuda" else 1
    size = lambda n: -(-n // per) * per
    assert [e.nbytes for e in found.entries] == [size(64), size(32), size(32)] and found.nbytes == tape.nbytes()
    by_name = {e.argument: e for e in found.entries}
    assert described(by_name["input y"]) == ("matmul", "input y", None, "drop of Variable 'w'", True)
    assert described(by_name["input x"]) == ("matmul", "input x", None, "drop of tensor x", True)
    out = by_name["output"]
    assert described(out) == ("exp", "output", "exp", "drop of tensor h", True)
    assert out.users == (("exp", "output", None), ("multiply", "input x", None), ("multiply", "input y", None))
    assert (out.shape, out.dtype, out.device, out.line) == ((2, 4), "float32", str(x.device), None)
    assert found.by_op() == {"matmul": size(64) + size(32), "exp": size(32)} and found.by_line() == {"": found.nbytes}
    del h
    assert tape.memory().freed == size(32)
    assert [e.released for e in tape.memory().entries if not e.held] == ["the next gradient"]
    tape.gradient(y, w)
    assert tape.memory().entries == () and "0 B in 0 blocks" in str(tape.memory())


def test_what_releases_it():
    x = gg.tensor(np.ones(4, np.float32), requires_grad=True)
    with gg.GradientTape(persistent=True) as tape:
        y = gg.sum(gg.exp(x))
    assert [e.released for e in tape.memory().entries] == ["drop of the tape"]
    assert [e.released for e in ledger(y).entries] == ["drop of the tensor"]
    with gg.GradientTape(uses=2) as tape:
        y = gg.sum(gg.exp(x))
    assert [(e.released, e.persistent) for e in tape.memory().entries] == [("gradient 2 of 2", True)]
    tape.gradient(y, x)
    assert [e.released for e in tape.memory().entries] == ["the next gradient"]
    z = gg.sum(gg.exp(x))
    assert [e.released for e in ledger(z).entries] == ["the next backward()"]
    z.backward()
    assert ledger(z).entries == ()
    h = {"a": [gg.exp(x)][0]}
    z = gg.sum(gg.tanh(h["a"]))
    assert {e.op: e.released for e in ledger(z).entries} == {
        "exp": "drop of tensor h['a']", "tanh": "the next backward()",
    }  # fmt: skip
    deeper = z + 1.0
    assert {e.op: e.released for e in ledger(z).entries}["tanh"] == "drop of tensor deeper, in whose history it is"
    both = ledger([z, {"b": deeper}])
    assert {e.op: e.held for e in both.entries} == {"exp": True, "tanh": False}


def test_values_that_are_nested_packed_or_in_a_closure():
    x = gg.tensor(np.ones((4, 4), np.float32), requires_grad=True)
    rows = np.array([0, 1])
    y = x[rows, rows]
    assert {(e.op, e.argument) for e in ledger(y).entries} == {("getitem", "argument key")}
    with gg.save_on_cpu(min_size=1):
        z = gg.exp(x)
    assert [(e.device, e.nbytes, e.held) for e in ledger(z).entries] == [("cpu", 64, False)]
    with gg.saved_tensors_hooks(lambda t: gg.astype(t, gg.float16), lambda t: gg.astype(t, gg.float32)):
        z = gg.exp(x)
    assert [(e.dtype, e.held) for e in ledger(z).entries] == [("float16", False)]
    assert [e.argument for e in ledger(again(x)).entries] == ["closure of <lambda>"]
    assert [e.argument for e in ledger(cube(gg.exp(x))).entries][-1] == "closure of cube"
    named = {e.argument for e in ledger(Scale.apply(gg.exp(x))).entries if e.op == "Scale"}
    assert "closure of Scale" in named


def test_values_that_are_made_again():
    x = gg.tensor(np.ones((64, 64), np.float32), requires_grad=True)
    f = gg.checkpoint(lambda x: gg.tanh(gg.exp(gg.sin(x * 0.5) * 0.5)) * 2.0, max_bytes=17_000)
    for _ in range(2):  # the first run is measured
        found = ledger(gg.sum(f(x)))
    again = [(e.op, e.argument, e.made_by, e.released) for e in found.entries if e.held]
    assert again == [("sin", "to make input x again", None, "drop of tensor x")] and found.freed <= 17_000


def test_text_html_and_json():
    x = gg.tensor(np.ones((1000, 5), np.float32), requires_grad=True)
    with gg.profile.lines():
        y = gg.sum(gg.exp(x) * gg.tanh(x))  # <b> & "quotes"
        for _ in range(20):
            y = y + gg.sum(gg.exp(x[:100]))
    found = ledger(y)
    shown = str(found)
    assert "1 MB = 1,000,000 bytes" in shown and "by op" in shown and "test_ledger.py:" in shown
    assert '# <b> & "quotes"' in shown and "more" in shown and max(map(len, shown.splitlines())) < 200
    html = found._repr_html_()
    assert "&lt;b&gt; &amp; &quot;quotes&quot;" in html and "<b>" not in html and "http" not in html
    assert html.count("<table") == html.count("</table>") == 3
    data = json.loads(json.dumps(found.to_dict()))
    assert data["nbytes"] == found.nbytes == sum(e["nbytes"] for e in data["entries"])
    assert data["by_line"] == found.by_line() and sum(found.by_op().values()) == found.nbytes
    assert "lines known" in str(ledger(gg.exp(x)))


def test_what_has_no_ledger():
    assert gg.GradientTape().memory().entries == ()
    assert ledger(ones(3)).entries == () and ledger([]).nbytes == 0
    with pytest.raises(TypeError, match="a GradientTape, a tensor or nested tensors, not int"):
        ledger([ones(3), 5])


# ---------------------------------------------------------------------------------------------- lines
def lines_of(x):
    return {(e.op, e.source) for e in ledger(x).entries}


def test_lines_on_tapes_and_on_the_graph():
    x = gg.tensor(np.ones(4, np.float32), requires_grad=True)
    v = gg.Variable(np.ones(4, np.float32))
    with gg.profile.lines():
        y = gg.exp(x)  # on the graph
        with gg.profile.lines(), gg.GradientTape() as outer, gg.GradientTape() as tape:
            z = gg.exp(v)  # on two tapes
        w = gg.exp(x)  # still inside
        g = tape.gradient(z, v)
    u = gg.exp(x)
    assert lines_of(y) == {("exp", "y = gg.exp(x)  # on the graph")}
    assert {e.source for e in outer.memory().entries} == {"z = gg.exp(v)  # on two tapes"} and g is not None
    assert lines_of(w) == {("exp", "w = gg.exp(x)  # still inside")} and lines_of(u) == {("exp", None)}
    with gg.GradientTape(explain=True) as a, gg.GradientTape(explain=True) as b:
        z = gg.exp(v)  # explained
    assert {e.source for t in (a, b) for e in t.memory().entries} == {"z = gg.exp(v)  # explained"}


@gg.profile.lines()
def decorated(x):
    return gg.exp(x)


def test_lines_are_of_this_thread_and_do_not_lift_gradients():
    x = gg.tensor(np.ones(4, np.float32), requires_grad=True)
    found = {}
    with gg.profile.lines():
        thread = threading.Thread(target=lambda: found.update(other=lines_of(gg.exp(x))))
        thread.start()
        thread.join()
        with gg.GradientTape() as tape:
            y = gg.sum(gg.exp(x))
        assert tape.gradient(y, x).node is None
    assert found["other"] == {("exp", None)}
    assert lines_of(decorated(x)) == {("exp", "return gg.exp(x)")}


@pytest.mark.numpy("counts what NumPy allocates")
def test_lines_keep_nothing_else():
    x = gg.tensor(np.ones(1000, np.float32), requires_grad=True)

    def program():
        big = gg.exp(x)
        return gg.sum(big * 2.0)

    tracemalloc.start()
    try:
        with gg.profile.lines():
            h = x
            for _ in range(10):
                h = (program() + gg.sum(h)).detach().requires_grad_()
        assert array_bytes() < 100
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------------- who holds it
def held_by(keep):
    """What the ledger says holds exp's output, which `keep` got, once the program has no other name for it."""
    v = gg.Variable(np.ones(1000, np.float32), name="v")
    with gg.GradientTape(persistent=True) as tape:
        h = gg.exp(v)
        y = gg.sum(h * h)
    kept = keep(h)
    del h
    (e,) = tape.memory().entries
    assert kept is not None and y.node is not None and e.held
    return e.released


def generator(h):
    def yielding(h):
        yield h
        yield h

    g = yielding(h)
    next(g)
    return g


@pytest.mark.parametrize("keep", [
    lambda h: h.array[3:5], lambda h: (lambda: h), lambda h: (lambda h=h: h), lambda h: collections.deque([h]),
    generator, lambda h: functools.partial(print, h), lambda h: {"a": {"b": h}},
])  # fmt: skip
def test_no_tensor_is_blamed_for_what_the_tape_lets_go_of(keep):
    assert held_by(keep) == "drop of something outside"


def test_what_a_name_holds_has_that_name():
    assert held_by(lambda h: [h]) == "drop of tensor kept[0]"


def test_a_script_that_runs_inside_another_has_its_names(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, gpugrad as gg\n"
        "x = gg.tensor(np.ones(1000, np.float32))\n"
        "with gg.GradientTape(persistent=True) as tape:\n"
        "    tape.watch(x)\n"
        "    h = gg.exp(x)\n"
        "    y = gg.sum(h * h)\n"
        "released = [e.released for e in tape.memory().entries]\n"
    )
    assert runpy.run_path(str(script), run_name="__main__")["released"] == ["drop of tensor h"]


def test_variables_of_one_name_are_told_apart():
    a, b = [gg.Variable(np.ones(n, np.float32), name="w") for n in (10, 20)]
    c = gg.Variable(np.ones(5, np.float32), name="c")
    with gg.GradientTape(persistent=True) as tape:
        y = gg.sum(a * a) + gg.sum(b * b) + gg.sum(c * c)
    assert [e.released for e in tape.memory().entries] == [
        "drop of Variable 'w' float32[20]", "drop of Variable 'w' float32[10]", "drop of Variable 'c'",
    ]  # fmt: skip
    assert y.node is not None


def test_the_collector_is_left_as_it_was():
    for turn in (gc.enable, gc.disable):
        turn()
        was = gc.isenabled()
        ledger(gg.exp(gg.tensor(1.0, requires_grad=True)))
        assert gc.isenabled() == was
