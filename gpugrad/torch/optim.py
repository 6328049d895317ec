"""torch.optim: the core's optimizers, with PyTorch's names, defaults and parameter groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import optim as _core
from ..core import Tensor

_NAMES = {"lr": "learning_rate"}


class Optimizer:
    """An optimizer over parameters, or over groups: dicts of `params` and of options that differ from the defaults.

    `param_groups` may be changed between steps.
    """

    core: type[_core.Optimizer]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts")
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.defaults, self.param_groups, self._inner = defaults, [], []
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """More parameters, with options of their own."""
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        group = {**self.defaults, **param_group, "params": params}
        if any(p is q for p in params for g in self.param_groups for q in g["params"]):
            raise ValueError("some parameters appear in more than one parameter group; give each to one")
        options = {_NAMES.get(k, k): v for k, v in group.items() if k in self.defaults}
        self._inner.append(self.core(params, **options))
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every .grad to None, or to zeros."""
        for inner in self._inner:
            inner.zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a .grad.  `closure` computes the loss anew and is answered."""
        loss = closure() if closure is not None else None
        for group, inner in zip(self.param_groups, self._inner):
            for k in self.defaults:
                setattr(inner, _NAMES.get(k, k), group[k])
            inner.step()
        return loss


class SGD(Optimizer):
    """Gradient descent."""

    core = _core.SGD

    def __init__(
        self, params: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:  # fmt: skip
        if dampening:
            raise ValueError(f"dampening {dampening!r} is not supported; 0 is")
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, options)


class Adam(Optimizer):
    """Adam."""

    core = _core.Adam

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    core = _core.AdamW

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)


class RMSprop(Optimizer):
    """RMSprop."""

    core = _core.RMSprop

    def __init__(
        self, params: Any, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
             "centered": centered},
        )  # fmt: skip


class Adagrad(Optimizer):
    """Adagrad."""

    core = _core.Adagrad

    def __init__(
        self, params: Any, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
             "initial_accumulator_value": initial_accumulator_value, "eps": eps},
        )  # fmt: skip
