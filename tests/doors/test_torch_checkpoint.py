"""torch.utils.checkpoint: against PyTorch's."""

import contextlib

import numpy as np
import pytest


@pytest.fixture
def ck(library):
    return library("torch.utils.checkpoint")


def values(t):
    return np.asarray(t.detach()).tolist()


def test_keywords_contexts_and_what_f_reads(torch, ck):
    x, w = (torch.tensor(v, requires_grad=True) for v in ([0.5, 1.0], [2.0, 3.0]))
    log = []

    @contextlib.contextmanager
    def context(name):
        log.append(name)
        yield

    def total(call):
        h = x.exp()
        out = call(lambda a, scale: {"y": torch.tanh(a * h) * scale, "a": a}, torch.sin(x), scale=w)
        return (out["y"] * out["a"]).sum()

    plain = torch.autograd.grad(total(lambda f, *args, **kw: f(*args, **kw)), [x, w])
    for extra in ({}, {"context_fn": lambda: (context("first"), context("again"))}, {"determinism_check": "none"}):
        call = lambda f, *args, extra=extra, **kw: ck.checkpoint(f, *args, use_reentrant=False, **extra, **kw)
        for a, b in zip(torch.autograd.grad(total(call), [x, w]), plain):
            assert values(a) == pytest.approx(values(b), rel=1e-5)
    assert log == ["first", "again"]
    (g,) = torch.autograd.grad(ck.checkpoint(lambda x: (x**3).sum(), x, use_reentrant=False), x, create_graph=True)
    assert values(torch.autograd.grad(g.sum(), x)[0]) == pytest.approx([3.0, 6.0])


def test_what_it_refuses(torch, ck):
    x = torch.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: scale"):
        ck.checkpoint(lambda x, scale: x, x, use_reentrant=True, scale=2)
    with pytest.raises(ValueError, match="`context_fn` or `debug` is only supported"):
        ck.checkpoint(lambda x: x * 1, x, use_reentrant=True, debug=True)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        y = ck.checkpoint(lambda x: x * 1, x, use_reentrant=False, determinism_check="all")
        y.backward()
    with pytest.warns(UserWarning, match="the use_reentrant parameter should be passed explicitly"):
        ck.checkpoint(lambda x: x * 2, x).sum().backward()
    assert values(x.grad) == [2.0]


def test_dropout_has_its_mask_again(torch, ck):
    torch.manual_seed(0)
    x = torch.ones(100, requires_grad=True)
    drop = torch.nn.Dropout(0.5)
    y = ck.checkpoint(drop, x, use_reentrant=False)
    torch.rand(3)
    y.sum().backward()
    assert values(x.grad) == values(y)


def test_sequential(torch, ck):
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(*[m for _ in range(5) for m in (nn.Linear(3, 3), nn.Tanh())])
    x = torch.ones(2, 3, requires_grad=True)
    net(x).sum().backward()
    plain = [values(p.grad) for p in [x, *net.parameters()]]
    for segments in (1, 2, 3, 10):
        for functions in (net, list(net.children())):
            for p in [x, *net.parameters()]:
                p.grad = None
            ck.checkpoint_sequential(functions, segments, x, use_reentrant=False).sum().backward()
            for p, g in zip([x, *net.parameters()], plain):
                assert np.ravel(values(p.grad)) == pytest.approx(np.ravel(g), rel=1e-5, abs=1e-7)
    with pytest.raises(ValueError, match=r"must not be zero|10 functions make 1 to 10 segments, not 11"):
        ck.checkpoint_sequential(net, 11, x, use_reentrant=False)


def test_another_answer_the_second_time(torch, ck):
    x = torch.ones(3, requires_grad=True)
    runs = [lambda x: (x * 2).exp(), lambda x: (x[:2] * 2).exp()]
    y = ck.checkpoint(lambda x: runs.pop(0)(x), x, use_reentrant=False)
    with pytest.raises(ck.CheckpointError):
        y.sum().backward()
