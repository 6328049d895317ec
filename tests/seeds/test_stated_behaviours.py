"""What the documents state about tapes without a snippet of its own."""

import gc
import weakref

import numpy as np
import pytest


class Token:
    """Something that a gradient function holds on to, as an op does to what it saved."""


def chain(tf, tokens, seen):
    """Five ops, each with a gradient that writes down how many of the tokens live."""

    def op(x):
        token = Token()
        tokens.append(weakref.ref(token))

        def grad(g):
            assert token is not None
            seen.append(sum(t() is not None for t in tokens))
            return g * 2.0

        return x * 2.0, grad

    y = x = tf.Variable(1.0)
    for _ in range(5):
        y = tf.custom_gradient(op)(y)
    return x, y


def alive(tokens):
    gc.collect()
    return sum(t() is not None for t in tokens)


def test_recorded_ops_are_walked_in_reverse(tf):
    order = []

    def named(name):
        def op(x):
            order.append(name)
            return x * 1.0, lambda g: order.append(f"{name}'") or g

        return tf.custom_gradient(op)

    x = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        y = named("c")(named("b")(named("a")(x)))
    assert tape.gradient(y, x).numpy() == 1.0
    assert order == ["a", "b", "c", "c'", "b'", "a'"]


def test_recording_starts_when_a_variable_is_read(tf):
    x, c = tf.Variable(2.0), tf.constant(3.0)
    with tf.GradientTape() as tape:
        a = c * c
        assert tape.watched_variables() == ()
        y = a * x
        assert [v is x for v in tape.watched_variables()] == [True]
    assert tape.gradient([y, a], [c, x, a])[0] is None
    with tf.GradientTape(persistent=True) as tape:
        a = c * c
        y = a * x
    assert tape.gradient(y, c) is None and tape.gradient(y, a) is None and tape.gradient(y, x).numpy() == 9.0


def test_nothing_is_recorded_outside_a_tape(tf):
    tokens, seen = [], []
    _, y = chain(tf, tokens, seen)
    assert alive(tokens) == 0 and y.numpy() == 32.0


def test_a_tape_keeps_what_it_needs_until_the_gradient(tf):
    tokens, seen = [], []
    with tf.GradientTape() as tape:
        x, y = chain(tf, tokens, seen)
    assert alive(tokens) == 5
    assert tape.gradient(y, x).numpy() == 32.0
    assert seen == [5, 4, 3, 2, 1] and alive(tokens) == 0


def test_a_persistent_tape_keeps_all_until_it_is_gone(tf):
    tokens, seen = [], []
    with tf.GradientTape(persistent=True) as tape:
        x, y = chain(tf, tokens, seen)
    for _ in range(2):
        assert tape.gradient(y, x).numpy() == 32.0
    assert seen == [5] * 10 and alive(tokens) == 5
    del tape
    assert alive(tokens) == 0


@pytest.mark.parametrize("persistent", [False, True])
def test_an_op_that_does_not_need_its_input_does_not_keep_it(tf, persistent):
    x = tf.Variable(np.ones(1000, np.float32))
    with tf.GradientTape(persistent=persistent) as tape:
        h = x * 2.0
        gone = weakref.ref(h)
        y = tf.nn.relu(h)
        del h
        gc.collect()
        assert gone() is None
    assert tape.gradient(y, x).numpy().tolist() == [2.0] * 1000


def test_a_jacobian_for_gradients_of_each_element(tf):
    x = tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        y = x * [3.0, 4.0]
    assert tape.jacobian(y, x).numpy().tolist() == [[3.0, 0.0], [0.0, 4.0]]
