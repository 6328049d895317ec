// Element-wise forward and backward kernels.  T is float, double, __half or __nv_bfloat16; half types compute in float.
// One thread takes every (grid size)-th element, so any grid covers any n; indices are 64-bit.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

template <typename T> struct compute { using type = float; };
template <> struct compute<double> { using type = double; };

#define EACH(i, n)                                                                                        \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)

// out = max(x, 0); NaN stays NaN, as in NumPy
template <typename T> __global__ void relu(const T* __restrict__ x, T* __restrict__ out, long long n) {
    using C = typename compute<T>::type;
    EACH(i, n) {
        C v = (C)x[i];
        out[i] = v < C(0) ? T(C(0)) : x[i];
    }
}

// out = g where y > 0, else 0: the pullback of relu by its output
template <typename T>
__global__ void relu_grad(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ out, long long n) {
    using C = typename compute<T>::type;
    EACH(i, n) out[i] = (C)y[i] > C(0) ? g[i] : T(C(0));
}

// out = g y (1 - y): the pullback of sigmoid by its output
template <typename T>
__global__ void sigmoid_grad(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ out, long long n) {
    using C = typename compute<T>::type;
    EACH(i, n) {
        C v = (C)y[i];
        out[i] = T((C)g[i] * (v * (C(1) - v)));
    }
}

// out = g (1 - y²): the pullback of tanh by its output
template <typename T>
__global__ void tanh_grad(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ out, long long n) {
    using C = typename compute<T>::type;
    EACH(i, n) {
        C v = (C)y[i];
        out[i] = T((C)g[i] * (C(1) - v * v));
    }
}
