"""Every name that the ops take from the array library exists in CuPy, seen without a GPU."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

OPS = Path(__file__).resolve().parent.parent / "gpugrad" / "ops"


def dotted(node: ast.AST) -> list[str] | None:
    """`xp.linalg.solve` -> ["xp", "linalg", "solve"]; None if it does not start with a plain name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return [*base, node.attr]
    return None


def names(source: str) -> Iterator[tuple[str, int]]:
    """(dotted name, line) for each `xp.NAME`, `getattr(xp, "NAME")` and `ufunc("NAME")`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and (parts := dotted(node)) and parts[0] == "xp":
            yield ".".join(parts[1:]), node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            match node.func.id, node.args:
                case "ufunc", [ast.Constant(value=str(name)), *_]:
                    yield name, node.lineno
                case "getattr", [ast.Name(id="xp"), ast.Constant(value=str(name))]:  # with a default it may be missing
                    yield name, node.lineno


def exists(namespace: object, name: str) -> bool:
    try:
        functools.reduce(getattr, name.split("."), namespace)
    except AttributeError:
        return False
    return True


def test_names_are_found():
    source = (
        'exp = op(ufunc("exp"))\ndef f(xp, x):\n    return xp.linalg.solve(xp.sum(x).real, getattr(xp, "pi"), y.shape)'
    )
    assert set(names(source)) == {("exp", 1), ("linalg", 3), ("linalg.solve", 3), ("sum", 3), ("pi", 3)}


def test_names_exist_in_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed (it is in the extra `dev`)", exc_type=ImportError)
    found = [(name, path.name, line) for path in sorted(OPS.rglob("*.py")) for name, line in names(path.read_text())]
    assert len({name for name, _, _ in found}) >= 20, "the walk found too few names to mean anything"
    missing = [f"gpugrad/ops/{file}:{line}: cupy.{name}" for name, file, line in found if not exists(cupy, name)]
    assert not missing, "\n" + "\n".join(missing)


def special_names(source: str) -> Iterator[str]:
    """NAME of each `special(...).NAME` and `scipys("NAME", ...)`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
            if getattr(node.value.func, "id", None) == "special":
                yield node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "scipys":
            yield ast.literal_eval(node.args[0])


def test_special_functions_exist_in_cupy():
    pytest.importorskip("cupy", reason="CuPy is not installed (it is in the extra `dev`)", exc_type=ImportError)
    special = pytest.importorskip("cupyx.scipy.special")
    found = {name for path in OPS.rglob("*.py") for name in special_names(path.read_text())}
    assert {"erf", "ndtr", "zeta"} <= found
    assert not [name for name in found if not exists(special, name)]
