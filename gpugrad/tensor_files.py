"""Floor 0: safetensors files: arrays by name, and notes in text.  The package `safetensors` writes and checks them.

    8 bytes       n, the length of the header, little-endian
    n bytes       JSON: {"__metadata__": notes, name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest      the arrays' bytes, one after the other, without gaps

Nothing that a file holds is executed.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np

from .dtypes import bfloat16
from .files import install
from .replacing import replace

DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "I8": np.int8,
    "I16": np.int16, "I32": np.int32, "I64": np.int64, "F16": np.float16, "BF16": bfloat16, "F32": np.float32,
    "F64": np.float64, "C64": np.complex64,
}  # fmt: skip
_NOTES = "__metadata__"
_LONGEST = 2**25  # bytes of a header: some 90,000 arrays.  Parsed, they may take forty times as many
_PICKLE = """is a pickle, as torch.save writes, which may run code, or a zip file, as np.savez does; gpugrad reads
safetensors. Where PyTorch is, write
    import safetensors.torch, torch
    w = torch.load({path!r}, map_location='cpu', weights_only=True)
    w = {{k: v.clone().contiguous() for k, v in w.items()}}
    safetensors.torch.save_file(w, 'weights.safetensors')
and here gg.interop.torch.load_weights(model, 'weights.safetensors')"""


class CheckpointError(ValueError):
    """A file that cannot be read as what it should be: foreign, damaged, cut off, hostile, or of a newer version."""


def library() -> Any:
    """The package `safetensors`.  ImportError where it is not installed."""
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(f"checkpoints need safetensors: {install('train')}") from None
    return safetensors


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> None:
    """Write arrays and notes: the whole file, or nothing (`replace`).

    The file is made in memory first, which takes two to three times its bytes.
    ValueError for a dtype that the format does not have, such as complex128, and for the name "__metadata__".
    """
    package = library()
    whole = {name: np.asarray(a, a.dtype.newbyteorder("="), order="C") for name, a in arrays.items()}
    for name, a in whole.items():
        if a.dtype not in DTYPES.values():
            raise ValueError(f"{name!r} has dtype {a.dtype}; safetensors has {', '.join(DTYPES)}")
        if name == _NOTES:
            raise ValueError(f"an array cannot be called {_NOTES!r}: safetensors keeps its notes there")
    try:  # not save_file, whose own temporary file nobody would tidy after a process that was killed
        data = package.numpy.save(whole, dict(notes))
    except package.SafetensorError as e:
        raise ValueError(f"safetensors cannot write this: {e}") from None
    if (n := _length(data)) > _LONGEST:
        raise ValueError(f"the names and notes take {n} bytes; a header has at most {_LONGEST}")

    def fill(aside: str) -> None:
        with open(aside, "wb") as f:
            f.write(data)

    replace(path, fill)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(the arrays by name, the notes) of a file.  CheckpointError, FileNotFoundError.

    No more memory is asked for than twice the file's bytes, besides what its header takes as JSON.
    """
    package = library()
    path = os.fspath(path)
    try:
        with open(path, "rb", opener=_opened) as f:
            data = _whole(f)
        return _read(data, package)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read: {e.strerror or e}") from e
    except package.SafetensorError as e:
        raise CheckpointError(f"{path} is no whole safetensors file: {e!s:.300}") from None
    except ValueError as e:
        raise CheckpointError(f"{path} {e}") from None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # of a pipe, too, without waiting for a writer


def _length(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def _whole(f: BufferedReader) -> bytes:
    """The bytes of a file.  ValueError for what is none, and for a header that is too long, before they are read."""
    about = os.fstat(f.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("is no file: a pipe, a socket or a device")
    head = f.read(9)
    # A zip file, or a bare pickle; a safetensors header of 128 bytes, or 384, begins like the latter.
    if head.startswith((b"PK\3\4", b"\x80")) and head[8:] != b"{":
        raise ValueError(_PICKLE.format(path=f.name))
    if (n := _length(head)) > min(max(about.st_size - 8, 0), _LONGEST):
        raise ValueError(
            f"is no whole safetensors file: its header would have {n} bytes; the file has {about.st_size}, and "
            f"{_LONGEST} is the most that is allowed"
        )
    f.seek(0)
    return f.read(about.st_size)


def _read(data: bytes, package: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    found = dict(package.deserialize(data))
    if unknown := {entry["dtype"] for entry in found.values()} - {*DTYPES}:
        raise ValueError(f"holds dtypes that NumPy does not have: {', '.join(sorted(unknown))}")
    arrays = {}
    try:
        header = json.loads(data[8 : 8 + _length(data)], object_pairs_hook=once)
        notes = header.pop(_NOTES, None) or {}
        for name in header:
            entry = found[name]
            arrays[name] = np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except ValueError as e:  # a name twice, more axes than NumPy has, or a length beside a zero
        raise ValueError(f"is no whole safetensors file: {e}") from None
    return arrays, notes


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object.  ValueError if it has a key twice, of which readers may take this or that."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found
