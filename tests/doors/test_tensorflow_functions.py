"""gpugrad.tensorflow against TensorFlow's behaviour: functions under TensorFlow's parameters, random numbers."""

import inspect

import numpy as np
import pytest


def values(t):
    return np.asarray(t).tolist()


def place(tf, name):
    for part in name.split("."):
        tf = getattr(tf, part)
    return tf


def gradient(tf, f, *xs):
    variables = [tf.Variable(x) for x in xs]
    with tf.GradientTape() as tape:
        y = f(*variables)
    grads = tape.gradient(y, variables)
    return values(grads[0]) if len(xs) == 1 else [values(g) for g in grads]


SIGNATURES = {
    "add_n": "(inputs, name=None)",
    "argsort": "(values, axis=-1, direction='ASCENDING', stable=False, name=None)",
    "boolean_mask": "(tensor, mask, axis=None, name='boolean_mask')",
    "cast": "(x, dtype, name=None)",
    "clip_by_global_norm": "(t_list, clip_norm, use_norm=None, name=None)",
    "clip_by_norm": "(t, clip_norm, axes=None, name=None)",
    "clip_by_value": "(t, clip_value_min, clip_value_max, name=None)",
    "concat": "(values, axis, name='concat')",
    "cumsum": "(x, axis=0, exclusive=False, reverse=False, name=None)",
    "expand_dims": "(input, axis, name=None)",
    "linalg.global_norm": "(t_list, name=None)",
    "linalg.norm": "(tensor, ord='euclidean', axis=None, keepdims=None, name=None)",
    "math.reduce_euclidean_norm": "(input_tensor, axis=None, keepdims=False, name=None)",
    "math.reduce_std": "(input_tensor, axis=None, keepdims=False, name=None)",
    "math.rsqrt": "(x, name=None)",
    "nn.bias_add": "(value, bias, data_format=None, name=None)",
    "nn.leaky_relu": "(features, alpha=0.2, name=None)",
    "nn.softmax": "(logits, axis=None, name=None)",
    "nn.softmax_cross_entropy_with_logits": "(labels, logits, axis=-1, name=None)",
    "one_hot": "(indices, depth, on_value=None, off_value=None, axis=None, dtype=None, name=None)",
    "pad": "(tensor, paddings, mode='CONSTANT', constant_values=0, name=None)",
    "random.shuffle": "(value, seed=None, name=None)",
    "range": "(start, limit=None, delta=1, dtype=None, name='range')",
    "repeat": "(input, repeats, axis=None, name=None)",
    "slice": "(input_, begin, size, name=None)",
    "sort": "(values, axis=-1, direction='ASCENDING', name=None)",
    "split": "(value, num_or_size_splits, axis=0, num=None, name='split')",
    "squeeze": "(input, axis=None, name=None)",
    "stack": "(values, axis=0, name='stack')",
    "transpose": "(a, perm=None, conjugate=False, name='transpose')",
    "unstack": "(value, num=None, axis=0, name='unstack')",
    "where": "(condition, x=None, y=None, name=None)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_parameters(tf, name):
    f = place(tf, name)
    parameters = inspect.signature(f).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    assert str(inspect.Signature(plain)) == SIGNATURES[name] and f.__doc__
    assert (
        f.__name__.split(".")[-1].removesuffix("_v2") in (name.split(".")[-1], "wrapper") or tf.__name__ == "tensorflow"
    )


def test_sort_and_top_k(tf):
    x = tf.constant([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]])
    assert values(tf.sort(x)) == [[1, 2, 3], [0, 5, 5]]
    assert values(tf.sort(x, direction="DESCENDING", axis=0)) == [[3, 5, 5], [0, 1, 2]]
    assert values(tf.argsort(x)) == [[1, 2, 0], [0, 1, 2]] and tf.argsort(x).dtype == tf.int32
    assert values(tf.argsort(x, direction="DESCENDING")) == [[0, 2, 1], [1, 2, 0]]
    with pytest.raises(ValueError):
        tf.sort(x, direction="UP")
    for f in (tf.math.top_k, tf.nn.top_k):
        top = f(x, k=2)
        assert values(top.values) == [[3, 2], [5, 5]] and values(top.indices) == [[0, 2], [1, 2]]
        found, places = f([1, 3, 2])
        assert values(found) == [3] and values(places) == [1] and places.dtype == tf.int32
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        tf.math.top_k(x, k=4)
    assert gradient(tf, lambda v: tf.reduce_sum(tf.sort(v) * [1.0, 2.0, 3.0]), [3.0, 1.0, 2.0]) == [3, 1, 2]
    assert gradient(tf, lambda v: tf.math.top_k(v, 2).values, [3.0, 1.0, 2.0]) == [1, 0, 1]


def test_pad(tf):
    x = tf.constant([[1, 2, 3], [4, 5, 6]])
    assert values(tf.pad(x, [[1, 0], [0, 2]])) == [[0] * 5, [1, 2, 3, 0, 0], [4, 5, 6, 0, 0]]
    assert values(tf.pad(x, tf.constant([[0, 0], [1, 0]]), constant_values=9)) == [[9, 1, 2, 3], [9, 4, 5, 6]]
    assert values(tf.pad(x, [[1, 1], [2, 1]], "REFLECT")) == [
        [6, 5, 4, 5, 6, 5], [3, 2, 1, 2, 3, 2], [6, 5, 4, 5, 6, 5], [3, 2, 1, 2, 3, 2],
    ]  # fmt: skip
    assert values(tf.pad(x, [[0, 1], [2, 3]], mode="SYMMETRIC")) == [
        [2, 1, 1, 2, 3, 3, 2, 1], [5, 4, 4, 5, 6, 6, 5, 4], [5, 4, 4, 5, 6, 6, 5, 4],
    ]  # fmt: skip
    for wrong in (dict(paddings=[[1, 0]]), dict(paddings=[[2, 0], [0, 0]], mode="REFLECT")):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            tf.pad(x, **wrong)
    with pytest.raises(ValueError):
        tf.pad(x, [[1, 0], [0, 0]], mode="EDGE")
    y = [1.0, 2.0, 3.0]
    assert gradient(tf, lambda v: tf.pad(v, [[1, 2]]) * tf.constant([9.0, 1, 2, 3, 9, 9]), y) == [1, 2, 3]
    assert gradient(tf, lambda v: tf.pad(v, [[2, 1]], "REFLECT") * tf.range(1.0, 7.0), y) == [3, 12, 6]
    assert gradient(tf, lambda v: tf.pad(v, [[2, 1]], "SYMMETRIC") * tf.range(1.0, 7.0), y) == [5, 5, 11]
    v = tf.Variable(y)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            z = tf.reduce_sum(tf.pad(v, [[2, 1]], "REFLECT") ** 3)
        first = inner.gradient(z, v)
    assert values(outer.gradient(first, v)) == [6, 36, 36]


def test_clipping_by_norm(tf):
    x = tf.constant([[3.0, 4.0], [0.3, 0.4]])
    np.testing.assert_allclose(tf.clip_by_norm(x, 1.0, axes=[1]), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(tf.clip_by_norm([3.0, 4.0], 2.5), [1.5, 2], rtol=1e-6)
    assert values(tf.clip_by_norm([0.0, 0.0], 1.0)) == [0, 0]
    np.testing.assert_allclose(
        gradient(tf, lambda v: tf.clip_by_norm(v, 1.0)[0], [3.0, 4.0]), [0.128, -0.096], rtol=1e-5
    )
    assert gradient(tf, lambda v: tf.clip_by_norm(v, 1.0), [0.0, 0.0]) == [1, 1]
    a, b = tf.constant([3.0, 0.0]), tf.constant([[4.0]])
    assert float(tf.linalg.global_norm([a, None, b])) == 5
    with pytest.raises(ValueError, match="nputs must be an iterable of at least one"):
        tf.add_n([])
    with pytest.raises(ValueError):
        tf.norm(a, ord="longest")
    clipped, length = tf.clip_by_global_norm([a, None, b], 2.5)
    assert float(length) == 5 and clipped[1] is None and values(clipped[0]) == [1.5, 0] and values(clipped[2]) == [[2]]
    clipped, length = tf.clip_by_global_norm([a, b], 10.0)
    assert values(clipped[0]) == [3, 0]
    clipped, _ = tf.clip_by_global_norm([a], 1.0, use_norm=tf.constant(10.0))
    np.testing.assert_allclose(clipped[0], [0.3, 0], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_infinite_global_norm_gives_nan(tf):
    clipped, length = tf.clip_by_global_norm([tf.constant([np.inf, 1.0])], 1.0)
    assert np.isinf(length) and np.isnan(clipped[0]).all()


def test_norms_and_squares(tf):
    x = tf.constant([[3.0, 4.0], [0.0, 2.0]])
    assert values(tf.math.reduce_euclidean_norm(x, axis=1)) == [5, 2]
    assert tf.math.reduce_euclidean_norm(x, axis=[1], keepdims=True).shape == (2, 1)
    np.testing.assert_allclose(tf.math.l2_normalize(x, axis=1), [[0.6, 0.8], [0, 1]], rtol=1e-6)
    assert values(tf.nn.l2_normalize([0.0, 0.0])) == [0, 0]
    assert values(tf.math.squared_difference([1.0, 2.0], [3.0, 2.0])) == [4, 0]
    assert values(tf.math.rsqrt([4.0, 0.25])) == [0.5, 2] and gradient(tf, tf.math.rsqrt, 4.0) == -0.0625
    np.testing.assert_allclose(tf.math.log_sigmoid([-1000.0, 0.0]), [-1000, -np.log(2)], rtol=1e-6)
    assert gradient(tf, tf.math.log_sigmoid, 0.0) == 0.5
    assert values(tf.nn.bias_add([[1.0, 2.0]], [10.0, 20.0])) == [[11, 22]]
    images = tf.zeros((1, 2, 2, 2))
    assert values(tf.nn.bias_add(images, [1.0, 2.0], "NCHW")) == [[[[1, 1], [1, 1]], [[2, 2], [2, 2]]]]
    assert values(tf.norm(x, ord=1)) == 9 and values(tf.norm(x, ord=np.inf, axis=1)) == [4, 2]


def test_repeat_meshgrid_slice(tf):
    x = tf.constant([[1, 2], [3, 4]])
    assert values(tf.repeat(x, 2)) == [1, 1, 2, 2, 3, 3, 4, 4] and values(tf.repeat(5, 2)) == [5, 5]
    assert values(tf.repeat(x, [2, 1], axis=0)) == [[1, 2], [1, 2], [3, 4]]
    assert gradient(tf, lambda v: tf.repeat(v, [2, 0, 3], axis=0), [1.0, 2.0, 3.0]) == [2, 0, 3]
    a, b = tf.meshgrid([1, 2, 3], [4, 5])
    assert values(a) == [[1, 2, 3], [1, 2, 3]] and values(b) == [[4, 4, 4], [5, 5, 5]]
    a, b = tf.meshgrid([1, 2, 3], [4, 5], indexing="ij")
    assert values(a) == [[1, 1], [2, 2], [3, 3]] and values(b) == [[4, 5]] * 3
    assert values(tf.slice(x, [0, 1], [2, 1])) == [[2], [4]] and values(tf.slice(x, [1, 0], [-1, -1])) == [[3, 4]]
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError), match=r"Expected size\[1\] in \[0, 1\], but got 2"
    ):
        tf.slice(x, [0, 1], [2, 2])
    assert gradient(tf, lambda v: tf.slice(v, [1], [2]), [1.0, 2.0, 3.0]) == [0, 1, 1]


def test_creation_by_tensors(tf):
    n = tf.constant(3)
    assert values(tf.range(n)) == [0, 1, 2] and tf.range(n).dtype == tf.int32
    assert values(tf.range(1, limit=n)) == [1, 2] and values(tf.range(1.0, 2.0, delta=0.5)) == [1, 1.5]
    assert tf.zeros(tf.constant([2, 3])).shape == tf.ones([2, 3]).shape == tf.fill([2, 3], 1).shape == (2, 3)
    assert values(tf.eye(2, num_columns=3)) == [[1, 0, 0], [0, 1, 0]]
    assert values(tf.tile([1, 2], tf.constant([2]))) == [1, 2, 1, 2]
    assert values(tf.one_hot([1], 3, on_value=5.0, off_value=-1.0, axis=0)) == [[-1], [5], [-1]]
    assert values(tf.gather([[1, 2], [3, 4]], [1], axis=1)) == [[2], [4]] and values(
        tf.gather_nd([[1, 2]], [[0, 1]])
    ) == [2]
    assert values(tf.transpose([[1, 2]])) == [[1], [2]] and values(tf.cumsum([1, 2])) == [1, 3]
    assert values(tf.linalg.matvec([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0], transpose_a=True)) == [4, 6]


def test_random_numbers_by_seed(tf):
    draws = [
        lambda seed: tf.random.normal((3,), seed=seed), lambda seed: tf.random.uniform((3,), 1.0, 2.0, seed=seed),
        lambda seed: tf.random.uniform((5,), maxval=1000, dtype=tf.int32, seed=seed),
        lambda seed: tf.random.truncated_normal((100,), 1.0, 0.5, seed=seed),
        lambda seed: tf.random.shuffle(tf.range(20), seed=seed),
    ]  # fmt: skip
    for draw in draws:
        tf.random.set_seed(1)
        first, second, other = values(draw(5)), values(draw(5)), values(draw(6))
        tf.random.set_seed(1)
        assert first == values(draw(5)) and second == values(draw(5))  # op by op
        assert first != second != other
        tf.random.set_seed(2)
        assert first != values(draw(5))
    x = np.asarray(draws[3](5))
    assert (abs(x - 1) <= 1).all() and 0.2 < x.std() < 0.6
    assert sorted(values(draws[4](5))) == list(range(20))
    with pytest.raises(ValueError, match="Must specify maxval for integer dtype"):
        tf.random.uniform((3,), dtype=tf.int32)


def test_arrays_and_names_by_keyword(tf):
    x, y = tf.constant([1.0, 4.0]), tf.constant([2.0, 2.0])
    assert values(tf.add(x=x, y=y, name="sum")) == values(tf.add(x, y, name="sum")) == [3, 6]
    assert values(tf.exp(x=tf.zeros(1), name="e")) == [1] and values(tf.sqrt(x=x, name="s")) == [1, 2]
    assert values(tf.reduce_sum(input_tensor=x, axis=0, name="s")) == values(tf.reduce_sum(x, 0, name="s")) == 5
    assert values(tf.reduce_max(input_tensor=x)) == 4 and values(tf.reduce_mean(x, keepdims=True, name="m")) == [2.5]
    assert values(tf.nn.relu(features=x - 2.0, name="r")) == [0, 2]
    assert values(tf.equal(x=x, y=y, name="q")) == [False, False] and values(tf.less(x, y)) == [True, False]
    assert values(tf.reshape(tensor=x, shape=(2, 1), name="r")) == [[1], [4]]
    assert values(tf.math.atan2(y=y, x=x))[0] == pytest.approx(np.arctan2(2.0, 1.0))
    assert values(tf.tensordot(a=x, b=y, axes=1)) == 10 and values(tf.linalg.matrix_transpose(a=[[1.0, 2.0]])) == [
        [1],
        [2],
    ]
    assert values(tf.stop_gradient(input=x)) == [1, 4] and values(tf.identity(x, name="i")) == [1, 4]
    for wrong in (lambda: tf.add(x, z=y), lambda: tf.exp(x, names="e"), lambda: tf.reduce_sum(x, axes=0)):
        with pytest.raises(TypeError):
            wrong()


@np.errstate(all="ignore")
def test_roots_beside_a_condition(tf):
    assert gradient(tf, lambda x: tf.where(x > 0, tf.sqrt(x), 0.0), [0.0, 4.0]) == [0.0, 0.25]
    assert gradient(tf, lambda x: tf.where(x > 0, tf.math.rsqrt(x), 0.0), [0.0, 4.0]) == [0.0, -0.0625]
    assert gradient(tf, tf.sqrt, [0.0, 4.0]) == [np.inf, 0.25]
    x = tf.Variable([1.0, 4.0])
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = tf.sqrt(x)
        g = inner.gradient(y, x)
    assert values(outer.gradient(g, x)) == pytest.approx([-0.25, -0.03125])
