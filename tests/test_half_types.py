"""Half types do not overflow on the way to a result that they can hold."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.torch as torch
from gpugrad.nn.losses import RowLoss
from gpugrad.ops import loss
from gpugrad.ops.linalg import vector_norm
from gpugrad.ops.norm import clip_by_global_norm, clip_by_norm, normalize
from gpugrad.optim import clip

pytestmark = pytest.mark.devices

HALF = [gg.float16, gg.bfloat16]
LENGTH = {"float16": 1e-3, "bfloat16": 1e-2}


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_lengths(dtype):
    x = gg.tensor([300.0, 400.0], dtype=dtype, requires_grad=True)
    y = vector_norm(x)
    assert y.dtype == dtype and float(y.detach()) == 500
    (g,) = gg.grad(y, x)
    np.testing.assert_allclose(g.numpy().astype(float), [0.6, 0.8], rtol=LENGTH[str(dtype)])
    for z in (normalize(x), clip_by_norm(x, 1.0), clip_by_global_norm([x], 1.0)[0][0]):
        assert z.dtype == dtype
        np.testing.assert_allclose(z.detach().numpy().astype(float), [0.6, 0.8], rtol=LENGTH[str(dtype)])
    y = gg.nn.layer_norm(gg.tensor([300.0, -300.0], dtype=dtype), (2,))
    assert y.dtype == dtype and y.tolist() == [1, -1]
    assert clip.norm([x.array]) == 500


def test_clipped_gradients_of_half_types():
    p = gg.Parameter(np.zeros(2, np.float16))
    optimizer = gg.optim.SGD([p], learning_rate=1.0, global_clipnorm=1.0)
    optimizer.apply_gradients([(gg.tensor([300.0, 400.0], dtype=gg.float16), p)])
    np.testing.assert_allclose(p.numpy().astype(float), [-0.6, -0.8], rtol=1e-3)
    p.grad = gg.tensor([300.0, 400.0], dtype=gg.float16)
    assert float(clip.clip_grad_norm_([p], 1.0)) == 500
    np.testing.assert_allclose(p.grad.numpy().astype(float), [0.6, 0.8], rtol=1e-3)


def test_norms_of_every_order():
    x = torch.tensor([3.0, 0.0, -4.0], requires_grad=True)
    for p, wanted in ((0, 2), (1, 7), (2, 5), (3, 91 ** (1 / 3)), (np.inf, 4), (-np.inf, 0)):
        assert float(torch.norm(x, p).detach()) == pytest.approx(wanted)
    (g,) = torch.autograd.grad(torch.norm(x, -np.inf), x)
    assert g.tolist() == [0, 0, 0]  # sign(0)
    (g,) = torch.autograd.grad(torch.norm(x[::2], -np.inf), x)
    assert g.tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Adagrad"])
def test_complex_variables_are_refused_before_anything_changes(name):
    p, c = gg.Parameter([1.0]), gg.Parameter(np.array([1 + 1j], np.complex64))
    optimizer = getattr(gg.optim, name)([p, c])
    with pytest.raises(TypeError, match=f"{name}: complex variables are not supported"):
        optimizer.apply_gradients([(gg.tensor([1.0]), p), (gg.tensor(np.array([1 + 2j], np.complex64)), c)])
    assert p.tolist() == [1.0]


def test_weights_of_rows():
    class Squares(RowLoss):
        f = staticmethod(lambda target, prediction: loss.squared_rows(prediction, target))

    target, prediction = gg.tensor([[1.0], [2.0]]), gg.tensor([[0.0], [0.0]])
    assert float(Squares()(target, prediction, sample_weight=[[1.0], [0.5]])) == 1.5
    assert float(Squares()(target, prediction, sample_weight=[1.0, 0.5])) == 1.5
    with pytest.raises(ValueError, match="sample_weight has shape"):
        Squares()(target, prediction, sample_weight=[[1.0, 0.5]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_choices_between_half_types_stay_so(dtype):
    """CuPy's `where`, and the stand-in's, answers float32 for bfloat16."""
    x = gg.tensor([-1.0, 2.0, 3.0], dtype=dtype)
    for f in (lambda x: gg.where(x > 0, x, x * 2), gg.nn.leaky_relu, gg.nn.elu, gg.nn.relu, gg.nn.relu_mask):
        with gg.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        assert y.dtype == tape.gradient(y, x).dtype == x.dtype
