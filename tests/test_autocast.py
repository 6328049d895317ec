"""`gg.autocast`: the same program with casts written by hand gives the same bits."""

import asyncio
import gc
import inspect
import sys
import threading
from typing import Any
from weakref import ref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from table import ROWS
from table.row import inputs

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch
from gpugrad import amp, nn
from gpugrad.core import writes
from gpugrad.gemm import products
from gpugrad.ops import conv, linalg

pytestmark = pytest.mark.devices
HALF = ["bfloat16", "float16"]
# What the lists should say, in the public names of the rows; what is not here runs as it is given.
LOWER = set(
    "matmul dot inner tensordot einsum linear feed_forward conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
    "conv_transpose3d scaled_dot_product_attention gru gru_cell lstm lstm_cell rnn prelu".split()
)
FLOAT32 = set(
    "acos asin cosh exp exp2 expm1 float_power log log10 log1p log2 logaddexp logaddexp2 pow reciprocal rsqrt sinh tan "
    "logsumexp prod sum cumlogsumexp cumprod cumsum special.erfinv softplus log_softmax softmax softmin batch_norm "
    "group_norm instance_norm layer_norm rms_norm vector_norm l2_normalize normalize ctc_loss cosine_similarity "
    "huber_loss l1_loss pairwise_distance smooth_l1_loss cdist binary_cross_entropy binary_cross_entropy_with_logits "
    "gaussian_nll_loss kl_div poisson_nll_loss cross_entropy mse_loss nll_loss cosine_embedding_loss "
    "hinge_embedding_loss hinge_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss "
    "multilabel_soft_margin_loss soft_margin_loss triplet_margin_loss".split()
)
BACK = {"float_power"} | {f"{f} dtype" for f in ("sum", "prod", "cumsum", "cumprod")}  # rows that cast what they answer
LISTED = [r for r in ROWS if r.op in LOWER | FLOAT32 and not {r.op, r.name} & BACK]
# Rows that are one op of tensors: what several listed functions are in a row's lambda, a cast of its inputs is not.
OTHERS = [
    r
    for r in ROWS
    if r.op in "tanh relu add multiply subtract sin square maximum where reshape concat mean sqrt".split()
]


def cast(row, xs, dtype):
    """The operands as the lists say, cast by hand."""
    to = gg.bfloat16 if dtype == "bfloat16" else gg.float16
    if row.op in LOWER:
        return [x.astype(to) for x in xs]
    return [x.astype("float32") for x in xs] if row.op in FLOAT32 else xs


def same(a, b):
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def tensors(row, dtype="float32"):
    return [gg.tensor(x, dtype=dtype, requires_grad=True) for x in inputs(row)]


def gradients(y, xs):
    seed = gg.tensor(np.linspace(0.5, 1, y.array.size).reshape(y.shape), dtype=y.dtype, device=y.device)
    return gg.grad(y, xs, seed, allow_unused=True)


# ---------------------------------------------------------------------------------------------- the lists
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.filterwarnings("ignore")
def test_listed_functions_are_their_programs_with_casts(dtype):
    """Values and gradients, bit for bit, of float32 operands, and of half ones that a float32 function gets."""
    for row in LISTED:
        for given_dtype in ("float32", dtype):
            xs = tensors(row, given_dtype)
            with gg.autocast(dtype):
                y = row.f(*xs)
            expected = row.f(*cast(row, xs, dtype))
            assert same(y, expected), (row.name, given_dtype)
            assert str(y.dtype) == (dtype if row.op in LOWER else "float32"), row.name
            if y.node is not None:
                for a, b, x in zip(gradients(y, xs), gradients(expected, xs), xs):
                    assert same(a, b) and (a is None or a.dtype == x.dtype), row.name


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    program=st.lists(
        st.tuples(st.sampled_from(LISTED + OTHERS * 4), st.lists(st.integers(0, 5), min_size=6, max_size=6)),
        min_size=2,
        max_size=5,
    ),
    dtype=st.sampled_from(HALF),
    taped=st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_random_programs_are_those_with_casts(program, dtype, taped):
    def run(xs, by_hand):
        values = list(xs)
        for row, picks in program:
            fed = []
            for shape, pick in zip(row.shapes, picks):
                v = values[pick % len(values)]
                n = int(np.prod(shape))
                z = gg.tanh(gg.take(gg.flatten(v), np.arange(n) % max(1, v.array.size)) * 0.5)
                low = max(row.low, row.apart)
                fed.append(gg.reshape((z + 1) * ((row.high - low) / 2) + low, shape))
            y = row.f(*(cast(row, fed, dtype) if by_hand else fed))
            if y.array.size:
                values.append(y)
        return [gg.mean(gg.square(v.astype("float32"))) for v in values]

    xs = [gg.tensor(np.linspace(-1, 1, 12).reshape(3, 4), dtype="float32"), gg.ones(5) * 0.3]
    found = []
    for by_hand in (False, True):
        with gg.GradientTape() as tape:
            tape.watch(xs)
            with gg.autocast(dtype, enabled=not by_hand):
                ys = run(xs, by_hand)
                total = ys[0]
                for y in ys[1:]:
                    total = total + y
            if taped:
                gs = tape.gradient(total, xs)
        if not taped:
            gs = tape.gradient(total, xs)
        found.append([total, *gs])
    for a, b in zip(*found):
        assert same(a, b)


def test_the_lists_name_what_there_is():
    """Each name once."""
    lists = [amp.LOWER, amp.FLOAT32, amp.WIDEST, amp.OUTSIDE]
    listed = [(m, n) for names in lists for m, line in names.items() for n in line.split()]
    assert len(set(listed)) == len(listed)
    assert all(callable(getattr(m, n)) for m, n in listed)


@pytest.mark.numpy
def test_arming_is_all_or_nothing(monkeypatch):
    monkeypatch.setattr(amp, "WIDEST", {linalg: "no_such_function"})
    monkeypatch.setattr(amp, "arm", lambda *_: pytest.fail("armed before all were found"))
    with pytest.raises(AttributeError, match="no_such_function"), gg.autocast():
        pass


def test_training_after_an_autocast_keeps_no_more():
    """Nobody asks about the weights any more; of somebody who does, the last writes are kept."""
    w = gg.Variable(np.ones((4, 4), np.float32))
    optimizer = gg.optim.SGD([w], 1e-3, momentum=0.5)
    step = lambda: optimizer.apply_gradients([(gg.ones((4, 4)), w)])
    step()
    with gg.autocast("bfloat16"):
        gg.matmul(w, w)
        assert id(w.array) in writes.asked
    assert id(w.array) not in writes.asked
    one, two = writes.ask(w.array), writes.ask(w.array)
    assert one is two and one() is w.array
    array = w.array
    del one, array
    for _ in range(50):
        step()
    assert two() is w.array and 0 < len(writes.of(w.array)) < 20
    del two
    assert id(w.array) not in writes.asked


def test_what_multiplies_matrices_is_on_a_list():
    """Of all rows: matrix factorizations and solvers aside, which run in the dtype they are given."""
    makers = {f.__code__ for f in (linalg.array_matmul, linalg.host_matmul, products.array_product, conv.product)}
    for row in ROWS:
        xs, found = tensors(row), set()
        sys.setprofile(lambda frame, event, arg, found=found: found.add(frame.f_code))
        try:
            row.f(*xs)
        finally:
            sys.setprofile(None)
        if found & makers:
            assert row.op in LOWER | FLOAT32 or row.op.startswith("linalg."), row.name


def test_wider_and_integer_operands_are_left_alone():
    x, w = gg.ones((2, 3), dtype="float64"), gg.ones((3, 4))
    n = gg.tensor(np.arange(6).reshape(2, 3))
    z = gg.tensor(np.ones((2, 3)), dtype="complex64")
    with gg.autocast():
        assert (x @ w).dtype == np.float64 and gg.exp(x).dtype == np.float64
        assert (n @ n.T).dtype == n.dtype and gg.sum(n).dtype == gg.sum(n.numpy()).dtype
        assert (z @ z.T).dtype == z.dtype
        assert gg.sum(w).dtype == np.float32 and (w.array @ gg.ones((4, 2))).dtype == gg.bfloat16
        assert (
            type(gg.matmul(w.array, w.array.T)) is type(w.array) and gg.matmul(w.array, w.array.T).dtype == np.float32
        )


def test_the_widest_operand_decides():
    x, v = gg.ones((3, 2), dtype="bfloat16"), gg.ones((1, 2))
    assert gg.index_add(x, np.array([1]), v).dtype == gg.bfloat16
    with gg.autocast():
        assert gg.index_add(x, np.array([1]), v).dtype == np.float32
        assert gg.index_add(x, np.array([1]), v.astype("bfloat16")).dtype == gg.bfloat16
        assert gg.concat([x, v]).dtype == gg.where(x > 0, x, v).dtype == (x + v).dtype == np.float32


# ---------------------------------------------------------------------------------------------- where it holds
def test_blocks_decorators_and_nesting():
    x = gg.ones((2, 2))
    half = gg.autocast("float16")

    @half
    def f():
        return (x @ x).dtype

    @gg.autocast("bfloat16")
    def steps():
        yield (x @ x).dtype
        yield (x @ x).dtype

    @gg.autocast("bfloat16")
    async def task():
        await asyncio.sleep(0)
        return (x @ x).dtype

    assert f() == np.float16 and (x @ x).dtype == np.float32
    with gg.autocast("bfloat16"):
        assert f() == np.float16 and (x @ x).dtype == gg.bfloat16
        with gg.autocast("bfloat16", enabled=False):
            assert (x @ x).dtype == np.float32 and f() == np.float16
            with half, half:
                assert f() == np.float16
        assert (x @ x).dtype == gg.bfloat16
    for dtype in steps():
        assert dtype == gg.bfloat16 and (x @ x).dtype == np.float32
    with pytest.raises(ZeroDivisionError), half:
        raise ZeroDivisionError
    assert (x @ x).dtype == np.float32
    assert asyncio.run(task()) == gg.bfloat16


def test_each_thread_and_task_has_its_own():
    x, found = gg.ones((2, 2)), []
    with gg.autocast():
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
        assert (x @ x).dtype == gg.bfloat16

    async def one(dtype):
        with gg.autocast(dtype):
            await asyncio.sleep(0)
            return (x @ x).dtype

    async def both():
        return await asyncio.gather(*map(one, HALF))

    assert found == [np.float32]
    assert asyncio.run(both()) == [gg.bfloat16, np.float16]


def test_only_half_types():
    for bad in ("float32", "int32", np.float64):
        with pytest.raises(ValueError, match="autocast: dtype is 'bfloat16' or 'float16'"):
            gg.autocast(bad)
    with pytest.raises(TypeError):
        gg.autocast("half a float")


def test_a_device_as_pytorch_takes_it():
    autocast: Any = gg.autocast
    for call, dtype in (
        (lambda: autocast("cuda"), "bfloat16"),
        (lambda: autocast("cuda:0", dtype=gg.float16), "float16"),
        (lambda: autocast("cuda", gg.float16), "float16"),
        (lambda: autocast(device_type="cuda"), "bfloat16"),
        (lambda: autocast(device_type="cpu", dtype="float16"), "float16"),
    ):
        with pytest.raises(ValueError, match=rf"autocast takes no device, .*: write gg.autocast\('{dtype}'\)"):
            call()
    assert list(inspect.signature(autocast).parameters) == ["dtype", "enabled"]
    with pytest.raises(ValueError, match=r"takes no device, here 'cuda': write gg.GradScaler\(\)"):
        gg.GradScaler("cuda")  # type: ignore[arg-type]


def test_functions_stay_the_objects_that_they_were():
    with gg.autocast():
        pass
    assert inspect.signature(gg.einsum).parameters["optimize"].default == "auto"
    assert list(inspect.signature(gg.exp).parameters) == ["x"] and gg.exp.__doc__ and gg.exp.__name__ == "exp"
    assert gg.sum(gg.ones((2, 3)), 0).tolist() == [2, 2, 2]
    with pytest.raises(TypeError):
        gg.exp()
    with pytest.raises(TypeError, match="no argument 'axes'"):
        gg.sum(gg.ones(2), axes=0)


def test_errors_are_told_as_they_were_and_debuggers_see_the_frames():
    x = gg.ones((2, 3))
    for run in (lambda: x @ x, lambda: gg.logaddexp(x, gg.ones(4)), lambda: gg.einsum("ij,jk", x, x)):
        told = []
        for entered in (False, True):
            with gg.autocast(enabled=entered), pytest.raises(ValueError) as e:
                run()
            told.append(str(e.value).replace("bfloat16", "float32"))
            frame = e.tb
            while frame is not None:
                assert frame.tb_frame.f_locals is not None and frame.tb_frame.f_code.co_freevars is not None
                frame = frame.tb_next
        assert told[0] == told[1]


# ---------------------------------------------------------------------------------------------- gradients
def test_backward_runs_in_the_dtypes_of_forward_wherever_it_is_asked_for():
    """To the second order: the walk casts nothing, inside a block or not."""
    x = gg.tensor(np.linspace(-1, 1, 6).reshape(2, 3), dtype="float32", requires_grad=True)
    w = gg.tensor(np.linspace(-1, 2, 12).reshape(3, 4), dtype="float32", requires_grad=True)

    def loss(f):
        return gg.sum(gg.exp(f(x) @ f(w)).astype("float32"))

    half = lambda t: t.astype("bfloat16")
    found = []
    for inside in (True, False, None):
        if inside is None:
            y = gg.sum(gg.exp((half(x) @ half(w)).astype("float32")))
            gs = gg.grad(y, [x, w], create_graph=True)
        else:
            with gg.autocast():
                y = loss(lambda t: t)
                if inside:
                    gs = gg.grad(y, [x, w], create_graph=True)
            if not inside:
                gs = gg.grad(y, [x, w], create_graph=True)
        more = gg.grad(gg.sum(gs[0] * gs[0]) + gg.sum(gs[1] * gs[0][0, 0]), [x, w])
        found.append([y, *gs, *more])
    for a, b, c in zip(*found):
        assert same(a, b) and same(a, c)


@pytest.mark.parametrize("options", [{}, {"max_bytes": 200}])
def test_a_checkpoint_runs_again_as_it_did(options):
    w = gg.Parameter(np.linspace(-1, 1, 16).reshape(4, 4).astype(np.float32))

    def f(x):
        for _ in range(3):
            x = gg.tanh(x @ w)
        return x

    x = gg.ones((2, 4))
    found = []
    for wrapped in (gg.checkpoint(f, **options), f):
        with gg.autocast():
            y = gg.sum(wrapped(x))
        y.backward()
        found.append([y, w.grad])
        w.grad = None
    assert same(found[0][0], found[1][0]) and same(found[0][1], found[1][1])


def test_persistent_tapes_hooks_and_explanations():
    w = gg.Variable(np.linspace(-1, 1, 16).reshape(4, 4), dtype="float32")
    packed = []
    with gg.autocast(), gg.GradientTape(persistent=True, explain=True) as tape:
        with gg.saved_tensors_hooks(lambda t: packed.append(t.dtype) or t, lambda t: t):
            y = gg.sum(gg.tanh(w @ w) @ w)
    assert set(packed) == {gg.bfloat16}
    assert same(tape.gradient(y, w), tape.gradient(y, w)) and tape.gradient(y, w).dtype == np.float32
    assert tape.explain(y, w).reason == "connected"


def test_gradients_of_several_tapes_and_of_a_late_watch():
    """The cast of a weight is on the tapes that record now, not on those of its first use."""
    w = gg.tensor(np.full((2, 2), 0.5), dtype="float32")
    v = gg.Variable(np.full((2, 2), 0.5), dtype="float32")
    with gg.autocast():
        first = v @ v
        with gg.no_grad():
            v @ v
        with gg.GradientTape() as outer:
            y = v @ v
            with gg.GradientTape() as inner:
                inner.watch(v)
                z = gg.sum(v @ v @ w)
            g = inner.gradient(z, v)
            total = gg.sum(g) + gg.sum(y)
        assert outer.gradient(total, v) is not None
        with gg.GradientTape() as tape:
            w @ w
            tape.watch(w)
            y = gg.sum(w @ w)
        assert tape.gradient(y, w) is not None
        with gg.GradientTape() as tape:
            y = gg.sum(v @ v)
            g = tape.gradient(y, v)
        assert same(g, g) and first.dtype == gg.bfloat16
        for _ in range(2):  # the graph of tensors, walked twice inside a block
            p = gg.Parameter(np.full((2, 2), 0.5, np.float32))
            for _ in range(2):
                gg.sum(p @ p).backward()
            assert p.grad.tolist() == [[4, 4], [4, 4]]


# ---------------------------------------------------------------------------------------------- memory
def test_a_tape_keeps_half_of_what_products_keep():
    x, w = gg.tensor(np.ones((64, 32)), dtype="float32"), gg.Variable(np.ones((32, 16)), dtype="float32")
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = x @ w
        assert tape.nbytes() == 4 * (64 * 32 + 32 * 16)
    with gg.autocast(), gg.GradientTape() as tape:
        tape.watch(x)
        y = x @ w
        assert tape.nbytes() == 2 * (64 * 32 + 32 * 16)
    assert y.dtype == gg.bfloat16


def casts(monkeypatch):
    """The dtypes to which something has been cast since."""
    found = []
    was = amp.astype
    monkeypatch.setattr(amp, "astype", lambda x, dtype: found.append(str(dtype)) or was(x, dtype))
    return found


def test_a_weight_is_cast_once_while_it_is_the_same(monkeypatch):
    w = gg.Parameter(np.eye(3, dtype=np.float32))
    x = gg.ones((2, 3), dtype="bfloat16")
    found = casts(monkeypatch)
    with gg.autocast():
        for _ in range(4):
            x = x @ w
        with gg.autocast("float16"):
            w @ w
        with gg.autocast("bfloat16"):
            x @ w
        assert found == ["bfloat16", "float16"]
        gg.sum(x).backward()
        x = x.detach() @ w
        assert len(found) == 3  # the sum's, in float32
        w.assign(w.detach() * 2)
        y = x @ w
        assert len(found) == 4 and y.numpy().astype(float).max() == 2
        gg.optim.SGD([w], 1.0).step()
        assert (gg.ones((1, 3)) @ w).numpy().astype(float).tolist() != y.numpy().astype(float)[:1].tolist()
    with gg.autocast():
        x @ w
    assert w.grad.dtype == np.float32 and found.count("bfloat16") == 5


def test_a_cast_that_its_user_writes_to_is_not_used_again():
    w = torch.nn.Parameter(torch.ones(2, 2))
    with gg.autocast(), torch.no_grad():
        y = torch.einsum("ij->ij", w)
        y += 1
        assert (torch.eye(2) @ w).tolist() == [[1, 1], [1, 1]] and w.tolist() == [[1, 1], [1, 1]]
        w += 1
        assert (torch.eye(2) @ w).tolist() == [[2, 2], [2, 2]]


def test_casts_go_with_their_block_and_with_their_weights():
    w = gg.Parameter(np.eye(3, dtype=np.float32))
    gc.disable()
    try:
        with gg.autocast() as _:
            with gg.no_grad():
                w @ w
            (entry,) = amp._entered.get()
            kept = [ref(c.cast) for c in entry.weights.values()]
            assert [r() is None for r in kept] == [False]
            del w
            assert [r() is None for r in kept] == [True] and not entry.weights
            v = gg.Parameter(np.eye(3, dtype=np.float32))
            with gg.no_grad():
                v @ v
            kept = [ref(c.cast) for c in entry.weights.values()]
        assert [r() is None for r in kept] == [True]
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- models, front doors
def test_the_front_doors_run_the_same_lists():
    with gg.autocast("float16"):
        a = torch.ones(2, 2, requires_grad=True)
        late = torch.nn.functional.softplus
        assert str((a @ a).dtype) == "float16" and str(torch.exp(a @ a).dtype) == "float32"
        assert str((a @ a).sum().dtype) == str(late(a @ a).dtype) == "float32"
        (a @ a).sum().backward()
        assert a.grad.dtype == np.float32
        v = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(tf.exp(tf.matmul(v, v) * 0.01))
        assert y.dtype == tf.float32 and tape.gradient(y, v).dtype == tf.float32
        assert tf.matmul(v, v).dtype == tf.float16


def test_layers_run_in_the_dtypes_of_the_lists():
    net = nn.Sequential(nn.Linear(4, 8, activation="gelu"), nn.LayerNorm(8), nn.Linear(8, 3))
    x = gg.tensor(np.linspace(-1, 1, 20).reshape(5, 4), dtype="float32")
    with gg.autocast():
        with gg.no_grad():
            assert net(x).dtype == gg.bfloat16
        y = nn.cross_entropy(net(x), np.arange(5) % 3)
    y.backward()
    assert y.dtype == np.float32
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype("float32")}
    l1, norm, l2 = net.layers
    half = lambda t: t.astype("bfloat16")
    hidden = nn.linear(half(x), half(l1.weight), half(l1.bias), "gelu").astype("float32")
    z = nn.linear(half(nn.layer_norm(hidden, 8, norm.weight, norm.bias)), half(l2.weight), half(l2.bias))
    assert same(y, nn.cross_entropy(z.astype("float32"), np.arange(5) % 3))
