"""Module: a model whose variables are found by walking its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from reprlib import recursive_repr
from typing import Any, ClassVar

from ..array import xp
from ..autograd import zero_grad
from ..core import Tensor, trainable
from ..dtypes import as_dtype, is_inexact
from ..tensor import placing, to
from ..variable import Kernel, Parameter, Variable, learned
from .calling import Called
from .holder import _children as _children, at, holders, inner_first, joined, nearest, tensors, waiting
from .loading import Loaded, load


class Module(Called):
    """A model.  Variables are gathered from attributes, lists, tuples, dicts and modules inside it.

        class Net(gg.nn.Module):
            def __init__(self):
                self.layers = [gg.nn.Linear(64, 32), gg.nn.Linear(32, 10)]
            def forward(self, x):
                for layer in self.layers: x = gg.nn.relu(layer(x))
                return x

    Variables need no registration; one that is shared is counted once, under the name it has first.
    """

    takes: ClassVar[type[Tensor]] = Tensor  # the class of its inputs
    transposed: ClassVar[tuple[str, ...]] = ()  # the names of its parameters that PyTorch holds transposed

    def named_variables(self) -> Iterator[tuple[str, Tensor]]:
        """(path, variable) for all variables and trainable tensors, in the order of the attributes."""
        return tensors(self)

    @property
    def variables(self) -> list[Tensor]:
        """All variables, trainable or not."""
        return [v for _, v in self.named_variables()]

    @property
    def trainable_variables(self) -> list[Tensor]:
        """The variables that tapes watch and optimizers change."""
        return [v for v in self.variables if trainable(v)]

    @property
    def non_trainable_variables(self) -> list[Tensor]:
        """The other variables."""
        return [v for v in self.variables if not trainable(v)]

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """What can be trained, frozen or not, one after the other (PyTorch's name)."""
        return (v for _, v in self.named_parameters("", recurse))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(path, variable) for what can be trained; with recurse=False, for what no module inside this one has.

        Frozen ones are among them: optimizers pass over them, as they have no gradient, until they are thawed.
        `trainable_variables` are those without them.
        ValueError for a layer that has none yet, because a size of it is None and no input has come.
        """
        inner = set() if recurse else {id(v) for m in self.submodules for v in m.variables}
        for name, v in self.named_variables():
            if self._counts(v) and id(v) not in inner:
                yield joined(prefix, name), v

    @staticmethod
    def _counts(v: Tensor) -> bool:
        """Whether a variable is one of the parameters."""
        return learned(v)

    # ------------------------------------------------------------------------------------ modules inside it
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) for this module, whose path is `prefix`, and every module inside it, each once."""
        return holders(self, prefix, set())

    def modules(self) -> Iterator[Module]:
        """This module and every module inside it, each once."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules that are attributes, or in lists and dicts that are."""
        return (found for name, x in self._inside() for found in nearest(x, name))

    def children(self) -> Iterator[Module]:
        """The modules that are attributes, or in lists and dicts that are."""
        return (m for _, m in self.named_children())

    def add_module(self, name: str, module: Module | None) -> None:
        """Make a module an attribute."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        setattr(self, name, module)

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "body.0".  AttributeError if there is none."""
        found: Any = self
        for name in target.split(".") if target else ():
            found = at(found, name)
        if not isinstance(found, Module):
            raise AttributeError(f"`{target}` is not an nn.Module")
        return found

    def get_parameter(self, target: str) -> Tensor:
        """The parameter at a path such as "body.0.weight".  AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = at(self.get_submodule(path), name)
        if not isinstance(found, Tensor):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    @property
    def submodules(self) -> tuple[Module, ...]:
        """Every module inside this one."""
        return tuple(self.modules())[1:]

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn for every module inside this one, in their order and inner ones first, then for this one."""
        for m in list(inner_first(self, set())):
            fn(m)
        return self

    _younger: ClassVar[tuple[str, ...]] = ()  # buffers that older files do not have

    @staticmethod
    def _parameter(value: Tensor, name: str, transposed: bool = False) -> Any:
        """`value` as a parameter on its device, as the modules of this kind have them."""
        return (Kernel if transposed else Parameter)(value, name=name, device=value.device)

    @staticmethod
    def _kind(layer: Any) -> Any:
        """The class of the layers inside this one that the library has as `layer`."""
        return layer

    # ------------------------------------------------------------------------------------ state
    training = True

    def train(self, mode: bool = True) -> Any:
        """Switch this module and every module inside it to training."""
        for m in self.modules():
            m.training = mode
        return self

    def eval(self) -> Any:
        """Switch to evaluation."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set `.grad` of every parameter to None, or to zeros."""
        zero_grad(self.parameters(), set_to_none)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Freeze the parameters, or set them free."""
        for v in list(self.variables):
            if requires_grad != trainable(v) and getattr(v, "trainable", True):
                v.requires_grad_(requires_grad)
        return self

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """A parameter, or None in its place."""
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A tensor that no optimizer changes, moved with the model and, unless persistent is False, saved with it."""
        if not isinstance(name, str):
            raise TypeError(f"buffer name should be a string. Got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f'buffer name can\'t be empty or contain ".": {name!r}')
        if hasattr(type(self), name) or (name in vars(self) and name not in self._mine().buffers):
            raise KeyError(f"attribute '{name}' already exists: another name for the buffer, please")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign a {type(tensor).__name__} to buffer '{name}' (a Tensor or None required)")
        self._mine().buffers[name] = persistent
        setattr(self, name, tensor)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """(path, buffer)."""
        return ((joined(prefix, path), b) for path, b, _ in self._buffers())

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        return (b for _, b, _ in self._buffers())

    def _buffers(self) -> Iterator[tuple[str, Tensor, bool]]:
        for path, m in self.named_modules():
            own = vars(m).get("_own")
            for name, persistent in own.buffers.items() if own is not None else ():
                if (buffer := getattr(m, name)) is not None:
                    yield f"{path}.{name}" if path else name, buffer, persistent

    def to(self, *where: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False) -> Any:
        """Move all variables and buffers to a device, cast the floating ones to a dtype, or both; gradients with them.

        TypeError for a dtype that is not floating.  Complex variables are cast to complex dtypes only.
        """
        for w in where:
            device, dtype = placing(w, dtype, device)
        device, dtype = placing(None, dtype, device)
        if dtype is not None and not is_inexact(as_dtype(dtype)):
            raise TypeError(f"{type(self).__name__}.to takes a floating or complex dtype, given {as_dtype(dtype)}")
        new = []
        for v in [v for _, v in tensors(self, wait=True)] + list(self.buffers()):
            for t, grad in ((v, False), (v.grad, True)) if v.is_leaf and v.grad is not None else ((v, False),):
                new.append((v, grad, _moved(t.detach(), device, dtype)))
        for v, grad, moved in new:  # all of them before the first change
            if grad:
                v.grad = moved
                continue
            v.array = moved.array
            if v.node is not None:
                v.node.dtype = v.array.dtype
        for m in self.modules():
            if waiting(m):
                m._mine().waiting.moves.append((device, dtype))
        return self

    def cuda(self, device: int | str | None = None) -> Any:
        """On a GPU, by number or as "cuda:0"."""
        return self.to(device if isinstance(device, str) else f"cuda:{device or 0}")

    def cpu(self) -> Any:
        """On the CPU."""
        return self.to("cpu")

    def double(self) -> Any:
        """In float64."""
        return self.to(as_dtype("float64"))

    def float(self) -> Any:
        """In float32."""
        return self.to(as_dtype("float32"))

    def half(self) -> Any:
        """In float16."""
        return self.to(as_dtype("float16"))

    def bfloat16(self) -> Any:
        """In bfloat16."""
        return self.to(as_dtype("bfloat16"))

    def state(self) -> dict[str, Tensor]:
        """The tensors that are saved with the model, by path: its variables and persistent buffers."""
        kept = [(path, b) for path, b, persistent in self._buffers() if persistent]
        found = self._by_module([*self.named_variables(), *kept])
        state = dict(found)
        if len(state) < len(found):
            names = [k for k, _ in found]
            twice = ", ".join(sorted({repr(k) for k in names if names.count(k) > 1}))
            raise ValueError(
                f"{type(self).__name__}: several tensors are called {twice}; a name keeps one of them. Give attributes "
                'and keys other names: 1 and "1" are the same in a path, and a dot begins the next part of it'
            )
        return state

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(vars(self).get(name), Parameter) and not (value is None or self._replaces(value)):
            raise TypeError(
                f"cannot assign {type(value).__module__}.{type(value).__name__} as parameter {name!r} (a Parameter or "
                f"None expected): write nn.Parameter(value), or layer.{name}.assign(value) for other values"
            )
        object.__setattr__(self, name, value)

    @staticmethod
    def _replaces(value: Any) -> bool:
        """Whether it may stand where a parameter was: what is found there again."""
        return isinstance(value, (Variable, Module)) or (isinstance(value, Tensor) and trainable(value))

    def _by_module(self, named: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
        """Tensors by path: the module's own first, then those of the modules inside it, as these come."""
        places = {path: i for i, (path, _) in enumerate(self.named_modules())}

        def place(path: str) -> int:
            while path not in places:
                path = path.rpartition(".")[0]
            return places[path]

        return sorted(named, key=lambda item: place(item[0].rpartition(".")[0]))

    def state_dict(self, *, prefix: str = "") -> dict[str, Tensor]:
        """path -> values of all variables and persistent buffers, which what comes later does not change."""
        moving = {id(b) for b in self.buffers()}  # in place, by layers
        return {prefix + k: _copied(v) if id(v) in moving else v.detach() for k, v in self.state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Take values from a state_dict.  Answers (missing_keys, unexpected_keys).

        A layer that has no parameters yet makes them in the shapes of the state_dict.
        RuntimeError, with nothing changed, for other shapes, for what is no array of numbers, and with `strict` for
        missing and unexpected names; all of them are listed.
        """
        return load(self, state_dict, strict)

    def extra_repr(self) -> str:
        """What stands between the brackets when it is printed: a line, or none."""
        own = tensors(self, seen={id(m) for m in self.submodules}, wait=True)
        return ", ".join(f"{k}={list(v.array.shape)}" for k, v in own)

    @recursive_repr("...")
    def __repr__(self) -> str:
        lines = [f"({k}): {v!r}".replace("\n", "\n  ") for k, v in self.named_children()]
        own = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({own})"
        return f"{type(self).__name__}(\n  " + "\n  ".join([own] * bool(own) + lines) + "\n)"


def _copied(t: Tensor) -> Tensor:
    t = t.detach()
    t.array = xp(t.array).array(t.array)
    return t


def _moved(t: Tensor, device: Any, dtype: Any) -> Tensor:
    t, now = to(t, device), t.array.dtype
    fits = dtype is not None and is_inexact(now) and (now.kind != "c" or as_dtype(dtype).kind == "c")
    return to(t, dtype=dtype) if fits else t
