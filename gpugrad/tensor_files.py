"""Floor 0: safetensors files: arrays by name, and notes in text; what a file claims is checked before it is believed.

    8 bytes       n, the length of the header, little-endian
    n bytes       JSON: {"__metadata__": notes, name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest      the arrays' bytes, one after the other, without gaps

https://github.com/huggingface/safetensors has the format.  Nothing that a file holds is executed.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np

from .dtypes import bfloat16
from .replacing import replace

DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "I8": np.int8,
    "I16": np.int16, "I32": np.int32, "I64": np.int64, "F16": np.float16, "BF16": bfloat16, "F32": np.float32,
    "F64": np.float64, "C64": np.complex64,
}  # fmt: skip
NAMES = {np.dtype(d): name for name, d in DTYPES.items()}
_NOTES = "__metadata__"
_LONGEST = 2**25  # bytes of a header: some 90,000 arrays.  Parsed, they may take twenty times as many


class CheckpointError(ValueError):
    """A file that cannot be read as what it should be: foreign, damaged, cut off, hostile, or of a newer version."""


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> None:
    """Write arrays and notes: the whole file, or nothing (`replace`).

    ValueError for a dtype that the format does not have, such as complex128, and for the name "__metadata__".
    """
    header: dict[str, Any] = {_NOTES: dict(notes)}
    whole, at = [], 0
    for name, a in sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize):  # so that all are aligned
        a = np.asarray(a, a.dtype.newbyteorder("="), order="C")
        if a.dtype not in NAMES:
            raise ValueError(f"{name!r} has dtype {a.dtype}; safetensors has {', '.join(DTYPES)}")
        if name == _NOTES:
            raise ValueError(f"an array cannot be called {_NOTES!r}: safetensors keeps its notes there")
        header[name] = {"dtype": NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        whole.append(a)
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST:
        raise ValueError(f"the names and notes take {len(text)} bytes; a header has at most {_LONGEST}")

    def fill(aside: str) -> None:
        with open(aside, "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text)
            for a in whole:
                f.write(data(a))

    replace(path, fill)


def data(a: np.ndarray) -> memoryview:
    """The bytes of an array that is in one piece."""
    return a.reshape(-1).view(np.uint8).data


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(the arrays by name, the notes) of a file.  CheckpointError, FileNotFoundError.

    No more memory is asked for than the file has bytes, besides what its header takes as JSON.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb", opener=_opened) as f:
            return _read(f)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read: {e.strerror or e}") from e
    except ValueError as e:
        raise CheckpointError(f"{path} {e}") from None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # of a pipe, too, without waiting for a writer


def _read(f: BufferedReader) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    about = os.fstat(f.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("is no file: a pipe, a socket or a device")
    try:
        header, start = _header(f, about.st_size)
        notes = header.pop(_NOTES, {})
        if not isinstance(notes, dict) or not all([isinstance(v, str) for v in notes.values()]):
            raise ValueError("its notes are not text by name")
        entries = {name: _entry(name, e) for name, e in header.items()}
        _gapless(entries, about.st_size - start)
    except RecursionError:
        raise ValueError("is no whole safetensors file: its header is nested too deep") from None
    except ValueError as e:
        raise ValueError(f"is no whole safetensors file: {e}") from None
    if unknown := {dtype for dtype, *_ in entries.values()} - {*DTYPES}:
        raise ValueError(f"holds dtypes that NumPy does not have: {', '.join(sorted(unknown))[:100]}")
    arrays = {}
    for name, (dtype, shape, begin, end) in entries.items():
        kind = np.dtype(DTYPES[dtype])
        if math.prod(shape) * kind.itemsize != end - begin:
            raise ValueError(
                f"is no whole safetensors file: {name!r} has {end - begin} bytes, which is not {dtype} {list(shape)}"
            )
        try:
            a = np.empty(shape, kind)
        except ValueError as e:  # more axes than NumPy has, or a length beside a zero
            raise ValueError(f"is no whole safetensors file: {name!r}: {e}") from None
        f.seek(start + begin)
        if f.readinto(data(a)) != a.nbytes:
            raise ValueError("is no whole safetensors file: it got shorter as it was read")
        arrays[name] = a
    return arrays, notes


def _header(f: BufferedReader, size: int) -> tuple[dict[str, Any], int]:
    """(the header, where the data start) of a file of so many bytes."""
    n = int.from_bytes(f.read(8), "little")
    if size < 8:
        raise ValueError("it is cut off in its first 8 bytes" if size else "it is empty")
    if n > min(size - 8, _LONGEST):
        raise ValueError(
            f"its header would have {n} bytes; the file has {size}, and {_LONGEST} is the most that is allowed"
        )
    text = f.read(n)
    if text[:1] != b"{":
        raise ValueError("its header is not JSON")
    return json.loads(text.decode(), object_pairs_hook=once, parse_constant=no_number), 8 + n


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object.  ValueError if it has a key twice, of which readers may take this or that."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def no_number(text: str) -> Any:
    """ValueError for what Python's JSON has and JSON has not: NaN, Infinity."""
    raise ValueError(f"{text} is not JSON")


def _entry(name: str, e: Any) -> tuple[str, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of an array, as its entry claims."""
    if not isinstance(e, dict) or e.keys() != {"dtype", "shape", "data_offsets"} or not isinstance(e["dtype"], str):
        raise ValueError(f"the entry of {name!r:.60} is not dtype, shape and data_offsets")
    shape, offsets = e["shape"], e["data_offsets"]
    for what in (shape, offsets):
        if not isinstance(what, list) or not all([type(n) is int and 0 <= n < 2**63 for n in what]):
            raise ValueError(f"{name!r:.60} has shape {shape!r:.60} and data_offsets {offsets!r:.60}")
    if len(offsets) != 2:
        raise ValueError(f"{name!r:.60} has data_offsets {offsets!r:.60}; they are two")
    return e["dtype"], tuple(shape), offsets[0], offsets[1]


def _gapless(entries: Mapping[str, tuple[str, tuple[int, ...], int, int]], size: int) -> None:
    """ValueError unless the arrays follow each other and end where the file does."""
    at = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at or end < begin:
            raise ValueError(f"{name!r:.60} has bytes {begin} to {end}, and what comes before it ends at {at}")
        at = end
    if at != size:
        raise ValueError(f"its arrays have {at} bytes, and after the header there are {size}")
