"""The wheel, built from the sdist and installed outside the checkout, trains, and carries the kernels and the data."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INGREDIENTS = (".gitignore", "pyproject.toml", "README.md", "LICENSE", "gpugrad", "kernels", "examples")

TRAIN = """
import json
import numpy as np
import gpugrad as gg

rng = np.random.default_rng(0)
points = rng.standard_normal((64, 3)).astype(np.float32)
x = gg.tensor(points)
y = gg.tensor(points @ np.array([[1.0], [-2.0], [0.5]], np.float32) + np.float32(3))
w = gg.Variable(np.zeros((3, 1), np.float32))
b = gg.Variable(np.zeros((1,), np.float32))
optimizer = gg.optim.SGD([w, b], learning_rate=0.1)
losses = []
for _ in range(20):
    with gg.GradientTape() as tape:
        loss = gg.mean((x @ w + b - y) ** 2)
    gradients = tape.gradient(loss, [w, b])
    optimizer.apply_gradients(zip(gradients, [w, b]))
    losses.append(float(loss))
print(json.dumps({"file": gg.__file__, "losses": losses}))
"""


def call(*command: object, cwd: Path) -> str:
    """Run a command that does not see the checkout; what it printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "VIRTUAL_ENV"))}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name in INGREDIENTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    # Without --wheel, build makes the sdist and then the wheel from it.
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", tree / "dist", cwd=tree)
    (built,) = (tree / "dist").glob("*.whl")
    return built


def test_wheel_holds_what_it_needs(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    assert {"gpugrad/_kernels/elementwise.cu", "gpugrad/_data/digits.npz", "gpugrad/py.typed"} <= files
    assert {f"gpugrad/_kernels/{p.name}" for p in (ROOT / "kernels").iterdir()} <= files
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "gpugrad").rglob("*.*") if p.suffix != ".pyc"}
    assert {"gpugrad/profile/report.html", "gpugrad/profile/report.js"} <= sources <= files
    assert {name.split("/")[0] for name in files} == {"gpugrad", wheel.name.split("-py3")[0] + ".dist-info"}


def test_wheel_trains_outside_the_checkout(wheel: Path, tmp_path: Path):
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install")
    call(*pip, "--quiet", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    # The dependencies come from here. Python reads no .pth file in a folder that a .pth file names, so the
    # editable install of the checkout stays out of sight.
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    here = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("\n".join(here) + "\n")

    (tmp_path / "train.py").write_text(TRAIN)
    result = json.loads(call(python, "-W", "error", "train.py", cwd=tmp_path).splitlines()[-1])
    assert Path(result["file"]) == site / "gpugrad" / "__init__.py"
    assert result["losses"][-1] < 0.1 * result["losses"][0]
    assert (site / "gpugrad" / "_kernels" / "elementwise.cu").is_file()
    assert (site / "gpugrad" / "_data" / "digits.npz").is_file()
    assert (tmp_path / "env" / "bin" / "gpugrad").is_file()
