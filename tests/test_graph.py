"""The graph on tensors against PyTorch's behaviour, value by value."""

import threading

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.core import owner_of
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices


def leaf(v, dtype=np.float64):
    return gg.tensor(np.asarray(v, dtype), requires_grad=True)


def test_backward_accumulates_and_frees():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    assert_close(x.grad, [2, 4])
    y.backward()
    assert_close(x.grad, [4, 8])
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()


def test_grad_and_create_graph():
    x = leaf(3.0)
    y = x * x * x
    (g,) = gg.grad(y, x, create_graph=True)
    (h,) = gg.grad(g, x, create_graph=True)
    (k,) = gg.grad(h, x)
    assert [float(v) for v in (g, h, k)] == [27, 18, 6] and x.grad is None
    y = x * x
    z = y * y
    a, b = gg.grad(z, [x, y])
    assert float(a) == 108 and float(b) == 18
    with pytest.warns(UserWarning, match="reference cycle"):
        (x * x * x).backward(create_graph=True)
    x.grad.backward()
    assert float(x.grad) == 27 + 18


def test_retain_grad_and_leaf():
    x = leaf(3.0)
    y = x * x
    y.retain_grad()
    (y * y).backward()
    assert float(y.grad) == 18 and float(x.grad) == 108
    assert x.is_leaf and not y.is_leaf and y.grad_fn is not None and x.grad_fn is None
    assert x.detach().is_leaf and not x.detach().requires_grad
    z = x * x
    with pytest.warns(UserWarning, match="not a leaf"):
        assert z.grad is None


def test_backward_into_chosen_inputs():
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    y.backward(inputs=[w], retain_graph=True)
    assert x.grad is None and float(w.grad) == 2
    y.backward(inputs=w)
    assert float(w.grad) == 4
    with pytest.raises(RuntimeError, match="cannot be empty"):
        (x * w).backward(inputs=[])


def test_several_roots():
    x = leaf(2.0)
    gg.backward([x * x, x * 3.0])
    assert float(x.grad) == 7


def test_shared_and_broadcast():
    x = leaf(2.0)
    y = x * x
    z = y + y + y * x
    z.backward()
    assert float(x.grad) == 4 * 2 + 3 * 4
    a, b = leaf([[1.0], [2.0]]), leaf([3.0, 4.0])
    (a * b + b).sum().backward()
    assert_close(a.grad, [[7], [7]])
    assert_close(b.grad, [5, 5])


def test_seeds():
    x = leaf([1.0, 2.0])
    (x * x).backward(gg.tensor(np.array([10.0, 1.0])))
    assert_close(x.grad, [20, 4])
    (g,) = gg.grad(x * x, x, grad_outputs=gg.tensor(np.array([1.0, 0.0])))
    assert_close(g, [2, 0])


def test_float32_backward_keeps_its_dtype():
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * gg.tensor(np.array([1.0, 2.0]))).sum()
    assert y.dtype == np.float64
    y.backward()
    assert x.grad.dtype == np.float32


def test_complex():
    z = gg.tensor(1 + 2j, requires_grad=True)
    gg.abs(z).square().backward()
    assert complex(z.grad) == pytest.approx(2 + 4j)
    (g,) = gg.grad(z * z, z, grad_outputs=gg.tensor(1 + 0j))
    assert complex(g) == 2 - 4j
    x = gg.tensor(2.0, requires_grad=True)
    y = gg.real(x * z * 1j)
    y.backward()
    assert x.grad.dtype == np.float32 and float(x.grad) == -2


def test_shared_gradients_are_not_written_through():
    x, y = leaf([1.0, 1.0]), leaf([1.0, 1.0])
    s = (x + y).sum()
    s.backward()
    first = x.grad
    (x * 2.0).sum().backward()
    assert first is x.grad  # PyTorch adds up in place, too
    assert_close(x.grad, [3, 3])
    assert_close(y.grad, [1, 1])
    held = x.grad.array  # as an op that saved it, or a view of it, holds it
    (x * 2.0).sum().backward()
    assert_close(x.grad, [5, 5])
    assert_close(held, [3, 3])


@pytest.mark.numpy("np.shares_memory")
def test_detach_shares_memory_and_requires_grad_toggles():
    x = leaf([1.0, 2.0])
    assert np.shares_memory(x.detach().numpy(), x.numpy())
    x.requires_grad_(False)
    assert not x.requires_grad
    x.requires_grad = True
    assert x.requires_grad and (x * 2).requires_grad


# ---------------------------------------------------------------- errors
def test_errors():
    x, c = leaf([1.0, 2.0, 3.0]), gg.tensor([1.0])
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        c.backward()
    with pytest.raises(RuntimeError, match="only for scalar outputs.*sum"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="real scalar outputs"):
        gg.tensor(1j, requires_grad=True).backward()
    with pytest.raises(RuntimeError, match=r"Mismatch in shape: grad_output\[0\] has a shape of \(2,\)"):
        (x * 2).backward(gg.ones(2))
    with pytest.raises(TypeError, match="gradients can be either Tensors or None, but got int"):
        (x * 2).backward(3)
    with pytest.raises(RuntimeError, match="at index 1 appears to not have been used"):
        gg.grad((x * 2).sum(), [x, leaf(1.0)])
    assert gg.grad((x * 2).sum(), [x, leaf(1.0)], allow_unused=True)[1] is None
    assert_close(gg.grad((x * 2).sum(), [leaf(1.0)], materialize_grads=True)[0], 0)
    with pytest.raises(ValueError, match="materialize_grads"):
        gg.grad((x * 2).sum(), x, allow_unused=False, materialize_grads=True)
    with pytest.raises(RuntimeError, match="One of the differentiated Tensors does not require grad"):
        gg.grad((x * 2).sum(), c)
    with pytest.raises(RuntimeError, match="floating point and complex dtype"):
        gg.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf variables"):
        (x * 2).requires_grad_(False)
    with pytest.raises(RuntimeError, match="assign a gradient of size"):
        x.grad = gg.ones(2)
    with pytest.raises(TypeError, match="ndarray"):
        x.grad = np.ones(3)
    with pytest.raises(RuntimeError, match="retain_grad"):
        c.retain_grad()


def test_an_input_that_was_freed():
    x = leaf(2.0)
    y = gg.exp(x)
    z = y * y
    z.backward()
    with pytest.raises(RuntimeError, match="second time"):
        (y * 2.0).backward()


def test_gradients_are_arrays_of_their_own():
    a, b = gg.Parameter([1.0, 1.0]), gg.Parameter([1.0, 1.0])
    seed = gg.tensor([1.0, 1.0])
    (a + b).backward(seed)
    for p in (a, b):
        p.grad.array[...] *= 0.5
    assert_close(a.grad, [0.5, 0.5])
    assert_close(b.grad, [0.5, 0.5])
    assert_close(seed, [1, 1])
    x = gg.Parameter([1.0, 2.0])
    x.sum().backward()
    x.grad.array[...] *= 2  # not a read-only view
    assert_close(x.grad, [2, 2])


def test_clearing_the_grad_of_a_plain_tensor_changes_nothing():
    c = gg.ones(3)
    c.grad = None
    assert not c.requires_grad and c.node is None
    with pytest.raises(RuntimeError, match="does not require grad"):
        c.grad = gg.ones(3)


def test_a_frozen_parameter():
    m = gg.nn.Linear(2, 1)
    optimizer = gg.optim.SGD(m.parameters(), 0.1)
    m.weight.requires_grad = False
    before = m.weight.numpy().copy()
    optimizer.zero_grad()
    m(gg.ones((1, 2))).sum().backward()
    optimizer.step()
    assert (m.weight.numpy() == before).all()


def test_the_gradient_of_a_result_that_an_inner_tape_has_freed():
    x = leaf(2.0)
    with gg.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with gg.GradientTape() as inner:
            inner.watch(x)
            y = x * x
            z = y * y
        y.retain_grad()
        inner.gradient(z, x)
    z.backward()
    assert_close(y.grad, 8.0)
    assert_close(x.grad, 32.0)
    assert_close(outer.gradient(z, x), 32.0)


def test_what_a_tape_recorded_requires_grad_too():
    v = gg.nn.Linear(2, 1)
    with gg.GradientTape():
        loss = v(gg.ones((3, 2))).sum()
    assert loss.requires_grad and not loss.is_leaf
    assert not gg.ones((3, 2)).requires_grad


def test_backward_with_create_graph_warns_of_the_cycle():
    x = leaf(2.0)
    with pytest.warns(UserWarning, match="reference cycle"):
        (x * x * x).backward(create_graph=True)
    (second,) = gg.grad(x.grad, x)
    x.grad = None
    assert_close(second, 12.0)


def test_data_is_the_values_off_the_graph():
    w = leaf([1.0, 2.0])
    (w * w).sum().backward()
    w.data -= 0.5 * w.grad
    assert_close(w, [0.0, 0.0])
    assert w.requires_grad and w.is_leaf and not w.data.requires_grad
    assert owner_of(w.data.array) is owner_of(w.array)
    w.data = [3, 4]
    assert w.dtype == np.float64 and w.tolist() == [3, 4]
    for bad in ([1.0, 2.0, 3.0], gg.tensor([1.0, 2.0], dtype="float32")):
        with pytest.raises(RuntimeError, match="same shape and dtype"):
            w.data = bad
    with pytest.raises(RuntimeError, match="only a leaf's .data can be set; this tensor was computed by multiply"):
        (w * 2).data = w
    assert w.tolist() == [3, 4]


def test_a_leaf_changes_in_place_under_no_grad_only():
    w = leaf([1.0, 2.0])
    same = w
    for _ in range(2):
        w.grad = None
        (w * w).sum().backward()
        with gg.no_grad():
            w -= 0.25 * w.grad
    assert w is same and w.requires_grad and w.tolist() == [0.25, 0.5]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        w *= 2
    y = w * 2
    z = y
    y += 1  # a new tensor
    assert y is not z and y.requires_grad and z.tolist() == [0.5, 1.0]
    layer = gg.nn.Linear(2, 1)
    layer(gg.ones((1, 2))).sum().backward()
    with gg.no_grad():
        for p in layer.parameters():
            before = p.numpy().copy()
            p -= p.grad
            assert_close(p, before - p.grad.numpy())
    with gg.no_grad(), pytest.raises(RuntimeError, match="same shape"):
        w += gg.ones((3, 2))
    assert w.tolist() == [0.25, 0.5]


def test_a_variable_outside_a_tape_says_so():
    v = gg.Variable([1.0, 2.0])
    assert not v.requires_grad
    with pytest.raises(RuntimeError, match="a Variable records inside a GradientTape; a Parameter"):
        v.sum().backward()
    v.requires_grad_()
    v.sum().backward()
    assert v.grad.tolist() == [1, 1]


@pytest.mark.parametrize("bad", [3, None, "x", {"x": 1}])
def test_grad_names_what_it_takes(bad):
    x = leaf(1.0)
    with pytest.raises(TypeError, match="inputs is a Tensor or a list or tuple of Tensors"):
        gg.grad(x * x, bad)
    with pytest.raises(TypeError, match="outputs is a Tensor or a list or tuple of Tensors"):
        gg.grad(bad, x)


def test_chosen_inputs_get_arrays_of_their_own_once_and_under_a_lock():
    x, y = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    seed = gg.tensor(np.ones(2))
    (x + y).backward(seed, inputs=[x, y, x])
    assert x.grad.tolist() == y.grad.tolist() == [1, 1]
    arrays = [x.grad.numpy(), y.grad.numpy(), seed.numpy()]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    z = leaf([1.0, 2.0])
    z.sum().backward(inputs=[z])
    z.grad.numpy()[...] *= 0.5
    w = leaf(1.0)

    def work():
        for _ in range(200):
            (w * 1.0).backward(inputs=[w])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert float(w.grad) == 1600


def test_lifted_gradients_are_tensors_of_their_own():
    z, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    s = leaf([1.0, 1.0])
    with pytest.warns(UserWarning, match="cycle"):
        (z + w).backward(s, create_graph=True)
    assert z.grad is not w.grad and z.grad is not s
    assert_close(gg.grad(z.grad.sum(), s)[0], [1.0, 1.0])
    z.grad = w.grad = None


def test_answers_are_arrays_of_their_own():
    a, b, x = leaf(1.0), leaf(2.0), gg.tensor(np.float64(3))
    g1, g2 = gg.grad(a + b, [a, b])
    assert g1.array is not g2.array
    with gg.GradientTape() as outer:
        with gg.GradientTape() as inner:
            inner.watch(x)
            z = x * g2
            outer.watch(g1)
        d = inner.gradient(z, x)
    assert outer.gradient(d, g1) is None
    t = gg.tensor([1.0])
    assert gg.clip(t).array is not t.array


def test_a_leaf_that_was_frozen_for_a_while():
    p = gg.Parameter(3.0)
    y = p * p
    p.requires_grad_(False)
    assert not p.requires_grad and not (p * 2).requires_grad and p.grad is None
    y.backward(retain_graph=True)
    p.requires_grad_(True)
    assert p.grad is None
    y.backward()
    assert float(p.grad) == 6


def test_only_what_was_walked_through_is_freed():
    x, w = leaf(2.0), leaf(3.0)
    a = gg.exp(w)
    y = a + gg.sin(x)
    gg.grad(y, x)
    assert_close(gg.grad(a, w)[0], np.exp(3.0))
    z = w + w  # a sum saves nothing, and can be walked again
    z.backward()
    z.backward()
    assert float(w.grad) == 4
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_a_watched_leaf_is_not_on_the_graph():
    x = gg.tensor(1.0)
    with gg.GradientTape() as tape:
        tape.watch(x)
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        x.retain_grad()
    with pytest.raises(RuntimeError, match="does not require grad"):
        x.grad = gg.tensor(1.0)
    with pytest.raises(RuntimeError, match="does not require grad"):
        x.backward()
    assert not x.requires_grad
