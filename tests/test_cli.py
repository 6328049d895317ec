"""The command: the demo learns, repeats and reports; bad arguments are said."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import cli, demo


def test_demo(tmp_path, capsys):
    picture = tmp_path / "out.png"
    arguments = ["demo", "--epochs", "20", "--device", "cpu", "--output", str(picture)]
    assert cli.main(arguments) == 0
    first = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000
    assert float(re.search(r"test accuracy ([\d.]+)%", first)[1]) > 93
    rows = {m[1]: [float(v.replace(",", "")) for v in re.findall(r"([\d,.]+) KiB", m[0])]
            for m in re.finditer(r"^((?:non-)?persistent) tape.*$", first, re.M)}  # fmt: skip
    for kept, forward, peak, after in rows.values():
        assert kept > 1000 and forward > 1000 and peak > max(forward, after)
    assert rows["non-persistent"][3] < 50 and rows["persistent"][3] > 1000
    assert cli.main(arguments) == 0
    again = capsys.readouterr().out
    figures = lambda text: re.findall(r"accuracy [\d.]+%|^.*KiB.*$", re.sub(r"in [\d.]+ s", "", text), re.M)
    assert figures(first)[0] == figures(again)[0] and len(figures(first)) == 3


def test_without_matplotlib_there_is_no_picture(monkeypatch, tmp_path, capsys):
    def fail(*args):
        raise ImportError("No module named 'matplotlib'")

    monkeypatch.setattr(demo, "draw", fail)
    assert cli.main(["demo", "--epochs", "1", "--device", "cpu", "--output", str(tmp_path / "a.png")]) == 0
    assert "pip install 'gpugrad[demo]'" in capsys.readouterr().out


@pytest.mark.slow
def test_the_whole_demo_reaches_97_percent():
    for seed in range(3):
        assert demo.run("cpu", seed=seed, say=lambda text: None) >= 0.97


def test_the_split_keeps_every_digit_once():
    data = demo.load_digits(3)
    assert len(data.train_y) + len(data.test_y) == 1797
    assert data.train_x.dtype == np.float32 and data.train_x.min() == 0 and data.train_x.max() == 1
    counts = np.bincount(data.test_y) / np.bincount(np.concatenate([data.train_y, data.test_y]))
    assert (abs(counts - 0.2) < 0.01).all()


def test_interrupted(monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupt)
    assert cli.main(["demo", "--no-plot"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["demo", "--epochs", "0"], "'0' is not a positive integer"),
        (["demo", "--batch", "many"], "'many' is not a positive integer"),
        (["demo", "--seed", "-1"], "--seed: must be 0 or more"),
        (["demo", "--device", "tpu"], "--device: unknown device 'tpu'; known are"),
        (["demo", "--output", "/no/such/folder/a.png"], "there is no folder /no/such/folder"),
        (["demo", "--output", "."], ". is a folder; name a file in it that ends in .png"),
        (["demo", "--output", "a.svg"], "'a.svg' does not end in .png"),
        (["demo", "--output", "a"], "'a' does not end in .png"),
        (["demon"], "invalid choice: 'demon'"),
        ([], "required: COMMAND"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as e:
        cli.main(arguments)
    assert e.value.code == 2 and message in capsys.readouterr().err


def test_info(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert "gpugrad" in out and f"numpy         {np.__version__}" in out
    folder = re.search(r"^kernels +(.*)$", out, re.M)[1]
    assert (Path(folder) / "softmax.cu").is_file()
    if not gg.device_count():
        assert "no GPU: CuPy" in out and "new tensors land on cpu" in out
        assert re.search(r"^cuBLASLt +not looked for: no GPU$", out, re.M)


class Gpu:
    """cupy.cuda.Device as `info` asks it."""

    def __init__(self, i):
        self.compute_capability = ("90", "120")[i]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


class Failure(Exception):
    """nvmath.bindings.cublasLt.cuBLASLtError."""


@pytest.fixture
def two_gpus(monkeypatch):
    """The lines of `info` on a machine with two, by (what the device's library answers for cuBLASLt, the bindings)."""
    runtime = SimpleNamespace(
        runtimeGetVersion=lambda: 13010, driverGetVersion=lambda: 13020, memGetInfo=lambda: (70 * 2**30, 80 * 2**30),
        getDeviceProperties=lambda i: {"name": b"NVIDIA H100"},
    )  # fmt: skip
    cupy = SimpleNamespace(__version__="14.2.0", cuda=SimpleNamespace(runtime=runtime, Device=Gpu))
    monkeypatch.setattr(cli, "cupy_or_reason", lambda: (cupy, ""))
    monkeypatch.setattr(cli, "device_count", lambda: 2)

    def lines(found, bindings):
        monkeypatch.setattr(cli, "device", lambda name: SimpleNamespace(library=SimpleNamespace(blas=lambda d: found)))
        package = None  # not installed
        if bindings is not None:
            bindings.cuBLASLtError, package = Failure, SimpleNamespace(cublasLt=bindings)
            monkeypatch.setitem(sys.modules, "nvmath", SimpleNamespace(bindings=package))
        monkeypatch.setitem(sys.modules, "nvmath.bindings", package)
        return {line[:13].strip(): line[14:] for line in cli.info()}

    return lines


def test_info_of_gpus(two_gpus):
    found = SimpleNamespace(lt=SimpleNamespace(get_version=lambda: 130102), nbytes=2**25)
    lines = two_gpus(found, SimpleNamespace())
    assert lines["cuda:0"] == "NVIDIA H100, compute capability 9.0, 70.0 of 80.0 GiB free"
    assert "compute capability 12.0" in lines["cuda:1"] and lines["cupy"] == "14.2.0, CUDA 13.1"
    assert lines["driver"].endswith(", up to CUDA 13.2")
    assert lines["cuBLASLt"] == "13.1.2, 32 MiB of workspace for each stream"


@pytest.mark.parametrize("error", [Failure("CUBLAS_STATUS_NOT_INITIALIZED (1)"), RuntimeError("no libcublasLt\nx")])
def test_info_says_why_there_is_no_cublaslt(two_gpus, error):
    def create():
        raise error

    said = two_gpus(None, SimpleNamespace(create=create))["cuBLASLt"]
    assert said == f"not used, products are CuPy's: {str(error).splitlines()[0]}"


def test_info_without_nvmath(two_gpus):
    said = two_gpus(None, None)["cuBLASLt"]
    assert said.startswith("not used, products are CuPy's: ") and said.endswith("pip install nvmath-python")


def test_info_says_what_is_wrong_with_nvrtc(monkeypatch):
    def missing():
        raise RuntimeError("failed to load libnvrtc.so.13\nand more")

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy.cuda", SimpleNamespace(nvrtc=SimpleNamespace(getVersion=missing)))
    assert cli._nvrtc() == "not found: failed to load libnvrtc.so.13"
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    assert cli._nvrtc().startswith("not found: CuPy")
