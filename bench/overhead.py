"""What gpugrad itself costs: time per recorded op, small programs, deep chains, import; beside NumPy and the peers.

    python bench/overhead.py [--quick] [--output FOLDER]

Every library runs in a process of its own, several times in turn; the minimum of each figure is kept, because a busy
machine only ever adds time.  Ratios are of minima.  Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import ROOT, machine, publish, table, verdict

PEERS = {"torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX", "autograd": "HIPS autograd"}
DEPTHS = (10_000, 100_000, 200_000)


def best(f: Callable[[], Any], seconds: float) -> float:
    """Microseconds of one call: the minimum over about `seconds` of trying."""
    f()
    f()
    start = time.perf_counter()
    f()
    once = max(time.perf_counter() - start, 1e-7)
    number = max(1, round(0.002 / once))
    lowest, end = float("inf"), time.perf_counter() + seconds
    while True:
        lowest = min(lowest, timeit.timeit(f, number=number) / number)
        if time.perf_counter() > end:
            return lowest * 1e6


def pairwise(statement: str, subjects: dict[str, dict[str, Any]], seconds: float) -> dict[str, float]:
    """Nanoseconds of one statement for several subjects, measured in turn."""
    timers = {k: timeit.Timer(statement, globals=g) for k, g in subjects.items()}
    lowest = dict.fromkeys(timers, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for k, t in timers.items():
            lowest[k] = min(lowest[k], t.timeit(20_000) / 20_000 * 1e9)
    return lowest


def programs() -> dict[str, Any]:
    """The inputs that every library gets."""
    import numpy as np

    rng = np.random.default_rng(0)
    draw = lambda *s: rng.standard_normal(s).astype(np.float32)
    sizes = {"mlp_small": (32, (64, 64, 64, 10)), "mlp_large": (256, (784, 1024, 1024, 10))}
    out: dict[str, Any] = {"chain": (draw(8), draw(8), draw(8))}
    for name, (batch, widths) in sizes.items():
        layers = [(draw(a, b) / np.sqrt(a).astype(np.float32), draw(b) * 0) for a, b in itertools.pairwise(widths)]
        out[name] = (draw(batch, widths[0]), rng.integers(0, 10, batch), layers)
    return out


# ---------------------------------------------------------------------------------------------- one worker a library
def run_gpugrad(t: float) -> dict[str, float]:
    import numpy as np

    import gpugrad as gg
    import gpugrad.tensorflow
    import gpugrad.torch

    p, out = programs(), {}
    a, b = np.ones(4, np.float32), np.ones(4, np.float32)
    ta, tb = gg.tensor(a), gg.tensor(b)
    ra, rb = gg.tensor(a, requires_grad=True), gg.tensor(b, requires_grad=True)
    ns = pairwise(
        "a * b",
        {"numpy": {"a": a, "b": b}, "unrecorded": {"a": ta, "b": tb}, "graph": {"a": ra, "b": rb}},
        3 * t,
    )
    with gg.GradientTape() as tape:
        tape.watch([ra, rb])
        taped = pairwise("a * b", {"numpy": {"a": a, "b": b}, "tape": {"a": ra, "b": rb}}, 2 * t)
    out["op numpy"] = min(ns["numpy"], taped["numpy"])
    out |= {"op unrecorded": ns["unrecorded"], "op graph": ns["graph"], "op tape": taped["tape"]}
    tf, torch = gg.tensorflow, gg.torch
    for how, makers in {
        "": (gg.tensor, tf.constant, torch.tensor),
        " recorded": [lambda v, f=f: gg.autograd.require_grad(f(v)) for f in (gg.tensor, tf.constant, torch.tensor)],
    }.items():
        functions = {"core": gg.multiply, "tensorflow": tf.multiply, "torch": torch.mul}
        subjects = {k: {"f": f, "a": m(a), "b": m(b)} for (k, f), m in zip(functions.items(), makers)}
        out |= {f"door {k}{how}": v for k, v in pairwise("f(a, b)", subjects, 3 * t).items()}

    x0, w0, b0 = p["chain"]
    x, w, c = gg.tensor(x0), gg.Variable(w0), gg.Variable(b0)

    def chain(explain: bool = False) -> Any:
        with gg.GradientTape(explain=explain) as tape:
            tape.watch(x)
            y = x
            for _ in range(200):
                y = gg.tanh(y * w + c)
            loss = gg.sum(y)
        return tape.gradient(loss, [x, w, c])

    xs = [gg.tensor(v, requires_grad=True) for v in (x0, w0, b0)]

    def chain_graph() -> Any:
        x, w, c = xs
        y = x
        for _ in range(200):
            y = gg.tanh(y * w + c)
        return gg.grad(gg.sum(y), xs)

    out["chain"], out["chain backward"] = best(chain, t), best(chain_graph, t)
    out["chain explain"] = best(lambda: chain(explain=True), t)
    for name in ("mlp_small", "mlp_large"):
        x0, y0, layers = p[name]
        model = gg.nn.Sequential()
        for i, (w0, b0) in enumerate(layers):
            layer = gg.nn.Linear(*w0.shape, activation="relu" if i < len(layers) - 1 else None)
            layer.weight.assign(w0)
            layer.bias.assign(b0)
            model.layers.append(layer)
        images, labels, variables = gg.tensor(x0), gg.tensor(y0), model.trainable_variables
        optimizer = gg.optim.SGD(variables, learning_rate=1e-4)

        def step(images=images, labels=labels, model=model, variables=variables, optimizer=optimizer) -> None:
            with gg.GradientTape() as tape:
                loss = gg.nn.cross_entropy(model(images), labels)
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

        def step_graph(images=images, labels=labels, model=model, optimizer=optimizer) -> None:
            optimizer.zero_grad()
            gg.nn.cross_entropy(model(images), labels).backward()
            optimizer.step()

        out[name], out[f"{name} backward"] = best(step, t), best(step_graph, t)

    one = gg.tensor(np.ones(1, np.float32), requires_grad=True)

    def deep(n: int) -> float:
        gc.collect()
        start = time.perf_counter()
        y = one
        for _ in range(n):
            y = y * 1.0
        gg.grad(gg.sum(y), one)
        return (time.perf_counter() - start) / n * 1e6

    deep(DEPTHS[0])
    tries = {n: max(3, DEPTHS[-1] // n // 2) if t > 0.1 else 1 for n in DEPTHS}
    for n in DEPTHS:
        # Python's collector looks at all live objects again and again while a graph grows: shown, and not our time.
        out[f"deep {n} collected"] = min(deep(n) for _ in range(tries[n]))
        gc.disable()
        out[f"deep {n}"] = min(deep(n) for _ in range(tries[n]))
        gc.enable()
    return out


def run_numpy(t: float) -> dict[str, float]:
    import numpy as np

    p, out = programs(), {}
    x0, w0, b0 = p["chain"]

    def chain() -> Any:
        ys = [x0]
        for _ in range(200):
            ys.append(np.tanh(ys[-1] * w0 + b0))
        g, gw, gb = np.ones_like(x0), np.zeros_like(w0), np.zeros_like(b0)
        for i in range(200, 0, -1):
            g = g * (1 - ys[i] * ys[i])
            gb += g
            gw += g * ys[i - 1]
            g = g * w0
        return g, gw, gb

    out["chain"] = best(chain, t)
    for name in ("mlp_small", "mlp_large"):
        x, labels, layers = p[name]
        layers = [(w.copy(), b.copy()) for w, b in layers]
        rows = np.arange(len(labels))

        def step(x=x, labels=labels, layers=layers, rows=rows) -> None:
            hs = [x]
            for i, (w, b) in enumerate(layers):
                h = hs[-1] @ w
                h += b
                if i < len(layers) - 1:
                    np.maximum(h, 0, out=h)
                hs.append(h)
            z = hs[-1]
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            g = p
            g[rows, labels] -= 1
            g /= len(x)
            for i in range(len(layers) - 1, -1, -1):
                w, b = layers[i]
                gw, gb = hs[i].T @ g, g.sum(0)
                if i:
                    g = g @ w.T
                    g *= hs[i] > 0
                w -= 1e-4 * gw
                b -= 1e-4 * gb

        out[name] = best(step, t)
    return out


def run_torch(t: float) -> dict[str, float]:
    import torch

    p, out = programs(), {}
    a, b = (torch.ones(4, requires_grad=True) for _ in range(2))
    out["op graph"] = pairwise("a * b", {"t": {"a": a, "b": b}}, t)["t"]
    out["op unrecorded"] = pairwise("a * b", {"t": {"a": a.detach(), "b": b.detach()}}, t)["t"]
    xs = [torch.tensor(v, requires_grad=True) for v in p["chain"]]

    def chain() -> Any:
        x, w, c = xs
        y = x
        for _ in range(200):
            y = torch.tanh(y * w + c)
        return torch.autograd.grad(y.sum(), xs)

    out["chain"] = best(chain, t)
    for name in ("mlp_small", "mlp_large"):
        x0, y0, layers = p[name]
        modules: list[Any] = []
        for i, (w0, b0) in enumerate(layers):
            layer = torch.nn.Linear(*w0.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(w0.T))
                layer.bias.copy_(torch.tensor(b0))
            modules += [layer, torch.nn.ReLU()] if i < len(layers) - 1 else [layer]
        model = torch.nn.Sequential(*modules)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        images, labels, loss = torch.tensor(x0), torch.tensor(y0), torch.nn.CrossEntropyLoss()

        def step(images=images, labels=labels, model=model, optimizer=optimizer, loss=loss) -> None:
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            optimizer.step()

        out[name] = best(step, t)
    return out


def run_tensorflow(t: float) -> dict[str, float]:
    import tensorflow as tf

    p, out = programs(), {}
    a, b = tf.constant([1.0] * 4), tf.constant([1.0] * 4)
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        out["op tape"] = min(timeit.repeat("a * b", globals={"a": a, "b": b}, number=2000, repeat=5)) / 2000 * 1e9
    x0, w0, b0 = p["chain"]
    x, w, c = tf.constant(x0), tf.Variable(w0), tf.Variable(b0)

    def chain() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(200):
                y = tf.tanh(y * w + c)
            loss = tf.reduce_sum(y)
        return tape.gradient(loss, [x, w, c])

    out["chain"] = best(chain, t)
    for name in ("mlp_small", "mlp_large"):
        x0, y0, layers = p[name]
        params = [tf.Variable(v) for layer in layers for v in layer]
        images, labels = tf.constant(x0), tf.constant(y0)

        def step(images=images, labels=labels, params=params) -> None:
            with tf.GradientTape() as tape:
                h = images
                for i in range(0, len(params), 2):
                    h = h @ params[i] + params[i + 1]
                    h = tf.nn.relu(h) if i < len(params) - 2 else h
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, h))
            for v, g in zip(params, tape.gradient(loss, params)):
                v.assign_sub(1e-4 * g)

        out[name] = best(step, t)
    return out


def run_jax(t: float) -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    p, out = programs(), {}

    def loss(x: Any, w: Any, c: Any) -> Any:
        y = x
        for _ in range(200):
            y = jnp.tanh(y * w + c)
        return y.sum()

    eager = jax.grad(loss, (0, 1, 2))
    jitted = jax.jit(eager)
    xs = tuple(map(jnp.asarray, p["chain"]))
    out["chain"] = best(lambda: jax.block_until_ready(eager(*xs)), min(t, 1.0))
    out["chain jit"] = best(lambda: jax.block_until_ready(jitted(*xs)), t)
    for name in ("mlp_small", "mlp_large"):
        x0, y0, layers = p[name]
        images, labels = jnp.asarray(x0), jnp.asarray(y0)
        params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in layers]

        def objective(params: Any, images=images, labels=labels) -> Any:
            h = images
            for i, (w, b) in enumerate(params):
                h = h @ w + b
                h = jax.nn.relu(h) if i < len(params) - 1 else h
            return -jnp.take_along_axis(jax.nn.log_softmax(h), labels[:, None], 1).mean()

        def update(params: Any, objective=objective) -> Any:
            return jax.tree.map(lambda v, g: v - 1e-4 * g, params, jax.grad(objective)(params))

        jitted = jax.jit(update)
        out[name] = best(lambda f=update, p=params: jax.block_until_ready(f(p)), min(t, 1.0))
        out[f"{name} jit"] = best(lambda f=jitted, p=params: jax.block_until_ready(f(p)), t)
    return out


def run_autograd(t: float) -> dict[str, float]:
    import autograd.numpy as anp
    from autograd import grad

    p, out = programs(), {}

    def loss(xs: Any) -> Any:
        x, w, c = xs
        y = x
        for _ in range(200):
            y = anp.tanh(y * w + c)
        return anp.sum(y)

    gradient = grad(loss)
    out["chain"] = best(lambda: gradient(p["chain"]), t)
    for name in ("mlp_small", "mlp_large"):
        x, labels, layers = p[name]
        rows = anp.arange(len(labels))

        def objective(layers: Any, x=x, labels=labels, rows=rows) -> Any:
            h = x
            for i, (w, b) in enumerate(layers):
                h = anp.dot(h, w) + b
                h = anp.maximum(h, 0) if i < len(layers) - 1 else h
            h = h - anp.max(h, axis=1, keepdims=True)
            return -anp.mean((h - anp.log(anp.sum(anp.exp(h), axis=1, keepdims=True)))[rows, labels])

        g = grad(objective)

        def step(g=g, layers=layers) -> None:
            for (w, b), (gw, gb) in zip(layers, g(layers)):
                w -= 1e-4 * gw
                b -= 1e-4 * gb

        out[name] = best(step, t)
    return out


WORKERS = {
    "gpugrad": run_gpugrad, "numpy": run_numpy, "torch": run_torch, "tensorflow": run_tensorflow, "jax": run_jax,
    "autograd": run_autograd,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- all together
def spawn(args: list[str]) -> str:
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode; a checkout writes it once
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{args}: {done.stderr[-2000:]}")
    return done.stdout


def import_time(statement: str, tries: int) -> float:
    """Milliseconds that a statement takes in a fresh interpreter."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return min(float(spawn(["-c", code])) for _ in range(tries)) * 1e3


def measure(quick: bool) -> dict[str, dict[str, float]]:
    names = [n for n in WORKERS if n in ("gpugrad", "numpy") or (not quick and importlib.util.find_spec(n))]
    results: dict[str, dict[str, float]] = {n: {} for n in names}
    for _ in range(1 if quick else 3):
        for n in names:
            found = json.loads(spawn([__file__, "--worker", n, "--seconds", "0.05" if quick else "1"]).splitlines()[-1])
            for k, v in found.items():
                results[n][k] = min(v, results[n].get(k, float("inf")))
    tries = 2 if quick else 10
    for n in names:
        results[n]["import"] = import_time(f"import {n}", tries if n in ("numpy", "gpugrad") else min(tries, 3))
    return results


def verdicts(r: dict[str, dict[str, float]]) -> list[tuple[str, float, float]]:
    """(figure, reached, limit): reached must not be above."""
    g, numpy, torch = r["gpugrad"], r["numpy"], r.get("torch")
    op = g["op numpy"]
    deep = [g[f"deep {n}"] for n in DEPTHS]
    collected = [g[f"deep {n} collected"] for n in DEPTHS]
    out = [
        ("recorded a*b on the graph / NumPy's", g["op graph"] / op, 3.7),
        ("recorded a*b on a tape / NumPy's", g["op tape"] / op, 3.7),
        ("unrecorded a*b / NumPy's", g["op unrecorded"] / op, 2.1),
        *[
            (
                f"{f}(a, b) / gg.multiply(a, b),{how or ' unrecorded'}",
                g[f"door {k}{how}"] / g[f"door core{how}"],
                1.05,
            )
            for how in ("", " recorded")
            for k, f in (("tensorflow", "tf.multiply"), ("torch", "torch.mul"))
        ],
        ("time per op of a chain, longest / shortest, collector off", max(deep) / min(deep), 1.15),
        ("time per op of a chain, longest / shortest, collector on", max(collected) / min(collected), 1.15),
        ("us that GradientTape(explain=True) adds to an op of the chain", (g["chain explain"] - g["chain"]) / 601, 2.0),
        ("import gpugrad / import numpy", g["import"] / numpy["import"], 2.0),
    ]
    if torch:
        out += [
            ("chain with a tape / PyTorch eager", g["chain"] / torch["chain"], 0.65),
            ("chain with backward / PyTorch eager", g["chain backward"] / torch["chain"], 0.65),
            ("MLP 64-64-64-10 step with a tape / PyTorch eager", g["mlp_small"] / torch["mlp_small"], 0.8),
            ("MLP 64-64-64-10 step with backward / PyTorch eager", g["mlp_small backward"] / torch["mlp_small"], 0.8),
        ]
    return out


def report(r: dict[str, dict[str, float]]) -> str:
    """The tables, as Markdown."""
    title = {"gpugrad": "gpugrad", "numpy": "NumPy by hand", **PEERS}
    names = list(r)
    rows = [
        ("recorded a*b on the graph, ns", "op graph"), ("recorded a*b on a tape, ns", "op tape"),
        ("unrecorded a*b, ns", "op unrecorded"), ("gg.multiply(a, b), ns", "door core"),
        ("tf.multiply(a, b) of gpugrad.tensorflow, ns", "door tensorflow"),
        ("torch.mul(a, b) of gpugrad.torch, ns", "door torch"),
        ("gg.multiply(a, b), recorded, ns", "door core recorded"),
        ("tf.multiply(a, b), recorded, ns", "door tensorflow recorded"),
        ("torch.mul(a, b), recorded, ns", "door torch recorded"), ("chain 200 x (mul, add, tanh), us", "chain"),
        ("the same with backward(), us", "chain backward"), ("the same with explain=True, us", "chain explain"),
        ("the same compiled, us", "chain jit"),
        ("MLP 64-64-64-10 step, us", "mlp_small"), ("the same with backward(), us", "mlp_small backward"),
        ("the same compiled, us", "mlp_small jit"), ("MLP 784-1024-1024-10 step, us", "mlp_large"),
        ("the same with backward(), us", "mlp_large backward"), ("the same compiled, us", "mlp_large jit"),
        *[(f"chain of {n:,} ops, collector off, us an op", f"deep {n}") for n in DEPTHS],
        *[(f"chain of {n:,} ops, collector on, us an op", f"deep {n} collected") for n in DEPTHS],
        ("import, ms", "import"),
    ]  # fmt: skip
    bare = lambda n, key: n == "numpy" and key in ("op graph", "op unrecorded")
    cell = lambda n, key: r["gpugrad"]["op numpy"] if bare(n, key) else r[n].get(key)
    lines = table(["", *[title[n] for n in names]], [(label, *[cell(n, key) for n in names]) for label, key in rows])
    figures = [(label, f"{v:.2f}", str(limit), verdict(v, limit, at_least=False)) for label, v, limit in verdicts(r)]
    return "\n".join([*lines, "", *table(["figure", "reached", "at most", ""], figures)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="gpugrad and NumPy only, a fraction of the time")
    parser.add_argument("--output", type=Path, help="folder for overhead-DATE.md and .json")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=1.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(WORKERS[args.worker](args.seconds)))
        return
    results, about = measure(args.quick), machine("numpy", "tensorflow-cpu", *PEERS, "ml_dtypes", "optree")
    lines = ["Minima; every library in a process of its own.", "", report(results)]
    publish("overhead", "What gpugrad itself costs", about, lines, args.output, results=results)


if __name__ == "__main__":
    main()
