"""Floor 6: the graph of tensors as users see it, a node at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .autograd import register_node_hook
from .core import Node, Tensor, wrap
from .custom import CustomOp
from .hooks import Handle, arriving
from .paths import PICK

_NAMES = {"subtract": "Sub", "multiply": "Mul", "divide": "Div", "matmul": "Mm", "negative": "Neg", "linear": "Addmm"}


def backward_name(node: Node) -> str:
    """The op of a node, named as PyTorch names what walks back through it."""
    if node.op is PICK and node.edges:
        (node,) = node.edges  # type: ignore[assignment]
    name = node.op.name
    if isinstance(node.op, CustomOp):
        return f"{name}Backward"
    return _NAMES.get(name, "".join([w.title() for w in name.split("_")])) + "Backward0"


class GradFn:
    """The op that made a tensor, as `grad_fn` shows it."""

    kind: ClassVar[type[Tensor]] = Tensor  # what hooks see

    def __init__(self, node: Node) -> None:
        self._made = node
        self._node = node.edges[0] or node if node.op is PICK and node.edges else node

    def name(self) -> str:
        """PyTorch's name of the op."""
        return "AccumulateGrad" if self._node.op is None else backward_name(self._node)

    @property
    def next_functions(self) -> tuple[tuple[GradFn | None, int], ...]:
        """The ops that made its inputs, as (grad_fn, 0); None for an input that requires no gradient."""
        return tuple([(None if e is None else type(self)(e), 0) for e in self._node.edges])

    @property
    def variable(self) -> Any:
        """The leaf into whose .grad gradients go."""
        if self._node.op is not None:
            raise AttributeError("only AccumulateGrad, the end of the graph, has a variable")
        return self._node.saved()

    def register_hook(self, fn: Callable[[tuple, tuple], Any]) -> Handle:
        """Call fn(grad_inputs, grad_outputs) after the op's pullback; other grad_inputs may be answered."""
        if self._node.op is None:  # a leaf has no inputs
            return self.register_prehook(lambda grad_outputs: (fn((), grad_outputs), None)[1])
        return register_node_hook(self._node, fn, self.kind)

    def register_prehook(self, fn: Callable[[tuple], Any]) -> Handle:
        """Call fn(grad_outputs) before the op's pullback; other grad_outputs may be answered."""
        kind = self.kind

        def call(g: Tensor) -> Any:
            new = fn((wrap(g.array, g.node, kind),))
            return new if new is None else new[0]

        return arriving.add(self._made, call)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GradFn) and self._node is other._node

    def __hash__(self) -> int:
        return id(self._node)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self._node))}>"
