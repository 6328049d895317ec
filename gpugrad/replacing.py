"""Floor 0: a file is replaced by a whole one, or stays as it was: written beside it, on the disk, renamed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl: Any = None


def replace(path: str | os.PathLike[str], write: Callable[[str], Any]) -> None:
    """Let `write` make a file beside `path`, and put it there when it is whole and on the disk.

    The file keeps its permissions; a symbolic link stays, and what it leads to is replaced.  OSError where that cannot
    be, for example on a full disk: then what was there is untouched, and nothing is left beside it.  What processes
    that were killed have left there goes.  FileExistsError for what is there and no file, as a pipe or a device.
    """
    given, path = os.fspath(path), os.path.realpath(path)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise FileExistsError(errno.EEXIST, "a pipe, a socket or a device, which can't be replaced by a file", given)
    _tidy(path)
    try:
        mode = os.stat(path).st_mode & 0o777 if os.path.isfile(path) else None
        with _beside(path) as aside:
            write(aside)
            _sync(aside, os.O_RDWR)
            if mode is not None:
                os.chmod(aside, mode)
            os.replace(aside, path)
    except OSError as e:
        if e.errno is None:
            raise
        raise OSError(e.errno, f"{os.strerror(e.errno)}; not written, and what was there is as it was", given) from e
    with suppress(OSError):  # Windows opens no folders, and some file systems sync none
        _sync(os.path.dirname(path), os.O_RDONLY)  # else the old file may be back after a power cut


@contextmanager
def _beside(path: str) -> Iterator[str]:
    """The name of a new file, which is locked, so that nobody takes it for a dead process's, and goes at the end."""
    name, f = _made(path)
    try:
        yield name
    finally:
        with suppress(FileNotFoundError):  # it has been renamed
            os.remove(name)
        os.close(f)


def _made(path: str) -> tuple[str, int]:
    while True:
        name = f"{path}.{os.urandom(6).hex()}.tmp"
        f = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666)
        _lock(f, wait=True)
        if os.path.exists(name):  # else somebody has tidied it away before it was locked
            return name, f
        os.close(f)


def _lock(f: int, wait: bool) -> bool:
    """Whether the file is ours alone now.  The system lets go of it when this process ends, however it ends."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(f, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another's, or a file system without locks
        return False
    return True


def _tidy(path: str) -> None:
    """Delete what `replace` of this path has left in processes that were killed."""
    folder, name = os.path.split(path)
    left = re.compile(re.escape(name) + r"\.[0-9a-f]{12}\.tmp")
    with suppress(OSError):  # there is no such folder, another has been quicker, or it is not ours to delete
        for aside in filter(left.fullmatch, os.listdir(folder)):
            aside = os.path.join(folder, aside)
            f = os.open(aside, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            try:
                if _lock(f, wait=False):
                    os.remove(aside)
            finally:
                os.close(f)


def _sync(path: str, flags: int) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    f = os.open(path, flags)
    try:
        os.fsync(f)
    finally:
        os.close(f)
