"""Floor 5: the graph on tensors, PyTorch's way to ask for a gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any
from weakref import WeakValueDictionary

from .array import xp
from .backprop import backprop, deposit
from .core import DROP, Tensor, leaf, trainable, wrap
from .dtypes import is_inexact
from .hooks import Handle, Handles, arriving, deposited, leaving, walks
from .recording import AMBIENT, INFERENCE, NONE, Change, active, enter, leave, pushing, restore, scope, switch

# The nodes of leaves that requires_grad_(False) took off, for as long as some graph leads to them: switched on again,
# the leaf is the same to that graph.  By id: a Tensor's == compares elements.
_frozen: WeakValueDictionary[int, Any] = WeakValueDictionary()


def no_grad() -> scope:
    """Record nothing inside, on the graph or on open tapes: a context manager and a decorator."""
    return scope(False)


class inference_mode(scope):
    """Record nothing inside, and mark what is computed there from tensors with a history as not to be recorded later.

    Ops outside refuse to save such a tensor, to change it in place, and to make it require a gradient; clone() gives a
    normal one.  A context manager and a decorator; with mode=False it does nothing.
    """

    def __init__(self, mode: bool = True) -> None:
        super().__init__(False)
        self.mode = mode

    def __enter__(self) -> None:
        if self.mode:
            enter(INFERENCE)
            super().__enter__()

    def __exit__(self, *exc: object) -> None:
        if self.mode:
            super().__exit__(*exc)
            leave(INFERENCE)


def is_inference_mode_enabled() -> bool:
    """Whether we are under inference_mode."""
    return INFERENCE in active().open


def is_inference(t: Tensor) -> bool:
    """Whether t was computed under inference_mode."""
    return t.node is not None and t.node.tape is INFERENCE


def enable_grad() -> scope:
    """Record again inside a `no_grad`, on the graph and on open tapes: a context manager and a decorator."""
    return scope(True)


class set_grad_enabled(scope):
    """Turn recording on or off: as a statement, as a context manager, or as a decorator.

    `enabled`: a bool.  A TypeError for anything else.
    """

    def __init__(self, enabled: bool) -> None:
        if type(enabled).__name__ not in ("bool", "bool_"):  # NumPy's, too
            raise TypeError(f"set_grad_enabled takes True or False, not {enabled!r}")
        super().__init__(bool(enabled))
        self.before: Change | None = switch(self.on)

    def __enter__(self) -> None:
        self._undo()
        super().__enter__()

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        self._undo()
        return scope(self.on)(f)

    def _undo(self) -> None:
        """Undo the statement, once: `with` and the decorator switch for themselves."""
        if self.before is not None:
            restore(self.before)
            self.before = None


def is_grad_enabled() -> bool:
    """Whether ops are recorded for a way back; forward mode goes on under `no_grad`."""
    return any([t is not NONE and t not in pushing for t in active().tapes])


def requires_grad(t: Tensor) -> bool:
    """Whether `backward()` reaches t: a leaf made so, or computed from one, on the graph or on a tape."""
    n = t.node
    while n is not None:
        if n.tape is AMBIENT or (n.op is not None and not n.tape.forward):  # type: ignore[union-attr]
            return True
        n = n.next
    return False


def is_leaf(t: Tensor) -> bool:
    """Whether t was made by the user, not by a recorded op."""
    return t.node is None or t.node.op is None


def grad_of(t: Tensor) -> Tensor | None:
    """What backward() has left in t so far; None if nothing."""
    n = t.node
    if n is None or n.grad is DROP:
        if n is not None and n.op is not None:
            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute "
                "won't be populated during backward(). Call .retain_grad() on it first.",
                stacklevel=3,
            )
        return None
    if n.grad is not None and type(n.grad) is not t.kind:
        n.grad = wrap(n.grad.array, n.grad.node, t.kind)
    return n.grad


def set_grad(t: Tensor, g: Any) -> None:
    """Put a gradient there, or None.  RuntimeError for another shape; TypeError for what is no Tensor."""
    if g is not None:
        if not isinstance(g, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(g).__name__}")
        if g.array.shape != t.array.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size {list(g.array.shape)} to a tensor of size "
                f"{list(t.array.shape)}. Please ensure that the gradient and the tensor are the same size"
            )
    if t.node is None or not (trainable(t) or requires_grad(t)):
        if g is not None:
            raise RuntimeError("this tensor does not require grad; call .requires_grad_() before giving it a .grad")
    elif g is not None or t.node.grad is not DROP:
        t.node.grad, t.node.deposits = g, 0


def zero_grad(ts: Iterable[Tensor], set_to_none: bool = True) -> None:
    """Set `.grad` of every trainable tensor to None, or what is there to zeros."""
    for t in ts:
        if trainable(t) and (g := t.node.grad) is not None:  # type: ignore[union-attr]
            t.node.deposits = 0  # type: ignore[union-attr]
            t.node.grad = None if set_to_none else wrap(xp(g.array).zeros_like(g.array), None, t.kind)  # type: ignore[union-attr]


def retain_grad(t: Tensor) -> None:
    """Let backward() leave the gradient of this intermediate result in its `.grad`."""
    if not requires_grad(t):
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if t.node.grad is DROP:  # type: ignore[union-attr]
        t.node.grad = None  # type: ignore[union-attr]


def register_hook(t: Tensor, f: Callable[[Tensor], Any]) -> Handle:
    """Call f with t's gradient whenever a walk computes it; what f answers, unless None, takes its place.

    RuntimeError if t requires no gradient.
    """
    if t.node is None or not (requires_grad(t) or trainable(t)):
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    kind = t.kind

    @wraps(f)
    def call(g: Tensor) -> Any:
        return f(wrap(g.array, g.node, kind))

    return arriving.add(t.node, call)


def register_multi_grad_hook(
    ts: Sequence[Tensor], f: Callable[[Sequence[Tensor | None]], Any], mode: str = "all"
) -> Handle:
    """Call f once a backward pass with the gradients of all of `ts`, None for those that it did not reach.

    With mode "any" f is called with the first gradient that arrives.  RuntimeError if one requires no gradient.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode!r}")
    me = object()

    def arrive(i: int, g: Tensor) -> None:
        got = walks.stack[-1].setdefault(me, (end, {}))[1]
        if mode == "any" and not got:
            f(g)  # type: ignore[arg-type]
        got[i] = g

    def end(got: dict[int, Tensor]) -> None:
        if mode == "all":
            f([got.get(i) for i in range(n)])

    n = len(ts)
    return Handles([register_hook(t, lambda g, i=i: arrive(i, g)) for i, t in enumerate(ts)])


def register_node_hook(node: Any, f: Callable[[tuple, tuple], Any], kind: type[Tensor] = Tensor) -> Handle:
    """Call f(gradients of the op's inputs, gradients of its outputs) when a walk has passed the op of `node`.

    What f answers, unless None, takes the place of the gradients of the inputs.  RuntimeError for another number.
    """
    own = lambda g: None if g is None else wrap(g.array, g.node, kind)

    def call(inputs: tuple, outputs: tuple) -> Any:
        new = f(tuple(map(own, inputs)), tuple(map(own, outputs)))
        if new is not None and len(new := (new,) if isinstance(new, Tensor) else tuple(new)) != len(inputs):
            raise RuntimeError(
                f"hook {getattr(f, '__name__', f)!r} has returned an incorrect number of values (got {len(new)}, but "
                f"expected {len(inputs)})"
            )
        return new

    return leaving.add(node, call)


def register_post_accumulate_grad_hook(t: Tensor, f: Callable[[Tensor], Any]) -> Handle:
    """Call f with t after backward() has left a gradient in `t.grad`.  RuntimeError unless t is a leaf."""
    if not (t.node is not None and is_leaf(t) and requires_grad(t)):
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return deposited.add(t.node, f)


def require_grad(t: Tensor, flag: bool = True) -> Tensor:
    """Make t a leaf of the graph, or with False take it off, its `.grad` forgotten."""
    if not is_leaf(t):
        if flag:
            return t
        raise RuntimeError(
            "you can only change requires_grad flags of leaf variables. If you want to use a computed variable "
            "in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
        )
    if flag:
        if is_inference(t) and not is_inference_mode_enabled():
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed. Write "
                "t.clone().requires_grad_()."
            )
        if not is_inexact(t.array.dtype):
            raise RuntimeError(
                f"only Tensors of floating point and complex dtype can require gradients, got {t.array.dtype}; "
                f"make it floating first, for example {t.prefix}tensor(x, dtype={t.prefix}float32)"
            )
        if t.node is None and (before := _frozen.pop(id(t), None)) is not None and before.saved() is t:
            t.node = before
        n = leaf(t, AMBIENT)
        n.tape = AMBIENT
        if n.grad is DROP:
            n.grad = None
    elif t.node is not None:
        t.node.tape, t.node.grad = None, DROP
        _frozen[id(t)] = t.node
        t.node = None
    return t


def backward(
    t: Tensor | Sequence[Tensor],
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of t to `.grad` of the leaves it was computed from.

    gradient      the cotangent of t; needed unless t is a real scalar
    retain_graph  keep what was saved, for another call (default: create_graph)
    create_graph  record the pass itself, for higher derivatives
    inputs        deposit into these tensors alone
    """
    if create_graph:
        warnings.warn(
            "backward() with create_graph=True leaves a reference cycle between a tensor and its .grad, which keeps "
            "the graph in memory. Use grad(..., create_graph=True), or set .grad to None after use.",
            stacklevel=2,
        )
    targets = [t] if isinstance(t, Tensor) else list(t)
    given = [gradient] if isinstance(t, Tensor) else [None] * len(targets) if gradient is None else list(gradient)
    seeds = _checked_seeds(targets, given)
    retain = create_graph if retain_graph is None else retain_graph
    with _recording(create_graph):
        if inputs is None:
            backprop(targets, seeds, None, None, retain, create_graph)
            return
        inputs = list({id(x): x for x in _listed(inputs, "inputs")}.values())
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        _require_inputs(inputs)
        kept = [not is_leaf(x) and x.node.grad is not DROP for x in inputs]  # where the walk itself leaves a gradient
        found = backprop(targets, seeds, None, inputs, retain, create_graph) or []
        for x, g, done in zip(inputs, found, kept, strict=True):
            if g is not None and not done:
                n = leaf(x)
                if n.grad is DROP:
                    n.grad = None
                deposit(n, g if create_graph else g.array)
                for f in deposited.of(n):
                    f(x)


def _recording(create_graph: bool) -> Any:
    """The pass itself is recorded if it is to be differentiated, under no_grad, too; else only forward mode sees it."""
    if create_graph:
        return nullcontext() if active().tapes else scope(True)
    return scope(False) if pushing else nullcontext()


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` with respect to `inputs`, as a tuple; `.grad` is left alone."""
    outputs, inputs = _listed(outputs, "outputs"), _listed(inputs, "inputs")
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    given = [None] * len(outputs) if grad_outputs is None else grad_outputs
    given = [given] if isinstance(given, Tensor) else list(given)
    if len(given) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs need as many grad_outputs, given {len(given)}")
    _require_inputs(inputs)
    seeds = _checked_seeds(outputs, given)
    retain = create_graph if retain_graph is None else retain_graph
    with _recording(create_graph):
        out = backprop(outputs, seeds, None, inputs, retain, create_graph) or []
    for i, g in enumerate(out):
        if g is None and materialize_grads:
            out[i] = wrap(xp(inputs[i].array).zeros_like(inputs[i].array), None, inputs[i].kind)
        elif g is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {i} appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
    return tuple(out)


def _listed(ts: Any, what: str) -> list[Any]:
    if isinstance(ts, Tensor):
        return [ts]
    if isinstance(ts, (str, dict)) or not hasattr(ts, "__iter__"):
        raise TypeError(f"{what} is a Tensor or a list or tuple of Tensors, not {ts!r:.40} ({type(ts).__name__})")
    return list(ts)


def _require_inputs(inputs: list[Any]) -> None:
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"input {i} must be a Tensor, not {type(x).__name__}")
        if x.node is None:
            raise RuntimeError(
                f"One of the differentiated Tensors does not require grad (input {i}). "
                "Make it with requires_grad=True before computing with it."
            )


def _checked_seeds(targets: list[Tensor], seeds: list[Any]) -> list[Any]:
    out = []
    for i, (t, s) in enumerate(zip(targets, seeds, strict=True)):
        if not isinstance(t, Tensor):
            raise TypeError(f"target {i} must be a Tensor, not {type(t).__name__}")
        if t.node is None or not (requires_grad(t) or trainable(t)):
            raise RuntimeError(
                f"element {i} of tensors does not require grad and does not have a grad_fn. "
                "Nothing it was computed from was made with requires_grad=True, or it was computed under no_grad(), "
                "or from a Variable outside a tape: a Variable records inside a GradientTape; a Parameter, or "
                "v.requires_grad_(), everywhere."
            )
        if s is None:
            if t.array.size != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs; this one has shape {t.array.shape}. "
                    "Reduce it first, for example y.sum().backward(), or pass the gradient of its elements: "
                    "backward(gradient=...), grad(..., grad_outputs=...)."
                )
            if t.array.dtype.kind == "c":
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {t.array.dtype}"
                )
        elif not hasattr(s, "shape"):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(s).__name__}")
        elif s.shape != t.array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {s.shape} and output[{i}] has a shape of "
                f"{t.array.shape}."
            )
        out.append(s)
    return out
