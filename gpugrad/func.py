"""Floor 6: the transforms under the conventions of others: PyTorch's torch.func, TensorFlow's vectorized_map."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import optree

from . import autograd, generator, transforms
from .core import Tensor, on
from .ops.shape import squeeze
from .recording import active, scope
from .repeat import drawing_on
from .tensor import tensor
from .vmap import TREES, vmap as _vmap

_RANDOM = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
    "randomness flags on vmap or perform the randomness operation out of vmap"
)


# ---------------------------------------------------------------------------------------------- vmap
def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """`gg.vmap` by PyTorch's names.

    randomness   what func's random numbers are: "error"; "same" for all examples; "different"
    Where func draws some, "different" runs one example after the other, after a first run that found it out.
    RuntimeError for another word, and for random numbers with "error".
    """
    return _drawing(func, randomness, lambda f, size: _vmap(f, in_dims, out_dims, size or chunk_size))


def jacfwd(
    func: Callable[..., Any],
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """`gg.jacfwd`; `randomness` as `vmap` has it, of the directions."""
    made = lambda f, size: transforms.jacfwd(f, argnums, has_aux, chunk_size=size or chunk_size)
    return _drawing(func, randomness, made)


def _drawing(func: Callable[..., Any], randomness: str, made: Callable[[Any, int | None], Any]) -> Callable[..., Any]:
    """made(func, how many examples at once), with this rule for random numbers."""
    if randomness not in ("error", "same", "different"):
        raise RuntimeError(
            f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness!r}"
        )
    many = made(func, None)

    @wraps(func)
    def call(*args: Any, **named: Any) -> Any:
        start = generator.get_state()
        out = many(*args, **named)
        if randomness == "same" or generator.get_state() == start:
            return out
        if randomness == "error":
            raise RuntimeError(_RANDOM)
        generator.set_state(start)
        return made(drawing_on(func), 1)(*args, **named)

    return call


def vectorized_map(fn: Callable[[Any], Any], elems: Any, box: Callable[[Any], Tensor] = tensor) -> Any:
    """fn of elems[0], elems[1], ..., stacked: the same for a nest of tensors, which fn gets as one argument.

    box   makes tensors of what is none, in elems and in what fn answers
    A tensor of length 1 serves all elements.  ValueError for lengths that differ, and for tensors without axes.
    """
    tensors = lambda tree: optree.tree_map(box, tree, **TREES)
    leaves, tree = optree.tree_flatten(tensors(elems), **TREES)
    shapes = [tuple(x.array.shape) for x in leaves]
    n = max([s[0] for s in shapes if s], default=1)
    if not all([s and s[0] in (1, n) for s in shapes]):
        raise ValueError(f"vectorized_map: the first axis of all tensors has one length, or 1; the shapes are {shapes}")
    axes = [0 if s[0] == n else None for s in shapes]
    given = [x if a == 0 else squeeze(x, 0) for x, a in zip(leaves, axes)]

    @wraps(fn)
    def one(element: Any) -> Any:
        return tensors(fn(element))

    return _vmap(one, (optree.tree_unflatten(tree, axes),))(optree.tree_unflatten(tree, given))


# ---------------------------------------------------------------------------------------------- gradients
def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that answers (gradient, value), or with `has_aux` (gradient, (value, aux)).

    func   answers a tensor without axes; with `has_aux` (that, anything)
    RuntimeError for anything else.
    """
    both = transforms.value_and_grad(_scalar(func, has_aux), argnums, has_aux)

    @wraps(func)
    def call(*args: Any, **named: Any) -> Any:
        value, found = both(*args, **named)
        return found, value

    return call


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that answers the gradient, or with `has_aux` (gradient, aux).  As `grad_and_value`."""
    return transforms.grad(_scalar(func, has_aux), argnums, has_aux)


def _scalar(func: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    """`func`, whose output is checked."""

    @wraps(func)
    def call(*args: Any, **named: Any) -> Any:
        whole = func(*args, **named)
        out = whole[0] if has_aux and isinstance(whole, tuple) and len(whole) == 2 else whole
        says = "grad_and_value(f)(*args): Expected f(*args) to return a"
        if has_aux and out is whole:
            raise RuntimeError(f"{says} tuple (output, aux), as has_aux=True says")
        if not isinstance(out, Tensor):
            raise RuntimeError(f"{says} Tensor, got {type(out)}")
        if out.array.shape:
            raise RuntimeError(
                f"{says} scalar Tensor, got tensor with {len(out.array.shape)} dims. Maybe you wanted to use the vjp "
                "or jacrev APIs instead?"
            )
        if out.array.dtype.kind == "c":
            raise RuntimeError(f"{says} real scalar, but got {out.array.dtype}: write out.real, or abs(out)")
        return whole

    return call


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> tuple[Any, ...]:
    """`gg.jvp`; with `strict` an output that does not depend on the primals is a RuntimeError, else it has zeros."""

    @wraps(func)
    def call(*args: Any) -> Any:
        whole = func(*args)
        tape, outs = active().tapes[-1], whole[0] if has_aux and isinstance(whole, tuple) and whole else whole
        for t in optree.tree_leaves(outs, namespace="gpugrad"):  # type: ignore[arg-type]
            if isinstance(t, Tensor) and (t.node is None or on(t.node, tape) is None):
                raise RuntimeError(
                    "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not "
                    "allowed with strict=True."
                )
        return whole

    return transforms.jvp(call if strict else func, primals, tangents, has_aux)


def gradients(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """`autograd.grad`; with `is_grads_batched` for each of many cotangents at once, which a first axis has."""
    options = {
        "retain_graph": retain_graph,
        "create_graph": create_graph,
        "allow_unused": allow_unused,
        "materialize_grads": materialize_grads,
    }
    if not is_grads_batched:
        return autograd.grad(outputs, inputs, grad_outputs, **options)
    given = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs or ())
    if not given or not all([isinstance(g, Tensor) for g in given]):
        raise RuntimeError("grad: is_grads_batched=True takes grad_outputs, a tensor with a first axis for each output")
    places: list[bool] = []
    recorded = nullcontext() if create_graph else scope(False)

    def one(*seeds: Tensor) -> list[Any]:
        found = autograd.grad(outputs, inputs, seeds, **options)
        places[:] = [g is not None for g in found]
        return [g for g in found if g is not None]

    with recorded:
        rows = iter(_vmap(one)(*given))
    return tuple([next(rows) if there else None for there in places])
