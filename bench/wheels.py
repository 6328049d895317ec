"""Wheels for a GPU machine that has CuPy but lacks others, and has no network.

    python bench/wheels.py [--python 3.12]

puts them in build/wheels, for CUDA 13 on Linux, x86-64.  There bench/gpu.py takes from that folder what its interpreter
does not have, for as long as it runs; nothing is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import ROOT

WHEELS = ROOT / "build" / "wheels"
# What gpugrad and its tests import beside NumPy and CuPy, and what that needs: module, distribution.
MODULES = {
    "ml_dtypes": "ml_dtypes", "optree": "optree", "typing_extensions": "typing_extensions", "tqdm": "tqdm",
    "safetensors": "safetensors",
    "nvmath": "nvmath-python", "cuda.bindings": "cuda-bindings", "cuda.core": "cuda-core",
    "cuda.pathfinder": "cuda-pathfinder", "pynvml": "nvidia-ml-py", "pytest": "pytest", "iniconfig": "iniconfig",
    "packaging": "packaging", "pluggy": "pluggy", "pygments": "pygments", "hypothesis": "hypothesis",
}  # fmt: skip
# pip takes these and no older ones
PLATFORMS = ["manylinux1", "manylinux2014", *[f"manylinux_2_{n}" for n in (17, 24, 26, 27, 28)]]


def requirements() -> list[str]:
    """The distributions, at the versions that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = {re.split(r"[^\w.-]", r)[0]: r for r in project["dependencies"] + extras["tools"] + extras["dev"]}
    return [named.get(d, d) for d in MODULES.values()]


def fetch(python: str) -> None:
    """Fill build/wheels for this version of Python.  CalledProcessError if pip does not find one."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    platforms = [a for p in PLATFORMS for a in ("--platform", f"{p}_x86_64")]
    options = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options]
    subprocess.run([*command, "--dest", str(WHEELS), *requirements()], check=True)


def missing() -> list[str]:
    """The modules that this interpreter does not have."""
    return [m for m in MODULES if not _found(m)]


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of cuda.bindings: cuda
        return False


def wheel(module: str) -> Path | None:
    """The wheel for this interpreter."""
    name = MODULES[module].replace("-", "_")
    tags = "-py3-none-", f"-cp{sys.version_info[0]}{sys.version_info[1]}-", "-abi3-"
    return next((p for p in sorted(WHEELS.glob(f"{name}-*.whl")) if any([t in p.name for t in tags])), None)


@contextmanager
def borrowed() -> Iterator[list[str]]:
    """Processes started inside find what is missing here and is in build/wheels.  Answers the wheels' names."""
    before, wheels = os.environ.get("PYTHONPATH", ""), [w for w in map(wheel, missing()) if w is not None]
    with tempfile.TemporaryDirectory() as folder:
        for w in wheels:
            with zipfile.ZipFile(w) as z:
                z.extractall(folder)
        if wheels:
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [before, folder]))
        try:
            yield ["-".join(w.name.split("-")[:2]) for w in wheels]
        finally:
            if wheels:
                os.environ["PYTHONPATH"] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", default="3.12", help="the version that the GPU machine has (%(default)s)")
    fetch(parser.parse_args().python)
    names = [p.name for p in sorted(WHEELS.iterdir())]
    size = sum([p.stat().st_size for p in WHEELS.iterdir()]) / 2**20
    print(f"{WHEELS.relative_to(ROOT)}: {len(names)} wheels, {size:.0f} MiB\n" + "\n".join(names))


if __name__ == "__main__":
    main()
