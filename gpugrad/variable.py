"""Floor 6: Variable and Parameter, tensors with state."""

from __future__ import annotations

from copy import deepcopy
from itertools import count
from typing import Any, ClassVar
from weakref import ref

from . import array as _array, autograd
from .array import Device, asarray, library
from .core import DROP, Tensor, leaf, make_node, raw, trainable as _trainable, wrap
from .dtypes import DTypeLike, is_inexact
from .levels import Traced
from .ops import casting, index, math
from .origin import logs, stored
from .repeat import assigned_before
from .tensor import tensor

_number = count()


class Variable(Tensor):
    """A tensor with state: tapes watch it by themselves, `assign` changes it.

    initial_value   a number, list, array or Tensor; copied
    trainable       whether tapes watch it and optimizers change it
    name            for printing and saving
    Outside every tape, ops on a Variable record nothing.
    """

    __slots__ = ("_frozen", "_trains", "name")  # _frozen: None, or of a frozen one, whether backward() reached it

    part: ClassVar[type[_Slice]]  # the class of v[key]
    transposed: ClassVar[bool] = False  # whether a weight is (in, out)

    def __init__(
        self,
        initial_value: Any,
        trainable: bool = True,
        name: str | None = None,
        dtype: DTypeLike = None,
        device: str | Device | None = None,
    ) -> None:
        data = raw(tensor(initial_value, dtype, device))
        self.array = _array.xp(data).array(data)
        self.name = f"Variable:{next(_number)}" if name is None else name
        self._trains, self._frozen = trainable, None
        self.node = None
        self._watch()
        if logs:
            stored(self, initial_value)

    def _watch(self) -> None:
        self.node = make_node(None, None, ref(self), (), self.array)  # of one that is not trained, too: it is seen read
        if self._trains and is_inexact(self.array.dtype):
            self.node.grad = None

    @property
    def trainable(self) -> bool:
        """Whether tapes watch it and optimizers change it: made so, and not frozen."""
        return self._trains and self._frozen is None

    def freeze(self, on: bool = True) -> None:
        """Leave it as it is from here on, or with False train it again, if it was made trainable; `.grad` is lost."""
        if not self._trains or on == (self._frozen is not None):
            return
        if on:
            self._frozen = autograd.requires_grad(self)
            if self.node is not None:
                self.node.tape, self.node.grad = None, DROP
            return
        graph, self._frozen = self._frozen, None
        if is_inexact(self.array.dtype):
            leaf(self).grad = None
            if graph:
                autograd.require_grad(self)

    def __repr__(self) -> str:
        values = _array.to_host(self.array)
        return f"<Variable {self.name!r} shape={self.array.shape} dtype={self.array.dtype}, numpy={values!r}>"

    def __iadd__(self, other: Any) -> Any:
        raise RuntimeError(
            "`variable += value` is not supported. Use `variable.assign_add(value)` to modify the variable, "
            "or `out = variable + value` if you need a new Tensor."
        )

    def __isub__(self, other: Any) -> Any:
        raise RuntimeError(
            "`variable -= value` is not supported. Use `variable.assign_sub(value)` to modify the variable, "
            "or `out = variable - value` if you need a new Tensor."
        )

    def __getitem__(self, key: Any) -> Any:
        out = index.getitem(self, key)
        part = self.part()
        part.array, part.node, part.variable, part.key = out.array, out.node, self, key
        return part

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        f, args, more = self.__reduce__()
        copy = memo[id(self)] = f(*args)
        if more is not None:
            copy.__dict__.update(deepcopy(more, memo))
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.array, self.name, self._trains, _trainable(self), autograd.requires_grad(self), self._frozen)
        return _restore, (type(self), *state), getattr(self, "__dict__", None) or None

    def value(self) -> Tensor:
        """The value now, as a Tensor that later assignments leave alone."""
        return math.positive(self)

    def assign(self, value: Any) -> Variable:
        """Take a new value of the same shape, in this variable's dtype.

        What a tape saved before keeps the old value, and a function that is computed again for its gradient assigns
        nothing a second time.  ValueError for another shape.
        """
        new = raw(value) if isinstance(value, Tensor) else asarray(value, None, self.device)
        _apart(self, new)
        if new.shape != self.array.shape:
            raise ValueError(
                f"Cannot assign value to variable {self.name!r}: Shape mismatch. The variable shape "
                f"{self.array.shape}, and the assigned value shape {new.shape} are incompatible."
            )
        if _array.device_of(new) != _array.device_of(self.array):
            new = raw(casting.to_device(wrap(new), self.device))
        if self.node is None or not assigned_before(self.node.seq):
            self.array = _array.xp(new).array(new, self.array.dtype)
        if logs:
            stored(self, value)
        return self

    def assign_add(self, delta: Any) -> Variable:
        """Add `delta`, which broadcasts to this shape."""
        self.assign(self.array + self._delta(delta))
        if logs:
            stored(self, delta)
        return self

    def assign_sub(self, delta: Any) -> Variable:
        """Subtract `delta`, which broadcasts to this shape."""
        self.assign(self.array - self._delta(delta))
        if logs:
            stored(self, delta)
        return self

    def _delta(self, delta: Any) -> Any:
        d = raw(delta)
        _apart(self, d)
        return d if library(d) is not None else asarray(d, self.array.dtype, self.device)


def _restore(
    kind: type[Variable], array: Any, name: str, trainable: bool, watched: bool, requires_grad: bool,
    frozen: bool | None = None,
) -> Variable:  # fmt: skip
    """What pickle and copy make of a Variable: a copy on the same device, in the same standing."""
    v = kind.__new__(kind)
    v.array, v.name, v.node = _array.xp(array).array(array), name, None
    v._trains, v._frozen = trainable, frozen
    v._watch()
    if not watched and v.node is not None:
        v.node.grad = DROP
    return autograd.require_grad(v) if requires_grad else v  # type: ignore[return-value]


def _apart(v: Variable, value: Any) -> None:
    """RuntimeError for a value that each example of a vmap has its own of."""
    if isinstance(value, Traced):
        raise RuntimeError(
            f"{value.level.name}: variable {v.name!r} is assigned a value that each example has its own of; return the "
            "value from the function, and assign outside what is made of all of them"
        )


class _Slice(Tensor):
    """v[key]: a Tensor that can be assigned to."""

    __slots__ = ("key", "variable")

    def assign(self, value: Any) -> Variable:
        """Change these elements of the variable."""
        v = self.variable
        new = _array.xp(v.array).array(v.array)
        target = index._raw_key(self.key)
        if logs:
            stored(v, value)
        value = raw(value)
        _apart(v, value)
        try:
            new[target] = value if library(value) is not None else asarray(value, v.array.dtype, v.device)
        except ValueError as e:
            raise ValueError(f"Cannot assign value to variable {v.name!r} at {self.key!r}: {e}") from None
        if v.node is None or not assigned_before(v.node.seq):
            v.array = new
        return v

    def assign_add(self, delta: Any) -> Variable:
        """Add to these elements of the variable."""
        return self.assign(math.add(self.variable.detach()[self.key], delta))

    def assign_sub(self, delta: Any) -> Variable:
        """Subtract from these elements of the variable."""
        return self.assign(math.subtract(self.variable.detach()[self.key], delta))


Variable.part = _Slice


class Parameter(Variable):
    """A Variable that is also a leaf of the graph of tensors: `loss.backward()` fills its `.grad`, tape or not."""

    __slots__ = ()

    __iadd__, __isub__ = Tensor.__iadd__, Tensor.__isub__  # under no_grad, as PyTorch's users update

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        if self.node is not None:
            autograd.require_grad(self)


def learned(t: Tensor) -> bool:
    """Whether gradients are for t, or were until it was frozen."""
    return _trainable(t) or (isinstance(t, Variable) and t._trains and is_inexact(t.array.dtype))


class Kernel(Parameter):
    """A weight (in, out), where other weights are (out, in, ...): `nn.init` asks for which fan is which."""

    __slots__ = ()
    transposed = True


class Ref:
    """A tensor as a key of dicts and sets, by identity, for tensors that compare by value."""

    def __init__(self, t: Tensor) -> None:
        self._t = t

    def deref(self) -> Tensor:
        """The tensor."""
        return self._t

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self._t is other._t

    def __hash__(self) -> int:
        return id(self._t)
