"""The array protocol: another library than NumPy goes the way that CuPy goes."""

import subprocess
import sys

import numpy as np
import pytest
from standin import Array, StandIn

import gpugrad as gg
from gpugrad import array
from gpugrad.ops import index, loss
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


X = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
ON_THE_DEVICE = {
    "pad": lambda x: gg.pad(x, [(1, 0), (0, 1)]), "reflect": lambda x: gg.pad(x, [(0, 0), (1, 2)], "reflect"),
    "tile": lambda x: gg.tile(x, (2, 1)), "repeat": lambda x: gg.repeat(x, [1, 2], axis=0),
    "topk": lambda x: gg.topk(x, 2)[0], "meshgrid": lambda x: gg.meshgrid(x[0], x[1])[0],
    "normalize": lambda x: gg.normalize(x, axis=1), "clip_by_norm": lambda x: gg.clip_by_norm(x, 1.0),
    "global_norm": lambda x: gg.global_norm([x, x]), "rsqrt": gg.rsqrt, "dropout": lambda x: gg.nn.dropout(x, 0.5),
    "truncated_normal": lambda x: x * gg.random.truncated_normal((2, 3)),
    "seeded": lambda x: x * gg.random.uniform((2, 3), seed=3),
    "one_hot": lambda x: x[:, :2] * gg.one_hot(gg.tensor([0, 1]), 2, on=5, axis=0),
    "gather_nd": lambda x: index.gather_nd(x, [[0, 1]]), "mask": lambda x: index.boolean_mask(x, [True, False]),
    "squared_rows": lambda x: loss.squared_rows(x, gg.ones((2, 3))),
    "binary_rows": lambda x: loss.binary_rows(x / 10, gg.ones((2, 3))),
    "class_rows": lambda x: loss.class_rows(x, gg.ones((2, 3))),
    "label_rows": lambda x: loss.label_rows(x, gg.tensor([[0], [1]])),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_THE_DEVICE)
def test_results_and_gradients_stay_on_the_device(device, name):
    x = gg.tensor(X, requires_grad=True)
    y = ON_THE_DEVICE[name](x)
    y.sum().backward()
    assert isinstance(y.array, Array) and isinstance(x.grad.array, Array) and x.grad.shape == (2, 3)


def test_a_checkpoint_is_restored_to_the_device(device, tmp_path):
    model = gg.nn.Linear(3, 2)
    optimizer = gg.optim.Adam(model.parameters())
    model(gg.tensor(X)).sum().backward()
    optimizer.step()
    path = gg.checkpoints.Checkpoint(model=model, optimizer=optimizer).save(tmp_path / "a")
    again = gg.nn.Linear(3, 2)
    gg.checkpoints.Checkpoint(model=again, optimizer=gg.optim.Adam(again.parameters())).restore(path).assert_consumed()
    assert isinstance(again.weight.array, Array) and again.weight.tolist() == model.weight.tolist()


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


def test_the_stand_in_refuses_what_cupy_refuses(device):
    x = gg.ones(2).array
    for f in (np.asarray, np.array, np.ravel, lambda a: np.concatenate([a, a])):
        with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
            f(x)
    for f in (lambda: x + np.ones(2), lambda: np.ones(2) * x, lambda: np.add(x, np.array(1.0)), lambda: x * [1, 2]):
        with pytest.raises(TypeError, match="Unsupported type"):
            f()
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)
    for out in (x.sum(), x[0], x + np.float32(1), np.float32(1) + x, np.exp(x), -x, x > 0):
        assert type(out) is Array
    assert x[:1].base is x and (x + 1).base is None


def test_an_array_beside_a_tensor_makes_a_tensor(device):
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    for y in (x.array * x, x * x.array):
        assert isinstance(y, gg.Tensor) and y.requires_grad and y.tolist() == [1, 4]


def test_indices_from_the_host_are_checked_there_and_brought_to_the_device(device):
    x = gg.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    for given in ([0, 3, 1], np.array([0, 3, 1]), gg.tensor([0, 3, 1]), gg.tensor([0, 3, 1], device="cpu")):
        assert gg.nn.cross_entropy(x, given).device == "standin"
        assert gg.nn.nll_loss(x, given).device == "standin"
        assert gg.nn.embedding(given, x.T)[1].tolist() == [3, 7, 11]
        assert gg.take(x, given, axis=1)[0].tolist() == [0, 3, 1] and x[:, given][0].tolist() == [0, 3, 1]
    assert gg.nn.cross_entropy(x, [0, 1, 2], weight=np.ones(4)).device == "standin"
    for beyond in ([0, 4, 1], np.array([0, -1, 1])):
        with pytest.raises(ValueError, match="labels are in"):
            gg.nn.cross_entropy(x, beyond)
        with pytest.raises(IndexError, match="indices are in"):
            gg.nn.embedding(beyond, x.T)


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
