"""The benchmarks run, and print their figures beside their limits; what they measure on a GPU runs here without one."""

import importlib
import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.kernels import signatures

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def part(monkeypatch):
    """A module of bench/gpu_parts by its name."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    return lambda name: importlib.import_module(f"gpu_parts.{name}")


def test_overhead_quick(tmp_path):
    done = run("bench/overhead.py", "--quick", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| recorded a*b on the graph / NumPy's |" in done.stdout
    assert len(list(tmp_path.glob("overhead-*"))) == 2


def test_ops_quick(tmp_path):
    done = run("bench/ops.py", "--quick", "--only", "matmul 256", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| matmul 256, time, one thread: bfloat16 over float32 |" in done.stdout
    assert len(list(tmp_path.glob("ops-*"))) == 2
    assert run("bench/ops.py", "--only", "no such op").returncode == 2


def test_train_quick(tmp_path):
    done = run("bench/train.py", "--quick", "--only", "convnet", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(next(tmp_path.glob("*.json")).read_text())["rows"]
    losses = found[0]["losses"]
    assert found[0]["by"] == "gpugrad" and len(losses) == 5 and losses[-1] < losses[0]


# ---------------------------------------------------------------------------------------------- bench/gpu.py
def test_memory_quick(tmp_path):
    """Case a alone: the others take a minute."""
    done = run("bench/memory.py", "--quick", "--only", "a", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("memory-*.md")
    assert "(a) once: MB" in report.read_text()
    found = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert {r["way"] for r in found["rows"] if r["by"] == "gpugrad"} == {"once", "persistent"}
    assert all(20 < r["MB"] < 70 for r in found["rows"] if r["by"] == "gpugrad")


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_all_ways_of_a_case_compute_the_same(case, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    cases, ours = importlib.import_module("memory_parts.cases"), importlib.import_module("memory_parts.ours")
    given = cases.arrays(case, small=True)
    loss, grads = ours.step(case, "once", given)()
    assert len(grads) == len(given)
    for way in ("persistent", "checkpoint", "bfloat16", *(["max_bytes"] if case in cases.BOUNDS else [])):
        other, found = ours.step(case, way, given)()
        np.testing.assert_allclose(other, loss, rtol=1e-6)
        for a, b in zip(grads, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 if way != "bfloat16" else 2e-2 * abs(a).max())


def test_a_dry_run_measures_and_writes(tmp_path):
    done = run("bench/gpu.py", "--dry-run", "--quick", "--seconds", "90", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("gpu-dry-run-*.json")
    (text,) = tmp_path.glob("gpu-dry-run-*.md")
    assert text.read_text() in done.stdout
    results = json.loads(written.read_text())["results"]
    assert all(r["gpugrad"] > 0 for r in results["gemm"] if "left" not in r and "linear_grad" not in r["product"])
    ours = {r["model"]: r for r in results["steps"] if r["library"] == "gpugrad"}
    for model in ("mlp", "transformer", "transformer, gelu by tanh"):
        first, *_, last = ours[model]["losses"]
        assert ours[model]["ms"] > 0 and last < first, "training makes the loss smaller"
    assert "no convolution" in ours["convnet"]["failed"]["gpugrad"]
    others = [r for r in results["steps"] if r["library"] != "gpugrad"]
    assert all("ms" in r for r in others), "a peer that is installed here computes the same losses"


def test_the_card_is_read_as_it_is(part, monkeypatch):
    gpu, asked = importlib.import_module("gpu"), []
    said = "NVIDIA H100 80GB HBM3, 580.159.04, 81559 MiB, 1980 MHz, 2619 MHz, 700.00 W, 31"
    monkeypatch.setattr(gpu, "answer_of", lambda *command: asked.extend(command) or said)
    card = gpu.gpu()
    assert card["name"] == "NVIDIA H100 80GB HBM3" and card["clocks.sm"] == "1980 MHz"
    assert all(a.startswith(("nvidia-smi", "--query-gpu", "--format", "--id")) for a in asked), "nothing is set"


def test_packages_that_are_missing_are_borrowed(part, monkeypatch, tmp_path):
    wheels = importlib.import_module("wheels")
    monkeypatch.setattr(wheels, "WHEELS", tmp_path)
    monkeypatch.setattr(wheels, "MODULES", {"no_such_module": "no-such-package", "numpy": "numpy", "no.where": "gone"})
    here = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    mine = f"no_such_package-1.5-{here}-{here}-manylinux1_x86_64"
    for name in (mine, "no_such_package-1.4-cp27-cp27m-manylinux1_x86_64", "numpy-0.1-py3-none-any"):
        with zipfile.ZipFile(tmp_path / f"{name}.whl", "w") as z:
            z.writestr("no_such_module/__init__.py", f"name = {name!r}")
    code = "import no_such_module, numpy; print(no_such_module.name, numpy.__version__)"
    with wheels.borrowed() as lent:
        done = run("-c", code)
    assert lent == ["no_such_package-1.5"] and done.stdout.split() == [mine, np.__version__], done.stderr
    assert "No module named" in run("-c", code).stderr


def test_wheels_are_of_the_versions_in_pyproject(part):
    named = importlib.import_module("wheels").requirements()
    assert [r for r in named if r.startswith("nvmath-python==")] and "typing_extensions" in named


def test_without_a_gpu_it_says_so():
    if shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU")
    done = run("bench/gpu.py")
    assert done.returncode == 2 and "--dry-run" in done.stderr


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_count_the_bytes_of_their_arrays(host, part, dtype):
    """Each array that a call is given is read at least once, each new one written once; the sum is theirs.

    Together the rows launch every kernel that there is.
    """
    kernels = part("kernels")
    launched = set()
    for row in kernels.ROWS:
        given = row.inputs(kernels.Make("standin", dtype, 70 * 32, 32))
        before = host.launched.copy()
        result = row.call(**given)
        host.check()
        assert host.launches > before.total() and kernels.finite(result), row.name
        launched |= {*(host.launched - before)}
        reads, writes, gives = row.reads.split(), row.writes.split(), kernels.outputs(row, result)
        assert {*given} - {*row.partly.split()} <= {*reads} <= {*given, *gives}, row.name
        new = {k for k, v in gives.items() if v is not None and not any(v is a for a in given.values())}
        assert new <= {*writes} <= new | {*given}, row.name
        least = sum([kernels.nbytes(given[k]) for k in {*reads} & {*given}] + [kernels.nbytes(gives[k]) for k in new])
        most = 3 * (least + sum(map(kernels.nbytes, given.values())))
        assert least <= kernels.moved(row, given, result) <= most, row.name
    assert len({r.name for r in kernels.ROWS}) == len(kernels.ROWS)
    assert launched == {k for path in (ROOT / "kernels").glob("*.cu*") for k in signatures(path.read_text())}


def test_a_row_is_timed(host, part):
    kernels, clocks = part("kernels"), part("clocks")
    for row in (kernels.COPY, kernels.ROWS[0]):
        found = kernels.measure(clocks.HOST, "standin", row.name, "float32", 4096, 32, 0.0)
        assert found["ms"] > 0 and found["bytes"] == 2 * 4096
        assert kernels.launch_us(clocks.HOST, "standin", row.name, "float32", 0.0) > 0


def test_a_time_is_the_median_of_what_the_device_says(part):
    clocks, marks, held = part("clocks"), iter(range(10**6)), []
    clock = clocks.Clock(lambda: next(marks), lambda a, b: 2.0 * (b - a), lambda: None, held.append)
    assert clocks.device_ms(clock, [lambda: None] * 3, 0.0) == 2.0 and len(held) == 5 and min(held) > 0
    assert clocks.program_ms(clock, lambda: None, 0.0) == 2.0


@pytest.mark.parametrize("precision", ["float32", "TF32", "bfloat16", "float16", "float64"])
def test_products_are_right_and_wrong_ones_noticed(host, part, precision):
    """On the stand-in for cuBLASLt: epilogues, sums into an array, transposed views."""
    products, session = part("products"), importlib.import_module("gpu_worker").Session("gpugrad", dry=True)
    session.library.device, session.library.xp = "standin", host.xp
    gg.set_default_device("standin")
    without = {"float64": ("relu", "gelu_tanh"), "float32": ("gelu_tanh",), "TF32": ("gelu_tanh",)}.get(precision, ())
    made, spoiled = session.library.product, lambda out: [o * 1.1 for o in out] if type(out) is tuple else out * 1.1
    try:
        for p in products.TINY_PRODUCTS:
            session.library.product = made
            if p.kind == "linear_grad" and p.activation in without:  # cuBLASLt has no such epilogue
                with pytest.raises(NotImplementedError, match="no epilogue"):
                    session.product(list(p), precision)
                continue
            assert session.product(list(p), precision) <= products.PRODUCT_ERROR[precision], p.label
            session.library.product = lambda *given: (f := made(*given)) and (lambda: spoiled(f()))
            assert session.product(list(p), precision) > 0.05, p.label
        host.check()
    finally:
        gg.set_float32_matmul_precision("highest")


def test_what_an_op_is_made_of_is_called(host, part):
    bounds, names = part("bounds"), [*part("inputs").HOST_BOUNDS]
    names.remove("raw_kernel")  # CuPy's own
    for name in names:
        launches, products = host.launches, host.cublaslt.products
        bounds.bound("standin", name)()
        assert host.launches == launches + (name == "launch")
        assert host.cublaslt.products == products + (name in ("plan", "matmul"))
    host.check()
    with pytest.raises(NotImplementedError, match="no kernels for cpu"):
        bounds.bound("cpu", "launch")


@pytest.mark.parametrize("losses", [[2.0, 1.9, 1.9], [2.0, 1.9, float("nan")], [float("nan")] * 3])
def test_losses_that_differ_are_noticed(part, losses):
    close = part("parts").close
    assert close([2.0, 1.9, 1.8], [2.0, 1.9, 1.80001], 1e-4)
    assert not close(losses, [2.0, 1.9, 1.8], 1e-2) and not close([2.0, 1.9, 1.8], losses, 1e-2)


@pytest.fixture
def answered(part, monkeypatch):
    """Parts whose libraries are a function of (library, request)."""
    parts = part("parts")

    def by(f):
        class Libraries(parts.Libraries):
            def ask(self, library, /, **request):
                return f(library, request)

        monkeypatch.setattr(parts, "Libraries", Libraries)
        monkeypatch.setattr(parts.Options, "installed", lambda self, *libraries: list(libraries))
        return parts

    return by


def test_other_losses_are_not_timed(answered):
    def answer(library, request):
        match request["do"]:
            case "step":
                return {
                    "losses": [3.0, 2.0 + (library == "gpugrad" and request["model"] == "mlp"), 1.0],
                    "first_s": 1.0,
                }
            case "program":
                return {"gpugrad": 4.0, "torch": 5.0, "fused": 2.0, "jax": 6.0, "compiled": 2.5}[library]
        return {"peak": 1, "process": None}

    rows = list(answered(answer).steps(answered(answer).Options(), float("inf")))
    assert len(rows) == 4 * 3 * 5
    for row in rows:
        wrong = row["library"] == "gpugrad" and row["model"] == "mlp"
        assert ("ms" in row) is not wrong and ("failed" in row) is wrong
        assert wrong or (row["ratio"], row["ratio_fused"]) == (row["ms"] / 5.0, row["ms"] / 2.0)


def test_rates_of_kernels_are_beside_the_copy_of_their_size(answered):
    def answer(library, request):
        if request["do"] == "rows":
            return [["copy", False], ["softmax", True], ["adam", True]]
        if request["do"] == "launch":
            return 7.0
        if request["name"] == "adam":
            raise RuntimeError("OutOfMemoryError: too much")
        return {"ms": 2.0 if request["name"] == "copy" else 4.0, "bytes": 2 * request["size"]}

    parts = answered(answer)
    rows = list(parts.kernels(parts.Options(), float("inf")))
    assert [r["name"] for r in rows] == ["copy", "softmax", "adam"] * 4
    assert rows[0]["sizes"][64]["GB/s"] == 2 * 64 * 2**20 / 2e-3 / 1e9
    assert {s["of_copy"] for s in rows[1]["sizes"].values()} == {0.5} and rows[1]["host_us"] == 7
    assert rows[2]["sizes"] == {} and rows[2]["failed"]["gpugrad"] == "OutOfMemoryError: too much"
    late = list(parts.kernels(parts.Options(), 0.0))
    assert [r["left"] for r in late if "left" in r] == [2] * 4


def test_a_failure_stays_in_its_row(part):
    """A process that fails, one that answers nothing in time, and one that dies leave the others alone."""
    common = importlib.import_module("common")
    code = "import sys, time\nfor line in sys.stdin: print(%s, flush=True)"
    for answer, error in [
        ('\'{"error": "MemoryError: all of it"}\'', "all of it"),
        ("time.sleep(60)", "no answer within"),
        ("sys.exit('gone')", "the process ended: gone"),
    ]:
        worker = common.Worker("-c", code % answer)
        with pytest.raises((RuntimeError, TimeoutError), match=error):
            worker.ask(0.5 if "sleep" in answer else 30, do="step")
        worker.close()


def test_a_part_that_fails_does_not_lose_the_others(part, monkeypatch, tmp_path, capsys):
    parts, gpu = part("parts"), importlib.import_module("gpu")

    def broken(o, deadline):
        yield {"op": "relu", "how": "bare", "gpugrad": 3.0, "torch": 2.0, "ratio": 1.5}
        raise RuntimeError("the device is gone")

    monkeypatch.setitem(parts.PARTS, "gemm", (broken, 1))
    monkeypatch.setitem(parts.PARTS, "host", (broken, 1))
    monkeypatch.setattr(
        gpu, "PARTS", {"host": (broken, 1), "tests": (lambda o, d: iter([{"ok": None, "outcome": "-"}]), 1)}
    )
    results = gpu.run(["host", "tests"], parts.Options(dry=True), 10, tmp_path)
    assert results["host"][1]["broken"] == "RuntimeError: the device is gone" and results["tests"]
    text = capsys.readouterr().out
    assert "This part ended early: RuntimeError: the device is gone" in text
    assert "| relu | bare | 3 | 2 | 1.50 | missed |" in text and "| 0 of 1 | 1.50 | 0 |" in text


def test_checks_tell_what_failed_and_end_in_time(part):
    checked = part("parts").checked
    told = checked(
        [sys.executable, "-c", "print('3 passed'); print('========= ERROR SUMMARY: 0 errors')"], float("inf")
    )
    assert told["ok"] and told["outcome"] == "3 passed; ERROR SUMMARY: 0 errors"
    for code in ("print('3 passed'); raise SystemExit(9)", "print('121 skipped in 14 s')"):
        assert checked([sys.executable, "-c", code], float("inf"))["ok"] is False
    stopped = checked([sys.executable, "-c", "import time; time.sleep(600)"], time.monotonic() - 1)
    assert stopped["ok"] is False and "stopped after" in stopped["outcome"]


def test_the_tables_show_every_figure(part):
    """A run on a GPU, as its rows would be."""
    report = part("report")
    sizes = {"64": {"GB/s": 2500.0, "of_copy": 0.9}, "256": {"GB/s": 2000.0, "of_copy": 0.8}}
    results = {
        "tests": [{"ok": True, "outcome": "300 passed", "seconds": 60.0}],
        "memcheck": [{"ok": None, "outcome": "compute-sanitizer is not installed"}],
        "kernels": [
            {
                "name": "copy",
                "dtype": "float32",
                "figure": False,
                "sizes": {"64": {"GB/s": 2700.0}, "256": {"GB/s": 2800.0}},
            },
            {"name": "softmax", "dtype": "float32", "figure": True, "sizes": sizes, "host_us": 5.0},
            {
                "name": "adam",
                "dtype": "float32",
                "figure": True,
                "sizes": {},
                "failed": {"gpugrad": "RuntimeError: x | y"},
            },
            {"left": 7},
        ],
        "gemm": [{"product": "8 x 8 x 8, x @ y", "precision": "TF32", "gpugrad": 400.0, "torch": 400.0, "ratio": 1.0}],
        "host": [
            {"op": "relu", "how": "recorded", "figure": True, "gpugrad": 2.6, "torch": 2.0, "ratio": 1.3},
            {"op": "add", "how": "recorded", "figure": True, "gpugrad": 2.8, "torch": 2.0, "ratio": 1.4},
            {"op": "a launch", "how": "part of an op", "figure": False, "gpugrad": 3, "torch": 1, "ratio": 3.0},
        ],
        "steps": [
            {
                "model": "mlp",
                "precision": "float32",
                "library": "gpugrad",
                "ms": 5.0,
                "ratio": 0.9,
                "ratio_fused": 1.2,
                "peak": 2**30,
            },
            {"model": "mlp", "precision": "float32", "library": "torch", "ms": 5.5, "ratio": 1.0, "losses": [2.0]},
        ],
    }
    about = {
        "date": "2026-11-21",
        "gpu": {"name": "NVIDIA H100"},
        "commit": "abc",
        "cpu": "c",
        "cores": 1,
        "system": "s",
        "python": "3",
        "versions": {},
    }
    text = report.report(about, results)
    for line in [
        "| of the copy's bandwidth, at 64 MiB and more | at least 0.85 | 1 of 2 | 0.80 | 1 |",
        "| of PyTorch eager's time a step | at most 1.0 | 1 of 1 | 0.90 | 0 |",
        "| memcheck | not run | compute-sanitizer is not installed |  |",
        "| softmax | float32 | 2,500 | 90% | 2,000 | 80% | 5 | missed |  |",
        "| adam | float32 |  |  |  |  |  |  | gpugrad: RuntimeError: x \\| y |",
        "No time for 7 more.",
        "| gpugrad | float32 | 5 | 0.90 | met | 1.20 |  | 1,024 |  |  |  |",
        "| of PyTorch's host time an op | at most 1.3 | 1 of 2 | 1.40 | 0 |",
        "| a launch | part of an op | 3 | 1 | 3.00 | no figure |  |",
    ]:
        assert line in text.splitlines(), f"{line}\n{text}"


def test_launch_quick(tmp_path):
    pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    done = run("bench/launch.py", "--quick", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| relu |" in done.stdout and "No GPU" in done.stdout and len(list(tmp_path.glob("launch-*"))) == 2
