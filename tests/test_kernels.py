"""The CUDA sources: found, parsed, compiled by NVRTC without a GPU, and run where there is one."""

import contextlib
import io
import re

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import files, kernels
from gpugrad.ops.activation import relu, relu_grad, sigmoid_grad
from gpugrad.ops.math import tanh_grad

NAMES = ("relu", "relu_grad", "sigmoid_grad", "tanh_grad")


def test_signatures_come_from_the_source():
    assert kernels.signature("elementwise.cu", "relu") == ("const T*", "T*", "long long")
    assert kernels.signature("elementwise.cu", "relu_grad") == ("const T*", "const T*", "T*", "long long")
    with pytest.raises(LookupError, match="has no kernel 'relu9'"):
        kernels.signature("elementwise.cu", "relu9")


def test_headers_are_inlined_once(tmp_path, monkeypatch):
    (tmp_path / "a.cu").write_text('#include "b.cuh"\n#include "c.cuh"\n#include <cuda_fp16.h>\nint a;\n')
    (tmp_path / "b.cuh").write_text('#include "c.cuh"\nint b;\n')
    (tmp_path / "c.cuh").write_text("int c;\n")
    monkeypatch.setitem(files._PLACES, "kernels", (str(tmp_path),))
    text = kernels.source("a.cu")
    assert re.findall(r"int (\w);", text) == ["c", "b", "a"] and "<cuda_fp16.h>" in text and '"' not in text


def test_a_missing_file_is_said():
    with pytest.raises(FileNotFoundError, match=r"'nothing.cu' is missing \(looked in .*install gpugrad again"):
        files.resource("kernels", "nothing.cu")


class Recorder:
    """A library that compiles: it notes launches and leaves the output as it is."""

    def __init__(self):
        self.launches = []

    def scope(self, device):
        return contextlib.nullcontext()

    def compile(self, code, kernel, device):
        return lambda grid, block, args: self.launches.append((kernel, grid, block, args))


def test_what_is_launched(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(kernels, "library", lambda x: recorder)
    calls = []
    f = kernels.kernel("elementwise", "relu_grad", lambda xp, *xs: calls.append(xs))
    g, y = np.ones((4, 6), np.float32)[:, ::2], np.ones(3, np.float32)
    out = f(np, g, y)
    ((name, grid, block, args),) = recorder.launches
    assert name == "relu_grad<float>" and grid == (1,) and block == (256,)
    assert out.shape == (4, 3) and args[2] is out
    assert all(a.flags.c_contiguous and a.shape == (4, 3) for a in args[:2])
    assert type(args[3]) is np.int64 and args[3] == 12
    assert f(np, g[:0], y).shape == (0, 3) and len(recorder.launches) == 1  # nothing to do, nothing launched
    f(np, np.ones(3, np.int32), np.ones(3, np.int32))
    f(np, np.ones(3, np.float32), np.ones(3, np.float64))
    assert len(calls) == 2 and len(recorder.launches) == 1  # dtypes the kernel is not made for
    with pytest.raises(TypeError, match="takes 2 arrays, given 1"):
        f(np, y)
    f(np, np.ones(3_000_000, np.float16), np.ones(3_000_000, np.float16))
    assert recorder.launches[-1][:2] == ("relu_grad<__half>", (kernels.MAX_GRID,))


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvrtc_compiles_every_instantiation(arch):
    pytest.importorskip("cupy")
    from cupy._core import core
    from cupy.cuda import compiler, nvrtc

    try:
        nvrtc.getVersion()
    except RuntimeError as e:  # CuPy alone does not bring the compiler
        pytest.skip(f"NVRTC is not installed (pip install nvidia-cuda-nvrtc nvidia-cuda-runtime): {e}")
    names = [f"{k}<{t}>" for k in NAMES for t in kernels.CTYPES.values()]
    log = io.StringIO()
    program = compiler._NVRTCProgram(
        kernels.source("elementwise.cu"), "elementwise.cu", name_expressions=names, method="cubin"
    )
    options = (
        *core.assemble_cupy_compiler_options(("-std=c++17",)),
        "-ftz=true",
        f"-arch={arch}",
        "--ptxas-options=-v",
    )
    cubin, mangled = program.compile(options, log_stream=log)
    assert cubin and set(mangled) == set(names)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log.getvalue())
    assert len(spills) >= len(names) and all(s == ("0", "0") for s in spills)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("op", [relu_grad, sigmoid_grad, tanh_grad], ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [0, 1, 1023, 100_003])
def test_on_a_gpu(dtype, op, n):
    rng = np.random.default_rng(0)
    g, y = (gg.tensor(rng.standard_normal(n), dtype=dtype, device="cpu") for _ in range(2))
    expected = op(g.array.astype(np.float64), y.array.astype(np.float64))
    out = op(g.to("cuda"), y.to("cuda"))
    assert out.dtype == g.dtype and out.device == "cuda:0"
    eps = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    np.testing.assert_allclose(out.numpy().astype(np.float64), expected, rtol=eps, atol=eps)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_relu_on_a_gpu(dtype):
    x = gg.tensor([-np.inf, -2.0, -0.0, 0.0, 0.5, 3.0, np.inf, np.nan] * 40, dtype=dtype, device="cpu")
    out = relu(x.to("cuda"))
    assert out.dtype == x.dtype and out.device == "cuda:0"
    np.testing.assert_array_equal(out.numpy().astype(np.float64), np.maximum(x.numpy().astype(np.float64), 0))
