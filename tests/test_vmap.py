"""vmap: nesting, captured values, trees, errors, what users write inside."""

import gc

import numpy as np
import pytest
from vmapped import grad, rows, same

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch
from gpugrad import nn
from gpugrad.batching import Examples
from gpugrad.vmap import vmap

RNG = np.random.default_rng(0)


def drawn(*shape, dtype=np.float32):
    return gg.tensor(RNG.standard_normal(shape).astype(dtype))


@pytest.fixture
def no_loops(monkeypatch):
    """Fails where something runs example by example."""

    def refuse(*_):
        raise AssertionError("example by example")

    plain = Examples.plain
    monkeypatch.setattr("gpugrad.batching.one_by_one", refuse)
    monkeypatch.setattr(Examples, "plain", lambda self, f, xs: refuse() if self.own(xs) else plain(self, f, xs))


# ---------------------------------------------------------------------------------------------- values and axes
@pytest.mark.devices
def test_a_function_of_one_for_many():
    x, y = drawn(5, 3), drawn(3)
    f = lambda a, b: gg.sum(gg.tanh(a) * b)
    same(vmap(f, in_axes=(0, None))(x, y), rows(lambda a: f(a, y), x))
    same(vmap(lambda a: a * 2, in_axes=1, out_axes=1)(x), x * 2)
    same(vmap(lambda a: a * 2, in_axes=-1)(x), x.numpy().T * 2)
    same(vmap(lambda a: a * 2, np.int64(1), np.int64(1), np.int64(2))(x), x * 2)


def test_trees_of_arguments_and_answers():
    given = {"a": drawn(4, 3), "b": [drawn(3, 4), gg.tensor(2.0)]}
    f = lambda d, scale: {"sum": d["a"] + d["b"][0] * d["b"][1], "both": (d["a"] * scale, d["b"][0])}
    out = vmap(f, in_axes=({"a": 0, "b": [1, None]}, None), out_axes={"sum": 1, "both": 0})(given, 3.0)
    same(out["sum"], (given["a"].numpy() + given["b"][0].numpy().T * 2).T)
    same(out["both"][0], given["a"] * 3.0)
    same(out["both"][1], given["b"][0].numpy().T)


def test_what_is_the_same_for_all():
    x, w = drawn(4, 3), drawn(3)
    out = vmap(lambda a: (a.sum(), w * 2), out_axes=(0, None))(x)
    same(out[1], w * 2)
    same(vmap(lambda a: w)(x), np.broadcast_to(w.numpy(), (4, 3)))
    same(vmap(lambda a: np.float32(1.5) * np.ones(2, np.float32))(x), np.full((4, 2), 1.5))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_chunks(chunk):
    x = drawn(7, 3)
    f = lambda a: (gg.exp(a), a.sum(), gg.tensor(1.0))
    got, want = [vmap(f, in_axes=0, out_axes=(1, 0, None), chunk_size=c)(x) for c in (chunk, None)]
    for a, b in zip(got, want):
        same(a, b)


def test_chunks_hold_less(no_loops):
    seen = []
    f = lambda a: (seen.append(a.array.value.shape[0]), gg.sum(a))[1]
    vmap(f, chunk_size=4)(drawn(10, 3))
    assert seen == [4, 4, 2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64", "int32", "uint8", "bool"])
def test_dtypes(dtype):
    x = gg.astype(gg.tensor(RNG.integers(0, 2, (4, 3)).astype(np.float32)), dtype)
    f = lambda a: gg.where(a == 1, a, a).reshape(3, 1)
    got = vmap(f)(x)
    assert got.dtype == x.dtype
    assert (got.numpy() == x.numpy()[..., None]).all()
    if dtype not in ("bool",):
        assert vmap(lambda a: gg.sum(a))(x).dtype == gg.sum(x[0]).dtype


def test_numpys_arrays_are_taken():
    same(vmap(lambda a: a + 1)(np.zeros((3, 2), np.float32)), np.ones((3, 2)))


# ---------------------------------------------------------------------------------------------- nesting
@pytest.mark.devices
def test_vmap_of_vmap():
    x, y = drawn(4, 3), drawn(5, 3)
    pairs = vmap(lambda a: vmap(lambda b: gg.sum(gg.sin(a) * b), in_axes=0)(y))(x)
    same(pairs, np.sin(x.numpy()) @ y.numpy().T)
    turned = vmap(lambda a: vmap(lambda b: a @ b, out_axes=0)(y), out_axes=1)(x)
    same(turned, y.numpy() @ x.numpy().T)


@pytest.mark.parametrize("name", ["tanh", "softmax", "cumsum", "max", "sort", "index", "linear", "norm"])
def test_vmap_of_vmap_with_gradients(name):
    w, b, key = drawn(3, 2), drawn(2), np.array([2, 0, 2])
    f = {
        "tanh": gg.tanh,
        "softmax": lambda a: nn.softmax(a, axis=-1),
        "cumsum": lambda a: gg.cumsum(a, axis=0),
        "max": lambda a: gg.max(a, axis=-1),
        "sort": lambda a: gg.sort(a),
        "index": lambda a: a[:, key] * a[0, 1],
        "linear": lambda a: nn.linear(a, w, b, activation="gelu"),
        "norm": lambda a: nn.layer_norm(a, (3,), w[:, 0]),
    }[name]
    x = drawn(2, 4, 5, 3)
    loss = lambda a: gg.sum(f(a) ** 2)
    inner = vmap(vmap(grad(loss)))(x)
    with gg.GradientTape() as tape:
        tape.watch(x)
        total = gg.sum(vmap(vmap(loss))(x))
    around = tape.gradient(total, x)
    want = gg.stack([rows(grad(loss), x[i]) for i in range(2)])
    same(inner, want, 1e-4)
    same(around, want, 1e-4)


@pytest.mark.devices
def test_gradients_of_gradients():
    x, w = drawn(5, 3, dtype=np.float64), drawn(3, dtype=np.float64)
    f = lambda a: gg.sum(gg.tanh(a * w) ** 2) * gg.sum(a)
    twice = lambda a: gg.sum(grad(f)(a) ** 2)
    same(vmap(grad(twice))(x), rows(grad(twice), x), 1e-10)
    with gg.GradientTape() as outer:
        outer.watch([x, w])
        total = gg.sum(vmap(grad(f))(x) ** 2)
    by_x, by_w = outer.gradient(total, [x, w])
    same(by_x, rows(grad(twice), x), 1e-10)
    with gg.GradientTape() as outer:
        outer.watch(w)
        total = gg.sum(rows(lambda a: gg.sum(grad(f)(a) ** 2), x))
    same(by_w, outer.gradient(total, w), 1e-10)


def test_a_captured_weight_keeps_its_history():
    x, w = drawn(4, 3), gg.Variable(np.ones(3, np.float32))
    with gg.GradientTape() as tape:
        y = vmap(lambda a: gg.sum(a * w * w))(x)
        total = gg.sum(y)
    same(tape.gradient(total, w), 2 * x.numpy().sum(0))
    p = torch.tensor([2.0], requires_grad=True)
    torch.Tensor.sum(vmap(lambda a: a * p)(torch.tensor([[1.0], [3.0]]))).backward()
    assert p.grad.numpy().tolist() == [4.0]


def test_stop_gradient_and_no_grad_inside_hold_around():
    x = drawn(4, 3)

    def around(f):
        with gg.GradientTape() as tape:
            tape.watch(x)
            total = gg.sum(vmap(f)(x))
        return tape.gradient(total, x)

    def quiet(a):
        with gg.no_grad():
            b = a * a
        return a * b

    same(around(lambda a: a * gg.stop_gradient(a)), x)
    same(around(quiet), x.numpy() ** 2)


def test_a_tape_inside_leaves_nothing_around():
    x = drawn(4, 3)
    with gg.GradientTape() as tape:
        tape.watch(x)
        inner = vmap(grad(lambda a: gg.sum(a**3)))(x)
        total = gg.sum(inner)
    same(tape.gradient(total, x), 6 * x.numpy(), 1e-4)


# ---------------------------------------------------------------------------------------------- models
def test_per_sample_gradients_of_layers(no_loops):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))
    x, y, ps = drawn(6, 2, 4), gg.tensor(RNG.integers(0, 3, (6, 2))), list(model.parameters())

    def gradients(x, y):
        with gg.GradientTape() as tape:
            loss = nn.cross_entropy(model(x), y)
        return tape.gradient(loss, ps)

    for i, g in enumerate(vmap(gradients)(x, y)):
        same(g, gg.stack([gradients(x[k], y[k])[i] for k in range(6)]), 1e-4)


def images():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3),
        nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.layer(self.table(x)))[:, 0]


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.out(self.layer(x)[0][:, -1])


@pytest.mark.parametrize("name", ["images", "words", "steps"])
def test_no_hot_path_loops(no_loops, name):
    model = {"images": images, "words": Words, "steps": Steps}[name]()
    x = {
        "images": lambda: drawn(3, 2, 2, 8, 8),
        "words": lambda: gg.tensor(RNG.integers(0, 7, (3, 2, 4))),
        "steps": lambda: drawn(3, 2, 6, 4),
    }[name]()
    y, ps = gg.tensor(RNG.integers(0, 3, (3, 2))), list(model.parameters())

    def gradients(x, y):
        with gg.GradientTape() as tape:
            loss = nn.cross_entropy(model(x), y, label_smoothing=0.1)
        return tape.gradient(loss, ps)

    found = vmap(gradients)(x, y)
    wanted = [gradients(x[k], y[k]) for k in range(3)]
    for i, g in enumerate(found):
        same(g, gg.stack([w[i] for w in wanted]), 1e-3)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("ignored", [None, 1])
def test_cross_entropy_with_labels_of_each(no_loops, reduction, ignored):
    x, y = drawn(5, 4, 3, dtype=np.float64), gg.tensor(RNG.integers(0, 3, (5, 4)))
    options = {} if ignored is None else {"ignore_index": ignored}
    f = lambda a, b: gg.sum(nn.cross_entropy(a, b, reduction=reduction, **options) ** 2)
    same(vmap(f)(x, y), rows(f, x, y), 1e-10)
    same(vmap(grad(f))(x, y), rows(grad(f), x, y), 1e-10)
    twice = grad(lambda a, b: gg.sum(grad(f)(a, b) ** 2))
    same(vmap(twice)(x, y), rows(twice, x, y), 1e-9)


@pytest.mark.devices
@pytest.mark.parametrize("loss", [nn.cross_entropy, nn.nll_loss])
def test_weights_of_classes_of_each(loss):
    x, y, w = drawn(4, 5, 3), gg.tensor(RNG.integers(0, 3, (4, 5))), gg.exp(drawn(4, 3))
    f = lambda x, y, w: loss(x, y, weight=w)
    same(vmap(f)(x, y, w), rows(f, x, y, w))
    same(vmap(grad(f))(x, y, w), rows(grad(f), x, y, w))


@pytest.mark.devices
def test_ctc_loss_of_targets_of_each():
    x, y = drawn(4, 6, 2, 5), gg.tensor(RNG.integers(1, 5, (4, 2, 3)))
    f = lambda x, y: nn.ctc_loss(nn.log_softmax(x, axis=-1), y, [6, 5], [3, 1])
    same(vmap(f)(x, y), rows(f, x, y))
    same(vmap(grad(f))(x, y), rows(grad(f), x, y))
    same(vmap(f, in_axes=(None, 0))(x[0], y), rows(lambda y: f(x[0], y), y))


def test_batch_norm_moves_no_statistics_inside():
    layer, x = nn.BatchNorm1d(3), drawn(4, 5, 3)
    with pytest.raises(ValueError, match="batch_norm: inside vmap.*layer.eval"):
        vmap(layer)(x)
    with pytest.raises(ValueError, match="instance_norm: inside vmap.*layer.eval"):
        vmap(nn.InstanceNorm2d(3, track_running_stats=True))(drawn(4, 2, 3, 2, 2))
    layer = nn.BatchNorm1d(3, track_running_stats=False)
    same(vmap(layer)(x), rows(layer, x), 1e-4)
    layer.eval()
    same(vmap(layer)(x), rows(layer, x), 1e-4)


@pytest.mark.devices
def test_batch_norm_by_statistics_of_each():
    x, mean, var = drawn(4, 5, 3), drawn(4, 3), gg.exp(drawn(4, 3))
    f = lambda x, mean, var: nn.batch_norm(x, mean, var)
    same(vmap(f)(x, mean, var), rows(f, x, mean, var))
    same(vmap(f, in_axes=(0, 0, None))(x, mean, var[0]), rows(lambda x, m: f(x, m, var[0]), x, mean))
    same(vmap(f, in_axes=(None, None, 0))(x[0], mean[0], var), rows(lambda v: f(x[0], mean[0], v), var))


def test_embedding_tables_of_each_refuse_what_is_out_of_range():
    tables, index = drawn(3, 4, 2), gg.tensor([[0, 3], [1, 1], [2, 0]])
    same(vmap(nn.embedding)(index, tables), rows(nn.embedding, index, tables))
    for wrong in (4, -1):
        with pytest.raises(IndexError, match=r"allowed are 0\.\.3"):
            vmap(nn.embedding)(gg.tensor([[0, 3], [1, wrong], [2, 0]]), tables)


@pytest.mark.parametrize("chunk", [None, 3])
def test_random_numbers_are_the_same_for_all(chunk):
    x = gg.ones((4, 64))
    f = lambda a: (nn.dropout(a, 0.5), nn.dropout(a, 0.5), a[:3] * gg.random.normal((3,)))
    first, second, normal = [v.numpy() for v in vmap(f, chunk_size=chunk)(x)]
    for drawn in (first, second, normal):
        assert (drawn == drawn[0]).all()
    assert (first != second).any()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_attention_drops_the_same_of_all(rate):
    q, k, v = drawn(3, 2, 5, 4), drawn(3, 2, 6, 4), drawn(2, 6, 4)

    def f(q, k):
        gg.random.seed(1)
        return gg.sum(nn.scaled_dot_product_attention(q, k, v, dropout_p=rate) ** 2)

    same(vmap(f)(q, k), rows(f, q, k), 1e-4)
    same(vmap(grad(f))(q, k), rows(grad(f), q, k), 1e-4)


# ---------------------------------------------------------------------------------------------- users' functions
def test_a_users_op():
    cube = gg.op(lambda xp, x: x**3, name="cube", x=lambda g, x: g * 3 * x**2)
    quick = gg.op(lambda xp, x: x**3, name="quick", x=lambda g, x: g * 3 * x**2, batch="elementwise")
    calls = []

    def rule(call, xs, each, static, level):
        calls.append((each, level.n))
        return call(*xs, **static)

    own = gg.op(lambda xp, x: x**3, name="own", x=lambda g, x: g * 3 * x**2, batch=rule)
    x = drawn(4, 3)
    for f in (cube, quick, own):
        same(vmap(f)(x), x.numpy() ** 3, 1e-4)
        same(vmap(grad(lambda a, f=f: gg.sum(f(a))))(x), 3 * x.numpy() ** 2, 1e-4)
    assert calls == [([True], 4)] * 2


def test_a_rule_that_is_no_name():
    with pytest.raises(ValueError, match="elementwise"):
        gg.op(lambda xp, x: x, name="wrong", x=lambda g: g, batch="element by element")


def test_a_custom_gradient():
    @gg.custom_gradient
    def f(x):
        return gg.sum(x * x), lambda g: g * x * 10

    x = drawn(4, 3)
    same(vmap(grad(f))(x), 10 * x.numpy())
    with gg.GradientTape() as tape:
        tape.watch(x)
        total = gg.sum(vmap(f)(x))
    same(tape.gradient(total, x), 10 * x.numpy())


@pytest.mark.parametrize("door", ["torch", "tensorflow"])
def test_the_doors_tensors(door):
    lib = torch if door == "torch" else tf
    x = lib.tensor([[1.0, 2.0], [3.0, 4.0]]) if door == "torch" else lib.constant([[1.0, 2.0], [3.0, 4.0]])
    seen = []
    out = vmap(lambda a: (seen.append(type(a)), a * a)[1])(x)
    assert seen[0] is type(x) and type(out) is type(x)
    same(out, x.numpy() ** 2)


@pytest.mark.devices
def test_autocast_around_and_inside():
    x, w = drawn(3, 4, 5), drawn(5, 2)

    def inside(a):
        with gg.autocast("bfloat16"):
            return a @ w

    got = vmap(inside)(x)
    with gg.autocast("bfloat16"):
        around, want = vmap(lambda a: a @ w)(x), x @ w
    assert got.dtype == around.dtype == want.dtype
    same(gg.astype(got, "float32"), gg.astype(want, "float32"), 1e-2)
    same(gg.astype(around, "float32"), gg.astype(want, "float32"), 1e-2)


def test_functions_that_are_no_ops():
    x = drawn(4, 6)
    for f in (
        lambda a: gg.argsort(a), lambda a: gg.sort(a), lambda a: gg.argmax(a), lambda a: gg.topk(a, 2)[0],
        lambda a: gg.quantile(a, 0.3), lambda a: gg.median(a), lambda a: gg.any(a > 0), lambda a: gg.cummax(a)[0],
        lambda a: gg.argmin(a, keepdims=True), lambda a: gg.one_hot(gg.argmax(a), 6),
        lambda a: gg.searchsorted(gg.sort(a), a), lambda a: gg.count_nonzero(a),
    ):  # fmt: skip
        same(vmap(f)(x), rows(f, x))


@pytest.mark.parametrize("f", [lambda a: gg.masked_select(a, a > 0), lambda a: a[a > 0]])
def test_shapes_that_depend_on_numbers_are_errors(f):
    x = gg.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    with pytest.raises((TypeError, ValueError)):
        vmap(f)(x)


# ---------------------------------------------------------------------------------------------- errors
def test_a_branch_names_its_line():
    def f(a):
        if a > 0:  # this line
            return a
        return -a

    line = f.__code__.co_firstlineno + 1
    with pytest.raises(TypeError, match=rf"vmap\(f\): at test_vmap.py:{line} a number is asked for.*gg.where"):
        vmap(f)(drawn(3))


@pytest.mark.parametrize(
    "f", [float, int, lambda a: a.numpy(), lambda a: a.item(), lambda a: a.tolist(), bool, lambda a: np.asarray(a)]
)
def test_numbers_are_refused(f):
    with pytest.raises(TypeError, match="a number is asked for"):
        vmap(f)(drawn(3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: vmap(3), TypeError, "vmap takes a function, not int"),
        (lambda: vmap(abs, chunk_size=True), ValueError, "chunk_size is a number of examples from 1 on"),
        (lambda: vmap(abs, chunk_size=0), ValueError, "chunk_size is a number of examples from 1 on"),
        (lambda: vmap(gg.exp, in_axes=None)(gg.ones(3)), ValueError, "no argument has examples"),
        (lambda: vmap(gg.exp, in_axes=2)(gg.ones((3, 2))), ValueError, r"in_axes has 2, and .* shape \(3, 2\)"),
        (lambda: vmap(gg.add)(gg.ones((3, 2)), gg.ones((4, 2))), ValueError, "3 along axis 0 .*4 along axis 0"),
        (lambda: vmap(gg.add, in_axes=(0,))(gg.ones(3), gg.ones(3)), ValueError, "are for 1 arguments, and 2"),
        (
            lambda: vmap(gg.exp, gg.ones(3)),
            TypeError,
            r"None, not tensor.*; write gg.vmap\(f\)\(x\)",
        ),
        (
            lambda: vmap(lambda m: m)([gg.nn.Linear(1, 1)]),
            ValueError,
            "gg.nn.stack_module_state",
        ),
        (lambda: vmap(gg.exp, in_axes="0")(gg.ones(3)), TypeError, "in_axes are integers and None"),
        (lambda: vmap(gg.exp, in_axes=([0],))(gg.ones(3)), ValueError, "do not fit"),
        (lambda: vmap(gg.add)(gg.ones(3), 2.0), ValueError, "2.0 has no axis 0"),
        (lambda: vmap(gg.exp)(gg.ones((0, 2))), ValueError, "there are no examples"),
        (lambda: vmap(lambda a: "text")(gg.ones(3)), TypeError, "answers tensors, or trees of them, not 'text'"),
        (lambda: vmap(gg.exp, out_axes=None)(gg.ones(3)), ValueError, "out_axes is None for an answer that each"),
        (lambda: vmap(gg.exp, out_axes=1)(gg.ones(3)), ValueError, "out_axes has 1, and the answer has 1 axes"),
        (
            lambda: vmap(gg.exp, out_axes=(0, 0))(gg.ones(3)),
            ValueError,
            "do not fit: the function answers nested as",
        ),
        (lambda: vmap(lambda a: gg.add(a, a, out=a))(gg.ones(3)), TypeError, "out"),
        (lambda: vmap(lambda a: gg.reshape(a, (5,)))(gg.ones((3, 2))), ValueError, "reshape"),
        (lambda: vmap(lambda a: gg.sum(a, axis=3))(gg.ones((3, 2))), ValueError, "sum"),
        (lambda: vmap(lambda a: gg.sum(a, axis=-2))(gg.ones((3, 2))), ValueError, "sum"),
        (lambda: vmap(lambda a: a[2])(gg.ones((3, 2))), IndexError, "getitem"),
        (lambda: vmap(lambda a: a[0, 0])(gg.ones((3, 2))), IndexError, "getitem"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_tensor_that_is_used_afterwards():
    kept = []
    vmap(lambda a: (kept.append(a), a)[1])(gg.ones(3))
    with pytest.raises(RuntimeError, match="was used after it: return it"):
        kept[0] + 1
    with pytest.raises(RuntimeError, match="was used after it"):
        gg.exp(kept[0])


def test_backward_inside():
    p = torch.tensor([2.0], requires_grad=True)

    def f(a):
        (a * p).sum().backward()
        return a

    with pytest.raises(RuntimeError, match=r"vmap\(f\): inside, ask gg.grad or a tape"):
        vmap(f)(torch.tensor([[1.0], [2.0]]))


def test_an_error_inside_leaves_the_level():
    with pytest.raises(ZeroDivisionError):
        vmap(lambda a: 1 / 0)(gg.ones(3))
    same(gg.exp(gg.zeros(2)), np.ones(2))


# ---------------------------------------------------------------------------------------------- memory
def test_a_tape_keeps_what_the_plain_program_keeps():
    w, x = drawn(64, 64), drawn(32, 4, 64)
    step = lambda a: gg.sum(gg.tanh(nn.linear(a, w, w[0], activation="relu") @ w) ** 2)

    def kept(f):
        gc.collect()
        with gg.GradientTape() as tape:
            tape.watch([w, x])
            y = f()
        n = tape.nbytes()
        assert y.shape == (32,)
        return n

    plain = lambda: gg.sum(gg.tanh(nn.linear(x, w, w[0], activation="relu") @ w) ** 2, axis=(1, 2))
    assert kept(lambda: vmap(step)(x)) <= kept(plain) + 4096
