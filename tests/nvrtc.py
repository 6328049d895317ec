"""Every kernel compiled by NVRTC as CuPy's RawKernel would, without a GPU, and what each needs of one.

    python tests/nvrtc.py        write tests/kernel_budget.json anew: registers of every instantiation on every GPU

A change of a kernel that needs more registers fails tests/test_nvrtc.py until the budget is written anew, so that the
growth is seen in the diff.  The budget also has the digest of each source it is of: what has not changed since compiles
to the same code, and need not be compiled for every GPU again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from gpugrad import kernels

ARCHS = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
BUDGET = Path(__file__).with_name("kernel_budget.json")
KERNELS = Path(__file__).parent.parent / "kernels"
FILES = tuple(sorted(p.name for p in KERNELS.glob("*.cu")))
_USED = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.S
)


def version() -> str:
    """NVRTC's version.  RuntimeError if it is not installed."""
    from cupy.cuda import nvrtc

    return ".".join(map(str, nvrtc.getVersion()))


def digest(file: str) -> str:
    """Of the whole text that NVRTC gets."""
    return hashlib.sha256(kernels.source(file).encode()).hexdigest()[:16]


def usage(file: str, arch: str) -> dict[str, tuple[int, int]]:
    """(registers, bytes spilled) of every instantiation in a file, on one architecture."""
    from cupy._core import core
    from cupy.cuda import compiler

    code = kernels.source(file)
    names = kernels.instantiations(code)
    program = compiler._NVRTCProgram(code, file, name_expressions=names, method="cubin")
    options = core.assemble_cupy_compiler_options(("-std=c++17",))
    log = io.StringIO()
    cubin, mangled = program.compile(
        (*options, "-ftz=true", f"-arch={arch}", "--device-as-default-execution-space", "--ptxas-options=-v"),
        log_stream=log,
    )
    assert cubin
    found = {m[0]: (int(m[3]), int(m[1]) + int(m[2])) for m in _USED.findall(log.getvalue())}
    return {name: found[mangled[name]] for name in names}


def _registers(job: tuple[str, str]) -> dict[str, int]:
    found = usage(*job)
    spilled = [name for name, (_, bytes_) in found.items() if bytes_]
    if spilled:
        sys.exit(f"{job}: {spilled} spill registers")
    return {name: registers for name, (registers, _) in found.items()}


def main() -> None:
    jobs = [(f, a) for f in FILES for a in ARCHS]
    with ProcessPoolExecutor() as pool:
        results = dict(zip(jobs, pool.map(_registers, jobs)))
    lines = []
    for file in FILES:
        rows = [f"{json.dumps(k)}: {[results[file, a][k] for a in ARCHS]}" for k in results[file, ARCHS[0]]]
        lines.append(f"{json.dumps(file)}: {{\n    " + ",\n    ".join(rows) + "\n  }")
    head = f'"nvrtc": {json.dumps(version())},\n  "archs": {json.dumps(ARCHS)}'
    sources = ",\n    ".join(f"{json.dumps(f)}: {json.dumps(digest(f))}" for f in FILES)
    lines.append(f'"sources": {{\n    {sources}\n  }}')
    BUDGET.write_text("{\n  " + ",\n  ".join([head, *lines]) + "\n}\n")


if __name__ == "__main__":
    main()
