"""Fourier transforms.  Where the result is complex, the rows of real x take its real part and twice the imaginary one."""

import numpy as np

import gpugrad as gg

from .row import row

COMPLEX = [
    ("fft", {}, (2, 5)), ("fft", {"n": 4, "axis": 0, "norm": "ortho"}, (5, 2)), ("fft", {"n": 7, "norm": "forward"}, (2, 5)),
    ("ifft", {}, (2, 4)), ("ifft", {"n": 3, "axis": 0, "norm": "forward"}, (5, 2)), ("ifft", {"norm": "ortho"}, (5,)),
    ("fft2", {}, (2, 3, 4)), ("fft2", {"s": (4, 3), "axes": (0, 2)}, (3, 2, 4)), ("ifft2", {"norm": "ortho"}, (3, 4)),
    ("fftn", {}, (2, 3, 2)), ("fftn", {"s": (2, 5), "axes": (1, 2)}, (2, 3, 4)), ("ifftn", {"axes": (0,)}, (3, 2)),
    ("ifftn", {"norm": "forward"}, (2, 3)),
]  # fmt: skip
HALF_SPECTRUM = [
    ("rfft", {}, (2, 5)), ("rfft", {}, (2, 6)), ("rfft", {"n": 4, "axis": 0, "norm": "ortho"}, (5, 2)),
    ("rfft", {"n": 7, "norm": "forward"}, (2, 5)), ("rfft2", {}, (3, 4)), ("rfft2", {"s": (2, 5), "norm": "ortho"}, (3, 4)),
    ("rfftn", {}, (2, 3, 3)), ("rfftn", {"axes": (2, 0), "norm": "forward"}, (4, 2, 3)), ("ihfft", {}, (2, 5)),
    ("ihfft", {"n": 4, "norm": "forward"}, (5,)),
]  # fmt: skip
REAL = [
    ("irfft", {}, (2, 4)), ("irfft", {"n": 5}, (2, 3)), ("irfft", {"n": 4, "axis": 0, "norm": "ortho"}, (5, 2)),
    ("irfft", {"n": 9, "norm": "forward"}, (3,)), ("irfft2", {}, (3, 3)), ("irfft2", {"s": (4, 3), "norm": "ortho"}, (3, 4)),
    ("irfftn", {}, (2, 3, 3)), ("irfftn", {"s": (3, 4), "axes": (2, 0)}, (3, 2, 3)), ("hfft", {}, (2, 4)),
    ("hfft", {"n": 5, "norm": "forward"}, (3,)),
]  # fmt: skip


def title(name, options):
    return " ".join([f"fft.{name}", *[f"{k}={v}" for k, v in options.items()]]).replace(", ", ",")


def of(space, name, options):
    return lambda x: getattr(space, name)(x, **options)


def both(f):
    """Both parts as one real number, in the dtype of x."""

    def g(x):
        y = f(x)
        return gg.astype(gg.real(y) + 2 * gg.imag(y), x.dtype)

    return g


def np_both(f):
    def g(x):
        y = f(x)
        return y.real + 2 * y.imag

    return g


def known(f):
    """f of complex x, of a complex multiple of real x."""
    return lambda x: f(x) if x.dtype.kind == "c" else gg.astype(f(x * (1 + 2j)), x.dtype)


def np_known(f):
    return lambda x: f(x) if x.dtype.kind == "c" else f(x * (1 + 2j)).real


ROWS = [
    *[row(title(n, o), known(of(gg.fft, n, o)), np_known(of(np.fft, n, o)), s, complex=True) for n, o, s in COMPLEX],
    *[row(title(n, o) + " real", both(of(gg.fft, n, o)), np_both(of(np.fft, n, o)), s)
      for n, o, s in [*COMPLEX[:2], *HALF_SPECTRUM]],
    *[row(title(n, o), known(of(gg.fft, n, o)), np_known(of(np.fft, n, o)), s, complex=True) for n, o, s in REAL],
    row("fft.fftshift", gg.fft.fftshift, np.fft.fftshift, (3, 4), complex=True, empty=((0, 2),)),
    row("fft.fftshift axes", lambda x: gg.fft.fftshift(x, 1), lambda x: np.fft.fftshift(x, 1), (2, 5)),
    row("fft.ifftshift", gg.fft.ifftshift, np.fft.ifftshift, (3, 5)),
]  # fmt: skip
