"""tf.keras.optimizers against Keras's: what all of them share."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    "name, options, wanted",
    [
        ("SGD", {"weight_decay": 0.1}, [0.910296, -1.760589, -0.10887]),
        ("SGD", {"nesterov": True}, [0.94, -1.82, -0.1]),
        ("SGD", {"momentum": 0.9, "weight_decay": 0.1, "clipnorm": 0.5}, [0.941979, -1.855639, 0.206595]),
        ("Adam", {"amsgrad": True, "beta_1": 0.5, "beta_2": 0.6}, [0.906488, -1.906488, 0.2]),
        ("AdamW", {"amsgrad": True, "beta_1": 0.5, "beta_2": 0.6}, [0.905345, -1.904145, 0.19952]),
        ("RMSprop", {"weight_decay": 0.1}, [0.684159, -1.654457, -0.244002]),
        ("Adagrad", {"weight_decay": 0.1}, [0.905764, -1.855778, 0.261276]),
    ],
)
def test_updates(tf, name, options, wanted):
    """Against numbers that Keras 3.15 gave."""
    a, b = tf.Variable([1.0, -2.0]), tf.Variable([[0.5]])
    optimizer = getattr(tf.keras.optimizers, name)(learning_rate=0.1, **options)
    for step in range(3):
        grads = [tf.constant([0.3, -0.9]) * (step + 1.0) * float((-1) ** step), tf.constant([[2.0]])]
        optimizer.apply_gradients(zip(grads, [a, b]))
    assert [*a.numpy().tolist(), float(b.numpy()[0, 0])] == pytest.approx(wanted, rel=2e-5)


def test_options_in_kerass_order(tf):
    a = tf.Variable([1.0])
    for optimizer in (
        tf.keras.optimizers.SGD(0.5, 0.0, False, None, None, 0.25),
        tf.keras.optimizers.SGD(0.5, clipvalue=0.25, name="mine"),
    ):
        a.assign([1.0])
        optimizer.apply_gradients([(tf.constant([4.0]), a)])
        assert a.numpy().tolist() == [0.875] and float(optimizer.learning_rate) == 0.5
    assert optimizer.name == "mine"
    with pytest.raises(ValueError, match="Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set"):
        tf.keras.optimizers.Adam(clipnorm=1.0, clipvalue=1.0)


def test_the_learning_rate_may_be_changed(tf):
    a = tf.Variable([1.0])
    optimizer = tf.keras.optimizers.SGD(learning_rate=0.5)
    optimizer.learning_rate = 0.25
    optimizer.apply_gradients([(tf.constant([1.0]), a)])
    assert a.numpy().tolist() == [0.75] and int(optimizer.iterations) == 1
    assert np.asarray(optimizer.learning_rate) == 0.25
