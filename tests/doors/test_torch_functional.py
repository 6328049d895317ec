"""torch.autograd.functional against PyTorch's."""

import numpy as np
import pytest


@pytest.fixture
def F(torch):
    return torch.autograd.functional


def values(t):
    return np.asarray(t.detach()).tolist()


def test_jacobians(torch, F):
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0, 5.0])
    assert values(F.jacobian(lambda v: v * v, x)) == [[2, 0], [0, 4]]
    by_x, by_y = F.jacobian(lambda a, b: a.sum() * b, (x, y))
    assert values(by_x) == [[3, 3], [4, 4], [5, 5]] and values(by_y) == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    (a, b), (c, d) = F.jacobian(lambda a, b: (a * 2, b.sum()), (x, y))
    assert (
        values(a) == [[2, 0], [0, 2]]
        and values(b) == [[0, 0, 0]] * 2
        and values(c) == [0, 0]
        and values(d) == [1, 1, 1]
    )
    m = torch.ones(2, 2)
    assert F.jacobian(lambda v: v @ m, torch.ones(3, 2)).shape == (3, 2, 3, 2)
    assert values(F.jacobian(lambda v: v.sum() ** 2, x)) == [6, 6]


def test_jacobians_can_be_differentiated(torch, F):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    j = F.jacobian(lambda v: v**3, x, create_graph=True)
    j.sum().backward()
    assert values(x.grad) == [6, 12]
    assert not F.jacobian(lambda v: v**3, x).requires_grad


def test_hessians_and_products(torch, F):
    x, v = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0])
    f = lambda a: (a**3).sum() + a[0] * a[1]
    assert values(F.hessian(f, x)) == [[6, 1], [1, 12]]
    for product in (F.hvp, F.vhp):
        value, found = product(f, x, v)
        assert float(value) == 11 and values(found) == [16, 121]
    (aa, ab), (ba, bb) = F.hessian(lambda a, b: (a * a * b).sum(), (x, x))
    assert (
        values(aa) == [[2, 0], [0, 4]]
        and values(ab) == values(ba) == [[2, 0], [0, 4]]
        and values(bb) == [[0, 0], [0, 0]]
    )
    out, found = F.vjp(lambda a: a * a, x, v)
    assert values(out) == [1, 4] and values(found) == [2, 40]
    out, found = F.jvp(lambda a: a * a[0], x, v)
    assert values(out) == [1, 2] and values(found) == [2, 12]
    with pytest.raises(RuntimeError):
        F.vjp(lambda a: a * a, x)
    with pytest.raises(RuntimeError):
        F.hessian(lambda a: a * a, x)
    with pytest.raises(RuntimeError):
        F.vjp(lambda a: a * a, x, torch.ones(3))
