"""gg.kernel_op on the host build: users' kernels, what is said of wrong ones, and gg.testing.check_kernel."""

import pathlib
import re
import types
import warnings

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.array import Device, to_host
from gpugrad.axes import axes, elementwise, grown
from gpugrad.cupy_library import CupyLibrary
from gpugrad.kernels import Parameter, signatures
from gpugrad.testing import assert_close, check_kernel

README = pathlib.Path(__file__).parent.parent / "README.md"
SOFTSIGN = """
#include "common.cuh"
template <typename T> __global__ void softsign(const T* x, T* out, long long n) {
    long long i = thread_id();
    if (i < n) out[i] = T(wide<T>(x[i]) / (1 + fabs(wide<T>(x[i]))));
}
template <typename T> __global__ void softsign_grad(const T* g, const T* x, T* dx, int n) {
    for (int i = thread_id(); i < n; i += thread_count()) {
        wide<T> d = 1 + fabs(wide<T>(x[i]));
        dx[i] = T(wide<T>(g[i]) / (d * d));
    }
}
"""
TIMES = """
template <typename T> __global__ void times(const T* x, const T* y, T* out, long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] * y[i];
}
template <typename T>
__global__ void times_grad(const T* g, const T* x, const T* y, T* dx, T* dy, long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) dx[i] = g[i] * y[i], dy[i] = g[i] * x[i];
}
"""


def declare_softsign(source=SOFTSIGN, **options):
    given = dict(
        forward="softsign",
        backward="softsign_grad",
        reference=lambda xp, x: x / (1 + xp.abs(x)),
        x=lambda g, x: g / gg.square(1 + gg.abs(x)),
    )
    return gg.kernel_op(source, **{**given, **options})


def declare_times(source=TIMES, **options):
    given = dict(
        forward="times",
        backward="times_grad",
        reference=lambda xp, x, y: x * y,
        dtypes=["float32"],
        x=lambda g, y: g * y,
        y=lambda g, x: g * x,
    )
    return gg.kernel_op(source, **{**given, **options})


softsign, times = declare_softsign(), declare_times()
X = np.linspace(-2, 2, 7).astype(np.float32)


def put(value, **options):
    return gg.tensor(np.asarray(value, np.float32), device="standin", requires_grad=True, **options)


def ran(f, *args, **static):
    """(what f answers, how many kernels ran)."""
    kernels = [f.kernels.forward, *f.kernels.backward]
    before = sum(k.launches for k in kernels)
    return f(*args, **static), sum(k.launches for k in kernels) - before


# ---------------------------------------------------------------------------------------------- running
def test_forward_backward_and_second_order(host):
    x, expected = put(X), gg.tensor(X, requires_grad=True, device="cpu")
    before = host.launches
    (g,) = gg.grad(softsign(x).sum(), x)
    assert host.launches == before + 2 and g.device == "standin:0"
    assert_close(g, gg.grad(softsign(expected).sum(), expected)[0])
    orders = []
    for t in (x, expected):
        y, found = gg.sum(softsign(t) ** 2), []
        for _ in range(3):
            (y,) = gg.grad(gg.sum(y), t, create_graph=True)
            found.append(y)
        orders.append(found)
    for a, b in zip(*orders):
        assert_close(a, b, rtol=1e-5, atol=1e-6)
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = softsign(x)
    assert_close(tape.gradient(y, x), g)


def test_it_is_an_op_like_others(host):
    assert softsign.__name__ == "softsign" and softsign.__module__ == __name__
    raw = host.put(X)
    assert_close(softsign(raw), X / (1 + np.abs(X)))  # raw in, raw out
    assert type(softsign(X)) is np.ndarray
    x = put(X)
    saved = softsign(x).node.saved
    assert saved[0] is x.array and saved[1] is None  # the output is not asked for


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_every_dtype(host, dtype):
    before = host.launches
    assert check_kernel(softsign, X, device="standin", dtypes=[dtype]) == [dtype]
    assert host.launches > before + 10


def test_the_readme_shows_a_kernel_that_is_right(host):
    block = next(b for b in README.read_text("utf-8").split("```python\n") if "gg.kernel_op(" in b).partition("```")[0]
    names = {"gg": gg, "np": np, "__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    assert check_kernel(names["softsign"], X, device="standin", dtypes=["float32"])


def test_two_inputs_broadcast_in_one_backward_kernel(host):
    x, y = np.linspace(1, 2, 3), np.linspace(-1, 1, 4)
    a, b = put(x[:, None]), put(y)
    z, launches = ran(times, a, b)
    assert launches == 1 and z.shape == (3, 4)
    before = times.kernels.backward[0].launches
    ga, gb = gg.grad(z.sum(), (a, b))
    assert times.kernels.backward[0].launches == before + 1  # for both
    assert_close(ga, np.full((3, 1), y.sum(), np.float32), atol=1e-6)
    assert_close(gb, np.full(4, x.sum(), np.float32))
    (twice,) = gg.grad(gg.grad(times(a, b).sum(), a, create_graph=True)[0].sum(), b)
    assert_close(twice, np.full(4, 3, np.float32))
    check_kernel(times, x[:, None], y, device="standin")
    check_kernel(times, x, x, device="standin")


def test_strides_numbers_and_nothing(host):
    x = put(np.arange(12.0).reshape(3, 4))
    for view in (x.T, x[::2, ::-1], x[:, :1], x[0, 0]):
        out, launches = ran(times, view, 2.0)
        assert launches == 1
        assert_close(out, view.numpy() * 2)
    out, launches = ran(times, x[:0], x[:0])
    assert out.shape == (0, 4) and launches == 0
    assert gg.grad(out.sum(), x)[0].tolist() == np.zeros((3, 4)).tolist()
    host.check()


def test_what_the_kernels_are_not_made_for_goes_to_the_reference(host):
    x = put(X)
    for args in [(x.astype("float64"), 2.0), (x.astype("int32"), 2), (x, x.astype("float64")), (x, 2j)]:
        out, launches = ran(times, *args)
        assert launches == 0
        assert_close(out, args[0].numpy() * to_host(getattr(args[1], "array", args[1])))
    out, launches = ran(softsign, X)
    assert launches == 0 and type(out) is np.ndarray


def test_two_devices_are_an_error(host):
    with pytest.raises(TypeError, match="one operand is on standin:0 and the other on cpu"):
        times(put(X), gg.tensor(X, device="cpu"))
    with pytest.raises(TypeError, match="one array is on standin:0, another on cpu"):
        times(host.put(X), X)


# ---------------------------------------------------------------------------------------------- numbers
LEAKY = """
template <typename T> __global__ void leaky(const T* x, float slope, bool flip, int times, T* out, long long n) {
    long long i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = (x[i] > T(0) ? x[i] : x[i] * T(slope)) * T(times) * T(flip ? -1 : 1);
}
template <typename T> __global__ void leaky_grad(const T* g, const T* out, const wide<T> slope, bool flip, int times,
                                                 T* dx, long long n) {
    long long i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) dx[i] = (T(flip ? -1 : 1) * out[i] > T(0) ? g[i] : g[i] * T(slope)) * T(times) * T(flip ? -1 : 1);
}
"""


def leaky_rule(g, out, slope, flip, times):
    sign = -1 if flip else 1
    return gg.where(out * sign > 0, g, g * slope) * times * sign


leaky = gg.kernel_op(
    '#include "common.cuh"\n' + LEAKY,
    forward="leaky",
    backward="leaky_grad",
    reference=lambda xp, x, *, slope=0.25, flip=False, times=1: (
        xp.where(x > 0, x, x * slope) * times * (-1 if flip else 1)
    ),
    dtypes=["float32"],
    x=leaky_rule,
)


def test_numbers_reach_the_kernel_as_what_they_are(host):
    x = put(X)
    for static in ({}, {"slope": 0.5}, {"slope": 2}, {"flip": True, "times": 3}, {"slope": np.float64(0.1)}):
        out, launches = ran(leaky, x, **static)
        assert launches == 1
        assert_close(out, leaky(X, **static))
        (g,) = gg.grad(out.sum(), x)
        y = gg.tensor(X, device="cpu", requires_grad=True)
        assert_close(g, gg.grad(leaky(y, **static).sum(), y)[0])
    check_kernel(leaky, X + 0.1, device="standin", slope=0.3, times=2, flip=True)


@pytest.mark.parametrize(
    "static, error",
    [
        ({"slope": "1"}, "parameter `float slope`: a number is needed, given '1' of type str"),
        ({"slope": None}, "`float slope`: a number is needed, given None"),
        ({"slope": np.ones(1)}, "`float slope`: a number is needed"),
        ({"times": 1.5}, "`int times`: a whole number is needed, given 1.5 of type float"),
        (
            {"times": 2**31},
            "`int times`: 2147483648 does not fit, from -2147483648 to 2147483647; declare it `long long`",
        ),
        ({"slop": 1}, "leaky has no argument 'slop'; it takes ..slope', 'flip', 'times'"),
    ],
)
def test_numbers_that_are_none(host, static, error):
    before = host.launches
    with pytest.raises(TypeError, match=error):
        leaky(put(X), **static)
    assert host.launches == before


# ---------------------------------------------------------------------------------------------- shapes and grids
SCALED = """
#include "common.cuh"
template <typename T, int TEAM>
__global__ void rms(const T* x, const T* w, float eps, T* out, long long rows, int cols) {
    long long row = (blockIdx.x * (long long)blockDim.x + threadIdx.x) / TEAM;
    if (row >= rows) return;
    wide<T> total = 0;
    for (int i = threadIdx.x % TEAM; i < cols; i += TEAM) {
        wide<T> v = x[row * cols + i];
        total += v * v;
    }
    wide<T> scale = 1 / sqrt(reduce<TEAM>(total, Add()) / cols + eps);
    for (int i = threadIdx.x % TEAM; i < cols; i += TEAM)
        out[row * cols + i] = T(wide<T>(x[row * cols + i]) * scale * wide<T>(w[i]));
}
// blocks of columns: each thread goes down its own
template <typename T>
__global__ void rms_dw(const T* g, const T* x, float eps, T* dw, long long rows, int cols) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= cols) return;
    wide<T> sum = 0;
    for (long long r = 0; r < rows; r++) {
        wide<T> total = 0;
        for (int j = 0; j < cols; j++) total += wide<T>(x[r * cols + j]) * wide<T>(x[r * cols + j]);
        sum += wide<T>(g[r * cols + i]) * wide<T>(x[r * cols + i]) / sqrt(total / cols + eps);
    }
    dw[i] = T(sum);
}
"""


def rms_dx(g, x, w, eps):
    scale = gg.rsqrt(gg.mean(x * x, axis=-1, keepdims=True) + eps)
    return scale * (g * w - x * scale * scale * gg.mean(g * w * x, axis=-1, keepdims=True))


rms = gg.kernel_op(
    SCALED,
    forward="rms",
    backward="rms_dw",  # the cotangent of x goes by its rule
    reference=lambda xp, x, w, *, eps=1e-5: x / xp.sqrt((x * x).mean(-1, keepdims=True) + eps) * w,
    shapes="... cols, cols -> ... cols",
    grid={"rms": "rows", "rms_dw": "elements"},
    dtypes=["float32"],
    x=rms_dx,
    w=lambda g, x, eps: g * x * gg.rsqrt(gg.mean(x * x, axis=-1, keepdims=True) + eps),
)


def test_rows(host):
    x = np.random.default_rng(0).standard_normal((2, 3, 5))
    check_kernel(rms, x, x[0, 0], device="standin", eps=0.1)
    check_kernel(rms, x[0, 0], x[0, 0], device="standin")
    wide = np.random.default_rng(0).standard_normal((2, 700))
    check_kernel(rms, wide, wide[0], device="standin")  # a block a row
    out, launches = ran(rms, put(np.ones((0, 5))), put(np.ones(5)))
    assert out.shape == (0, 5) and launches == 0
    for shape in ((4,), (6,), (1, 5), ()):
        with pytest.raises(ValueError, match="rms: w has shape|rms: 'cols'|rms: .*'cols' is"):
            rms(put(x), put(np.ones(shape)))


MATMUL = """
extern "C" __global__ void product(const float *a, const float * __restrict__ b, float *out, int m, int k, int n) {
    int i = blockIdx.y * blockDim.y + threadIdx.y, j = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= m || j >= n) return;
    float sum = 0;
    for (int l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
    out[i * n + j] = sum;
}
__global__ void __launch_bounds__(256) product_da(float const* g, const float* b, float* da, int m, int k, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= m * k) return;
    float sum = 0;
    for (int j = 0; j < n; j++) sum += g[t / k * n + j] * b[t % k * n + j];
    da[t] = sum;
}
extern "C" __global__ __launch_bounds__(256, 2) void product_db(const float* g, const float* a, float* db, int m, int k,
                                                               /* columns, */ int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= k * n) return;
    float sum = 0;  // __global__ void nothing(int x)
    for (int i = 0; i < m; i++) sum += a[i * k + t / n] * g[i * n + t % n];
    db[t] = sum;
}
"""


def declare_product(**options):
    given = dict(
        forward="product",
        backward=["product_da", "product_db"],
        reference=lambda xp, a, b: xp.matmul(a, b),
        shapes="m k, k n -> m n",
        grid={"product": lambda m, n: {"blocks": (-(-n // 16), -(-m // 8)), "threads": (16, 8)}},
        a=lambda g, b: g @ b.T,
        b=lambda g, a: a.T @ g,
    )
    return gg.kernel_op(MATMUL, **{**given, **options})


def test_kernels_without_a_template_and_a_grid_of_ones_own(host):
    product = declare_product()
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 5))
    assert check_kernel(product, a, b, device="standin") == ["any"]
    with pytest.raises(ValueError, match="product: b has shape .3, 4., and its axes are 'k n': 'k' is 3 here and 4"):
        product(put(a), put(a))
    for answer, error in [
        ((1, 32), "its grid is to answer .'blocks': ..., 'threads': ...., not .1, 32."),
        ({"blocks": 1}, "its grid is to answer"),
        ({"blocks": 1, "threads": 2048}, "CUDA has no threads .2048,."),
        ({"blocks": (1, 70000), "threads": 32}, "CUDA has no blocks .1, 70000."),
        ({"blocks": 0, "threads": 32}, "CUDA has no blocks .0,."),
    ]:
        before = host.launches
        with pytest.raises((TypeError, ValueError), match=error):
            declare_product(grid=lambda m: answer, backward=())(put(a), put(b))  # noqa: B023
        assert host.launches == before


def test_an_axis_of_the_output_is_an_argument_and_indices_have_their_own_dtype(host):
    """one-hot, scaled; the backward is told the size of its input, which it does not read."""
    one_hot = gg.kernel_op(
        """
        template <typename T, typename I>
        __global__ void hot(const T* x, const I* i, T* out, int depth, long long rows) {
            for (long long t = threadIdx.x; t < depth; t += blockDim.x)
                out[blockIdx.x * depth + t] = T(t == i[blockIdx.x] ? x[blockIdx.x] : T(0));
        }
        template <typename T, typename I>
        __global__ void hot_dx(const T* g, const I* i, T* dx, int depth, long long rows) {
            if (threadIdx.x == 0) dx[blockIdx.x] = g[blockIdx.x * depth + i[blockIdx.x]];
        }
        """,
        forward="hot",
        backward="hot_dx",
        reference=lambda xp, x, i, *, depth: xp.where(xp.arange(depth) == i[..., None], x[..., None], x.dtype.type(0)),
        shapes="..., ... -> ... depth",
        grid="rows",
        dtypes=["float32"],
        x=lambda g, i, depth: gg.sum(gg.where(gg.arange(depth, device="cpu") == i[..., None], g, 0.0), axis=-1),
        i=None,
    )
    x, i = np.linspace(1, 2, 6).reshape(2, 3), np.arange(6).reshape(2, 3) % 4
    for ints in (np.int32, np.int64):
        check_kernel(one_hot, x, i.astype(ints), device="standin", depth=5)
    with pytest.raises(TypeError, match="parameter `int depth`|cannot be interpreted as an integer"):
        one_hot(put(x), host.put(i), depth=2.5)


def test_a_sum_does_not_keep_what_it_summed(host):
    total = gg.kernel_op(
        """
        template <typename T> __global__ void total(const T* x, T* out, long long rows) {
            if (threadIdx.x || blockIdx.x) return;
            T sum = 0;
            for (long long i = 0; i < rows; i++) sum += x[i];
            *out = sum;
        }
        template <typename T> __global__ void total_grad(const T* g, T* dx, long long rows) {
            long long i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < rows) dx[i] = *g;
        }
        """,
        forward="total",
        backward="total_grad",
        reference=lambda xp, x: x.sum(),
        shapes="... ->",
        dtypes=["float64"],
        x=lambda g, shape: gg.broadcast_to(g, shape),
    )
    check_kernel(total, np.ones((2, 3)), device="standin")
    x = gg.tensor(np.ones(300), device="standin")
    with gg.GradientTape() as tape:
        tape.watch(x)
        y = total(x)
    assert tape.nbytes() == 0
    assert float(total(x[:0])) == 0  # the reference answers: there is something to write and nothing to read
    assert_close(tape.gradient(y, x), np.ones(300))


# ---------------------------------------------------------------------------------------------- rules that are missing
def test_a_kernel_without_a_rule(host):
    f = gg.kernel_op(
        SOFTSIGN, forward="softsign", backward="softsign_grad", reference=lambda xp, x: x / (1 + xp.abs(x))
    )
    x = put(X)
    assert_close(gg.grad(f(x).sum(), x)[0], 1 / (1 + np.abs(X)) ** 2)
    with pytest.raises(
        LookupError, match=r"softsign. It has no rule for .* 'x' beside the kernel .*declare one, x=lam"
    ):
        gg.grad(f(x).sum(), x, create_graph=True)
    y = gg.tensor(X, device="cpu", requires_grad=True)
    with pytest.raises(LookupError, match="which runs on a GPU only"):
        gg.grad(f(y).sum(), y)
    with pytest.raises(TypeError, match="it writes dy, by these names"):
        declare_times(x=None)


def test_without_a_backward_kernel_the_rules_run(host):
    f = gg.kernel_op(
        TIMES, forward="times", reference=lambda xp, x, y: x * y, x=lambda g, y: g * y, y=None, name="scaled"
    )
    x, y = put(X), put(X)
    assert f.__name__ == "scaled"
    assert gg.grad(f(x, y).sum(), (x, y), allow_unused=True)[1] is None
    check_kernel(f, X, X, device="standin", dtypes=["float32"])
    bare = gg.kernel_op(TIMES, forward="times", reference=lambda xp, x, y: x * y)
    with pytest.raises(LookupError, match="no entry for: times"):
        gg.grad(bare(x, y).sum(), x)


# ---------------------------------------------------------------------------------------------- wrong declarations
def one(parameters, body="out[0] = x[0];", template="template <typename T>"):
    return f"{template} __global__ void f({parameters}) {{ {body} }}"


GOOD = "const T* x, T* out, long long n"


@pytest.mark.parametrize(
    "source, options, error, text",
    [
        ("kernels/f.cu", {}, ValueError, "has no `__global__` kernel; the path of a file is given as pathlib.Path"),
        (one(GOOD), {"forward": "g"}, LookupError, "the source has no kernel 'g'; it has f. A kernel is written"),
        (one("T* out, long long n"), {}, TypeError, "is a template on T, and no `const T.` among its arrays"),
        (one("const float* z, const T* x, T* out"), {}, TypeError, "`const float. z`: there is no array 'z' to read"),
        (one("const T* x, T* y"), {}, TypeError, "`T. y`: it writes out, by these names; what it reads is `const`"),
        (one("T* x, T* out"), {}, TypeError, "`T. x`: it writes out"),
        (one("const T* x, long long n"), {}, TypeError, "kernel f writes nothing"),
        (
            one("const T* x, T* out, int m"),
            {},
            TypeError,
            "`int m`: there is no number 'm'; there are the sizes n, and",
        ),
        (one("const T* x, T* out, size_t n"), {}, TypeError, "`size_t n`: a number is int, unsigned"),
        (one("const T* x, T* out, float n"), {}, TypeError, "`float n`: a size is int, unsigned"),
        (one("const short* x, T* out"), {}, TypeError, "`const short. x`: pointers are to int"),
        (one("const T** x, T* out"), {}, ValueError, "a type, one . for an array, and a name"),
        (one("const T x[], T* out"), {}, ValueError, "a type, one . for an array, and a name"),
        (one(GOOD, template="template <typename U>"), {}, TypeError, "is a template on 'U'; those may be T"),
        (one(GOOD, template="template <typename T, int TEAM>"), {}, TypeError, "TEAM.*declare grid='rows'"),
        (one(GOOD), {"grid": "rows"}, ValueError, "grid='rows' needs shapes with '...'"),
        (one(GOOD), {"grid": (1, 32)}, ValueError, "grid is 'elements', 'rows' or a function of sizes, not .1, 32."),
        (one(GOOD), {"grid": {"h": "rows"}}, TypeError, "grid is by kernel, and 'h' is none of"),
        (one(GOOD), {"grid": lambda k: k}, TypeError, "no input has the size 'k'"),
        (one(GOOD), {"dtypes": ["int32"]}, ValueError, "dtypes are of float32, float64, float16, bfloat16"),
        (one(GOOD), {"dtypes": []}, ValueError, "dtypes are of"),
        (one("const float* x, float* out", template=""), {"dtypes": ["float32"]}, TypeError, "leave out dtypes="),
        (one(GOOD), {"shapes": "... cols"}, ValueError, "the axes of x, by commas, then ->"),
        (one(GOOD), {"shapes": "a, b -> a"}, ValueError, "the axes of x, by commas, then ->"),
        (one(GOOD), {"shapes": "a ... -> a"}, ValueError, "'...' is no axis"),
        (one(GOOD), {"shapes": "... 2a -> a"}, ValueError, "'2a' is no axis"),
        (one(GOOD), {"shapes": "... rows -> rows"}, ValueError, "'rows' is the number of elements of '...'"),
        (one(GOOD), {"shapes": "a -> a"}, TypeError, "there is no number 'n'; there are the sizes a, and"),
        (one("const T* x, T* out"), {"shapes": "a -> b"}, TypeError, "no input has the size 'b'"),
        (one(GOOD), {"reference": np.abs}, TypeError, "the reference is a function f.xp, .arrays"),
        (one(GOOD), {"reference": lambda xp, x, y: x}, TypeError, "does not read 'y': it is to have a parameter"),
        (one(GOOD), {"reference": lambda xp, x, *, s=1: x}, TypeError, "takes no 's', an argument of the reference"),
        (one(GOOD), {"reference": lambda xp, x, *, n=1: x}, TypeError, "'n' is a size of its arrays"),
        (one(GOOD), {"reference": lambda xp, g: g}, TypeError, "call the argument 'g' otherwise"),
        (one(GOOD), {"reference": lambda xp, grid: grid}, TypeError, "call the argument 'grid' otherwise"),
        (one("const T* x, T* out, T s"), {"reference": lambda xp, x, *, s=1: x}, TypeError, "write float, or wide<T>"),
        (one(GOOD), {"y": lambda g: g}, TypeError, "rule for 'y', which is no array argument"),
        (one(GOOD), {"x": 3}, TypeError, "the rule of 'x' is a function"),
        (one(GOOD), {"x": lambda g, z: g}, TypeError, "asks for 'z'"),
        (one(GOOD), {"backward": "f"}, TypeError, "`T. out`: it writes dx, by these names"),
        (SOFTSIGN, {"forward": "softsign", "backward": ["softsign_grad"] * 2}, TypeError, "two kernels write 'dx'"),
        (one(GOOD) + '\n#include "mine.cuh"\n', {}, FileNotFoundError, "mine.cuh. is not among gpugrad's headers"),
    ],
)
def test_wrong_declarations(source, options, error, text):
    given = {"forward": "f", "reference": lambda xp, x: x, **options}
    with pytest.raises(error, match=text):
        gg.kernel_op(source, **given)


def test_a_size_that_nothing_tells():
    """Two cotangents from one kernel: the shapes of the inputs are not known unless one is read."""
    source = one("const T* x, const T* y, T* out") + "\n" + one("const T* g, T* dx, T* dy").replace("f(", "b(")
    with pytest.raises(TypeError, match="kernel b: nothing tells it the size 'a'; let it read an array that has it"):
        gg.kernel_op(source, forward="f", backward="b", reference=lambda xp, x, y: x, shapes="a, a ->")
    with pytest.raises(TypeError, match="no rule asks for 'shape'; ask for the input"):
        declare_times(x=lambda g, shape: g)


# ---------------------------------------------------------------------------------------------- sources
def test_a_file_with_headers_of_its_own(host, tmp_path):
    (tmp_path / "more.cuh").write_text(
        "template <typename T> __device__ T plus(T v) { return 1 + (v < 0 ? -v : v); }\n"
    )
    text = SOFTSIGN.replace("1 + fabs(wide<T>(x[i]))", "plus(wide<T>(x[i]))").replace(
        "common.cuh", 'common.cuh"\n#include "more.cuh'
    )
    path = tmp_path / 'a "file".cu'
    path.write_text(text)
    f = declare_softsign(path)
    assert_close(f(put(X)), X / (1 + np.abs(X)))
    with pytest.raises(FileNotFoundError, match="nowhere.cu"):
        declare_softsign(tmp_path / "nowhere.cu")
    path.write_text(text.replace("more.cuh", "other.cuh"))
    with pytest.raises(FileNotFoundError, match=r"other.cuh. is not beside .*\.cu nor among gpugrad's headers"):
        declare_softsign(path)


def test_errors_of_the_compiler_name_file_and_line(host, tmp_path):
    wrong = SOFTSIGN.replace("out[i] =", "outt[i] =")
    path = tmp_path / "wrong.cu"
    path.write_text(wrong)
    with pytest.raises(RuntimeError, match=r"wrong\.cu:5:"):
        declare_softsign(path)(put(X))
    with pytest.raises(RuntimeError, match=r"kernel_op softsign:5:"):
        declare_softsign(wrong)(put(X))


def test_nvrtc_compiles_users_sources():
    compiler = pytest.importorskip("cupy.cuda.compiler")
    nvrtc = pytest.importorskip("nvrtc")
    try:
        nvrtc.version()
    except RuntimeError as e:
        pytest.skip(f"NVRTC is not installed: {e}")
    from cupy._core import core

    options = (*core.assemble_cupy_compiler_options(("-std=c++17",)), "-arch=sm_80")
    for f, names in [
        (softsign, ("softsign<float>", "softsign_grad<__half>", "softsign<__nv_bfloat16>")),
        (declare_product(), ("product", "product_da", "product_db")),
        (leaky, ("leaky<float>", "leaky_grad<float>")),
        (rms, ("rms<__half, 32>", "rms<double, 256>", "rms_dw<float>")),
    ]:
        program = compiler._NVRTCProgram(f.kernels.forward.code, "k.cu", name_expressions=names, method="cubin")
        _, mangled = program.compile(options)
        assert set(mangled) == set(names)
    wrong = declare_softsign(SOFTSIGN.replace("out[i] =", "outt[i] =")).kernels.forward.code
    module = lambda code, options, name_expressions: types.SimpleNamespace(
        get_function=lambda name: compiler._NVRTCProgram(code, "k.cu", name_expressions=[name]).compile(given)
    )
    given = options
    with pytest.raises(
        RuntimeError, match=r'does not compile:\nkernel_op softsign\(5\): error: identifier "outt"'
    ) as e:
        cupy_library(module).compile(wrong, "softsign<float>", Device("cuda"))
    assert "__nv_name_map" not in str(e.value)


def test_parameters_are_read_as_people_write_them():
    code = """
    // template <typename T> __global__ void no(int a)
    extern "C" __global__ void __launch_bounds__(128, 2)
    f(const float *__restrict x, float const * y,float*out , const int n) {}
    template<class T,int TEAM>
    __global__ void g(T * out /* , int m */, wide<T> eps) {}
    __global__ void h() {}
    """
    found = signatures(code)
    assert list(found) == ["f", "g", "h"] and found["h"].parameters == ()
    types_ = ["const float*", "const float*", "float*", "const int"]
    assert found["f"].parameters == tuple(map(Parameter, types_, ["x", "y", "out", "n"]))
    assert found["g"] == (("T", "TEAM"), (Parameter("T*", "out"), Parameter("wide<T>", "eps")))


# ---------------------------------------------------------------------------------------------- axes
def test_sizes_follow_from_axes():
    its = axes("... m k, k n -> ... m n", ["a", "b"])
    found = its.sizes([("a", its.inputs["a"], (5, 2, 3, 4)), ("b", its.inputs["b"], (4, 6))])
    assert found == {"...": (5, 2), "rows": 10, "m": 3, "k": 4, "n": 6}
    with pytest.raises(ValueError, match="a has shape .3,., and is to have the axes '... m k'"):
        its.sizes([("a", its.inputs["a"], (3,))])
    with pytest.raises(ValueError, match="b has shape .3, 4, 5., and is to have the axes 'k n'"):
        its.sizes([("b", its.inputs["b"], (3, 4, 5))])
    assert elementwise(["a", "b"]).sizes([("a", ("...",), (3, 1)), ("b", ("...",), (4,))]) == {"...": (3, 4), "n": 12}


def test_arrays_grow_by_their_own_values():
    x = np.arange(6).reshape(2, 3)
    assert grown(x, ("...", "c"), "c", 5)[0].tolist() == [0, 1, 2, 0, 1]
    assert grown(x, ("...", "c"), "...", 3)[:, 0].tolist() == [0, 3, 0]
    assert grown(x, ("...", "c"), "...", 0).shape == (0, 3)
    assert grown(x, ("a", "c"), "d", 5) is x and grown(x[0], ("...", "c"), "...", 5).shape == (3,)


# ---------------------------------------------------------------------------------------------- check_kernel
@pytest.mark.parametrize(
    "right, wrong, text",
    [
        ("(1 + fabs(wide<T>(x[i]))));", "(2 + fabs(wide<T>(x[i]))));", "softsign, as given, float32: out"),
        ("/ (d * d)", "/ d", "as given, float32: the cotangent of x"),
        ("if (i < n) out", "if (i <= n) out", "an access outside the arrays it was given"),
        ("if (i < n) out", "if (i < n / 2 * 2) out", "softsign, .* float32: out"),
        ("i < n; i +=", "i < n - n % 4; i +=", "softsign, .* the cotangent of x"),
        ("long long i = thread_id();", "long long i = threadIdx.x;", "softsign, 257 elements, float32: out"),
    ],
)
def test_planted_bugs_are_found(host, right, wrong, text):
    assert right in SOFTSIGN
    f = declare_softsign(SOFTSIGN.replace(right, wrong), dtypes=["float32"])
    with pytest.raises((AssertionError, RuntimeError)) as e:
        check_kernel(f, np.linspace(-2, 2, 8), device="standin")
    said = "\n".join([str(e.value), *getattr(e.value, "__notes__", [])])
    assert "check_kernel: softsign" in said
    assert re.search(text, said), said


def test_wrong_rules_and_wrong_dtypes_are_found(host):
    wrong = declare_softsign(x=lambda g, x: g / (1 + gg.abs(x)))
    with pytest.raises(AssertionError, match="gradient of argument 0 of shape .7,. is wrong"):
        check_kernel(wrong, X, device="standin")
    twice = declare_softsign(x=lambda g, x: g / gg.stop_gradient(gg.square(1 + gg.abs(x))))
    with pytest.raises(AssertionError, match="differentiated again"):
        check_kernel(twice, X, device="standin")
    double = SOFTSIGN.replace("T* out", "double* out").replace("out[i] = T(", "out[i] = (")
    with pytest.raises(AssertionError, match="out of the kernel is of float64, of the reference float32"):
        check_kernel(declare_softsign(double, backward=(), dtypes=["float32"]), X, device="standin")
    half = SOFTSIGN.replace("softsign_grad(const T* g", "softsign_grad(const float* g")
    with pytest.raises(TypeError, match="kernel softsign_grad was not made for x of float64, g of float64"):
        check_kernel(declare_softsign(half, dtypes=["float64"]), X, device="standin")
    with pytest.raises(TypeError, match="check_kernel checks what gg.kernel_op declares.*see check_grads"):
        check_kernel(gg.exp, X)
    with pytest.raises(TypeError, match="times takes the arrays .'x', 'y'.; given 1"):
        check_kernel(times, X)


def test_an_op_without_gradients_is_checked_too(host):
    """The sign, as an int."""
    source = """
    template <typename T> __global__ void way(const T* x, int* out, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) out[i] = (x[i] > T(0)) - (x[i] < T(0));
    }"""
    reference = lambda xp, x: xp.sign(x).astype(np.int32)
    way = gg.kernel_op(source, forward="way", reference=reference, dtypes=["float32"], x=None)
    assert check_kernel(way, X, device="standin") == ["float32"]
    assert way(put(X)).dtype == np.int32
    wrong = source.replace("T(0)) -", "T(1)) -")
    with pytest.raises(AssertionError, match="way, as given, float32: out"):
        check_kernel(
            gg.kernel_op(wrong, forward="way", reference=reference, dtypes=["float32"], x=None), X, device="standin"
        )


def test_without_a_gpu_it_says_that_no_kernel_ran():
    with pytest.warns(UserWarning, match="kernels of softsign were not run.*device='cpu' says that this is meant"):
        assert check_kernel(softsign, X) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_kernel(softsign, X, device="cpu") == []
    if not gg.device_count():
        with pytest.raises(RuntimeError, match="there is no device 'cuda' here"):
            check_kernel(softsign, X, device="cuda")


# ---------------------------------------------------------------------------------------------- CuPy's errors
def cupy_library(module):
    runtime = types.SimpleNamespace(getDevice=lambda: 0)
    return CupyLibrary(
        types.SimpleNamespace(
            ndarray=type("ndarray", (), {}), RawModule=module, cuda=types.SimpleNamespace(runtime=runtime)
        )
    )


class CompileException(Exception):
    """As CuPy's."""


LOG = """k.cu(1): warning #177-D: variable "a" was declared but never referenced

kernel.cu(3): error: identifier "b" is undefined
  out[0] = b;
           ^

__nv_name_map(2): error: identifier "f" is undefined

2 errors detected in the compilation of "k.cu".
"""


@pytest.mark.parametrize(
    "raised, text",
    [
        (
            CompileException(LOG),
            'kernel f<float> does not compile:\nkernel.cu(3): error: identifier "b" is undefined\n',
        ),
        (
            RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: libnvrtc.so.13: cannot open shared object file"),
            "the compiler NVRTC is not installed (CuPy failed to load libnvrtc.so.13",
        ),
        (
            RuntimeError("Failed to find CUDA headers. Please install CUDA toolkit headers"),
            "CUDA's headers are not installed (Failed to find CUDA headers. Please install CUDA toolkit headers).",
        ),
        (
            CompileException(
                'k.cu(1): catastrophic error: cannot open source file "cuda_fp16.h"\n  #include <cuda_fp16.h>'
            ),
            'a header is missing (k.cu(1): catastrophic error: cannot open source file "cuda_fp16.h"). Install it',
        ),
        (
            RuntimeError(
                "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the provided PTX was compiled with an unsupported toolchain."
            ),
            "the NVIDIA driver is older than the installed CUDA (CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        ),
        (
            RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"),
            "Update the driver, or install CuPy for the CUDA that it supports",
        ),
        (
            CompileException("nvrtc: error: invalid value for --gpu-architecture (-arch)\n"),
            "does not compile for this GPU (nvrtc: error: invalid value for --gpu-architecture (-arch))",
        ),
    ],
)
def test_what_keeps_a_kernel_from_running_is_said(raised, text):
    def module(code, options, name_expressions):
        def get_function(name):
            raise raised

        return types.SimpleNamespace(get_function=get_function)

    with pytest.raises(RuntimeError) as e:
        cupy_library(module).compile("", "f<float>", Device("cuda"))
    assert text in str(e.value)
    assert "warning" not in str(e.value) and "__nv_name_map" not in str(e.value)


def test_other_errors_stay_what_they_are():
    class OutOfMemoryError(MemoryError):
        pass

    def module(code, options, name_expressions):
        def get_function(name):
            raise OutOfMemoryError("full")

        return types.SimpleNamespace(get_function=get_function)

    with pytest.raises(OutOfMemoryError, match="^full$"):
        cupy_library(module).compile("", "f<float>", Device("cuda"))


# ---------------------------------------------------------------------------------------------- on a GPU
@pytest.mark.cuda
def test_on_a_gpu():
    x = np.random.default_rng(0).standard_normal((3, 5))
    assert check_kernel(softsign, x) == ["float32", "float64", "float16", "bfloat16"]
    assert check_kernel(times, x, x[0]) == ["float32"]
    assert check_kernel(rms, x, x[0]) == ["float32"]
    assert check_kernel(declare_product(), x, x.T) == ["any"]
    assert check_kernel(leaky, x, slope=0.3) == ["float32"]
    with pytest.raises(RuntimeError, match=r"kernel_op softsign\(5\): error"):
        declare_softsign(SOFTSIGN.replace("out[i] =", "outt[i] ="))(gg.tensor(X, device="cuda"))


def test_shapes_are_as_declared_on_the_cpu_too():
    source = """
    template <typename T> __global__ void scaled(const T* x, const T* w, T* out, long long rows, long long cols) {
        long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
        if (i < rows * cols) out[i] = T(float(x[i]) * float(w[i % cols]));
    }
    """
    declare = lambda reference: gg.kernel_op(
        source, forward="scaled", reference=reference, shapes="... cols, cols -> ... cols", dtypes=("float32",),
        x=lambda g, w: g * w, w=lambda g, x: g * x,
    )  # fmt: skip
    right, x = declare(lambda xp, x, w: x * w), gg.ones((2, 4))
    assert right(x, gg.ones(4)).shape == (2, 4)
    for wrong in ((1,), (2, 4), (5,)):
        with pytest.raises(ValueError, match="w has shape"):
            right(x, gg.ones(wrong))
    with pytest.raises(ValueError, match=r"answers shape \(2,\); declared is '... cols', which is \(2, 4\)"):
        declare(lambda xp, x, w: (x * w).sum(-1))(x, gg.ones(4))
