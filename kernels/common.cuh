// What every kernel shares.  T is float, double, __half or __nv_bfloat16; half types compute and accumulate in float.
// Sizes and indices are 64-bit.  Arrays are contiguous; they need not be aligned to more than their element: where all
// of a kernel's are aligned to 16 bytes it loads 16 at once, else one element.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

template <typename T> struct compute { using type = float; };
template <> struct compute<double> { using type = double; };
template <typename T> using wide = typename compute<T>::type;

#define DEVICE __device__ __forceinline__

template <typename T> struct Pack {
    static constexpr int size = 16 / sizeof(T);
    T v[size];
};

template <typename... P> DEVICE bool aligned(const P*... p) {
    return ((0 | ... | reinterpret_cast<unsigned long long>(p)) & 15) == 0;
}

// 16 bytes in one load, as values to compute with
template <typename T, typename C> DEVICE void load16(const T* p, C (&v)[Pack<T>::size]) {
    uint4 bits = *reinterpret_cast<const uint4*>(p);
    const T* t = reinterpret_cast<const T*>(&bits);
#pragma unroll
    for (int j = 0; j < Pack<T>::size; j++) v[j] = C(t[j]);
}

template <typename T, typename C> DEVICE void store16(T* p, const C (&v)[Pack<T>::size]) {
    uint4 bits;
    T* t = reinterpret_cast<T*>(&bits);
#pragma unroll
    for (int j = 0; j < Pack<T>::size; j++) t[j] = T(v[j]);
    __stwb(reinterpret_cast<uint4*>(p), bits);  // a plain store: in loops NVRTC makes it four of 4 bytes otherwise
}

template <typename C> DEVICE C infinity() { return C(__int_as_float(0x7f800000)); }
template <typename C> DEVICE C nan() { return C(__int_as_float(0x7fc00000)); }

DEVICE long long thread_id() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE long long thread_count() { return (long long)gridDim.x * blockDim.x; }

// out[i] = f(in[i], ...) for i < n, for any grid: 16 bytes at a time where everything is aligned, then what is left
template <typename T, typename F, typename... In>
DEVICE void elementwise(F f, T* out, long long n, const In*... in) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    long long first = 0;
    if (aligned(out, in...)) {
        first = n / W * W;
        for (long long i = thread_id() * W; i < first; i += thread_count() * W) {
            C v[sizeof...(In)][W], r[W];
            int k = 0;
            (load16(in + i, v[k++]), ...);
#pragma unroll
            for (int j = 0; j < W; j++)
                if constexpr (sizeof...(In) == 1) r[j] = f(v[0][j]);
                else r[j] = f(v[0][j], v[1][j]);
            store16(out + i, r);
        }
    }
#pragma unroll 1  // the rare part: short code
    for (long long i = first + thread_id(); i < n; i += thread_count()) out[i] = T(f(C(in[i])...));
}

// Reductions over the TEAM threads that share a row: a warp (32) or a block.  Every thread gets the result, the same
// on every run.
struct Add {
    template <typename C> DEVICE C operator()(C a, C b) const { return a + b; }
};
struct Max {  // as fmax, NaN loses: sums carry it on
    DEVICE float operator()(float a, float b) const { return fmaxf(a, b); }
    DEVICE double operator()(double a, double b) const { return fmax(a, b); }
};

template <int TEAM, typename F, typename C> DEVICE C reduce(C v, F f) {
#pragma unroll
    for (int k = 16; k > 0; k >>= 1) v = f(v, __shfl_xor_sync(0xffffffffu, v, k));
    if constexpr (TEAM > 32) {
        constexpr int WARPS = TEAM / 32;
        __shared__ C part[WARPS];
        __syncthreads();  // the last reduction's readers are done
        if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
        __syncthreads();
        v = part[0];
#pragma unroll
        for (int k = 1; k < WARPS; k++) v = f(v, part[k]);
    }
    return v;
}
