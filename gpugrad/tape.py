"""Floor 5: GradientTape, TensorFlow's way to ask for a gradient."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import ref

import optree

from .array import xp
from .asking import (
    UnconnectedGradients as UnconnectedGradients,
    flat_seeds,
    flat_sources,
    one_tensor,
    tensors,
    uses_asked,
    zeros_asked,
)
from .backprop import backprop
from .core import Tape, Tensor, identity, leaf, on, wrap
from .dtypes import is_inexact
from .exhausted import let_go, reserve, set_aside
from .explain import explain
from .hooks import opening
from .jacobian import batch_jacobian, chunk, elements, jacobian
from .ledger import GRADIENT, TAPE, Ledger, nbytes, of_tape
from .origin import Log, follow, logs
from .recording import AMBIENT, Mode, active, enter, replace, resume, scope

_SPENT = "A non-persistent GradientTape can only be used to compute one set of gradients (or jacobians)"


class GradientTape:
    """Records ops on the tensors it watches, then differentiates.

        with gg.GradientTape() as tape:
            loss = model(x)
        grads = tape.gradient(loss, variables)

    persistent                 keep what was saved after `gradient`, until the tape is dropped
    watch_accessed_variables   watch trainable variables by themselves when an op reads them
    explain                    from now on remember where tensors come from, so that `explain` can say why a gradient
                               is None; costs at most 2 us an op
    uses                       how many gradients and Jacobians the tape serves; without `persistent` 1

    A tape frees what it saved while its last `gradient` walks back, or after its last Jacobian; what no earlier one
    will need it cannot know, so until then it keeps all.  A call that fails on its way back counts, one that refuses
    its arguments does not.  A tape that is dropped frees what is left.
    """

    def __init__(
        self,
        persistent: bool = False,
        watch_accessed_variables: bool = True,
        explain: bool = False,
        uses: int | None = None,
    ) -> None:
        given = persistent, watch_accessed_variables, explain
        if any(type(v) is not bool for v in given):
            raise TypeError(
                f"GradientTape: persistent, watch_accessed_variables and explain are True or False, not {given}"
            )
        self._persistent, self._auto = persistent, watch_accessed_variables
        self._uses = uses_asked(uses, persistent)
        self._used = 0  # of them, by this recording
        self._log = Log() if explain else None
        self._tape: Tape | None = None
        self._seen: set[Any] = set()  # leaves watched by a recording that is over
        for tell in opening:
            tell(self)
        if not reserve:
            set_aside()

    # ------------------------------------------------------------------------------------ recording
    def __enter__(self) -> GradientTape:
        self._unspent()
        if self._tape is None:
            self._tape = self._new()
        elif self._tape in active().open:
            raise ValueError(
                "Tape is still recording, This can happen if you try to re-enter an already-active tape. "
                "Leave its `with` block first, or make a second GradientTape."
            )
        enter(self._tape)
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._tape is not None:
            replace(self._tape)
        if any(exc):
            let_go(exc[1])

    def __del__(self) -> None:
        tape = getattr(self, "_tape", None)  # an error in __init__ leaves none
        if tape is not None:
            tape.close()

    def _new(self) -> Tape:
        self._used = 0
        return Tape(set(), self._auto, [], not self._last(), apart=self._log is not None)

    def _last(self) -> bool:
        """Whether the next gradient is the last."""
        return self._uses is not None and self._used + 1 >= self._uses

    def _spent(self) -> bool:
        return self._uses is not None and self._used >= self._uses

    def _unspent(self) -> None:
        if self._spent():
            used = ", and this one has been used" if self._uses == 1 else ""
            raise RuntimeError(f"{self._limit()}{used}. Make a new GradientTape.")

    def _limit(self) -> str:
        """The reason why it serves no more."""
        n = self._uses
        several = f"A GradientTape(uses={n}) can be used to compute {n} sets of gradients (or jacobians); it has been"
        return _SPENT if n == 1 else f"{several} used {n} of {n} times"

    def _recording(self) -> Tape:
        if self._tape is None or self._tape not in active().tapes:
            raise ValueError("Tape is not recording. Do this inside its `with` block.")
        return self._tape

    def watch(self, tensor: Any) -> None:
        """Track `tensor`, or every tensor in a nested structure, from here on.

        Warns about tensors that are not floating, which have no gradient.  ValueError for what is no tensor, and
        outside the tape's `with` block on a tape that was never entered.
        """
        if self._tape is None:
            raise ValueError("Tape is not recording. Call watch() inside its `with` block, or after it.")
        self._unspent()
        for t in [tensor] if isinstance(tensor, Tensor) else optree.tree_leaves(tensor, namespace="gpugrad"):
            if not isinstance(t, Tensor):
                raise ValueError(
                    f"Passed in object {t!r:.60} of type {type(t).__name__!r}, not a Tensor or Variable. "
                    "Make it one with gg.tensor(...)."
                )
            if not is_inexact(t.array.dtype):
                warnings.warn(
                    f"The dtype of the watched tensor must be floating (e.g. {t.prefix}float32), got "
                    f"{t.prefix}{'string' if t.array.dtype.kind in 'SUO' else t.array.dtype}",
                    stacklevel=2,
                )
                if self._log is not None:
                    self._log.refuse(t)
                continue
            n = leaf(t)
            if n.op is None or on(n, self._tape) is None:  # what it has recorded itself is tracked already
                self._tape.watched.add(identity(n))
                self._tape.arrays[id(t.array)] = t.array, n

    def watched_variables(self) -> tuple[Any, ...]:
        """The variables that this tape has watched, in order of their creation; readable after use, too."""
        leaves = self._seen | (set(self._tape.watched) if self._tape else set())
        found = [n.saved() for n in sorted(leaves, key=lambda n: n.seq) if isinstance(n.saved, ref)]
        return tuple([v for v in found if hasattr(v, "trainable")])

    @contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Record nothing on this tape inside the `with` block."""
        if self._tape is None:
            raise RuntimeError("Trying to stop recording a tape which is not recording. Enter its `with` block first.")
        self._recording()
        with scope(False, self._tape):
            yield

    def reset(self) -> None:
        """Forget everything recorded, watched and used so far, and go on recording."""
        old, self._tape = self._recording(), self._new()
        replace(old, self._tape)
        self._seen = set()
        old.close()

    # ------------------------------------------------------------------------------------ differentiating
    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = UnconnectedGradients.NONE,
    ) -> Any:
        """The gradient of the sum of `target` with respect to `sources`, in the structure of `sources`.

        target                 a tensor, or any nesting of lists, tuples and dicts of them
        sources                the same; an intermediate result is a source like any other
        output_gradients       the cotangent of each target, in the order of the targets; None: ones
        unconnected_gradients  'none' or 'zero': what stands for a source that target does not depend on

        Each gradient has its source's shape and dtype.  RuntimeError on a tape that is used up.
        """
        self._usable()
        zero = zeros_asked(unconnected_gradients)
        if target is None:
            raise TypeError(
                "Argument `target` should be a list or nested structure of Tensors or Variables to be "
                "differentiated, but received None."
            )
        targets = tensors(target, "target")
        asked, restore = flat_sources(sources)
        seeds = flat_seeds(targets, output_gradients)
        self._begin()
        try:
            out = self._pull(targets, seeds, asked, not self._last())
        finally:
            self._end()
        if zero:
            out = [
                wrap(xp(s.array).zeros_like(s.array), None, s.kind) if g is None else g
                for g, s in zip(out, asked, strict=True)
            ]
        return restore(out)

    def jacobian(
        self,
        target: Any,
        sources: Any,
        unconnected_gradients: str = UnconnectedGradients.NONE,
        parallel_iterations: int | None = None,
        experimental_use_pfor: bool = True,
        chunk_size: int | None = None,
        max_bytes: int | None = None,
    ) -> Any:
        """The derivative of each element of `target` with respect to each element of `sources`, nested like sources.

        target   one tensor.  Each answer has the target's shape, then its source's, and its source's dtype
        chunk_size   a pass back is made for so many elements of target at once
        max_bytes    the memory that a pass may take beside the result; default: a share of what is free
        `parallel_iterations` changes nothing; without `experimental_use_pfor` the tape must be persistent.
        TypeError if target is no tensor; RuntimeError on a tape that is used up; ValueError where one element takes
        more than `max_bytes`, with what it takes.
        """
        self._loops(experimental_use_pfor, "jacobian")
        zero = zeros_asked(unconnected_gradients)
        t = one_tensor(target, "target")
        asked, restore = flat_sources(sources)
        step = chunk(t, self._tape, chunk_size, max_bytes)
        self._begin()
        try:
            return restore(self._jacobian(t, asked, zero, step))
        finally:
            self._end()

    def _jacobian(self, t: Tensor, asked: list[Tensor], zero: bool, step: int) -> list[Any]:
        return jacobian(lambda seed: self._pull([t], [seed], asked, True), t, asked, zero, self._tape, step)

    def batch_jacobian(
        self,
        target: Any,
        source: Any,
        unconnected_gradients: str = UnconnectedGradients.NONE,
        parallel_iterations: int | None = None,
        experimental_use_pfor: bool = True,
        chunk_size: int | None = None,
        max_bytes: int | None = None,
    ) -> Any:
        """The Jacobian of each example: target[i] with respect to source[i], whose first axes are the batch.

        Answers shape (batch, *target.shape[1:], *source.shape[1:]); zeros where target does not depend on source.  An
        element of target that depends on other examples than its own has the sum of their derivatives.
        ValueError if the first axes differ; RuntimeError on a tape that is used up.
        """
        self._loops(experimental_use_pfor, "batch_jacobian")
        zeros_asked(unconnected_gradients)
        t, s = one_tensor(target, "target"), one_tensor(source, "source")
        a, b = t.array.shape, s.array.shape
        if a[:1] != b[:1] or not a:
            said = f"Need first dimension of target shape ({a}) and source shape ({b}) to match. The first axis is the "
            raise ValueError(f"{said}batch; for one example write tape.jacobian.")
        step = chunk(t, self._tape, chunk_size, max_bytes, elements(t.array))
        self._begin()
        try:
            return batch_jacobian(lambda seed: self._pull([t], [seed], [s], True), t, s, self._tape, step)
        finally:
            self._end()

    def hessian(
        self,
        target: Any,
        sources: Any,
        unconnected_gradients: str = UnconnectedGradients.ZERO,
        chunk_size: int | None = None,
        max_bytes: int | None = None,
    ) -> Any:
        """The second derivatives of one number, `target`: for each source by each source, nested like sources twice.

        Each answer has the shape of the first source, then of the second.  One tape does: the gradient's own ops are
        recorded on it.  chunk_size and max_bytes as `jacobian` has them.
        ValueError if target has several elements; RuntimeError on a tape that is used up.
        """
        self._usable()
        zero = zeros_asked(unconnected_gradients)
        t = one_tensor(target, "target")
        if t.array.size != 1:
            raise ValueError(f"hessian: target is one number, not of shape {tuple(t.array.shape)}; sum it first")
        asked, restore = flat_sources(sources)
        chunk(t, self._tape, chunk_size, max_bytes)  # refuses
        self._begin()
        tape: Any = self._tape
        try:
            with resume(Mode((*active().open, tape), active().changes)):
                gs = self._pull([t], [None], asked, True)
            gs = [wrap(xp(s.array).zeros_like(s.array)) if zero and g is None else g for g, s in zip(gs, asked)]
            step = lambda g: chunk(g, tape, chunk_size, max_bytes)
            rows = [g if g is None else self._jacobian(g, asked, zero, step(g)) for g in gs]
            return restore([restore(r or [None] * len(asked)) for r in rows])
        finally:
            self._end()

    def _loops(self, vectorized: bool, what: str) -> None:
        self._usable()
        if not vectorized and not self._persistent:
            raise RuntimeError(
                f"GradientTape must be created with persistent=True to compute the {what} with eager execution "
                "enabled and with experimental_use_pfor set to False."
            )

    def _usable(self) -> None:
        if self._spent():
            raise RuntimeError(
                f"{self._limit()}. Write GradientTape(persistent=True) to ask several times, or GradientTape(uses=N) "
                "to ask N times."
            )
        if self._tape is None:
            raise RuntimeError(f"{_SPENT}; this one has never been entered. Compute the target inside `with tape:`.")

    def _begin(self) -> None:
        if self._last():
            self._tape.persistent = False  # type: ignore[union-attr]
        if self._tape in active().open:
            if self._last():
                replace(self._tape)
            else:
                kind = "a persistent tape" if self._persistent else "a tape that has uses left"
                warnings.warn(
                    f"Calling GradientTape.gradient on {kind} inside its context records the gradient's own ops on "
                    "the tape, which costs time and memory. Call it after the `with` block unless you want higher "
                    "derivatives.",
                    stacklevel=3,
                )

    def _pull(self, targets: list[Tensor], seeds: list[Any], asked: list[Tensor], retain: bool) -> list[Any]:
        tape: Any = self._tape
        graph = tape.beside and any([t.node is not None and on(t.node, AMBIENT) is not None for t in targets])
        with scope(True) if graph and not active().tapes else nullcontext():
            out = backprop(targets, seeds, tape, asked, retain, graph or len(active().tapes) > 1) or []
        for t, s in zip(targets, seeds, strict=True):
            if t.node is None or on(t.node, tape) is None:  # that no tape tracks, and that is a source itself
                for i, a in enumerate(asked):
                    if a is t and is_inexact(t.array.dtype):
                        one = wrap(xp(t.array).ones_like(t.array), None, t.kind) if s is None else s
                        out[i] = one if out[i] is None else out[i] + one
        if logs:
            for g in out:
                if g is not None and g.node is None:
                    follow(g, "gradient", [t.node for t in (*targets, *asked)], (), active())
        return out

    def _end(self) -> None:
        self._used += 1
        if self._spent() and self._tape is not None:
            self._seen = self._tape.watched  # which close() replaces
            self._tape.close()

    def explain(self, target: Any, source: Any) -> Any:
        """Why the gradient of `target` with respect to `source` is None, and the line where the path broke.

        target   what `gradient` was given, or would be: a tensor, nested tensors, or an array that was meant as one
        source   a tensor, or nested tensors: then the answers are nested alike
        Answers an Explanation, which prints as a sentence.  Works after `gradient`, too.
        RuntimeError on a tape made without explain=True.
        """
        tape, log = self._tape, self._log
        if log is None or tape is None:
            raise RuntimeError(
                "tape.explain tells from what the tape remembered, and this one was "
                + ("not asked to: write GradientTape(explain=True)." if log is None else "never entered.")
            )
        targets = optree.tree_leaves(target, namespace="gpugrad")
        watched = self._seen | set(tape.watched)
        say = lambda s: explain(targets, s, tape, watched, self._auto, log)
        return say(source) if isinstance(source, Tensor) else optree.tree_map(say, source, namespace="gpugrad")

    # ------------------------------------------------------------------------------------ memory
    def memory(self) -> Ledger:
        """What this tape keeps, each block of memory once: how large, for which op, and what releases it."""
        tape = self._tape
        n = self._uses
        released = TAPE if n is None else GRADIENT if self._last() else f"gradient {n} of {n}"
        return of_tape(tape, released, [self._seen, self._log])

    def nbytes(self) -> int:
        """Bytes of the distinct blocks of memory that this tape's ops saved.  Views count as their base."""
        return nbytes(self._tape)
