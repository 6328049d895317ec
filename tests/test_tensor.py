"""Tensor, creation, Variable: values, conversions, and what bad input says."""

import copy
import pickle
import threading

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import assert_close


def test_dtypes_of_new_tensors():
    assert gg.tensor(1.5).dtype == np.float32
    assert gg.tensor([1, 3.0]).dtype == np.float32
    assert gg.tensor(10).dtype == np.int32
    assert gg.tensor(2**40).dtype == np.int64
    assert gg.tensor(True).dtype == bool
    assert gg.tensor(1j).dtype == np.complex64
    assert gg.tensor(np.ones(2)).dtype == np.float64
    assert gg.tensor(np.float64(2)).dtype == np.float64
    assert gg.tensor([1, 2], dtype="float16").dtype == np.float16
    assert gg.tensor([1.0], dtype=gg.bfloat16).dtype == gg.bfloat16
    assert gg.zeros((2, 3)).dtype == gg.ones(3).dtype == gg.linspace(0, 1, 3).dtype == np.float32
    assert gg.arange(3).dtype == np.int32 and gg.arange(0.0, 1.0, 0.5).dtype == np.float32


def test_creation_values():
    assert_close(gg.full((2,), 3.5), [3.5, 3.5])
    assert_close(gg.eye(2, 3), np.eye(2, 3))
    assert_close(gg.linspace(-1, 1, 5), np.linspace(-1, 1, 5))
    assert_close(gg.zeros_like(gg.ones((2, 2))), np.zeros((2, 2)))
    assert_close(gg.full_like(gg.ones(2, dtype="float64"), 7), [7, 7])
    assert_close(gg.tensor([gg.tensor(1.0), gg.tensor(2.0)]), [1, 2])


def test_an_array_is_shared_and_a_variable_copies():
    a = np.ones(3, np.float32)
    assert np.shares_memory(gg.tensor(a).numpy(), a)
    assert not np.shares_memory(gg.Variable(a).numpy(), a)


@pytest.mark.parametrize("bad", ["text", b"bytes", None, [1, "a"], {"a": 1}, object()])
def test_what_holds_no_numbers(bad):
    with pytest.raises(TypeError, match="cannot make a tensor|no numbers"):
        gg.tensor(bad)


def test_bad_creation():
    with pytest.raises(ValueError, match="same length"):
        gg.tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match="is no dtype; write for example gg.float32"):
        gg.tensor([1.0], dtype="float33")
    with pytest.raises(TypeError, match="holds no numbers"):
        gg.tensor([1.0], dtype="U3")
    with pytest.raises(TypeError, match="a shape is an integer or a tuple"):
        gg.zeros("ab")
    with pytest.raises(TypeError, match="default dtype must be floating"):
        gg.set_default_dtype("int32")


def test_operators_with_everything():
    t = gg.tensor([1.0, 2.0])
    a = np.array([3.0, 4.0], np.float32)
    for got, expected in [
        (t + 1, [2, 3]), (1 + t, [2, 3]), (t - [1, 1], [0, 1]), ([3, 3] - t, [2, 1]), (t * a, [3, 8]), (a * t, [3, 8]),
        (a / t, [3, 2]), (2 / t, [2, 1]), (t**2, [1, 4]), (2**t, [2, 4]), (-t, [-1, -2]), (abs(-t), [1, 2]),
        (np.float64(3) * t, [3, 6]), (t % 2, [1, 0]), (t // 2, [0, 1]), (a @ t, 11), ([[1.0, 1.0]] @ t, [3]),
    ]:  # fmt: skip
        assert isinstance(got, gg.Tensor) and got.dtype == np.float32
        assert_close(got, expected)
    for got, expected in [
        (t > 1, [False, True]), (1 >= t, [True, False]), (t == [1, 3], [True, False]), (t != t, [False, False]),
    ]:  # fmt: skip
        assert isinstance(got, gg.Tensor) and got.dtype == bool
        assert got.tolist() == expected
    assert (t == None) is False and (t != "a") is True  # noqa: E711


def test_where_takes_numbers_and_reductions_take_positions():
    t = gg.tensor([1.0, -2.0])
    assert gg.where(t > 0, 1.0, 0.0).dtype == np.float32 and gg.where(t > 0, 1.0, 0.0).tolist() == [1, 0]
    assert gg.where(t > 0, 1, 0).dtype.kind == "i"
    assert gg.where([True, False], t, 7.0).tolist() == [1, 7]
    m = gg.ones((2, 3))
    assert gg.sum(m, 0).shape == (3,) and gg.sum(m, 0, True).shape == (1, 3) and gg.mean(m, 1).shape == (2,)
    with pytest.raises(TypeError, match="sum takes one array and"):
        gg.sum(m, 0, True, None, 5)


def test_wrong_operands():
    t = gg.tensor([1.0, 2.0])
    for bad in ("x", None, {}, object()):
        with pytest.raises(TypeError, match="unsupported operand"):
            t * bad
    with pytest.raises(ValueError, match=r"add: operands could not be broadcast.*float32\[2\], float32\[3\]"):
        t + gg.ones(3)
    with pytest.raises(ValueError, match=r"cannot be multiplied: the last axis of the first is 2, the second last"):
        gg.ones((1, 2)) @ gg.ones((3, 1))
    with pytest.raises(ValueError, match="needs? at least one axis"):
        t @ gg.tensor(1.0)
    with pytest.raises(ValueError, match="sum: axis 3 is out of bounds"):
        t.sum(axis=3)
    with pytest.raises(IndexError, match="out of bounds"):
        t[5]
    with pytest.raises(IndexError, match="is no index"):
        t["a"]
    with pytest.raises(ValueError, match="reshape"):
        t.reshape(3)
    with pytest.raises(TypeError, match="cannot take 'abc'"):
        gg.exp("abc")
    with pytest.raises(ValueError, match="clip: min is NaN"):
        gg.clip(t, float("nan"), 1)
    with pytest.raises(ValueError, match="equal parts"):
        gg.split(gg.ones(5), 2)
    with pytest.raises(ValueError, match="empty list"):
        gg.concat([])


def test_no_internals_in_the_traceback():
    with pytest.raises(ValueError) as e:
        gg.ones(2) + gg.ones(3)
    assert e.value.__cause__ is None and e.value.__suppress_context__


def test_raw_arrays_give_raw_arrays():
    assert isinstance(gg.exp(np.ones(2)), np.ndarray)
    assert isinstance(gg.exp([1.0, 2.0]), gg.Tensor) and gg.exp([1.0, 2.0]).dtype == np.float32
    assert isinstance(gg.exp(1.0), gg.Tensor)


def test_python_protocol():
    t = gg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(t) == 2 and [r.tolist() for r in t] == [[1, 2], [3, 4]]
    assert t.T.tolist() == [[1, 3], [2, 4]] and t.mT.tolist() == [[1, 3], [2, 4]]
    assert float(gg.tensor(2.5)) == 2.5 and int(gg.tensor(3)) == 3 and bool(gg.tensor(1.0))
    assert [10, 20, 30][gg.tensor(1)] == 20
    assert f"{gg.tensor(2.0):.2f}" == "2.00"
    assert repr(gg.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(gg.tensor(3.0, requires_grad=True)) == "tensor(3., requires_grad=True)"
    assert "grad_fn=<multiply>" in repr(gg.tensor(3.0, requires_grad=True) * 2)
    assert t.shape == (2, 2) and t.ndim == 2 and t.size == 4 and t.nbytes == 16
    assert {t: 1}[t] == 1
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(t)
    with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
        t.item()
    with pytest.raises(TypeError, match="does not support item assignment"):
        t[0] = 1
    with pytest.raises(TypeError, match="0-d"):
        len(gg.tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(gg.tensor(1.0))


def test_numpy_functions_leave():
    t = gg.tensor([1.0, 2.0])
    assert isinstance(np.mean(t), np.generic) and isinstance(np.concatenate([t, t]), np.ndarray)
    for left in (np.exp(t), np.add(t, 1), np.multiply(np.ones(2), t), np.maximum(t, t)):
        assert isinstance(left, np.ndarray)
    a = np.ones(2)
    a += t
    assert a.tolist() == [2, 3]
    assert np.asarray(t).dtype == np.float32
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    assert np.from_dlpack(t).tolist() == [1, 2]


def test_devices():
    t = gg.tensor([1.0])
    if gg.device_count():
        pytest.skip("what a machine without a GPU says")
    assert t.device == "cpu" and gg.default_device() == gg.device("cpu")
    assert t.to("cpu") is t and t.to(np.float64).dtype == np.float64 and t.to("float64").dtype == np.float64
    with gg.device("cpu"):
        assert gg.ones(1).device == "cpu"
    with pytest.raises(ValueError, match="unknown device 'tpu'; known are 'cpu', 'cuda'"):
        gg.device("tpu")
    for name in ("cuda", "cuda:1", "gpu"):
        with pytest.raises(RuntimeError, match="no device .* here: .*Use device 'cpu'"):
            gg.tensor(1.0, device=name)
    with pytest.raises(RuntimeError, match="this machine has 1"):
        gg.device("cpu:1")
    with pytest.raises(ValueError, match="comes a number"):
        gg.device("cpu:x")
    with pytest.raises(TypeError, match="named by a string"):
        gg.device(3)
    with pytest.raises(RuntimeError):
        gg.set_default_device("cuda")
    assert gg.default_device() == "cpu"


def test_random_repeats():
    gg.random.seed(3)
    a = gg.random.normal((3,)), gg.random.uniform((2,), -1, 1), gg.random.randint(0, 9, (4,)), gg.random.permutation(5)
    gg.random.seed(3)
    b = gg.random.normal((3,)), gg.random.uniform((2,), -1, 1), gg.random.randint(0, 9, (4,)), gg.random.permutation(5)
    assert all(np.array_equal(x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True))
    assert a[0].dtype == np.float32 and sorted(a[3].tolist()) == list(range(5))
    with pytest.raises(ValueError, match="std"):
        gg.random.normal((2,), std=float("nan"))
    with pytest.raises(ValueError, match="low"):
        gg.random.uniform((2,), 2, 1)
    with pytest.raises(ValueError, match="below"):
        gg.random.randint(3, 3)


def test_generators_belong_to_a_thread():
    gg.random.seed(1)
    expected = gg.random.normal((2,)).tolist()
    gg.random.seed(1)
    t = threading.Thread(target=lambda: gg.random.normal((100,)))
    t.start()
    t.join()
    assert gg.random.normal((2,)).tolist() == expected


# ---------------------------------------------------------------- variables
def test_assign():
    v = gg.Variable([1.0, 2.0], name="v")
    assert v.assign([3.0, 4.0]) is v
    assert_close(v, [3, 4])
    v.assign_add(1.0)
    assert_close(v, [4, 5])
    v.assign_sub(gg.tensor([1.0, 2.0]))
    assert_close(v, [3, 3])
    assert v.dtype == np.float32
    v[0].assign(7.0)
    assert_close(v, [7, 3])
    v[0:2].assign([1.0, 2.0])
    assert_close(v, [1, 2])
    v[gg.tensor([True, False])].assign(9.0)
    assert_close(v, [9, 2])
    v.assign(np.array([1.0, 2.0]))
    assert v.dtype == np.float32


def test_assign_errors_leave_the_variable_alone():
    v = gg.Variable([1.0, 2.0], name="v")
    with pytest.raises(ValueError, match=r"variable 'v': Shape mismatch. The variable shape \(2,\).*\(3,\)"):
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="Cannot assign value to variable 'v'"):
        v[0:2].assign([1.0, 2.0, 3.0])
    with pytest.raises(TypeError):
        v.assign("a")
    with pytest.raises(ValueError, match="Shape mismatch"):
        v.assign_add(gg.ones((2, 2)))
    with pytest.raises(RuntimeError, match="assign_add"):
        v += 1.0
    with pytest.raises(RuntimeError, match="assign_sub"):
        v -= 1.0
    with pytest.raises(TypeError, match="item assignment"):
        v[0] = 1.0
    assert_close(v, [1, 2])


def test_a_read_value_does_not_follow_the_variable():
    v = gg.Variable([1.0])
    read, part = v.value(), v[0]
    v[0].assign(5.0)
    v.assign_add([1.0])
    assert_close(read, [1])
    assert_close(part, 1)


def test_the_gradient_of_a_part():
    v = gg.Variable([1.0, 2.0, 3.0])
    with gg.GradientTape() as tape:
        y = v[1] * v[1] + v[2]
    assert_close(tape.gradient(y, v), [0, 4, 1])


def test_deepcopy():
    leaf = gg.tensor([1.0], requires_grad=True)
    other = copy.deepcopy(leaf)
    assert other.requires_grad and other is not leaf and not np.shares_memory(other.numpy(), leaf.numpy())
    v = copy.deepcopy(gg.Variable([1.0], name="v"))
    assert isinstance(v, gg.Variable) and v.name == "v"
    net = gg.nn.Linear(2, 2)
    assert copy.deepcopy(net).weight is not net.weight
    with pytest.raises(RuntimeError, match="leaves of the graph"):
        copy.deepcopy(leaf * 2)


def test_whole_bfloat16_numbers_print_as_floats():
    assert repr(gg.tensor([1.0, 2.0], dtype="bfloat16")) == "tensor([1., 2.], dtype=bfloat16)"


def test_pickle_and_copy_keep_values_and_not_the_graph():
    leaf = gg.tensor([1.0, 2.0], requires_grad=True)
    for clone in (lambda t: pickle.loads(pickle.dumps(t)), copy.copy):
        for t in (leaf, leaf * 2, gg.tensor([1, 2]), gg.tensor(3.0, dtype="bfloat16")):
            other = clone(t)
            assert type(other) is gg.Tensor and other.is_leaf and other.requires_grad == (t is leaf)
            assert other.dtype == t.dtype and other.tolist() == t.tolist()
        frozen = gg.Parameter([1.0], name="frozen")
        frozen.requires_grad = False
        for v in (gg.Variable([1.0], name="v"), gg.Variable([1], trainable=False), gg.Parameter([1.0]), frozen):
            other = clone(v)
            assert type(other) is type(v) and (other.name, other.trainable) == (v.name, v.trainable)
            assert other.requires_grad == v.requires_grad
            other.assign_add(1)
            assert other.numpy()[0] == 2 and v.numpy()[0] == 1
    net = gg.nn.Sequential(gg.nn.Linear(2, 3, activation="relu"), gg.nn.Linear(3, 1))
    x = gg.ones((4, 2))
    assert pickle.loads(pickle.dumps(net))(x).tolist() == net(x).tolist()


def test_parts_of_a_variable_add_and_subtract():
    v = gg.Variable([[1.0, 2.0], [3.0, 4.0]])
    v[0].assign_add([10.0, 10.0])
    v[:, 1].assign_sub(1)
    assert v.numpy().tolist() == [[11, 11], [3, 3]]
    with pytest.raises(ValueError, match="shape"):
        v[0].assign_add([1.0, 2.0, 3.0])
    assert v.numpy().tolist() == [[11, 11], [3, 3]]


def test_clip_with_tensor_bounds_is_clip_with_numbers():
    x = gg.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, np.nan], dtype="float64", requires_grad=True)
    low, high = (gg.tensor(v, dtype="float64", requires_grad=True) for v in (-1.0, 1.0))
    y = gg.clip(x, low, high)
    assert np.array_equal(y.numpy(), gg.clip(x, -1.0, 1.0).numpy(), equal_nan=True)
    gs = gg.grad(y.sum(), [x, low, high])
    assert gs[0].tolist() == [0, 1, 1, 1, 0, 1] and [float(g) for g in gs[1:]] == [1, 1]
    finite = gg.clip(x, -1.0, 1.0)[:5].sum()
    assert gg.grad(finite, x)[0].tolist() == [0, 1, 1, 1, 0, 0]


def test_copies_stay_on_their_device_and_in_their_standing():
    class Tagged(gg.Variable):
        def __init__(self, start):
            super().__init__(start, name="tagged")
            self.tag = [start]

    v = Tagged(3.0)
    v.requires_grad_()
    for clone in (
        lambda t: pickle.loads(pickle.dumps(t)) if not isinstance(t, Tagged) else copy.copy(t),
        copy.deepcopy,
    ):
        w = clone(v)
        assert type(w) is Tagged and w.tag == [3.0] and w.requires_grad and (w * 1).requires_grad
    t = gg.tensor(1.0)
    t.data.array[...] = 5  # shares memory, 0-d or not
    assert float(t) == 5
