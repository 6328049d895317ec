"""Learning-rate schedules by name: how each is made, with PyTorch's module or gpugrad's, and driven for 60 steps.

`python tests/lr_cases.py`, where PyTorch is installed, writes what it answers to lr_results.json.
"""

import json
from pathlib import Path

STEPS = 60
RESULTS = Path(__file__).with_name("lr_results.json")


def wave(t):
    return 1 / (1 + 0.1 * t)


def double(t):
    return 0.97 if t % 2 else 1.01


CASES = {
    "step": lambda s, o: s.StepLR(o, 7, 0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [30, 5, 11, 11], 0.3),
    "constant": lambda s, o: s.ConstantLR(o, 0.25, 9),
    "linear": lambda s, o: s.LinearLR(o, 0.01, 1.0, 12),
    "linear down": lambda s, o: s.LinearLR(o, 1.0, 0.0, 50),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.93),
    "polynomial": lambda s, o: s.PolynomialLR(o, 40, 0.9),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 20, 1e-3),
    "cosine to 0": lambda s, o: s.CosineAnnealingLR(o, 59),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 1e-4),
    "equal restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 9),
    "one cycle": lambda s, o: s.OneCycleLR(o, [0.3, 0.6], total_steps=STEPS),
    "one cycle linear": lambda s, o: s.OneCycleLR(
        o, 0.4, epochs=6, steps_per_epoch=10, anneal_strategy="linear", three_phase=True, pct_start=0.2
    ),
    "lambda": lambda s, o: s.LambdaLR(o, wave),
    "lambdas": lambda s, o: s.LambdaLR(o, [wave, lambda t: 0.5**t]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, double),
    "warmup, cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 40), s.ConstantLR(o, 0.5, 4)], [5, 45]
    ),
    "sequence": lambda s, o: s.SequentialLR(
        o, [s.MultiplicativeLR(o, double), s.CosineAnnealingWarmRestarts(o, 6), s.PolynomialLR(o, 20)], [8, 30]
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 6), s.ExponentialLR(o, 0.9), s.StepLR(o, 10)]),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=2, factor=0.5, min_lr=[1e-3, 0.1]),
    "plateau up": lambda s, o: s.ReduceLROnPlateau(
        o, "max", patience=1, factor=0.7, threshold=0.2, threshold_mode="abs", cooldown=4
    ),
    "plateau up rel": lambda s, o: s.ReduceLROnPlateau(o, "max", patience=1, factor=0.7, threshold=0.2),
    "plateau down abs": lambda s, o: s.ReduceLROnPlateau(o, patience=3, threshold=0.1, threshold_mode="abs"),
}


def measures(t):
    """A loss that falls, stops and jumps."""
    return max(3.0 - 0.2 * t, 1.0) + (0.35 if t % 9 == 4 else 0.0) - (0.5 if t > 40 else 0.0)


def driven(schedule, optimizer, change_at=None):
    """The rates, and the momenta, of all groups: at first, and after each step; halved by hand before `change_at`."""
    seen = lambda: [[g["lr"], g["betas"][0]] for g in optimizer.param_groups]
    found = [seen()]
    for t in range(STEPS):
        optimizer.step()
        if t == change_at:
            for g in optimizer.param_groups:
                g["lr"] *= 0.5
        if type(schedule).__name__ == "ReduceLROnPlateau":
            schedule.step(measures(t))
        else:
            schedule.step()
        found.append(seen())
    return found


if __name__ == "__main__":
    import torch

    def optimizer():
        ps = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
        return torch.optim.Adam([{"params": ps[:1], "lr": 0.1}, {"params": ps[1:]}], lr=0.5)

    out = {}
    for name, make in CASES.items():
        for change_at in (None, 17):
            o = optimizer()
            out[f"{name}, {change_at}"] = driven(make(torch.optim.lr_scheduler, o), o, change_at)
    RESULTS.write_text(json.dumps(out, separators=(",", ":")).replace('],"', '],\n"') + "\n")
