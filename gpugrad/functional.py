"""Floor 6: derivatives of functions as PyTorch's `autograd.functional` has them.

Each takes `func` and its inputs, a Tensor or a tuple of Tensors, and answers in their structure.  With `create_graph`
the answer can be differentiated; else it is apart from every graph.  With `strict` an output that does not depend on an
input is a RuntimeError; else its derivative is zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .array import xp
from .autograd import enable_grad, grad, no_grad, require_grad, requires_grad
from .core import Tensor, wrap
from .jacobian import jacobian as _rows
from .ops.casting import stop_gradient
from .ops.math import positive
from .transforms import grad as slopes, jacfwd


def _call(func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool) -> tuple[tuple, tuple, bool, bool]:
    """(inputs that gradients are for, outputs, whether there was one input, whether there is one output)."""
    one_in = isinstance(inputs, Tensor)
    xs = tuple([_leaf(x, create_graph) for x in ((inputs,) if one_in else _tuple("inputs are", inputs))])
    with enable_grad():
        out = func(*xs)
    one_out = isinstance(out, Tensor)
    _tuple("func answers", (out,) if one_out else out)
    outs = (out,) if one_out else tuple(out)
    for o in outs:
        if not isinstance(o, Tensor):
            raise TypeError(f"func answers a Tensor or a tuple of Tensors, not {type(o).__name__}")
    for i, o in enumerate(outs):
        if strict and not requires_grad(o):
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed in "
                "a differentiable manner from the input when running in strict mode."
            )
    return xs, outs, one_in, one_out


def _tuple(says: str, given: Any) -> Any:
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"{says} a Tensor or a tuple of Tensors, not {given!r:.60} of type {type(given).__name__}")
    return given


def _leaf(x: Any, create_graph: bool) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"inputs are Tensors, not {type(x).__name__}")
    return positive(x) if create_graph and requires_grad(x) else require_grad(stop_gradient(x))


def _pull(outs: Any, xs: tuple, seeds: Any, create_graph: bool, strict: str = "") -> tuple:
    """The gradients, zeros where nothing is connected; with `strict`, a name of the output, a RuntimeError there."""
    live = [(o, s) for o, s in zip(outs, seeds) if o.node is not None]
    if not live:
        return tuple([_like(x, 0) for x in xs])
    given = [o for o, _ in live], xs, [s for _, s in live]
    found = grad(*given, retain_graph=True, create_graph=create_graph, allow_unused=True)
    for i, g in enumerate(found if strict else ()):
        if g is None:
            raise RuntimeError(
                f"{strict} of the user-provided function is independent of input {i}. This is not allowed in strict "
                "mode."
            )
    return tuple([_like(x, 0) if g is None else g for g, x in zip(found, xs)])


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


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The derivative of each output element by each input element: shape of the output, then of the input.

    strategy   "reverse-mode", or "forward-mode" for more outputs than inputs, without `create_graph` and `strict`
    All elements that fit the memory are computed at once, with and without `vectorize`.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(f"jacobian: strategy is 'reverse-mode' or 'forward-mode', not {strategy!r}")
    if strategy == "forward-mode":
        if create_graph or strict:
            raise NotImplementedError(
                "jacobian: create_graph and strict go with strategy='reverse-mode'; in forward mode write gg.jacfwd, "
                "which what is around it differentiates"
            )
        return _forward(func, inputs, isinstance(inputs, Tensor))
    xs, outs, one_in, one_out = _call(func, inputs, create_graph, strict)

    def rows(i: int, o: Tensor) -> tuple:
        name = f"Output {i}" if strict else ""
        return tuple(_rows(lambda seed: _pull([o], xs, [seed], create_graph, name), o, xs, True))

    found = tuple([_shaped(rows(i, o), one_in) for i, o in enumerate(outs)])
    return found[0] if one_out else found


def _forward(func: Callable[..., Any], inputs: Any, one: bool) -> Any:
    xs = (inputs,) if one else tuple(inputs)
    with no_grad():
        return jacfwd(func, 0 if one else tuple(range(len(xs))))(*xs)


def _gradient(func: Callable[..., Any], strict: bool) -> Callable[..., tuple]:
    def call(*xs: Tensor) -> tuple:
        out = func(*xs)
        if not isinstance(out, Tensor) or out.array.size != 1:
            raise RuntimeError("The function given to hessian, hvp and vhp should return a single scalar Tensor")
        return _pull([out], xs, [_like(out, 1)], True, "The output" if strict else "")

    return call


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a scalar function; of a tuple of inputs, a tuple of tuples.

    outer_jacobian_strategy   "forward-mode": the gradient's Jacobian by forward mode, as `jacobian` has it
    """
    one = isinstance(inputs, Tensor)
    given = (inputs,) if one else inputs
    if outer_jacobian_strategy == "forward-mode" and not create_graph and not strict:
        return _forward(slopes(func, 0 if one else tuple(range(len(given)))), inputs, one)
    found = jacobian(_gradient(func, strict), given, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found[0][0] if one else found


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(outputs, v @ Jacobian): one walk."""
    xs, outs, one_in, one_out = _call(func, inputs, create_graph, strict)
    found = _pull(outs, xs, _given(v, outs, "the output", one_out), create_graph, "The output" if strict else "")
    return _shaped(_apart(outs, create_graph), one_out), _shaped(_apart(found, create_graph), one_in)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(outputs, Jacobian @ v): two walks, since a walk back is linear in its seed."""
    xs, outs, _, one_out = _call(func, inputs, create_graph, strict)
    vs = _given(v, xs, "the input", True)
    seeds = tuple([require_grad(_like(o, 0)) for o in outs])
    found = _pull(_pull(outs, xs, seeds, True, "The output" if strict else ""), seeds, vs, create_graph)
    return _shaped(_apart(outs, create_graph), one_out), _shaped(_apart(found, create_graph), one_out)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(output, v @ Hessian) of a scalar function."""
    one = isinstance(inputs, Tensor)
    values: list[Any] = []

    def kept(*xs: Tensor) -> Any:
        values.append(func(*xs))
        return values[-1]

    _, found = vjp(_gradient(kept, strict), (inputs,) if one else inputs, v, create_graph, strict)
    return _apart((values[0],), create_graph)[0], _shaped(found, one)


hvp = vhp  # the Hessian is symmetric
