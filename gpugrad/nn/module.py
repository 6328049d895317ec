"""Module: a model whose variables are found by walking its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from ..array import xp
from ..autograd import is_grad_enabled, register_hook, requires_grad, zero_grad
from ..core import Tensor, raw, trainable
from ..dtypes import as_dtype, is_inexact
from ..hooks import Handle
from ..ops.math import positive
from ..tensor import tensor, to
from ..variable import Parameter, Variable


class _Own:
    """What a module knows beside its attributes; the walk for variables does not look into it."""

    def __init__(self) -> None:
        self.buffers: dict[str, bool] = {}  # name -> whether it is saved with the model
        self.before: dict[int, Callable[..., Any]] = {}
        self.after: dict[int, Callable[..., Any]] = {}
        self.backward: dict[int, Callable[..., Any]] = {}


class Module:
    """A model.  Variables are gathered from attributes, lists, tuples, dicts and modules inside it.

        class Net(gg.nn.Module):
            def __init__(self):
                self.layers = [gg.nn.Linear(64, 32), gg.nn.Linear(32, 10)]
            def forward(self, x):
                for layer in self.layers: x = gg.nn.relu(layer(x))
                return x

    Variables need no registration; one that is shared is counted once, under the name it has first.
    """

    transposed: ClassVar[tuple[str, ...]] = ()  # the names of its parameters that PyTorch holds transposed

    def forward(self, *args: Any, **kw: Any) -> Any:
        """The output.  NotImplementedError where a subclass does not say."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kw: Any) -> Any:
        own = vars(self).get("_own")
        if own is None or not (own.before or own.after or own.backward):
            return self.forward(*args, **kw)
        for f in list(own.before.values()):
            if (new := f(self, args)) is not None:
                args = new if isinstance(new, tuple) else (new,)
        if own.backward:
            args, finish = self._watched(args, own)
            out = finish(self.forward(*args, **kw))
        else:
            out = self.forward(*args, **kw)
        for f in list(own.after.values()):
            if (new := f(self, args, out)) is not None:
                out = new
        return out

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(module, args) before forward; what it answers, unless None, takes the place of args."""
        return Handle(self._mine().before, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(module, args, output) after forward; what it answers, unless None, is the output."""
        return Handle(self._mine().after, hook)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(module, gradients of the inputs, of the output) in backward(); an answer replaces the former.

        For modules with one output and at most one input that requires grad; NotImplementedError for others.
        """
        return Handle(self._mine().backward, hook)

    def _watched(self, args: tuple, own: _Own) -> tuple[tuple, Callable[[Any], Any]]:
        """The arguments, and what becomes of the output, so that the backward hooks hear of both gradients."""
        tracked = [i for i, a in enumerate(args) if isinstance(a, Tensor) and requires_grad(a)]
        arrived: list[Any] = []

        def fire(g: Any) -> Any:
            gradients = tuple([g if i in tracked else None for i in range(len(args))])
            for f in list(own.backward.values()):
                if (new := f(self, gradients, (arrived[-1],))) is not None:
                    gradients = new if isinstance(new, tuple) else (new,)
            return gradients[tracked[0]] if tracked else None

        def finish(out: Any) -> Any:
            if len(tracked) > 1 or not isinstance(out, Tensor):
                raise NotImplementedError("full backward hooks are for one output and one input that requires grad")
            if requires_grad(out):
                out = positive(out)
                register_hook(out, arrived.append if tracked else lambda g: (arrived.append(g), fire(None))[1])
            return out

        if tracked and is_grad_enabled():
            inside = positive(args[tracked[0]])
            register_hook(inside, fire)
            args = (*args[: tracked[0]], inside, *args[tracked[0] + 1 :])
        return args, finish

    def _mine(self) -> _Own:
        return vars(self).setdefault("_own", _Own())

    def named_variables(self) -> Iterator[tuple[str, Tensor]]:
        """(path, variable) for all variables and trainable tensors, in the order of the attributes."""
        seen: set[int] = set()
        yield from _walk(self, "", seen)

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

    def parameters(self) -> Iterator[Tensor]:
        """The trainable variables, one after the other (PyTorch's name)."""
        return (v for _, v in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(path, variable) for the trainable variables."""
        return ((name, v) for name, v in self.named_variables() if trainable(v))

    # ------------------------------------------------------------------------------------ modules inside it
    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) for this module, whose path is "", and every module inside it, each once."""
        return _modules(self, "", set())

    def modules(self) -> Iterator[Module]:
        """This module and every module inside it, each once."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules that are attributes, or in lists and dicts that are."""
        return (found for name, x in vars(self).items() for found in _nearest(x, name))

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
        at: Any = self
        for name in target.split(".") if target else ():
            at = _at(at, name)
        if not isinstance(at, Module):
            raise AttributeError(f"`{target}` is not an nn.Module")
        return at

    def get_parameter(self, target: str) -> Tensor:
        """The parameter at a path such as "body.0.weight".  AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = _at(self.get_submodule(path), name)
        if not isinstance(found, Tensor):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    @property
    def submodules(self) -> tuple[Module, ...]:
        """Every module inside this one."""
        return tuple(self.modules())[1:]

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn for every module inside this one, then for this one."""
        for m in reversed(list(self.modules())):
            fn(m)
        return self

    @staticmethod
    def _parameter(value: Tensor, name: str) -> Tensor:
        """`value` as a parameter on its device, as the modules of this kind have them."""
        return Parameter(value, name=name, device=value.device)

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
        self._mine().buffers[name] = persistent
        setattr(self, name, tensor)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer)."""
        return ((path, b) for path, b, _ in self._buffers())

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        return (b for _, b, _ in self._buffers())

    def _buffers(self) -> Iterator[tuple[str, Tensor, bool]]:
        for path, m in self.named_modules():
            own = vars(m).get("_own")
            for name, persistent in own.buffers.items() if own is not None else ():
                if (buffer := getattr(m, name)) is not None:
                    yield f"{path}.{name}" if path else name, buffer, persistent

    def to(self, *where: Any, dtype: Any = None, device: Any = None) -> Any:
        """Move all variables and buffers to a device, cast the floating ones to a dtype, or both."""
        for w in where:
            dtype, device = (w, device) if isinstance(w, np.dtype) else (dtype, w)
        for v in (*self.variables, *self.buffers()):
            v.array = to(v.detach(), device).array
            if dtype is not None and is_inexact(v.array.dtype):
                v.array = to(v.detach(), dtype=dtype).array
            if v.node is not None:
                v.node.dtype = v.array.dtype
        return self

    def cuda(self, device: int = 0) -> Any:
        """On a GPU."""
        return self.to(f"cuda:{device}")

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

    def state(self) -> dict[str, Tensor]:
        """The tensors that are saved with the model, by path: its variables and persistent buffers."""
        kept = [(path, b) for path, b, persistent in self._buffers() if persistent]
        return dict(self._by_module([*self.named_variables(), *kept]))

    def _by_module(self, named: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
        """Tensors by path: the module's own first, then those of the modules inside it, as these come."""
        places = {path: i for i, (path, _) in enumerate(self.named_modules())}

        def place(path: str) -> int:
            while path not in places:
                path = path.rpartition(".")[0]
            return places[path]

        return sorted(named, key=lambda item: place(item[0].rpartition(".")[0]))

    def state_dict(self) -> dict[str, Tensor]:
        """path -> values of all variables."""
        return {k: v.detach() for k, v in self.state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Take values from a state_dict.  Answers (missing, unexpected) names.

        RuntimeError, with nothing changed, for other shapes, and with `strict` for missing and unexpected names.
        """
        own = self.state()
        missing, unexpected = [k for k in own if k not in state_dict], [k for k in state_dict if k not in own]
        wrong = []
        for what, names in (("Missing", missing), ("Unexpected", unexpected)):
            if strict and names:
                wrong.append(f"{what} key(s) in state_dict: " + ", ".join(f'"{n}"' for n in names) + ". ")
        for k, v in own.items():
            if k in state_dict and (given := tuple(np.shape(raw(state_dict[k])))) != v.array.shape:
                prefix = "torch.Size" if v.prefix == "torch." else ""
                wrong.append(
                    f"size mismatch for {k}: copying a param with shape {prefix}({list(given)}) from checkpoint, the "
                    f"shape in current model is {prefix}({list(v.array.shape)})."
                )
        if wrong:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(wrong))
        new = {k: tensor(raw(state_dict[k]), v.array.dtype, v.device).array for k, v in own.items() if k in state_dict}
        for k, a in new.items():  # all of them before the first change
            own[k].array = xp(a).array(a)
        return missing, unexpected

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={list(v.array.shape)}" for k, v in self.named_variables())
        return f"{type(self).__name__}({inner})"


def _children(x: Any) -> Any:
    if isinstance(x, Module):
        return vars(x).items()
    if isinstance(x, dict):
        return x.items()
    if isinstance(x, (list, tuple)):
        return enumerate(x)
    return ()


def _walk(x: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(x, Tensor):
        if (isinstance(x, Variable) or trainable(x)) and id(x) not in seen:
            seen.add(id(x))
            yield path, x
        return
    if id(x) in seen:
        return
    seen.add(id(x))
    for name, child in _children(x):
        yield from _walk(child, f"{path}.{name}" if path else str(name), seen)


def _at(x: Any, name: str) -> Any:
    """The attribute or entry of this name."""
    for key, child in _children(x):
        if str(key) == name:
            return child
    raise AttributeError(f"{type(x).__name__} has no attribute `{name}`")


def _nearest(x: Any, path: str) -> Iterator[tuple[str, Module]]:
    if isinstance(x, Module):
        yield path, x
    elif not isinstance(x, Tensor):
        for name, child in _children(x):
            yield from _nearest(child, f"{path}.{name}")


def _modules(x: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
    if id(x) in seen or isinstance(x, Tensor):
        return
    seen.add(id(x))
    if isinstance(x, Module):
        yield path, x
    for name, child in _children(x):
        yield from _modules(child, f"{path}.{name}" if path else str(name), seen)
