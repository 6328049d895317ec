"""Damaged and hostile checkpoint files: each gives a clear error, or loads what was written; none crashes or hangs.

    python bench/mutated.py [--files 10000] [--seed 0] [--output FOLDER]

Files of gg.save are cut, flipped, spliced and edited as JSON.  A fifth as many are forged, too: edited, and their
hashes made anew, as whoever wants to do harm would; those may load, as what they say, and nothing but plain data.
The process has 1 GB of address space more than it needs to start with, and 20 s a file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, publish

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gpugrad as gg

HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 3, 2**31, 2**60, 2**63, 2**64, 10**40, 0.5, 1e308, float("nan"), "", "F32", "F64", "I64",
    "BOOL", "F8_E4M3", "object", "__import__('os')", "\ud800", "a" * 10_000, [], [[]], {}, {"dict": [[[], 1]]}, [0, 0],
    [0, 2**62], [-4, 0], {"tensor": ["model.weight", "float64"]}, {"dict": [[1, 2], [1, 3]]}, {"tuple": {}},
    {"float": "1e5"},
]  # fmt: skip


def state() -> dict[str, Any]:
    """A nest that has one of everything."""
    rng = np.random.default_rng(0)
    drawn = lambda *shape: rng.standard_normal(shape)
    return {
        "model": {"weight": gg.tensor(drawn(4, 3).astype("f")), "bias": gg.tensor(drawn(3).astype(gg.bfloat16)),
                  "scale": gg.tensor(2.5), "none": gg.zeros((0, 3)), "wide": drawn(2, 2) + 1j * drawn(2, 2)},
        "optimizer": {"state": {0: {"step": 3, "momentum": gg.tensor(drawn(4, 3).astype("f"))}},
                      "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1], "maximize": False}]},
        "random": {"key": 2**64 - 1, "draws": {"cpu": 7}}, "best": float("inf"), "name": "first", "mask": drawn(9) > 0,
        "counts": rng.integers(0, 9, 5), "patience": None,
    }  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Whether two nests are equal, to the type, dtype and bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(x, y) for x, y in zip(a.values(), b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, gg.Tensor):
        a, b = a.numpy(), b.numpy()
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)


def plain(x: Any) -> bool:
    """Whether a nest is made of data alone."""
    if type(x) is dict:
        return all(plain(k) and plain(v) for k, v in x.items())
    if type(x) in (list, tuple):
        return all(map(plain, x))
    return type(x) in (type(None), bool, int, float, complex, str, np.ndarray, gg.Tensor)


# ---------------------------------------------------------------------------------------------- mutations
def flipped(data: bytes, r: random.Random) -> bytes:
    """A few bits the other way."""
    out = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 8))):
        out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out)


def overwritten(data: bytes, r: random.Random) -> bytes:
    """A few bytes others, in the first 8, in the header, or anywhere."""
    out = bytearray(data)
    end = r.choice((8, 8 + int.from_bytes(data[:8], "little"), len(data)))
    at, n = r.randrange(end), r.choice((1, 2, 8, 64))
    out[at : at + n] = r.choice((bytes(n), b"\xff" * n, r.randbytes(n), b'"[{}],:'[: n % 7] * n))[:n]
    return bytes(out)


def cut(data: bytes, r: random.Random) -> bytes:
    """Without its end, its beginning, or a piece."""
    a, b = sorted((r.randrange(len(data) + 1), r.randrange(len(data) + 1)))
    return r.choice((data[:a], data[a:], data[:a] + data[b:]))


def spliced(data: bytes, r: random.Random) -> bytes:
    """A piece of itself, or bytes of no sense, put in, at the end, or in the place of another piece."""
    a, b, c = (r.randrange(len(data)) for _ in range(3))
    piece = r.choice((data[min(a, b) : max(a, b)], r.randbytes(r.randrange(1, 50)), b" ", b"\0"))
    return r.choice((data[:c] + piece + data[c:], data + piece, data[:c] + piece + data[c + len(piece) :]))


def header_length(data: bytes, r: random.Random) -> bytes:
    """Another length of the header."""
    n = int.from_bytes(data[:8], "little")
    wrong = r.choice((0, 1, 7, n - 1, n + 1, n * 2, len(data), len(data) - 8, 10**8, 2**31, 2**60, 2**64 - 1))
    return wrong.to_bytes(8, "little") + data[8:]


def nested(data: bytes, r: random.Random) -> bytes:
    """A header of brackets."""
    text = r.choice(('{"a":', "[", '{"__metadata__":{"a":')) * r.choice((10, 1000, 100_000))
    return packed(text.encode(), b"")


def edited(data: bytes, r: random.Random) -> bytes:
    """A value, a key or an entry of the header's JSON another one."""
    text, rest = unpacked(data)
    header = json.loads(text)
    for _ in range(r.choice((1, 1, 2))):
        edit(header, r)
    return packed(json.dumps(header).encode(), rest)


def doubled(data: bytes, r: random.Random) -> bytes:
    """An entry of the header twice."""
    text, rest = unpacked(data)
    header = json.loads(text)
    name, entry = r.choice(list(header.items()))
    return packed(text.rstrip()[:-1] + b"," + json.dumps({name: entry})[1:].encode(), rest)


def forged(data: bytes, r: random.Random) -> bytes:
    """The document edited, the header too or not, and the hash of the document made anew."""
    text, rest = unpacked(data)
    header = json.loads(text)
    notes = header["__metadata__"]
    document = json.loads(notes["gpugrad.state"])
    for _ in range(r.choice((1, 2, 4))):
        edit(document, r)
    if r.random() < 0.3:
        del header["__metadata__"]
        edit(header, r)
        header["__metadata__"] = notes
    notes["gpugrad.state"] = json.dumps(document)
    notes["gpugrad.state.blake2b"] = blake2b(notes["gpugrad.state"].encode(), digest_size=16).hexdigest()
    return packed(json.dumps(header).encode(), rest)


def edit(tree: Any, r: random.Random) -> None:
    """One change in a JSON tree, somewhere."""
    at = tree
    while True:
        key = r.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if not isinstance(at[key], dict | list) or not at[key] or r.random() < 0.15:
            break
        at = at[key]
    how = r.randrange(4)
    if how == 0 and len(at) > 1:
        del at[key]
    elif how == 1 and isinstance(at, dict):
        at[r.choice(("", "extra", "tensor", "dict", "__metadata__", "shape"))] = deepcopy(r.choice(HOSTILE))
    elif how == 2 and isinstance(at[key], int | float) and not isinstance(at[key], bool):
        at[key] += r.choice((-1, 1, 2**40, 0.5))
    else:
        at[key] = deepcopy(r.choice(HOSTILE))


def unpacked(data: bytes) -> tuple[bytes, bytes]:
    """(the header, the rest)."""
    n = int.from_bytes(data[:8], "little")
    return data[8 : 8 + n], data[8 + n :]


def packed(header: bytes, rest: bytes) -> bytes:
    """The file of this header."""
    return len(header).to_bytes(8, "little") + header + rest


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    flipped, flipped, overwritten, cut, spliced, header_length, nested, edited, edited, doubled,
]  # fmt: skip


# ---------------------------------------------------------------------------------------------- counting
def outcome(path: str, whole: Any) -> str:
    """What loading a file comes to: `error`, `as written`, `data` that is other, or what is wrong."""
    try:
        found = gg.load(path)
    except gg.CheckpointError as e:
        return "error" if path in str(e) and len(str(e)) < 500 else f"unclear: {e!s:.100}"
    except Exception as e:
        return f"{type(e).__name__}: {e!s:.100}"
    return "as written" if same(found, whole) else "data" if plain(found) else "objects"


def count(
    files: int, seed: int, mutations: list[Callable[[bytes, random.Random], bytes]], folder: str, seconds: int = 0
) -> Counter[str]:  # fmt: skip
    """How often each outcome came, of so many mutated files; the process dies of one that takes longer (0: as long)."""
    whole, path, r = state(), os.path.join(folder, "mutated.safetensors"), random.Random(seed)
    gg.save(path, whole)
    text, rest = unpacked(Path(path).read_bytes())
    data = packed(json.dumps(json.loads(text), sort_keys=True).encode(), rest)  # notes come in any order
    counts: Counter[str] = Counter()
    for i in range(files):
        mutate = mutations[i % len(mutations)]
        changed = mutate(data, r)
        Path(path).write_bytes(changed)
        signal.alarm(seconds)
        found = outcome(path, whole)
        signal.alarm(0)
        counts[found if found in ("error", "as written", "data") else f"{mutate.__name__} {i}: {found}"] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    gg.set_default_device("cpu")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 10**9, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as folder:
        mutated = count(args.files, args.seed, MUTATIONS, folder, 20)
        forgeries = count(args.files // 5, args.seed, [forged], folder, 20)
    fine = mutated["error"] + mutated["as written"]
    lines = [
        f"seed {args.seed}; nobody crashed, and none took 20 s", "",
        "| files | mutated | forged |", "|---|---|---|", f"| all | {mutated.total()} | {forgeries.total()} |",
        *[f"| {o} | {mutated[o]} | {forgeries[o]} |" for o in sorted(mutated.keys() | forgeries.keys())], "",
        f"{fine} of {mutated.total()} mutated files gave a clear error or loaded what was written.",
    ]  # fmt: skip
    publish("mutated", "Mutated checkpoint files", machine("numpy", "safetensors"), lines, args.output)
    bad = forgeries.total() - forgeries["error"] - forgeries["as written"] - forgeries["data"]
    sys.exit(fine < mutated.total() or bad > 0)


if __name__ == "__main__":
    main()
