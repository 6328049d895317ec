"""Floor 1: launches that are prepared once.

What follows from shapes, dtypes and the device is worked out for the first call.  The next one with such arrays finds
it by their signs (`Library.sign`), which are the check, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from .array import Array, library
from .kernels import NULL, Instance, Place, by_element, place, usable

REMEMBERED = 4096  # launches of one function: a program whose shapes never repeat must not grow


class Launch(NamedTuple):
    """A launch but for its arrays.  The kernel takes inputs, outputs and scalars, in this order.

    run     the kernel; None where there is nothing to do
    outs    shape and dtype of each output; None for one that is left out
    """

    run: Instance | None
    grid: tuple[int, ...]
    block: tuple[int, ...]
    outs: Sequence[tuple[Any, Any] | None]
    scalars: tuple[Any, ...] = ()


Again = Callable[[tuple[Any, ...], tuple[Any, ...]], Sequence[Any]]  # (arrays, the varying scalars) -> outputs


class Launcher:
    """`make(place, *arrays, *static)` as a function of (arrays, *static, varying) that launches: answers the outputs.

    Arrays may be None; those that a kernel cannot be handed are copied first.  `make` is asked once for arrays of the
    same signs and the same static arguments, and raises for those that do not fit.  varying: the first scalars of the
    kernel, where they are others in every call.
    """

    __slots__ = ("_known", "_make")

    def __init__(self, make: Callable[..., Launch]) -> None:
        self._make = make
        self._known: dict[Any, Again] = {}

    def __call__(self, arrays: tuple[Any, ...], *static: Any, varying: tuple[Any, ...] = ()) -> Sequence[Any]:
        found = self.find(arrays, static)
        return self.first(arrays, static, varying) if found is None else found(arrays, varying)

    def find(self, arrays: tuple[Any, ...], static: tuple[Any, ...] = ()) -> Again | None:
        """What launches for (arrays like these, varying), if it is known."""
        lib = library(arrays[0])
        try:
            return self._known.get((lib, static, *map(lib.sign, arrays)))  # type: ignore[union-attr]
        except AttributeError:  # what is no array of this library
            return None

    def first(
        self, given: tuple[Any, ...], static: tuple[Any, ...] = (), varying: tuple[Any, ...] = ()
    ) -> Sequence[Any]:
        """A launch whose arguments are checked one by one; after it, others like it are known."""
        p = place(*given)
        with p.scope():
            arrays = [None if a is None else p.whole(a) for a in given]
            what = self._make(p, *arrays, *static)
            outs = [None if o is None else p.empty(*o) for o in what.outs]
            if what.run is not None:
                what.run(what.grid, what.block, *arrays, *outs, *varying, *what.scalars)
        if all([a is b for a, b in zip(arrays, given)]):
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[p.lib, static, *map(p.lib.sign, given)] = _again(p, what, given, len(varying))
        return outs


def _again(p: Place, what: Launch, arrays: Sequence[Any], varying: int) -> Again:
    """The launch for arrays with the signs of these."""
    run, grid, block, wanted, scalars = what
    here, index, empty, function = p.lib.here, p.device.index, p.lib.empty, None if run is None else run.function
    takes = () if run is None else run.takes[len(arrays) + len(wanted) :]
    rest = tuple([take(s) for take, s in zip(takes[varying:], scalars)])
    present = [o for o in wanted if o is not None]
    shapes, dtypes = [o[0] for o in present], [o[1] for o in present]
    arguments = _places([*arrays, *wanted], keep=len(arrays))
    answers = _places(wanted, keep=0)

    def again(given: tuple[Any, ...], values: tuple[Any, ...]) -> Sequence[Any]:
        if not here(index):
            with p.scope():
                return again(given, values)
        outs = [*map(empty, shapes, dtypes)]
        if function is not None:
            args = (*given, *outs) if arguments is None else arguments((*given, *outs, NULL))
            more = [take(v) for take, v in zip(takes, values)] if values else ()
            function(grid, block, (*args, *more, *rest))
        return outs if answers is None else answers((*outs, None))

    return again


def _places(wanted: Sequence[Any], keep: int) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
    """What puts the last of its arguments where `wanted` has None, or None if that is nowhere.

    The first `keep` of the arguments are as in `wanted`; the others are those that are wanted, then the last.
    """
    if all([a is not None for a in wanted]):
        return None
    at, last = [], keep + sum([a is not None for a in wanted[keep:]])
    for i, a in enumerate(wanted):
        at.append(last if a is None else i if i < keep else keep + sum([b is not None for b in wanted[keep:i]]))
    return itemgetter(*at)


# ---------------------------------------------------------------------------------------------- element-wise forwards
def kernel(name: str, kernel: str, otherwise: Callable[..., Array], *values: Any) -> Callable[..., Array]:
    """`kernel<dtype, *values>` of `kernels/NAME.cu` as an op's `gpu=` forward: arrays of one dtype in, a new one out.

    Arrays are broadcast, and copied where they are not contiguous.  `otherwise(xp, *arrays)`, the array functions,
    stands in for dtypes that the kernel is not made for, and for libraries that compile none.
    """

    def make(p: Place, *arrays: Array) -> Launch:
        x, run = arrays[0], p.get(name, kernel, arrays[0].dtype, *values)
        if [q.type for q in run.parameters] != ["const T*"] * len(arrays) + ["T*", "long long"]:
            raise TypeError(f"kernel {run.name} takes {len(run.parameters) - 2} arrays, given {len(arrays)}")
        return Launch(run if x.size else None, *by_element(x.size, x.dtype), [(x.shape, x.dtype)], (x.size,))

    def forward(xp: Any, *arrays: Any) -> Array:
        found = launch.find(arrays)
        if found is not None:
            return found(arrays, ())[0]
        if not usable(*arrays):
            return otherwise(xp, *arrays)
        p, shape = place(*arrays), np.broadcast_shapes(*[a.shape for a in arrays])
        with p.scope():
            fitting = [a if a.shape == shape else p.lib.xp.broadcast_to(a, shape) for a in arrays]
        return launch.first(tuple(fitting))[0]

    launch = Launcher(make)
    forward.__name__ = kernel
    return forward
