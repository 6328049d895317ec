"""Saved values packed and unpacked; anomaly mode; inference mode; hooks of nodes and of several tensors."""

import gc
import threading
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.torch as torch
from gpugrad.anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from gpugrad.autograd import inference_mode, is_inference, register_multi_grad_hook, register_node_hook
from gpugrad.hooks import suspecting, walks
from gpugrad.recording import packing


def program(x, w):
    h = gg.tanh(x @ w)
    a, b = gg.split(gg.exp(h), 2)
    return gg.sum(gg.logsumexp(a * b, axis=0) + gg.nn.softmax(h)[0] * gg.sin(h[1]))


@pytest.fixture
def xw():
    rng = np.random.default_rng(0)
    return [gg.tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 3), (3, 2))]


def test_packed_values_give_the_same_gradients(xw):
    plain = gg.grad(program(*xw), xw)
    packed = []

    def pack(t):
        assert isinstance(t, gg.Tensor) and not t.requires_grad
        packed.append(t.nbytes)
        return [t.numpy().astype(np.float64).copy(), t.dtype]

    unpack = lambda p: gg.tensor(p[0].astype(p[1]))
    with gg.saved_tensors_hooks(pack, unpack):
        y = program(*xw)
    got = gg.grad(y, xw)
    assert len(packed) > 8 and not packing
    for a, b in zip(plain, got):
        np.testing.assert_allclose(a.numpy(), b.numpy())


def test_packed_values_serve_tapes_higher_orders_and_count_as_what_they_are(xw):
    x, w = xw
    with (
        gg.GradientTape(persistent=True) as tape,
        gg.saved_tensors_hooks(lambda t: gg.astype(t, gg.float32), lambda t: gg.astype(t, gg.float64)),
    ):
        y = gg.sum(gg.exp(x) * x)
    with gg.GradientTape() as other:
        z = gg.sum(gg.exp(x) * x)
    assert other.nbytes() == 2 * x.nbytes and z.requires_grad  # x and exp(x), which two ops share
    assert tape.nbytes() == 3 * x.nbytes // 2  # in float32, packed once for each op
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), (np.exp(x.numpy()) * (1 + x.numpy())), rtol=1e-6)
    with gg.saved_tensors_hooks(lambda t: t, lambda t: t):
        (g,) = gg.grad(gg.sum(w**3), w, create_graph=True)
    (h,) = gg.grad(gg.sum(g), w)
    np.testing.assert_allclose(h.numpy(), 6 * w.numpy())


def test_of_contexts_in_one_another_the_innermost_counts(xw):
    x, seen = xw[0], []
    say = lambda name: (lambda t: seen.append(name) or t, lambda t: t)
    with gg.saved_tensors_hooks(*say("outer")):
        y = gg.exp(x)
        with gg.saved_tensors_hooks(*say("inner")), gg.no_grad():
            gg.exp(x)
        with gg.saved_tensors_hooks(*say("inner")):
            z = gg.exp(y)
        gg.sum(z * 2.0)
    gg.exp(x)
    assert seen == ["outer", "inner"]


def test_what_unpack_answers_is_checked(xw):
    with gg.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = gg.sum(gg.exp(xw[0]))
    with pytest.raises(TypeError, match="Output of saved tensor unpack_hook expected to be a Tensor but got .* int"):
        y.backward()
    with pytest.raises(ZeroDivisionError), gg.saved_tensors_hooks(lambda t: 1 / 0, lambda t: t):
        gg.exp(xw[0])
    assert not packing and gg.exp(xw[0]).requires_grad


def test_save_on_cpu(xw):
    plain = gg.grad(program(*xw), xw)
    with gg.save_on_cpu():
        y = program(*xw)
    for a, b in zip(plain, gg.grad(y, xw)):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


# ---------------------------------------------------------------------------------------------- anomaly
def test_a_nan_names_the_op_and_the_line():
    x = gg.tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(all="ignore"), detect_anomaly():
        y = gg.sum(gg.sqrt(x) * gg.tensor([0.0, 1.0]))
        line = f'{Path(__file__).name}", line'
        with pytest.warns(UserWarning, match=r"(?s)Error detected in sqrt. Traceback of forward call.*" + line):
            with pytest.raises(RuntimeError, match="Function 'sqrt' returned nan values in its 0th output"):
                y.backward()
    assert not suspecting and not is_anomaly_enabled()
    record = lambda: gg.sum(gg.sqrt(x) * gg.tensor([0.0, 1.0]))
    with np.errstate(all="ignore"):
        record().backward()
        assert np.isnan(x.grad.numpy()[0])
        y, z = record(), record()
        with detect_anomaly(), pytest.raises(RuntimeError, match="returned nan values"):
            with pytest.warns(UserWarning, match="No forward pass information available"):
                y.backward()
        with detect_anomaly(check_nan=False):
            assert np.isnan(gg.grad(z, x)[0].numpy()[0])


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda x: gg.log(x - 3.0), "'log' made nan values of inputs that have none"),
        (lambda x: 1.0 / (x - 2.0), "'divide' made inf values of inputs that have none"),
        (lambda x: gg.clip(x * np.array([1.0, np.nan]), 0.0, 5.0), "input 1 of 'multiply' had nan values before"),
        (lambda x: gg.concat([gg.tensor([np.nan]), x]) * 2, "input 0 of 'concat' had nan values before"),
        (lambda x: gg.max(gg.unstack(gg.sqrt(-x))[1]), "'sqrt' made nan values"),
    ],
)
def test_a_forward_pass_tells_who_made_a_nan(f, says):
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    with np.errstate(all="ignore"), detect_anomaly():
        with pytest.warns(RuntimeWarning, match=rf"(?s){says}.*called at {Path(__file__).name}:") as told:
            f(x)
        assert len(told) == 1 and told[0].filename == __file__
    with np.errstate(all="ignore"), detect_anomaly(check_nan=False):
        f(x)


def test_a_forward_pass_tells_which_function_of_a_users_answered_a_nan():
    class Log(gg.Function):
        @staticmethod
        def forward(ctx, x):
            return gg.tensor(np.log(x.numpy()))

        @staticmethod
        def backward(ctx, g):
            return g

    log = gg.custom_gradient(lambda x: (gg.tensor(np.log(x.numpy())), lambda g: g))
    for f, name in ((Log.apply, "Log"), (log, ".*")):
        with np.errstate(all="ignore"), detect_anomaly():
            with pytest.warns(RuntimeWarning, match=f"'{name}' answered nan values") as told:
                gg.sum(f(gg.tensor([-1.0], requires_grad=True)))
            assert len(told) == 1


def test_a_nan_of_a_backward_pass_tells_of_the_forward_pass():
    x = gg.tensor([np.nan, 2.0], requires_grad=True)
    with detect_anomaly():
        with pytest.warns(RuntimeWarning, match="input 0 of 'square' had nan values before the op"):
            y = gg.sum(gg.square(x))
        with pytest.warns(UserWarning, match="Error detected"):
            with pytest.raises(RuntimeError, match="The first in the forward pass: input 0 of 'square'"):
                y.backward()


def test_infinities_that_a_forward_pass_is_given_are_none_of_its_ops(xw):
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    with detect_anomaly():
        scores = gg.where(np.array([True, False]), x, -np.inf) + gg.masked_fill(x, [False, True], -np.inf)
        gg.sum(gg.softmax(scores) * gg.argsort(x)).backward()


def test_an_error_in_a_pullback_names_its_op():
    bad = gg.op(lambda xp, x: x * 2, name="bad", x=lambda g: 1 / 0)
    x = gg.tensor([1.0], requires_grad=True)
    with detect_anomaly():
        y = gg.sum(bad(x))
        with pytest.warns(UserWarning, match="Error detected in bad"), pytest.raises(ZeroDivisionError):
            y.backward()


def test_anomaly_mode_as_a_statement_and_its_gradients(xw):
    plain = gg.grad(program(*xw), xw)
    set_detect_anomaly(True)
    try:
        assert is_anomaly_enabled()
        with set_detect_anomaly(False):
            assert not is_anomaly_enabled()
        assert is_anomaly_enabled()
        for a, b in zip(plain, gg.grad(program(*xw), xw)):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    finally:
        set_detect_anomaly(False)
    assert not is_anomaly_enabled() and gg.exp(xw[0]).node is not None


# ---------------------------------------------------------------------------------------------- inference
def test_inference_mode():
    w = gg.tensor([2.0], requires_grad=True)
    with inference_mode():
        y = w * 3.0
        with inference_mode(), inference_mode(False):
            y = y * 1.0
        z = y * 1.0
        assert not gg.is_grad_enabled()
    assert gg.is_grad_enabled() and is_inference(y) and is_inference(z) and not y.requires_grad
    assert (w + z).requires_grad  # saves nothing
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        w * y
    with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor outside InferenceMode"):
        y.requires_grad_()
    assert (w * y.clone()).requires_grad and not is_inference(y.clone())
    call = inference_mode()(lambda: w * 2.0)
    assert is_inference(call()) and not is_inference(w * 2.0)


# ---------------------------------------------------------------------------------------------- hooks
def test_hooks_of_nodes():
    x, w = gg.tensor([1.0, 2.0], requires_grad=True), gg.tensor([3.0, 4.0], requires_grad=True)
    y = x * w
    seen = []
    handle = register_node_hook(y.node, lambda inputs, outputs: seen.append((inputs, outputs)))
    loss = gg.sum(y * 2.0)
    loss.backward(retain_graph=True)
    ((a, b), (g,)) = seen[0]
    assert a.tolist() == [6, 8] and b.tolist() == [2, 4] and g.tolist() == [2, 2]
    handle.remove()
    with register_node_hook(y.node, lambda ins, outs: (None if ins[0] is None else ins[0] * 10.0, ins[1])):
        assert [g.tolist() for g in gg.grad(loss, [x, w], retain_graph=True)] == [[60, 80], [2, 4]]
        assert gg.grad(loss, [w], retain_graph=True)[0].tolist() == [2, 4]
    assert len(seen) == 1 and gg.grad(loss, [x])[0].tolist() == [6, 8]
    y = x * w
    with (
        register_node_hook(y.node, lambda inputs, outputs: inputs[0]),
        pytest.raises(RuntimeError, match="incorrect number"),
    ):
        gg.sum(y).backward()


def test_hooks_of_several_tensors():
    gc.collect()
    x, w = gg.tensor(2.0, requires_grad=True), gg.tensor(3.0, requires_grad=True)
    y = x * w
    every, first = [], []
    handles = (
        register_multi_grad_hook([x, w, y], every.append),
        register_multi_grad_hook([x, y], first.append, mode="any"),
    )
    (y * 2.0).backward()
    assert [float(g) for g in every[0]] == [6, 4, 2] and [float(g) for g in first] == [2]
    (x * 5.0).backward()
    assert [None if g is None else float(g) for g in every[1]] == [5, None, None]
    (w * 1.0).backward()
    for h in handles:
        h.remove()
    (x * w).backward()
    assert len(every) == 3 and len(first) == 2 and not walks.stack
    with pytest.raises(ValueError, match="Expects mode"):
        register_multi_grad_hook([x], print, mode="some")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="doesn't require gradient"):
            register_multi_grad_hook([gg.tensor(1.0)], print)


def test_hooks_of_several_tensors_with_walks_in_one_another_and_failing_ones():
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    b = gg.recompute_grad(gg.exp)(x * 2.0)  # walks again inside the walk
    c = b * 3.0
    calls = []
    register_multi_grad_hook([x, c], calls.append)
    gg.sum(c).backward(retain_graph=True)
    assert len(calls) == 1 and all(g is not None for g in calls[0])
    with c.register_hook(lambda g: 1 / 0), pytest.raises(ZeroDivisionError):
        gg.sum(c).backward(retain_graph=True)
    z = gg.tensor(1.0, requires_grad=True)
    (z * 2.0).backward()
    assert len(calls) == 1 and not walks.stack
    gone = gg.tensor([1.0], requires_grad=True)
    register_multi_grad_hook([gone], calls.append)
    watch = weakref.ref(gone)
    del gone
    assert watch() is None


def test_hooks_see_what_they_should():
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.tolist()))
    y = x * x
    y.retain_grad()
    gg.sum(y * 2.0).backward(inputs=[x, y])
    assert seen == [[4, 8]] and y.grad.tolist() == [2, 2] and x.grad.tolist() == [4, 8]
    with x.register_hook(lambda g: gg.astype(g, gg.float64)), pytest.raises(RuntimeError, match="changed the type"):
        gg.sum(x * 2.0).backward()
    y = x * 3.0
    with register_node_hook(y.node, lambda ins, outs: (gg.tensor(7.0), ins[1])):
        with pytest.raises(RuntimeError, match="changed the size"):
            gg.sum(y).backward()


def test_modes_in_one_another():
    w = gg.tensor([2.0], requires_grad=True)
    with inference_mode(), gg.enable_grad():
        y = w * 2.0
    assert is_inference(y) and not y.requires_grad and (w * 2.0).requires_grad
    d = detect_anomaly()
    with d, d:
        assert is_anomaly_enabled()
    assert not is_anomaly_enabled()


def test_a_target_given_twice_counts_twice():
    c = gg.tensor(3.0)
    with gg.GradientTape() as tape:
        pass
    assert float(tape.gradient([c, c], c)) == 2.0


def test_one_context_in_two_threads():
    x, log = gg.tensor([1.0], requires_grad=True), []
    hooks = gg.saved_tensors_hooks(lambda t: log.append(threading.current_thread().name) or t, lambda t: t)
    inside, go = threading.Event(), threading.Event()

    def other():
        with hooks:
            inside.set()
            go.wait(5)
            gg.exp(x)

    thread = threading.Thread(target=other, name="other")
    thread.start()
    inside.wait(5)
    with hooks:
        gg.exp(x)
    go.set()
    thread.join()
    assert sorted(log) == ["MainThread", "other"] and not packing


def test_values_are_unpacked_once_for_each_use_after_a_write_elsewhere():
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    reads = []
    with gg.saved_tensors_hooks(lambda t: t, lambda t: reads.append(1) or t):
        y = gg.sum(x * x)
    elsewhere = torch.ones(3)
    elsewhere.add_(1.0)
    y.backward()
    assert len(reads) == 2 and x.grad.tolist() == [2, 4]
