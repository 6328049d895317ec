"""The speed guard: how many calls an op costs, counted, not timed."""

import sys
from collections import Counter

import numpy as np
import pytest

import gpugrad as gg


def calls(f, *args):
    """How many Python and C functions f calls, itself left out."""
    counted = Counter()
    profile = lambda frame, event, arg: counted.update([event])
    for _ in range(3):  # caches filled
        f(*args)
    sys.setprofile(profile)
    try:
        f(*args)
    finally:
        sys.setprofile(None)
    return counted["call"] - 1, counted["c_call"] - 1


PLAIN = [gg.tensor(np.ones(4, np.float32)) for _ in range(2)]
LEAVES = [gg.tensor(np.ones(4, np.float32), requires_grad=True) for _ in range(2)]


@pytest.mark.parametrize(
    "f, args, python, c",
    [
        (lambda a, b: a * b, PLAIN, 1, 2),
        (lambda a, b: a * b, LEAVES, 1, 3),
        (lambda a, b: a + b, LEAVES, 1, 3),
        (lambda a, b: gg.tanh(a), PLAIN, 2, 1),
        (lambda a, b: gg.tanh(a), LEAVES, 2, 2),
        (lambda a, b: gg.sum(a), LEAVES, 3, 3),
    ],
    ids=["multiply", "recorded multiply", "recorded add", "tanh", "recorded tanh", "recorded sum"],
)
def test_on_the_graph(f, args, python, c):
    got = calls(f, *args)
    assert got[0] <= python and got[1] <= c, got


def test_on_a_tape():
    with gg.GradientTape() as tape:
        tape.watch(LEAVES)
        got = calls(lambda a, b: a * b, *LEAVES)
    assert got[0] <= 1 and got[1] <= 5, got
