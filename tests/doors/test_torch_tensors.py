"""gpugrad.torch against PyTorch's behaviour: dtypes, printing, methods, changes in place, errors."""

import numpy as np
import pytest


def values(t):
    return np.asarray(t.detach()).tolist()


@pytest.mark.parametrize(
    "given, text",
    [
        (5.0, "tensor(5.)"),
        ([1, 2], "tensor([1, 2])"),
        ([0.1, 0.25], "tensor([0.1000, 0.2500])"),
        ([[1.0, 2.5], [10.0, -3.0]], "tensor([[ 1.0000,  2.5000],\n        [10.0000, -3.0000]])"),
        ([1e-6, 1.0], "tensor([1.0000e-06, 1.0000e+00])"),
        ([1.0, 2000.0], "tensor([1.0000e+00, 2.0000e+03])"),
        ([0.0, 5.0], "tensor([0., 5.])"),
        ([True, False], "tensor([ True, False])"),
        ([float("nan"), 1.0], "tensor([nan, 1.])"),
    ],
)
def test_printing(torch, given, text):
    assert repr(torch.tensor(given)) == text


def test_printing_of_more(torch):
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert repr(x) == "tensor([1., 2.], dtype=torch.float64, requires_grad=True)"
    assert repr(torch.zeros(2, 3).shape) == "torch.Size([2, 3])"
    assert f"{torch.tensor(1.25):.1f}" == "1.2"


def test_dtypes(torch):
    assert torch.tensor([1, 2]).dtype == torch.int64 and torch.tensor(1.5).dtype == torch.float32
    assert torch.tensor(np.float64([1.0])).dtype == torch.float64
    i, f, d = torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0], dtype=torch.float64)
    zero_d = torch.tensor(2.0, dtype=torch.float64)
    for a, b, wanted in [
        (i, f, torch.float32), (f, d, torch.float64), (f, zero_d, torch.float32), (i, zero_d, torch.float64),
        (f, torch.tensor(2), torch.float32), (torch.tensor([1.0], dtype=torch.float16), torch.tensor([1.0], dtype=torch.bfloat16), torch.float32),
    ]:  # fmt: skip
        for op in (torch.mul, torch.add, torch.maximum):
            assert op(a, b).dtype == op(b, a).dtype == wanted
    assert (i / 2).dtype == torch.float32 and (i * 2.5).dtype == torch.float32 and (i * 2).dtype == torch.int64
    assert (f * np.float64(2)).dtype == torch.float32
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * d).sum().backward()
    assert x.grad.dtype == torch.float32


def test_what_is_no_operand(torch):
    x = torch.tensor([1.0, 2.0])
    with pytest.raises(TypeError):
        x * [1.0, 2.0]
    with pytest.raises(TypeError):
        torch.mul([1.0], [2.0])


def test_methods_with_dim(torch):
    x = torch.arange(6.0).reshape(2, 3)
    assert values(x.sum(dim=0)) == [3, 5, 7] and x.sum(1, keepdim=True).shape == (2, 1)
    assert values(x.mean(-1)) == [1, 4] and float(x.std()) == pytest.approx(np.std(np.arange(6), ddof=1))
    top = x.max(dim=1)
    assert values(top.values) == [2, 5] and values(top.indices) == [2, 2]
    assert float(x.max()) == 5 and int(x.argmax()) == 5 and values(x.argmax(dim=0)) == [1, 1, 1]
    assert x.view(3, 2).shape == (3, 2) and x.view(-1).shape == (6,) and x.permute(1, 0).shape == x.t().shape == (3, 2)
    assert (
        x.unsqueeze(0).shape == (1, 2, 3) and x.unsqueeze(0).squeeze(0).shape == (2, 3) and x.squeeze().shape == (2, 3)
    )
    assert x.size() == (2, 3) and x.size(1) == 3 and x.dim() == 2 and x.numel() == 6 and len(x) == 2
    assert values(torch.cat([x, x], dim=1)[0]) == [0, 1, 2, 0, 1, 2] and torch.stack([x, x]).shape == (2, 2, 3)
    assert [tuple(p.shape) for p in x.split(2, dim=1)] == [(2, 2), (2, 1)]
    assert [tuple(p.shape) for p in torch.chunk(x, 2, dim=1)] == [(2, 2), (2, 1)]
    assert values(x.clamp(1, 3)) == [[1, 1, 2], [3, 3, 3]] and values(x.gather(1, torch.tensor([[0], [2]]))) == [
        [0],
        [5],
    ]
    assert values(torch.where(x > 2, x, torch.zeros(1))) == [[0, 0, 0], [3, 4, 5]]
    assert x.flatten().shape == (6,) and x.expand(4, -1, -1).shape == (4, 2, 3)
    assert (
        x.double().dtype == torch.float64
        and x.long().dtype == torch.int64
        and x.to(torch.float16).dtype == torch.float16
    )


def test_order(torch):
    x = torch.tensor([[3.0, 1.0, 2.0], [5.0, 9.0, 7.0]], requires_grad=True)
    for f in (torch.sort, lambda v: v.sort(dim=-1)):
        found = f(x)
        assert values(found.values) == [[1, 2, 3], [5, 7, 9]] and values(found.indices) == [[1, 2, 0], [0, 2, 1]]
    top = x.topk(2, dim=1)
    assert values(top.values) == [[3, 2], [9, 7]] and values(top.indices) == [[0, 2], [1, 2]]
    assert values(x.argsort(dim=0, descending=True)) == [[1, 1, 1], [0, 0, 0]] and values(
        x.topk(1, dim=0, largest=False)[0]
    ) == [[3, 1, 2]]
    top.values.sum().backward()
    assert values(x.grad) == [[1, 0, 1], [0, 1, 1]]
    assert 3.0 in x.detach() and 4.0 not in x.detach()


def test_gradients_of_methods(torch):
    x = torch.tensor([[3.0, 1.0], [2.0, 2.0]], requires_grad=True)
    for f, wanted in [
        (lambda: x.max(), [[1, 0], [0, 0]]), (lambda: x.max(dim=1).values.sum(), None), (lambda: x.norm() * 0 + x.sum(), [[1, 1], [1, 1]]),
        (lambda: x.t()[0].sum(), [[1, 0], [1, 0]]), (lambda: x.view(4)[1:3].sum(), [[0, 1], [1, 0]]),
        (lambda: torch.einsum("ij,ij->", x, x), [[6, 2], [4, 4]]),
    ]:  # fmt: skip
        x.grad = None
        f().backward()
        if wanted is not None:
            assert values(x.grad) == wanted
    z = torch.zeros(3, requires_grad=True)
    z.norm().backward()
    assert values(z.grad) == [0, 0, 0]


# ---------------------------------------------------------------------------------------------- in place
def test_changes_in_place(torch):
    x = torch.tensor([1.0, 2.0, 3.0])
    same, view = x, x[1:]
    x += 1
    assert x is same and values(view) == [3, 4]
    view.mul_(10)
    assert values(x) == [2, 30, 40]
    x.add_(torch.tensor([1.0, 1.0, 1.0]), alpha=2).sub_(1).div_(1)
    assert values(x) == [3, 31, 41]
    x[0] = 7.0
    x[1:] = torch.tensor([8.0, 9.0])
    assert values(x) == [7, 8, 9]
    x.copy_(torch.tensor([1.0, 1.0, 1.0])).fill_(4)
    assert values(x) == [4, 4, 4] and values(x.zero_()) == [0, 0, 0]
    i = torch.tensor([1, 2])
    with pytest.raises(RuntimeError, match="can't be cast"):
        i += 0.5
    with pytest.raises(RuntimeError):
        i += torch.tensor([[1, 2], [3, 4]])
    assert values(i) == [1, 2]


def test_gradients_through_changes_in_place(torch):
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    y += 1
    y *= x
    y.sum().backward()  # (2x + 1) x
    assert values(x.grad) == [5, 9, 13]
    x.grad = None
    y = torch.zeros(3)
    y[0] = x[2] * 2
    y[1:] = x[:2] ** 2
    y.sum().backward()
    assert values(x.grad) == [2, 4, 2]


def test_a_change_of_a_view_is_a_change_of_its_base(torch):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x * 1.0
    row = y[0]
    row.mul_(10)
    assert values(y) == [[10, 20], [3, 4]]
    y.sum().backward()
    assert values(x.grad) == [[10, 10], [1, 1]]
    x.grad = None
    y = x * 1.0
    y.t()[0] += x[1]  # a view of a view
    y.view(4)[3] = 0.0
    (y * y).sum().backward()
    z = np.array([[4.0, 2.0], [7.0, 0.0]])
    assert values(y) == z.tolist()
    g = 2 * z
    assert values(x.grad) == [[g[0, 0], g[0, 1]], [g[1, 0] + g[0, 0], g[1, 0]]]


def test_leaves_and_saved_values_are_protected(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        x += 1
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad is being used in an in-place"):
        x[0] += 1
    assert values(x) == [1, 2]
    with torch.no_grad():
        x += 1
    assert values(x) == [2, 3] and x.requires_grad and x.is_leaf
    y = x.exp()
    z = y * 2
    y += 1
    with pytest.raises(
        RuntimeError, match="has been modified by an inplace operation.* is at version 1; expected version 0"
    ):
        z.sum().backward()
    y = x * 2  # which saves no result
    z = y + 1
    y += 1
    z.sum().backward()
    assert values(x.grad) == [2, 2]


def test_a_change_that_nothing_records_keeps_the_history(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    with torch.no_grad():
        y += 1
        y[0] = 10.0
    assert values(y) == [10, 7] and y.requires_grad and y.grad_fn is not None
    y.sum().backward()
    assert values(x.grad) == [3, 3]


def test_a_manual_update(torch):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        loss = (w * w).sum()
        loss.backward()
        with torch.no_grad():
            w -= 0.25 * w.grad
            w.grad.zero_()
    assert values(w) == [0.25, 0.5] and values(w.grad) == [0, 0]
    w.data.mul_(2)
    assert values(w) == [0.5, 1.0]


# ---------------------------------------------------------------------------------------------- errors
def test_errors_as_users_know_them(torch):
    x, c = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 2.0, 3.0])
    for make, error, text in [
        (lambda: (x * x).backward(), RuntimeError, "grad can be implicitly created only for scalar outputs"),
        (lambda: c.sum().backward(), RuntimeError, "element 0 of tensors does not require grad and does not have a grad_fn"),
        (lambda: (x * x).backward(c), RuntimeError, "Mismatch in shape"),
        (lambda: torch.autograd.grad(x.sum(), c), RuntimeError, "One of the differentiated Tensors does not require grad"),
        (lambda: torch.tensor([1, 2], requires_grad=True), RuntimeError, "floating point and complex dtype can require gradients"),
        (lambda: x.numpy(), RuntimeError, "Can't call numpy\\(\\) on Tensor that requires grad. Use tensor.detach\\(\\).numpy"),
        (lambda: np.asarray(x), RuntimeError, "Can't call numpy\\(\\) on Tensor that requires grad"),
        (lambda: x + c, RuntimeError, "The size of tensor a \\(2\\) must match the size of tensor b \\(3\\) at non-singleton dimension 0"),
        (lambda: torch.ones(2, 3) @ torch.ones(2, 3), RuntimeError, "mat1 and mat2 shapes cannot be multiplied \\(2x3 and 2x3\\)"),
        (lambda: torch.ones(2, 3, dtype=torch.float64) @ torch.ones(3, 2), RuntimeError, "the same dtype, but got"),
        (lambda: c.item(), RuntimeError, "cannot be converted to Scalar"),
        (lambda: bool(c), RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
        (lambda: setattr(x, "grad", c), RuntimeError, "attempting to assign a gradient of size"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            make()
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()


# ---------------------------------------------------------------------------------------------- Function
def test_function(torch):
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, i):
            result = i.exp()
            ctx.save_for_backward(result)
            return result

        @staticmethod
        def backward(ctx, grad_output):
            (result,) = ctx.saved_tensors
            return grad_output * result

    x = torch.tensor([0.0, 1.0], requires_grad=True, dtype=torch.float64)
    y = Exp.apply(x)
    assert y.requires_grad and "ExpBackward" in repr(y.grad_fn)
    y.sum().backward()
    assert values(x.grad) == pytest.approx([1.0, np.e])
    assert torch.autograd.gradcheck(Exp.apply, (x,))


def test_function_with_several_inputs_and_outputs(torch):
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(x, k, y):
            return x * k, (y * 2).round()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.k = inputs[1]
            ctx.mark_non_differentiable(output[1])

        @staticmethod
        def backward(ctx, g, _):
            assert ctx.needs_input_grad == (True, False, False)
            return g * ctx.k, None, None

    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.2])
    a, b = Scale.apply(x, 3.0, y)
    assert a.requires_grad and not b.requires_grad and values(b) == [2]
    a.sum().backward()
    assert values(x.grad) == [3, 3]


def test_function_errors(torch):
    def make(answer):
        class F(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1

            @staticmethod
            def backward(ctx, g):
                return answer(g)

        return F

    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"returned an incorrect number of gradients \(expected 1, got 2\)"):
        make(lambda g: (g, g)).apply(x).sum().backward()
    with pytest.raises(
        RuntimeError, match="returned an invalid gradient at index 0 - got \\[2\\] but expected shape compatible"
    ):
        make(lambda g: g[:2]).apply(x).sum().backward()
    with pytest.raises((RuntimeError, TypeError), match="expected Variable or None"):
        make(lambda g: 3).apply(x).sum().backward()


def test_checkpoint(torch, library):
    checkpoint = library("torch.utils.checkpoint").checkpoint
    calls = []

    def block(v):
        calls.append(1)
        return torch.tanh(torch.tanh(v) * 2)

    x = torch.tensor([0.5, 1.0], requires_grad=True)
    checkpoint(block, x, use_reentrant=False).sum().backward()
    g = values(x.grad)
    x.grad = None
    block(x).sum().backward()
    assert g == pytest.approx(values(x.grad)) and len(calls) == 3


# ---------------------------------------------------------------------------------------------- hooks
def test_hooks_see_and_change_gradients(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    seen = []
    first = y.register_hook(lambda g: seen.append(values(g)))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    (y * y).sum().backward()
    assert seen == [[4, 8]] and values(x.grad) == [81, 161]
    first.remove()
    (y2 := x * 3).sum().backward()
    assert len(seen) == 1 and values(x.grad) == [85, 165] and y2 is not None
    with pytest.raises(RuntimeError, match="cannot register a hook on a tensor that doesn't require gradient"):
        torch.ones(2).register_hook(print)
    z = torch.ones(2, requires_grad=True)
    z.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="has changed the size of value"):
        (z * 1).sum().backward()


def test_hooks_under_create_graph_and_grad(torch):
    x = torch.tensor(3.0, requires_grad=True)
    y = x * x
    y.register_hook(lambda g: g * 2)
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    assert float(g.detach()) == 12
    (h,) = torch.autograd.grad(g, x)
    assert float(h) == 4


def test_hooks_after_a_gradient_was_left(torch):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    seen = []

    def step(p):
        seen.append(values(p.grad))
        with torch.no_grad():
            p -= 0.5 * p.grad
        p.grad = None

    w.register_post_accumulate_grad_hook(step)
    (w * w).sum().backward()
    assert seen == [[2, 4]] and values(w) == [0, 0] and w.grad is None
