"""Floor 7: a report as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..files import install

COLOURS = ("#4477aa", "#ee8866", "#228b73", "#c9a227", "#aa4477", "#66aadd", "#99a832", "#775fb0")


def draw(c: Any, path: Any) -> None:
    """A Comparison: areas over time by op, all ways on one scale.  ImportError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as e:
        raise ImportError(f"plot: {e}. Install matplotlib with: {install('demo')}") from None
    ways = [w for w in c.ways if w.failed is None and w.times]
    shown = ranked(ways)[: len(COLOURS)]
    colour = {**dict(zip(shown, COLOURS)), "rest": "#aab2bf"}
    across = min(2, len(ways)) or 1
    down = -(-len(ways) // across) or 1
    figure = Figure(figsize=(12, 1.1 + 2.9 * down), layout="constrained")
    FigureCanvasAgg(figure)
    unit, unit_name = next((u for u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if most(ways) >= u[0]), (1, "bytes"))
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(ways) :]:
        axes.set_visible(False)
    for axes, w in zip(grid.flat, ways):
        areas = areas_of(w, shown)
        times = np.array(w.times) * 1e3
        axes.stackplot(times, *[a / unit for a in areas.values()], colors=[colour[n] for n in areas], step="post")
        axes.vlines(w.peak_at * 1e3, 0, w.peak / unit, color="black", linewidth=0.5)  # it may last for microseconds
        axes.plot(w.peak_at * 1e3, w.peak / unit, "o", color="black", fillstyle="none", zorder=3)
        axes.set_title(f"{w.name}: peak {w.peak / unit:,.3g} {unit_name} in {w.peak_phase}", loc="left", fontsize=11)
        top = axes.get_xaxis_transform()
        for name, start, end in w.phases:
            axes.axvline(start * 1e3, color="0.55", linewidth=0.8, linestyle=":")
            if end - start > 0.08 * max(v.duration for v in ways):
                axes.text(
                    (start + end) * 500, 0.97, name, transform=top, ha="center", va="top", color="0.35", fontsize=9
                )
        axes.set_ylim(0, 1.14 * most(ways) / unit)
        axes.margins(x=0)
        axes.label_outer()
    for axes in grid[-1]:
        axes.set_xlabel("ms since the step began, recorded")
    for axes in grid[:, 0]:
        axes.set_ylabel(f"alive, {unit_name}")
    figure.suptitle(f"{c.title}: memory of one step, by op", x=0.01, ha="left", fontsize=12)
    rest = ["rest"] if any(areas_of(w, shown)["rest"].any() for w in ways) else []
    handles = [Patch(color=colour[n], label=n) for n in [*shown, *rest]]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    figure.savefig(path, dpi=100, format="png", metadata={"Software": "gpugrad memory"})


def ranked(ways: list[Any]) -> list[str]:
    """The ops of all ways, those that had most alive at once first."""
    most: dict[str, int] = {}
    for w in ways:
        for name, area in areas_of(w, None).items():
            most[name] = max(most.get(name, 0), int(area.max()))
    return sorted(most.keys() - {"rest"}, key=lambda name: -most[name])


def areas_of(w: Any, shown: list[str] | None) -> dict[str, np.ndarray]:
    """Bytes over time by op, in the order of `shown`; what is not in it is summed as "rest"."""
    areas: dict[str, np.ndarray] = {name: np.zeros(len(w.times)) for name in (*(shown or ()), "rest")}
    for cell in w.cells:
        name = cell.op if shown is None or cell.op in shown else "rest"
        areas[name] = areas.get(name, 0) + np.array(cell.bytes)
    return areas


def most(ways: list[Any]) -> int:
    """The highest peak."""
    return max((w.peak for w in ways), default=1)
