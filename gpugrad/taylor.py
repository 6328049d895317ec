"""Floor 6: Taylor mode: `taylor`, derivatives of f(x(t)) by t, of several orders in one run.

An `Expansion` is a tape that computes terms as it records: the derivatives x', x'', ... at t = 0 of each tensor.
Linear ops take them one by one, products by Leibniz's rule.  Of what works element by element y' is what the op's
pullback makes of x' (its own transpose), so that rule, run under an expansion of one order less, gives the next term of
y: for exp, tanh and the like that is the recurrence of the tables (Griewank and Walther 2008, chapter 13).  All else is
nested forward mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import optree

from .array import asarray, device_of, xp
from .backprop import lifted
from .batching import called
from .core import Node, Tensor, identity, leaf, on, raw, wrap
from .dtypes import is_inexact
from .forward_mode import ForwardAccumulator, _fitting, ruled, through
from .levels import blank
from .ops.casting import astype
from .ops.linalg import matmul, product_op
from .ops.linear import ACTIVATIONS
from .ops.math import add, multiply, positive
from .ops.shape import broadcast_to, reshape
from .paths import PICK
from .recording import active, resume
from .rule import Op
from .tensor import tensor

Terms = list[Any]  # Tensors, or None for 0: a value and its derivatives
FUSED = {"linear": None, **{f"linear_{a}": f.op for a, f in ACTIVATIONS.items()}}  # products, biases, activations


class Expansion(ForwardAccumulator):
    """A tape on which each tensor has `order` derivatives.  `rows` are the tensors it starts from, with theirs."""

    def __init__(self, name: str, order: int, rows: Sequence[Terms] = ()) -> None:
        super().__init__((), ())
        self.name, self.order, self.starts = name, order, [r[0] for r in rows]
        for r in rows:
            terms: Any = r[1:]
            self._begin(r[0], terms)

    def terms(self, t: Any) -> Terms:
        """A Tensor and its derivatives."""
        return [t, *(self._of(t.node) or [None] * self.order)[: self.order]]

    def _push(self, op: Any, values: tuple, edges: Sequence[Node | None], head: Node) -> None:
        k, known = len(edges), [self._of(e) for e in edges]
        moving = [i for i, t in enumerate(known) if t is not None]
        found, n = None, on(head, self._tape)
        if not moving or not self.order:
            pass
        elif op is PICK:
            found = known[0][values[2]] if type(known[0]) is tuple else None
        elif not isinstance(op, Op):
            found = self.ruled(op, values, n, known)
        else:
            with resume(self._mode()):
                whole = Node()
                whole.op, whole.edges, whole.saved = op, tuple(edges), values[:-1]
                saved = lifted(whole, head)
                static = dict(zip(op.static, values[k + 1 : k + 1 + len(op.static)], strict=False))
                xs = [[x, *(t or [None] * self.order)[: self.order]] for x, t in zip(saved[:k], known)]
                out: Any = values[k] if type(values[k]) is tuple else wrap(values[k], head)
                found = self.expanded(op, out, xs, static, moving)
        if found is not None:
            self._tangents[n] = found  # type: ignore[index]
        n.saved, n.edges = None, ()  # type: ignore[union-attr]  # nobody walks back here

    def ruled(self, op: Any, values: tuple, n: Any, known: list[Any]) -> Any:
        """The derivatives of what a function with a gradient of its own has answered.

        Its rule makes y' of x', and runs on this very tape, one order lower: what it reads is known here.  Where that
        may be y itself, each run gives one more of its derivatives.
        """
        order, fresh = self.order, []
        n.saved = op.whole(values)  # which hooks may have packed
        try:
            for m in range(1, order + 1) if op.born is not None else [order]:
                self.order = m - 1
                with resume(self._mode()):
                    vs = [None if t is None else self.started(t[:m]) for t in known]
                fresh += [identity(v.node) for v in vs if v is not None]  # type: ignore[arg-type]
                with resume(self._around(active(), 1)):
                    found = ruled(op, values, n, vs) if any([v is not None for v in vs]) else None
                several = found if op.several and found is not None else [found] * len(op.like)
                rows = [[None] * m if v is None else self.terms(v) for v in several]
                self._tangents[n] = tuple(rows) if op.several else rows[0]  # type: ignore[assignment]
        finally:
            self.order = order
            self._tape.watched.difference_update(fresh)
        return self._tangents[n]

    def started(self, terms: Terms) -> Tensor | None:
        """A Tensor with these terms, of which the first is its value; None for 0."""
        given = [t for t in terms if t is not None]
        if not given:
            return None
        t, *more = own([zeros(given[0]) if terms[0] is None else terms[0], *terms[1:]])
        n = identity(leaf(t))
        self._tape.watched.add(n)
        self._tangents[n] = more
        return t

    # ------------------------------------------------------------------------------------ one op
    def expanded(self, op: Any, out: Any, xs: list[Terms], static: dict[str, Any], moving: list[int]) -> Any:
        """The derivatives of the output of `op`; of several outputs a tuple of such lists."""
        several = isinstance(out, tuple)
        if not any([is_inexact(raw(v).dtype) for v in (out if several else (out,))]):
            return None
        if op.linear is True:
            found = [self.image(op, xs, static, k) for k in range(1, self.order + 1)]
            if several:
                return tuple([[None if v is None else boxed(v[i]) for v in found] for i in range(len(out))])
            return self.fitted(found, out)
        if op.linear:
            return self.product(op, out, xs, static)
        if op.own in FUSED:
            return self.fused(FUSED[op.own], out, xs)
        pointwise = op.batch == "elementwise" and not op.aux and not several
        if pointwise and (op.own or all([xs[i][0].shape == out.shape for i in moving])):  # as in forward mode
            return self.pointwise(op, out, xs, static, moving)
        rows = self.nested(op, xs, static, moving)
        return tuple(map(list, zip(*rows))) if several else [r[0] for r in rows]

    def image(self, op: Any, xs: list[Terms], static: dict[str, Any], k: int) -> Any:
        """What an op that is linear in its operands together makes of their k-th derivatives."""
        if all([x[k] is None for x in xs]):
            return None
        return called(op, [zeros(x[0]) if x[k] is None else x[k] for x in xs], static)[0]

    def fitted(self, terms: Sequence[Any], out: Tensor) -> Terms:
        return [None if t is None else _fitting(boxed(t), out.array) for t in terms]

    def product(self, op: Any, out: Any, xs: list[Terms], static: dict[str, Any]) -> Terms:
        """Leibniz's rule."""
        x, y, *rest = xs
        terms: Terms = []
        for k in range(1, self.order + 1):
            total = None
            for j in range(k + 1):
                if x[j] is not None and y[k - j] is not None:
                    both = called(op, [x[j], y[k - j], *[r[0] for r in rest]], static)[0]
                    both = self.gathered(both, j, k)
                    total = plus(total, both if j in (0, k) else multiply(both, comb(k, j)))
            terms.append(total)
        return self.fitted(terms, out) if out is not None else terms

    def gathered(self, both: Any, j: int, k: int) -> Any:
        """The product of derivative j of one factor and k - j of the other."""
        return both

    def fused(self, activation: Any, out: Tensor, xs: list[Terms]) -> Terms:
        """x @ weight + bias, then the activation, of which the rule may go by the output alone."""
        x, weight, bias = xs
        z = [plus(p, b) for p, b in zip(self.product(product_op.op, None, [x, weight], {}), bias[1:])]
        z = self.fitted(z, out)
        if activation is None:
            return z
        return self.pointwise(activation, out, [[self.given(activation, out, xs), *z]], activation.static, [0])

    def given(self, activation: Any, out: Tensor, xs: list[Terms]) -> Any:
        """What the activation was given, where its rule asks for that; else `out` stands for it."""
        x, weight, bias = xs
        return add(matmul(x[0], weight[0]), bias[0]) if 0 in activation.needs[0] else out

    def pointwise(self, op: Any, out: Tensor, xs: list[Terms], static: dict, moving: list[int]) -> Terms:
        """y' = what the pullback makes of x': run on the terms of x and y that are known, it gives one more of y."""
        moving = [i for i in moving if any([t is not None for t in xs[i][1:]])]
        by_out = any([len(xs) in op.needs[i] for i in moving])
        terms: Terms = []
        for m in range(1, self.order + 1) if by_out else [self.order]:
            rows: dict[int, Terms] = {i: xs[i][:m] for i in moving}
            y = [out, *terms][:m] if by_out else [out] + [None] * (m - 1)
            slopes = {i: g for i in moving if (g := self.slope(xs[i][1 : m + 1], out)) is not None}
            if m > 1:  # a tensor may be there twice, with other terms
                y, rows, slopes = own(y), {i: own(r) for i, r in rows.items()}, {i: own(g) for i, g in slopes.items()}
            inner = Expansion(self.name, m - 1, [*rows.values(), y, *slopes.values()] if m > 1 else ())
            saved = (*[rows[i][0] if i in rows else x[0] for i, x in enumerate(xs)], y[0], *static.values(), None)
            with inner:
                found = {i: through(op, i, g[0], saved, out) for i, g in slopes.items()}
            terms = [None] * m
            for d in found.values():
                terms = [plus(a, b) for a, b in zip(terms, inner.terms(boxed(d)))]
            terms = self.fitted(terms, out)
        return terms

    def slope(self, terms: Terms, out: Tensor) -> Terms | None:
        """x' and its derivatives in the shape of the output; None for 0."""
        if all([t is None for t in terms]):
            return None
        terms = shaped(terms, out)
        return [zeros(out) if terms[0] is None else terms[0], *terms[1:]]

    def nested(self, op: Any, xs: list[Terms], static: dict, moving: list[int]) -> list[list[Any]]:
        """For each order from 1 on, that derivative of each output: by forward mode in forward mode."""
        like = xs[moving[0]][0].array
        t = wrap(asarray(0.0, like.real.dtype, device_of(like)))

        def at(t: Tensor) -> list[Tensor]:
            given = [x[0] for x in xs]
            for i in moving:
                rest = None
                for k in range(self.order, 0, -1):
                    rest = times(plus(xs[i][k], rest), t / k)
                given[i] = plus(given[i], rest)
            return parts(called(op, given, static)[0])

        return _derivatives(at, t, self.order)[1:]


def shaped(terms: Terms, out: Tensor) -> Terms:
    """Terms in the shape of the output."""
    shape = tuple(out.array.shape)
    return [t if t is None or t.array.shape == shape else broadcast_to(t, shape) for t in terms]


def own(terms: Terms) -> Terms:
    """The same terms of a Tensor that nobody else has, with its history."""
    return [reshape(terms[0], terms[0].array.shape), *terms[1:]]


def _derivatives(f: Callable[[Tensor], list[Tensor]], t: Tensor, order: int) -> list[list[Any]]:
    """f(t) and its derivatives."""
    if not order:
        return [f(t)]
    one = wrap(xp(t.array).ones(t.array.shape, t.array.dtype))
    t = positive(t)
    with ForwardAccumulator(t, one) as acc:
        found = _derivatives(f, t, order - 1)
    return [*found, acc.jvp(found[-1], "zero")]


def boxed(v: Any) -> Tensor:
    """v as a Tensor."""
    return v if isinstance(v, Tensor) else wrap(v)


def zeros(t: Any) -> Tensor:
    """Zeros like t."""
    return wrap(blank(raw(t))())


def parts(out: Any) -> list[Tensor]:
    """The outputs of an op, one or several."""
    return [boxed(v) for v in out] if isinstance(out, (tuple, list)) else [boxed(out)]


def plus(a: Any, b: Any) -> Any:
    """a + b, of which None is 0."""
    return b if a is None else a if b is None else add(a, b)


def times(a: Any, b: Any) -> Any:
    """a b, of which None is 0."""
    return None if a is None or b is None else multiply(a, b)


# ---------------------------------------------------------------------------------------------- taylor
def taylor(f: Callable[..., Any], primals: Sequence[Any], series: Sequence[Sequence[Any]]) -> tuple[Any, list[Any]]:
    """(f(*primals), [its first derivative by t, the second, ...]), where each argument is x(t) = Σ_k x_k t^k / k!.

        y, (y1, y2, y3) = gg.taylor(gg.sin, (x,), ((v, None, None),))  # along the line x + t v

    primals   the arguments at t = 0, x_0: Tensors
    series    for each argument its derivatives [x_1, x_2, ...] at t = 0, shaped like it; None is 0; as many for each

    The derivatives are as many, each nested like what f answers, as jax.experimental.jet has them.  Order K costs about
    K² / 2 runs of f on element-wise, linear and bilinear ops; others (a softmax, a factorisation) go by nested forward
    mode, in 2^K.  Tapes and `vmap` may be inside and around.
    ValueError for series of other lengths and shapes; TypeError for arguments that are no floats.
    """
    xs = _primals("taylor", primals)
    if not isinstance(series, (tuple, list)) or not all([isinstance(s, (tuple, list)) for s in series]):
        raise TypeError(f"taylor: series are a list of derivatives for each argument, ([v, None],), not {series!r:.60}")
    if len(series) != len(xs) or len({len(s) for s in series}) != 1 or not len(series[0]):
        raise ValueError(
            f"taylor: {len(xs)} primals need as many series, all of one length from 1 on, given lengths "
            f"{[len(s) for s in series]}"
        )
    rows = [[*own([x]), *[_term(x, v) for v in s]] for x, s in zip(xs, series)]
    found, spec = run(Expansion(f"taylor({getattr(f, '__name__', type(f).__name__)})", len(series[0]), rows), f)
    first, *rest = [optree.tree_unflatten(spec, list(terms)) for terms in zip(*found)]
    return first, rest


def run(tape: Expansion, f: Callable[..., Any]) -> tuple[list[Terms], Any]:
    """(the terms of each Tensor that f answers of the arguments that the tape starts from, the tree of them)."""
    with tape:
        out = f(*tape.starts)
    ts, spec = optree.tree_flatten(out, namespace="gpugrad")
    for t in ts:
        if not isinstance(t, Tensor):
            raise TypeError(f"{tape.name}: the function answers Tensors, or a tree of them, not {t!r:.60}")
    found = [tape.terms(t) for t in ts]
    whole = [[zeros(t) if v is None else v for v in terms] for t, terms in zip(ts, found)]
    return [[wrap(v.array, v.node, t.kind) for v in terms] for t, terms in zip(ts, whole)], spec


def _primals(name: str, primals: Sequence[Any]) -> list[Tensor]:
    if isinstance(primals, Tensor) or not isinstance(primals, (tuple, list)) or not primals:
        raise TypeError(f"{name}: primals are a tuple of the function's arguments, not {primals!r:.60}")
    xs = [x if isinstance(x, Tensor) else tensor(x) for x in primals]
    for x in xs:
        if not is_inexact(x.array.dtype):
            raise TypeError(f"{name}: an argument is {x.array.dtype}, which has no derivative; make it a float first")
    return xs


def _term(x: Tensor, v: Any) -> Any:
    if v is None:
        return None
    v = v if isinstance(v, Tensor) else tensor(v, dtype=x.array.dtype)
    if v.array.shape != x.array.shape:
        raise ValueError(f"taylor: a coefficient has shape {tuple(v.array.shape)}, its primal {tuple(x.array.shape)}")
    if v.array.dtype.kind == "c" != x.array.dtype.kind:
        raise TypeError(f"taylor: a coefficient is {v.array.dtype}, its primal {x.array.dtype}; make both complex")
    return wrap(v.array, v.node) if v.array.dtype == x.array.dtype else astype(wrap(v.array, v.node), x.array.dtype)
