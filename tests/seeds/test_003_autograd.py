"""A tutorial on PyTorch's Autograd: its snippets as written, and what it says of them."""

import numpy as np
import pytest


def test_a_gradient(torch, capsys):
    # a tensor that gradients are for
    x = torch.tensor(5.0, requires_grad=True)
    # y = x^4
    y = x**4
    # the gradient
    y.backward()
    # dy/dx
    print(x.grad)
    assert capsys.readouterr().out == "tensor(500.)\n"


def test_the_graph(torch):
    x = torch.tensor(5.0, requires_grad=True)
    y = x**4
    assert repr(y.grad_fn).startswith("<PowBackward0")
    ((leaf, _),) = [f for f in y.grad_fn.next_functions if f[0] is not None]
    assert leaf.name().endswith("AccumulateGrad") and leaf.variable is x
    assert x.grad_fn is None and x.is_leaf and not y.is_leaf
    assert repr(torch.tensor([1.0, 2.0], requires_grad=True) * 2) == "tensor([2., 4.], grad_fn=<MulBackward0>)"


def test_only_what_requires_grad_has_a_grad(torch):
    x = torch.tensor(2.0, requires_grad=True)
    c = torch.tensor(3.0)
    (x * c).backward()
    assert float(x.grad) == 3.0 and c.grad is None and not c.requires_grad


def test_backward_accumulates(torch):
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]


def test_no_grad(torch, capsys):
    x = torch.tensor(3.0, requires_grad=True)
    with torch.no_grad():
        y = x**4
    # y has no gradient
    print(y.requires_grad)  # False
    assert capsys.readouterr().out == "False\n"

    @torch.no_grad()
    def infer(v):
        return v * 2

    assert not infer(x).requires_grad and (x * 2).requires_grad


def test_detach(torch, capsys):
    x = torch.tensor(5.0, requires_grad=True)
    y = x**3
    z = y.detach()  # cut off
    print(z.requires_grad)  # False
    assert capsys.readouterr().out == "False\n"
    y.backward()
    assert float(x.grad) == 75.0
    v = torch.tensor([1.0, 2.0], requires_grad=True)
    assert np.shares_memory(v.detach().numpy(), v.detach().numpy())  # no copy, whatever the text says


WEIGHT, BIAS = [[-0.00748682]], [0.53644359]  # nn.Linear(1, 1) of PyTorch after manual_seed(0)


def training(library, steps, zero):
    torch, nn, optim = library("torch"), library("torch.nn"), library("torch.optim")
    # a linear model
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(WEIGHT))
        model.bias.copy_(torch.tensor(BIAS))
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    # inputs and targets
    x = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    target = torch.tensor([[2.0], [4.0], [6.0]])
    # the loss
    criterion = nn.MSELoss()
    losses = []
    for _ in range(steps):
        if zero:
            optimizer.zero_grad()
        # forward
        output = model(x)
        loss = criterion(output, target)
        # backward
        loss.backward()
        # update the parameters
        optimizer.step()
        losses.append(loss.item())
    return losses, output, x


@pytest.mark.filterwarnings("ignore:step\\(\\) uses gradients")  # gpugrad's own warning
def test_training_as_it_is_written(library):
    """Without zero_grad() the gradients add up, and the loss falls faster."""
    losses, output, x = training(library, 5, zero=False)
    assert losses == pytest.approx([14.79, 11.73, 6.93, 2.47, 0.26], abs=0.006)
    assert x.grad.shape == (3, 1)


def test_training_with_zero_grad(library):
    losses, _, _ = training(library, 5, zero=True)
    assert losses == pytest.approx([14.79, 11.73, 9.31, 7.40, 5.89], abs=0.006)


def test_outputs_come_near_the_target(library):
    losses, output, _ = training(library, 1000, zero=True)
    assert output.detach().numpy().ravel() == pytest.approx([2, 4, 6], abs=0.25)


def test_transfer_learning_freezes_a_part(library):
    torch, nn = library("torch"), library("torch.nn")
    body, head = nn.Linear(2, 3), nn.Linear(3, 1)
    for p in body.parameters():
        p.requires_grad = False
    head(torch.relu(body(torch.ones(4, 2)))).sum().backward()
    assert all(p.grad is None for p in body.parameters())
    assert all(p.grad is not None for p in head.parameters())
