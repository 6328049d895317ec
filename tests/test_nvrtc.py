"""Every instantiation of every kernel compiles for every GPU we support, spills nothing and keeps to its registers."""

import json

import nvrtc
import pytest

from gpugrad import files, kernels


@pytest.fixture(scope="module")
def budget():
    pytest.importorskip("cupy")
    try:
        nvrtc.version()
    except RuntimeError as e:  # CuPy alone does not bring the compiler
        pytest.skip(f"NVRTC is not installed (pip install nvidia-cuda-nvrtc nvidia-cuda-runtime): {e}")
    return json.loads(nvrtc.BUDGET.read_text())


# What changed is compiled by test_what_the_budget_is_not_of; all of it, for all architectures, takes some minutes.
EACH = [
    pytest.param(
        file, arch, marks=[pytest.mark.slow] * (arch != "sm_90" or file not in ("dropout.cu", "elementwise.cu"))
    )
    for file in nvrtc.FILES
    for arch in nvrtc.ARCHS
]


@pytest.mark.parametrize(("file", "arch"), EACH)
def test_every_instantiation(budget, file, arch):
    found = nvrtc.usage(file, arch)
    assert set(found) == set(kernels.instantiations(kernels.source(file)))
    assert not [f"{k} spills {spilled} bytes" for k, (_, spilled) in found.items() if spilled]
    assert set(budget[file]) == set(found), "kernels came or went: python tests/nvrtc.py"
    if nvrtc.version() != budget["nvrtc"]:
        return  # another compiler has other numbers
    at = budget["archs"].index(arch)
    grown = {k: (budget[file][k][at], n) for k, (n, _) in found.items() if n > budget[file][k][at]}
    assert not grown, f"more registers than tests/kernel_budget.json allows (budget, needed): {grown}"


@pytest.mark.parametrize("file", nvrtc.FILES)
def test_what_the_budget_is_not_of(budget, file):
    """On all architectures a kernel that changed since: the rest was compiled by that compiler, from that very text."""
    if (nvrtc.version(), nvrtc.digest(file)) != (budget["nvrtc"], budget["sources"].get(file)):
        for arch in nvrtc.ARCHS:
            test_every_instantiation(budget, file, arch)


def test_another_text_has_another_digest(tmp_path, monkeypatch):
    """Of a header that a kernel includes, too."""
    (tmp_path / "small.cu").write_text('#include "part.cuh"\n')
    monkeypatch.setitem(files._PLACES, "kernels", (str(tmp_path),))
    found = set()
    for text in ("int a;", "int b;"):
        (tmp_path / "part.cuh").write_text(text)
        kernels.source.cache_clear()
        found.add(nvrtc.digest("small.cu"))
    kernels.source.cache_clear()
    assert len(found) == 2


def test_growth_and_spills_are_noticed(budget, tmp_path, monkeypatch):
    """The numbers are NVRTC's own: a kernel that keeps 300 values alive spills."""
    code = """
template <typename T> __global__ void hungry(const T* x, T* out, int n) {
    T v[300];
    for (int k = 0; k < 20; k++) {
        #pragma unroll
        for (int i = 0; i < 300; i++) v[i] = x[i * n + k * threadIdx.x];
        #pragma unroll
        for (int i = 0; i < 300; i++) out[k * n + i] = v[i] * v[299 - i] + v[(i * 7) % 300];
    }
}"""
    (tmp_path / "hungry.cu").write_text(f"#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n{code}\n")
    monkeypatch.setitem(files._PLACES, "kernels", (str(tmp_path),))
    registers, spilled = nvrtc.usage("hungry.cu", "sm_90")["hungry<double>"]
    assert registers > 200 and spilled > 0


def test_errors_name_the_file_and_line(budget, tmp_path, monkeypatch):
    from cupy.cuda.compiler import CompileException

    (tmp_path / "faulty.cu").write_text('#include "long.cuh"\n\n__device__ int f() { return undeclared; }\n')
    (tmp_path / "long.cuh").write_text("\n" * 50)
    monkeypatch.setitem(files._PLACES, "kernels", (str(tmp_path),))
    with pytest.raises(CompileException, match=r"faulty\.cu\(3\)"):
        nvrtc.usage("faulty.cu", "sm_90")
