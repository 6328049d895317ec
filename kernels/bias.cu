// out = activation(x + bias), its pullback with the gradient of the bias in the same pass, and sums down columns.
#include "common.cuh"
#include "activation.cuh"
#include "columns.cuh"

template <typename T, int ACT>
__global__ void bias_act(const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ out, long long rows,
                         long long cols) {
    Stripe<T> s(rows, cols, aligned(x, bias, out));
    wide<T> b[s.W], v[s.W];
    s.load(bias, b);
    s.each_row([&](long long r) {
        s.load(x + r * cols, v);
#pragma unroll
        for (int j = 0; j < s.W; j++) v[j] = activation<ACT>(v[j] + b[j]);
        s.store(out + r * cols, v);
    });
}

// dx from g and `saved`: the output for relu, sigmoid and tanh, else x (without the bias: null where x has it already);
// and the chunks' sums of dx
template <typename T, int ACT>
__global__ void bias_act_grad(const T* __restrict__ g, const T* __restrict__ saved, const T* __restrict__ bias_or_null,
                              T* __restrict__ dx, wide<T>* __restrict__ partial, long long rows, long long cols) {
    Stripe<T> s(rows, cols, aligned(g, saved, bias_or_null, dx));
    wide<T> b[s.W] = {}, sum[s.W] = {}, v[s.W], z[s.W];
    if (!by_output<ACT> && bias_or_null != nullptr) s.load(bias_or_null, b);
    s.each_row([&](long long r) {
        s.load(g + r * cols, v);
        s.load(saved + r * cols, z);
#pragma unroll
        for (int j = 0; j < s.W; j++) {
            v[j] = pull<ACT>(v[j], by_output<ACT> ? z[j] : z[j] + b[j]);
            if (s.column(j) < cols) sum[j] += v[j];
        }
        s.store(dx + r * cols, v);
    });
    s.leave_sums(sum, partial);
}

template <typename T>
__global__ void column_sums(const T* __restrict__ x, wide<T>* __restrict__ partial, long long rows, long long cols) {
    Stripe<T> s(rows, cols, aligned(x));
    wide<T> sum[s.W] = {}, v[s.W] = {};
    s.each_row([&](long long r) {
        s.load(x + r * cols, v);
#pragma unroll
        for (int j = 0; j < s.W; j++) sum[j] += v[j];
    });
    s.leave_sums(sum, partial);
}
