"""A row for each fused kernel: its inputs, its call, and the bytes that it reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import gpugrad as gg
from gpugrad import fused
from gpugrad.array import device_of, to_host
from gpugrad.dtypes import as_dtype, wide
from gpugrad.fused.optimizer import GRADIENT, PARAMETER, STATE, STATE2

from .clocks import Clock, device_ms, host_us
from .inputs import TILE, fill, normal

SETS = 3  # of inputs, taken in turn: more than any L2 cache holds together
POSITIONS = (None, ""), (1, ", one position")  # sums along rows, and down columns
LENGTHS = (1.0, ""), (0.5, ", rows of 512")  # a block for a row, and a warp
ACTIVATIONS = tuple([a for a in fused.activation.ACTIVATIONS if a != "identity"])
ARRAYS = 16  # among which an optimizer's elements are
Inputs = dict[str, Any]


class Make:
    """Arrays of a dtype on a device, for a kernel whose main array has `size` elements, `cols` in a row."""

    def __init__(self, device: str, dtype: Any, size: int, cols: int) -> None:
        self.device, self.dtype, self.cols, self.rows = device, as_dtype(dtype), cols, max(1, size // cols)
        self._blocks: dict[Any, Any] = {}

    def in_rows(self, times: float) -> Make:
        """As many elements, in rows `times` as long."""
        cols = max(1, int(self.cols * times))
        return Make(self.device, self.dtype, self.rows * self.cols, cols)

    def normal(self, *shape: int, dtype: Any = None) -> Any:
        """Random numbers, those of one block over and over."""
        dtype = as_dtype(dtype or self.dtype)
        if dtype not in self._blocks:
            self._blocks[dtype] = self.put(normal(min(TILE, self.rows * self.cols)).astype(dtype))
        block = self._blocks[dtype]
        return fill(gg.device(self.device).library.empty((int(np.prod(shape)),), dtype), block).reshape(shape)

    def put(self, value: np.ndarray) -> Any:
        return gg.tensor(value, device=self.device).array

    def matrix(self, dtype: Any = None) -> Any:
        return self.normal(self.rows, self.cols, dtype=dtype)

    def row(self) -> Any:
        return self.normal(self.cols)

    def images(self, positions: int | None = None) -> Any:
        """(batch, 64 channels, positions)."""
        positions = positions or self.cols
        return self.normal(max(1, self.rows * self.cols // positions // 64), 64, positions)

    def whole(self, n: int, high: int) -> Any:
        """n random integers below `high`."""
        return self.put(np.random.default_rng(0).integers(0, high, n))

    def parameters(self, dtype: Any = None) -> list[Any]:
        each = max(1, self.rows * self.cols // ARRAYS)
        return [self.normal(each, dtype=dtype) for _ in range(ARRAYS)]

    def states(self) -> list[Any]:
        return self.parameters(wide(self.dtype))


class Row(NamedTuple):
    """reads, writes: names of inputs and of what the call `gives`, as often as the kernels go through them."""

    name: str
    inputs: Callable[[Make], Inputs]
    call: Callable[..., Any]
    reads: str
    writes: str
    gives: str = "out"
    partly: str = ""  # inputs that are no arrays, or read in part, which is counted under a name of that size
    figure: bool = True  # whether it is to come near the copy: not where atomics or sorting rule


def _softmax_grad(m: Make) -> Inputs:
    return {"g": m.matrix(), "y": fused.softmax(m.matrix())}


def _elementwise(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The `gpu=` forward of an op as a row's call."""
    return lambda **arrays: forward(None, *arrays.values())


def _refused(*arrays: Any) -> Any:
    raise TypeError("no kernel is made for these arrays")


def _norm(m: Make) -> Inputs:
    return {"x": m.matrix(), "gamma": m.row(), "beta": m.row()}


def _norm_sums(m: Make) -> Inputs:
    x = m.matrix()
    _, _, mean, rstd = fused.norm(x)
    return {"g": m.matrix(), "total": x, "mean": mean, "rstd": rstd}


def _norm_grad(m: Make) -> Inputs:
    return {**_norm_sums(m), "gamma": m.row()}


def _batch_norm(m: Make, positions: int | None = None) -> Inputs:
    return {"x": m.images(positions), "gamma": m.normal(64), "beta": m.normal(64)}


def _batch_norm_grad(m: Make, positions: int | None = None) -> Inputs:
    x = m.images(positions)
    _, mean, rstd = fused.batch_norm(x)
    return {"g": m.images(positions), "x": x, "mean": mean, "rstd": rstd, "gamma": m.normal(64)}


def _xent(m: Make) -> Inputs:
    """Logits and labels."""
    return {"z": m.matrix(), "labels": m.whole(m.rows, m.cols)}


def _xent_grad(m: Make) -> Inputs:
    a = _xent(m)
    return {**a, "g": m.normal(a["z"].shape[0]), "lse": fused.softmax_xent(a["z"], a["labels"])[1]}


def _relu_mask_grad(m: Make) -> Inputs:
    return {"g": m.matrix(), "bits": fused.relu_mask(m.matrix())[1]}


def _step(m: Make, states: int) -> Inputs:
    """What an optimizer has, its states in the table once and for all."""
    xs, kept = m.parameters(), {k: [a * a for a in m.states()] for k in ("ms", "vs")[:states]}
    table = fused.Table(xs)
    for column, arrays in zip((STATE, STATE2), kept.values()):
        table.set(column, arrays)
    return {"xs": xs, "gs": m.parameters(), **kept, "schedule": fused.schedule(xs[0], 1e-3), "table": table}


def _updated(table: Any, xs: list[Any], gs: list[Any]) -> list[Any]:
    table.set(PARAMETER, xs)
    table.set(GRADIENT, gs)
    return table.allocate(xs)


def _sgd(xs: Any, gs: Any, ms: Any, schedule: Any, table: Any) -> list[Any]:
    out = _updated(table, xs, gs)
    fused.sgd(table, schedule, momentum=0.9)
    return out


def _adam(xs: Any, gs: Any, ms: Any, vs: Any, schedule: Any, table: Any) -> list[Any]:
    out = _updated(table, xs, gs)
    fused.adam(table, schedule)
    return out


def _lamb(xs: Any, gs: Any, ms: Any, vs: Any, schedule: Any, table: Any) -> list[Any]:
    out = _updated(table, xs, gs)
    fused.lamb(table, schedule)
    return out


def _nadam(xs: Any, gs: Any, ms: Any, vs: Any, schedule: Any, table: Any) -> list[Any]:
    out = _updated(table, xs, gs)
    fused.rule(table, schedule, kind="nadam", states=2, a=0.9, b=0.999, eps=1e-8, extra=4e-3)
    return out


def _global_norm(gs: Any, scaling: Any, table: Any) -> None:
    table.set(GRADIENT, gs)
    fused.global_norm([table], scaling, 1.0)


def _clipped(gs: Any, scaling: Any, table: Any) -> list[Any]:
    table.set(GRADIENT, gs)
    return fused.clipped(table, scaling)


def _gradients(m: Make) -> Inputs:
    gs = m.parameters()
    return {"gs": gs, "scaling": fused.scaling(gs[0]), "table": fused.Table(gs)}


def _cell(m: Make, gates: int) -> Inputs:
    """What goes into the gates of a step, and the state: together about one matrix and a half."""
    rows = max(1, m.rows // gates)
    return {"x": m.normal(rows, gates * m.cols), "back": m.normal(rows, gates * m.cols), "h": m.normal(rows, m.cols)}


def _lstm_grad(m: Make) -> Inputs:
    a = _cell(m, 4)
    _, cell, gates = fused.lstm_cell(a["x"], a["back"], a["h"])
    return {"gates": gates, "c": a["h"], "cell": cell, "g": m.normal(*cell.shape), "more": cell + 1}


def _gru_grad(m: Make) -> Inputs:
    a = _cell(m, 3)
    return {"gates": fused.gru_cell(**a)[1], "h": a["h"], "g": m.normal(*a["h"].shape)}


def _update_scale(moving: Any) -> None:
    fused.update_scale(moving, 2.0, 0.5, 2000)


X = lambda m: {"x": m.matrix()}
COPY = Row("copy, device to device", X, lambda x: x.copy(), "x", "out")
ROWS = [
    *[Row(f"activate, {act}", X, _elementwise(fused.activate(act, _refused)), "x", "out") for act in ACTIVATIONS],
    *[
        Row(
            f"activate_grad, {act}",
            lambda m: {"g": m.matrix(), "s": m.matrix()},
            _elementwise(fused.activate_grad(act, _refused)),
            "g s",
            "out",
        )
        for act in ACTIVATIONS
    ],
    *[
        Row(
            f"bias_act, {act}",
            lambda m: {"x": m.matrix(), "bias": m.row()},
            lambda x, bias, act=act: fused.bias_act(x, bias, act),
            "x bias",
            "out",
        )
        for act in ("relu", "gelu", "gelu_tanh", "silu")
    ],
    *[
        Row(
            f"bias_act_grad, {act}",
            lambda m: {"g": m.matrix(), "saved": m.matrix(), "bias": m.row()},
            lambda g, saved, bias, act=act: fused.bias_act_grad(g, saved, bias, act),
            "g saved bias",
            "dx dbias",
            "dx dbias",
        )
        for act in ("relu", "gelu", "gelu_tanh", "silu")
    ],
    Row("column_sums", X, fused.column_sums, "x", "out"),
    Row(
        "weighted_sum",
        lambda m: {f"x{i}": m.matrix() for i in range(fused.MOST)},
        lambda **arrays: fused.weighted_sum([*arrays.values()], [0.5] * fused.MOST),
        " ".join([f"x{i}" for i in range(fused.MOST)]),
        "out",
    ),
    Row("relu_mask", X, fused.relu_mask, "x", "out bits", "out bits"),
    Row("positive_bits", X, fused.positive_bits, "x", "out"),
    Row("relu_mask_grad", _relu_mask_grad, fused.relu_mask_grad, "g bits", "out"),
    Row("softmax", X, fused.softmax, "x", "out"),
    Row("softmax, rows of 256", lambda m: X(m.in_rows(1 / 4)), fused.softmax, "x", "out"),
    Row("log_softmax", X, lambda x: fused.softmax(x, log=True), "x", "out"),
    Row("softmax_grad", _softmax_grad, fused.softmax_grad, "g y", "out"),
    Row("softmax_grad, rows of 256", lambda m: _softmax_grad(m.in_rows(1 / 4)), fused.softmax_grad, "g y", "out"),
    Row(
        "softmax_xent",
        _xent,
        lambda z, labels: fused.softmax_xent(z, labels),
        "z labels",
        "loss lse",
        "loss lse",
    ),
    Row(
        "softmax_xent, rows of 32768",
        lambda m: _xent(m.in_rows(32)),
        lambda z, labels: fused.softmax_xent(z, labels),
        "z labels",
        "loss lse",
        "loss lse",
    ),
    Row(
        "softmax_xent_grad",
        _xent_grad,
        lambda z, labels, g, lse: fused.softmax_xent_grad(g, z, labels, lse),
        "z labels g lse",
        "out",
    ),
    *[
        Row(
            f"norm (layer_norm{rows})",
            lambda m, times=times: _norm(m.in_rows(times)),
            fused.norm,
            "x gamma beta",
            "out mean rstd",
            "out total mean rstd",
        )
        for times, rows in LENGTHS
    ],
    Row(
        "norm (layer_norm with residual)",
        lambda m: {"x": m.matrix(), "residual": m.matrix(), "gamma": m.row(), "beta": m.row()},
        fused.norm,
        "x residual gamma beta",
        "out total mean rstd",
        "out total mean rstd",
    ),
    Row(
        "norm (rms_norm)",
        lambda m: {"x": m.matrix(), "gamma": m.row()},
        lambda x, gamma: fused.norm(x, gamma, center=False),
        "x gamma",
        "out rstd",
        "out total mean rstd",
    ),
    *[
        Row(
            f"norm_grad{rows}",
            lambda m, times=times: _norm_grad(m.in_rows(times)),
            fused.norm_grad,
            "g total mean rstd gamma",
            "dx",
            "dx",
        )
        for times, rows in LENGTHS
    ],
    Row(
        "norm_grad with residual",
        lambda m: {**_norm_grad(m), "more": m.matrix()},
        fused.norm_grad,
        "g total mean rstd gamma more",
        "dx",
        "dx",
    ),
    Row("norm_sums", _norm_sums, fused.norm_sums, "g total mean rstd", "dgamma dbeta", "dgamma dbeta"),
    *[
        Row(  # once for the statistics, once to normalize
            f"batch_norm{of}",
            lambda m, n=n: _batch_norm(m, n),
            fused.batch_norm,
            "x x gamma beta",
            "out mean rstd",
            "out mean rstd",
        )
        for n, of in POSITIONS
    ],
    Row(
        "batch_norm_inference",
        lambda m: {
            "x": m.images(),
            "gamma": m.normal(64),
            "beta": m.normal(64),
            "running_mean": m.normal(64, dtype=wide(m.dtype)),
            "running_var": abs(m.normal(64, dtype=wide(m.dtype))),
        },
        fused.batch_norm_inference,
        "x gamma beta running_mean running_var",
        "out",
    ),
    *[
        Row(
            f"batch_norm_grad{of}",
            lambda m, n=n: _batch_norm_grad(m, n),
            fused.batch_norm_grad,
            "g x g x mean rstd gamma",
            "dx dgamma dbeta",
            "dx dgamma dbeta",
        )
        for n, of in POSITIONS
    ],
    Row("lstm_cell", lambda m: _cell(m, 4), lambda x, back, h: fused.lstm_cell(x, back, h), "x back h",
        "out cell gates", "out cell gates"),
    Row("lstm_cell_grad", _lstm_grad, fused.lstm_cell_grad, "gates c cell g more", "dx dc", "dx dc"),
    Row("gru_cell", lambda m: _cell(m, 3), fused.gru_cell, "x back h", "out gates", "out gates"),
    Row("gru_cell_grad", _gru_grad, fused.gru_cell_grad, "gates h g", "dx dback dh", "dx dback dh"),
    Row("random_bits", X, lambda x: fused.random_bits(device_of(x), x.size, 1, 0), "", "out", partly="x"),
    Row("dropout", X, lambda x: fused.dropout(x, 0.1, 1, 0), "x", "out"),
    Row(
        "dropout with residual",
        lambda m: {"x": m.matrix(), "residual": m.matrix()},
        lambda x, residual: fused.dropout(x, 0.1, 1, 0, residual),
        "x residual",
        "out",
    ),
    Row(  # as much of the table as there is output
        "gather", lambda m: {"table": m.matrix(), "index": m.whole(m.rows, m.rows)}, fused.gather, "index out", "out",
        partly="table",
    ),
    *[
        Row(  # sets the table to zero, then adds
            f"scatter_add{how}",
            lambda m: {"g": m.matrix(), "index": m.whole(m.rows, m.rows)},
            lambda g, index, d=d: fused.scatter_add(g, index, g.shape[0], d),
            "g index out",
            "out out",
            figure=False,
        )
        for d, how in ((False, ""), (True, ", deterministic"))
    ],
    Row(  # long runs of equal indices
        "scatter_add, deterministic, 8 entries",
        lambda m: {"g": m.in_rows(1 / 4).matrix(), "index": m.whole(4 * m.rows, 8)},
        lambda g, index: fused.scatter_add(g, index, 8, True),
        "g index out",
        "out out",
        figure=False,
    ),
    Row(
        "sgd with momentum", lambda m: _step(m, 1), _sgd, "xs gs ms schedule", "outs ms", "outs", partly="table",
    ),
    Row("adam", lambda m: _step(m, 2), _adam, "xs gs ms vs schedule", "outs ms vs", "outs", partly="table"),
    Row("rule, nadam", lambda m: _step(m, 2), _nadam, "xs gs ms vs schedule", "outs ms vs", "outs", partly="table"),
    Row("lamb", lambda m: _step(m, 2), _lamb, "xs gs ms vs schedule", "outs ms vs", "outs", partly="table"),
    Row("global_norm", _gradients, _global_norm, "gs scaling", "scaling", "", partly="table"),
    Row(
        "update_scale",
        lambda m: {"moving": fused.moving(m.matrix(), [65536, 0, 0, 0, 0])},
        _update_scale,
        "moving",
        "moving",
        "",
        figure=False,
    ),
    Row("clipped", _gradients, _clipped, "gs scaling", "outs", "outs", partly="table"),
]  # fmt: skip


def nbytes(a: Any) -> int:
    """Bytes of an array, or of a list of them; 0 of what is no array."""
    return sum(map(nbytes, a)) if isinstance(a, (list, tuple)) else getattr(a, "nbytes", 0)


def outputs(row: Row, result: Any) -> Inputs:
    """What a call gave, by name."""
    names = row.gives.split()
    return dict(zip(names, result if len(names) > 1 else [result], strict=bool(names)))


def moved(row: Row, given: Inputs, result: Any) -> int:
    """The bytes that the kernels of a call read and write."""
    all_of = {**given, **outputs(row, result)}
    return sum([nbytes(all_of[name]) for name in [*row.reads.split(), *row.writes.split()]])


def measure(clock: Clock, device: str, name: str, dtype: str, size: int, cols: int, seconds: float) -> dict[str, float]:
    """{ms, bytes} of a row whose main array has `size` bytes."""
    row = next(r for r in (COPY, *ROWS) if r.name == name)
    given = [row.inputs(Make(device, dtype, size // as_dtype(dtype).itemsize, cols)) for _ in range(SETS)]
    total = moved(row, given[0], row.call(**given[0]))
    return {"ms": device_ms(clock, [lambda a=a: row.call(**a) for a in given], seconds), "bytes": total}


def launch_us(clock: Clock, device: str, name: str, dtype: str, seconds: float) -> float:
    """Microseconds of the host for a call on small arrays."""
    row = next(r for r in (COPY, *ROWS) if r.name == name)
    given = row.inputs(Make(device, dtype, 64 * 64, 64))
    return host_us(clock, lambda: row.call(**given), seconds, launches=4)


def finite(result: Any) -> bool:
    """Whether all numbers that a call gave are finite."""
    arrays = result if isinstance(result, (list, tuple)) else [result]
    floats = [to_host(a).astype(np.float64) for a in arrays if a is not None and a.dtype.kind not in "iu"]
    return all([bool(np.isfinite(a).all()) for a in floats])
