"""gpugrad.checkpoints: safetensors files, and the state of objects by name."""

import json
import os
import sys

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import checkpoints

ARRAYS = {
    "0-d": np.array(2.5, np.float32), "empty": np.zeros((0, 3), np.float16), "ints": np.arange(6).reshape(2, 3),
    "strided": np.arange(12.0).reshape(3, 4).T[::2], "bools": np.array([True, False]), "big": np.array([1.5], ">f4"),
    "complex": np.array([1 + 2j], np.complex64), "half": np.array([1.5, -0.25], gg.bfloat16),
}  # fmt: skip


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoints.save(path, {**ARRAYS, "tensor": gg.tensor([1.0, 2.0])})
    back = checkpoints.load(path)
    assert back.pop("tensor").tolist() == [1, 2] and back.keys() == ARRAYS.keys()
    for name, a in ARRAYS.items():
        assert back[name].dtype == a.dtype.newbyteorder("=") and back[name].shape == a.shape, name
        assert np.array_equal(back[name], a), name
    assert os.listdir(tmp_path) == ["a.safetensors"]
    checkpoints.save(path, {})
    assert checkpoints.load(path) == {}


def test_other_readers_see_bfloat16(tmp_path):
    checkpoints.save(tmp_path / "a", ARRAYS)
    data = (tmp_path / "a").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["half"]["dtype"] == "BF16" and header["half"]["shape"] == [2] and header["0-d"]["shape"] == []


@pytest.mark.parametrize("how", ["empty", "foreign", "cut in the header", "cut in the data", "too long"])
def test_a_file_that_is_none(tmp_path, how):
    path = tmp_path / "broken.safetensors"
    checkpoints.save(path, ARRAYS)
    whole = path.read_bytes()
    path.write_bytes({
        "empty": b"", "foreign": b"something else" * 20, "cut in the header": whole[:40], "cut in the data": whole[:-3],
        "too long": whole + b"x",
    }[how])  # fmt: skip
    with pytest.raises(ValueError, match="broken.safetensors is no whole safetensors file"):
        checkpoints.load(path)
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path / "none")


def test_dtypes_that_one_side_lacks(tmp_path):
    with pytest.raises(ValueError, match="'z' has dtype complex128; safetensors has BOOL"):
        checkpoints.save(tmp_path / "a", {"z": np.zeros(2, complex)})
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "b").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match="b holds dtypes that NumPy does not have: F8_E4M3"):
        checkpoints.load(tmp_path / "b")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    checkpoints.save(path, {"x": np.ones(2)})

    def write(aside):
        with open(aside, "w") as f:
            f.write("half of")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        checkpoints.replace(path, write)
    assert checkpoints.load(path)["x"].tolist() == [1, 1] and os.listdir(tmp_path) == ["a"]


def test_without_safetensors(tmp_path, monkeypatch):
    gg.save(tmp_path / "a", 1)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for use in (
        lambda: checkpoints.save(tmp_path / "b", {}),
        lambda: checkpoints.load(tmp_path / "a"),
        lambda: gg.save(tmp_path / "b", 1),
        lambda: gg.load(tmp_path / "a"),
    ):
        with pytest.raises(ImportError, match=r"checkpoints need safetensors: pip install 'gpugrad\[train\]'"):
            use()
    assert os.listdir(tmp_path) == ["a"]


def test_what_is_loaded_can_be_written_to(tmp_path):
    checkpoints.save(tmp_path / "a", {"x": np.zeros(3, np.int8), "y": np.ones((2, 2)), "z": np.array(1.5)})
    for a in checkpoints.load(tmp_path / "a").values():
        assert a.flags.writeable and a.flags.aligned
        a += 1


class Net(gg.nn.Module):
    def __init__(self, width=3):
        self.layers = [gg.nn.Linear(2, width, activation="tanh"), gg.nn.Linear(width, 1)]
        self.shared = self.layers[0].weight

    def __call__(self, x):
        return self.layers[1](self.layers[0](x))


def train(model, optimizer, steps):
    x, y = gg.tensor([[1.0, 2.0], [0.5, -1.0]]), gg.tensor([[1.0], [2.0]])
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = gg.nn.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


MAKERS = {
    "SGD": lambda ps: gg.optim.SGD(ps, 0.1, 0.9), "Adam": lambda ps: gg.optim.Adam(ps, 0.1),
    "RMSprop": lambda ps: gg.optim.RMSprop(ps, 0.1, centered=True), "Adagrad": lambda ps: gg.optim.Adagrad(ps, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_training_goes_on_with_the_same_numbers(tmp_path, name):
    model = Net()
    optimizer = MAKERS[name](model.parameters())
    train(model, optimizer, 3)
    optimizer.learning_rate = 0.05
    path = checkpoints.Checkpoint(model=model, optimizer=optimizer).save(tmp_path / "c")
    wanted = train(model, optimizer, 3)
    model = Net()
    optimizer = MAKERS[name](model.parameters())
    checkpoints.Checkpoint(model=model, optimizer=optimizer).restore(path).assert_consumed()
    assert optimizer.learning_rate == 0.05 and train(model, optimizer, 3) == wanted
    model.load_state_dict(Net().state_dict())
    optimizer = MAKERS[name](model.parameters())
    arrays = checkpoints.load(path + ".safetensors")
    taken = checkpoints.restore({"model": model, "optimizer": optimizer}, arrays)
    assert taken == set(arrays) - {"save_counter"} and train(model, optimizer, 3) == wanted


def test_another_shape_changes_nothing():
    saved = checkpoints.gather({"a": gg.Variable([1.0]), "model": Net(width=4)})
    a, model = gg.Variable([5.0]), Net(width=3)
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"Received incompatible tensor with shape \(2, 4\) .* shape \(2, 3\)"):
        checkpoints.restore({"a": a, "model": model}, saved)
    assert a.tolist() == [5] and all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())


def test_names_and_copies():
    v, w = gg.Variable([1.0]), gg.tensor([2.0], requires_grad=True)
    optimizer = gg.optim.SGD([v, w], 0.1, 0.9)
    optimizer.apply_gradients([(gg.tensor([1.0]), v), (gg.tensor([1.0]), w)])
    saved = checkpoints.gather({"v": v, "again": [v], "inner": {"optimizer": optimizer}, "text": "none"})
    slots = {n for n in saved if ".state." in n}
    assert set(saved) - slots == {"v", "inner.optimizer.iterations", "inner.optimizer.learning_rate"}
    assert {n.rpartition(".")[0] for n in slots} == {"inner.optimizer.state.v", "inner.optimizer.state.1"}
    u = gg.Variable([9.0], dtype=gg.float64)
    assert checkpoints.restore({"v": u}, saved) == {"v"}
    assert u.array.dtype == np.float64 and u.array is not saved["v"] and float(u) == float(v)
    with pytest.raises(ValueError, match="expecting x to be a trackable object"):
        checkpoints.Checkpoint(x="text")


def test_every_group_gets_its_learning_rate_back(tmp_path):
    def made():
        a, b = gg.Parameter([1.0]), gg.Parameter([2.0])
        return {"a": a, "b": b}, gg.optim.SGD([{"params": [a], "lr": 1e-3}, {"params": [b], "lr": 0.5}])

    model, optimizer = made()
    path = checkpoints.Checkpoint(model=model, optimizer=optimizer).save(tmp_path / "c")
    model, optimizer = made()
    for group in optimizer.param_groups:
        group["lr"] = 9.0
    checkpoints.Checkpoint(model=model, optimizer=optimizer).restore(path).assert_consumed()
    assert [g["lr"] for g in optimizer.param_groups] == [1e-3, 0.5]
    arrays = dict(checkpoints.load(path + ".safetensors"))
    name = next(n for n in arrays if n.endswith("learning_rate"))
    for bad in ([0.1], [-1.0, 0.5], [np.nan, 0.5]):
        model["a"].assign([7.0])
        with pytest.raises(ValueError, match="2 parameter groups"):
            checkpoints.restore({"model": model, "optimizer": optimizer}, {**arrays, name: np.array(bad)})
        assert model["a"].tolist() == [7.0] and optimizer.param_groups[0]["lr"] == 1e-3


def test_a_folders_notes_lead_nowhere_else(tmp_path):
    outside = tmp_path / "precious.safetensors"
    checkpoints.save(outside, {"x": np.ones(1)})
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in (str(tmp_path / "precious"), "../precious"):
        (folder / "checkpoint").write_text(f'all_model_checkpoint_paths: "{name}"\n')
        manager = checkpoints.CheckpointManager(checkpoints.Checkpoint(v=gg.Variable(1.0)), folder, max_to_keep=1)
        assert manager.latest_checkpoint is None and checkpoints.latest_checkpoint(folder) is None
        manager.save()
    assert outside.exists()
    os.remove(folder / "ckpt-1.safetensors")
    manager.save()  # the one to delete is gone already
    assert manager.latest_checkpoint is not None
    with pytest.raises(ValueError, match="control characters"):
        checkpoints.Checkpoint(v=gg.Variable(1.0)).save(folder / "a\nb")
