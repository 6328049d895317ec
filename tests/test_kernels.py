"""The CUDA sources: found, parsed, arguments checked, launched on the host build, and on a GPU where there is one."""

import re

import numpy as np
import pytest
from cudahost import HostModule

import gpugrad as gg
from gpugrad import files, kernels
from gpugrad.array import Device, to_host
from gpugrad.dtypes import bfloat16, float16, float32
from gpugrad.fused.activation import ACTIVATIONS
from gpugrad.kernels import Parameter
from gpugrad.launch import kernel
from gpugrad.ops.activation import relu, relu_grad, sigmoid_grad
from gpugrad.ops.math import tanh_grad

RELU = ACTIVATIONS.index("relu")


def test_signatures_come_from_the_source():
    pointers = [Parameter("const T*", "g"), Parameter("const T*", "s"), Parameter("T*", "out")]
    expected = (("T", "ACT"), (*pointers, Parameter("long long", "n")))
    assert kernels.signature("elementwise.cu", "activate_grad") == expected
    with pytest.raises(LookupError, match="has no kernel 'relu9'"):
        kernels.signature("elementwise.cu", "relu9")


def test_template_parameters_are_listed_by_name():
    code = "template <typename T, int TEAM>\n__global__ void f(const T* __restrict__ x, wide<T> eps) {}"
    names = kernels.instantiations(code)
    assert len(names) == 8 and "f<float, 32>" in names and "f<__nv_bfloat16, 256>" in names
    assert kernels.signatures(code)["f"].parameters == (Parameter("const T*", "x"), Parameter("wide<T>", "eps"))


def test_headers_are_inlined_once_and_lines_keep_their_place(tmp_path, monkeypatch):
    (tmp_path / "a.cu").write_text('#include "b.cuh"\n#include "c.cuh"\n#include <cuda_fp16.h>\nint a;\n')
    (tmp_path / "b.cuh").write_text('#include "c.cuh"\nint b;\n')
    (tmp_path / "c.cuh").write_text("int c;\n")
    monkeypatch.setitem(files._PLACES, "kernels", (str(tmp_path),))
    text = kernels._inlined("a.cu", set())
    assert re.findall(r"int (\w);", text) == ["c", "b", "a"] and "<cuda_fp16.h>" in text and '#include "' not in text
    place, where = None, {}
    for line in text.splitlines():
        if found := re.match(r'#line (\d+) "(.*)"', line):
            place = [found[2], int(found[1])]
        else:
            where[line] = tuple(place)
            place[1] += 1
    assert where["int a;"] == ("a.cu", 4) and where["int b;"] == ("b.cuh", 2) and where["int c;"] == ("c.cuh", 1)


def test_an_error_names_the_line_of_the_file(tmp_path, monkeypatch, build_folder, host_library):
    (tmp_path / "wrong.cu").write_text('#include "fine.cuh"\n\nint f() { return undeclared; }\n')
    (tmp_path / "fine.cuh").write_text("int g;\n" * 10)
    monkeypatch.setitem(files._PLACES, "kernels", (str(tmp_path),))
    with pytest.raises(RuntimeError, match=r"wrong\.cu:3"):
        HostModule(kernels._inlined("wrong.cu", set()), folder=build_folder)


def test_a_missing_file_is_said(host, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'nothing.cu' is missing \(looked in .*install gpugrad again"):
        files.resource("kernels", "nothing.cu")
    with pytest.raises(FileNotFoundError, match=r"'nothing.cu' is missing"):
        kernels.place(host.put(np.ones(3, np.float32))).get("nothing", "activate", float32, RELU)


# ---------------------------------------------------------------------------------------------- launches
@pytest.fixture
def two():
    """An element-wise kernel of two arrays, and the calls that its array functions took over."""
    calls = []
    return kernel("elementwise", "activate_grad", lambda xp, *xs: calls.append(xs), RELU), calls


def random(host, *shape, dtype=np.float32):
    return host.put(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def test_ops_take_the_kernels(host):
    x = gg.tensor(random(host, 5, 7))
    before = host.launches
    assert x.device == "standin:0"
    np.testing.assert_array_equal(relu(x).numpy(), np.maximum(x.numpy(), 0))
    assert host.launches == before + 1
    host.allocator.check()


def test_any_strides(host, two):
    g, y = random(host, 6, 4), random(host, 1, 8)
    for a, b in [(g.T, y[:, :6]), (g[::2, ::-1], y[:, ::2]), (g, y[0, :4]), (g[:, :1], y)]:
        expected = np.where(to_host(b) > 0, to_host(a), 0)
        before = host.launches
        out = two[0](None, a, b)
        assert host.launches == before + 1
        np.testing.assert_array_equal(to_host(out), expected)
    host.allocator.check()


def test_an_address_that_is_no_multiple_of_the_element(host, two):
    raw = host.put(np.zeros(43, np.uint8))
    start = next(k for k in range(4) if host.address(raw[k:]) % 4 == 1)
    y = raw[start : start + 40].view(np.float32)
    y.host[...] = np.arange(-5, 5)
    assert host.address(y) % 4 == 1
    out = two[0](None, host.put(np.ones(10, np.float32)), y)
    np.testing.assert_array_equal(to_host(out), to_host(y) > 0)


def test_empty_and_0d(host, two):
    before = host.launches
    assert two[0](None, random(host, 0, 3), random(host, 3)).shape == (0, 3)
    assert host.launches == before  # nothing to do, nothing launched
    out = two[0](None, random(host), host.put(np.float32(-1)))
    assert out.shape == () and out == 0


def test_what_the_kernels_are_not_made_for(host, two):
    f, calls = two
    before = host.launches
    f(None, random(host, 3, dtype=np.int32), random(host, 3, dtype=np.int32))
    f(None, random(host, 3), random(host, 3, dtype=np.float64))
    f(None, np.ones(3, np.float32), np.ones(3, np.float32))  # NumPy compiles nothing
    assert len(calls) == 3 and host.launches == before
    assert kernels.usable(random(host, 3)) and not kernels.usable(np.ones(3, np.float32)) and not kernels.usable(3.0)
    with pytest.raises(TypeError, match="there are no kernels for ndarray"):
        kernels.place(np.ones(3))


def test_bytes_in_another_order(host, two):
    for order in ("<f4", ">f4", "<f4", ">f4"):  # one number of a dtype, two dtypes
        x = host.put(np.arange(-3, 3).astype(order))
        np.testing.assert_array_equal(relu(gg.tensor(x)).numpy(), [0, 0, 0, 0, 1, 2])


def test_two_devices_are_an_error(host, two, monkeypatch):
    far = random(host, 4)
    monkeypatch.setattr(host, "index", lambda x: int(x is far))
    monkeypatch.setattr(host, "device_of", lambda x: Device("standin", int(x is far)))
    with pytest.raises(TypeError, match="one array is on standin:0, another on standin:1"):
        two[0](None, random(host, 4), far)
    near = random(host, 4)
    launch = kernels.Place(host, Device("standin")).get("elementwise", "activate", float32, RELU)
    with pytest.raises(TypeError, match="x is to be on device 0, this one is on 1"):
        launch((1,), (32,), far, near, 4)


def test_arguments_are_checked_before_the_launch(host):
    x, out = random(host, 8), host.xp.empty((8,), np.float32)
    launch = kernels.place(x).get("elementwise", "activate", float32, RELU)
    before = host.launches
    for args, error in [
        ((x, out), "takes 3 arguments, given 2"),
        ((x, random(host, 8, dtype=np.float64), 8), "out is to be an array of float32; given Array of float64"),
        ((x[::2], out, 4), "x is to be a contiguous, aligned array"),
        ((np.ones(8, np.float32), out, 8), "x is to be an array of float32; given ndarray"),
        ((None, out, 8), "x is to be an array of float32; given None"),
        ((8, out, 8), "x is to be an array of float32; given 8"),
    ]:
        with pytest.raises(TypeError, match=error):
            launch((1,), (32,), *args)
    with pytest.raises(TypeError, match="takes 2 arrays, given 1"):
        kernel("elementwise", "activate_grad", max, RELU)(None, x)
    with pytest.raises(TypeError, match="is a template of .'T', 'ACT'., given"):
        kernels.place(x).get("elementwise", "activate", float32)
    assert host.launches == before


def test_a_kernel_is_compiled_once(host, monkeypatch):
    x = random(host, 3)
    first = kernels.place(x).get("elementwise", "activate", float32, RELU)
    monkeypatch.setattr(host, "compile", lambda *args: pytest.fail("compiled again"))
    assert kernels.place(x).get("elementwise", "activate", float32, RELU) is first


@pytest.mark.parametrize("n", [1, 1000, 2**31 + 5, 2**40])
def test_grids_are_ones_that_cuda_has(n):
    for dtype in (float32, float16, bfloat16):
        (grid,), (block,) = kernels.by_element(n, dtype)
        assert 1 <= grid <= kernels.MAX_GRID and block == kernels.BLOCK
        for cols in (1, 10, 4096, 50257, 2**32):
            team, (grid,), (block,) = kernels.by_row(n, cols)
            assert 1 <= grid < 2**31 and block % team == 0 and (team == 32) == (cols <= 512)
            (across, chunks), (width, deep) = kernels.by_column(n, cols, dtype)
            assert 1 <= across < 2**31 and 1 <= chunks <= 256 and width * deep == 256
            assert across * width * kernels.pack(dtype) >= cols


# ---------------------------------------------------------------------------------------------- on a GPU
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
