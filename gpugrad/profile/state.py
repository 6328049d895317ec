"""Floor 7: the values that a step starts from and the gradients that it finds, so that two runs can be compared."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any
from weakref import ref

import numpy as np

from .. import generator
from ..array import cupy_or_reason, default_device, to_host
from ..core import DROP, Node, Tensor, wrap

DIFFER, UNREPEATED = "differ", "not compared: the step as written does not repeat"


class Leaves:
    """The tensors that walks leave gradients in, or could: their sources, what their tapes watch, their leaves."""

    def __init__(self) -> None:
        self.found: dict[int, Tensor] = {}
        self.walks = 0

    def walk(self, run: Callable[..., Any], *args: Any) -> Any:
        """A walk of which this takes note."""
        targets, _, tape, sources, _, _ = args
        self.walks += 1
        nodes = list(tape.watched) if tape is not None else _leaves(targets)
        for t in [*(sources or ()), *[n.saved() for n in nodes if n.op is None]]:
            if t is not None and (t.node is None or t.node.op is None):
                self.found[id(t)] = t
        return run(*args)


class Digest:
    """What gradients were asked for, and what they were, as numbers that are equal only where all bits are."""

    def __init__(self) -> None:
        self.given, self.found = blake2b(digest_size=16), blake2b(digest_size=16)

    def walk(self, run: Callable[..., Any], *args: Any) -> Any:
        """A walk of which this takes note: the values of the sources, or of the leaves, and their gradients."""
        targets, _, _, sources, _, _ = args
        leaves = _leaves(targets) if sources is None else []
        for x in [n.saved() for n in leaves] if sources is None else sources:
            _add(self.given, x)
        out = run(*args)
        for g in [n.grad for n in leaves] if sources is None else out:
            _add(self.found, g)
        return out

    def told(self) -> list[str]:
        """[what was asked for, what the gradients were]."""
        return [self.given.hexdigest(), self.found.hexdigest()]


def told(first: list[str], other: list[str]) -> str:
    """Whether the gradients of two runs are the same."""
    if first[0] != other[0]:
        return "not compared: other variables (seed them)"
    return "equal" if first[1] == other[1] else DIFFER


def snapshot(tensors: dict[int, Tensor]) -> Callable[[], None]:
    """A function that gives these leaves the values, and `.grad`, that they have now; this thread's generator, too."""
    copied = lambda t: None if t is None else (t.array.copy(), t.kind)
    grad = lambda t: DROP if t.node is None or t.node.grad is DROP else copied(t.node.grad)
    shared = lambda a: ref(a) if type(a) is np.ndarray and a.flags.writeable else lambda: None
    kept = [(t, shared(t.array), t.array.copy(), grad(t)) for t in tensors.values()]
    random = generator.get_state()

    def restore() -> None:
        for t, same, array, g in kept:
            if same() is t.array:  # the program may share its memory
                t.array[...] = array
            else:
                t.array = array.copy()
            if t.node is not None and g is not DROP:
                t.node.grad = None if g is None else wrap(g[0].copy(), None, g[1])
        generator.set_state(random)

    return restore


def settle() -> None:
    """Wait for the GPU, if that is where new tensors land."""
    if default_device().kind == "cuda":
        cupy_or_reason()[0].cuda.get_current_stream().synchronize()


def _add(digest: Any, x: Any) -> None:
    if isinstance(x, Tensor):
        a = to_host(x.array)
        digest.update(f"{a.dtype}{a.shape}".encode())
        digest.update(np.ascontiguousarray(a).reshape(-1).view(np.uint8))
    else:
        digest.update(b"none")


def history(targets: Any) -> list[Node]:
    """All nodes that the targets were computed from, the oldest first."""
    nodes = [t.node for t in targets if t.node is not None]
    seen = set(nodes)
    for n in nodes:  # grows
        for e in n.edges:
            if e is not None and e not in seen:
                seen.add(e)
                nodes.append(e)
    return sorted(nodes, key=lambda n: n.seq)


def _leaves(targets: Any) -> list[Node]:
    """The leaves in which a walk back from the targets leaves gradients, oldest first."""
    return [n for n in history(targets) if n.op is None and n.grad is not DROP]
