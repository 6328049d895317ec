"""Random programs over the op table, of both orders: checkpointed, and with packed values, they are what they were."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from test_table_programs import Ours, programs, run

import gpugrad as gg

pytestmark = pytest.mark.devices


class Steps(Ours):
    """Each step a checkpoint."""

    call = staticmethod(lambda row, xs: gg.checkpoint(row.f)(*xs))


class Nested(Ours):
    """A checkpoint of checkpoints, which reads its inputs without being given them."""

    call = staticmethod(lambda row, xs: gg.checkpoint(lambda: gg.checkpoint(row.f)(*xs))())


WAYS = {
    "plain": lambda p, ts: run(p, ts, Ours),
    "whole": lambda p, ts: gg.checkpoint(lambda ts: run(p, ts, Ours))(ts),
    "steps": lambda p, ts: run(p, ts, Steps),
    "nested": lambda p, ts: run(p, ts, Nested),
    "packed": lambda p, ts: packed(p, ts),
}


def packed(p, ts):
    with gg.save_on_cpu(min_size=1):
        return run(p, ts, Ours)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(program=programs, seed=st.integers(0, 2**16))
def test_gradients_of_both_orders(program, seed):
    rng = np.random.default_rng(seed)
    ts = [gg.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 4), (5,))]
    found = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, way in WAYS.items():
            with gg.GradientTape() as outer:
                outer.watch(ts)
                with gg.GradientTape() as tape:
                    tape.watch(ts)
                    y = way(program, ts)
                first = tape.gradient(y, ts, unconnected_gradients="zero")
                square = sum([gg.sum(g * g) for g in first])
            second = outer.gradient(square, ts, unconnected_gradients="zero")
            graph = gg.grad(way(program, ts), ts, create_graph=True, materialize_grads=True)
            square = sum([gg.sum(g * g) for g in graph])
            again = gg.grad(square, ts, materialize_grads=True) if square.requires_grad else second
            found[name] = [y, *first, *graph, *second, *again]
    for name, values in found.items():
        for i, (a, b) in enumerate(zip(values, found["plain"], strict=True)):
            scale = max(1.0, float(np.nan_to_num(np.abs(b.numpy())).max()))
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9 * scale, err_msg=f"{name} {i}")
