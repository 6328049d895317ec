"""tf.keras.optimizers: the core's, with Keras's names and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import optim
from ...optim import clip
from ...optim.optimizer import check
from ...tape import GradientTape


class Keras:
    """What Keras's optimizers share: gradient clipping, `minimize`, a learning rate with two names."""

    learning_rate: Any
    iterations: Any
    apply_gradients: Callable[..., Any]
    _clip: tuple[str, float] | None = None

    def _options(self, options: dict[str, Any]) -> None:
        self.name = options.pop("name", None) or type(self).__name__.lower()
        limits = {k: options.pop(k, None) for k in _CLIPS}
        given = {k: v for k, v in limits.items() if v is not None}
        if options:
            raise TypeError(f"{type(self).__name__}: unexpected argument {min(options)!r}")
        if len(given) > 1:
            raise ValueError(
                f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: {given}."
            )
        for k, v in given.items():
            self._clip = k, check(k, v)

    def clipped(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        if self._clip is None:
            return pairs
        name, limit = self._clip
        return list(zip(_CLIPS[name]([g for g, _ in pairs], limit), [v for _, v in pairs]))

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


_CLIPS = {"clipnorm": clip.by_norm, "clipvalue": clip.by_value, "global_clipnorm": clip.by_global_norm}


class SGD(Keras, optim.SGD):
    """Gradient descent; momentum keeps a velocity v ← momentum v - lr g."""

    def __init__(
        self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
        weight_decay: float | None = None, **options: Any,
    ) -> None:  # fmt: skip
        optim.SGD.__init__(self, None, learning_rate, momentum, nesterov and bool(momentum), weight_decay or 0.0)
        self._options(options)


class Adam(Keras, optim.Adam):
    """Adam, with epsilon added before the bias correction."""

    eps_unscaled = True

    def __init__(
        self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        weight_decay: float | None = None, **options: Any,
    ) -> None:  # fmt: skip
        optim.Adam.__init__(self, None, learning_rate, (beta_1, beta_2), epsilon, weight_decay or 0.0)
        self.decoupled = True  # in Keras every weight decay is
        self._options(options)


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    def __init__(self, learning_rate: float = 0.001, weight_decay: float = 0.004, **options: Any) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)


class RMSprop(Keras, optim.RMSprop):
    """RMSprop, with epsilon under the root."""

    eps_inside = True

    def __init__(
        self, learning_rate: float = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
        centered: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        optim.RMSprop.__init__(self, None, learning_rate, rho, epsilon, 0.0, momentum, centered)
        self._options(options)


class Adagrad(Keras, optim.Adagrad):
    """Adagrad, with epsilon under the root."""

    eps_inside = True

    def __init__(
        self,
        learning_rate: float = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        optim.Adagrad.__init__(self, None, learning_rate, 0.0, 0.0, initial_accumulator_value, epsilon)
        self._options(options)


NAMES = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "adagrad": Adagrad}


def get(identifier: Any) -> Any:
    """The optimizer called so, with its defaults, or the one given.  ValueError for an unknown name."""
    if isinstance(identifier, Keras):
        return identifier
    if not isinstance(identifier, str) or identifier.lower() not in NAMES:
        raise ValueError(f"unknown optimizer {identifier!r}; known are {sorted(NAMES)}")
    return NAMES[identifier.lower()]()
