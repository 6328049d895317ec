"""gpugrad.torch against PyTorch: what a new user tried first.  Losses, keywords, small functions, errors, printing."""

import math

import numpy as np
import pytest


@pytest.fixture
def nn(library):
    return library("torch.nn")


@pytest.fixture
def F(library):
    return library("torch.nn.functional")


@pytest.fixture
def x(torch):
    return torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.0, -0.5]], requires_grad=True)


def values(t):
    return np.asarray(t.detach()).tolist()


def log_softmax(t):
    a = np.asarray(t.detach(), np.float64)
    return a - np.log(np.exp(a).sum(-1, keepdims=True))


def refuses(cases):
    for make, error, text in cases:
        with pytest.raises(error, match=text):
            make()


# ---------------------------------------------------------------------------------------------- losses
def test_weights_of_classes_and_labels_to_ignore(torch, nn, F, x):
    w, y = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0])
    p = log_softmax(x)
    weighted = -(4 * p[0, 2] + p[1, 0]) / 5
    for reduction, wanted in [("mean", weighted), ("sum", weighted * 5), ("none", [-4 * p[0, 2], -p[1, 0]])]:
        assert values(nn.CrossEntropyLoss(weight=w, reduction=reduction)(x, y)) == pytest.approx(wanted, rel=1e-5)
        assert values(F.cross_entropy(x, y, weight=w, reduction=reduction)) == pytest.approx(wanted, rel=1e-5)
        assert values(F.nll_loss(F.log_softmax(x, 1), y, w, reduction=reduction)) == pytest.approx(wanted, rel=1e-5)
    some = torch.tensor([-100, 0])
    assert F.cross_entropy(x, some).item() == pytest.approx(-p[1, 0], rel=1e-5)
    assert values(F.cross_entropy(x, some, reduction="none"))[0] == 0
    assert nn.CrossEntropyLoss(w, ignore_index=0)(x, y).item() == pytest.approx(-p[0, 2], rel=1e-5)
    assert nn.NLLLoss(weight=w, ignore_index=2)(F.log_softmax(x, 1), y).item() == pytest.approx(-p[1, 0], rel=1e-5)
    nn.CrossEntropyLoss(ignore_index=2)(x, y).backward()
    assert values(x.grad)[0] == [0, 0, 0] and values(x.grad)[1] == pytest.approx(np.exp(p[1]) - [1, 0, 0], abs=1e-6)
    images = torch.arange(12.0).reshape(2, 3, 2)
    assert F.cross_entropy(images, torch.tensor([[0, -100], [2, 1]]), w).shape == ()
    assert list(nn.CrossEntropyLoss(weight=w).state_dict()) == ["weight"]


def test_label_smoothing_and_probabilities(torch, nn, F, x):
    y, p = torch.tensor([2, 0]), log_softmax(x)
    soft = np.full((2, 3), 0.1) + 0.7 * np.eye(3)[[2, 0]]
    wanted = -(soft * p).sum() / 2
    assert nn.CrossEntropyLoss(label_smoothing=0.3)(x, y).item() == pytest.approx(wanted, rel=1e-5)
    t = torch.tensor(soft, dtype=torch.float32)
    assert F.cross_entropy(x, t).item() == pytest.approx(wanted, rel=1e-5)
    w = torch.tensor([1.0, 2.0, 4.0])
    assert F.cross_entropy(x, t, w).item() == pytest.approx(-(soft * p * [1, 2, 4]).sum() / 2, rel=1e-5)
    some, eps = torch.tensor([2, -100]), 0.3
    kept = -(0.7 * 4 * p[0, 2] + 0.1 * (p[0] * [1, 2, 4]).sum()) / 4
    assert F.cross_entropy(x, some, w, label_smoothing=eps).item() == pytest.approx(kept, rel=1e-5)
    one_hot = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    smooth = F.cross_entropy(x, one_hot, label_smoothing=0.3).item()
    assert smooth == pytest.approx(wanted, rel=1e-5)


def test_weights_of_answers(torch, nn, F):
    z, y = torch.tensor([0.5, -1.0]), torch.tensor([1.0, 0.0])
    p = 1 / (1 + np.exp([-0.5, 1.0]))
    yes, no = -math.log(p[0]), -math.log(1 - p[1])
    w = torch.tensor([1.0, 10.0])
    for got, wanted in [
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))(z, y), (3 * yes + no) / 2),
        (nn.BCEWithLogitsLoss(weight=w)(z, y), (yes + 10 * no) / 2),
        (F.binary_cross_entropy_with_logits(z, y, w, pos_weight=torch.tensor([3.0, 1.0])), (3 * yes + 10 * no) / 2),
        (nn.BCELoss(weight=w)(torch.sigmoid(z), y), (yes + 10 * no) / 2),
    ]:
        assert got.item() == pytest.approx(wanted, rel=1e-5)


def test_targets_that_do_not_fit(torch, nn, F, x):
    y = torch.tensor([2, 0])
    refuses([
        (lambda: F.cross_entropy(x, y.float()), RuntimeError, "expected target dtype to be Long or Byte, but got Float|expected scalar type Long but found Float"),
        (lambda: F.cross_entropy(x, torch.tensor([0, 5])), IndexError, r"Target 5 is out of bounds\."),
        (lambda: F.cross_entropy(x, torch.tensor([0, -1])), IndexError, r"Target -1 is out of bounds\."),
        (lambda: F.nll_loss(x, torch.tensor([0, 3])), IndexError, r"Target 3 is out of bounds\."),
        (lambda: F.cross_entropy(x, torch.tensor([0, 1, 2])), ValueError, r"Expected input batch_size \(2\) to match target batch_size \(3\)\."),
        (lambda: F.cross_entropy(x, y[:, None]), RuntimeError, "0D or 1D target tensor expected, multi-target not supported"),
        (lambda: F.cross_entropy(x, y, weight=torch.ones(2)), RuntimeError, r"weight tensor should be defined either for all 3 classes or no classes but got weight tensor of shape: \[2\]"),
        (lambda: F.cross_entropy(x, y, label_smoothing=2.0), RuntimeError, r"label_smoothing must be between 0.0 and 1.0. Got: 2"),
        (lambda: F.binary_cross_entropy(torch.ones(2, 3), torch.ones(3)), ValueError, r"Using a target size \(torch.Size\(\[3\]\)\) that is different to the input size"),
        (lambda: nn.BCEWithLogitsLoss()(x, torch.ones(3)), ValueError, r"Target size \(torch.Size\(\[3\]\)\) must be the same as input size \(torch.Size\(\[2, 3\]\)\)"),
    ])  # fmt: skip


# ---------------------------------------------------------------------------------------------- functions
def test_small_functions(torch, x):
    i = torch.tensor([1, 0, 2])
    for got, wanted in [
        (torch.cat([torch.tensor([]), x])[0], [0.5, -1, 2]), (torch.nonzero(i), [[0], [2]]),
        (torch.nonzero(i, as_tuple=True)[0], [0, 2]), (i.nonzero(), [[0], [2]]),
        (torch.tensordot(x, x, dims=([1], [1])), [[5.25, -0.25], [-0.25, 2.5]]), (torch.tensordot(x, i.float(), dims=1), [4.5, 0.5]),
        (torch.meshgrid(i, i[:2], indexing="ij")[0], [[1, 1], [0, 0], [2, 2]]), (torch.meshgrid(i, i[:2], indexing="xy")[0], [[1, 0, 2], [1, 0, 2]]),
        (torch.tile(i, (2,)), [1, 0, 2, 1, 0, 2]), (i.repeat(2, 1), [[1, 0, 2], [1, 0, 2]]), (i.repeat((2,)), [1, 0, 2] * 2),
        (torch.repeat_interleave(i, 2), [1, 1, 0, 0, 2, 2]), (x.repeat_interleave(2, dim=1)[0], [0.5, 0.5, -1, -1, 2, 2]),
        (i.repeat_interleave(torch.tensor([1, 2, 0])), [1, 0, 0]), (i[None].expand_as(x), [[1, 0, 2], [1, 0, 2]]),
        (torch.diag(i), [[1, 0, 0], [0, 0, 0], [0, 0, 2]]), (torch.diag(x), [0.5, 0]), (x.diag(1), [-1, -0.5]),
        (torch.diag(i[:1], -1), [[0, 0], [1, 0]]), (torch.trace(x[:, :2]), 0.5),
    ]:  # fmt: skip
        assert values(got) == pytest.approx(wanted) if np.ndim(wanted) < 2 else values(got) == wanted
    assert torch.cat([torch.tensor([]), i]).dtype == torch.cat([i, x[0]]).dtype == torch.float32
    torch.diag(x * 2, 1).sum().backward()
    assert values(x.grad) == [[0, 2, 0], [0, 0, 2]]
    with pytest.raises(RuntimeError, match="Number of dimensions of repeat dims can not be smaller than number of"):
        x.repeat(2)
    assert (
        x.type() == "torch.FloatTensor"
        and i.type() == "torch.LongTensor"
        and i.type(torch.float).dtype == torch.float32
    )
    assert (torch.pi, torch.e, torch.inf) == (math.pi, math.e, math.inf) and math.isnan(torch.nan)
    assert isinstance(torch.float32, torch.dtype) and isinstance(x.dtype, torch.dtype)


def test_keywords_and_other_names(torch, x):
    i = torch.tensor([1, -3])
    for got, wanted in [
        (torch.add(i, i, alpha=2), [3, -9]), (torch.add(input=i, other=1), [2, -2]), (torch.add(1, i), [2, -2]),
        (torch.sub(i, 1, alpha=3), [-2, -6]), (i.add(i, alpha=-1), [0, 0]), (i.sub(i), [0, 0]),
        (torch.div(i, 2, rounding_mode="floor"), [0, -2]), (torch.div(i, 2, rounding_mode="trunc"), [0, -1]), (i.div(2), [0.5, -1.5]),
        (torch.linspace(0, 1, steps=3), [0, 0.5, 1]), (torch.linspace(start=0, end=1, steps=2), [0, 1]),
        (torch.arange(start=1, end=5, step=2), [1, 3]), (torch.arange(1, end=3), [1, 2]), (torch.arange(end=2), [0, 1]),
        (torch.zeros(size=(2,)), [0, 0]), (torch.ones(size=(2,)), [1, 1]), (torch.randint(high=1, size=(2,)), [0, 0]),
        (torch.randint(1, high=2, size=(2,)), [1, 1]), (torch.randint(1, (2,)), [0, 0]), (torch.randint(2, 3, (1,)), [2]),
        (x.sum(axis=1, keepdims=True)[:, 0], [1.5, 1]), (torch.mean(x, axis=0), [1, -0.5, 0.75]), (x.max(axis=1).values, [2, 1.5]),
        (x.argmax(axis=1), [2, 0]), (torch.cat([i, i], axis=0), [1, -3, 1, -3]), (x.softmax(axis=1).sum(axis=1), [1, 1]), (i.cumsum(axis=0), [1, -2]),
        (x.permute(dims=(1, 0))[0], [0.5, 1.5]), (torch.permute(x, dims=(1, 0))[1], [-1, 0]), (x.reshape(shape=(6,))[:2], [0.5, -1]), (x.view(size=(6,))[:2], [0.5, -1]),
        (i[:1].expand(size=(2,)), [1, 1]), (torch.round(torch.tensor([1.25, -1.234]), decimals=1), [1.2, -1.2]),
        (torch.mm(x, mat2=x.T)[0], [5.25, -0.25]), (x.mm(mat2=x.T)[1], [-0.25, 2.5]), (torch.mv(x, vec=x[0]), [5.25, -0.25]),
    ]:  # fmt: skip
        assert values(got) == pytest.approx(wanted)
    assert torch.div(i, 2, rounding_mode="trunc").dtype == torch.int64
    refuses([
        (lambda: torch.div(i, 2, rounding_mode="up"), RuntimeError, "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found 'up'"),
        (lambda: torch.zeros(2).cumsum(), TypeError, "."), (lambda: x.sum(along=1), TypeError, "."),
    ])  # fmt: skip


# ---------------------------------------------------------------------------------------------- dtypes and printing
def test_dtypes_of_results(torch, F):
    c = torch.tensor([True, False])
    assert torch.where(c, 1, 0).dtype == torch.int64 and torch.where(c, 1.0, 0.0).dtype == torch.float32
    assert values(torch.where(c, 1, 0.5)) == [1, 0.5] and torch.where(c, True, False).dtype == torch.bool
    for dtype in (torch.uint8, torch.int32, torch.bool, torch.int8):
        t = torch.ones(300, dtype=dtype)
        assert t.sum().dtype == t.prod().dtype == t.cumsum(0).dtype == torch.int64 and t.sum().item() == 300
    i = torch.tensor([1, 2])
    refuses([
        (lambda: torch.mean(i), RuntimeError, r"mean\(\): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: Long"),
        (lambda: F.softmax(i, 0), RuntimeError, "\"softmax_lastdim_kernel_impl\" not implemented for 'Long'"),
        (lambda: i.std(), RuntimeError, "std and var only support floating point and complex dtypes"),
        (lambda: torch.tensor(300, dtype=torch.uint8), RuntimeError, "value cannot be converted to type uint8(_t)? without overflow"),
        (lambda: torch.tensor([1, 2**40], dtype=torch.int32), RuntimeError, "value cannot be converted to type int(32)? without overflow|int32"),
        (lambda: float(torch.ones(2)), ValueError, "only one element tensors can be converted to Python scalars"),
        (lambda: int(torch.ones(0)), ValueError, "only one element tensors can be converted to Python scalars"),
    ])  # fmt: skip
    assert i.float().mean().item() == torch.mean(i, dtype=torch.float32).item() == 1.5
    assert torch.tensor(-1, dtype=torch.uint8).item() == 255 and float(torch.tensor([2])) == 2.0


def test_empty_tensors_print(torch):
    for t, text in [
        (torch.zeros(0), "tensor([])"), (torch.zeros(0, 3), "tensor([], size=(0, 3))"), (torch.zeros(0).long(), "tensor([], dtype=torch.int64)"),
        (torch.zeros(2, 0, dtype=torch.float64), "tensor([], size=(2, 0), dtype=torch.float64)"), (torch.zeros(0, requires_grad=True), "tensor([], requires_grad=True)"),
    ]:  # fmt: skip
        assert repr(t) == text


# ---------------------------------------------------------------------------------------------- errors
def test_axes_and_shapes_that_do_not_fit(torch, x):
    span = r"Dimension out of range \(expected to be in range of \[-2, 1\], but got 5\)"
    refuses([
        *[(f, IndexError, span) for f in (
            lambda: x.sum(5), lambda: x.mean(5), lambda: x.max(5), lambda: x.argmax(5), lambda: x.softmax(5), lambda: x.cumsum(5), lambda: x.squeeze(5),
            lambda: x.flatten(5), lambda: x.transpose(0, 5), lambda: x.permute(0, 5), lambda: x.chunk(2, 5), lambda: x.split(1, 5), lambda: x.size(5),
            lambda: x.unbind(5), lambda: x.sort(5), lambda: x.std(5), lambda: x.any(dim=5), lambda: torch.cat([x, x], 5), lambda: x.index_select(5, torch.tensor([0])),
        )],
        (lambda: x.unsqueeze(5), IndexError, r"expected to be in range of \[-3, 2\], but got 5"),
        (lambda: x.view(4), RuntimeError, r"shape '\[4\]' is invalid for input of size 6"),
        (lambda: x.reshape(4, 2), RuntimeError, r"shape '\[4, 2\]' is invalid for input of size 6"),
        (lambda: x + torch.ones(2), RuntimeError, r"The size of tensor a \(3\) must match the size of tensor b \(2\) at non-singleton dimension 1"),
        (lambda: torch.cat([x, x[:, :2]]), RuntimeError, "Sizes of tensors must match except in dimension .*Expected size 3 but got size 2 for tensor number 1 in the list."),
        (lambda: torch.dot(x, x), RuntimeError, "1D tensors expected, but got 2D and 2D tensors"),
        (lambda: x.permute(0, 0), RuntimeError, "."), (lambda: x.split([1, 2]), RuntimeError, "."), (lambda: torch.einsum("ij,jk", x, x), RuntimeError, "."),
        (lambda: x.expand(2, 2), RuntimeError, "."), (lambda: torch.zeros(0).max(), RuntimeError, "."), (lambda: x.topk(4), RuntimeError, "selected index k out of range"),
    ])  # fmt: skip


# ---------------------------------------------------------------------------------------------- modules
def test_a_modules_own_state_comes_first(torch, nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(1, 1)
            self.register_buffer("mean", torch.zeros(1))
            self.scale = nn.Parameter(torch.ones(1))
            self.inner = nn.Sequential(nn.Linear(1, 1, bias=False))
            self.shift = nn.Parameter(torch.ones(1))

    net = Net()
    own, rest = ["scale", "shift"], ["first.weight", "first.bias", "inner.0.weight"]
    assert [n for n, _ in net.named_parameters()] == own + rest and len(list(net.parameters())) == 5
    assert list(net.state_dict()) == [*own, "mean", *rest]
    nested = nn.Sequential(net, nn.Linear(1, 1))
    nested.register_buffer("late", torch.zeros(1))
    assert [n for n, _ in nested.named_buffers()] == ["late", "0.mean"]


def test_full_backward_hooks(torch, nn):
    layer, seen = nn.Linear(2, 1, bias=False), []
    x = torch.ones(1, 2, requires_grad=True)
    handle = layer.register_full_backward_hook(lambda m, inner, outer: seen.append((m, inner, outer)))
    (layer(x) * 3).sum().backward()
    w = np.asarray(layer.weight.detach())
    assert seen[0][0] is layer and values(seen[0][2][0]) == [[3]] and np.allclose(values(seen[0][1][0]), 3 * w)
    assert values(layer.weight.grad) == [[3, 3]] and len(seen) == 1
    handle.remove()
    x.grad = None
    with layer.register_full_backward_hook(lambda m, inner, outer: (inner[0] * 2,)):
        layer(x).sum().backward()
        with torch.no_grad():
            assert not layer(x).requires_grad
    assert np.allclose(values(x.grad), 2 * w) and len(seen) == 1


def test_gather_with_a_shorter_index(torch):
    x = torch.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    y = torch.gather(x, 1, torch.tensor([[1, 2]]))
    assert y.tolist() == [[1, 2]] and torch.gather(x, 0, torch.tensor([[2, 0], [1, 1]])).tolist() == [[8, 1], [4, 5]]
    y.sum().backward()
    assert x.grad.sum() == 2 and x.grad[0].tolist() == [0, 1, 1, 0]
    for bad in ([[4]], [[-1]]):
        with pytest.raises(
            (IndexError, RuntimeError), match="index -?[14] is out of bounds for dimension 1 with size 4"
        ):
            torch.gather(x, 1, torch.tensor(bad))
    with pytest.raises(RuntimeError, match="Size does not match at dimension 0 expected index"):
        torch.gather(x, 1, torch.tensor([[0]] * 4))
    with pytest.raises(RuntimeError, match="Index tensor must have the same number of dimensions as input tensor"):
        torch.gather(x, 1, torch.tensor([0]))
