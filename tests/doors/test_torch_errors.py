"""What gpugrad.torch says where something cannot be differentiated: PyTorch's types and first sentences."""

import copy

import numpy as np
import pytest


def values(t):
    return np.asarray(t.detach()).tolist()


@pytest.fixture
def x(torch):
    return torch.tensor([1.0, 2.0], requires_grad=True)


def test_seeds(torch, x):
    z = torch.tensor([1 + 1j], requires_grad=True)
    for make, error, text in [
        (lambda: z.sum().backward(), RuntimeError, r"grad can be implicitly created only for real scalar outputs but got .*complex64"),
        (lambda: (x * x).backward(torch.ones(3)), RuntimeError, r"Mismatch in shape: grad_output\[0\] has a shape of torch.Size\(\[3\]\) and output\[0\] has"),
        (lambda: torch.autograd.grad(x * x, x, grad_outputs=[3]), TypeError, "gradients can be either Tensors or None, but got int"),
        (lambda: torch.autograd.grad(x * x, x), RuntimeError, "grad can be implicitly created only for scalar outputs"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            make()
    (x * x).backward(torch.tensor([1.0, 10.0]))
    assert values(x.grad) == [2, 40]
    torch.autograd.backward([x.sum(), (x * 2).sum()], [torch.tensor(1.0), None])
    torch.autograd.backward(x * 3, [torch.ones(2)])
    assert values(x.grad) == [8, 46]


def test_inputs(torch, x):
    other, plain = torch.ones(2, requires_grad=True), torch.ones(2)
    for make, error, text in [
        (lambda: torch.autograd.grad(x.sum(), [x, other]), RuntimeError, "The differentiated Tensor at index 1 appears to not have been used in the graph. Set allow_unused=True if this is the desired behavior."),
        (lambda: torch.autograd.grad(x.sum(), plain), RuntimeError, "One of the differentiated Tensors does not require grad"),
        (lambda: torch.autograd.grad(plain.sum(), x), RuntimeError, "element 0 of tensors does not require grad and does not have a grad_fn"),
        (lambda: torch.autograd.grad(x.sum(), x, allow_unused=False, materialize_grads=True), ValueError, "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."),
        (lambda: x.sum().backward(inputs=[]), RuntimeError, r"`inputs` argument to `backward\(\)` cannot be empty."),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            make()
    g, none = torch.autograd.grad(x.sum(), [x, other], allow_unused=True)
    assert none is None and values(g) == [1, 1]
    _, zeros = torch.autograd.grad(x.sum(), [x, other], materialize_grads=True)
    assert values(zeros) == [0, 0]
    (g,) = torch.autograd.grad(x.sum(), x, None, True, False, only_inputs=True)
    ((x * other).sum()).backward(inputs=[other])
    assert x.grad is None and values(other.grad) == [1, 2]


def test_what_can_require_grad(torch, x):
    i = torch.tensor([1, 2])
    for make in (
        lambda: torch.tensor([1, 2], requires_grad=True), lambda: i.requires_grad_(),
        lambda: setattr(i, "requires_grad", True), lambda: torch.zeros(2, dtype=torch.int64, requires_grad=True),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="(?i)only tensors of floating point"):
            make()
    y = x * 2
    for make in (lambda: y.requires_grad_(False), lambda: setattr(y, "requires_grad", False)):
        with pytest.raises(
            RuntimeError, match="you can only change requires_grad flags of leaf variables. If you want to"
        ):
            make()
    assert y.requires_grad_() is y and not x.requires_grad_(False).requires_grad


def test_grad_of_what_is_no_leaf(torch, x):
    y = x * 2
    with pytest.warns(UserWarning, match="The .grad attribute of a Tensor that is not a leaf Tensor is being accessed"):
        assert y.grad is None
    y.retain_grad()
    y.sum().backward()
    assert values(y.grad) == [1, 1]
    with pytest.raises(RuntimeError, match="can't retain_grad on Tensor that has requires_grad=False"):
        torch.ones(2).retain_grad()


def test_assigned_gradients(torch, x):
    for bad, error, text in [
        (torch.ones(3), RuntimeError, r"attempting to assign a gradient of size '?\[3\]'? to a tensor of size '?\[2\]'?. Please ensure"),
        (np.ones(2), TypeError, "assigned grad expected to be a Tensor or None but got grad of type"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            x.grad = bad
    x.grad = torch.ones(2)
    (x * 2).sum().backward()
    assert values(x.grad) == [3, 3]


def test_create_graph_warns(torch, x):
    with pytest.warns(UserWarning, match=r"backward\(\) with create_graph=True .* reference cycle between"):
        (x**3).sum().backward(create_graph=True)
    g, x.grad = x.grad, None
    (h,) = torch.autograd.grad(g.sum(), x)
    assert values(h) == [6, 12]


def test_copies(torch, x):
    twin = copy.deepcopy(x)
    assert twin.requires_grad and twin.is_leaf and twin is not x and values(twin) == [1, 2]
    with pytest.raises(RuntimeError, match="Only .* support the deepcopy protocol|can be deep-copied"):
        copy.deepcopy(x * 2)


def test_products_of_two_dtypes(torch):
    a, b = torch.ones(2, 3, dtype=torch.float64), torch.ones(3, 2)
    with pytest.raises(
        RuntimeError, match="must have the same dtype, but got [dD]ouble and [fF]loat|expected m1 and m2"
    ):
        a @ b
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(2x3 and 2x3\)"):
        torch.mm(b.t(), b.t())


def test_values_and_their_defaults(torch, library, x):
    scalar = torch.tensor(2.0)
    assert isinstance(scalar.numpy(), np.ndarray) and scalar.numpy().shape == ()
    assert (torch.tensor([1.0]) * np.float64(2)).dtype == torch.float32
    assert (torch.tensor([1.0]) * torch.tensor(np.float64([2.0]))).dtype == torch.float64
    layer = library("torch.nn").Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    layer.zero_grad()
    assert layer.weight.grad is None
    layer(torch.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert values(layer.weight.grad) == [[0, 0]]


# ---------------------------------------------------------------------------------------------- kinks
@pytest.mark.parametrize(
    "name, f, wanted",
    [
        ("abs", lambda torch, x: x.abs(), [0, 0]),
        ("relu", lambda torch, x: torch.relu(x), [0, 0]),
        ("maximum at a tie", lambda torch, x: torch.maximum(x, torch.zeros(2)), [0.5, 0.5]),
        ("max of all, ties", lambda torch, x: x.max(), [0.5, 0.5]),
        ("amax, ties", lambda torch, x: x.amax(dim=0), [0.5, 0.5]),
        ("max along an axis, the first", lambda torch, x: x.max(dim=0).values, [1, 0]),
        ("clamp at its bound", lambda torch, x: x.clamp(0, 1), [1, 1]),
        ("norm of zero", lambda torch, x: x.norm(), [0, 0]),
        ("sqrt of zero", lambda torch, x: x.sqrt(), [np.inf, np.inf]),
        ("round", lambda torch, x: x.round(), [0, 0]),
    ],
)
def test_gradients_at_kinks(torch, name, f, wanted):
    x = torch.zeros(2, requires_grad=True)
    with np.errstate(divide="ignore"):
        f(torch, x).sum().backward()
    assert values(x.grad) == wanted


def test_the_gradient_of_a_complex_number_goes_uphill(torch):
    z = torch.tensor(1 + 2j, requires_grad=True)
    (z.abs() ** 2).backward()
    assert complex(z.grad) == pytest.approx(2 + 4j, rel=1e-5)
