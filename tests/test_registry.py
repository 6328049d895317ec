"""gg.register_gradient: gradients for ops that have none."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import rule


@pytest.fixture(autouse=True)
def empty_registry():
    before = dict(rule.registered)
    yield
    rule.registered.clear()
    rule.registered.update(before)


cube = gg.op(lambda xp, x: x**3, name="Cube", args=["x"])
scaled = gg.op(lambda xp, x, y: x * y, name="Scaled", args=["x", "y"])
three = gg.op(lambda xp, x, y, z: x * y + z, name="Three", args=["x", "y", "z"])


def test_a_gradient_of_every_order():
    x = gg.tensor(2.0, requires_grad=True)
    with pytest.raises(LookupError, match="no entry for: Cube. It has no rule for its argument 'x'"):
        gg.grad(cube(x), x)
    gg.register_gradient("Cube", lambda op, g: g * 3.0 * op.inputs[0] ** 2)
    (first,) = gg.grad(cube(x), x, create_graph=True)
    (second,) = gg.grad(first, x, create_graph=True)
    assert [float(t) for t in (first, second, *gg.grad(second, x))] == [12, 12, 6]


def test_one_call_for_all_inputs():
    calls = []

    def back(op, g):
        calls.append(op.type)
        x, y, _ = op.inputs
        return g * y, g * x, None

    gg.register_gradient("Three", back)
    x, y, z = (gg.tensor(v, requires_grad=True) for v in (2.0, 3.0, 4.0))
    three(x, y, z).backward()
    assert calls == ["Three"] and (float(x.grad), float(y.grad), z.grad) == (3, 2, None)
    three(x, 5.0, 1.0).backward()
    assert float(x.grad) == 8


def test_complex_gradients_are_conjugated():
    gg.register_gradient("Cube", lambda op, g: g * gg.conj(3 * op.inputs[0] ** 2))
    z = gg.tensor(np.array(1 + 2j), requires_grad=True)
    same = gg.grad(z**3, z, gg.tensor(np.array(2 - 1j)))[0]
    assert complex(gg.grad(cube(z), z, gg.tensor(np.array(2 - 1j)))[0]) == pytest.approx(complex(same))


def test_no_gradient_and_twice():
    gg.register_gradient("Scaled", None)
    x = gg.tensor(2.0, requires_grad=True)
    assert gg.grad(scaled(x, 3.0), x, allow_unused=True) == (None,)
    with pytest.raises(KeyError, match="two gradient with name 'Scaled'! .Previous registration was in no_gradient"):
        gg.register_gradient("Scaled", lambda op, g: g)
    gg.register_gradient("Cube", lambda op, g: (g, g))
    with pytest.raises(ValueError, match="Num gradients 2 generated for op Cube do not match num inputs 1"):
        gg.grad(cube(x), x)


def test_what_is_not_between_is_not_asked_for():
    x = gg.tensor(2.0, requires_grad=True)
    with gg.GradientTape() as tape:
        y = cube(x)
    assert float(tape.gradient(y, y)) == 1


def test_an_op_with_some_rules_keeps_its_own():
    half = gg.op(lambda xp, x, y: x * y, name="Half", x=lambda g, y: g * y)
    gg.register_gradient("Half", lambda op, g: (g * 100.0, g * 100.0))
    x, y = gg.tensor(2.0, requires_grad=True), gg.tensor(3.0, requires_grad=True)
    assert float(gg.grad(half(x, 3.0), x)[0]) == 3
    with pytest.raises(LookupError, match="no entry for: Half"):
        gg.grad(half(x, y), y)
