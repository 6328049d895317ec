"""What the examples share: the same options, and pictures without a screen."""

import argparse
from pathlib import Path

import gpugrad as gg


def options(arguments, doc, short):
    """The command line of an example (`arguments`, or what it was started with), its seed and device already set."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: the GPU if there is one)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--short", action="store_true", help=short)
    parser.add_argument("--output", type=Path, metavar="PNG", help="write a picture (needs matplotlib)")
    given = parser.parse_args(arguments)
    if given.device is not None:
        gg.set_default_device(given.device)
    gg.random.seed(given.seed)
    return given


def figure(width, height, *shape, **subplots):
    """An empty figure and its axes, for `figure.savefig(path)`."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots(*shape, **subplots)
