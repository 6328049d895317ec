"""The array protocol: another library than NumPy goes the way that CuPy goes."""

import subprocess
import sys

import numpy as np
import pytest
from standin import Array, StandIn

import gpugrad as gg
from gpugrad import array
from gpugrad.testing import assert_close


@pytest.fixture
def device():
    array.register(StandIn(), "standin")
    with gg.device("standin") as d:
        yield d
    array.unregister("standin")


def test_new_tensors_land_on_the_device(device):
    for t in (gg.tensor([1.0]), gg.ones(2), gg.random.normal((2,)), gg.Variable(1.0), gg.nn.Linear(2, 2).weight):
        assert isinstance(t.array, Array) and t.device == "standin"
    assert gg.tensor([1.0], device="cpu").device == "cpu"
    assert gg.tensor(np.ones(2)).device == "standin"


def test_a_training_step_stays_on_the_device(device):
    gg.random.seed(0)
    net = gg.nn.Sequential(gg.nn.Linear(4, 8, activation="relu"), gg.nn.Linear(8, 3))
    x, labels = gg.random.normal((16, 4)), gg.random.randint(0, 3, (16,))
    for optimizer in (gg.optim.SGD(net.parameters(), 0.1, momentum=0.9), gg.optim.Adam(net.parameters(), 0.01)):
        first = None
        for _ in range(10):
            with gg.GradientTape() as tape:
                loss = gg.nn.cross_entropy(net(x), labels)
            grads = tape.gradient(loss, net.trainable_variables)
            assert all(isinstance(g.array, Array) for g in grads)
            optimizer.apply_gradients(zip(grads, net.trainable_variables, strict=True))
            first = first or float(loss)
        assert float(loss) < first and isinstance(net.trainable_variables[0].array, Array)


def test_gpu_forward_is_for_other_arrays_than_numpy(device):
    calls = []

    def gpu(xp, x):
        calls.append(xp)
        return x * 2

    double = gg.op(lambda xp, x: x * 2, name="double", args=["x"], gpu=gpu, x=lambda g: g * 2)
    assert_close(double(gg.tensor([1.0], device="cpu")), [2])
    assert not calls
    assert_close(double(gg.tensor([1.0])), [2])
    assert len(calls) == 1
    gg.testing.check_grads(double, [gg.ones(3)])


def test_the_gradient_travels_back(device):
    x = gg.tensor([1.0, 2.0], device="cpu", requires_grad=True)
    (x.to("standin") * 3.0).sum().backward()
    assert x.grad.device == "cpu"
    assert_close(x.grad, [3, 3])
    y = gg.tensor([1.0, 2.0], requires_grad=True)
    (y.cpu() * y.cpu()).sum().backward()
    assert y.grad.device == "standin"


def test_two_devices_in_one_op(device):
    a, b = gg.ones(2), gg.ones(2, device="cpu")
    for f in (lambda: a + b, lambda: b + a, lambda: b * a, lambda: a @ b, lambda: gg.exp(a) * b.numpy()):
        with pytest.raises(
            TypeError, match=r"one operand is on [\w:]+ and the other on [\w:]+; move one of them.*\.to\("
        ):
            f()
    x = gg.tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="the seed is on cpu and its tensor on standin"):
        (x * 2).backward(gg.ones(1, device="cpu"))
    v = gg.Variable([1.0])
    with pytest.raises(TypeError, match="gradient is on cpu"):
        gg.optim.SGD([v]).apply_gradients([(gg.ones(1, device="cpu"), v)])


def test_default_device():
    array.register(StandIn(), "standin")
    try:
        gg.set_default_device("standin")
        assert gg.ones(1).device == "standin"
        with gg.device("cpu"):
            assert gg.ones(1).device == "cpu"
    finally:
        gg.set_default_device(None)
        array.unregister("standin")
    assert gg.ones(1).device == ("cuda:0" if gg.device_count() else "cpu")


def test_import_brings_no_gpu_library():
    code = (
        "import sys, gpugrad\n"
        "optional = ('cupy', 'pynvml', 'matplotlib', 'scipy', 'tqdm')\n"
        "sys.exit([m for m in optional if m in sys.modules] or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_cupy_the_answer_is_clear():
    code = (
        "import sys; sys.modules['cupy'] = None\n"
        "import gpugrad as gg\n"
        "assert gg.default_device() == 'cpu' and gg.device_count() == 0\n"
        "try: gg.ones(2, device='cuda')\n"
        "except RuntimeError as e: assert 'CuPy is not installed' in str(e) and 'gpugrad[cuda13]' in str(e), e\n"
        "else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cupy_without_a_driver_is_said():
    pytest.importorskip("cupy")
    if gg.device_count():
        pytest.skip("there is a driver here")
    with pytest.raises(RuntimeError, match="found no working NVIDIA driver"):
        gg.ones(2, device="cuda")


@pytest.mark.cuda
def test_cuda_training_step():
    with gg.device("cuda"):
        net = gg.nn.Sequential(gg.nn.Linear(4, 8, activation="relu"), gg.nn.Linear(8, 3))
        x, labels = gg.random.normal((16, 4)), gg.random.randint(0, 3, (16,))
        optimizer = gg.optim.Adam(net.parameters(), 0.05)
        losses = []
        for _ in range(20):
            with gg.GradientTape() as tape:
                loss = gg.nn.cross_entropy(net(x), labels)
            grads = tape.gradient(loss, net.trainable_variables)
            optimizer.apply_gradients(zip(grads, net.trainable_variables, strict=True))
            losses.append(float(loss))
        assert losses[-1] < losses[0] and grads[0].device == "cuda:0"


def test_a_device_that_is_no_name_is_a_value_error_with_or_without_a_gpu():
    for bad in ("cuda:x", "cpu:-1", "cuda:1.5"):
        with pytest.raises(ValueError, match="after the colon comes a number"):
            gg.device(bad)
