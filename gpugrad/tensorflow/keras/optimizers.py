"""tf.keras.optimizers: the core's, with Keras's names and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import optim
from ...adapt import adapted
from ...tape import GradientTape

_REST = "weight_decay=None, clipnorm=None, clipvalue=None, global_clipnorm=None, name=None"
_ADAM = "beta_1=0.9, beta_2=0.999, epsilon:eps=1e-7, amsgrad=False"


class Keras:
    """What Keras's optimizers share: `minimize`, a learning rate with two names, decoupled weight decay."""

    decoupled = True
    learning_rate: Any
    apply_gradients: Callable[..., Any]

    def __init__(self, name: str | None = None, weight_decay: float | None = None, **options: Any) -> None:
        if "beta_1" in options:
            options["betas"] = options.pop("beta_1"), options.pop("beta_2")
        if "nesterov" in options:  # without momentum it says nothing, and is allowed
            options["nesterov"] = options["nesterov"] and bool(options["momentum"])
        super().__init__(None, weight_decay=weight_decay or 0.0, **options)  # type: ignore[call-arg]
        self.name = name or type(self).__name__.lower()

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.learning_rate

    def build(self, var_list: Any) -> None:
        """Does nothing: state is made with the first gradient."""

    def apply(self, grads: Any, trainable_variables: Any) -> None:
        """One update."""
        self.apply_gradients(zip(grads, trainable_variables, strict=True))

    def minimize(self, loss: Any, var_list: Any, tape: GradientTape | None = None) -> None:
        """One update: `loss` is a function, or a tensor computed in `tape`."""
        if tape is None:
            if not callable(loss):
                raise ValueError("`tape` is required when a `Tensor` loss is passed.")
            with GradientTape() as tape:
                loss = loss()
        variables: list[Any] = list(var_list() if callable(var_list) else var_list)  # type: ignore[arg-type]
        self.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


class SGD(Keras, optim.SGD):
    """Gradient descent; momentum gathers the steps."""

    __init__ = adapted(Keras.__init__, f"self, learning_rate=0.01, momentum=0.0, nesterov=False, {_REST}")


class Adam(Keras, optim.Adam):
    """Adam, with epsilon added before the bias correction."""

    eps_unscaled = True
    __init__ = adapted(Keras.__init__, f"self, learning_rate=0.001, {_ADAM}, {_REST}")


class AdamW(Adam):
    """Adam with a weight decay of 0.004."""

    __init__ = adapted(
        Keras.__init__,
        f"self, learning_rate=0.001, weight_decay=0.004, {_ADAM}, {_REST.removeprefix('weight_decay=None, ')}",
    )


class RMSprop(Keras, optim.RMSprop):
    """RMSprop, with epsilon under the root."""

    eps_inside = True
    __init__ = adapted(
        Keras.__init__,
        f"self, learning_rate=0.001, rho:alpha=0.9, momentum=0.0, epsilon:eps=1e-7, centered=False, {_REST}",
    )


class Adagrad(Keras, optim.Adagrad):
    """Adagrad, with epsilon under the root."""

    eps_inside = True
    __init__ = adapted(
        Keras.__init__, f"self, learning_rate=0.001, initial_accumulator_value=0.1, epsilon:eps=1e-7, {_REST}"
    )


NAMES = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "adagrad": Adagrad}


def get(identifier: Any) -> Any:
    """The optimizer called so, with its defaults, or the one given.  ValueError for an unknown name."""
    if isinstance(identifier, Keras):
        return identifier
    if not isinstance(identifier, str) or identifier.lower() not in NAMES:
        raise ValueError(f"unknown optimizer {identifier!r}; known are {sorted(NAMES)}")
    return NAMES[identifier.lower()]()
