"""Floor 6: gradients that users register for ops which have none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .autograd import no_grad
from .core import Tensor, raw, wrap
from .custom import answered, inward, outward
from .rule import Op, registered

_places: dict[str, str] = {}  # where the function stands that is registered for an op


class Operation(NamedTuple):
    """The call that is differentiated: the op's name, its inputs, and its output in a list."""

    type: str
    inputs: list[Any]
    outputs: list[Any]


def register_gradient(
    name: str, f: Callable[..., Any] | None, kind: type[Tensor] = Tensor, ops: Mapping[str, Op] | None = None
) -> None:
    """Give the op called `name`, which has no rule, the gradient `f(operation, g)`; None: it has none.

    `f` takes and answers tensors of `kind`: one gradient for each input, None where there is none.  What it computes
    is recorded by outer tapes, so higher orders work.  KeyError if `name` is registered already, or the name in `ops`
    of an op that has rules.
    """
    if not isinstance(name, str):
        raise TypeError(f"op_type must be a string, the name of an op, not {name!r:.40}")
    if f is not None and not callable(f):
        raise TypeError(f"the gradient of {name} is a function of an operation and a cotangent, or None, not {f!r:.40}")
    found = next((q[0] for q in ops[name].quick if q), None) if ops and name in ops else None
    rule = found[0] if isinstance(found, tuple) else found
    if rule is not None or name in registered:
        where = _places[name] if rule is None else _place(rule)
        raise KeyError(
            f"Registering two gradient with name {name!r}! (Previous registration was in {where}) Write a "
            "custom_gradient function for another gradient of the same op."
        )
    _places[name] = "no_gradient" if f is None else _place(f)

    def back(inputs: Sequence[Any], out: Any, g: Any) -> Sequence[Any]:
        if f is None:
            return [None] * len(inputs)
        operation = Operation(name, [_boxed(x, kind) for x in inputs], [_boxed(out, kind)])
        if isinstance(g, Tensor):
            return [None if d is None else inward(d) for d in _answers(name, f(operation, outward(g, kind)), inputs)]
        with no_grad():
            found = _answers(name, f(operation, outward(g, kind)), inputs)
        return [None if d is None else raw(inward(d)) for d in found]

    registered[name] = back


def _place(f: Any) -> str:
    """Where function `f` stands: its name, file and line."""
    code = getattr(f, "__code__", None)
    return f"{code.co_name} {code.co_filename}:{code.co_firstlineno}" if code else repr(f)


def _boxed(x: Any, kind: type[Tensor]) -> Any:
    """An input or output as the user's function sees it; a Python number that stood beside an array as it is."""
    return wrap(raw(x), getattr(x, "node", None), kind) if hasattr(x, "dtype") else x


def _answers(name: str, found: Any, inputs: Sequence[Any]) -> list[Any]:
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    if len(found) != len(inputs):
        raise ValueError(f"Num gradients {len(found)} generated for op {name} do not match num inputs {len(inputs)}")
    return [answered(name, i, d, x) for i, (d, x) in enumerate(zip(found, inputs))]
