"""Imports go down: every module of gpugrad has a floor, and imports nothing from a floor above its own.

Checked for every file, by `ast`, the imports under `if TYPE_CHECKING` included: an import that goes up, a cycle (on one
floor too), an import hidden in a function (optional dependencies excepted, by name), a file that is not on the map, and
a file of more than 400 lines.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "gpugrad"
MAX_LINES = 400

# A package's name stands for all its modules.
FLOORS = {
    "files": 0, "dtypes": 0, "array": 0, "blas": 0, "compiling": 0, "axes": 0, "host_special": 0, "cupy_library": 0,
    "courier": 0, "habits": 0, "choosing": 0, "replacing": 0, "tensor_files": 0, "openblas": 0,
    "core": 1, "origin": 1, "recording": 1, "hooks": 1, "repeat": 1, "kernels": 1, "launch": 1, "generator": 1,
    "user_kernel": 1, "holders": 1, "krylov": 1, "fused": 1, "gemm": 1,
    "arming": 2, "levels": 2, "forward": 2, "rule": 2, "recipes": 2, "paths": 2, "op": 2, "adapt": 2, "kernel_op": 2,
    "ops": 3,
    "backprop": 4, "inspection": 4, "ledger": 4, "ledger_text": 4, "exhausted": 4, "explain": 4, "jacobian": 4,
    "asking": 4, "batching": 4,
    "tape": 5, "autograd": 5, "anomaly": 5,
    "recompute": 6,
    "custom": 6, "custom_rules": 6, "function": 6, "registry": 6, "saving": 6, "inplace": 6, "functional": 6,
    "tensor": 6, "variable": 6, "random": 6, "vmap": 6, "forward_mode": 6, "arguments": 6, "transforms": 6, "func": 6,
    "duals": 6,
    "taylor": 6, "laplacian": 6, "curvature": 6,
    "testing": 6, "graph": 6, "printing": 6, "wording": 6, "views": 6,
    "special": 6, "dlpack": 6, "sparse": 6, "linalg": 6, "fft": 6, "rematerialize": 6,
    "nn": 7, "optim": 7, "data": 7, "profile": 7, "train": 7, "checkpoints": 7, "state_files": 7, "names": 7,
    "autocast": 7, "tensorflow": 8, "torch": 8, "demo": 8, "interop": 8, "amp": 7, "implicit": 7, "ode": 7,
    "cli": 9,
    "__init__": 10, "__main__": 10,
}  # fmt: skip
STRANGERS = {("optim", "nn")}  # on one floor, and still not to be imported: an optimizer takes variables, not layers
LATER = {  # imported when first asked for: they take 15 ms
    ("data/loader.py", "gpugrad.data.workers"),
    ("optim/__init__.py", "gpugrad.optim.ema"),
    ("optim/__init__.py", "gpugrad.optim.lr_scheduler"),
    ("profile/__init__.py", "gpugrad.profile.comparing"),
    ("profile/__init__.py", "gpugrad.profile.trace"),
    ("interop/__init__.py", "gpugrad.interop.onnx"),
    ("interop/__init__.py", "gpugrad.interop.torch"),
    ("checkpoints.py", "gpugrad.tensor_files"),
    ("train/__init__.py", "gpugrad.train.loggers"),
    ("train/__init__.py", "gpugrad.train.run"),
    ("train/__init__.py", "gpugrad.train.stopping"),
    ("train/__init__.py", "gpugrad.train.trainer"),
}
OPTIONAL = {
    "cupy", "cupyx", "matplotlib", "pynvml", "opt_einsum", "nvmath", "scipy", "tensorboardX", "safetensors", "onnx",
    "pyarrow",
}  # fmt: skip


def module_name(path: str) -> str:
    """`ops/math.py` -> `ops.math`, `ops/__init__.py` -> `ops`, `__init__.py` -> `__init__`."""
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def unit(module: str) -> str:
    return module.split(".")[0]


def imports(tree: ast.AST, hidden: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom | ast.Call, bool]]:
    """Every import under `tree`, calls of `import_module` and `__import__` too, and whether it is in a function."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import | ast.ImportFrom) or (isinstance(child, ast.Call) and is_import_call(child)):
            yield child, hidden
        yield from imports(child, hidden or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def is_import_call(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
    return name in ("import_module", "__import__")


def absolute_names(path: str, node: ast.Import | ast.ImportFrom | ast.Call) -> list[tuple[str, list[str]]]:
    """What an import names: (dotted module, names taken from it), made absolute. ValueError where it is unknowable."""
    if isinstance(node, ast.Import):
        return [(alias.name, []) for alias in node.names]
    if isinstance(node, ast.Call):
        argument = node.args[0] if node.args else None
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            raise ValueError("imports a module by a name computed at run time")
        return [(argument.value, [])]
    base = node.module or ""
    if node.level:
        package = ["gpugrad", *path.split("/")[:-1]]
        if node.level > len(package):
            raise ValueError("imports from above gpugrad")
        base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
    return [(base, [alias.name for alias in node.names])]


def targets(base: str, names: list[str], modules: set[str]) -> set[str]:
    """The gpugrad modules that `from base import names` runs, packages on the way included. LookupError if none."""
    inner = base.split(".")[1:]
    if inner and ".".join(inner) not in modules:
        raise LookupError(f"imports {base}, which does not exist")
    found = {".".join(inner[: i + 1]) for i in range(len(inner))}
    for name in names or ([] if inner else ["__init__"]):
        submodule = ".".join([*inner, name])
        found.add(submodule if submodule in modules else ".".join(inner) or "__init__")
    return found


def check(sources: Mapping[str, str]) -> list[str]:
    """What is wrong with the files of a package, given as {path inside the package: source}."""
    modules = {module_name(path) for path in sources}
    problems: list[str] = []
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for path, source in sources.items():
        module = module_name(path)
        if unit(module) not in FLOORS:
            problems.append(f"{path}: not on the map of floors")
            continue
        packages = {".".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)}
        for node, hidden in imports(ast.parse(source)):
            where = f"{path}:{node.lineno}"
            if path == "__init__.py" and isinstance(node, ast.Call):
                continue  # it is above all, and imports what it has a table of when that is asked for
            try:
                wanted = absolute_names(path, node)
            except ValueError as error:
                problems.append(f"{where}: {error}")
                continue
            for base, names in wanted:
                top = base.split(".")[0]
                if hidden and top not in OPTIONAL and (path, base) not in LATER:
                    problems.append(f"{where}: import of {base} inside a function")
                if top != "gpugrad":
                    continue
                try:
                    reached = targets(base, names, modules)
                except LookupError as error:
                    problems.append(f"{where}: {error}")
                    continue
                # A package runs before its modules do: importing a sibling does not import the package again.
                named = ".".join(base.split(".")[1:])
                taken = {named} if any(f"{named}.{name}" not in modules for name in names) else set()
                for target in sorted(reached - (packages - taken)):
                    graph[module].add(target)
                    up = FLOORS.get(unit(target), -1) > FLOORS[unit(module)]
                    if up or (unit(module), unit(target)) in STRANGERS:
                        problems.append(f"{where}: {module} imports {target}" + (", which is above it" if up else ""))
    return problems + [f"cycle: {' -> '.join(cycle)}" for cycle in cycles(graph)]


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """One cycle for every edge that closes one in a depth-first walk; none if the graph has none."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append([*trail[trail.index(module) :], module])
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def package_sources() -> dict[str, str]:
    return {p.relative_to(PACKAGE).as_posix(): p.read_text(encoding="utf-8") for p in sorted(PACKAGE.rglob("*.py"))}


def test_imports_go_down():
    sources = package_sources()
    assert "__init__.py" in sources
    problems = check(sources)
    assert not problems, "\n" + "\n".join(problems)


def test_files_are_short():
    long = {path: n for path, text in package_sources().items() if (n := len(text.splitlines())) > MAX_LINES}
    assert not long, f"longer than {MAX_LINES} lines: {long}"


CLEAN = {
    "__init__.py": "from .tape import GradientTape as GradientTape\nfrom . import nn as nn, optim as optim",
    "array.py": "import numpy as np\ndef load():\n    import cupy.cuda\n    from cupyx.scipy import special",
    "core.py": "from . import array\nfrom .array import xp",
    "op.py": "import gpugrad.core\nfrom gpugrad import array",
    "ops/__init__.py": "from . import math as math\nfrom .reduce import sum as sum",
    "ops/math.py": "from ..op import op",
    "ops/reduce.py": "from .math import mul\nfrom . import math\nfrom ..core import Tensor",
    "tape.py": "from .ops import math\nfrom .ops.reduce import sum\nfrom .ops import sum",
    "nn/__init__.py": "from .layers import Dense as Dense",
    "nn/layers.py": "from .. import ops",
    "optim/__init__.py": "from ..tape import GradientTape",
}


def test_checker_accepts_a_clean_package():
    assert check(CLEAN) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("core.py", "from .tape import GradientTape", "core imports tape, which is above it"),
        ("core.py", "from . import op", "core imports op, which is above it"),
        ("core.py", "import gpugrad.tape", "core imports tape, which is above it"),
        ("core.py", "from gpugrad.ops import math", "core imports ops.math, which is above it"),
        ("core.py", "from gpugrad import GradientTape", "core imports __init__, which is above it"),
        ("core.py", "import gpugrad as gg", "core imports __init__, which is above it"),
        ("ops/math.py", "from .. import tape", "ops.math imports tape, which is above it"),
        ("core.py", "if TYPE_CHECKING:\n    from .tape import x", "core.py:2: core imports tape, which is above it"),
        ("core.py", "try:\n    from .op import op\nexcept ImportError: pass", "core imports op, which is above it"),
        ("ops/math.py", "from .reduce import sum", "cycle: ops.math -> ops.reduce -> ops.math"),
        ("ops/math.py", "from . import sum", "cycle: ops -> ops.math -> ops"),
        ("core.py", "from . import core", "cycle: core -> core"),
        ("optim/__init__.py", "from ..nn import Dense", "optim imports nn"),
        ("optim/__init__.py", "from ..nn.layers import Dense", "optim imports nn.layers"),
        ("tape.py", "def f():\n    from .core import Tensor", "tape.py:2: import of gpugrad.core inside a function"),
        ("tape.py", "def f():\n    import json", "import of json inside a function"),
        ("tape.py", "class A:\n    async def f(self):\n        if x:\n            import torch", "import of torch"),
        ("tape.py", "f = lambda: __import__('gpugrad.core')", "import of gpugrad.core inside a function"),
        ("core.py", "importlib.import_module('gpugrad.tape')", "core imports tape, which is above it"),
        ("tape.py", "importlib.import_module(name)", "by a name computed at run time"),
        ("tape.py", "from .. import x", "imports from above gpugrad"),
        ("tape.py", "from .nope import x", "imports gpugrad.nope, which does not exist"),
        ("extra.py", "", "extra.py: not on the map of floors"),
        ("extra/deep.py", "", "extra/deep.py: not on the map of floors"),
    ],
)
def test_checker_catches(path: str, source: str, complaint: str):
    problems = check({**CLEAN, path: source})
    assert any(complaint in problem for problem in problems), problems
