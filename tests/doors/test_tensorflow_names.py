"""TensorFlow's functions by name: values and gradients against those that TensorFlow gave.

`python tests/doors/test_tensorflow_names.py` writes tensorflow_results.json with TensorFlow; tests compare, and so with
`--against`.
"""

import json
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).with_name("tensorflow_results.json")
X = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]]
Y = [[1.25, 0.75, -1.5], [-0.25, 2.5, 0.5]]
S = [[4.0, 1.0], [1.0, 3.0]]
B = [[1.0, 2.0, 0.5], [-1.0, 0.5, 2.0]]
IMAGE = (np.sin(np.arange(70) * 1.7).reshape(1, 5, 7, 2) * 2).tolist()
KERNEL = (np.cos(np.arange(24) * 0.9).reshape(2, 2, 2, 3)).tolist()
AT = [[0, 1], [1, 2], [0, 1]]

# Of two tensors x and y.
TWO = {
    **{name: lambda tf, x, y, name=name: getattr(tf, name)(x, y) for name in (
        "equal greater less_equal not_equal truediv"
    ).split()},
    **{f"math.{name}": lambda tf, x, y, name=name: getattr(tf.math, name)(x, y) for name in (
        "divide_no_nan multiply_no_nan squared_difference less greater_equal truediv"
    ).split()},
    "xlogy": lambda tf, x, y: tf.math.xlogy(x, tf.abs(y)) + tf.math.xlog1py(x, tf.abs(y)),
    "no nan": lambda tf, x, y: tf.math.divide_no_nan(x, y - 0.75) + tf.math.multiply_no_nan(x, y - 0.75),
    "zeta": lambda tf, x, y: tf.math.zeta(tf.constant(2.5, tf.float64), tf.abs(y) + 1) + x,
    "igamma": lambda tf, x, y: tf.math.igamma(tf.abs(y), tf.abs(x)) + tf.math.igammac(tf.abs(y), tf.abs(x)) * 2,
    "linalg.cross": lambda tf, x, y: tf.linalg.cross(x, y),
    "matmul": lambda tf, x, y: tf.matmul(x, y, transpose_b=True) + tf.linalg.matmul(x, y, False, True),
    "matvec": lambda tf, x, y: tf.linalg.matvec(x, y[0]),
    "tensordot": lambda tf, x, y: tf.tensordot(x, y, [[1], [1]]),
    "embedding": lambda tf, x, y: tf.nn.embedding_lookup(x, [[1, 0], [1, 1]]) + y[0],
    "scatter": lambda tf, x, y: tf.tensor_scatter_nd_add(x, AT, y[0]) + tf.tensor_scatter_nd_sub(x, AT[:2], y[1, :2]),
    "scatter update": lambda tf, x, y: tf.tensor_scatter_nd_update(x, AT[:2], y[0, :2]),
    "scatter max": lambda tf, x, y: tf.tensor_scatter_nd_max(x, AT[:2], y[0, :2]) + tf.tensor_scatter_nd_min(x, AT[:2], y[0, :2]),
    "scatter_nd": lambda tf, x, y: tf.scatter_nd(AT, x[0], [2, 3]) * y,
    "searchsorted": lambda tf, x, y: [tf.searchsorted(tf.sort(x), y), tf.searchsorted(tf.sort(x), x, side="right")],
    "batch_normalization": lambda tf, x, y: tf.nn.batch_normalization(x, y[0], tf.abs(y[1]), x[0], y[0], 1e-3),
    "weighted": lambda tf, x, y: tf.nn.weighted_cross_entropy_with_logits(tf.sigmoid(y), x, 2.5),
    "bias_add": lambda tf, x, y: tf.nn.bias_add(x, y[0]),
    "cross entropies": lambda tf, x, y: [
        tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(tf.stop_gradient(y)), x),
        tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.sigmoid(tf.stop_gradient(y)), logits=x),
        tf.nn.sparse_softmax_cross_entropy_with_logits([2, 0], x),
    ],
    "complex": lambda tf, x, y: tf.abs(tf.complex(x, y)) + tf.math.angle(tf.complex(x, y)),
    "truncatemod": lambda tf, x, y: tf.truncatemod(tf.stop_gradient(x), tf.stop_gradient(y)),
    "bitwise": lambda tf, x, y: [
        getattr(tf.bitwise, f)(tf.cast(x * 4, tf.int32), tf.cast(tf.abs(y * 2), tf.int32))
        for f in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")
    ],
}  # fmt: skip
# Of one tensor x.
ONE = {
    **{f"math.{name}": lambda tf, x, name=name: getattr(tf.math, name)(x) for name in (
        "erfc bessel_i0 bessel_i0e bessel_i1 bessel_i1e reciprocal_no_nan softsign softplus cumsum cumprod reduce_std "
        "cumulative_logsumexp sign is_nan is_finite log_sigmoid zero_fraction reduce_variance reduce_euclidean_norm argmax"
    ).split()},
    **{f"nn.{name}": lambda tf, x, name=name: getattr(tf.nn, name)(x) for name in (
        "relu6 selu softsign gelu leaky_relu softmax log_softmax l2_loss l2_normalize zero_fraction"
    ).split()},
    "gamma": lambda tf, x: tf.math.lgamma(tf.abs(x)) + tf.math.digamma(tf.abs(x)) + tf.math.polygamma(tf.constant(1.0, tf.float64), tf.abs(x)),
    "inverses": lambda tf, x: tf.math.erfinv(x / 3) + tf.math.erfcinv(tf.abs(x) / 3) + tf.math.ndtri(tf.sigmoid(x)),
    "scans": lambda tf, x: [tf.cumsum(x, 1, True), tf.math.cumprod(x, 1, True), tf.math.cumprod(x, axis=1, reverse=True)],
    "cumulative_logsumexp": lambda tf, x: tf.math.cumulative_logsumexp(x, axis=1, reverse=True),
    "moments": lambda tf, x: [*tf.nn.moments(x, [0]), *tf.nn.moments(x, axes=[0, 1], keepdims=True)],
    "top_k": lambda tf, x: [*tf.math.top_k(x, 2), tf.nn.top_k(x).values, tf.sort(x, direction="DESCENDING"), tf.argsort(x)],
    "segments": lambda tf, x: [tf.math.segment_sum(x, [0, 0]), tf.math.segment_mean(x, [0, 1]), tf.math.segment_prod(x, [0, 0])],
    "unsorted": lambda tf, x: [tf.math.unsorted_segment_sum(x, [2, 0], 3), tf.math.unsorted_segment_mean(x, [1, 1], 2)],
    "unsorted prod": lambda tf, x: tf.math.unsorted_segment_prod(x, [1, 1], num_segments=tf.constant(3)),
    "norms": lambda tf, x: [tf.norm(x), tf.norm(x, 1, axis=1), tf.norm(x, np.inf, axis=0, keepdims=True), tf.linalg.norm(x, ord="fro", axis=[0, 1])],
    "matrix norms": lambda tf, x: [tf.norm(x, 1, axis=[0, 1]), tf.norm(x, 2, axis=(0, 1)), tf.norm(x, np.inf, axis=[-2, -1]), tf.norm(x, 3)],
    "gather": lambda tf, x: [tf.gather(x, [1, 0, 1]), tf.gather(x, [2, 0], axis=1), tf.gather(x, [[2], [0]], axis=1, batch_dims=1), tf.gather_nd(x, AT)],
    "shapes": lambda tf, x: [tf.reshape(x, [3, 2]), tf.transpose(x), tf.transpose(x, [1, 0]), tf.expand_dims(x, 1), tf.tile(x, [1, 2]), tf.roll(x, 1, 1)],
    "places": lambda tf, x: [tf.slice(x, [0, 1], [2, 2]), tf.boolean_mask(x, [True, False]), tf.pad(x, [[0, 1], [1, 0]]), tf.repeat(x, 2, axis=0)],
    "broadcast": lambda tf, x: [tf.broadcast_to(x, [2, 2, 3]), tf.squeeze(x[None]), tf.one_hot([1, 0], 3), tf.cast(x, tf.float32)],
    "diag": lambda tf, x: [tf.linalg.diag(x), tf.linalg.diag_part(x), tf.linalg.trace(x), tf.linalg.diag(x[0], k=1), tf.linalg.adjoint(x)],
    "clip": lambda tf, x: [tf.clip_by_value(x, -0.75, 1.75), tf.clip_by_norm(x, 1.5)],
    "invert": lambda tf, x: tf.bitwise.invert(tf.cast(x * 4, tf.int32)),
    "pinv": lambda tf, x: [tf.linalg.pinv(x), tf.linalg.matrix_rank(x), tf.linalg.svd(x, compute_uv=False), tf.abs(tf.linalg.qr(x)[1])],
    "svd": lambda tf, x: [tf.linalg.svd(x)[0], tf.matmul(tf.linalg.svd(x)[1] * tf.linalg.svd(x)[0], tf.linalg.svd(x)[2], transpose_b=True)],
    "fftshift": lambda tf, x: tf.signal.fftshift(x) + tf.signal.ifftshift(x, axes=1),
    "rfft": lambda tf, x: [tf.abs(tf.signal.rfft(x)), tf.abs(tf.signal.rfft(x, [4])), tf.signal.irfft(tf.signal.rfft(x), [3])],
    "fft": lambda tf, x: [tf.abs(tf.signal.fft(tf.cast(x, tf.complex128))), tf.math.real(tf.signal.ifft2d(tf.cast(x, tf.complex128)))],
}  # fmt: skip
# Of a positive definite matrix s and right-hand sides b.
SYSTEMS = {
    "inv": lambda tf, s, b: [tf.linalg.inv(s), tf.linalg.inv(s * [1.0, 2.0], adjoint=True)],
    "det": lambda tf, s, b: [tf.linalg.det(s), *tf.linalg.slogdet(s), tf.linalg.slogdet(s).log_abs_determinant, tf.linalg.logdet(s)],
    "solve": lambda tf, s, b: [tf.linalg.solve(s, b), tf.linalg.solve(s * [1.0, 2.0], b, adjoint=True)],
    "triangular_solve": lambda tf, s, b: [
        tf.linalg.triangular_solve(s, b, lower, adjoint) for lower in (True, False) for adjoint in (True, False)
    ],
    "lstsq": lambda tf, s, b: tf.linalg.lstsq(s, b),
    "cholesky": lambda tf, s, b: [f((s + tf.transpose(s)) / 2) for f in (tf.linalg.cholesky, tf.linalg.eigvalsh)],
    "expm": lambda tf, s, b: [tf.linalg.expm(s * 0.2), tf.linalg.eigh((s + tf.transpose(s)) / 2)[0]],
}  # fmt: skip
# Of an image (1, 5, 7, 2) and a kernel (2, 2, 2, 3).
IMAGES = {
    "conv2d": lambda tf, x, w: [tf.nn.conv2d(x, w, 1, "VALID"), tf.nn.conv2d(x, w, strides=[1, 2, 2, 1], padding="SAME")],
    "conv2d dilated": lambda tf, x, w: tf.nn.conv2d(*[tf.stop_gradient(v) for v in (x, w)], 1, "VALID", dilations=2),
    "conv1d": lambda tf, x, w: tf.nn.conv1d(x[0], w[0], 2, "SAME"),
    "conv3d": lambda tf, x, w: tf.nn.conv3d(x[None], w[None], [1] * 5, "VALID"),
    "max_pool2d": lambda tf, x, w: [tf.nn.max_pool2d(x, 2, 2, "VALID"), tf.nn.max_pool2d(x, 3, 2, "SAME"), tf.nn.max_pool(x, [1, 2, 3, 1], [1, 1, 1, 1], "SAME")],
    "avg_pool2d": lambda tf, x, w: [tf.nn.avg_pool2d(x, 2, 2, "VALID"), tf.nn.avg_pool2d(x, 3, 2, "SAME"), tf.nn.avg_pool1d(x[0], 2, 1, "SAME")],
}  # fmt: skip
GIVEN = {"one": (ONE, (X,)), "two": (TWO, (X, Y)), "systems": (SYSTEMS, (S, B)), "images": (IMAGES, (IMAGE, KERNEL))}
CASES = [(kind, name) for kind, (table, _) in GIVEN.items() for name in table]


def flat(v):
    return [p for u in v for p in flat(u)] if isinstance(v, (list, tuple)) else [v]


def measured(tf, kind, name):
    """What the function gives, and the gradient of a weighted sum of that."""
    table, given = GIVEN[kind]
    given = [tf.Variable(v, dtype=tf.float64) for v in given]
    with tf.GradientTape() as tape:
        out = flat(table[name](tf, *given))
        weights = [np.arange(np.size(v)).reshape(np.shape(v)) * 0.3 + 1 for v in out]
        parts = [tf.reduce_sum(v * w) for v, w in zip(out, weights) if v.dtype == tf.float64]
        total = tf.add_n(parts) if parts else tf.constant(0.0)
    gradients = [None if g is None else tf.convert_to_tensor(g) for g in tape.gradient(total, given)]
    host = lambda v: None if v is None else np.round(np.asarray(v).astype(float), 7).tolist()
    return [host(v) for v in out], [host(g) for g in gradients]


@pytest.fixture(scope="module")
def results():
    return json.loads(FILE.read_text(encoding="utf-8"))


def close(got, wanted):
    if wanted is None or got is None:
        return not np.any(got or wanted or 0)
    return np.shape(got) == np.shape(wanted) and np.allclose(got, wanted, 1e-5, 1e-6, equal_nan=True)


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_values_and_gradients(tf, results, kind, name):
    values, gradients = measured(tf, kind, name)
    wanted, wanted_gradients = results[f"{kind} {name}"]
    assert len(values) == len(wanted)
    for got, known in zip(values + gradients, wanted + wanted_gradients):
        assert close(got, known), f"{got}, not {known}"


def test_the_results_are_of_these_cases(results):
    assert set(results) == {f"{kind} {name}" for kind, name in CASES}


if __name__ == "__main__":
    import tensorflow as real

    lines = [f"{json.dumps(f'{k} {n}')}: {json.dumps(measured(real, k, n))}" for k, n in CASES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
