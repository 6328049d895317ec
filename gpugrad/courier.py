"""Floor 0: copies between a GPU and pinned memory of the host, beside what the GPU computes.

They run on a stream of their own, and the pinned memory is held until they are done.  CuPy's pool gives the memory of
an array that is dropped to the next one of the same stream at once, so an array is held until its copy is done, or
until the computing stream waits for it: then whatever gets that memory comes later.
"""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import Any
from weakref import ref

import numpy as np

_MOST = 2  # copies to the host under way, whose arrays are held for them


class Stowed:
    """The values of an array in pinned memory, or on their way.

    array    the pinned memory, NumPy's
    before   a weak reference to what was stowed before it: a walk back asks for that next; None
    coming   None, or the entry in `Courier._returning` of the copy that is on its way back
    opened   a weak reference to the array on the GPU that was made of it last; None
    """

    __slots__ = ("__weakref__", "array", "before", "coming", "courier", "opened")

    def __init__(self, array: np.ndarray, courier: Courier, before: Any) -> None:
        self.array, self.courier, self.before = array, courier, before
        self.coming: Any = None
        self.opened: Any = None


class Courier:
    """Brings arrays of one GPU to the host and back.  `cupy`: the module, or what has its names."""

    def __init__(self, cupy: Any, index: int) -> None:
        self._cupy, self._cuda, self._index = cupy, cupy.cuda, index
        self._lock = RLock()  # dropping an array may run a finalizer that asks for another
        with self._cuda.Device(index):
            self._stream = self._cuda.Stream(non_blocking=True)
        self._leaving: deque[tuple[Any, Any, Any, Any]] = deque()  # (event, array, its stream, reference to the Stowed)
        self._landing: deque[tuple[Any, Any]] = deque()  # (event, pinned memory), though the Stowed may be gone
        self._returning: deque[list[Any]] = deque()  # [event, pinned memory, array; None once somebody waits for it]
        self._last: Any = None  # to what was stowed last

    def away(self, x: Any) -> Stowed:
        """A copy of the contiguous array x, in pinned memory; x may be dropped at once."""
        with self._lock, self._cuda.Device(self._index):
            now, nbytes = self._cuda.get_current_stream(), x.nbytes
            pinned = self._cuda.alloc_pinned_memory(nbytes)
            host = np.frombuffer(pinned, np.uint8, nbytes).view(x.dtype).reshape(x.shape)
            done = self._copy(host.ctypes.data, x.data.ptr, nbytes, self._cuda.runtime.memcpyDeviceToHost, now)
            out = Stowed(host, self, self._last)
            self._last = ref(out)
            self._leaving.append((done, x, now, self._last))
            self._landing.append((done, host))
            self._settle(_MOST)
            return out

    def send(self, x: np.ndarray) -> Stowed:
        """A copy of the host's array x that sets out for the GPU at once; `back` answers it there."""
        with self._lock, self._cuda.Device(self._index):
            self._settle(_MOST)
            nbytes = x.nbytes
            host = np.frombuffer(self._cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes).view(x.dtype)
            host = host.reshape(x.shape)
            host[...] = x
            out = Stowed(host, self, None)
            out.coming = self._fetch(out, self._cuda.get_current_stream())
            return out

    def back(self, stowed: Stowed) -> Any:
        """The values as an array on the GPU, for the current stream; those stowed before them set out as well."""
        with self._lock, self._cuda.Device(self._index):
            self._settle(_MOST)
            for _, x, _, of in self._leaving:
                if of() is stowed:  # still there
                    return x
            x = None if stowed.opened is None else stowed.opened()
            if x is None:
                now = self._cuda.get_current_stream()
                entry = stowed.coming or self._fetch(stowed, now)
                done, _, x = entry
                now.wait_event(done)
                entry[2] = stowed.coming = None  # whatever gets the memory of x after it, comes after the copy
                stowed.opened = ref(x)
                before = None if stowed.before is None else stowed.before()
                if before is not None and before.coming is None and (before.opened is None or before.opened() is None):
                    if all([of() is not before for _, _, _, of in self._leaving]):
                        before.coming = self._fetch(before, now)
            return x

    def wait(self) -> None:
        """Let the streams that computed them wait for all copies to the host: arrays may be written to after it."""
        with self._lock:
            if self._leaving:
                with self._cuda.Device(self._index):
                    self._settle(0)

    def _fetch(self, stowed: Stowed, now: Any) -> list[Any]:
        """The entry of a copy back that sets out."""
        host = stowed.array
        x = self._cupy.ndarray(host.shape, host.dtype)
        done = self._copy(x.data.ptr, host.ctypes.data, host.nbytes, self._cuda.runtime.memcpyHostToDevice, now)
        entry = [done, host, x]
        self._returning.append(entry)
        return entry

    def _copy(self, to: int, source: int, nbytes: int, direction: int, now: Any) -> Any:
        """The event at the end of a copy that comes after all that stream `now` has been told so far."""
        self._stream.wait_event(self._event(now))
        self._cuda.runtime.memcpyAsync(to, source, nbytes, direction, self._stream.ptr)
        return self._event(self._stream)

    def _event(self, stream: Any) -> Any:
        event = self._cuda.Event(disable_timing=True)
        event.record(stream)
        return event

    def _settle(self, most: int) -> None:
        """Forget copies that are done; of those to the host, hold the arrays of so many."""
        while self._leaving and (len(self._leaving) > most or self._leaving[0][0].done):
            done, x, stream, _ = self._leaving.popleft()
            if not done.done:
                stream.wait_event(done)
            del x
        for under_way in (self._landing, self._returning):
            while under_way and under_way[0][0].done:
                under_way.popleft()
