"""Fifty steps of each of PyTorch's optimizers: `python tests/peer_optimizers.py`, where it is installed, writes them.

`optimizer_results.json` has where the variables end, in float64, for each row.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).with_name("optimizer_results.json")
SHAPES = [(2, 3), (2,), ()]
STEPS = 50
ROWS = {
    "SGD": [
        {"lr": 0.1}, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True, "weight_decay": 0.1},
    ],
    "Adam": [
        {"lr": 0.05}, {"lr": 0.05, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.1},
        {"lr": 0.05, "amsgrad": True, "betas": (0.8, 0.7)}, {"lr": 0.05, "amsgrad": True, "maximize": True},
    ],
    "AdamW": [{"lr": 0.05}, {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "maximize": True}],
    "NAdam": [
        {"lr": 0.05}, {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.1, "eps": 1e-3},
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True, "betas": (0.5, 0.6)},
    ],
    "RAdam": [
        {"lr": 0.05}, {"lr": 0.05, "weight_decay": 0.1, "betas": (0.5, 0.7), "eps": 1e-3},
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True, "betas": (0.5, 0.99)},
    ],
    "RMSprop": [
        {"lr": 0.05}, {"lr": 0.05, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1},
        {"lr": 0.05, "momentum": 0.5, "centered": True, "maximize": True},
    ],
    "Adagrad": [
        {"lr": 0.1}, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
        {"lr": 0.1, "maximize": True},
    ],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.5, "eps": 1e-2, "weight_decay": 0.1}, {"maximize": True}],
    "Adamax": [{"lr": 0.05}, {"lr": 0.05, "betas": (0.5, 0.6), "eps": 1e-2, "weight_decay": 0.1, "maximize": True}],
    "LBFGS": [
        {"lr": 0.3, "max_iter": 3}, {"lr": 1.0, "max_iter": 4, "history_size": 2, "line_search_fn": "strong_wolfe"},
        {"lr": 1.0, "line_search_fn": "strong_wolfe", "tolerance_grad": 1e-3, "tolerance_change": 1e-4},
    ],
}  # fmt: skip


def starts():
    """Where the variables begin."""
    return [np.sin(np.arange(1.0, 1 + np.prod(s)) * (i + 1)).reshape(s) for i, s in enumerate(SHAPES)]


def gradients(step, xs):
    """A bowl that wobbles from step to step."""
    return [0.5 * x + np.cos(0.37 * step * (i + 1) + np.arange(x.size)).reshape(x.shape) for i, x in enumerate(xs)]


def valley(xs):
    """Rosenbrock's valley through all numbers, from 1 to the next, of any library's arrays."""
    flat = [x for v in xs for x in v.reshape(-1)]
    return sum((1 - a) ** 2 + 5 * (b - a * a) ** 2 for a, b in pairwise(flat))


def main():
    import torch

    found = {}
    for name, rows in ROWS.items():
        for i, options in enumerate(rows):
            vs = [torch.nn.Parameter(torch.tensor(x)) for x in starts()]
            optimizer = getattr(torch.optim, name)(vs, **options)

            def closure(vs=vs, optimizer=optimizer):
                optimizer.zero_grad()
                loss = valley(vs)
                loss.backward()
                return loss

            for step in range(4 if name == "LBFGS" else STEPS):
                if name == "LBFGS":
                    optimizer.step(closure)
                    continue
                for v, g in zip(vs, gradients(step, [v.detach().numpy() for v in vs])):
                    v.grad = torch.tensor(g)
                optimizer.step()
            found[f"{name} {i}"] = [v.detach().numpy().ravel().tolist() for v in vs]
            if i == len(rows) - 1 and name != "LBFGS":
                state = optimizer.state_dict()["state"]
                entries = {k: {n: torch.as_tensor(a).tolist() for n, a in s.items()} for k, s in state.items()}
                found[f"{name} state"] = entries
    RESULTS.write_text(
        json.dumps({"torch": torch.__version__, "ends": found}, indent=None, separators=(",", ":")) + "\n"
    )


if __name__ == "__main__":
    main()
