"""DLPack both ways: memory is shared, values and dtypes are kept, what cannot be handed over is refused.

NumPy's side runs everywhere; PyTorch's, JAX's and TensorFlow's where they are installed.
"""

import gc

import numpy as np
import pytest

import gpugrad as gg

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int32", "int64", "uint8", "bool", "complex64"]
LAYOUTS = {
    "0-d": lambda a: a[0, 0, ...],
    "whole": lambda a: a,
    "transposed": lambda a: a.T,
    "strided": lambda a: a[::2, 1:],
    "backwards": lambda a: a[::-1, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[0], (4, 5)),
    "empty": lambda a: a[:0],
}


def values(dtype):
    return (np.arange(20).reshape(4, 5) % 7).astype(gg.tensor(0, dtype=dtype).dtype)


def address(t):
    return t.array.ctypes.data


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_round_trip_shares_memory(dtype, layout):
    t = gg.tensor(LAYOUTS[layout](values(dtype)))
    back = gg.from_dlpack(t)
    assert (back.shape, back.dtype, back.device) == (t.shape, t.dtype, t.device)
    assert np.array_equal(back.numpy(), t.numpy())
    if layout != "backwards":
        assert t.size == 0 or (address(back) == address(t) and back.array.strides == t.array.strides)
    assert back.array is not t.array


def test_what_runs_backwards_is_copied():
    """PyTorch ends the process when it is given negative strides."""
    for t in (gg.tensor([1.0, 2.0, 3.0])[::-1], gg.flip(gg.tensor(values("bfloat16")), axis=1)):
        back = gg.from_dlpack(t)
        assert np.array_equal(back.numpy(), t.numpy()) and min(back.array.strides) > 0
        with pytest.raises(BufferError, match="negative strides takes a copy: leave out copy=False"):
            t.__dlpack__(copy=False)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bfloat16"])
def test_numpy_both_ways(dtype):
    a = values(dtype)
    t = gg.from_dlpack(a)
    a[0, 0] = 1
    assert np.array_equal(t.numpy(), a) and address(t) == a.ctypes.data
    assert np.from_dlpack(t).dtype == a.dtype


def test_bfloat16_has_its_own_type_in_the_capsule():
    t = gg.tensor([1.0, 2.0], dtype="bfloat16")
    with pytest.raises((RuntimeError, BufferError), match="Unsupported dtype"):  # by the version of NumPy
        np.from_dlpack(t)
    assert gg.from_dlpack(t).tolist() == [1, 2]
    assert gg.from_dlpack(gg.tensor([1, 2], dtype="uint8").array.astype("uint16")).dtype == np.uint16


def test_a_copy_is_made_when_asked_for_and_memory_outlives_its_owner():
    a = values("float32")
    t, copied = gg.from_dlpack(a), gg.from_dlpack(a, copy=True)
    never = gg.from_dlpack(a, device="cpu", copy=False)
    expected = a.copy()
    a[:] = -1
    assert np.array_equal(copied.numpy(), expected) and (t.numpy() == -1).all() and (never.numpy() == -1).all()
    owner = gg.tensor(expected.copy(), dtype="bfloat16")
    kept = gg.from_dlpack(owner)
    del owner, a
    gc.collect()
    assert np.array_equal(kept.numpy().astype("float32"), expected) and (t.numpy() == -1).all()


def test_read_only_memory_stays_so():
    a = values("float32")
    a.flags.writeable = False
    assert not gg.from_dlpack(a).array.flags.writeable
    assert gg.from_dlpack(a, copy=True).array.flags.writeable
    with pytest.raises(BufferError):  # who asks without a version does not know of read-only memory
        gg.tensor(a).__dlpack__()


def test_a_scalar_result():
    assert gg.from_dlpack(gg.sum(gg.tensor([1.0, 2.0]))).item() == 3
    assert gg.tensor(1.0).__dlpack_device__() == (1, 0)


@pytest.mark.devices
def test_to_a_device():
    a, device = values("float32"), gg.default_device()
    t = gg.from_dlpack(a, device=device)
    assert t.device == device and np.array_equal(t.numpy(), a)
    if device.kind != "cpu":
        with pytest.raises(BufferError, match="it takes a copy: leave out copy=False"):
            gg.from_dlpack(a, device=device, copy=False)


def test_what_is_refused():
    tracked = gg.tensor([1.0], requires_grad=True)
    for t in (tracked, tracked * 2):
        with pytest.raises(BufferError, match="use tensor.detach"):
            gg.from_dlpack(t)
    assert gg.from_dlpack(tracked.detach()).tolist() == [1]
    with pytest.raises(BufferError, match="native byte order"):
        gg.from_dlpack(gg.tensor(np.ones(3, ">f4")))
    with pytest.raises(TypeError, match="a list has no __dlpack__; write gg.tensor"):
        gg.from_dlpack([1, 2])

    class Elsewhere:
        def __init__(self, kind):
            self.kind = kind

        def __dlpack__(self, **options):
            return "no capsule"

        def __dlpack_device__(self):
            return self.kind, 0

    with pytest.raises(BufferError, match="type 8; known are CPUs and CUDA"):
        gg.from_dlpack(Elsewhere(8))
    with pytest.raises((BufferError, ValueError)):
        gg.from_dlpack(Elsewhere(1))
    if gg.device_count() == 0:
        with pytest.raises(BufferError, match="on a GPU, and CuPy"):
            gg.from_dlpack(Elsewhere(2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch(dtype):
    torch = pytest.importorskip("torch")
    theirs = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    ours = gg.from_dlpack(theirs)
    assert str(ours.dtype) == dtype and address(ours) == theirs.data_ptr()
    again = torch.from_dlpack(ours)
    assert again.dtype == theirs.dtype and again.data_ptr() == theirs.data_ptr() and torch.equal(again, theirs)
    theirs[0, 0] = 1
    assert ours.tolist() == theirs.tolist() == again.tolist()
    assert torch.from_dlpack(gg.permute_dims(ours, (1, 0))).tolist() == theirs.T.tolist()
    if theirs.is_floating_point():
        with pytest.raises(BufferError, match="require gradient"):
            gg.from_dlpack(theirs.requires_grad_())


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in ("float64", "int64")])  # JAX has these on request
def test_jax(dtype):
    numpy = pytest.importorskip("jax.numpy")
    theirs = numpy.arange(12).reshape(3, 4).astype(dtype)
    ours = gg.from_dlpack(theirs)
    assert str(ours.dtype) == dtype and ours.tolist() == theirs.tolist()
    mine = gg.tensor(values(dtype))
    back = numpy.from_dlpack(mine)
    assert str(back.dtype) == dtype and back.tolist() == mine.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensorflow(dtype):
    tf = pytest.importorskip("tensorflow")
    theirs = tf.cast(tf.reshape(tf.range(12), (3, 4)), dtype)
    ours = gg.from_dlpack(theirs)
    assert str(ours.dtype) == dtype and ours.tolist() == theirs.numpy().tolist()
    back = tf.experimental.dlpack.from_dlpack(gg.tensor(values(dtype)).__dlpack__())
    assert back.dtype.name == dtype and back.numpy().tolist() == values(dtype).tolist()
