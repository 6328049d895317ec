"""Weights from and to PyTorch: by name and layout, all or none.

The files of tests/interop were made with PyTorch, by make_fixtures.py there.  What PyTorch itself takes is asked where
it is installed.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from interop_models import MODELS, Transformer, mlp

import gpugrad as gg
from gpugrad import checkpoints, nn
from gpugrad.interop.torch import load_state_dict, load_weights, save_weights, state_dict

HERE = Path(__file__).resolve().parent / "interop"


def io(name):
    found = checkpoints.load(HERE / f"{name}_io.safetensors")
    return gg.tensor(found["x"]), found["y"]


def values(model):
    return {k: v.numpy().copy() for k, v in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_pytorch_gives_the_same_outputs(name):
    model = MODELS[name]()
    x, y = io(name)
    assert load_weights(model, HERE / f"{name}.safetensors") == ([], [])
    np.testing.assert_allclose(model.eval()(x).numpy(), y, rtol=1e-5, atol=1e-5)


def test_an_untied_head_takes_the_weight_that_pytorch_has_twice():
    model = Transformer(tied=False)
    x, y = io("transformer")
    load_weights(model, HERE / "transformer.safetensors")
    np.testing.assert_allclose(model.eval()(x).numpy(), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_is_what_pytorch_saves(name, tmp_path):
    model, theirs = MODELS[name](), checkpoints.load(HERE / f"{name}.safetensors")
    load_weights(model, HERE / f"{name}.safetensors")
    save_weights(model, tmp_path / "w.safetensors")
    ours = checkpoints.load(tmp_path / "w.safetensors")
    assert all(np.array_equal(ours[k], theirs[k]) for k in ours)
    assert all(k.endswith("num_batches_tracked") for k in theirs.keys() - ours.keys())
    assert b'"format":"pt"' in (tmp_path / "w.safetensors").read_bytes().replace(b" ", b"")
    again = MODELS[name]()
    load_weights(again, tmp_path / "w.safetensors")
    assert same(values(again), values(model))


def test_pytorch_takes_what_is_saved(tmp_path):
    torch, spec = pytest.importorskip("torch"), importlib.util.spec_from_file_location("fx", HERE / "make_fixtures.py")
    load_file = pytest.importorskip("safetensors.torch").load_file
    fixtures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixtures)
    makes = {"mlp": fixtures.mlp, **{n: getattr(fixtures, n.capitalize()) for n in MODELS if n != "mlp"}}
    for name, theirs in {n: make() for n, make in makes.items()}.items():
        ours = MODELS[name]().eval()
        save_weights(ours, tmp_path / "w.safetensors")
        theirs.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
        x, _ = io(name)
        with torch.no_grad():
            np.testing.assert_allclose(theirs.eval()(torch.from_dlpack(x)).numpy(), ours(x).numpy(), atol=1e-5)
        other = MODELS[name]()
        load_state_dict(other, {k: v.detach() for k, v in theirs.state_dict().items()})
        assert same(values(other), values(ours))
    half = torch.nn.Linear(3, 2).to(torch.bfloat16)
    model = nn.Linear(3, 2, dtype="bfloat16")
    load_state_dict(model, {k: v.detach() for k, v in half.state_dict().items()})
    assert model.weight.tolist() == half.weight.T.tolist()


# ---------------------------------------------------------------------------------------------- names
def test_names_by_dict_by_beginning_and_by_function():
    model = mlp()
    theirs = state_dict(model)
    foreign = {f"model.net.{k}": v for k, v in theirs.items() if k != "4.bias"} | {"out_b": theirs["4.bias"], "step": 3}
    foreign["step"] = np.array(3)
    for names in (
        {"model.": "nothing.", "model.net.": "", "out_b": "4.bias", "step": None},
        lambda k: {"out_b": "4.bias", "step": None}.get(k, k.removeprefix("model.net.")),
    ):
        other = mlp()
        assert load_state_dict(other, foreign, names) == ([], [])
        assert same(values(other), values(model))
    renamed = state_dict(model, {"0.": "first.", "": "rest.", "4.bias": None})
    assert {"first.weight", "first.bias", "rest.2.weight"} <= set(renamed) and "rest.4.bias" not in renamed


def test_two_of_one_name_and_no_name():
    model = mlp()
    with pytest.raises(ValueError, match="'0.weight' and '0.bias' would both be 'w'"):
        state_dict(model, lambda k: "w")
    with pytest.raises(TypeError, match="a name is a string, or None"):
        load_state_dict(model, state_dict(model), lambda k: 3)


# ---------------------------------------------------------------------------------------------- all or none
def broken(weights):
    """What can be wrong with a file: how, and what the error lists."""
    w = dict(weights)
    yield {k: v for k, v in w.items() if k != "0.bias"}, ["0.bias"]
    yield {**w, "extra.weight": np.ones(3)}, ["extra.weight"]
    yield {**w, "0.weight": w["0.weight"].T, "4.bias": np.ones(4, "float32")}, ["0.weight", "4.bias"]
    yield {**w, "0.weight": w["0.weight"].astype("int64")}, ["0.weight has dtype int64"]
    yield {**w, "0.bias": w["0.bias"] > 0}, ["0.bias has dtype bool"]
    yield {**w, "0.bias": w["0.bias"].astype("complex64")}, ["0.bias has dtype complex64"]
    yield {**w, "0.bias": np.full(16, 1e300)}, ["0.bias has numbers beyond the model's float32, as 1e+300"]


def test_what_does_not_fit_is_listed_and_changes_nothing():
    model = mlp()
    before = values(model)
    for weights, words in broken(state_dict(mlp())):
        with pytest.raises(RuntimeError) as e:
            load_state_dict(model, weights)
        assert all(word in str(e.value) for word in words), str(e.value)
        assert same(values(model), before)


def test_without_strict_the_rest_is_taken():
    model, weights = mlp(), state_dict(mlp())
    given = {**{k: v for k, v in weights.items() if k != "0.bias"}, "more": np.ones(2)}
    assert load_state_dict(model, given, strict=False) == (["0.bias"], ["more"])
    assert np.array_equal(model.state_dict()["0.weight"].numpy(), weights["0.weight"].T)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_floats_become_those_of_the_model(dtype, tmp_path):
    one, other = mlp(), mlp().to(gg.tensor(0, dtype=dtype).dtype)
    save_weights(one, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert all(v.dtype == dtype for v in other.state_dict().values())
    for k, v in other.state_dict().items():
        assert np.array_equal(v.numpy(), one.state_dict()[k].numpy().astype(v.dtype))
    save_weights(other, tmp_path / "w.safetensors")
    load_weights(one, tmp_path / "w.safetensors")
    assert all(v.dtype == "float32" for v in one.state_dict().values())


def test_tied_weights():
    model = Transformer()
    weights = state_dict(model)
    assert np.array_equal(weights["embed.weight"], weights["head.weight"])
    for one in ("embed.weight", "head.weight"):  # what a file has that leaves copies out
        other = Transformer()
        load_state_dict(other, {k: v for k, v in weights.items() if k != one})
        assert same(values(other), values(model)) and other.head.weight is other.embed.weight
    before = values(model)
    with pytest.raises(RuntimeError, match="head.weight differs from embed.weight, and in the model they are one"):
        load_state_dict(model, {**weights, "head.weight": weights["head.weight"] + 1})
    assert same(values(model), before)


def test_sizes_that_the_model_has_not_seen():
    one, other = mlp(), nn.Sequential(*[nn.Linear(None, n, bias=n != 17) for n in (16,)])
    load_state_dict(other, {k: v for k, v in state_dict(one).items() if k.startswith("0.")})
    assert other[0].weight.shape == (6, 16)


def test_a_module_says_what_pytorch_has_transposed():
    class Own(nn.Module):
        transposed = ("w",)

        def __init__(self):
            self.w, self.rest = gg.Parameter(np.ones((2, 3), "float32")), [gg.Parameter(np.zeros((4, 5), "float32"))]

    assert {k: v.shape for k, v in state_dict(Own()).items()} == {"w": (3, 2), "rest.0": (4, 5)}


# ---------------------------------------------------------------------------------------------- files
def test_a_pickle_is_not_read(tmp_path):
    for start in (b"PK\x03\x04rest", b"\x80\x02rest"):
        (tmp_path / "w.pt").write_bytes(start)
        with pytest.raises(ValueError, match=r"(?s)is a pickle, .* which may run code.*weights_only=True.*save_file"):
            load_weights(mlp(), tmp_path / "w.pt")
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError):
        load_weights(mlp(), tmp_path / "w.safetensors")


def test_several_files_with_an_index(tmp_path):
    model, index = mlp(), tmp_path / "model.safetensors.index.json"
    weights = state_dict(model)
    places = {k: f"part-{i % 2}.safetensors" for i, k in enumerate(weights)}
    for file in set(places.values()):
        checkpoints.save(tmp_path / file, {k: a for k, a in weights.items() if places[k] == file})
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    other = mlp()
    load_weights(other, index)
    assert same(values(other), values(model))
    for hostile in ("../part-0.safetensors", "/etc/passwd", "part-0.pt", "a/b.safetensors"):
        index.write_text(json.dumps({"weight_map": {**places, "0.bias": hostile}}))
        with pytest.raises(ValueError, match="only safetensors files beside it are read"):
            load_weights(other, index)
    index.write_text(json.dumps({"weight_map": {**places, "more": "part-0.safetensors"}}))
    with pytest.raises(ValueError, match="says that part-0.safetensors has 'more'; it has not"):
        load_weights(other, index)
    for text in ("", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "[" * 100000):
        index.write_text(text)
        with pytest.raises(ValueError, match="is no index of safetensors files"):
            load_weights(other, index)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_may_have_nan(dtype):
    layer = nn.Linear(2, 2).to(dtype)
    w = {k: np.full(v.shape, np.nan, v.dtype) for k, v in state_dict(layer).items()}
    load_state_dict(layer, w)
    assert all(np.isnan(v.numpy().astype("float32")).all() for v in layer.parameters())
    tied = MODELS["transformer"]()
    w = state_dict(tied)
    for name in ("embed.weight", "head.weight"):
        w[name] = w[name].copy()
        w[name][0, 0] = np.nan
    load_state_dict(tied, w)
    assert np.isnan(tied.embed.weight.numpy()[0, 0])


def test_a_header_may_begin_as_a_pickle_does(tmp_path):
    """Its first byte is that of its length, 128 or 384."""
    path = tmp_path / "w.safetensors"
    layer = gg.nn.Linear(1, 1, bias=False)
    for n in range(1, 400):
        gg.checkpoints.save(path, {"weight": np.ones((1, 1), np.float32), "x" * n: np.ones(1, np.float32)})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    with pytest.raises(RuntimeError, match="Unexpected key"):
        gg.interop.torch.load_weights(layer, path)


def test_a_path_where_the_model_should_be_is_told(tmp_path):
    for f in (save_weights, load_weights):
        with pytest.raises(TypeError, match=r"\(model, path\): the model comes first, given '"):
            f(str(tmp_path / "w.safetensors"), gg.nn.Linear(1, 1))
