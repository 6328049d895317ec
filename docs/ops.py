"""Writes docs/ops.md from the op table and the docstrings: `python docs/ops.py`.  A test compares."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

FILE = Path(__file__).with_suffix(".md")
sys.path[:0] = [str(FILE.parent.parent / "tests")]

import table  # noqa: E402
from table.row import Row, inputs  # noqa: E402

import gpugrad as gg  # noqa: E402
from gpugrad.array import library  # noqa: E402
from gpugrad.core import Node, owner_of, tick  # noqa: E402

HEAD = """# Ops

Written by `python docs/ops.py` from the op table (`tests/table`) and the docstrings; a test compares. Every name has
rows in that table, and one body of checks (`tests/test_ops.py`) proves each: the value against NumPy and SciPy, the
gradient and the gradient's gradient against central differences, float32, float64, float16, bfloat16 and, where it
makes sense, complex numbers.

*Kept* is what a tape keeps for the way back when all float inputs are watched: the arguments of an op that its
pullbacks ask for, or `op: arguments` where a function is made of several ops; shapes and options are not counted, an
array that several ops keep is named once. *GPU* says where a kernel of ours, or cuBLASLt, stands in for array
functions.
"""

NAMESPACES: dict[str, Any] = {
    name: getattr(gg, name) for name in ("nn", "linalg", "fft", "special", "random", "sparse") if hasattr(gg, name)
}

# Arguments and cases that NumPy, SciPy or PyTorch have, and why they are not here.
MISSING = {
    "sum(initial=, where=)": "and of mean, prod, max, min: CuPy lacks them; `where`, or `average(weights=)`",
    "var(dtype=)": "and of std, softmax: `astype` before",
    "logsumexp(b=, return_sign=)": "`logsumexp(x + log(b))` for positive b; of signs nothing is kept",
    "quantile(weights=)": "NumPy has them for one method only",
    "pad(reflect_type='odd')": "and a reflection longer than the axis: an error, as in TensorFlow and PyTorch",
    "linalg.svd(hermitian=)": "`linalg.eigh`",
    "nn.interpolate(antialias=, recompute_scale_factor=)": "positions follow from the lengths, always",
    "fft.fftn(axes=(0, 0))": "an axis twice: transform in turn",
    "special.log_ndtr": "and the gamma functions, of complex numbers: SciPy has no second derivatives of these",
    "special.zeta": "its gradient by x is computed for x > 1 and q > 0 only, else it is NaN",
    "random.randint": "and permutation, bernoulli, categorical: they jump, so there is no gradient",
    "sparse.CSR.__rmatmul__": "x @ A, of a tensor: the tensor is asked first; write `(A.T @ x.T).T`",
}


class Place(NamedTuple):
    """Where a row's op is: under `gg`, by its namespace and its name there."""

    name: str
    space: Any
    attribute: str

    @property
    def function(self) -> Any:
        return getattr(self.space, self.attribute)


def found(name: str) -> Place:
    """The place of a row's op.  LookupError where there is none."""
    for prefix, space in {"": gg, **NAMESPACES}.items():
        path = name.removeprefix(f"{prefix}.")
        *classes, attribute = path.split(".")
        owner = functools.reduce(lambda owner, part: getattr(owner, part, None), classes, space)
        if callable(getattr(owner, attribute, None)):
            return Place(f"{prefix}.{path}" if prefix else name, owner, attribute)
    raise LookupError(f"{name}: no public function of this name; rows are called after one")


# ---------------------------------------------------------------------------------------------- what is kept
def upstream(node: Node | None) -> list[Node]:
    """The ops behind a node, the oldest first."""
    seen, todo = {}, [node]
    while todo:
        n = todo.pop()
        if n is not None and id(n) not in seen:
            seen[id(n)] = n
            todo.extend(n.edges)
    return sorted([n for n in seen.values() if n.op is not None], key=lambda n: n.seq)


def kept(nodes: list[Node]) -> str:
    """What a tape keeps, an array once: by the op's own names for its arguments."""
    seen: set[int] = set()
    parts: dict[str, list[str]] = {}
    for n in nodes:
        for name, v in zip(n.op.names, n.saved):
            for a in v if type(v) is tuple else (v,):
                if library(a) is not None and a.size > 1 and id(owner_of(a)) not in seen:
                    seen.add(id(owner_of(a)))
                    if name not in parts.setdefault(n.op.name, []):
                        parts[n.op.name].append(name)
    one = len({n.op.name for n in nodes}) == 1
    said = [", ".join(names) if one else f"{op}: {', '.join(names)}" for op, names in parts.items() if names]
    return "; ".join(said) or "nothing"


def measured(row: Row, place: Place) -> tuple[str, str]:
    """(what is kept, whether there is a kernel) when the row runs on a tape.

    What a row does before and after it calls the function, to make a matrix definite or one value of two, is left out.
    """
    f, calls = place.function, []

    def spy(*args: Any, **options: Any) -> Any:
        start = tick()
        out = f(*args, **options)
        calls.append(range(start, tick()))
        return out

    xs = [gg.tensor(x, device="cpu") for x in inputs(row)]
    setattr(place.space, place.attribute, spy)
    try:
        with gg.GradientTape() as tape:
            tape.watch(xs)
            nodes = upstream(row.f(*xs).node)
    finally:
        setattr(place.space, place.attribute, f)
    nodes = [n for n in nodes if not calls or any([n.seq in call for call in calls])]
    return kept(nodes), "kernel" if any([n.op.fused for n in nodes]) else ""


# ---------------------------------------------------------------------------------------------- the page
def paragraphs(f: Any) -> list[str]:
    return [" ".join(p.split()) for p in (inspect.getdoc(f) or "").split("\n\n")]


def said(f: Any) -> str:
    """The first sentence of a docstring."""
    first = paragraphs(f)[0]
    end = re.search(r"(?<!et al)(?<!i\.e)\.( |$)", first)
    return first[: end.start()] if end else first


def kinks(f: Any) -> str:
    return " ".join([p.split(":", 1)[1].strip() for p in paragraphs(f) if p.startswith(("Kink:", "Kinks:"))])


def lines(rows: list[Row]) -> Iterator[str]:
    by_name: dict[str, list[Row]] = {}
    for r in rows:
        by_name.setdefault(found(r.op).name, []).append(r)
    yield "| name | what | kept | kinks | GPU |"
    yield "|---|---|---|---|---|"
    for name, forms in by_name.items():
        place = found(forms[0].op)
        f, (keeps, gpu) = place.function, measured(forms[0], place)
        cells = [f"`{name}`", said(f), keeps, kinks(f), gpu]
        yield "| " + " | ".join([c.replace("|", "\\|") for c in cells]) + " |"


def without_gradient() -> list[str]:
    """Public functions of the ops' modules that have no row: their results are integers, booleans or constants."""
    names = {found(r.op).function for r in table.ROWS}
    out = []
    for prefix, space in {"": gg, **NAMESPACES}.items():
        for name, f in sorted(vars(space).items()):
            module = getattr(f, "__module__", None) or ""
            if callable(f) and not inspect.isclass(f) and module.startswith("gpugrad.ops.") and f not in names:
                out.append(f"{prefix}.{name}" if prefix else name)
    return out


def title(family: ModuleType) -> str:
    return (family.__doc__ or "").strip().splitlines()[0].rstrip(".")


def text() -> str:
    out = [HEAD]
    for family in table.FAMILIES:
        out += [f"## {title(family)}", "", *lines(family.ROWS), ""]
    out += ["## Without a gradient", "", ", ".join([f"`{n}`" for n in without_gradient()]) + ".", ""]
    if MISSING:
        out += ["## Missing, and why", "", *[f"- `{name}`: {why}" for name, why in MISSING.items()], ""]
    return "\n".join(out)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
