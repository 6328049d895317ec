"""Floor 0: the files that travel with the package: CUDA sources and the demo's data."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PLACES = {  # in an installed wheel, in a checkout
    "kernels": (_HERE / "_kernels", _HERE.parent / "kernels"),
    "data": (_HERE / "_data", _HERE.parent / "examples" / "data"),
}


def resource(kind: str, name: str) -> Path:
    """The path of a packaged file: kind is "kernels" or "data".

    FileNotFoundError, saying where it was looked for, if the installation lacks it.
    """
    for folder in _PLACES[kind]:
        if (path := folder / name).is_file():
            return path
    looked = " and ".join(str(folder) for folder in _PLACES[kind])
    raise FileNotFoundError(f"gpugrad's file {name!r} is missing (looked in {looked}); install gpugrad again")
