"""A note on the tape's basics."""

import importlib

import pytest


@pytest.fixture
def tf(library):
    if library("tensorflow").__name__ == "tensorflow":
        return importlib.import_module("tensorflow.compat.v2")
    import gpugrad.tensorflow.compat.v2 as tf

    return tf


def test_the_import_is_the_front_door(tf, library):
    assert tf.GradientTape is library("tensorflow").GradientTape


def test_the_example(tf):
    # [[1. 1.]
    # [1. 1.]]
    x = tf.ones((2, 2))

    with tf.GradientTape() as t:
        t.watch(x)
        y = tf.reduce_sum(x)
        z = tf.multiply(y, y)

    dz_dx = t.gradient(z, x)
    # [[8. 8.]
    # [8. 8.]]
    assert dz_dx.numpy().tolist() == [[8.0, 8.0], [8.0, 8.0]]


def test_without_watching(tf):
    x = tf.ones((2, 2))
    with tf.GradientTape() as t:
        z = tf.multiply(tf.reduce_sum(x), tf.reduce_sum(x))
    assert t.gradient(z, x) is None


def test_a_variable_needs_no_watching(tf):
    x = tf.Variable(tf.ones((2, 2)))
    with tf.GradientTape() as t:
        y = tf.reduce_sum(x)
        z = tf.multiply(y, y)
    assert t.gradient(z, x).numpy().tolist() == [[8.0, 8.0], [8.0, 8.0]]


def test_one_set_of_gradients(tf):
    x = tf.ones((2, 2))
    with tf.GradientTape() as t:
        t.watch(x)
        y = tf.reduce_sum(x)
        z = tf.multiply(y, y)

    t.gradient(z, x)
    with pytest.raises(
        RuntimeError,
        match=r"A non-persistent GradientTape can only be used to compute one set of gradients \(or jacobians\)",
    ):
        t.gradient(z, y)


def test_two_tapes_at_once(tf):
    x = tf.ones((2, 2))
    with tf.GradientTape() as t:
        with tf.GradientTape() as t2:
            t.watch(x)
            t2.watch(x)
            y = tf.reduce_sum(x)
            z = tf.multiply(y, y)

    dz_dx = t.gradient(z, x)
    dz_dy = t2.gradient(z, y)
    assert dz_dx.numpy().tolist() == [[8.0, 8.0], [8.0, 8.0]]
    assert float(dz_dy) == 8.0
