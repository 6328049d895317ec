"""Arrays whose neighbours are forbidden: memory that ends, or starts, at a page nobody may touch."""

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
SLACK = 0xA5  # what fills the rest of the array's own pages
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_NOTHING = 0  # PROT_NONE


class Guarded:
    """One allocation: forbidden page, the array's pages, forbidden page."""

    def __init__(self, nbytes: int, at_start: bool) -> None:
        pages = max(1, -(-nbytes // PAGE))
        self._memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for guard in (self._base, self._base + (pages + 1) * PAGE):
            if _libc.mprotect(guard, PAGE, _NOTHING):
                raise OSError(ctypes.get_errno(), "mprotect")
        inside = np.frombuffer(self._memory, np.uint8, pages * PAGE, PAGE)
        inside[...] = SLACK
        start = 0 if at_start else pages * PAGE - nbytes
        self.memory, self.offset = self._memory, PAGE + start
        self._rest = (inside[:start], inside[start + nbytes :])

    def intact(self) -> bool:
        """Whether nothing was written beside the array, on its own pages either."""
        return all((part == SLACK).all() for part in self._rest)


class Allocator:
    """Makes guarded arrays, against the page after or (`at_start`) the page before, and looks after them.

    At the end of its pages an array of odd size is misaligned for 16-byte loads; at their start it is aligned and has
    a tail.  A kernel is to be run with its arrays at both.  What it looks after stays mapped until `check`; without
    `guarded` its arrays are only filled, for tests of everything but kernels.
    """

    def __init__(self) -> None:
        self.at_start, self.guarded = False, True
        self._watched: list[Guarded] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array full of 0xFF: NaN, or -1.  What a kernel leaves out shows.  It owns its memory, as a GPU's does."""
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if not self.guarded:
            return np.ndarray(shape, dtype, np.full(nbytes, 0xFF, np.uint8))
        guarded = Guarded(nbytes, self.at_start)
        self._watched.append(guarded)
        np.ndarray((nbytes,), np.uint8, guarded.memory, guarded.offset)[...] = 0xFF
        return np.ndarray(shape, dtype, guarded.memory, guarded.offset)

    def put(self, value: np.ndarray) -> np.ndarray:
        """A guarded copy of `value`."""
        out = self.empty(value.shape, value.dtype)
        out[...] = value
        return out

    def check(self) -> None:
        """AssertionError if somebody wrote beside an array made since the last check."""
        intact = [g.intact() for g in self._watched]
        self._watched.clear()
        assert all(intact), "a kernel wrote beside an array"
