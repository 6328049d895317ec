"""torch.autograd: grad, backward, Function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import anomaly as _anomaly, autograd as _core, functional as functional
from ..anomaly import is_anomaly_enabled as is_anomaly_enabled
from ..autograd import (
    enable_grad as enable_grad,
    grad as grad,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)
from ..core import raw, wrap
from ..custom import attach
from ..testing import check_grads
from . import graph as graph
from .tensor import Tensor, _backward_name


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of the sum of `tensors` to the leaves' .grad."""
    several = not isinstance(tensors, Tensor)
    seeds = grad_tensors
    if several and isinstance(seeds, Tensor):
        seeds = [seeds]
    elif not several and isinstance(seeds, (list, tuple)):
        (seeds,) = seeds
    _core.backward(tensors, seeds, retain_graph, create_graph, inputs)


class detect_anomaly(_anomaly.detect_anomaly):
    """A context in which a NaN in a backward pass is an error, and an error names its op and where it was called."""

    name = staticmethod(_backward_name)


class set_detect_anomaly(_anomaly.set_detect_anomaly):
    """The same, switched by a statement too."""

    name = staticmethod(_backward_name)


class Context:
    """What `forward` leaves for `backward`: attributes of its own, and tensors by `save_for_backward`."""

    needs_input_grad: tuple[bool, ...]

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self._constant: set[int] = set()
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for `backward`, where they are `saved_tensors`."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept."""
        return self._saved

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """These outputs have no gradient."""
        self._constant = {id(t) for t in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether the cotangent of an output that nobody used is zeros, or None."""
        self._materialize = value


class Function:
    """A function with a gradient of its own: static methods forward(ctx, *args), or forward(*args) and
    setup_context(ctx, inputs, output), and backward(ctx, *cotangents); used as `MyFunction.apply(*args)`."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The values."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradient of each argument of forward, None for those that have none."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"{type(self).__name__} is used as {type(self).__name__}.apply(...), not as an instance")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """The values of forward, with the gradient of backward."""
        ctx = Context()
        ctx.needs_input_grad = tuple([isinstance(a, Tensor) and _core.requires_grad(a) for a in args])
        with no_grad():
            setup = getattr(cls, "setup_context", None)
            if setup is None:
                out = cls.forward(ctx, *args, **kwargs)
            else:
                out = cls.forward(*args, **kwargs)
                setup(ctx, args, out)
        several = isinstance(out, tuple)
        outs = [out] if not several else list(out)
        for o in outs:
            if not isinstance(o, Tensor):
                raise TypeError(f"{cls.__name__}.forward answers tensors, not {type(o).__name__}")
        fresh = [wrap(o.array.view() if hasattr(o.array, "view") else o.array, None, Tensor) for o in outs]
        live = [i for i, o in enumerate(outs) if id(o) not in ctx._constant]
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]

        def back(gs: list[Any]) -> list[Any]:
            given = {i: g for i, g in zip(live, gs)}
            zero = lambda o: wrap(o.array * 0, None, Tensor)
            grads = cls.backward(ctx, *[given[i] if i in given else zero(o) for i, o in enumerate(fresh)])
            grads = list(grads) if isinstance(grads, tuple) else [grads]
            while len(grads) > len(args) and grads[-1] is None:
                grads.pop()
            name = f"{cls.__name__}Backward"
            if len(grads) != len(args):
                raise RuntimeError(
                    f"function {name} returned an incorrect number of gradients (expected {len(args)}, got "
                    f"{len(grads)}). Return one for each argument of forward, None for those that have none."
                )
            for i, g in enumerate(grads):
                if g is not None and not isinstance(g, Tensor):
                    raise TypeError(f"expected Variable or None (got {type(g).__name__}). Return a Tensor, or None.")
                if g is not None and i in places and raw(g).size != raw(args[i]).size and raw(g).ndim > 0:
                    raise RuntimeError(
                        f"Function {name} returned an invalid gradient at index {i} - got {list(raw(g).shape)} but "
                        f"expected shape compatible with {list(raw(args[i]).shape)}"
                    )
            return [grads[i] for i in places]

        if live:
            some = tuple([fresh[i] for i in live]) if len(live) > 1 else fresh[live[0]]
            made = attach(cls.__name__, some, [args[i] for i in places], back)
            for i, t in zip(live, made if len(live) > 1 else (made,)):
                fresh[i] = t
        return tuple(fresh) if several else fresh[0]


def once_differentiable(f: Callable[..., Any]) -> Callable[..., Any]:
    """A `backward` that is not to be differentiated itself."""

    def call(ctx: Any, *gs: Any) -> Any:
        with no_grad():
            return f(ctx, *gs)

    return call


function = type("function", (), {"once_differentiable": staticmethod(once_differentiable), "Function": Function})


def _own(func: Callable[..., Any]) -> Callable[..., Any]:
    """`func` of core Tensors, which it sees as torch.Tensors."""
    return lambda *args: func(*[wrap(a.array, a.node, Tensor) for a in args])


def gradcheck(func: Callable[..., Any], inputs: Any) -> bool:
    """True if the gradient is that of central differences, in float64 along random directions; else AssertionError."""
    check_grads(_own(func), [inputs] if isinstance(inputs, Tensor) else list(inputs), order=1, modes=("rev",))
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Any) -> bool:
    """The same, of the gradient's gradient."""
    check_grads(_own(func), [inputs] if isinstance(inputs, Tensor) else list(inputs), order=2, modes=("rev",))
    return True
