"""Floor 0: the files that travel with the package, CUDA sources and the demo's data; how its extras are installed."""

from __future__ import annotations

from os.path import abspath, dirname, isfile, join  # pathlib takes 5 ms to import

_HERE = dirname(abspath(__file__))
_PLACES = {  # in an installed wheel, in a checkout
    "kernels": (join(_HERE, "_kernels"), join(dirname(_HERE), "kernels")),
    "data": (join(_HERE, "_data"), join(dirname(_HERE), "examples", "data")),
}


def resource(kind: str, name: str) -> str:
    """The path of a packaged file: kind is "kernels" or "data".

    FileNotFoundError, saying where it was looked for, if the installation lacks it.
    """
    for folder in _PLACES[kind]:
        if isfile(path := join(folder, name)):
            return path
    looked = " and ".join(_PLACES[kind])
    raise FileNotFoundError(f"gpugrad's file {name!r} is missing (looked in {looked}); install gpugrad again")


def install(extra: str) -> str:
    """What to type for the packages of an extra, installed from an index or from a clone."""
    return f"pip install 'gpugrad[{extra}]', in a clone pip install '.[{extra}]'"
