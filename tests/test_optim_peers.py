"""Optimizers beside PyTorch's committed results, and beside their papers written in NumPy."""

import json

import numpy as np
import pytest
from peer_optimizers import RESULTS, ROWS, SHAPES, STEPS, gradients, starts, valley

import gpugrad as gg
from gpugrad.testing import assert_close

pytestmark = pytest.mark.devices
ENDS = json.loads(RESULTS.read_text())["ends"]
LOOSE = {"NAdam": 1e-6}  # PyTorch's product of momenta is a float32
CASES = [(name, i) for name, rows in ROWS.items() for i in range(len(rows))]


def made(name, i, vs):
    options = dict(ROWS[name][i])
    if "lr" in options:
        options["learning_rate"] = options.pop("lr")
    return getattr(gg.optim, name)(vs, **options)


def variables(dtype="float64"):
    return [gg.Variable(x, dtype=dtype) for x in starts()]


def walk(optimizer, vs, steps=range(STEPS)):
    for step in steps:
        gs = gradients(step, [v.numpy().astype("float64") for v in vs])
        optimizer.apply_gradients([(gg.tensor(g, dtype=v.dtype), v) for g, v in zip(gs, vs)])


@pytest.mark.parametrize("name, i", [c for c in CASES if c[0] != "LBFGS"])
def test_fifty_steps_end_where_pytorch_ends(name, i):
    vs = variables()
    optimizer = made(name, i, vs)
    walk(optimizer, vs)
    off = LOOSE.get(name, 1e-9)
    for v, end, shape in zip(vs, ENDS[f"{name} {i}"], SHAPES):
        np.testing.assert_allclose(v.numpy(), np.reshape(end, shape), rtol=off, atol=off / 100)
    if i == len(ROWS[name]) - 1:  # the state, too, under PyTorch's names
        state = optimizer.state_dict()["state"]
        for k, entries in ENDS[f"{name} state"].items():
            assert set(state[int(k)]) == set(entries)
            for n, a in entries.items():
                found = state[int(k)][n]
                found = found.numpy() if isinstance(found, gg.Tensor) else found
                np.testing.assert_allclose(found, a, rtol=off, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "LBFGS"])
def test_a_state_of_pytorchs_goes_on_here(name):
    """Half way by another optimizer whose saved state is plain NumPy, as a converted one is."""
    i = len(ROWS[name]) - 1
    vs = variables()
    first = made(name, i, vs)
    walk(first, vs, range(STEPS // 2))
    saved = first.state_dict()
    saved["state"] = {
        k: {n: a.numpy() if isinstance(a, gg.Tensor) else np.float32(a) for n, a in s.items()}
        for k, s in saved["state"].items()
    }
    ws = [gg.Variable(v.numpy().copy(), dtype="float64") for v in vs]
    second = made(name, i, ws)
    second.load_state_dict(saved)
    walk(second, ws, range(STEPS // 2, STEPS))
    tolerance = LOOSE.get(name, 1e-9)
    for v, end, shape in zip(ws, ENDS[f"{name} {i}"], SHAPES):
        np.testing.assert_allclose(v.numpy(), np.reshape(end, shape), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("how", ["backward", "tape"])
@pytest.mark.parametrize("i", range(len(ROWS["LBFGS"])))
def test_lbfgs_ends_where_pytorchs_ends(i, how):
    vs = [gg.nn.Parameter(x, dtype="float64") for x in starts()]
    optimizer = made("LBFGS", i, vs)

    def loss():
        flat = gg.concat([v.reshape(-1) for v in vs], axis=0)
        a, b = flat[:-1], flat[1:]
        return gg.sum((1 - a) ** 2 + 5 * (b - a * a) ** 2)

    def closure():
        if how == "tape":
            with gg.GradientTape() as tape:
                y = loss()
            return y, tape.gradient(y, vs)
        optimizer.zero_grad()
        y = loss()
        y.backward()
        return y

    assert_close(loss(), valley(starts()), atol=1e-12)
    for _ in range(4):
        optimizer.step(closure)
    for v, end, shape in zip(vs, ENDS[f"LBFGS {i}"], SHAPES):
        np.testing.assert_allclose(v.numpy(), np.reshape(end, shape), rtol=1e-6, atol=1e-8)


def lion(x, g, s, o):
    b1, b2 = o["betas"]
    m = s.get("m", 0 * x)
    s["m"] = b2 * m + (1 - b2) * g
    return x - o["lr"] * (np.sign(b1 * m + (1 - b1) * g) + o["weight_decay"] * x)


def lamb(x, g, s, o):
    (b1, b2), t = o["betas"], s.get("t", 0) + 1
    m, v = b1 * s.get("m", 0) + (1 - b1) * g, b2 * s.get("v", 0) + (1 - b2) * g * g
    s.update(t=t, m=m, v=v)
    r = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + o["eps"]) + o["weight_decay"] * x
    ours, theirs = np.linalg.norm(x), np.linalg.norm(r)
    return x - o["lr"] * (ours / theirs if ours > 0 and theirs > 0 else 1) * r


def muon(x, g, s, o):
    if x.ndim != 2:
        (b1, b2), t = o["betas"], s.get("t", 0) + 1
        m, v = b1 * s.get("m", 0) + (1 - b1) * g, b2 * s.get("v", 0) + (1 - b2) * g * g
        s.update(t=t, m=m, v=v)
        x = x * (1 - o["lr"] * o["weight_decay"])
        return x - o["lr"] * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + o["eps"])
    m = s["m"] = o["momentum"] * s.get("m", 0) + (1 - o["momentum"]) * g
    u = (1 - o["momentum"]) * g + o["momentum"] * m if o["nesterov"] else m
    u, a, b, c = u / np.linalg.norm(u), *o["ns_coefficients"]
    left, values, right = np.linalg.svd(u, full_matrices=False)
    for _ in range(o["ns_steps"]):
        values = a * values + b * values**3 + c * values**5
    rows, cols = x.shape
    size = 0.2 * np.sqrt(max(rows, cols)) if o["adjust_lr_fn"] == "match_rms_adamw" else np.sqrt(max(1, rows / cols))
    return x * (1 - o["lr"] * o["weight_decay"]) - o["lr"] * size * (left * values) @ right


PAPERS = {
    "Lion": (lion, [{}, {"learning_rate": 0.01, "weight_decay": 0.3, "betas": (0.8, 0.7), "maximize": True}]),
    "LAMB": (lamb, [{"maximize": True}, {"learning_rate": 0.1, "weight_decay": 0.3, "betas": (0.8, 0.7), "eps": 1e-3}]),
    "Muon": (muon, [{}, {"learning_rate": 0.1, "nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}]),
}  # fmt: skip


@pytest.mark.parametrize("name, i", [(name, i) for name, (_, rows) in PAPERS.items() for i in range(len(rows))])
def test_optimizers_do_what_their_papers_say(name, i):
    reference, rows = PAPERS[name]
    vs, xs, states = variables(), starts(), [{} for _ in SHAPES]
    optimizer = getattr(gg.optim, name)(vs, **rows[i])
    group = optimizer.param_groups[0]
    for step in range(STEPS):
        gs = gradients(step, xs)
        optimizer.apply_gradients([(gg.tensor(g, dtype="float64"), v) for g, v in zip(gs, vs)])
        sign = -1 if group.get("maximize") else 1
        xs = [reference(x, sign * g, s, group) for x, g, s in zip(xs, gs, states)]
    for v, x in zip(vs, xs):
        np.testing.assert_allclose(v.numpy(), x, rtol=1e-9, atol=1e-11)
