"""The front doors add names and conventions, not mechanisms."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch
from gpugrad.ops import activation, math, reduce, rounding
from gpugrad.tensorflow.functions import NN_SAME, SAME as TF_SAME, TABLE
from gpugrad.torch.functions import SAME as TORCH_SAME

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def migrating():
    spec = importlib.util.spec_from_file_location("migrating", ROOT / "docs" / "migrating.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_names_are_the_core_ops():
    for table in (TF_SAME, TORCH_SAME):
        shared = [f for f in table.values() if hasattr(f, "op")]
        core = {
            id(v.op) for m in (math, rounding, reduce, activation, gg) for v in vars(m).values() if hasattr(v, "op")
        }
        assert len(shared) > 40 and all(id(f.op) in core for f in shared)
    assert tf.multiply.op is torch.mul.op is gg.multiply.op
    codes = {f.__code__.co_code for f in (tf.multiply, torch.mul, gg.multiply)}
    assert len(codes) == 1  # the same path, of other names


def test_the_doors_are_small():
    """They name what the core does; a mechanism that grows here belongs there."""
    files = [p for door in ("tensorflow", "torch") for p in (ROOT / "gpugrad" / door).rglob("*.py")]
    assert sum([len(p.read_text(encoding="utf-8").splitlines()) for p in files]) < 2500


def test_ops_of_the_doors_are_found_by_pickle():
    tables = [*TF_SAME.values(), *NN_SAME.values(), tf.maximum, *TORCH_SAME.values()]
    for f in [*[f for f in tables if hasattr(f, "op")], *TABLE.values(), tf.keras.losses.binary_crossentropy]:
        assert pickle.loads(pickle.dumps(f)) is f
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, activation="relu"), tf.nn.sigmoid])
    x = tf.ones((1, 3))
    assert np.array_equal(model(x).numpy(), pickle.loads(pickle.dumps(model))(x).numpy())


def test_a_float_array_beside_an_integer_tensor_is_not_cut_off():
    """TensorFlow casts it to integers."""
    with pytest.raises(TypeError, match="Cannot convert .* to EagerTensor of dtype int32. Write tf.cast"):
        tf.constant([1, 2]) * np.array([0.5, 0.5])


def test_results_are_of_the_door_and_mix():
    a, b, c = tf.constant(2.0), torch.tensor(3.0), gg.tensor(4.0)
    assert type(a * 2.0) is type(tf.multiply(a, a)) is tf.Tensor
    assert type(b * 2.0) is type(torch.mul(b, b)) is type(b.sum()) is torch.Tensor
    assert type(c * 2.0) is gg.Tensor
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = (x * x).sum()
    assert tape.gradient(y, x).tolist() == [2, 4] and type(tape.gradient) is not None


def test_the_page_is_what_the_tables_say(migrating):
    assert (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8") == migrating.text(), (
        "run python docs/migrating.py"
    )


def test_what_is_called_missing_is_missing(migrating):
    for key, root in (("tensorflow", tf), ("torch", torch)):
        there = [n for n in migrating.MISSING[key] if migrating.place(root, n) is not None]
        assert not there, f"no longer missing: {there}"
