"""`functional_call`, a module as a function of its tensors; `stack_module_state`, those of many modules in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from ..autograd import require_grad, requires_grad
from ..core import Tensor
from ..ops.casting import stop_gradient
from ..ops.shape import stack
from .holder import all_names, at, refuse_waiting
from .module import Module

Tensors = Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]


def functional_call(
    module: Module,
    tensors: Tensors,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs), with these tensors in the place of its variables and buffers.

        per_example = gg.vmap(gg.grad(loss), in_axes=(None, 0, 0))(dict(model.named_parameters()), x, y)
        # where loss(tensors, x, y) = mse(gg.functional_call(model, tensors, x), y)

    tensors       by path, as `named_parameters`, `named_buffers` and `state_dict` have them; or several such dicts
    args          a tuple, or the only argument
    tie_weights   whether a weight that the module has under several names is given under all of them by one; else it is
                  given under that name alone
    strict        whether all variables and buffers must be given; else those that are not are the module's own
    What the module changes in place, as running means, is changed in the given tensors.  The module is as before
    afterwards; until then no other thread may use it.
    RuntimeError for names that the module does not have, and with `strict` for missing ones; ValueError for a tensor
    that is given twice, with two values.
    """
    given = _merged(tensors)
    own = _named(module)
    if not tie_weights:
        with _untied(module, own, given):
            return functional_call(module, given, args, kwargs, strict=strict)
    unknown = [k for k in given if k not in own]
    told = {id(own[k]) for k in given if k in own}
    missing = [k for k, t in own.items() if id(t) not in told] if strict else []
    if unknown or missing:
        lines = [("Unexpected key(s)", unknown), ("Missing key(s)", missing)]
        said = "".join([f"\n\t{what}: {', '.join(map(repr, keys))}." for what, keys in lines if keys])
        names = f"\n\tIts keys are: {', '.join(map(repr, own)):.500}." if unknown else ""
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:{said}{names}")
    places: dict[int, tuple[Tensor, Tensor, str]] = {}
    for k, t in given.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"functional_call: {k!r} is a Tensor, not {t!r:.60} of type {type(t).__name__}")
        _, before, name = places.setdefault(id(own[k]), (own[k], t, k))
        if before is not t:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted([name, k])}, which are tied: give one of them, "
                "or write tie_weights=False"
            )
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _standing_in([(mine, t) for mine, t, _ in places.values()]):
        return module(*args, **(kwargs or {}))


def _merged(tensors: Any) -> dict[str, Any]:
    dicts = tensors if isinstance(tensors, (list, tuple)) else [tensors]
    for d in dicts:
        if not isinstance(d, Mapping):
            raise ValueError(
                f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(d)}. Write "
                "functional_call(module, dict(module.named_parameters()), x)."
            )
    names = [k for d in dicts for k in d]
    if twice := sorted({k for k in names if names.count(k) > 1}):
        raise ValueError(f"{twice} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {k: v for d in dicts for k, v in d.items()}


def _named(module: Module) -> dict[str, Tensor]:
    """All names of variables and buffers."""
    for path, m in module.named_modules():
        refuse_waiting(m, path)
    return {**dict(all_names(module)), **dict(module.named_buffers())}


@contextmanager
def _standing_in(pairs: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Inside, the first of each pair has the array and the history of the second."""
    before = [(mine, mine.array, mine.node) for mine, _ in pairs]
    given = [(t.array, t.node) for _, t in pairs]  # which may be the module's own, in other places
    try:
        for (mine, _), (array, node) in zip(pairs, given):
            mine.array, mine.node = array, node
        yield
        changed = [(t, mine.array) for (mine, t), (array, _) in zip(pairs, given) if mine.array is not array]
    finally:
        for mine, array, node in before:
            mine.array, mine.node = array, node
    for t, array in changed:
        t.array = array


@contextmanager
def _untied(module: Module, own: dict[str, Tensor], given: Any) -> Iterator[None]:
    """Inside, those of the given names whose tensor has others have one of their own."""
    names = [k for k in given if k in own and sum([t is own[k] for t in own.values()]) > 1]
    try:
        for k in names:
            _put(module, k, copy(own[k]))
        yield
    finally:
        for k in names:
            _put(module, k, own[k])


def _put(module: Module, path: str, t: Tensor) -> None:
    """Let `path` be the name of t.  TypeError in a tuple."""
    *above, name = path.split(".")
    x: Any = module
    for part in above:
        x = at(x, part)
    if isinstance(x, dict):
        x[next(k for k in x if str(k) == name)] = t
    elif isinstance(x, list):
        x[int(name)] = t
    elif isinstance(x, tuple):
        raise TypeError(f"functional_call: {path!r} is in a tuple, which cannot have another tensor; write a list")
    else:
        setattr(x, name, t)


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(the parameters, the buffers) of several modules of one class, by path, stacked along a new first axis.

        params, buffers = gg.nn.stack_module_state(models)
        outputs = gg.vmap(lambda p, b: gg.functional_call(models[0], (p, b), x))(params, buffers)

    The parameters are new leaves, to be trained together.
    RuntimeError for no module, several classes, some in training and some not, and parameters of which some are frozen.
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    return _stacked([m.named_parameters() for m in models]), _stacked([m.named_buffers() for m in models])


def _stacked(rows: list[Iterator[tuple[str, Tensor]]]) -> dict[str, Tensor]:
    named = [dict(row) for row in rows]
    if any([d.keys() != named[0].keys() for d in named]):
        raise RuntimeError(f"stack_module_state: the models have other tensors: {[list(d) for d in named]}")
    out = {}
    for k, first in named[0].items():
        ts = [d[k] for d in named]
        if len({requires_grad(t) for t in ts}) > 1:
            raise RuntimeError(f"Expected {k} from each model to have the same .requires_grad")
        out[k] = stop_gradient(stack([stop_gradient(t) for t in ts], 0))
        if requires_grad(first):
            require_grad(out[k])
    return out
