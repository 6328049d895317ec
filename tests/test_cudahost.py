"""The host build of CUDA kernels works, and catches what it is there to catch: bugs planted here."""

import platform

import numpy as np
import pytest
from cudahost import SCHEDULES, Allocator, HostModule

CODE = r"""
__device__ __forceinline__ float warp_sum(float v) {
    for (int k = 16; k > 0; k >>= 1) v += __shfl_xor_sync(0xffffffffu, v, k);
    return v;
}
extern "C" __global__ void relu_grad(const float* g, const float* y, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = y[i] > 0.f ? g[i] : 0.f;
}
extern "C" __global__ void scaled(const float* x, float* out, float by, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] * by;
}
extern "C" __global__ void sum_all(const float* x, float* out, int n) {
    __shared__ float part[32];
    float v = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    v = warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? part[threadIdx.x % 32] : 0.f);
    if (threadIdx.x == 0) atomicAdd(out, v);
}
#define TILE 16
extern "C" __global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float s[TILE][TILE + 1], t[TILE][TILE + 1];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * TILE + y, col = blockIdx.x * TILE + x;
    float sum = 0;
    for (int q = 0; q < k; q += TILE) {
        s[y][x] = row < m && q + x < k ? a[row * k + q + x] : 0.f;
        t[y][x] = q + y < k && col < n ? b[(q + y) * n + col] : 0.f;
        __syncthreads();
        for (int i = 0; i < TILE; i++) sum += s[y][i] * t[i][x];
        __syncthreads();
    }
    if (row < m && col < n) c[row * n + col] = sum;
}
extern "C" __global__ void reversed(const float* x, float* out, int n) {
    extern __shared__ float buffer[];
    int t = threadIdx.x;
    if (t < n) buffer[t] = x[t];
    __syncthreads();
    if (t < n) out[t] = buffer[n - 1 - t];
}
extern "C" __global__ void warp_tricks(int* out) {
    int lane = threadIdx.x;
    out[lane] = __shfl_up_sync(0xffffffffu, lane, 1);
    out[32 + lane] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
    out[64 + lane] = __shfl_sync(0xffffffffu, lane, 5, 16);
    out[96 + lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
    out[128 + lane] = __any_sync(0xffffffffu, lane == 7) + 2 * __all_sync(0xffffffffu, lane < 31);
}
struct Pair { double a; int b; };
template <typename T> __global__ void by_value(const Pair __grid_constant__ pair, T* out) {
    out[threadIdx.x] = T(pair.a + pair.b);
}

// ---- planted bugs
extern "C" __global__ void divergent_barrier(float* out) {
    if (threadIdx.x < 40) __syncthreads();
    out[threadIdx.x] = 1.f;
}
extern "C" __global__ void missing_barrier(const float* x, float* out) {
    __shared__ float s[128];
    s[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = s[(threadIdx.x + 64) % 128];
}
extern "C" __global__ void missing_warp_sync(const float* x, float* out) {
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = s[31 - threadIdx.x];
}
extern "C" __global__ void mask_without_its_lanes(float* out) {
    float v = threadIdx.x;
    if (threadIdx.x < 16) v = __shfl_xor_sync(0xffffffffu, v, 1);
    out[threadIdx.x] = v;
}
extern "C" __global__ void lane_outside_its_mask(float* out) {
    out[threadIdx.x] = __shfl_sync(0x0000ffffu, (float)threadIdx.x, 0);
}
extern "C" __global__ void one_too_far(const float* x, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) out[i] = x[i];
}
extern "C" __global__ void one_too_early(float* out, int n) {
    int i = threadIdx.x;
    if (i < n) out[i - 1] = 1.f;
}
extern "C" __global__ void shared_overrun(float* out) {
    __shared__ float s[32];
    s[threadIdx.x] = 1.f;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x / 2];
}
extern "C" __global__ void unset_shared(float* out) {
    extern __shared__ float buffer[];
    out[threadIdx.x] = buffer[threadIdx.x];
}
extern "C" __global__ void divides(int* out, int by) { out[threadIdx.x] = 7 / by; }
extern "C" __global__ void deep(float* out) {
    volatile char room[40000];
    room[threadIdx.x] = 1;
    out[threadIdx.x] = room[threadIdx.x];
}
"""
i32, f32 = np.int32, np.float32


@pytest.fixture(scope="module", params=["native", "ucontext"])
def get(request, build_folder, host_library):
    if request.param == "native" and platform.machine() != "x86_64":
        pytest.skip("the short switch is for x86-64; here both builds would be ucontext")
    options = ("-DCUDAHOST_UCONTEXT",) if request.param == "ucontext" else ()
    return HostModule(CODE, options, ["by_value<float>"], folder=build_folder).get_function


@pytest.fixture
def memory():
    allocator = Allocator()
    yield allocator
    allocator.check()


@pytest.mark.parametrize("order", SCHEDULES)
def test_right_kernels(get, memory, order):
    rng = np.random.default_rng(order)
    random = lambda *shape: memory.put(rng.standard_normal(shape, dtype=f32))
    x, y, out = random(1000), random(1000), memory.empty((1000,), f32)
    get("relu_grad")((4,), (256,), (x, y, out, i32(1000)), order=order)
    np.testing.assert_array_equal(out, np.where(y > 0, x, 0))
    total = memory.put(np.zeros(1, f32))
    get("sum_all")((3,), (128,), (x, total, i32(1000)), order=order)
    assert abs(total[0] - x.astype(float).sum()) < 1e-4
    a, b, c = random(33, 17), random(17, 20), memory.empty((33, 20), f32)
    get("matmul")((2, 3), (16, 16), (a, b, c, i32(33), i32(20), i32(17)), order=order)
    np.testing.assert_allclose(c, a.astype(float) @ b, atol=1e-5)
    out = memory.empty((100,), f32)
    get("reversed")((1,), (128,), (x[:100], out, i32(100)), shared_mem=512, order=order)
    np.testing.assert_array_equal(out, x[:100][::-1])


def test_warp_operations(get, memory):
    out, lanes = memory.empty((5, 32), i32), np.arange(32)
    get("warp_tricks")((1,), (32,), (out,))
    np.testing.assert_array_equal(out[0], np.maximum(lanes - 1, 0))
    np.testing.assert_array_equal(out[1], np.where(lanes % 8 + 3 < 8, lanes + 3, lanes))
    np.testing.assert_array_equal(out[2], lanes // 16 * 16 + 5)
    assert (out[3].view(np.uint32) == sum(1 << k for k in range(0, 32, 3))).all()
    assert (out[4] == 1).all()


def test_structs_and_templates(get, memory):
    pair, out = np.array((1.5, 2), np.dtype([("a", "f8"), ("b", "i4")], align=True)), memory.empty((2,), f32)
    get("by_value<float>")((1,), (2,), (pair, out))
    assert (out == 3.5).all()
    with pytest.raises(TypeError, match="of 16 bytes and kind 's'"):
        get("by_value<float>")((1,), (2,), (np.array((1.5,), [("a", "f8")]), out))


@pytest.mark.parametrize(
    "name, threads, error",
    [
        ("divergent_barrier", 64, "__syncthreads.. not reached by 24 exited threads"),
        ("mask_without_its_lanes", 32, "deadlock: 0 threads in __syncthreads.., 16 in a warp operation, 16 exited"),
        ("lane_outside_its_mask", 32, "deadlock: .* 16 in a warp operation, 16 exited"),
        ("shared_overrun", 64, "out of bounds of a shared or local array"),
        ("deep", 1, "needs more than 32 KB of stack"),
    ],
)
def test_planted_bugs_are_errors(get, memory, name, threads, error):
    with pytest.raises(RuntimeError, match=rf"{name}: block \(0,0,0\): .*{error}"):
        get(name)((2,), (threads,), (memory.empty((128,), f32),))


def test_an_access_outside_an_array_is_an_error(get, memory):
    for name, arguments in (("one_too_far", 2), ("one_too_early", 1)):
        arrays = [memory.put(np.ones(1024, f32)) for _ in range(arguments)]  # a whole page: guarded on both sides
        with pytest.raises(RuntimeError, match=r"an access outside the arrays it was given, in thread \(0,0,0\)"):
            get(name)((5,), (256,), (*arrays, i32(1024)))


def test_a_write_beside_an_array_on_its_own_page_is_seen(get):
    for skip in range(2):
        memory = Allocator()
        memory.at_start = bool(skip)
        out = memory.empty((5,), f32)
        get("one_too_far" if skip else "one_too_early")((1,), (32,), (*[np.ones(32, f32)][:skip], out, i32(5)))
        with pytest.raises(AssertionError, match="wrote beside an array"):
            memory.check()


@pytest.mark.parametrize("name, threads", [("missing_barrier", 128), ("missing_warp_sync", 32)])
def test_a_missing_barrier_shows_between_schedules(get, memory, name, threads):
    x, results = memory.put(np.arange(threads, dtype=f32)), set()
    for order in SCHEDULES:
        out = memory.empty((threads,), f32)
        get(name)((1,), (threads,), (x, out), order=order)
        results.add(out.tobytes())
    assert len(results) > 1


def test_dynamic_shared_memory_starts_as_nan(get, memory):
    out = memory.put(np.zeros(32, f32))
    get("unset_shared")((1,), (32,), (out,), shared_mem=128)
    assert np.isnan(out).all()


def test_integer_division_by_zero(get, memory):
    if platform.machine() != "x86_64":
        pytest.skip("elsewhere it gives a number")
    with pytest.raises(RuntimeError, match="division by zero"):
        get("divides")((1,), (1,), (memory.empty((1,), i32), i32(0)))


def test_arguments_that_would_be_garbage(get, memory):
    x, out = (memory.put(np.ones(8, f32)) for _ in range(2))
    launch = lambda *args: get("scaled")((1,), (8,), args)
    launch(x, out, f32(3), i32(8))
    assert (out == 3).all()
    for args, error in [
        ((x, out, 3.0, i32(8)), "argument 2: float64 for a parameter of 4 bytes and kind 'f'"),
        ((x, out, f32(3), 8), "argument 3: int64 for a parameter of 4 bytes and kind 'i'"),
        ((x, out, i32(3), i32(8)), "argument 2: int32"),
        ((x, out, x, i32(8)), "argument 2: an array for a parameter of 4 bytes that is no pointer"),
        ((x, f32(1), f32(3), i32(8)), "argument 1: .* for a pointer"),
        ((x, out, f32(3)), "3 arguments, the kernel takes 4"),
    ]:
        with pytest.raises(TypeError, match=error):
            launch(*args)


@pytest.mark.parametrize("grid, block", [((0,), (32,)), ((1,), (0,)), ((1,), (1025,)), ((1, 65536), (1,))])
def test_grids_that_cuda_has_not(get, memory, grid, block):
    with pytest.raises(RuntimeError, match="CUDA has no grid"):
        get("divides")(grid, block, (memory.empty((1,), i32), i32(1)))


def test_code_that_does_not_compile_says_where(build_folder, host_library):
    with pytest.raises(RuntimeError, match=r"kernel\.cu:3"):
        HostModule("\n\nint f() { return undeclared; }\n", folder=build_folder)
