"""torch.nn.init: the core's starting values, written in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...autograd import no_grad
from ...nn import init as _init
from ...nn.init import calculate_gain as calculate_gain


def _written(f: Callable[..., Any]) -> Callable[..., Any]:
    def call(tensor: Any, *args: Any, **options: Any) -> Any:
        with no_grad():
            return tensor.copy_(f(tensor.array.shape, *args, **options).to(tensor.device))

    call.__name__, call.__doc__ = f"{f.__name__}_", f.__doc__
    return call


uniform_, normal_, constant_ = _written(_init.uniform), _written(_init.normal), _written(_init.constant)
zeros_, ones_ = _written(_init.zeros), _written(_init.ones)
kaiming_uniform_, kaiming_normal_ = _written(_init.kaiming_uniform), _written(_init.kaiming_normal)
xavier_uniform_, xavier_normal_ = _written(_init.xavier_uniform), _written(_init.xavier_normal)
