"""Worker processes of a DataLoader.

They are spawned, so threads and a GPU of this process do not matter to them.  What is asked goes to them, and short
answers come back, through pipes; the arrays through shared memory, of which every segment is made, and removed, by this
process: a worker that is killed leaves nothing behind.  A worker ends when this process does.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from multiprocessing.shared_memory import SharedMemory
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from ..array import library, set_default_device, to_host
from ..core import Tensor, raw
from .fetch import END, Maker
from .rows import mapped, of_door
from .wrong import WorkerError

_ALIGNED = 64
_HINTS = {
    "SIGKILL": "the system does that when memory runs out",
    "SIGBUS": "the system does that when shared memory, /dev/shm, is full: use smaller batches or fewer workers",
    "SIGSEGV": "it crashed in compiled code",
}


class _Slot:
    """Where in shared memory an array of a batch is: a leaf of the batch, which a namedtuple would not be."""

    def __init__(self, offset: int, shape: tuple[int, ...], dtype: np.dtype, kind: type[Tensor]) -> None:
        self.offset, self.shape, self.dtype, self.kind = offset, shape, dtype, kind

    def within(self, memory: SharedMemory) -> np.ndarray:
        return np.ndarray(self.shape, self.dtype, memory.buf, self.offset)

    def copied(self, memory: SharedMemory) -> Any:
        """The array out of shared memory, of a front door as its tensor."""
        a = np.array(self.within(memory))
        return a if self.kind is Tensor else of_door(a, self.kind)


# ---------------------------------------------------------------------------------------------- in the worker
def serve(number: int, pipe: Connection, payload: bytes) -> None:
    """Make batches until the pipe ends, as it does with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes, and is the parent's to answer
    tasks: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_read, args=(pipe, tasks), daemon=True).start()
    set_default_device("cpu")  # a GPU is for the one process that trains
    made: dict[int, tuple[Any, list[Any]]] = {}  # batches that wait for larger memory
    try:
        try:
            maker, init = pickle.loads(payload)  # from our own parent
            if init is not None:
                init(number)
        except Exception as e:
            pipe.send(("failed", None, _parcel(e)))
            return
        while True:
            ticket, where, what, memory = tasks.get()
            if where is None:  # memory for what was made
                batch, arrays = made.pop(ticket)
                pipe.send(_placed(ticket, batch, arrays, memory))
                continue
            try:
                batch = maker(where, what)
                if batch is END:
                    pipe.send(("end", ticket, None))
                    continue
                arrays: list[Any] = []
                batch = mapped(lambda x, arrays=arrays: _noted(x, arrays), batch)
                ForkingPickler.dumps(batch)  # whatever else is in it must get through the pipe
            except Exception as e:
                pipe.send(("error", ticket, _parcel(e)))
                continue
            need = _after(arrays[-1][0]) if arrays else 0
            if need and (memory is None or memory[1] < need):
                made[ticket] = batch, arrays
                pipe.send(("more", ticket, need))
            else:
                pipe.send(_placed(ticket, batch, arrays, memory))
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody is there any more


def _read(pipe: Connection, tasks: SimpleQueue[Any]) -> None:
    """Take what is asked at once, so that the parent never waits to ask; end with it, whatever the dataset does."""
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, ConnectionResetError):
        os._exit(0)


def _noted(x: Any, arrays: list[Any]) -> Any:
    """The slot of an array, which is noted; anything else as it is."""
    if not isinstance(x, Tensor) and library(x) is None:
        return x
    a = to_host(raw(x))
    if a.dtype.hasobject:
        return x
    last = arrays[-1] if arrays else None
    offset = 0 if last is None else _after(last[0])
    slot = _Slot(offset, a.shape, a.dtype, x.kind if isinstance(x, Tensor) else Tensor)
    arrays.append((slot, a))
    return slot


def _after(slot: _Slot) -> int:
    size = slot.dtype.itemsize * math.prod(slot.shape) or 1  # what is empty has a place, too
    return -(-(slot.offset + size) // _ALIGNED) * _ALIGNED


def _placed(ticket: int, batch: Any, arrays: list[Any], memory: tuple[str, int] | None) -> tuple[Any, ...]:
    """The message for a batch whose arrays are in shared memory from here on."""
    if arrays and memory is not None:
        shared = SharedMemory(memory[0])
        try:
            for slot, a in arrays:
                slot.within(shared)[...] = a
        finally:
            shared.close()
    return "done", ticket, batch


def _parcel(e: Exception) -> tuple[bytes | None, str, str]:
    """(the exception, if it can be sent; what it says; its traceback)."""
    text = "".join(traceback.format_exception(e)).rstrip()
    try:
        sent = bytes(ForkingPickler.dumps(e))
        pickle.loads(sent)  # some can be packed, and not unpacked
    except Exception:
        sent = None
    return sent, f"{type(e).__name__}: {e}", text


# ---------------------------------------------------------------------------------------------- in the parent
class _Worker:
    """One process, its pipe, and what it has been asked for: by ticket, (where, its memory)."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self.process, self.pipe = process, pipe
        self.tasks: dict[int, tuple[tuple[int, int, int], SharedMemory | None]] = {}


class Workers:
    """So many processes that have a Maker each.  `run(plan)` goes through the batches of a plan, in its order."""

    def __init__(
        self, maker: Maker, number: int, prefetch: int, timeout: float, init: Callable[[int], Any] | None
    ) -> None:
        try:
            payload = bytes(ForkingPickler.dumps((maker, init)))
        except (pickle.PicklingError, AttributeError, TypeError) as e:
            raise TypeError(
                f"num_workers={number}: the dataset, collate_fn or worker_init_fn can't be given to another process: "
                f"{e}. Define them at the top level of a module, not in a function or as a lambda; or use num_workers=0"
            ) from None
        self._most, self._timeout, self._tickets = number * prefetch, timeout, count()
        self._done: dict[int, tuple[str, Any]] = {}  # what has come for tickets that are wanted
        self._wanted: set[int] = set()
        self._team: list[_Worker] = []
        self._free: list[SharedMemory] = []
        self._all: dict[str, SharedMemory] = {}
        self.close = weakref.finalize(self, _close, os.getpid(), self._team, self._all)
        try:
            context = multiprocessing.get_context("spawn")
            for i in range(number):
                self._team.append(_started(context, i, payload))
        except BaseException:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether the processes have been ended."""
        return not self.close.alive

    def run(self, plan: Iterator[tuple[tuple[int, int, int], Any]]) -> Iterator[Any]:
        """The batches of a plan of (where, what).  Others may run at the same time."""
        order: deque[int] = deque()
        plan = iter(plan)
        try:
            self._ask(plan, order)
            while order:
                while order[0] not in self._done:
                    self._receive()
                ticket = order.popleft()
                kind, found = self._done.pop(ticket)
                self._wanted.discard(ticket)
                if kind == "error":
                    raise found
                if kind == "end":
                    return
                self._ask(plan, order)
                yield found
        finally:
            self._wanted.difference_update(order)
            for ticket in order:
                self._done.pop(ticket, None)

    def _ask(self, plan: Iterator[Any], order: deque[int]) -> None:
        """Ask for batches, until enough are under way."""
        while len(order) < self._most and (task := next(plan, None)) is not None:
            if self.closed:
                raise RuntimeError("the workers of this DataLoader were ended; begin another iteration")
            where, what = task
            worker = min(self._team, key=lambda w: len(w.tasks))
            ticket, memory = next(self._tickets), self._free.pop() if self._free else None
            worker.tasks[ticket] = where, memory
            self._wanted.add(ticket)
            order.append(ticket)
            self._tell(worker, (ticket, where, what, _named(memory)))

    def _tell(self, worker: _Worker, message: Any) -> None:
        try:
            worker.pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            self._died(worker)

    def _receive(self) -> None:
        """Take the answers that have come, after waiting for one.  An error if a worker has died, or time is over."""
        if self.closed:
            raise RuntimeError("the workers of this DataLoader were ended; begin another iteration")
        try:
            busy = [w for w in self._team if w.tasks]
            pipes = [w.pipe for w in busy]
            ready = wait([*pipes, *[w.process.sentinel for w in busy]], self._timeout or None)
            if not ready:
                asked = [where[1:] for w in busy for where, _ in w.tasks.values()]
                raise TimeoutError(
                    f"DataLoader: no worker had a batch after {self._timeout} seconds; the first that is waited for is "
                    f"batch {min(asked)[1]} of epoch {min(asked)[0]}"
                )
            for w in busy:
                if w.pipe in ready:
                    try:
                        answer = w.pipe.recv()
                    except (EOFError, ConnectionResetError):
                        self._died(w)
                    self._take(w, *answer)
                elif w.process.sentinel in ready:
                    self._died(w)
        except BaseException:  # Ctrl-C, too: half a message may have been read
            self.close()
            raise

    def _take(self, worker: _Worker, kind: str, ticket: int, found: Any) -> None:
        """One answer of a worker."""
        if kind == "failed":
            raise _raised("a worker of the DataLoader, as it began", *found)
        where, memory = worker.tasks[ticket]
        if kind == "more":
            if memory is not None:
                _removed(memory, self._all)
            memory = SharedMemory(create=True, size=found + found // 4)
            self._all[memory.name] = memory
            worker.tasks[ticket] = where, memory
            self._tell(worker, (ticket, None, None, _named(memory)))
            return
        del worker.tasks[ticket]
        if ticket in self._wanted:
            if kind == "error":
                found = _raised(f"a worker of the DataLoader, in batch {where[2]} of epoch {where[1]}", *found)
            elif kind == "done" and memory is not None:
                shared = memory
                found = mapped(lambda x: x.copied(shared) if isinstance(x, _Slot) else x, found)
            self._done[ticket] = kind, found
        if memory is not None:
            self._free.append(memory)

    def _died(self, worker: _Worker) -> None:
        """Raise what says how, and with which batch."""
        worker.process.join(10)
        code, doing = worker.process.exitcode, next(iter(worker.tasks.values()), None)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            how = f"was killed by {name}" + (f" ({_HINTS[name]})" if name in _HINTS else "")
        else:
            how = f"ended with exit code {code}"
        what = "" if doing is None else f" at batch {doing[0][2]} of epoch {doing[0][1]}"
        raise WorkerError(
            f"worker {self._team.index(worker)} of the DataLoader (process {worker.process.pid}) {how}{what}. What it "
            "said is above. If it never began: a script that asks for workers starts under `if __name__ == '__main__':`"
        )


def _started(context: Any, number: int, payload: bytes) -> _Worker:
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(number, there, payload), daemon=True)
    resource_tracker.ensure_running()  # which lets SIGINT through again
    # Until the worker ignores it, SIGINT is blocked there, as this thread blocks it while it starts the worker.
    block = getattr(signal, "pthread_sigmask", None)
    before = block(signal.SIG_BLOCK, {signal.SIGINT}) if block else None
    try:
        process.start()
    finally:
        if block:
            block(signal.SIG_SETMASK, before)
    there.close()
    return _Worker(process, here)


def _named(memory: SharedMemory | None) -> tuple[str, int] | None:
    return None if memory is None else (memory.name, memory.size)


def _removed(memory: SharedMemory, all_: dict[str, SharedMemory]) -> None:
    del all_[memory.name]
    memory.close()
    memory.unlink()


def _raised(whose: str, sent: bytes | None, said: str, text: str) -> Exception:
    """The exception of a worker, with its traceback there as a note."""
    error = WorkerError(f"in {whose}: {said}") if sent is None else pickle.loads(sent)  # from our own child
    error.add_note(f"in {whose}:\n{text}")
    return error


def _close(owner: int, team: list[_Worker], memories: dict[str, SharedMemory]) -> None:
    """End the processes, then remove the shared memory, which nobody has any more."""
    if os.getpid() != owner:  # a fork of it
        return
    for w in team:
        w.process.terminate()
    for w in team:
        w.process.join(5)
        if w.process.exitcode is None:
            w.process.kill()
            w.process.join()
        w.pipe.close()
    for memory in list(memories.values()):
        _removed(memory, memories)
