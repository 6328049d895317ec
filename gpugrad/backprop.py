"""Floor 4: the engine.  One function, `backprop`, walks what the tapes recorded, youngest op first."""

# pyright: reportOptionalMemberAccess=false
# (where a node is `mine` its op is not None, which pyright cannot see)
from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter, iadd
from sys import getrefcount
from typing import Any

import numpy as np

from .array import NUMPY, device_of, library, xp
from .core import DROP, Node, Tape, Tensor, on, raw, wrap, writes
from .hooks import arriving, deposited, gathering, leaving, suspecting, walking
from .inspection import hooked, inspected, unchanged
from .levels import Traced, concrete
from .ops.blocks import PART
from .ops.casting import astype, view
from .ops.math import conj, positive
from .ops.reduce import unbroadcast
from .paths import PICK, picked
from .recording import active, pushing, record

_age = attrgetter("seq")
_deposit_lock = threading.RLock()  # what is called under it may run a finalizer that deposits

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward(), grad() or a "
    "non-persistent tape's gradient(), and when the tape that recorded them is dropped. Write retain_graph=True in the "
    "first call, or use a persistent tape."
)


def alive(n: Node) -> Node:
    """The first of a chain that still has what its pullback needs."""
    while n.saved is None and n.next is not None:
        n = n.next
    return n


@gathering
def backprop(
    targets: Sequence[Tensor],
    seeds: Sequence[Any],
    tape: Tape | None,
    sources: Sequence[Any] | None,
    retain: bool,
    lift: bool,
) -> list[Tensor | None] | None:
    """Pull `seeds` back from `targets`: through `tape` alone, or with None through all history.

    Answers `sources`, or with None deposits into `.grad` of the leaves.  `lift`: run the pullbacks on Tensors so
    that active tapes record them; otherwise on raw arrays.  Without `retain`, free each node as it has been used.
    A seed of None is ones.  RuntimeError where the history has been freed.

    A tape's walk frees all that is upstream; on the graph of tensors only what has been walked through and had saved
    arrays is freed, so that what is left can be differentiated.
    """
    if within := [t for t in (*targets, *seeds) if isinstance(raw(t), Traced)]:
        if sources is None:
            name = raw(within[0]).level.name
            raise RuntimeError(f"{name}: inside, ask gg.grad or a tape for gradients, not backward()")
        lift = True
    lift = lift or any([t in pushing for t in active().tapes])  # whose tangents go through the pullbacks, too
    grads: dict[Node, Any] = {}
    head: dict[Node, Node] = {}  # node -> head of its chain, where it is not one
    for t, s in zip(targets, seeds, strict=True):
        n = None if t.node is None else on(t.node, tape) if tape is not None else alive(t.node)
        if n is None:
            continue
        g = _seed(t, s, lift)
        if n is not t.node:
            head[n] = t.node  # type: ignore[assignment]
        grads[n] = grads[n] + g if n in grads else g
    wanted: list[Node | None] | None = None
    if sources is not None:
        wanted = [None if s.node is None else on(s.node, tape) if tape is not None else alive(s.node) for s in sources]

    order, alias = _upstream(grads, tape, head)
    need: set[Node] | None = None
    asked: set[Node] = set()
    answers: dict[Node, Any] = {}
    if wanted is not None:
        asked = {n for n in wanted if n is not None}
        need = _leading_to(asked, order, alias)

    owned: set[Node] = set()  # nodes whose cotangent is a sum that we made, and may add to in place
    hooks, written = arriving.by_node, writes.ages  # empty dicts, as a rule
    looked_at = bool(leaving.by_node or suspecting)
    sweep, tidy = tape is not None and not retain, tape is None and not retain
    direct = wanted is None and tape is None  # whether a product may add to the `.grad` of a leaf itself
    uses: Counter[Node] | None = None
    for watch in walking:
        watch(order)
    while order:
        n = order.pop()
        g = grads.pop(n, None)
        op: Any = n.op
        mine = op is not None and (tape is None or n.tape is tape)
        if g is not None:
            if hooks:
                g = hooked(head.get(n, n), g)
            if tape is None and (wanted is None or op is not None):
                own = head.get(n, n) if head else n  # the node the user's tensor points to
                if own.grad is not DROP:
                    # Held by more than this walk, or a view: somebody else's, too.
                    shared = getrefcount(g) > 2 or getattr(g, "base", None) is not None
                    deposit(own, conj(g) if g.dtype.kind == "c" else g, shared)
                    for f in deposited.of(own) if deposited.by_node else ():
                        if (leaf := own.saved()) is not None:
                            f(leaf)
            if n in asked:
                answers[n] = g
            if mine:
                if written:
                    unchanged(n)
                s = lifted(n, head.get(n, n)) if lift else n.saved
                ds: Any = None
                if looked_at:
                    ds = inspected(n, g, s, need, alias)
                elif op.joint is not None:
                    over = op.joint_over is not None and getrefcount(g) == 2 and _ours(g)
                    joint: Any = op.joint_over if over else op.joint
                    ds = joint(g, s, None)
                if ds is not None:
                    g = None  # a shared first step may have made it superfluous
                adds = None if lift or looked_at or hooks else op.adds
                for i in op.order:
                    if i < 0:
                        i = ~i
                        large = type(s) is not tuple or getattr(s[i], "size", 0) > PART
                        frees = large and (sweep or (tidy and op.saves and not n.tape.persistent))
                        if frees and not (lift or looked_at):
                            n.saved, s = None, op.rest(s)  # type: ignore[misc]
                            if ds is not None:
                                ds.saved = s
                    e = n.edges[i]
                    if e is None:
                        continue
                    if alias and e in alias:
                        e = alias[e]
                        if e is None:
                            continue
                    if need is not None and e not in need:
                        continue
                    if adds is not None and adds[i] is not None:
                        if e in owned:
                            if adds[i](g if ds is None else ds.g, s, grads[e]) is not None:
                                continue
                        elif direct and e.op is None and e not in grads and head.get(e, e).grad is not None:
                            uses = uses or _uses(n, order, alias)
                            if uses[e] == 1 and _added(head.get(e, e), adds[i], g if ds is None else ds.g, s):  # type: ignore[arg-type]
                                continue
                    if ds is None:
                        rule, j = op.quick[i]
                        if j >= 0:
                            d = rule(g, s[j])
                        elif j == -1:
                            d = rule(g)
                        elif j == -2:
                            d = rule(g, s, e.shape)
                        else:  # the second of the two may write over a large g that nobody else has
                            over = g.size > PART and getrefcount(g) == 2 and _ours(g)
                            d = rule[over](g, s[-3 - j])
                    else:
                        d = ds[i]
                        if d is None:
                            continue
                    if d.shape != e.shape:
                        d = unbroadcast(d, e.shape)  # type: ignore[arg-type]
                    if d.dtype is not e.dtype and d.dtype != e.dtype:
                        d = astype(d, e.dtype)
                    other = grads.get(e)
                    if other is None:
                        grads[e] = d
                    elif e in owned:
                        grads[e] = iadd(other, d)
                    elif lift or not e.shape:
                        grads[e] = other + d
                    else:
                        grads[e] = _sum(other, d)
                        owned.add(e)
                s = d = ds = other = None
            g = None
            if tidy and mine and op.saves and not n.tape.persistent:
                n.saved = None
                n.edges = ()
        if sweep and mine:
            n.saved = None
            n.edges = ()
    if wanted is None:
        return None
    given = {id(raw(s)) for s in seeds}
    return [
        None if n is None or n not in answers else _answer(answers[n], s.kind, given)
        for n, s in zip(wanted, sources or (), strict=True)
    ]


def _ours(a: Any) -> bool:
    """Whether `a`, which only the walk holds, is NumPy's and has its memory for itself, maybe in another shape."""
    if type(a) is not np.ndarray:
        return False
    base = a.base
    if base is None:
        return NUMPY.owns(a)
    alone = type(base) is np.ndarray and getrefcount(base) == 3  # a's, by name, and getrefcount's
    return alone and a.nbytes == base.nbytes and a.flags.writeable and NUMPY.owns(base)


def _sum(a: Any, b: Any) -> Any:
    """a + b, in the memory of one that only the walk holds: `a` in its list and by name, `b` by name."""
    if getrefcount(a) == 4 and _ours(a):  # with this call's name and getrefcount's
        return iadd(a, b)
    return iadd(b, a) if getrefcount(b) == 3 and _ours(b) else a + b


def _upstream(grads: dict[Node, Any], tape: Tape | None, head: dict[Node, Node]) -> tuple[list[Node], dict]:
    """(every node upstream of the targets, oldest first; what stands for an edge where it is not the edge itself)."""
    seen, order = set(grads), list(grads)
    alias: dict[Node, Node | None] = {}
    for n in order:  # grows
        if n.op is None or (n.tape is not tape and tape is not None):
            continue
        if n.saved is None:
            raise RuntimeError(FREED)
        for e in n.edges:
            if e is None or e in seen or e in alias:
                continue
            if e.tape is tape or (tape is None and e.saved is not None):
                p: Any = e
            else:
                p = on(e, tape) if tape is not None else alive(e)
                if p is not e:
                    alias[e] = p
                    if p is None:
                        continue
                    head[p] = e
                    if p in seen:
                        continue
            seen.add(p)
            order.append(p)
    order.sort(key=_age)
    return order, alias


def _leading_to(sources: set[Node], order: list[Node], alias: dict[Node, Node | None]) -> set[Node] | None:
    """The nodes of `order` from which a source can be reached, and the sources; None if that is all of them."""
    need, every = set(sources), True
    for n in order:
        for e in n.edges:
            if e is not None and (e in need or (alias and alias.get(e) in need)):
                need.add(n)
                break
        else:
            if n not in need:
                every = False
    return None if every else need


def _seed(t: Tensor, s: Any, lift: bool) -> Any:
    """The cotangent that the walk starts from, conjugated: inside, cotangents are plain linear maps."""
    if s is None:
        g = xp(concrete(t.array)).ones(t.array.shape, t.array.dtype)
    else:
        g = s if lift else s.array if isinstance(s, Tensor) else s
        if device_of(raw(g)) != device_of(t.array):
            raise TypeError(
                f"the seed is on {device_of(g.array if isinstance(g, Tensor) else g)} and its tensor on "
                f"{device_of(t.array)}; move the seed with .to('{device_of(t.array)}')"
            )
        if g.dtype != t.array.dtype:
            g = astype(g, t.array.dtype)
    if lift:  # the rules see plain Tensors, whatever the user's are
        g = wrap(g.array, g.node) if isinstance(g, Tensor) else wrap(g)
    return conj(g) if g.dtype.kind == "c" else g


def _answer(g: Any, kind: type[Tensor], given: set[int]) -> Tensor:
    """The cotangent as the user sees it, in an array object of its own: `given` are the ids of those in use."""
    if g.dtype.kind == "c":
        g = conj(g)
    a = raw(g)
    node = g.node if isinstance(g, Tensor) else None
    if id(a) in given:
        if node is not None:
            g = positive(g)
            a, node = g.array, g.node
        else:
            a = view(a)
    given.add(id(a))
    return wrap(a, node, kind)


def lifted(n: Node, head: Node) -> tuple:
    """What `n` saved, as Tensors with the history they had when saved."""
    k, s = len(n.edges), n.saved
    inputs = [
        v if v is None else wrap(v, e) if e is not None else _since_watched(v) for v, e in zip(s, n.edges, strict=False)
    ]
    if n.op.outs:
        end = len(s) - n.op.outs
        parts = [v if v is None else _part(v, i, head) for i, v in enumerate(s[end:])]
        return (*inputs, None, *map(_boxed, s[k + 1 : end]), *parts)
    return (*inputs, s[k] if s[k] is None else wrap(s[k], head), *map(_boxed, s[k + 1 :]))


def _boxed(v: Any) -> Any:
    """A static argument or an auxiliary; one of a level, as a Tensor, whose functions know that."""
    return wrap(v) if isinstance(v, Traced) else v


def _part(v: Any, i: int, head: Node) -> Tensor:
    """The i-th output, with the history that its user's tensor has, or had."""
    own = picked[head][i] if head in picked else None
    node = own() if own is not None else None
    return record(PICK, v, (None, None, i, None), (head,)) if node is None else wrap(v, node)


def _since_watched(v: Any) -> Any:
    """A value that nobody tracked when it was saved: its tensor, if a tape has watched that since."""
    for tape in active().tapes:
        if id(v) in tape.arrays:
            return wrap(*tape.arrays[id(v)])
    return _boxed(v)


def deposit(n: Node, g: Any, shared: bool = True) -> None:
    """Add to `.grad`, in an array of its own: users change gradients in place.  The Tensor there stays the same."""
    with _deposit_lock:
        n.deposits = 1 if n.grad is None else _deposits(n) + 1
        if isinstance(g, Tensor):
            n.grad = positive(g) if n.grad is None else n.grad + g
        elif n.grad is None:
            n.grad = wrap(g.copy() if shared else g)
        elif n.grad.node is not None:  # a gradient with a history
            n.grad = wrap(n.grad.array + g)
        elif (total := _kept(n)) is None:
            n.grad.array = n.grad.array + g
        else:
            total += g


def _deposits(n: Node) -> int:
    """How many backward() made the `.grad` that is there; 0 where somebody else has written to it."""
    return 0 if writes.ages and writes.of(n.grad.array) else getattr(n, "deposits", 0)


def _kept(n: Node) -> Any:
    """The array of the `.grad` of a leaf, if it is like the leaf and nobody else holds it; else None."""
    t = n.grad
    if n.op is not None or t is None or t is DROP or t.node is not None or not n.shape:  # 0-d: may be NumPy's scalar
        return None
    lib = library(t.array)
    alone = lib is not None and lib.alone(t.array)
    return t.array if alone and t.array.shape == n.shape and t.array.dtype == n.dtype else None


def _uses(n: Node, order: list[Node], alias: dict[Node, Node | None]) -> Counter[Node]:
    """How many edges lead to each node from those that are still to be walked through, and from n."""
    return Counter([alias.get(e, e) for m in (n, *order) for e in m.edges if e is not None])  # type: ignore[misc]


def _added(n: Node, add: Any, g: Any, s: tuple) -> bool:
    """Whether the only cotangent of leaf n has been added to its `.grad`, at once, so that nobody sees it halfway."""
    with _deposit_lock:
        total = None if deposited.by_node else _kept(n)
        if total is None or add(g, s, total) is None:
            return False
        n.deposits = _deposits(n) + 1
        return True
