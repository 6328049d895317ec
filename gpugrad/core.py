"""Floor 1: what a recording is.  Tensor, Node, Tape, the active tapes, `record`.

A Node is one op recorded on one tape.  PyTorch's graph is the tape AMBIENT, which records an op when no
GradientTape does.  A tape owns no nodes: a node lives only through the tensors it made and through younger nodes,
so what nobody can differentiate any more is freed by reference counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from .array import is_inexact

tick = count().__next__  # the age of a node: backward order without a topological sort
DROP: Any = object()  # Node.grad: backward() leaves nothing here


class Node:
    """One op on one tape.

    tape    the tape it is recorded on; None for a leaf that is not on the graph of tensors
    op      the Op; None for a leaf (a watched or trainable tensor)
    saved   what its pullback asked for, by position: inputs, out, static arguments, auxiliaries; None once freed.
            Of a leaf: a weak reference to its Variable, or ()
    edges   the node of each input, None where it is not tracked
    shape, dtype   of the op's output: what a cotangent must fit
    seq     age
    next    the same op on an outer tape, sharing `saved` and `edges`; the last of the chain is the tensor's identity
    grad    DROP, or the gradient that backward() has left here so far
    """

    __slots__ = ("__weakref__", "dtype", "edges", "grad", "next", "op", "saved", "seq", "shape", "tape")

    tape: Tape | None
    op: Any
    saved: Any
    edges: tuple[Node | None, ...]
    shape: tuple[int, ...] | None
    dtype: np.dtype | None
    seq: int
    next: Node | None
    grad: Any

    def free(self) -> None:
        self.saved, self.edges = None, ()


def make_node(tape: Tape | None, op: Any, saved: Any, edges: tuple, out: Any, next: Node | None = None) -> Node:
    n = Node()
    n.tape, n.op, n.saved, n.edges = tape, op, saved, edges
    n.shape, n.dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
    n.seq, n.next, n.grad = tick(), next, DROP
    return n


class Tensor:
    """An array and its place in the graph.  Made by `gg.tensor`, by creation functions and by ops.

    Its methods and operators are bound by `gpugrad.tensor`, so that ops can be written on top of the bare pair.
    """

    __slots__ = ("__weakref__", "data", "node")
    # No __array_ufunc__: with the priority alone, `ndarray * tensor` comes to us and `np.exp(tensor)` leaves.
    __array_priority__ = 100

    data: Any
    node: Node | None

    if TYPE_CHECKING:  # what gpugrad.tensor binds, for type checkers and editors; a test compares the two
        T: Tensor
        device: Any
        dtype: np.dtype
        grad: Tensor | None
        grad_fn: Node | None
        imag: Tensor
        is_leaf: bool
        mT: Tensor
        nbytes: int
        ndim: int
        real: Tensor
        requires_grad: bool
        shape: tuple[int, ...]
        size: int

        def __abs__(self) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray: ...
        def __bool__(self) -> bool: ...
        def __complex__(self) -> complex: ...
        def __eq__(self, other: Any) -> Any: ...
        def __float__(self) -> float: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __hash__(self) -> int: ...
        def __index__(self) -> int: ...
        def __int__(self) -> int: ...
        def __invert__(self) -> Tensor: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __len__(self) -> int: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __ne__(self, other: Any) -> Any: ...
        def __neg__(self) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def all(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def any(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def argmin(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def backward(
            self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
        ) -> None: ...
        def broadcast_to(self, shape: Any) -> Tensor: ...
        def clip(self, min: Any = None, max: Any = None) -> Tensor: ...
        def clone(self) -> Tensor: ...
        def conj(self) -> Tensor: ...
        def cos(self) -> Tensor: ...
        def cpu(self) -> Tensor: ...
        def cuda(self, i: int = 0) -> Tensor: ...
        def cumsum(self, axis: int = -1) -> Tensor: ...
        def detach(self) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def expand_dims(self, axis: Any = 0) -> Tensor: ...
        def flatten(self) -> Tensor: ...
        def item(self) -> Any: ...
        def log(self) -> Tensor: ...
        def logsumexp(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def numpy(self) -> np.ndarray: ...
        def permute_dims(self, *axes: Any) -> Tensor: ...
        def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def requires_grad_(self, flag: bool = True) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def retain_grad(self) -> None: ...
        def sin(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def square(self) -> Tensor: ...
        def squeeze(self, axis: Any = None) -> Tensor: ...
        def std(self, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Tensor: ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def to(self, where: Any = None, dtype: Any = None) -> Tensor: ...
        def tolist(self) -> Any: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def var(self, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Tensor: ...


def wrap(data: Any, node: Node | None = None) -> Tensor:
    """`data` as a Tensor, without looking at it."""
    t = Tensor()
    t.data = data
    t.node = node
    return t


def raw(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x.data if isinstance(x, Tensor) else x


def leaf(t: Tensor, tape: Tape | None = None) -> Node:
    """The node of `t`, made if it has none."""
    if t.node is None:
        t.node = make_node(tape, None, (), (), t.data)
    return t.node


def identity(n: Node) -> Node:
    """The last node of a chain: the same for as long as the tensor lives."""
    while n.next is not None:
        n = n.next
    return n


def on(n: Node, tape: Tape) -> Node | None:
    """The node that stands for chain `n` on `tape`; None if that tape does not track it."""
    while n.tape is not tape:
        if n.next is None:
            if n in tape.watched:
                return n
            return n if joins(n, tape) else None
        n = n.next
    return n


def joins(n: Node, tape: Tape) -> bool:
    """Whether `n` is a trainable leaf that `tape` watches by itself; from now on it does."""
    if n.op is None and tape.auto and n.grad is not DROP:
        tape.watched.add(n)
        return True
    return False


# ---------------------------------------------------------------------------------------------- tapes
class Tape:
    """What a recording knows.

    watched     the leaves it tracks
    auto        whether trainable leaves join by themselves
    persistent  whether the gradient leaves its nodes alone
    nodes       weak references to the nodes made on it, so that they can be released and measured; None: not listed
    limit       how long `nodes` may grow before the dead are taken out
    arrays      the arrays that were watched, by id, so that a value saved before anyone watched it is recognised
    """

    __slots__ = ("arrays", "auto", "limit", "nodes", "persistent", "watched")

    def __init__(
        self,
        watched: Any = frozenset(),
        auto: bool = False,
        nodes: list[Any] | None = None,
        persistent: bool = False,
    ) -> None:
        self.watched: Any = watched
        self.auto, self.nodes, self.persistent = auto, nodes, persistent
        self.limit = 1024
        self.arrays: dict[int, tuple[Any, Node]] = {}

    def live(self) -> list[Node]:
        """The nodes that still hold what their pullbacks need, oldest first."""
        return [n for r in self.nodes or () if (n := r()) is not None and n.saved is not None]

    def close(self) -> None:
        """Track nothing any more and free what is left."""
        rest = self.live()
        self.watched, self.auto, self.nodes, self.arrays = frozenset(), False, None, {}
        for n in rest:
            n.free()


def compact(tape: Tape) -> None:
    """Take dead nodes off the list of an endless tape; amortised O(1) a node."""
    nodes = tape.nodes
    if nodes is not None:
        nodes[:] = [r for r in nodes if r() is not None]
        tape.limit = max(1024, 2 * len(nodes))


AMBIENT, NONE = Tape(), Tape()

Mode = tuple[Tape, tuple[Tape, ...]]


def mode(*tapes: Tape) -> Mode:
    """(the only tape an op can land on, or NONE; every active tape, outermost first)."""
    return (tapes[-1] if 0 < len(tapes) < 3 else NONE), tapes


_active: ContextVar[Mode] = ContextVar("gpugrad_tapes", default=mode(AMBIENT))  # noqa: B039  (a tuple of tapes that nothing writes to)
active = _active.get
activate = _active.set


class scope(ContextDecorator):
    """Swaps the active tapes, as a context manager or a decorator.  Re-entrant."""

    def __init__(self, change: Callable[[tuple[Tape, ...]], Iterable[Tape]]) -> None:
        self.change = change
        self.before: list[Mode] = []

    def _recreate_cm(self) -> scope:
        return scope(self.change)

    def __enter__(self) -> None:
        self.before.append(active())
        activate(mode(*self.change(active()[1])))

    def __exit__(self, *exc: object) -> None:
        activate(self.before.pop())


# ---------------------------------------------------------------------------------------------- recording
def record(op: Any, out: Any, values: tuple, heads: Any) -> Tensor:
    """`out` as a Tensor, recorded on every active tape that tracks one of `heads`.

    `values`: inputs, out, static arguments, auxiliaries, None, as the op's `keep` picks from them.
    The general case; ops with one or two inputs and one tape have it written out.
    """
    t, (tape, tapes) = wrap(out), active()
    if not tapes:
        return t
    live: Any
    for h in heads:
        if h is not None and h.tape is not tape and h not in tape.watched:
            live, landed = _tracked(tapes, heads)
            break
    else:
        live, landed = heads, [tape]
    dtype = getattr(out, "dtype", None)
    if not landed or (dtype is not None and not is_inexact(dtype)):
        return t
    saved = op.keep([h is not None for h in live])(values)
    edges = tuple(live)
    for tape in landed:
        t.node = n = make_node(tape, op, saved, edges, out, t.node)
        if tape.nodes is not None:
            tape.nodes.append(ref(n))
            if len(tape.nodes) > tape.limit:
                compact(tape)
    return t


def _tracked(tapes: tuple[Tape, ...], heads: Any) -> tuple[list[Node | None], list[Tape]]:
    """(the heads that some tape tracks, the tapes that track one).  The first tape is AMBIENT, or NONE."""
    live: list[Node | None] = [None] * len(heads)
    landed = []
    for tape in tapes[1:] if tapes[0] in (AMBIENT, NONE) else tapes:
        hit = False
        for i, h in enumerate(heads):
            if h is not None and (h.tape is tape or on(h, tape) is not None):
                live[i] = h
                hit = True
        if hit:
            landed.append(tape)
    for i, h in enumerate(heads):  # history that no GradientTape has
        if h is not None and live[i] is None and on(h, tapes[0]) is not None:
            live[i] = h
            landed = landed or [tapes[0]]
    return live, landed
