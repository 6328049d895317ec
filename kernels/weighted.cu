// A weighted sum of up to seven arrays in one pass: what a step of an ODE solver makes of its slopes.
#include "common.cuh"

// out = the sum of w_k x_k over the arrays that are there
template <typename T>
__global__ void weighted_sum(const T* __restrict__ x0, const T* __restrict__ x1_or_null,
                             const T* __restrict__ x2_or_null, const T* __restrict__ x3_or_null,
                             const T* __restrict__ x4_or_null, const T* __restrict__ x5_or_null,
                             const T* __restrict__ x6_or_null, T* __restrict__ out, wide<T> w0, wide<T> w1, wide<T> w2,
                             wide<T> w3, wide<T> w4, wide<T> w5, wide<T> w6, long long n) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    const T* x[] = {x0, x1_or_null, x2_or_null, x3_or_null, x4_or_null, x5_or_null, x6_or_null};
    const C w[] = {w0, w1, w2, w3, w4, w5, w6};
    bool fast = aligned(x0, x1_or_null, x2_or_null, x3_or_null, x4_or_null, x5_or_null, x6_or_null, out);
    for (long long first = thread_id() * W; first < n; first += thread_count() * W) {
        C sum[W] = {}, v[W];
        bool whole = fast && first + W <= n;
#pragma unroll
        for (int k = 0; k < 7; k++) {
            if (!x[k]) continue;
            if (whole) load16(x[k] + first, v);
            else
                for (int j = 0; j < W; j++) v[j] = first + j < n ? C(x[k][first + j]) : C(0);
#pragma unroll
            for (int j = 0; j < W; j++) sum[j] += w[k] * v[j];
        }
        if (whole) store16(out + first, sum);
        else
            for (int j = 0; j < W && first + j < n; j++) out[first + j] = T(sum[j]);
    }
}
