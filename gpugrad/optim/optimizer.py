"""What optimizers share: groups of variables with options, state, and two ways of stepping."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, ClassVar

from numpy import ndarray

from ..array import Array, library, xp
from ..autograd import enable_grad, zero_grad
from ..core import Tensor
from ..dtypes import wide
from ..hooks import updating
from ..origin import level
from ..variable import learned
from . import clip, masters
from .added import watch
from .blocks import Blocks, ruled
from .checks import INF, NAMES, fitting, groups_of, known_keys, number, option, renamed, set_option
from .launches import Kernel, Launches, fusable
from .loading import checked
from .loss_scale import Moving, Scaled
from .state import Count, Group, States, Todo, saved

_SHORT = {"variables": "params", "learning_rate": "lr"}


class Optimizer:
    """An optimizer over variables, or over groups: dicts of `params` and of options that differ from the defaults.

        gg.optim.SGD([{"params": body, "lr": 1e-3}, {"params": head}], learning_rate=0.1)

    variables  a list; None: those that `apply_gradients` meets first
    defaults   the options of groups that do not say otherwise
    clipnorm, clipvalue, global_clipnorm   a limit for the length of each gradient, for each element, for the length
               of all gradients together; one of them
    loss_scale  a number that the loss was multiplied by: gradients are divided by it, and a step with one that is not
               finite is skipped.  None: gradients are as they are.  May be changed between steps.  One that moves is
               a `GradScaler`
    master_weights   update half variables as float32 copies, which the state has as "master_param"; each variable is
               its copy, rounded
    accumulates  True, as an attribute: several backward() before a step are wanted; otherwise `step` warns of it once
    variables may also be `named_parameters()`, and `lr` is another name of learning_rate.  `param_groups`, a list of
    such dicts, may be changed between steps (the learning rate is "lr" there), and so may options as attributes, which
    are those of all groups.

    Two ways of stepping: `apply_gradients(zip(grads, variables))` after a tape, or `zero_grad()`, `backward()`,
    `step()`.  Both do the same update.  A subclass gives `init(array, group)`, the state of one variable, and
    `update(array, gradient, state, group)`, its new array; weight_decay and maximize are dealt with before.  The
    state is updated in place, and so is a variable whose array nobody else holds; where a tape or a view may hold it,
    the variable gets a new one.  Another thread that reads a variable meanwhile may see half a step, and Ctrl-C in a
    step may leave some variables before it and others after it.  On a GPU, where `kernel(group)` says what does the
    same for many variables, one launch does (`launches.py`).
    """

    accumulates: bool = False
    _tried: bool = False  # whether a step was taken or skipped
    decoupled: bool = False  # whether weight_decay shrinks the variable itself, instead of adding to the gradient
    numbers: ClassVar[tuple[str, ...]] = ()  # the options that are numbers from 0
    may_lack: ClassVar[tuple[str, ...]] = ("maximize", "decoupled_weight_decay")  # of older PyTorch's state_dicts

    def __init__(
        self,
        variables: Iterable[Any] | None,
        defaults: dict[str, Any],
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        loss_scale: float | None = None,
        master_weights: bool | float | None = False,
        lr: float | None = None,
        **unknown: Any,
    ) -> None:
        defaults = renamed(self, defaults, lr, unknown)
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        self.limits = {k: number(k, v) for k, v in limits.items() if v is not None}
        if len(self.limits) > 1:
            raise ValueError(
                f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: {self.limits}."
            )
        self.defaults, self._fixed, self.loss_scale = defaults, variables is not None, loss_scale
        self.master_weights = bool(master_weights)
        self._done, self._launches, self._blocks = 0, Launches(), Blocks()
        self._rounded: masters.Known = {}
        self.param_groups: list[Group] = []
        self.state = States()
        self._checked: list[list[Any]] = []  # the options of the last step, which were in range
        for group in [{"params": []}] if variables is None else groups_of(type(self).__name__, variables):
            self.add_param_group(group)

    learning_rate = option("lr")

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("defaults", ()):  # every option is an attribute
            return self.param_groups[0][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("defaults", ()) and not hasattr(type(self), name):
            set_option(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def variables(self) -> list[Tensor]:
        """The variables of all groups."""
        return [v for group in self.param_groups for v in group["params"]]

    @property
    def iterations(self) -> Count:
        """The number of steps done.  With a loss scale it waits for a GPU, which may have skipped some."""
        return Count(self._done - self._launches.skipped())

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._done = int(value) + self._launches.skipped()

    @property
    def loss_scale(self) -> float | None:
        """What the loss was multiplied by, or None."""
        return self._loss_scale

    @loss_scale.setter
    def loss_scale(self, value: float | None) -> None:
        if value is not None and not number("loss scale", value):
            raise ValueError("Invalid loss scale: 0; gradients are divided by it")
        self._loss_scale = None if value is None else float(value)
        self.scaled = None if value is None else Scaled(Moving(value))

    def __getstate__(self) -> dict[str, Any]:
        done = int(self.iterations)
        plans = {"_launches": Launches(), "_blocks": Blocks(), "_rounded": {}}  # which are for these very arrays
        return {**self.__dict__, "_done": done, **plans}

    # ------------------------------------------------------------------------------------ groups
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """More variables, with options of their own.  After an error nothing has changed."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = {**self.defaults, **{_SHORT.get(k, k): v for k, v in param_group.items()}}
        if isinstance(group["params"], set):
            raise TypeError("optimizer parameters need to be organized in ordered collections; write a list, not a set")
        given = [group["params"]] if isinstance(group["params"], Tensor) else group["params"]
        group["params"] = [p[1] if type(p) is tuple and len(p) == 2 else p for p in given]  # named_parameters()
        known_keys(self, group)
        self._accept(group["params"])
        self.check(group)
        self.param_groups.append(group)

    def _accept(self, new: list[Any], later: bool = False) -> None:
        """An error for what cannot be optimized, or is already; `later`: by an optimizer that was made for others."""
        for v in new:
            if not isinstance(v, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(v).__name__}")
            if v.node is not None and v.node.op is not None:
                raise ValueError(
                    "can't optimize a non-leaf Tensor; give Variables, or tensors made with requires_grad=True"
                )
            if not learned(v):  # a frozen one may thaw
                raise ValueError(
                    "can't optimize a tensor that does not require a gradient; give trainable Variables, or tensors "
                    "made with requires_grad=True"
                )
        if len({id(v) for v in (*new, *self.variables)}) < len(new) + len(self.variables):
            raise ValueError("some parameters appear in more than one parameter group, or twice in one")
        if later and self._fixed and new:
            raise ValueError(
                f"Unknown variable: {new[0]!r:.80}. This optimizer can only be called for the variables it was made "
                "with. Make a new optimizer for a new set of variables."
            )

    def check(self, group: Group) -> None:
        """ValueError for an option out of range or NaN."""
        for name in self.numbers:
            value = group[name]
            if type(value) is not float or not 0.0 <= value < INF:
                group[name] = float(number(NAMES.get(name, f"{name} value"), value))

    # ------------------------------------------------------------------------------------ stepping
    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """One update from (gradient, variable) pairs.  Pairs whose gradient is None are skipped with a warning.

        ValueError if there is no gradient at all, for a variable the optimizer was not made for, and for a gradient
        of another shape; then no variable has changed.
        """
        pairs = list(grads_and_vars)
        if not pairs:
            raise ValueError("apply_gradients: the list of (gradient, variable) pairs is empty")
        seen, only = self.state.by_id, self.param_groups[0] if len(self.param_groups) == 1 else None
        homes: dict[int, Group] | None = None
        todo, without, new = [], [], []
        for pair in pairs:
            if type(pair) is not tuple or len(pair) != 2:
                raise TypeError("apply_gradients takes (gradient, variable) pairs: zip(grads, variables)")
            g, v = pair
            if only is not None and id(v) in seen:  # as a rule
                group = only
            else:
                homes = homes or {id(v): group for group in self.param_groups for v in group["params"]}
                if (group := homes.get(id(v))) is None:
                    new.append(v)
                    group = self.param_groups[0]
            if g is None:
                without.append(getattr(v, "name", "a tensor"))
            elif isinstance(g, Tensor):
                todo.append((g.array, v, group))
            elif library(g) is not None:
                todo.append((g, v, group))
            else:
                raise TypeError(f"apply_gradients: a gradient is a Tensor, an array or None, not {g!r:.40}")
        if not todo:
            raise ValueError(
                "No gradients provided for any variable. Was the loss computed inside the tape, from these variables?"
            )
        if new:
            self._accept(new, later=True)
        fitting(todo)
        if new:
            self._begin(todo)
            self.param_groups[0]["params"] += new
        if without:
            warnings.warn(f"Gradients do not exist for variables {without}; they stay as they are.", stacklevel=level())
        self._step(todo)

    def adopt(self, variables: Iterable[Tensor]) -> None:
        """Take up variables that it has not seen.  ValueError if it was made for others."""
        new = list(variables)
        self._accept(new, later=True)
        self.param_groups[0]["params"] += new

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set `.grad` of every variable to None, or to zeros."""
        zero_grad(self.variables, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update from the `.grad` of every variable; those without are skipped.

        `closure` computes the loss and its gradients first; the loss is the answer.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        todo = [
            (g.array, v, group)
            for group in self.param_groups
            for v in group["params"]
            if (n := v.node) is not None and n.op is None and isinstance(g := n.grad, Tensor)
        ]
        if not todo and not self.variables:
            raise ValueError(
                f"step() needs the optimizer to be made with variables: {type(self).__name__}(model.parameters())"
            )
        fitting(todo)
        if todo:
            watch(self, todo)
            self._step(todo)
        return loss

    @updating
    def _step(self, todo: Todo) -> None:
        options = [[group[k] for k in self.defaults] for group in self.param_groups]
        if options != self._checked:
            for group in self.param_groups:
                self.check(group)
            self._checked = options
        self._tried = True
        self._begin(todo)
        if self.master_weights:
            masters.refresh(todo, self.state, self._rounded)
        elif self._rounded:  # copies that are switched off grow old
            self._rounded.clear()
        rest: Todo | None = todo
        if type(todo[0][1].array) is not ndarray and fusable(type(self)):
            rest = self._launches.step(self, todo)
        elif self.limits or self.scaled is not None:
            rest = clip.limited(todo, self.limits, self.scaled)
        if rest is None:  # skipped
            return
        with masters.in_place_of(rest, self.state) if self.master_weights else nullcontext():
            self._update(rest)
        if self.master_weights:
            masters.note(todo, self._rounded)

    def _begin(self, todo: Todo) -> None:
        """The states of variables that have none: all of them before the first change, since init may refuse one."""
        states, made = self.state.by_id, type(self).init is not Optimizer.init
        new = [  # looked at, states[v] is empty
            (v, self.init(v.array.astype(wide(v.array.dtype), copy=False), group))
            for _, v, group in todo
            if id(v) not in states or (made and not states[id(v)][1])
        ]
        for v, first in new:
            self.state[v].update(first)

    def _update(self, rest: Todo) -> None:
        """The step of those that no kernel is for."""
        states = self.state.by_id
        if rest and ruled(type(self)) and self.blockwise(rest):  # pyright: ignore[reportAttributeAccessIssue]
            rest = self._blocks.step(self, rest)
        self._done += 1
        kind: Any = None
        at = before = maximize = decay = shrink = None
        for g, v, group in rest:
            if group is not at:
                at, maximize, (decay, shrink) = group, group.get("maximize"), self.decay(group)
            x = v.array
            own = x.dtype
            if own is not before:  # half types are updated in float32, where a small eps is not 0
                before, kind = own, wide(own)
            if kind is not own:
                x = x.astype(kind)
            if g.dtype is not kind:
                g = g.astype(kind)
            if maximize:
                g = -g
            if decay:
                g = g + x * kind.type(decay)
            if shrink != 1:
                x = x * kind.type(shrink)
            new = self.update(x, g, states[id(v)][1], group)
            if kind is not own:
                new = new.astype(own)
            v.array = new if new.ndim else xp(x).asarray(new)  # of 0-d arrays NumPy makes scalars

    # ------------------------------------------------------------------------------------ state
    def state_dict(self) -> dict[str, Any]:
        """{"state": state by the number of its variable, "param_groups": groups with numbers for variables}.

        The state's tensors share the optimizer's memory, as PyTorch's do: copy them to keep them.  Numbers of steps are
        read from a GPU, which waits for it.
        """
        numbers = {id(v): i for i, v in enumerate(self.variables)}
        return {
            "state": {
                numbers[id(v)]: {k: saved(k, a, v) for k, a in s.items()}
                for v, s in self.state.items()
                if id(v) in numbers  # not of one that was taken out of the groups
            },
            "param_groups": [{**g, "params": [numbers[id(v)] for v in g["params"]]} for g in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take state and options from a state_dict, this optimizer's or PyTorch's.

        ValueError where groups, their sizes, shapes or options do not fit; then nothing has changed.  `iterations` is
        the most steps of a variable, where the state counts them.
        """
        groups, states = checked(self, state_dict)
        self.param_groups[:], self.state = groups, states
        self._rounded.clear()  # copies are to be looked at again
        steps = [s["step"] for _, s in states.items() if s.get("step") is not None]
        if steps:
            self.iterations = max(steps)

    def __repr__(self) -> str:
        lines = [
            line
            for i, group in enumerate(self.param_groups)
            for line in (f"Parameter Group {i}", *[f"    {k}: {group[k]}" for k in sorted(group) if k != "params"])
        ]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"

    # ------------------------------------------------------------------------------------ for subclasses
    def init(self, x: Array, group: Group) -> dict[str, Any]:
        """The state for one variable."""
        return {}

    def decay(self, group: Group) -> tuple[float, float]:
        """(what of a variable is added to its gradient, what the variable is multiplied by before the update)."""
        decay = group.get("weight_decay") or 0.0
        if self.decoupled or group.get("decoupled_weight_decay"):
            return 0.0, 1 - group["lr"] * decay
        return decay, 1.0

    def state_shape(self, name: str, v: Tensor) -> tuple[int, ...]:
        """The shape of the arrays called `name` in the state of v."""
        return v.array.shape

    def single(self, x: Array, group: Group) -> bool:
        """Whether `update` is for this variable, where a rule or a kernel is for the others."""
        return False

    def kernel(self, group: Group) -> Kernel | None:
        """What does on a GPU, for many variables at once, what `init` and `update` do for one; None: nothing does."""
        return None

    def update(self, x: Array, g: Array, state: Any, group: Group) -> Array:
        """The new array of one variable."""
        raise TypeError(f"{type(self).__name__} has no update(array, gradient, state, group)")
