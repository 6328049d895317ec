"""torch.autograd.graph, anomaly and inference mode, hooks of nodes: against PyTorch's."""

import warnings

import numpy as np
import pytest


@pytest.fixture
def graph(torch):
    return torch.autograd.graph


def values(t):
    return np.asarray(t.detach()).tolist()


def test_saved_tensors_hooks(torch, graph):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    seen = []

    def pack(t):
        seen.append(type(t) is torch.Tensor)
        return t.detach().numpy() * 2

    with graph.saved_tensors_hooks(pack, lambda a: torch.tensor(a)):
        y = (x.exp() * x).sum()
    assert seen and all(seen)
    y.backward()
    assert values(x.grad) == pytest.approx(list(2 * np.exp([1.0, 2.0]) * (1 + 2 * np.array([1.0, 2.0]))), rel=1e-5)
    with graph.saved_tensors_hooks(lambda t: t, lambda p: 3):
        y = x.exp().sum()
    with pytest.raises(
        TypeError, match="Output of saved tensor unpack_hook expected to be a Tensor but got result of type int"
    ):
        y.backward()
    with graph.save_on_cpu():
        y = (x * x).sum()
    x.grad = None
    y.backward()
    assert values(x.grad) == [2, 4]


def test_anomaly_mode(torch):
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Anomaly Detection has been enabled")
        with torch.autograd.detect_anomaly():
            y = (x.sqrt() * torch.tensor([0.0, 1.0])).sum()
            with pytest.warns(
                UserWarning,
                match=r"(?s)Error detected in SqrtBackward0. Traceback of forward call that caused the error:.*test_torch_graph",
            ):
                with pytest.raises(
                    RuntimeError, match="Function 'SqrtBackward0' returned nan values in its 0th output."
                ):
                    y.backward()
        with torch.autograd.set_detect_anomaly(True):
            y = (x.sqrt() * torch.tensor([0.0, 1.0])).sum()
            with pytest.warns(UserWarning, match="SqrtBackward0"), pytest.raises(RuntimeError, match="nan"):
                y.backward()
        y = (x.sqrt() * torch.tensor([0.0, 1.0])).sum()
        y.backward()
        assert np.isnan(values(x.grad)[0])
        with torch.autograd.detect_anomaly(check_nan=False):
            (x.sqrt() * torch.tensor([0.0, 1.0])).sum().backward()


def test_anomaly_mode_finds_a_value_changed_in_place(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Anomaly Detection has been enabled")
        with torch.autograd.detect_anomaly():
            y = x.exp()
            y += 1
            with pytest.warns(UserWarning, match="Error detected in ExpBackward0"):
                with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                    y.sum().backward()


def test_inference_mode(torch):
    w = torch.tensor([2.0], requires_grad=True)
    with torch.inference_mode():
        y = w * 3.0
        a = torch.ones(1)
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
        y.mul_(1.0)
    assert not torch.is_inference_mode_enabled() and y.is_inference() and a.is_inference() and not w.is_inference()
    assert not y.requires_grad
    for t in (y, a):
        with pytest.raises(
            RuntimeError,
            match="Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode",
        ):
            w * t
        with pytest.raises(
            RuntimeError, match="Inplace update to inference tensor outside InferenceMode is not allowed"
        ):
            t.add_(1.0)
        with pytest.raises(
            RuntimeError, match="Setting requires_grad=True on inference tensor outside InferenceMode is not allowed"
        ):
            t.requires_grad_()
        assert (w * t.clone()).requires_grad and (w + t).requires_grad

    @torch.inference_mode()
    def predict():
        return w * 2.0

    assert predict().is_inference()
    with torch.inference_mode(False):
        assert (w * 2.0).requires_grad


def test_hooks_of_nodes(torch):
    x, w = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0], requires_grad=True)
    y = x * w
    seen = []
    handle = y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: seen.append((grad_inputs, grad_outputs)))
    (y * 2.0).sum().backward(retain_graph=True)
    ((a, b), (g,)) = seen[0]
    assert values(a) == [6, 8] and values(b) == [2, 4] and values(g) == [2, 2] and type(a) is torch.Tensor
    handle.remove()
    with y.grad_fn.register_prehook(lambda grad_outputs: (grad_outputs[0] * 10.0,)):
        assert [values(g) for g in torch.autograd.grad(y.sum(), [x, w], retain_graph=True)] == [[30, 40], [10, 20]]
    assert [values(g) for g in torch.autograd.grad(y.sum(), [x, w])] == [[3, 4], [1, 2]]
    assert len(seen) == 1
    y = x.split(1)[0] * 1.0
    ((leaf, _),) = y.grad_fn.next_functions[0][0].next_functions
    assert leaf.variable is x


def test_hooks_of_several_tensors(torch, graph):
    x, w = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    y = x * w
    every, first = [], []
    handles = [
        graph.register_multi_grad_hook((x, w, y), lambda grads: every.append(grads)),
        graph.register_multi_grad_hook((x, y), lambda grad: first.append(grad), mode="any"),
    ]
    (y * 2.0).backward()
    assert [float(g) for g in every[0]] == [6, 4, 2] and [float(g) for g in first] == [2]
    (x * 5.0).backward()
    assert [None if g is None else float(g) for g in every[1]] == [5, None, None]
    for h in handles:
        h.remove()
    (x * w).backward()
    assert len(every) == 2


def test_gradient_edges(torch, graph):
    x = torch.tensor(2.0, requires_grad=True)
    y = x.exp()
    assert graph.get_gradient_edge(y).node.name() == "ExpBackward0" and graph.get_gradient_edge(y).output_nr == 0
    with pytest.raises(RuntimeError, match="not possible to get the gradient edge for a Tensor that does not require"):
        graph.get_gradient_edge(x.detach())
