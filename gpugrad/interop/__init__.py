"""Floor 8: other libraries' models: weights from and to PyTorch, ONNX files.  Imported when first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import onnx as onnx, torch as torch


def __getattr__(name: str) -> Any:
    """Neither is needed by a program that does not ask for it, and with both the import would take 10 ms more."""
    if name == "onnx":
        return import_module("gpugrad.interop.onnx")
    if name == "torch":
        return import_module("gpugrad.interop.torch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
