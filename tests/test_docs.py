"""docs/ops.md is what the op table and the docstrings say, and nothing that was asked for is missing from it."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from table import ROWS

import gpugrad as gg

ROOT = Path(__file__).resolve().parent.parent

ASKED = {
    "element-wise": """abs add subtract multiply divide floor_divide remainder fmod pow float_power negative positive
        sign square sqrt rsqrt cbrt reciprocal exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 sin cos tan asin
        acos atan atan2 sinh cosh tanh asinh acosh atanh hypot sinc deg2rad rad2deg floor ceil round trunc frac maximum
        minimum fmax fmin clip copysign nan_to_num where lerp heaviside equal not_equal less less_equal greater
        greater_equal logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_invert
        bitwise_left_shift bitwise_right_shift isfinite isnan isinf real imag conj angle""",
    "special": """special.erf special.erfc special.erfinv special.erfcx special.ndtr special.ndtri special.log_ndtr
        special.gammaln special.digamma special.polygamma special.gammainc special.gammaincc special.betaln special.i0
        special.i0e special.i1 special.i1e special.xlogy special.xlog1py special.entr special.logit special.expit
        special.zeta""",
    "activations": """relu nn.relu6 nn.leaky_relu nn.prelu nn.elu nn.selu nn.celu nn.gelu nn.silu nn.mish
        nn.softplus nn.softsign sigmoid nn.log_sigmoid nn.hardtanh nn.hardsigmoid nn.hardswish nn.hardshrink
        nn.softshrink nn.tanhshrink nn.threshold nn.glu softmax log_softmax""",
    "reductions and scans": """sum mean prod max min var std norm logsumexp cumsum cumprod cummax cummin cumlogsumexp
        argmax argmin count_nonzero all any median quantile diff trapezoid""",
    "shape": """reshape permute_dims matrix_transpose swapaxes moveaxis squeeze expand_dims broadcast_to
        broadcast_arrays flip roll tile repeat concat stack split unstack pad diagonal diag diag_embed tril triu trace
        rot90 meshgrid""",
    "indexing": """getitem Tensor.at take take_along_axis put_along_axis gather_nd scatter_nd index_add masked_fill
        masked_select sort argsort topk searchsorted one_hot segment_sum segment_mean segment_max nn.embedding nn.unfold
        nn.fold""",
    "linear algebra": """matmul dot vecdot inner outer tensordot einsum kron cross linalg.inv linalg.pinv linalg.solve
        linalg.lstsq linalg.det linalg.slogdet linalg.cholesky linalg.qr linalg.eigh linalg.eigvalsh linalg.svd
        linalg.svdvals linalg.matrix_power linalg.matrix_exp linalg.solve_triangular linalg.matrix_norm
        linalg.vector_norm cdist""",
    "fft": """fft.fft fft.ifft fft.rfft fft.irfft fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2 fft.fftn fft.ifftn fft.rfftn
        fft.irfftn fft.fftshift""",
    "convolution and pooling": """nn.conv1d nn.conv2d nn.conv3d nn.conv_transpose1d nn.conv_transpose2d
        nn.conv_transpose3d nn.max_pool1d nn.max_pool2d nn.max_pool3d nn.avg_pool1d nn.avg_pool2d nn.avg_pool3d
        nn.adaptive_avg_pool2d nn.adaptive_max_pool2d nn.global_avg_pool nn.global_max_pool nn.interpolate""",
    "normalisation and attention": """nn.batch_norm nn.layer_norm nn.rms_norm nn.group_norm nn.instance_norm
        nn.l2_normalize nn.scaled_dot_product_attention""",
    "losses": """nn.mse_loss nn.l1_loss nn.huber_loss nn.smooth_l1_loss nn.binary_cross_entropy
        nn.binary_cross_entropy_with_logits nn.cross_entropy nn.nll_loss nn.kl_div nn.hinge_embedding_loss
        nn.cosine_similarity nn.cosine_embedding_loss nn.triplet_margin_loss nn.poisson_nll_loss nn.gaussian_nll_loss
        nn.ctc_loss""",
    "random": """random.normal random.uniform random.randint random.permutation random.bernoulli random.categorical
        random.truncated_normal random.dropout""",
    "sparse": "sparse.solve sparse.cg",
}


# Functions whose results are integers, booleans, patterns or constants.
WITHOUT_A_GRADIENT = """all any argmax argmin argsort bitwise_and bitwise_invert bitwise_left_shift bitwise_or
    bitwise_right_shift bitwise_xor count_nonzero equal greater greater_equal isclose isfinite isinf isnan less
    less_equal logical_and logical_not logical_or logical_xor not_equal one_hot searchsorted signbit stop_gradient
    linalg.matrix_rank fft.fftfreq fft.rfftfreq random.bernoulli random.categorical random.permutation random.randint
    sparse.coo sparse.csr"""


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("ops_page", ROOT / "docs" / "ops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_table_says(page):
    assert (ROOT / "docs" / "ops.md").read_text(encoding="utf-8") == page.text(), "run python docs/ops.py"


@pytest.mark.parametrize("family", ASKED)
def test_every_name_is_there_and_on_the_page(page, family):
    text = page.text()
    missing = [n for n in ASKED[family].split() if f"`{n}`" not in text]
    assert not missing


def test_a_kink_that_is_stated_is_proven(page):
    """Whose docstring has a paragraph "Kink: ..." has a row with `kinks`."""
    stated = {r.op for r in ROWS if page.kinks(page.found(r.op).function)}
    assert stated <= {r.op for r in ROWS if r.kinks}


def test_every_public_function_is_proven(page):
    """It has a row, or is named above and in a test."""
    with_rows = {page.found(r.op).function for r in ROWS}
    named = set(WITHOUT_A_GRADIENT.split())
    without = set()
    for prefix, space in {"": gg, **page.NAMESPACES}.items():
        for public, f in vars(space).items():
            module = getattr(f, "__module__", None) or ""
            if (
                inspect.isfunction(f)
                and public[0] != "_"
                and (module.startswith("gpugrad.ops.") or module == space.__name__ != "gpugrad")
            ):
                without |= set() if f in with_rows else {f"{prefix}.{public}" if prefix else public}
    assert without == named
    tests = "".join([p.read_text(encoding="utf-8") for p in ROOT.glob("tests/test_*.py") if p != Path(__file__)])
    assert not [n for n in named if not re.search(rf"\b{n.split('.')[-1]}\b", tests)]
