"""Called: a holder that computes something when it is called, with hooks before, after and on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import is_grad_enabled, register_hook, requires_grad
from ..core import Tensor
from ..hooks import Handle
from ..ops.math import positive
from .holder import Holder, Own, holders


def plain(m: Any, cls: type) -> bool:
    """Whether what `cls` computes may be done without calling m: it is no subclass, and nobody listens."""
    if type(m) is not cls or "forward" in vars(m):
        return False
    own = vars(m).get("_own")
    return own is None or not (own.before or own.after or own.backward)


def _say_where(m: Holder, e: Exception) -> None:
    """Note in the error which layer raised it, the innermost that was called, by its path in m."""
    inner, before = vars(e).get("_layer", (id(m), ""))
    found = (
        f"in {path} ({type(x).__name__}) of {type(m).__name__}"
        for path, x in holders(m, "", set())
        if path and id(x) == inner
    )
    if (now := next(found, before)) != before:
        e.__notes__ = [*[n for n in getattr(e, "__notes__", ()) if n != before], now]
    vars(e)["_layer"] = inner, now


class Called(Holder):
    """`forward`, and what is called around it."""

    def forward(self, *args: Any, **kw: Any) -> Any:
        """The output.  NotImplementedError where a subclass does not say."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kw: Any) -> Any:
        own = vars(self).get("_own")
        try:
            if own is None or not (own.before or own.after or own.backward):
                return self.forward(*args, **kw)
            return self._heard(own, args, kw)
        except (ValueError, TypeError, RuntimeError, IndexError) as e:
            _say_where(self, e)
            raise

    def _heard(self, own: Own, args: tuple, kw: dict[str, Any]) -> Any:
        """The output, with hooks."""
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

    def _watched(self, args: tuple, own: Own) -> tuple[tuple, Callable[[Any], Any]]:
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
