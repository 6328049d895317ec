"""Floor 0: what a kernel that could not be compiled or loaded is told as: what is wrong, where, and what to do."""

from __future__ import annotations

from .files import install

_UPDATE = "Update the driver, or install CuPy for the CUDA that it supports (nvidia-smi shows which)"
_OLD_DRIVER = ("UNSUPPORTED_PTX_VERSION", "UnsupportedPtxVersion", "INSUFFICIENT_DRIVER", "InsufficientDriver")
_OTHER_GPU = ("NO_BINARY_FOR_GPU", "NoKernelImageForDevice", "invalid value for --gpu-architecture")


def explained(kernel: str, e: Exception) -> Exception:
    """The error for `kernel` where CuPy raised `e`: a RuntimeError, or `e` itself where there is nothing to add."""
    text = str(e)
    if any([sign in text for sign in _OLD_DRIVER]):
        return RuntimeError(f"kernel {kernel}: the NVIDIA driver is older than the installed CUDA ({text}). {_UPDATE}")
    if any([sign in text for sign in _OTHER_GPU]):
        return RuntimeError(f"kernel {kernel}: the installed CUDA does not compile for this GPU ({_first(text)})")
    if "failed to load libnvrtc" in text or "failed to load nvrtc" in text:
        return RuntimeError(f"kernel {kernel}: the compiler NVRTC is not installed ({text}). {_install()}")
    if "CUDA headers" in text or "cannot open source file" in text:
        wrong = "CUDA's headers are not installed" if "CUDA headers" in text else "a header is missing"
        return RuntimeError(f"kernel {kernel}: {wrong} ({_first(text)}). {_install()}")
    if type(e).__name__ == "CompileException":  # CuPy's; its text is the compiler's log
        return RuntimeError(f"kernel {kernel} does not compile:\n{_errors(text)}")
    return e


def _install() -> str:
    return f"Install it with: {install('cuda13')} (cuda12 for a driver of CUDA 12)"


def _first(text: str) -> str:
    return text.strip().partition("\n")[0]


def _errors(log: str, most: int = 5) -> str:
    """The first errors of a compiler's log, with the lines of the source that it shows; warnings are left out."""
    found = [part for part in log.strip().split("\n\n") if "error" in part]
    own = [part for part in found if not part.startswith("__nv_name_map")] or found  # NVRTC's own, which only follow
    return "\n".join(own[:most]) or log.strip()
