"""Floor 7: every allocation of an array by NumPy, as it happens, in all threads.

NumPy asks a handler for the memory of arrays (NEP 49).  While somebody watches, the functions of its default handler
are ours, which call NumPy's.  So blocks are what they always are, those that outlive the watching are freed by NumPy,
and frees of older blocks are seen.  Not seen: what C code takes for itself (BLAS, LAPACK, sorting), Python's objects,
memory that arrays borrow (`np.frombuffer`, `np.memmap`), and arrays made under somebody else's handler.  An array from
before that is resized in place is a new one.

Ours must answer, whatever happens to Python code:
- `free` may be called while an exception is on its way, which a function of ctypes would lose.  `PySequence_DelSlice`
  takes the arguments that NumPy gives and leaves exceptions alone: `__delitem__` catches it and raises it again.
- A function of ctypes that fails before its first line answers anything.  So signals wait until it is over (`signals`), and where
  hardly any recursion is left there is no memory.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

from .signals import again, codes, wait, wait_no_more, waiting

_DEFAULT = 306  # PyDataMem_DefaultHandler's place in NumPy's table of C functions; part of its ABI
_ROOM = 12  # levels of recursion that a watcher may need
_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_FORMS = {  # of the handler's functions: what they answer and take
    "malloc": (_pointer, _pointer, _size),
    "calloc": (_pointer, _pointer, _size, _size),
    "realloc": (_pointer, _pointer, _pointer, _size),
    "free": (None, _pointer, _pointer, _size),
}


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of numpy/ndarraytypes.h."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        *[(name, _pointer) for name in ("ctx", *_FORMS)],
    )


# born(address, bytes); died(address, bytes if known), before the address is used again; failed(an error of these)
Watcher = tuple[Callable[[int, int], None], Callable[[int, int | None], None], Callable[[Exception], None]]
watchers: list[Watcher] = []


def watch(watcher: Watcher) -> None:
    """Tell `watcher` of every block from now on.  RuntimeError where that is not safe: a NumPy, a Python, a thread."""
    if _handler().version != 1 or not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError(
            f"NumPy's memory cannot be watched with NumPy {np.__version__} on Python {sys.version.split()[0]}: it "
            f"takes version 1 of PyDataMem_Handler (here {_handler().version}) and Python's global lock"
        )
    if not wait():
        raise RuntimeError(
            "NumPy's memory can only be watched from the main thread, whose handlers of signals must wait meanwhile; open "
            "the profile there: it sees the arrays of all threads"
        )
    if not watchers:
        _set(_functions()[1])
    watchers.append(watcher)


def unwatch(watcher: Watcher) -> None:
    """Tell `watcher` no more; the last one leaves NumPy as it was."""
    watchers.remove(watcher)
    if not watchers:
        _set(_functions()[0])
        wait_no_more()


@atexit.register
def _end() -> None:
    if watchers:
        _set(_functions()[0])


def _set(fields: dict[str, Any]) -> None:
    """The fields of NumPy's default handler, whose functions make no use of ctx: ours find theirs, theirs any."""
    handler = _handler()
    for name in ("ctx", *_FORMS) if fields["ctx"] else (*_FORMS, "ctx"):
        setattr(handler, name, fields[name])


@cache
def _handler() -> _Handler:
    inside = ctypes.PYFUNCTYPE(_pointer, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
    table = ctypes.cast(inside(_multiarray_umath._ARRAY_API, None), ctypes.POINTER(_pointer))
    capsule = ctypes.cast(_pointer.from_address(table[_DEFAULT] or 0), ctypes.py_object).value
    return _Handler.from_address(inside(capsule, b"mem_handler"))


@cache
def _functions() -> tuple[dict[str, Any], dict[str, Any], Any]:
    """(the handler's fields as NumPy has them, as we have them, what must stay in memory)."""
    theirs = {name: getattr(_handler(), name) for name in ("ctx", *_FORMS)}
    ctx = theirs["ctx"]
    # PYFUNCTYPE: no other thread runs meanwhile
    numpy = {name: ctypes.PYFUNCTYPE(*form)(theirs[name]) for name, form in _FORMS.items()}
    take, clear, change, give = [numpy[name] for name in _FORMS]
    raise_pending = ctypes.PYFUNCTYPE(_pointer)(("PyErr_Occurred", ctypes.pythonapi))

    def malloc(_: Any, nbytes: int) -> int | None:
        address = _born(take(ctx, nbytes), nbytes) if _room(_ROOM) else None
        if waiting:
            _send()
        return address

    def calloc(_: Any, n: int, nbytes: int) -> int | None:
        address = _born(clear(ctx, n, nbytes), n * nbytes) if _room(_ROOM) else None
        if waiting:
            _send()
        return address

    def realloc(_: Any, old: int, nbytes: int) -> int | None:
        address = change(ctx, old, nbytes) if _room(_ROOM) else None
        if address:
            _tell(1, old, None)
            _born(address, nbytes)
        if waiting:
            _send()
        return address

    def free(block: slice) -> None:
        _tell(1, block.start, block.stop)
        give(ctx, block.start, block.stop)

    class Frees:
        def __delitem__(self, block: slice) -> None:
            try:
                raise_pending()
            except BaseException as e:
                free(block)
                e.__traceback__ = e.__traceback__ and e.__traceback__.tb_next  # without this frame
                if waiting:
                    _send()
                raise
            free(block)
            if waiting:
                _send()

    frees = Frees()
    codes.update(f.__code__ for f in (malloc, calloc, realloc, Frees.__delitem__))
    called = [ctypes.CFUNCTYPE(*_FORMS[f.__name__])(f) for f in (malloc, calloc, realloc)]
    addresses = [ctypes.cast(f, _pointer).value for f in (*called, ctypes.pythonapi.PySequence_DelSlice)]
    return theirs, {"ctx": id(frees), **dict(zip(_FORMS, addresses))}, (frees, called)


def _send() -> None:
    """Send a signal again that has waited."""
    try:
        again[waiting.pop()]
    except IndexError:  # another thread was faster
        pass


def _born(address: int | None, nbytes: int) -> int | None:
    if address:
        _tell(0, address, nbytes)
    return address


def _tell(which: int, address: int, nbytes: int | None) -> None:
    for watcher in watchers:
        try:
            watcher[which](address, nbytes)  # type: ignore[arg-type, call-arg]
        except Exception as e:
            watcher[2](e)


def _room(levels: int) -> bool:
    """Whether that many levels of recursion are left."""
    try:
        return not levels or _room(levels - 1)
    except RecursionError:
        return False
