"""Floor 1: what a recording is made of.  Tensor, Node, Tape.

A Node is one op recorded on one tape.  A tape owns no nodes: a node lives only through the tensors it made and
through younger nodes, so what nobody can differentiate any more is freed by reference counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

import numpy as np

tick = count().__next__  # the age of a node: backward order without a topological sort
DROP: Any = object()  # Node.grad: backward() leaves nothing here
STEPPED = 1 << 30  # Node.deposits: an optimizer's step has used the gradient; more than anybody adds up


KEPT = 8  # ages of the writes to an array; the last one decides, the others are counted in messages


class _Known(ref):
    """A weak reference that can be referred to weakly itself."""

    __slots__ = ("__weakref__",)


class Writes:
    """When memory that tensors share was written to in place: the ages of its last writes, by the id of its owner."""

    def __init__(self) -> None:
        self.ages: dict[int, tuple[Any, list[int]]] = {}
        self.before: list[Callable[[], None]] = []  # what is to be called ahead of any write
        self.asked: dict[int, Any] = {}  # by their ids, arrays of which somebody asks whether an optimizer writes them:
        # weak references to what `ask` has answered, so one that nobody asks about any more is not here

    def add(self, array: Any) -> None:
        """The memory of `array` is about to be written to."""
        for f in self.before:
            f()
        owner = owner_of(array)
        key = id(owner)
        if key not in self.ages:
            self.ages[key] = ref(owner, lambda _, key=key: self.ages.pop(key, None)), []
        ages = self.ages[key][1]
        ages.append(tick())
        del ages[:-KEPT]

    def ask(self, array: Any) -> Callable[[], Any]:
        """What answers `array` while it lives.  While somebody has it, optimizers tell of writes."""
        if isinstance(array, np.generic):
            return lambda: array
        key = id(array)
        known = self.asked.get(key, lambda: None)()
        if known is None or known() is not array:
            known = _Known(array)
            self.asked[key] = ref(known, lambda r: self.asked.pop(key) if self.asked.get(key) is r else None)
        return known

    def of(self, array: Any) -> list[int]:
        """The ages of the last writes to the memory of `array`."""
        return self.ages.get(id(owner_of(array)), (None, []))[1]


def owner_of(array: Any) -> Any:
    """The array that owns the memory of `array`, which may be a view."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
        array = array.base
    return array


writes = Writes()


class Node:
    """One op on one tape.

    tape    the tape it is recorded on; None for a leaf that is not on the graph of tensors
    op      the Op; None for a leaf (a watched or trainable tensor)
    saved   what its pullback asked for, by position: inputs, out, static arguments, auxiliaries; None once freed.
            Of a leaf: a weak reference to its tensor
    edges   the node of each input, None where it is not tracked
    shape, dtype   of the op's output: what a cotangent must fit
    seq     age
    next    the same op on an outer tape, sharing `saved` and `edges`; the last of the chain is the tensor's identity
    grad    DROP, or the gradient that backward() has left here so far
    deposits   of a leaf with a gradient: how many backward() have added to it; STEPPED and more, since a step used it
    """

    __slots__ = ("__weakref__", "deposits", "dtype", "edges", "grad", "next", "op", "saved", "seq", "shape", "tape")

    tape: Tape | None
    op: Any
    saved: Any
    edges: tuple[Node | None, ...]
    shape: tuple[int, ...] | None
    dtype: np.dtype | None
    seq: int
    next: Node | None
    grad: Any
    deposits: int  # not there, as a rule

    def free(self) -> None:
        self.saved, self.edges = None, ()


def make_node(
    tape: Tape | None, op: Any, saved: Any, edges: tuple, out: Any, next: Node | None = None, make: Any = None
) -> Node:
    n = (make or Node)()
    n.tape, n.op, n.saved, n.edges = tape, op, saved, edges
    n.shape, n.dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
    n.seq, n.next, n.grad = tick(), next, DROP
    return n


class Tensor:
    """An array and its place in the graph.  Made by `gg.tensor`, by creation functions and by ops.

    Its methods and operators are bound by `gpugrad.tensor`, so that ops can be written on top of the bare pair.
    """

    __slots__ = ("__weakref__", "array", "node", "view_of")
    # No __array_ufunc__: with the priority alone, `ndarray * tensor` comes to us and `np.exp(tensor)` leaves.
    __array_priority__ = 1000  # CuPy's arrays have 100

    array: Any
    node: Node | None
    view_of: Any  # set by front doors with changes in place, on tensors that share memory: (its owner, the way back)

    # What a subclass of Tensor may choose; an op asks its first Tensor.
    kind: ClassVar[type[Tensor]]  # the class of results
    box: ClassVar[Callable[[Any], Any]]  # a number, list or array as a Tensor, where no operand of an op is one
    prefix: ClassVar[str] = "gg."  # of dtypes, in messages
    copies: ClassVar[bool] = False  # whether an array of NumPy's beside one on a device is copied there
    ordered: ClassVar[bool] = False  # whether programs rely on the last axes being next to each other in memory
    ignored: ClassVar[frozenset[str]] = frozenset()  # what every op takes by name, to no effect: "name"
    pair: ClassVar[Callable[[Any, Any], tuple[Any, Any]]]  # (array, operand that is no Tensor) -> two operands
    meet: ClassVar[Callable[[str, Any, Any], tuple[Any, Any]]]  # (op, array, array of another dtype) -> two operands
    explain: ClassVar[Callable[[str, Exception, Sequence[Any]], Exception]]  # NumPy's error as the user's

    if TYPE_CHECKING:  # what gpugrad.tensor binds, for type checkers and editors; a test compares the two
        T: Tensor
        at: Any
        data: Tensor
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
        def __contains__(self, x: Any) -> bool: ...
        def __complex__(self) -> complex: ...
        def __eq__(self, other: Any) -> Any: ...
        def __float__(self) -> float: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __hash__(self) -> int: ...
        def __iadd__(self, other: Any) -> Tensor: ...
        def __imul__(self, other: Any) -> Tensor: ...
        def __index__(self) -> int: ...
        def __int__(self) -> int: ...
        def __invert__(self) -> Tensor: ...
        def __isub__(self, other: Any) -> Tensor: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rlshift__(self, other: Any) -> Tensor: ...
        def __rrshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __itruediv__(self, other: Any) -> Tensor: ...
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
        def register_hook(self, f: Any) -> Any: ...
        def register_post_accumulate_grad_hook(self, f: Any) -> Any: ...
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
        def to(self, where: Any = None, dtype: Any = None, device: Any = None) -> Tensor: ...
        def tolist(self) -> Any: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def var(self, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Tensor: ...


Tensor.kind = Tensor


def wrap(array: Any, node: Node | None = None, kind: type[Tensor] = Tensor) -> Tensor:
    """`array` as a Tensor, without looking at it."""
    t = kind()
    t.array = array
    t.node = node
    return t


def raw(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x.array if isinstance(x, Tensor) else x


def leaf(t: Tensor, tape: Tape | None = None) -> Node:
    """The node of `t`, made if it has none."""
    if t.node is None:
        t.node = make_node(tape, None, ref(t), (), t.array)
    return t.node


def trainable(t: Tensor) -> bool:
    """Whether t is a leaf that gradients are for: a trainable Variable, or made with requires_grad=True."""
    return t.node is not None and t.node.op is None and t.node.grad is not DROP


class Packed(tuple):
    """What a node saved, some of it packed: `(object, its way back)`, unpacked whenever it is read."""

    __slots__ = ()

    def __getitem__(self, i: Any) -> Any:
        got = tuple.__getitem__(self, i)
        return tuple(map(_unpacked, got)) if isinstance(i, slice) else _unpacked(got)

    def __iter__(self) -> Iterator[Any]:
        return map(_unpacked, tuple.__iter__(self))

    def kept(self) -> list[Any]:
        """What is in memory: packed objects as they are, or the arrays that their `kept()` answers."""
        return [_held(v[0]) if type(v) is Parcel else v for v in tuple.__iter__(self)]


class Parcel(tuple):
    """(a packed object, whose memory is its `array` if it has one, the function that unpacks it)."""

    __slots__ = ()


def _held(packed: Any) -> Any:
    return packed.kept() if hasattr(packed, "kept") else getattr(packed, "array", packed)


def _unpacked(v: Any) -> Any:
    return v[1](v[0]) if type(v) is Parcel else v


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
    silent      it learns which leaves are read, and records nothing
    every       silent, it learns of all tensors that are read
    beside      the graph of tensors records what it records, too
    forward     of forward mode: nobody walks back on it
    apart       no op takes its short path to it: `record` does more than that
    arrays      the arrays that were watched, by id, so that a value saved before anyone watched it is recognised
    """

    __slots__ = (
        "apart", "arrays", "auto", "beside", "every", "forward", "limit", "nodes", "persistent", "silent", "watched",
    )  # fmt: skip

    def __init__(
        self,
        watched: Any = frozenset(),
        auto: bool = False,
        nodes: list[Any] | None = None,
        persistent: bool = False,
        silent: bool = False,
        apart: bool = False,
        every: bool = False,
        beside: bool = False,
        forward: bool = False,
    ) -> None:
        self.watched: Any = watched
        self.auto, self.nodes, self.persistent = auto, nodes, persistent
        self.silent, self.apart, self.every, self.beside = silent, apart, every, beside
        self.forward = forward
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
