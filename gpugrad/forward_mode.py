"""Floor 6: forward mode: `ForwardAccumulator` and `jvp`.

An accumulator is a tape that does not wait to be walked: when an op is recorded on it, the tangent of its output is
computed from those of its inputs, and what the op saved is let go.  So it nests with tapes and with itself as tapes do.

A tangent goes forward by the op's pullback.  That is linear in the cotangent: element by element it is its own
transpose, so it takes tangents as well; of other ops it is transposed by a walk back through the pullback.  An op that
is declared as `linear` needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any
from weakref import WeakKeyDictionary

import optree

from .array import xp
from .asking import UnconnectedGradients, zeros_asked
from .backprop import backprop, lifted
from .batching import called
from .core import Node, Tape, Tensor, identity, leaf, on, raw, wrap
from .dtypes import is_inexact
from .levels import Traced, Values, blank, concrete
from .op import Parts
from .ops.casting import astype
from .ops.math import add, conj, real
from .ops.reduce import unbroadcast
from .ops.shape import broadcast_to
from .paths import PICK
from .recording import NONE, Change, Mode, active, enter, pushing, replace, resume
from .rule import Op


class ForwardAccumulator:
    """Computes Jacobian-vector products as the function runs: its `jvp` is a lookup.

        with gg.ForwardAccumulator(x, v) as acc:
            y = f(x)
        acc.jvp(y)  # the derivative of y in the direction v

    primals    a Tensor, or a nest of them, that `f` starts from
    tangents   for each of them its direction: the same nest, shapes and dtypes

    It may be entered again later, and `watch` adds a primal.
    Memory is that of the function itself: nothing is saved for later.  Tapes and accumulators inside and around it
    differentiate both values and tangents, so a gradient inside is a product with the Hessian.
    ValueError for a tensor that is given twice, and for tangents that do not fit; TypeError for what is not floating.
    """

    def __init__(self, primals: Any, tangents: Any) -> None:
        ts, spec = optree.tree_flatten(primals, namespace="gpugrad")
        vs, other = optree.tree_flatten(tangents, namespace="gpugrad")
        if spec != other:
            words = f"ForwardAccumulator: primals are {spec} and tangents {other}; they must be nested alike"
            raise ValueError(words + ("; of one Tensor: gg.tensor(tangents)" if isinstance(primals, Tensor) else ""))
        given = [self._checked(t, v) for t, v in zip(ts, vs)]
        self._tape = Tape(set(), apart=True, beside=True, forward=True)
        self._tangents: WeakKeyDictionary[Node, Any] = WeakKeyDictionary()
        self._known: tuple[Any, Any] = (None, None)
        seen: set[int] = set()
        for t, v in given:
            if id(t) in seen:
                raise ValueError(
                    f"Tensor {t!r:.60} was specified as a primal multiple times. This may indicate an error. If it was "
                    "intended, please sum the corresponding tangents."
                )
            seen.add(id(t))
            self._begin(t, v)

    @staticmethod
    def _checked(t: Any, v: Any) -> tuple[Tensor, Tensor]:
        if not isinstance(t, Tensor):
            raise TypeError(f"ForwardAccumulator: primals are Tensors, not {t!r:.60} of type {type(t).__name__}")
        if not is_inexact(t.array.dtype):
            raise TypeError(f"ForwardAccumulator: a primal is {t.array.dtype}, which has no derivative")
        v = v if isinstance(v, Tensor) else wrap(xp(t.array).asarray(v, t.array.dtype))
        if v.array.shape != t.array.shape:
            raise ValueError(
                f"ForwardAccumulator: the tangent has shape {tuple(v.array.shape)}, its primal {tuple(t.array.shape)}"
            )
        if v.array.dtype != t.array.dtype:
            raise ValueError(f"ForwardAccumulator: the tangent is {v.array.dtype}, its primal {t.array.dtype}")
        return t, v

    def _begin(self, t: Tensor, v: Tensor) -> None:
        """From here on t has the tangent v."""
        n = leaf(t)
        self._tape.watched.add(identity(n))
        self._tape.arrays[id(t.array)] = t.array, n
        self._tangents[identity(n)] = v

    def watch(self, primal: Tensor, tangent: Any) -> None:
        """Another tensor to start from, with its direction.  ValueError for one that has a tangent already."""
        t, v = self._checked(primal, tangent)
        if self._of(t.node) is not None:
            raise ValueError("ForwardAccumulator.watch: the tensor has a tangent; sum the two")
        self._begin(t, v)

    def __enter__(self) -> ForwardAccumulator:
        if self._tape in active().open:
            raise ValueError("Accumulator is already recording. Leave its `with` block first, or make a second one.")
        pushing[self._tape] = self._push
        enter(self._tape)
        return self

    def __exit__(self, *exc: object) -> None:
        replace(self._tape)
        pushing.pop(self._tape, None)
        self._known = None, None  # whose mode refers to this accumulator

    def jvp(self, primals: Any, unconnected_gradients: str = UnconnectedGradients.NONE) -> Any:
        """The tangent of each Tensor in `primals`, nested alike; None, or with "zero" zeros, where there is none."""
        zero = zeros_asked(unconnected_gradients)

        def found(t: Any) -> Any:
            if not isinstance(t, Tensor):
                raise TypeError(f"ForwardAccumulator.jvp takes Tensors, not {t!r:.60} of type {type(t).__name__}")
            v = self._of(t.node)
            if v is None:
                return wrap(xp(t.array).zeros_like(t.array), None, t.kind) if zero else None
            return wrap(v.array, v.node, t.kind)

        return optree.tree_map(found, primals, namespace="gpugrad")

    def _of(self, n: Node | None) -> Any:
        """The tangent of a chain; None where there is none."""
        n = None if n is None else on(n, self._tape)
        return None if n is None else self._tangents.get(n)

    def _push(self, op: Any, values: tuple, edges: Sequence[Node | None], head: Node) -> None:
        """Give what `op` has just made, the chain `head`, its tangent."""
        n: Any = on(head, self._tape)
        tangents = [self._of(e) for e in edges]
        if any([t is not None for t in tangents]):
            if not isinstance(op, Op) and op is not PICK:
                n.saved = op.whole(values)  # which hooks may have packed
            with resume(self._mode()):
                v = pushed(op, values, edges, n, tangents)
            if v is not None:
                self._tangents[n] = tuple(map(_boxed, v)) if type(v) is tuple else _boxed(v)
        n.saved, n.edges = None, ()  # nobody walks back here

    def _mode(self) -> Mode:
        """What records the computing of tangents: what is around this accumulator."""
        now = active()
        if self._known[0] is not now:
            self._known = now, self._around(now, 0)
        return self._known[1]

    def _around(self, now: Mode, more: int) -> Mode:
        """`now` without the tapes that were opened after this one; without `more` = 1, without this one, too.

        An op on values of a level has a mode of its own; of the tangents some may be what is around the level.
        """
        at = now.open.index(self._tape) + more if self._tape in now.open else len(now.open)
        inner: Any = frozenset(now.open[at:]) if more else frozenset((*now.open[at:], self._tape))
        changes = [c for c in now.changes if type(c.owner) is not Values]
        return Mode(now.open, (*changes, Change(None, inner, frozenset(), True)))


# ---------------------------------------------------------------------------------------------- one op
def pushed(op: Any, values: tuple, edges: Sequence[Node | None], head: Node, tangents: Sequence[Any]) -> Any:
    """The tangent of what `op` made of `values`, from those of its inputs, of which some are None.

    values   inputs, out, static arguments, auxiliaries, as ops are recorded with
    """
    if op is PICK:
        parts = tangents[0]
        return parts[values[2]] if type(parts) is tuple else None
    k = len(edges)
    at = [i for i, t in enumerate(tangents) if t is not None]
    if not isinstance(op, Op):
        return ruled(op, values, head, tangents)
    out: Any = values[k]
    if not isinstance(out, tuple) and not is_inexact(out.dtype):
        return None
    saved: Any = values[:-1]
    lift = _followed(values, edges, tangents)
    pointwise = op.batch == "elementwise" and not isinstance(out, tuple)
    if lift or not (op.linear or pointwise):
        n = Node()
        n.op, n.edges, n.saved = op, tuple(edges), saved
        saved = lifted(n, head)
    else:  # on arrays alone
        tangents = list(map(raw, tangents))
    if op.linear:
        static = dict(zip(op.static, values[k + 1 : k + 1 + len(op.static)], strict=False))
        if op.linear == "each":
            rows = [[*saved[:i], tangents[i], *saved[i + 1 : k]] for i in at]
        else:
            rows = [[blank(x)() if t is None else t for x, t in zip(values, tangents)]]
        terms = [called(op, row, static)[0] for row in rows]
        if isinstance(out, tuple):
            return tuple([reduce(add, parts) for parts in zip(*terms)])
        return _fitting(reduce(add, terms), out)
    if pointwise:
        shape = raw(out).shape
        whole = lambda t: t if t.shape == shape else broadcast_to(t, shape)
        terms = [d for i in at if (d := through(op, i, whole(tangents[i]), saved, out)) is not None]
        if op.own or all([d.shape == shape for d in terms]):  # a user's rule may sum to the shape of its operand
            return _fitting(reduce(add, terms), out) if terms else None
        tangents = [None if t is None else _boxed(t) for t in tangents]
    pull = lambda g: op.joint(g, saved, None) if op.joint is not None else _Each(op, g, saved, values)
    return _transposed(pull, out, tangents, at, None if op.own else op.name)


def ruled(op: Any, values: tuple, head: Node, tangents: Sequence[Any]) -> Any:
    """The tangent of what a function with a gradient of its own has answered."""
    if op.born is not None:
        op.born(head)
    if op.push is not None:
        return op.push(tangents)
    saved, at = op.whole(values), [i for i, t in enumerate(tangents) if t is not None]
    return _transposed(lambda g: op.joint(g, saved, None), _outputs(op), tangents, at, op.name)


def _followed(values: tuple, edges: Sequence[Node | None], tangents: Sequence[Any]) -> bool:
    """Whether somebody records what is computed of these."""
    tapes = [t for t in active().tapes if t is not NONE]
    if any([isinstance(v, Traced) for v in (*values, *map(raw, tangents))]):
        return True
    nodes = [n for n in (*edges, *[t.node for t in tangents if isinstance(t, Tensor)]) if n is not None]
    return any([on(n, tape) is not None for n in nodes for tape in tapes])


def _boxed(v: Any) -> Any:
    return v if v is None or isinstance(v, Tensor) else wrap(v)


def through(op: Any, i: int, g: Any, saved: tuple, out: Any) -> Any:
    """What the pullback of operand i, of the shape of the output, makes of g."""
    return op.rules[i](g, saved, tuple(out.shape)) if op.joint is None else op.joint(g, saved, None)[i]


class _Each:
    """The cotangents of inputs that have a rule each."""

    def __init__(self, op: Op, g: Any, saved: tuple, values: tuple) -> None:
        self.op, self.g, self.saved, self.values = op, g, saved, values

    def __getitem__(self, i: int) -> Any:
        return self.op.rules[i](self.g, self.saved, self.values[i].shape)  # type: ignore[misc]


def _transposed(
    pull: Callable[[Any], Any], out: Any, tangents: Sequence[Any], at: Sequence[int], user: str | None
) -> Any:
    """The tangent of `out`, an array or a tuple of them, by a walk back through `pull`, which is linear.

    user   the name of a rule that a user wrote: what it answers may not follow from what it is given by ops
    """
    several = isinstance(out, tuple)
    outs = [o if is_inexact(o.dtype) else None for o in (out if several else (out,))]
    tape = Tape(set(), beside=True)
    gs = [None if o is None else wrap(blank(o)()) for o in outs]
    given = lambda gs: Parts({i: g for i, g in enumerate(gs) if g is not None}) if several else gs[0]
    for g in gs:
        if g is not None:
            tape.watched.add(leaf(g))
    enter(tape)
    try:
        found = pull(given(gs))
        rows = {i: _as_tensor(d, tangents[i]) for i in at if (d := found[i]) is not None}
    finally:
        replace(tape)
    if user is not None and (loose := [i for i, d in rows.items() if not follows(tape, d)]):
        found = pull(given([None if g is None else g.array + 1 for g in gs]))
        unfollowed(user, "forward mode", [found[i] for i in loose])
    ds = [(d, tangents[i]) for i, d in rows.items()]
    asked = [g for g in gs if g is not None]
    seeds = [conj(t) if t.array.dtype.kind == "c" else t for _, t in ds]
    answers = iter(backprop([d for d, _ in ds], seeds, tape, asked, False, True) or [])
    vs = [None if g is None else next(answers) for g in gs]
    vs = [conj(v) if v is not None and v.array.dtype.kind == "c" else v for v in vs]
    if several:
        return tuple([v if v is not None or g is None else g for v, g in zip(vs, gs)])
    return vs[0]


def follows(tape: Tape, t: Tensor) -> bool:
    """Whether the tape has what made t."""
    return t.node is not None and on(t.node, tape) is not None


def unfollowed(name: str, who: str, found: Sequence[Any]) -> None:
    """RuntimeError if not all of these are zero: what a linear rule has made of ones, and no tape follows."""
    if any([d is not None and bool((concrete(raw(d)) != 0).any()) for d in found]):
        raise RuntimeError(
            f"{name}: what its rule answers does not follow by ops from what it is given (NumPy? stop_gradient?), and "
            f"{who} transposes it. Write it with gpugrad's functions, or give a rule for this direction, too"
        )


def _as_tensor(d: Any, t: Tensor) -> Tensor:
    """A cotangent, as a Tensor of the shape and dtype of the tangent it is paired with."""
    d = d if isinstance(d, Tensor) else wrap(d)
    return _fitting(unbroadcast(d, t.array.shape) if d.array.shape != t.array.shape else d, t.array)


def _fitting(t: Any, out: Any) -> Any:
    """Tangent t in the shape and dtype of `out`."""
    return cast(t if t.shape == out.shape else broadcast_to(t, tuple(out.shape)), out)


def cast(t: Any, out: Any) -> Any:
    """Tangent t in the dtype of `out`: of a real output the real part."""
    if t.dtype == out.dtype:
        return t
    return astype(real(t) if t.dtype.kind == "c" and out.dtype.kind != "c" else t, out.dtype)


def _outputs(op: Any) -> Any:
    """What stands for the outputs of a function with a gradient of its own: zeros like them."""
    outs = tuple([zeros() for zeros in op.like])
    return outs if op.several else outs[0]
