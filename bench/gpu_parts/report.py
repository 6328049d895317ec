"""The tables of a run, in Markdown: every figure beside what it is to be, and what went wrong where it did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common import described, table, verdict

from .inputs import PRECISIONS, TITLES

Row = dict[str, Any]
# (the least or the most, whether it is the least, what is held to it)
FIGURES = {
    "kernels": (0.85, True, "of the copy's bandwidth, at 64 MiB and more"),
    "gemm": (0.95, True, "of PyTorch's rate"),
    "host": (1.3, False, "of PyTorch's host time an op"),
    "steps": (1.0, False, "of PyTorch eager's time a step"),
}
NAMES = {
    "gpugrad": "gpugrad", "torch": "PyTorch eager", "fused": "PyTorch eager, fused optimizer",
    "compiled": "torch.compile", "jax": "JAX jit",
}  # fmt: skip
TO_COPY, TO_TORCH = "of the copy", "gpugrad / PyTorch"


def figures(part: str, rows: list[Row]) -> tuple[list[float], int]:
    """(what is held to the part's figure, how many rows have nothing to hold to it)."""
    if part == "kernels":
        rows = [r for r in rows if r.get("figure")]
        found = [[s["of_copy"] for s in r["sizes"].values()] for r in rows]
    else:
        rows = [r for r in rows if r.get("figure", True)]
        rows = [r for r in rows if r.get("library", "gpugrad") == "gpugrad" and not {"left", "broken"} & {*r}]
        found = [[r["ratio"]] if "ratio" in r else [] for r in rows]
    return [v for some in found for v in some], found.count([])


def _judged(part: str, value: float | None) -> str:
    limit, at_least, _ = FIGURES[part]
    return "" if value is None else verdict(value, limit, at_least)


def _failed(row: Row) -> str:
    return "; ".join([f"{NAMES.get(k, k)}: {' '.join(v.split())}" for k, v in row.get("failed", {}).items()])


def _checks(results: dict[str, list[Row]]) -> Iterator[str]:
    done = [(part, r) for part in ("tests", "memcheck", "racecheck") for r in results.get(part, ())]
    if done:
        said = {True: "passed", False: "failed", None: "not run"}
        yield from table(
            ["check", "", "what it said", "s"],
            [[part, said[r["ok"]], r["outcome"], r.get("seconds")] for part, r in done],
        )
        yield ""


def _kernels(rows: list[Row]) -> Iterator[str]:
    sizes = sorted({int(size) for r in rows for size in r.get("sizes", ())})
    yield "GB/s of what a kernel reads and writes, its inputs in device memory and not in the cache; `host` is a call's"
    yield "time on the host with small arrays."
    yield ""
    body = []
    for r in rows:
        found = {int(size): s for size, s in r["sizes"].items()}
        rates = [v for size in sizes for v in (found.get(size, {}).get("GB/s"), _percent(found.get(size, {})))]
        least = min([s["of_copy"] for s in found.values() if "of_copy" in s], default=None)
        body.append([r["name"], r["dtype"], *rates, r.get("host_us"),
                     _judged("kernels", least) if r["figure"] else "no figure", _failed(r)])  # fmt: skip
    columns = [c for size in sizes for c in (f"GB/s, {size} MiB", TO_COPY)]
    yield from table(["kernel", "dtype", *columns, "host, us", "at least 85%", "what went wrong"], body)


def _percent(found: Row) -> str:
    return f"{found['of_copy']:.0%}" if "of_copy" in found else ""


def _gemm(rows: list[Row]) -> Iterator[str]:
    head = ["n x k x m", "precision", "gpugrad, TFLOP/s", "PyTorch, TFLOP/s", TO_TORCH, "at least 0.95", "went wrong"]
    yield from table(head, [
        [r["product"], r["precision"], r.get("gpugrad"), r.get("torch"), _ratio(r), _judged("gemm", r.get("ratio")),
         _failed(r)]
        for r in rows
    ])  # fmt: skip


def _ratio(row: Row, name: str = "ratio") -> str:
    return f"{row[name]:.2f}" if name in row else ""


def _host(rows: list[Row]) -> Iterator[str]:
    yield "Microseconds until a call returns, for each op of it. The first rows are what an op is made of: a launch, an"
    yield "array, a product."
    yield ""
    head = ["op", "how", "gpugrad, us", "PyTorch, us", TO_TORCH, "at most 1.3", "went wrong"]
    yield from table(head, [
        [r["op"], r["how"], r.get("gpugrad"), r.get("torch"), _ratio(r),
         _judged("host", r.get("ratio")) if r.get("figure", True) else "no figure", _failed(r)]
        for r in rows
    ])  # fmt: skip


def _steps(rows: list[Row]) -> Iterator[str]:
    yield "All start from the same weights and data; a program is timed only if its first three losses are PyTorch's."
    yield "PyTorch attends with scaled_dot_product_attention. The figure is against its optimizers as it makes them by"
    yield "default; beside it is the time with fused=True. The first step includes compiling. JAX's time is the host's,"
    yield "until the result is there."
    for model, title in TITLES.items():
        place = lambda r: (list(PRECISIONS).index(r["precision"]), list(NAMES).index(r["library"]))
        some = sorted([r for r in rows if r.get("model") == model], key=place)
        if not some:
            continue
        yield from ["", f"{title[0].upper()}{title[1:]}:", ""]
        head = ["library", "precision", "ms", "/ PyTorch eager", "at most 1.0", "/ fused", "first step, s", "peak, MiB",
                "process, MiB", "first losses", "went wrong"]  # fmt: skip
        yield from table(head, [
            [NAMES[r["library"]], r["precision"], r.get("ms"), _ratio(r),
             _judged("steps", r.get("ratio")) if r["library"] == "gpugrad" else "", _ratio(r, "ratio_fused"),
             r.get("first_s"),
             _mib(r.get("peak")), _mib(r.get("process")), " ".join([f"{v:.4f}" for v in r.get("losses", ())]),
             _failed(r)]
            for r in some
        ])  # fmt: skip


def _mib(n: int | None) -> float | None:
    return None if n is None else n / 2**20


TABLES = {
    "kernels": ("Kernels", _kernels), "gemm": ("Matrix products", _gemm), "host": ("The host's time for an op", _host),
    "steps": ("Training steps", _steps),
}  # fmt: skip


def _lent(about: dict[str, Any]) -> list[str]:
    return [f"not installed, from build/wheels: {', '.join(about['lent'])}  "] if about.get("lent") else []


def report(about: dict[str, Any], results: dict[str, list[Row]]) -> str:
    """All tables.  results: the rows of each part."""
    lines = [f"# bench/gpu.py, {about['date']}", "", *[f"{k}: {v}  " for k, v in about["gpu"].items()],
             f"machine: {described(about)}  ", *_lent(about), f"commit: {about['commit']}", ""]  # fmt: skip
    body = []
    for part, (limit, at_least, what) in FIGURES.items():
        found, without = figures(part, results.get(part, []))
        if found:
            met = sum([verdict(v, limit, at_least) == "met" for v in found])
            body.append([what, f"{'at least' if at_least else 'at most'} {limit}", f"{met} of {len(found)}",
                         f"{min(found) if at_least else max(found):.2f}", without])  # fmt: skip
    lines += [*table(["figure", "", "met by", "worst", "rows without one"], body), ""] if body else []
    lines += [*_checks(results)]
    for part, (title, tabulate) in TABLES.items():
        rows = results.get(part)
        if rows:
            lines += [f"## {title}", ""]
            broken = [r for r in rows if "broken" in r]
            lines += [*tabulate([r for r in rows if "left" not in r and "broken" not in r]), ""]
            lines += [f"No time for {r['left']} more.\n" for r in rows if "left" in r]
            lines += [f"This part ended early: {r['broken']}\n" for r in broken]
    return "\n".join(lines).rstrip() + "\n"
