"""gg.save and gg.load: nests come back to the bit; what is no such file is a clear error; saves are whole."""

import errno
import fcntl
import importlib
import json
import math
import os
import pickle
import stat
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors import numpy as safetensors

import gpugrad as gg
from gpugrad import checkpoints
from gpugrad.array import to_host
from gpugrad.replacing import replace
from gpugrad.tensor_files import DTYPES

ROOT = Path(__file__).resolve().parent.parent
KINDS = [*DTYPES.values(), np.complex128]


@pytest.fixture(scope="module")
def mutated():
    """bench/mutated.py, whose mutations the tests use, too."""
    sys.path.insert(0, str(ROOT / "bench"))
    yield importlib.import_module("mutated")
    sys.path.remove(str(ROOT / "bench"))


def arrays():
    def drawn(parts):
        kind, shape, seed = parts
        a = np.random.default_rng(seed).integers(-4, 4, (*shape, 2)) / 2
        a = a[..., 0] + 1j * a[..., 1] if np.dtype(kind).kind == "c" else abs(a[..., 0])
        return np.asarray(a).astype(kind)

    return st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 9)).map(drawn)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text()
keys = st.text(max_size=5) | st.integers(-3, 3) | st.sampled_from([None, 0.5, "__metadata__", "a.b", "~"])
nests = st.recursive(
    scalars | arrays() | arrays().map(gg.tensor),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=100)
@given(nest=nests)
def test_a_nest_comes_back_to_the_bit(mutated, tmp_path_factory, nest):
    path = tmp_path_factory.getbasetemp() / "nest.safetensors"
    gg.save(path, nest)
    assert mutated.same(gg.load(path), nest)


def test_classes_that_come_back_as_plain_ones(tmp_path):
    class Level(int):
        pass

    path = tmp_path / "a"
    gg.save(path, OrderedDict(a=Level(3), b=np.float64(0.5), c=np.float32(1.5), d=gg.Parameter([1.0]), e=np.str_("x")))
    found = gg.load(path)
    assert type(found) is dict and [type(v) for v in found.values()] == [int, float, np.ndarray, gg.Tensor, str]
    assert float(found["c"]) == 1.5 and found["d"].node is None
    gg.save(path, {"order": np.arange(3, dtype=">i4"), "strided": np.arange(6.0)[::2]})
    assert [a.tolist() for a in gg.load(path).values()] == [[0, 1, 2], [0, 2, 4]]


def test_names_that_would_be_the_same_are_told_apart(tmp_path):
    state = {
        "a": {"b": np.ones(1)},
        "a.b": np.zeros(1),
        "__metadata__": np.full(1, 2.0),
        1: np.ones(2),
        "1": np.ones(3),
    }
    gg.save(tmp_path / "a", state)
    found = gg.load(tmp_path / "a")
    assert found["a"]["b"] == 1 and found["a.b"] == 0 and found["__metadata__"] == 2
    assert len(found[1]) == 2 and len(found["1"]) == 3
    gg.save(tmp_path / "a", np.ones(2))
    assert gg.load(tmp_path / "a").tolist() == [1, 1]
    gg.save(tmp_path / "a", {"\ud800": np.ones(1), "?": np.zeros(1)})  # a key that UTF-8 has not
    assert gg.load(tmp_path / "a") == {"\ud800": 1, "?": 0}


@pytest.mark.devices
def test_tensors_of_a_device(tmp_path, default_device):
    state = {"x": gg.tensor([1.0, 2.0]), "half": gg.tensor([1.5], dtype=gg.bfloat16)}
    gg.save(tmp_path / "a", state)
    found = gg.load(tmp_path / "a")
    assert {k: (v.device, str(v.dtype)) for k, v in found.items()} == {
        k: (v.device, str(v.dtype)) for k, v in state.items()
    }
    assert to_host(found["x"].array).tolist() == [1, 2]
    assert gg.load(tmp_path / "a", device="cpu")["x"].device == "cpu"


def test_other_readers_read_the_tensors(tmp_path):
    state = {"w": np.arange(6.0).reshape(2, 3), "z": np.array([1 + 2j]), "n": {"i": np.array(3)}}
    gg.save(tmp_path / "a", state)
    found = safetensors.load_file(tmp_path / "a")
    assert np.array_equal(found["w"], state["w"]) and found["z"].tolist() == [[1, 2]] and found["n.i"] == 3
    assert all(np.array_equal(a, found[k]) for k, a in checkpoints.load(tmp_path / "a").items())
    safetensors.save_file({"w": state["w"], "b": np.array([True])}, tmp_path / "theirs", {"about": "x"})
    assert np.array_equal(checkpoints.load(tmp_path / "theirs")["w"], state["w"])
    with pytest.raises(gg.CheckpointError, match=r"theirs was not written by gpugrad.save; gpugrad.checkpoints.load"):
        gg.load(tmp_path / "theirs")


LOOP = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        ({"a": [{1, 2}]}, TypeError, r"state\['a'\]\[0\] is a set; what can be saved are dicts, lists"),
        ({"a": np.array(["x"])}, TypeError, r"state\['a'\] has dtype <U1, which safetensors has not"),
        ({"a": np.array([None])}, TypeError, "has dtype object"),
        ({"a": np.zeros(2, np.longdouble)}, TypeError, "has dtype"),
        ({(1, 2): 3}, TypeError, r"has the key \(1, 2\); keys are strings"),
        (b"bytes", TypeError, "state is a bytes"),
        (LOOP, ValueError, "a nest deeper than 100, or one that is within itself"),
        ([10**5000], ValueError, "4300"),
    ],
    ids=range(8),
)
def test_what_cannot_be_saved_is_refused_before_a_byte_is_written(tmp_path, state, error, text):
    with pytest.raises(error, match=text):
        gg.save(tmp_path / "a", state)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------------------- what is no such file
def test_mutated_files(mutated, tmp_path):
    counts = mutated.count(1_000, 1, mutated.MUTATIONS, str(tmp_path))
    assert counts["error"] + counts["as written"] == 1_000, counts
    assert counts["error"] > 900 and counts["as written"] > 0
    counts = mutated.count(400, 1, [mutated.forged], str(tmp_path))
    assert counts.keys() <= {"error", "as written", "data"} and counts["data"], counts


@pytest.mark.parametrize("files", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_bench_counts_them(tmp_path, files):
    command = [sys.executable, "bench/mutated.py", "--files", str(files), "--seed", "7", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{files} of {files} mutated files gave a clear error or loaded what was written." in done.stdout
    assert len(list(tmp_path.glob("mutated-*.md"))) == 1


def test_a_thousand_mutated_files_of_arrays(mutated, tmp_path):
    """A plain file has no hashes: its arrays may be others, but they are arrays, as many bytes as the file has."""
    path, r = tmp_path / "a", mutated.random.Random(2)
    checkpoints.save(path, {"w": np.arange(12.0).reshape(3, 4), "b": np.ones(3, gg.bfloat16), "n": np.array(7)})
    data = path.read_bytes()
    for mutate in mutated.MUTATIONS * 100:
        path.write_bytes(mutate(data, r))
        try:
            found = checkpoints.load(path)
        except gg.CheckpointError as e:
            assert str(path) in str(e) and len(str(e)) < 500
        else:
            assert sum(a.nbytes for a in found.values()) <= path.stat().st_size


def rewritten(path, change):
    """The file with its document changed, and the hash that goes with it."""
    mutated = importlib.import_module("mutated")
    text, rest = mutated.unpacked(path.read_bytes())
    header = json.loads(text)
    document = json.loads(header["__metadata__"]["gpugrad.state"])
    change(document, header)
    notes = header["__metadata__"]
    notes["gpugrad.state"] = json.dumps(document)
    notes["gpugrad.state.blake2b"] = mutated.blake2b(notes["gpugrad.state"].encode(), digest_size=16).hexdigest()
    path.write_bytes(mutated.packed(json.dumps(header).encode(), rest))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d, h: d.update(schema=2), "has schema 2, and this gpugrad reads up to 1: update gpugrad"),
        (lambda d, h: d["hashes"].update(x="0" * 32), "'x' is not what was written, by its hash"),
        (lambda d, h: h["x"].update(shape=[2, 1]), "'x' is not what was written"),
        (lambda d, h: d["hashes"].clear(), "it has not the arrays that were written"),
        (lambda d, h: d.update(tree=None), "its tree leaves out 'x'"),
        (lambda d, h: d.update(tree=[{"tensor": ["x", "float32"]}] * 2), "is damaged: its tree has"),
        (lambda d, h: d.update(tree={"tensor": ["x", "float64"]}), "is damaged: its tree has"),
        (lambda d, h: d.update(tree={"exec": "import os"}), "is damaged: its tree has"),
    ],
)
def test_a_document_that_is_wrong(mutated, tmp_path, change, text):
    path = tmp_path / "a"
    gg.save(path, {"x": gg.tensor([1.0, 2.0])})
    rewritten(path, change)
    with pytest.raises(gg.CheckpointError, match=text):
        gg.load(path)


@pytest.mark.parametrize(
    ("entry", "data", "text"),
    [
        ({"dtype": "F32", "shape": [2**56], "data_offsets": [0, 2**58]}, b"", "not fully covered"),
        ({"dtype": "F32", "shape": [2**60, 0], "data_offsets": [0, 0]}, b"", ""),
        ({"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}, b"", "overflow"),
        ({"dtype": "F32", "shape": [0] * 70, "data_offsets": [0, 0]}, b"", "dimension"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, b"12345678", "invalid offset for tensor `x`"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, b"12345", "not fully covered"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}, b"1234", "integer `-1`"),
        ({"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}, b"1234", "boolean `true`"),
        ({"dtype": "rm -rf" * 999, "shape": [1], "data_offsets": [0, 4]}, b"1234", "unknown variant `rm -rf"),
        ({"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}, b"1234", "JSON in header: invalid type: sequence"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}, b"", "invalid offset for tensor `x`"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}, b"1234", "invalid shape"),
    ],
)
def test_claims_of_a_header(tmp_path, entry, data, text):
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + data)
    if not text:
        assert checkpoints.load(tmp_path / "a")["x"].size == 0
        return
    with pytest.raises(gg.CheckpointError, match=f"a is no whole safetensors file: .*{text}") as caught:
        checkpoints.load(tmp_path / "a")
    assert len(str(caught.value)) < 500


def test_overlaps_and_names_that_are_there_twice(tmp_path):
    entry = lambda a, b: {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]}
    header = json.dumps({"x": entry(0, 4), "y": entry(2, 6)}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(6))
    with pytest.raises(gg.CheckpointError, match="invalid offset for tensor `y`"):
        checkpoints.load(tmp_path / "a")
    header = (json.dumps({"x": entry(0, 2)})[:-1] + ',"x":' + json.dumps(entry(0, 2)) + "}").encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(gg.CheckpointError, match="a is no whole safetensors file: a name is there twice"):
        checkpoints.load(tmp_path / "a")
    header = b'{"__metadata__":{"a":"1","a":"2"}}'
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(gg.CheckpointError, match="a name is there twice"):
        checkpoints.load(tmp_path / "a")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, text in (
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "is no file: a pipe"),
        ("/dev/zero", "a device"),
    ):
        with pytest.raises(gg.CheckpointError, match=text):
            gg.load(path)
    with pytest.raises(FileNotFoundError):
        gg.load(tmp_path / "none")


def test_a_file_that_must_not_be_read(tmp_path, monkeypatch):
    gg.save(tmp_path / "a", 1)

    def refuse(path, *args):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(gg.CheckpointError, match="a cannot be read: Permission denied"):
        gg.load(tmp_path / "a")


# ---------------------------------------------------------------------------------------------- whole or nothing
FULL = """
import resource, sys
import numpy as np
import gpugrad as gg
gg.set_default_device("cpu")
gg.save("a", {"x": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for save in (gg.save, gg.checkpoints.save):
    try:
        save("a", {"x": np.zeros(10**6)})
    except OSError as e:
        print(e.errno, e)
print(gg.load("a"))
"""


def test_a_full_disk(tmp_path):
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, env=paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = f"{errno.EFBIG} [Errno {errno.EFBIG}] File too large; not written, and what was there is as it was: 'a'"
    assert done.stdout.splitlines() == [said, said, "{'x': 1}"]
    assert os.listdir(tmp_path) == ["a"]


def test_a_disk_that_fails_at_the_last_moment(tmp_path, monkeypatch):
    gg.save(tmp_path / "a", 1)

    def fail(f):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device; not written.*'.*a'") as caught:
        gg.save(tmp_path / "a", 2)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "a")
    assert gg.load(tmp_path / "a") == 1 and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_whatever_interrupts_a_save_leaves_the_old_file(tmp_path, error):
    gg.save(tmp_path / "a", 1)

    def write(aside):
        Path(aside).write_bytes(b"half")
        raise error

    with pytest.raises(error):
        replace(tmp_path / "a", write)
    assert gg.load(tmp_path / "a") == 1 and os.listdir(tmp_path) == ["a"]


def test_permissions_and_links_stay(tmp_path):
    mask = os.umask(0o027)
    try:
        gg.save(tmp_path / "new", 1)
    finally:
        os.umask(mask)
    mode = lambda name: stat.S_IMODE((tmp_path / name).stat().st_mode)
    assert mode("new") == 0o640
    (tmp_path / "new").chmod(0o600)
    (tmp_path / "link").symlink_to("new")
    gg.save(tmp_path / "link", 2)
    assert mode("new") == 0o600 and (tmp_path / "link").is_symlink() and gg.load(tmp_path / "new") == 2
    (tmp_path / "nowhere").symlink_to("made")
    gg.save(tmp_path / "nowhere", 3)
    assert gg.load(tmp_path / "made") == 3


def test_what_dead_processes_left_goes_and_what_is_being_written_stays(tmp_path):
    dead, alive, other = (tmp_path / n for n in ("a.0123456789ab.tmp", "a.ba9876543210.tmp", "a.mine.tmp"))
    for path in (dead, alive, other):
        path.write_bytes(b"half")
    with open(alive) as f:
        fcntl.flock(f, fcntl.LOCK_EX)  # as the process that writes it does
        gg.save(tmp_path / "a", 1)
    assert {p.name for p in tmp_path.iterdir()} == {"a", alive.name, other.name}
    gg.save(tmp_path / "a", 2)
    assert not alive.exists() and other.exists()


def test_the_file_and_then_its_folder_are_on_the_disk(tmp_path, monkeypatch):
    calls = []
    really = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append(stat.S_ISDIR(os.fstat(f).st_mode)), really[0](f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), really[1](a, b)))
    gg.save(tmp_path / "a", 1)
    assert calls == [False, "replace", True]


def test_reading_takes_the_memory_of_the_file(tmp_path):
    tracemalloc = importlib.import_module("tracemalloc")
    gg.save(tmp_path / "a", {"x": np.zeros(10**6)})
    tracemalloc.start()
    try:
        gg.load(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 16.5e6
        (tmp_path / "b").write_bytes((2**60).to_bytes(8, "little") + b"{}" * 100)
        tracemalloc.reset_peak()
        with pytest.raises(gg.CheckpointError, match="its header would have 1152921504606846976 bytes"):
            gg.load(tmp_path / "b")
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_headers_have_a_limit(tmp_path):
    with open(tmp_path / "a", "wb") as f:
        f.write((10**8).to_bytes(8, "little") + b"{")
        f.truncate(2 * 10**8)  # of which the disk holds a page
    with pytest.raises(gg.CheckpointError, match="its header would have 100000000 bytes.* 33554432 is the most"):
        gg.load(tmp_path / "a")
    gg.save(tmp_path / "b", 1)
    for n, text in ((2**25, "a header has at most 33554432"), (10**8, "safetensors cannot write this: .*too large")):
        with pytest.raises(ValueError, match=text):
            checkpoints.save(tmp_path / "b", {}, "x" * n)
    assert gg.load(tmp_path / "b") == 1


def test_numbers_that_json_lacks(tmp_path):
    gg.save(tmp_path / "a", [math.inf, -math.inf, math.nan, -0.0, 5e-324])
    found = gg.load(tmp_path / "a")
    assert found[:2] == [math.inf, -math.inf] and math.isnan(found[2])
    assert math.copysign(1, found[3]) == -1 and found[4] == 5e-324
    assert "NaN" not in (tmp_path / "a").read_text(errors="replace")


def test_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="a pipe, a socket or a device"):
        gg.save(path, {"a": 1})
    assert path.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_what_has_a_state_dict_is_told_so(tmp_path):
    with pytest.raises(TypeError, match=r"state\['m'\] is a Linear; .*save its .state_dict\(\)"):
        gg.save(tmp_path / "x", {"m": gg.nn.Linear(2, 2)})


def test_a_file_of_torch_save_is_told(tmp_path):
    np.savez(tmp_path / "zip", x=np.ones(3))
    (tmp_path / "bare.pt").write_bytes(pickle.dumps({"x": 1}))
    for name in ("zip.npz", "bare.pt"):
        with pytest.raises(gg.CheckpointError, match=rf"(?s){name} is a pickle, as torch.save writes.*save_file"):
            gg.load(tmp_path / name)
