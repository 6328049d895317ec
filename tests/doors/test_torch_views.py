"""Views and their owners, changed in place in any order: against PyTorch's gradients."""

import numpy as np
import pytest


def gradient(torch, program, start=((1.0, 2.0), (3.0, 4.0))):
    x = torch.tensor(start, requires_grad=True)
    y = x * 1.0
    out = program(y)
    (out.sum() + y.sum() * 0.0).backward()
    return np.asarray(x.grad).tolist()


BEFORE = {  # a view taken, then its owner changed
    "view": (lambda y: y.view(4), [[2, 2], [2, 2]]),
    "slice": (lambda y: y[:1], [[2, 2], [0, 0]]),
    "slice of a slice": (lambda y: y[:1][0], [[2, 2], [0, 0]]),
    "T": (lambda y: y.T, [[2, 2], [2, 2]]),
    "transpose, view": (lambda y: y.transpose(0, 1).unsqueeze(0), [[2, 2], [2, 2]]),
    "permute": (lambda y: y.permute(1, 0)[0], [[2, 0], [2, 0]]),
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_view_sees_a_change_of_its_owner(torch, name):
    take, wanted = BEFORE[name]

    def program(y):
        v = take(y)
        y.mul_(2.0)
        return v

    assert gradient(torch, program) == wanted


def test_views_see_changes_of_each_other(torch):
    def program(y):
        a, b, c = y[0], y.view(4), y[0][:1]
        a.mul_(3.0)
        b[3] = 0.0
        return b + b + c.sum() * 0.0

    assert gradient(torch, program) == [[6, 6], [2, 0]]


def test_values_and_gradients_agree_after_many_changes(torch):
    rng = np.random.default_rng(0)
    views_of = lambda y, pair: [y, y.reshape(2, 2), y[1:], pair(y.reshape(2, 2))]
    for _ in range(20):
        x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
        views = views_of(x * 1.0, lambda m: m.t())
        mirror, scale = np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)
        mirrors, scales = views_of(mirror, lambda m: m.T), views_of(scale, lambda m: m.T)
        for which, factor in zip(rng.integers(0, 4, 6).tolist(), rng.integers(1, 4, 6).tolist()):
            views[which].mul_(float(factor))
            mirrors[which][...] *= factor
            scales[which][...] *= factor
        for i, v in enumerate(views):
            (g,) = torch.autograd.grad(v.sum(), x, retain_graph=True)
            assert np.asarray(g).tolist() == [0.0 if i == 2 and j == 0 else scale[j] for j in range(4)]
            assert np.asarray(v.detach()).tolist() == mirrors[i].tolist()


def test_what_cannot_be_recorded_is_refused(torch):
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    y = x * 1.0
    with pytest.raises(
        RuntimeError, match="more than one element of the written-to tensor refers to a single memory location"
    ):
        y.expand(2, 2).mul_(2.0)
    a, _ = torch.split(y, 1, 1)
    with pytest.raises(RuntimeError):
        a.mul_(2.0)
        y.sum().backward()


def test_what_a_convolution_made_has_views(torch):
    """However its elements lie in memory."""
    x, w = torch.ones(1, 16, 2, 2), torch.ones(32, 16, 1, 1, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w)
    y.view(-1).add_(1.0)
    v = y.flatten(1)
    v.mul_(2.0)
    assert y.detach().tolist() == [[[[34.0, 34.0]] * 2] * 32] and v.detach().tolist() == [[34.0] * 128]
    y.sum().backward()
    assert w.grad.reshape(-1).tolist() == [8.0] * 512


def test_a_copy_is_no_view(torch):
    """Of a transpose, whose elements reshape has to copy."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = (x * 1.0).t()
    v = y.reshape(4)
    v.mul_(5.0)
    y.sum().backward()
    assert y.tolist() == [[1, 3], [2, 4]] and x.grad.tolist() == [[1, 1], [1, 1]]


def test_views_of_what_a_convolution_made_share_its_memory(torch):
    """However the ops around it have their elements in memory: what is changed through one is changed for all."""
    f = torch.nn.functional
    x, w = torch.ones(2, 30, 4, 4, requires_grad=True), torch.ones(36, 30, 3, 3, requires_grad=True)

    def made():
        y = f.conv2d(x, w, padding=1)
        return [y, f.relu(y), f.max_pool2d(y, 2), f.conv_transpose2d(x, torch.ones(30, 20, 2, 2), stride=2)]

    for i in range(4):
        y = made()[i].detach()
        one, other, turned = y[0], y.unsqueeze(0), y.permute(0, 2, 3, 1)
        y.view(-1)[:] = 0.0
        assert float((y * y).sum()) == 0 == float(one.sum()) == float(other.sum()) == float(turned.sum())
        alias = y.detach()
        y.flatten(1).add_(1.0)
        alias.mul_(3.0)
        assert float(y.sum()) == 3 * y.numel()
    y = made()[0]
    q = y * y
    y.view(-1)[:40] = 7.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        q.sum().backward()
    made()[0].sum().backward()
    g = x.grad
    assert float(g[0].sum()) > 0
    g.view(2, -1).mul_(0.0)
    assert float(x.grad.abs().sum()) == 0
    (g,) = torch.autograd.grad(made()[0].sum(), x)
    g.view(-1).zero_()
    assert float(g.abs().sum()) == 0
