"""Floor 6: derivatives of functions as PyTorch's `autograd.functional` has them.

Each takes `func` and its inputs, a Tensor or a tuple of Tensors, and answers in their structure.  With `create_graph`
the answer can be differentiated; else it is apart from every graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .array import xp
from .autograd import enable_grad, grad, require_grad, requires_grad
from .core import Tensor, wrap
from .jacobian import jacobian as _rows
from .ops.casting import stop_gradient
from .ops.math import positive


def _call(func: Callable[..., Any], inputs: Any, create_graph: bool) -> tuple[tuple, tuple, bool, bool]:
    """(inputs that gradients are for, outputs, whether there was one input, whether there is one output)."""
    one_in = isinstance(inputs, Tensor)
    xs = tuple([_leaf(x, create_graph) for x in ((inputs,) if one_in else inputs)])
    with enable_grad():
        out = func(*xs)
    one_out = isinstance(out, Tensor)
    outs = (out,) if one_out else tuple(out)
    for o in outs:
        if not isinstance(o, Tensor):
            raise TypeError(f"func answers a Tensor or a tuple of Tensors, not {type(o).__name__}")
    return xs, outs, one_in, one_out


def _leaf(x: Any, create_graph: bool) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"inputs are Tensors, not {type(x).__name__}")
    return positive(x) if create_graph and requires_grad(x) else require_grad(stop_gradient(x))


def _pull(outs: Any, xs: tuple, seeds: Any, create_graph: bool) -> tuple:
    """The gradients, zeros where nothing is connected."""
    live = [(o, s) for o, s in zip(outs, seeds) if o.node is not None]
    if not live:
        return tuple([_like(x, 0) for x in xs])
    given = [o for o, _ in live], xs, [s for _, s in live]
    return grad(*given, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True)


def _like(x: Tensor, value: float) -> Tensor:
    return wrap(xp(x.array).full_like(x.array, value), None, x.kind)


def _given(v: Any, like: tuple, what: str, one: bool) -> tuple:
    """`v` checked against the tensors it goes with; None stands for one of a scalar."""
    if v is None:
        if len(like) != 1 or like[0].array.size != 1:
            raise RuntimeError(f"The vector v can only be None if {what} is a single scalar; give one of its shape")
        return (_like(like[0], 1),)
    vs = (v,) if isinstance(v, Tensor) else tuple(v)
    if [u.array.shape for u in vs] != [t.array.shape for t in like]:
        raise RuntimeError(
            f"v should have the shapes of {what}, {[list(t.array.shape) for t in like]}, "
            f"but has {[list(u.array.shape) for u in vs]}"
        )
    return vs


def _shaped(ts: tuple, one: bool) -> Any:
    return ts[0] if one else ts


def _apart(ts: tuple, create_graph: bool) -> tuple:
    return ts if create_graph else tuple([stop_gradient(t) for t in ts])


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """The derivative of each output element by each input element: shape of the output, then of the input."""
    xs, outs, one_in, one_out = _call(func, inputs, create_graph)
    rows = [tuple(_rows(lambda seed, o=o: _pull([o], xs, [seed], create_graph), o, xs, True)) for o in outs]
    found = tuple([_shaped(r, one_in) for r in rows])
    return found[0] if one_out else found


def _gradient(func: Callable[..., Any]) -> Callable[..., tuple]:
    def call(*xs: Tensor) -> tuple:
        out = func(*xs)
        if not isinstance(out, Tensor) or out.array.size != 1:
            raise RuntimeError("The function given to hessian, hvp and vhp should return a single scalar Tensor")
        return _pull([out], xs, [_like(out, 1)], True)

    return call


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """The second derivatives of a scalar function; of a tuple of inputs, a tuple of tuples."""
    one = isinstance(inputs, Tensor)
    found = jacobian(_gradient(func), (inputs,) if one else inputs, create_graph)
    return found[0][0] if one else found


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """(outputs, v @ Jacobian): one walk."""
    xs, outs, one_in, one_out = _call(func, inputs, create_graph)
    found = _pull(outs, xs, _given(v, outs, "the output", one_out), create_graph)
    return _shaped(_apart(outs, create_graph), one_out), _shaped(_apart(found, create_graph), one_in)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """(outputs, Jacobian @ v): two walks, since a walk back is linear in its seed."""
    xs, outs, _, one_out = _call(func, inputs, create_graph)
    vs = _given(v, xs, "the input", True)
    seeds = tuple([require_grad(_like(o, 0)) for o in outs])
    found = _pull(_pull(outs, xs, seeds, True), seeds, vs, create_graph)
    return _shaped(_apart(outs, create_graph), one_out), _shaped(_apart(found, create_graph), one_out)


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """(output, v @ Hessian) of a scalar function."""
    one = isinstance(inputs, Tensor)
    values: list[Any] = []

    def kept(*xs: Tensor) -> Any:
        values.append(func(*xs))
        return values[-1]

    _, found = vjp(_gradient(kept), (inputs,) if one else inputs, v, create_graph)
    return _apart((values[0],), create_graph)[0], _shaped(found, one)


hvp = vhp  # the Hessian is symmetric
