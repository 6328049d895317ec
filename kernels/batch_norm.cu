// batch_norm of arrays (outer, channels, inner): the statistics of a channel are over outer and inner.
#include "common.cuh"
#include "columns.cuh"

// f(i) for the elements of channel blockIdx.x that fall to this thread; blockIdx.y numbers the channel's chunks
template <typename F> DEVICE void each_of_channel(long long outer, long long channels, long long inner, F f) {
    long long count = outer * inner, first = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    long long stride = (long long)gridDim.y * blockDim.x;
    long long o = first / inner, i = first % inner, step_o = stride / inner, step_i = stride % inner;
    for (long long k = first; k < count; k += stride) {  // no division in the loop
        f((o * channels + blockIdx.x) * inner + i);
        o += step_o, i += step_i;
        if (i >= inner) i -= inner, o++;
    }
}

// partial[0 and 1, chunk, channel] = sums of a and b, which f(i, a, b) adds to
template <typename C, typename F>
DEVICE void channel_sums(C* partial, long long outer, long long channels, long long inner, F f) {
    C a = 0, b = 0;
    each_of_channel(outer, channels, inner, [&](long long i) { f(i, a, b); });
    a = reduce<256>(a, Add());
    b = reduce<256>(b, Add());
    if (threadIdx.x == 0) {
        partial[blockIdx.y * channels + blockIdx.x] = a;
        partial[(gridDim.y + blockIdx.y) * channels + blockIdx.x] = b;
    }
}

// Sums of d and d², with d the distance from the channel's first element: no cancellation where the mean is large
template <typename T>
__global__ void batch_sums(const T* __restrict__ x, wide<T>* __restrict__ partial, long long outer, long long channels,
                           long long inner) {
    using C = wide<T>;
    C origin = C(x[blockIdx.x * inner]);
    channel_sums(partial, outer, channels, inner, [&](long long i, C& a, C& b) {
        C d = C(x[i]) - origin;
        a += d, b += d * d;
    });
}

// The same where inner is 1: channels are columns, and neighbouring threads read neighbouring ones
template <typename T>
__global__ void batch_sums_columns(const T* __restrict__ x, wide<T>* __restrict__ partial, long long outer,
                                   long long channels) {
    Stripe<T> s(outer, channels, aligned(x));
    wide<T> origin[s.W] = {}, v[s.W] = {}, a[s.W] = {}, b[s.W] = {};
    s.load(x, origin);
    s.each_row([&](long long r) {
        s.load(x + r * channels, v);
#pragma unroll
        for (int j = 0; j < s.W; j++) {
            wide<T> d = v[j] - origin[j];
            a[j] += d, b[j] += d * d;
        }
    });
    s.leave_sums(a, partial);
    s.leave_sums(b, partial + gridDim.y * channels);
}

// mean and rstd of each channel from the chunks' sums; the running ones move by `momentum` towards them (the variance
// unbiased, as PyTorch has it)
template <typename T>
__global__ void batch_statistics(const T* __restrict__ x, const wide<T>* __restrict__ partial,
                                 wide<T>* __restrict__ mean, wide<T>* __restrict__ rstd, wide<T>* __restrict__ running_mean_or_null,
                                 wide<T>* __restrict__ running_var_or_null, wide<T> momentum, wide<T> eps,
                                 long long chunks, long long channels, long long inner, long long count) {
    using C = wide<T>;
    for (long long c = thread_id(); c < channels; c += thread_count()) {
        C a = 0, b = 0;
        for (long long k = 0; k < chunks; k++)
            a += partial[k * channels + c], b += partial[(chunks + k) * channels + c];
        C shift = a / C(count), var = b / C(count) - shift * shift, average = C(x[c * inner]) + shift;
        if (var < C(0)) var = C(0);
        mean[c] = average;
        rstd[c] = C(1) / sqrt(var + eps);
        if (running_mean_or_null) running_mean_or_null[c] += momentum * (average - running_mean_or_null[c]);
        if (running_var_or_null) {
            C unbiased = count > 1 ? var * (C(count) / C(count - 1)) : var;
            running_var_or_null[c] += momentum * (unbiased - running_var_or_null[c]);
        }
    }
}

// f(channel, i) gives element i; one division for 16 bytes where a channel's stretch is made of whole packs
template <typename T, typename F>
DEVICE void each_pack(T* out, long long n, long long channels, long long inner, bool fast, F f) {
    constexpr int W = Pack<T>::size;
    if (fast && inner % W == 0) {
        for (long long i = thread_id() * W; i < n; i += thread_count() * W) f(i / inner % channels, i, true);
    } else {
#pragma unroll 1
        for (long long i = thread_id(); i < n; i += thread_count()) f(i / inner % channels, i, false);
    }
}

// out = (x - mean) rstd gamma + beta, with the batch's statistics or the running ones
template <typename T>
__global__ void batch_norm(const T* __restrict__ x, const T* __restrict__ gamma_or_null,
                           const T* __restrict__ beta_or_null, const wide<T>* __restrict__ mean,
                           const wide<T>* __restrict__ rstd, T* __restrict__ out, long long n, long long channels,
                           long long inner) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    each_pack(out, n, channels, inner, aligned(x, out), [&](long long c, long long i, bool pack) {
        C m = mean[c], scale = rstd[c] * (gamma_or_null ? C(gamma_or_null[c]) : C(1));
        C shift = beta_or_null ? C(beta_or_null[c]) : C(0);
        if (!pack) {
            out[i] = T((C(x[i]) - m) * scale + shift);
            return;
        }
        C v[W];
        load16(x + i, v);
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = (v[j] - m) * scale + shift;
        store16(out + i, v);
    });
}

// Sums of g n and of g, with n the normalized x: the gradients of gamma and beta
template <typename T>
__global__ void batch_grad_sums(const T* __restrict__ g, const T* __restrict__ x, const wide<T>* __restrict__ mean,
                                const wide<T>* __restrict__ rstd, wide<T>* __restrict__ partial, long long outer,
                                long long channels, long long inner) {
    using C = wide<T>;
    C m = mean[blockIdx.x], scale = rstd[blockIdx.x];
    channel_sums(partial, outer, channels, inner, [&](long long i, C& a, C& b) {
        C v = C(g[i]);
        a += v * ((C(x[i]) - m) * scale), b += v;
    });
}

template <typename T>
__global__ void batch_grad_sums_columns(const T* __restrict__ g, const T* __restrict__ x,
                                        const wide<T>* __restrict__ mean, const wide<T>* __restrict__ rstd,
                                        wide<T>* __restrict__ partial, long long outer, long long channels) {
    Stripe<T> s(outer, channels, aligned(g, x, mean, rstd));
    wide<T> m[s.W] = {}, scale[s.W] = {}, v[s.W] = {}, w[s.W] = {}, a[s.W] = {}, b[s.W] = {};
    s.load_wide(mean, m);
    s.load_wide(rstd, scale);
    s.each_row([&](long long r) {
        s.load(g + r * channels, v);
        s.load(x + r * channels, w);
#pragma unroll
        for (int j = 0; j < s.W; j++) a[j] += v[j] * ((w[j] - m[j]) * scale[j]), b[j] += v[j];
    });
    s.leave_sums(a, partial);
    s.leave_sums(b, partial + gridDim.y * channels);
}

// dx = gamma rstd (g - sum(g)/count - n sum(g n)/count), with dgamma = sum(g n) and dbeta = sum(g) of each channel
template <typename T>
__global__ void batch_norm_grad(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ gamma_or_null,
                                const wide<T>* __restrict__ mean, const wide<T>* __restrict__ rstd,
                                const wide<T>* __restrict__ dgamma, const wide<T>* __restrict__ dbeta, T* __restrict__ dx,
                                long long n, long long channels, long long inner, long long count) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    each_pack(dx, n, channels, inner, aligned(g, x, dx), [&](long long c, long long i, bool pack) {
        C m = mean[c], r = rstd[c], scale = r * (gamma_or_null ? C(gamma_or_null[c]) : C(1));
        C a = dgamma[c] / C(count), b = dbeta[c] / C(count);
        if (!pack) {
            dx[i] = T(scale * (C(g[i]) - b - (C(x[i]) - m) * r * a));
            return;
        }
        C v[W], w[W];
        load16(g + i, v);
        load16(x + i, w);
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = scale * (v[j] - b - (w[j] - m) * r * a);
        store16(dx + i, v);
    });
}
