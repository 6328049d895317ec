"""PyTorch's functions by name: values and gradients against those that PyTorch gave.

`python tests/doors/test_torch_names.py` writes torch_results.json with PyTorch; tests compare, and so with `--against`.
"""

import json
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).with_name("torch_results.json")
X = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]]
Y = [[1.25, 0.75, -1.5], [-0.25, 2.5, 0.5]]
POSITIVE = [[4.0, 1.0, 0.5], [1.0, 3.0, -0.25], [0.5, -0.25, 2.0]]
INDEX = [[1, 0, 1], [0, 1, 0]]
IMAGE = (np.sin(np.arange(72) * 1.7).reshape(2, 2, 3, 6) * 2).tolist()
KERNEL = (np.cos(np.arange(24) * 0.9).reshape(3, 2, 2, 2)).tolist()
LINE = (np.sin(np.arange(24) * 2.3).reshape(2, 2, 6)).tolist()

# Of two tensors x and y.
TWO = {
    **{name: lambda t, F, x, y, name=name: getattr(t, name)(x, y) for name in (
        "copysign fmax fmin fmod remainder logaddexp logaddexp2 hypot atan2 arctan2 inner kron maximum minimum"
    ).split()},
    **{f"Tensor.{name}": lambda t, F, x, y, name=name: getattr(x, name)(y) for name in (
        "copysign fmax fmod logaddexp2 inner kron greater less_equal not_equal allclose isclose equal"
    ).split()},
    "heaviside": lambda t, F, x, y: t.heaviside(x.detach() - 0.5, y.detach()) + x.detach().heaviside(y.detach()),
    "float_power": lambda t, F, x, y: t.float_power(x.abs(), y),
    "xlogy": lambda t, F, x, y: t.xlogy(x, y.abs()),
    "special.xlog1py": lambda t, F, x, y: t.special.xlog1py(x, y.abs()),
    "addcmul": lambda t, F, x, y: t.addcmul(x, y, x, value=0.5) + x.addcdiv(x, y, value=2),
    "addmv": lambda t, F, x, y: t.addmv(x[:, 0], x, y[0], beta=0.5, alpha=2),
    "addmm": lambda t, F, x, y: t.addmm(x[:, :2], x, y.T, beta=0.5) + t.baddbmm(x[None, :, :2], x[None], y.T[None]),
    "lerp": lambda t, F, x, y: t.lerp(x, y, 0.25) + x.lerp(y, y),
    "dist": lambda t, F, x, y: t.stack([t.dist(x, y), x.dist(y, 1)]),
    "cdist": lambda t, F, x, y: t.cdist(x, y) + t.cdist(x, y, p=1.0),
    "cross": lambda t, F, x, y: t.cross(x, y, dim=1) + t.cross(x, y) + t.linalg.cross(x, y),
    "dot": lambda t, F, x, y: t.dot(x[0], y[0]) + t.vdot(x[1], y[1]) + t.linalg.vecdot(x, y).sum(),
    "mm": lambda t, F, x, y: t.mm(x, y.T) + t.bmm(x[None], y.T[None])[0] + t.mv(x, y[0]) + t.outer(x[:, 0], y[0, :2]),
    "tensordot": lambda t, F, x, y: t.tensordot(x, y, dims=([1], [1])),
    "max of two": lambda t, F, x, y: t.max(x, y) + x.min(y),
    "searchsorted": lambda t, F, x, y: t.searchsorted(x[0].sort()[0], y),
    "searchsorted right": lambda t, F, x, y: t.searchsorted(x[0].sort().values, x, right=True),
    "bucketize": lambda t, F, x, y: t.bucketize(y, x[0].sort().values) + t.bucketize(x, x[0].sort()[0], right=True),
    "trapezoid": lambda t, F, x, y: t.trapezoid(x, y) + t.trapz(x, dx=0.5),
    "index_add": lambda t, F, x, y: t.index_add(x, 0, t.tensor([1, 1]), y, alpha=2),
    "scatter": lambda t, F, x, y: x.scatter(0, t.tensor(INDEX), y),
    "scatter shorter": lambda t, F, x, y: t.scatter(x, 1, t.tensor([[2], [0]]), y[:, :1]),
    "scatter value": lambda t, F, x, y: x.scatter(1, t.tensor([[2], [0]]), value=7.0) + y,
    "scatter_add": lambda t, F, x, y: t.scatter_add(x, 1, t.tensor([[2, 2], [0, 1]]), y[:, :2]),
    "scatter_reduce": lambda t, F, x, y: t.scatter_reduce(x, 1, t.tensor([[2, 0], [0, 1]]), y[:, :2], reduce="amax"),
    "scatter_reduce prod": lambda t, F, x, y: x.scatter_reduce(1, t.tensor([[2, 2], [0, 1]]), y[:, :2], "prod"),
    "in place": lambda t, F, x, y: (x * 1).addcmul_(x, y).clamp_(-2, 2).index_add_(0, t.tensor([0, 1]), y).lerp_(y, 0.5),
    "scatter_": lambda t, F, x, y: (x * 1).scatter_(0, t.tensor(INDEX), y).scatter_add_(0, t.tensor(INDEX), y),
    "masked_select": lambda t, F, x, y: t.masked_select(x, y > 0) + (x * y).masked_select(y > 0),
    "solve": lambda t, F, x, y: t.linalg.solve(t.tensor(POSITIVE, dtype=t.float64) + x.T @ y * 0.1, y.T),
    "solve_triangular": lambda t, F, x, y: t.linalg.solve_triangular(x[:, :2], y, upper=True),
    "lstsq": lambda t, F, x, y: t.linalg.lstsq(x.T, y.T).solution,
    "linalg.matmul": lambda t, F, x, y: t.linalg.matmul(x, y.T),
    "isclose": lambda t, F, x, y: t.isclose(x, x + 1e-7 * y),
    "equal": lambda t, F, x, y: t.tensor([t.equal(x, y), t.equal(x, x), t.allclose(x, x), t.allclose(x, y)]),
    "F.cosine_similarity": lambda t, F, x, y: F.cosine_similarity(x, y) + t.cosine_similarity(x, y, dim=1),
    "F.pairwise_distance": lambda t, F, x, y: F.pairwise_distance(x, y) + F.pairwise_distance(x, y, p=1.0),
    "F.kl_div": lambda t, F, x, y: F.kl_div(x, y.abs(), reduction="batchmean") + F.kl_div(x, y, log_target=True),
    "F.poisson_nll_loss": lambda t, F, x, y: F.poisson_nll_loss(x, y.abs()) + F.poisson_nll_loss(x.abs(), y, False),
    "F.gaussian_nll_loss": lambda t, F, x, y: F.gaussian_nll_loss(x, y, y.abs(), full=True),
    "F.hinge_embedding_loss": lambda t, F, x, y: F.hinge_embedding_loss(x, t.sign(y), 0.8),
    "F.margin_ranking_loss": lambda t, F, x, y: F.margin_ranking_loss(x, y, t.sign(y.detach()), 0.3, reduction="sum"),
    "F.soft_margin_loss": lambda t, F, x, y: F.soft_margin_loss(x, t.sign(y.detach()), reduction="none"),
    "F.cosine_embedding_loss": lambda t, F, x, y: F.cosine_embedding_loss(x, y, t.tensor([1, -1]), 0.1),
    "F.triplet_margin_loss": lambda t, F, x, y: F.triplet_margin_loss(x, y, x * y, margin=3.0),
    "F.multi_margin_loss": lambda t, F, x, y: F.multi_margin_loss(x, t.tensor([2, 0])) * y.sum(),
    "F.multilabel_margin_loss": lambda t, F, x, y: F.multilabel_margin_loss(x, t.tensor([[2, 0, -1], [1, -1, 0]])),
    "F.multilabel_soft_margin_loss": lambda t, F, x, y: F.multilabel_soft_margin_loss(x, (y > 0).double()),
    "F.prelu": lambda t, F, x, y: F.prelu(x, y[0, :1]) + t.prelu(x, y[0]),
    "F.scaled_dot_product_attention": lambda t, F, x, y: F.scaled_dot_product_attention(x, y, y),
    "F.scaled_dot_product_attention causal": lambda t, F, x, y: F.scaled_dot_product_attention(x, y, x, is_causal=True),
}  # fmt: skip
# Of one tensor x.
ONE = {
    **{name: lambda t, F, x, name=name: getattr(t, name)(x) for name in (
        "angle deg2rad rad2deg sinc frac signbit positive clone trace median nansum nanmean diff fix absolute ravel t "
        "erfc arcsinh arctan std var sort argsort count_nonzero nonzero flatten selu celu amax amin any all adjoint real"
    ).split()},
    **{f"Tensor.{name}": lambda t, F, x, name=name: getattr(x, name)() for name in (
        "deg2rad sinc frac median nansum diff ravel t sort max argmax amin trace erfc clone svd"
    ).split() if name != "svd"},
    **{f"special.{name}": lambda t, F, x, name=name: getattr(t.special, name)(x) for name in (
        "erf erfc erfcx entr i0 i0e i1 i1e ndtr log_ndtr expit exp2 expm1 sinc"
    ).split()},
    **{f"F.{name}": lambda t, F, x, name=name: getattr(F, name)(x) for name in (
        "relu6 selu hardsigmoid hardswish mish softsign tanhshrink logsigmoid hardshrink softshrink celu hardtanh softplus "
        "gelu elu silu"
    ).split()},
    "rsqrt": lambda t, F, x: t.rsqrt(x.abs()) + x.abs().lgamma() + t.digamma(x.abs()),
    "erfinv": lambda t, F, x: t.erfinv(x / 3) + t.special.ndtri(x.sigmoid()) + t.logit(x.sigmoid(), eps=0.3),
    "mvlgamma": lambda t, F, x: t.mvlgamma(x.abs() + 2, 2),
    "clamp_min": lambda t, F, x: x.clamp_min(0.3) + t.clamp_max(x, 1.0) + x.clip(-0.75, 1.75) + t.clamp(x, max=1.0),
    "nan_to_num": lambda t, F, x: t.nan_to_num(x / (x - 0.5), posinf=3.0) + x.nan_to_num(),
    "bitwise": lambda t, F, x: t.bitwise_and((x * 4).long(), 6) + t.bitwise_xor((x * 4).long(), 5),
    "bitwise_not": lambda t, F, x: t.bitwise_not((x * 4).long()) + t.bitwise_left_shift((x * 4).long(), t.tensor(2)),
    "round": lambda t, F, x: t.round(x * 1.234, decimals=1),
    # along axes
    "cumprod": lambda t, F, x: t.cumprod(x, 1) + x.cumprod(dim=0),
    "logcumsumexp": lambda t, F, x: t.logcumsumexp(x, 1) + x.logcumsumexp(dim=0),
    "cummax": lambda t, F, x: [*t.cummax(x, 1), t.cummin(x, dim=0).values, x.cummin(1).indices],
    "median dim": lambda t, F, x: [*t.median(x, 1), t.median(x, 0, keepdim=True).values, x.median(dim=0).indices],
    "median ties": lambda t, F, x: t.median(t.cat([x, x], 0)),
    "quantile": lambda t, F, x: t.quantile(x, 0.3) + t.quantile(x, t.tensor([0.25, 0.8], dtype=t.float64), dim=1).sum(0),
    "quantile nearest": lambda t, F, x: t.quantile(x, 0.3, dim=1, keepdim=True, interpolation="lower"),
    "nanmean dim": lambda t, F, x: t.nanmean(x, 1, keepdim=True) + x.nansum(0),
    "diff n": lambda t, F, x: [t.diff(x, n=2), t.diff(x, dim=0, prepend=x[:1]), x.diff(append=x[:, :1])],
    "sort": lambda t, F, x: [*t.sort(x, 1, descending=True), x.sort(dim=0).values, x.argsort(1, True)],
    "topk": lambda t, F, x: [*t.topk(x, 2), x.topk(1, dim=0, largest=False).values],
    "max": lambda t, F, x: [*t.max(x, 1), t.min(x, 0, keepdim=True).values, x.max(), t.amax(x, (0, 1)), x.amin(1, True)],
    "std": lambda t, F, x: [t.std(x, 1), x.std(), t.var(x, dim=0, unbiased=False), x.var(1, correction=0, keepdim=True)],
    "logsumexp": lambda t, F, x: t.logsumexp(x, 1) + x.logsumexp(dim=(0, 1)),
    "norm": lambda t, F, x: t.stack([t.norm(x), x.norm(1), x.norm(p=float("inf")), t.norm(x, "fro")]),
    "norm dim": lambda t, F, x: t.norm(x, dim=1) + t.norm(x, 3, dim=1),
    "chunk": lambda t, F, x: [*t.chunk(x, 2, 1), *x.split(2, dim=1), *t.split(x, [1, 1])],
    # shapes and places
    "diagonal": lambda t, F, x: [t.diagonal(x), x.diagonal(1), x[None].diagonal(0, 1, 2), t.diag_embed(x), t.diag(x[0], 1)],
    "rot90": lambda t, F, x: [t.rot90(x), x.rot90(2), t.rot90(x, -1, [0, 1])],
    "unflatten": lambda t, F, x: [t.unflatten(x, 1, (3, 1)), x.flatten().unflatten(0, (-1, 2)), x[None].flatten(0, 1)],
    "select": lambda t, F, x: [t.select(x, 1, -1), x.select(0, 1), t.narrow(x, 1, 1, 2), x.narrow(1, -2, 1)],
    "movedim": lambda t, F, x: [t.movedim(x, 0, 1), x.moveaxis(0, -1), t.swapaxes(x, 0, 1), x.transpose(0, 1), x.swapdims(0, 1)],
    "reshape": lambda t, F, x: [t.reshape(x, (3, 2)), x.reshape(3, -1), x.permute(1, 0), t.permute(x, (1, 0)), x.view(6)],
    "squeeze": lambda t, F, x: [x[None].squeeze(), t.squeeze(x[None], 0), x.unsqueeze(1), t.unsqueeze(x, -1), x[:1].expand(2, -1)],
    "flip": lambda t, F, x: [t.flip(x, (0, 1)), x.flip([1]), t.roll(x, 1), x.roll(1, 1), t.tril(x), x.triu(1)],
    "tile": lambda t, F, x: [t.tile(x, (2, 1)), x.repeat(1, 2), x.repeat_interleave(2, dim=1), t.broadcast_to(x, (2, 2, 3))],
    "take": lambda t, F, x: [t.take(x, t.tensor([0, 5])), x.take_along_dim(t.tensor(INDEX), 1), t.gather(x, 1, t.tensor(INDEX))],
    "index_select": lambda t, F, x: [x.index_select(1, t.tensor([2, 0])), *t.unbind(x), *x.unbind(1)],
    "nonzero": lambda t, F, x: [(x > 0).nonzero(), *t.nonzero(x > 0, as_tuple=True), x.count_nonzero(0)],
    "F.pad": lambda t, F, x: [F.pad(x, (1, 2)), F.pad(x, (1, -1, 0, 1), value=3.0), F.pad(x[None], (1, 1), mode="reflect")],
    "F.pad modes": lambda t, F, x: [F.pad(x[None], (2, 1), "replicate"), F.pad(x[None], (2, 1), mode="circular")],
    # matrices
    "norms": lambda t, F, x: t.stack([t.linalg.norm(x), t.linalg.matrix_norm(x, "nuc"), t.linalg.norm(x, 2), t.linalg.norm(x, 1)]),
    "vector_norm": lambda t, F, x: t.linalg.vector_norm(x, 3, dim=1) + t.linalg.norm(x, dim=1) + t.linalg.vector_norm(x),
    "matrix_exp": lambda t, F, x: t.matrix_exp(x[:, :2]) + t.linalg.matrix_power(x[:, 1:], 3) + t.linalg.matrix_exp(x[:, :2]),
    "inv": lambda t, F, x: t.linalg.inv(x[:, :2]) + t.inverse(x[:, ::2]) + x[:, :2].matrix_power(-2) + x[:, ::2].inverse(),
    "det": lambda t, F, x: [t.det(x[:, :2]), t.linalg.det(x[:, ::2]), *t.linalg.slogdet(x[:, :2]), x[:, :2].logdet()],
    "pinv": lambda t, F, x: t.linalg.pinv(x) + t.pinverse(x),
    "svd": lambda t, F, x: [t.linalg.svdvals(x), t.linalg.svd(x, full_matrices=False).S, t.svd(x).U @ t.svd(x).V.T],
    "qr": lambda t, F, x: [t.linalg.qr(x.T)[1].abs(), t.linalg.matrix_rank(x), t.linalg.qr(x.T).Q.abs()],
    "eigh": lambda t, F, x: [t.linalg.eigvalsh(x.T @ x), t.linalg.eigh(x @ x.T).eigenvalues],
    "cholesky": lambda t, F, x: [t.linalg.cholesky(x @ x.T), t.cholesky(x @ x.T, upper=True)],
    "linalg.diagonal": lambda t, F, x: t.linalg.diagonal(x) + x.diagonal(),
    "fft": lambda t, F, x: [t.abs(v) for v in (t.fft.fft(x), t.fft.rfft(x, 4), t.fft.fft2(x), t.fft.fftn(x, dim=(0,)))],
    "ifft": lambda t, F, x: [t.fft.ifft(t.fft.fft(x)).real, t.fft.irfft(t.fft.rfft(x), n=3), t.fft.rfft(x, norm="ortho").real],
    "fftshift": lambda t, F, x: t.fft.fftshift(x) + t.fft.ifftshift(x, dim=1),
    # networks
    "F.threshold": lambda t, F, x: F.threshold(x, 0.3, 7.0) + F.hardtanh(x, -0.3, 0.4) + F.celu(x, alpha=0.5),
    "F.softplus beta": lambda t, F, x: F.softplus(x, beta=3.0) + F.softplus(x * 9, 2, 4),
    "F.glu": lambda t, F, x: F.glu(x, dim=0),
    "F.softmin": lambda t, F, x: F.softmin(x, dim=1) + F.softmax(x, dim=0),
    "F.normalize": lambda t, F, x: F.normalize(x) + F.normalize(x, p=1.0, dim=0),
    "F.ctc_loss": lambda t, F, x: F.ctc_loss(F.log_softmax(x.T[:, :, None] * t.arange(3.0), -1), t.tensor([[1], [2]]), (3, 3), (1, 1)),
}  # fmt: skip
# Of an image (2, 2, 3, 6) and a kernel (3, 2, 2, 2), or of lines (2, 2, 6) and what is in the kernel.
IMAGES = {
    "F.conv2d": lambda t, F, x, w: F.conv2d(x, w, t.ones(3).double(), stride=2, padding=1),
    "F.conv2d same": lambda t, F, x, w: F.conv2d(x, w, padding="same") + F.conv2d(x, w, padding=1)[..., 1:, 1:],
    "F.conv2d dilation": lambda t, F, x, w: F.conv2d(x, w[:2, :1], dilation=(1, 2), groups=2),
    "F.conv1d": lambda t, F, x, w: F.conv1d(x[:, :, 0], w[:, :, 0], padding=1),
    "F.conv3d": lambda t, F, x, w: F.conv3d(x[None], w[None, :, :2].reshape(2, 2, 1, 2, 3)[:, :, :, :, :2]),
    "F.conv_transpose2d": lambda t, F, x, w: F.conv_transpose2d(x, w[:2], stride=2, padding=1, output_padding=1),
    "F.conv_transpose1d": lambda t, F, x, w: F.conv_transpose1d(x[:, :, 0], w[:2, :, 0], stride=2),
    "F.max_pool2d": lambda t, F, x, w: [F.max_pool2d(x, 2), *F.max_pool2d(x, 2, 1, 1, return_indices=True)],
    "F.max_pool1d": lambda t, F, x, w: F.max_pool1d(x[:, :, 0], 3, stride=1, padding=1),
    "F.max_pool3d": lambda t, F, x, w: F.max_pool3d(x, 2),
    "F.avg_pool2d": lambda t, F, x, w: [F.avg_pool2d(x, 2, padding=1, count_include_pad=False), F.avg_pool2d(x, (3, 2), divisor_override=5)],
    "F.avg_pool1d": lambda t, F, x, w: F.avg_pool1d(x[:, :, 0], 4, 3, ceil_mode=True),
    "F.adaptive": lambda t, F, x, w: [F.adaptive_avg_pool2d(x, (2, 3)), F.adaptive_max_pool2d(x, 2), F.adaptive_avg_pool1d(x[0], 4)],
    "F.interpolate": lambda t, F, x, w: [F.interpolate(x, scale_factor=2), F.interpolate(x, (2, 9), mode="bilinear")],
    "F.interpolate corners": lambda t, F, x, w: F.interpolate(x, (5, 4), mode="bilinear", align_corners=True),
    "F.unfold": lambda t, F, x, w: F.unfold(x, (2, 3), padding=1, stride=2),
    "F.fold": lambda t, F, x, w: F.fold(x.reshape(2, 12, 3), (4, 2), 2, stride=1),
    "F.group_norm": lambda t, F, x, w: F.group_norm(x, 2, w[0, 0, 0], w[1, 0, 0]) + F.group_norm(x, 1),
    "F.instance_norm": lambda t, F, x, w: F.instance_norm(x, weight=w[0, 0, 0]),
}  # fmt: skip
GIVEN = {"one": (ONE, (X,)), "two": (TWO, (X, Y)), "images": (IMAGES, (IMAGE, KERNEL))}
CASES = [(kind, name) for kind, (table, _) in GIVEN.items() for name in table]


def flat(v):
    return [p for u in v for p in flat(u)] if isinstance(v, (list, tuple)) else [v]


def measured(torch, kind, name):
    """What the function gives, and the gradient of a weighted sum of that."""
    F = torch.nn.functional
    table, given = GIVEN[kind]
    given = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in given]
    out = [v if hasattr(v, "detach") else torch.tensor(v) for v in flat(table[name](torch, F, *given))]
    total = sum([(v * (torch.arange(v.numel()).reshape(v.shape) * 0.3 + 1)).sum() for v in out if v.requires_grad])
    if hasattr(total, "backward"):
        total.backward()
    host = lambda v: None if v is None else np.round(np.array(v.detach().tolist(), dtype=float), 7).tolist()
    return [host(v) for v in out], [host(v.grad) for v in given]


@pytest.fixture(scope="module")
def results():
    return json.loads(FILE.read_text(encoding="utf-8"))


def close(got, wanted):
    if wanted is None or got is None:
        return not np.any(got or wanted or 0)
    return np.shape(got) == np.shape(wanted) and np.allclose(got, wanted, 1e-6, 1e-7, equal_nan=True)


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_values_and_gradients(torch, results, kind, name):
    values, gradients = measured(torch, kind, name)
    wanted, wanted_gradients = results[f"{kind} {name}"]
    assert len(values) == len(wanted) and all([close(*pair) for pair in zip(values, wanted)])
    assert all([close(*pair) for pair in zip(gradients, wanted_gradients)])


def test_the_results_are_of_these_cases(results):
    assert set(results) == {f"{kind} {name}" for kind, name in CASES}


if __name__ == "__main__":
    import torch as real

    lines = [f"{json.dumps(f'{k} {n}')}: {json.dumps(measured(real, k, n))}" for k, n in CASES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
