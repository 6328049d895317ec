// batch_norm of arrays (outer, channels, inner): the statistics of a channel are over outer and inner.  Where inner is 1
// channels are columns, and the kernels `..._columns` let neighbouring threads take neighbouring ones.  Sums have two
// stages, added up in the same order always: blockIdx.y numbers a channel's chunks, of `chunk` elements each.
#include "common.cuh"
#include "columns.cuh"

// f(i) for every K-th element of the block's chunk of channel blockIdx.x; runs of `inner` are made of whole K
template <int K, typename F>
DEVICE void each_of_chunk(long long outer, long long channels, long long inner, long long chunk, F f) {
    long long count = outer * inner, end = (blockIdx.y + 1) * chunk < count ? (blockIdx.y + 1) * chunk : count;
    long long first = blockIdx.y * chunk + threadIdx.x * K, stride = blockDim.x * K, gap = (channels - 1) * inner;
    long long o = first / inner, at = first % inner, steps = stride / inner, rest = stride % inner;
    long long i = (o * channels + blockIdx.x) * inner + at;
    for (long long k = first; k < end; k += stride) {  // no division in the loop
        f(i);
        i += stride + steps * gap, at += rest;
        if (at >= inner) at -= inner, i += gap;
    }
}

// Mean and squared distances from it of values seen so far, merged with those of others (Chan et al. 1979)
template <typename C> struct Moments {
    C count = 0, mean = 0, squares = 0;

    template <int K> DEVICE void add(const C (&v)[K]) {
        C average = 0, around = 0;
#pragma unroll
        for (int j = 0; j < K; j++) average += v[j];
        average *= C(1) / C(K);
#pragma unroll
        for (int j = 0; j < K; j++) around += (v[j] - average) * (v[j] - average);
        C part = C(K) / (count + C(K)), d = average - mean;
        mean += d * part;
        squares += around + d * d * count * part;
        count += C(K);
    }
};

// The chunks' means, and behind them their sums of squared distances from those.  All values are taken from the
// channel's first: that costs no digit, whatever it is, and the common offset is gone.
template <typename T>
__global__ void batch_sums(const T* __restrict__ x, wide<T>* __restrict__ partial, long long outer, long long channels,
                           long long inner, long long chunk) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    C origin = C(x[blockIdx.x * inner]);
    Moments<C> m;
    if (aligned(x) && inner % W == 0)
        each_of_chunk<W>(outer, channels, inner, chunk, [&](long long i) {
            C v[W];
            load16(x + i, v);
#pragma unroll
            for (int j = 0; j < W; j++) v[j] -= origin;
            m.add(v);
        });
    else
        each_of_chunk<1>(outer, channels, inner, chunk, [&](long long i) {
            C v[1] = {C(x[i]) - origin};
            m.add(v);
        });
    C mean = reduce<256>(m.count * m.mean, Add()) / reduce<256>(m.count, Add()), d = m.mean - mean;
    C squares = reduce<256>(m.squares + m.count * d * d, Add());
    if (threadIdx.x == 0) {
        partial[blockIdx.y * channels + blockIdx.x] = mean;
        partial[(gridDim.y + blockIdx.y) * channels + blockIdx.x] = squares;
    }
}

template <typename T>
__global__ void batch_sums_columns(const T* __restrict__ x, wide<T>* __restrict__ partial, long long outer,
                                   long long channels) {
    using C = wide<T>;
    Stripe<T> s(outer, channels, aligned(x));
    C origin[s.W] = {}, v[s.W] = {}, mean[s.W] = {}, squares[s.W] = {}, total[s.W], count = 0;
    s.load(x, origin);
    s.each_row([&](long long r) {
        s.load(x + r * channels, v);
        count += C(1);
        C part = C(1) / count;
#pragma unroll
        for (int j = 0; j < s.W; j++) {  // Welford 1962
            C d = v[j] - origin[j] - mean[j];
            mean[j] += d * part;
            squares[j] += d * (v[j] - origin[j] - mean[j]);
        }
    });
    C rows = C(s.rows_end - s.rows_begin);
#pragma unroll
    for (int j = 0; j < s.W; j++) total[j] = count * mean[j];
    s.add_up(total);
#pragma unroll
    for (int j = 0; j < s.W; j++) {
        total[j] /= rows;
        squares[j] += count * (mean[j] - total[j]) * (mean[j] - total[j]);
    }
    s.leave(total, partial);
    s.leave_sums(squares, partial + gridDim.y * channels);
}

// mean and rstd of each channel from the chunks'; the running ones move by `momentum` towards them (the variance
// unbiased, as PyTorch has it)
template <typename T>
__global__ void batch_statistics(const T* __restrict__ x, const wide<T>* __restrict__ partial,
                                 wide<T>* __restrict__ mean, wide<T>* __restrict__ rstd,
                                 wide<T>* __restrict__ running_mean_or_null, wide<T>* __restrict__ running_var_or_null,
                                 wide<T> momentum, wide<T> eps, long long chunks, long long channels, long long inner,
                                 long long chunk, long long count) {
    using C = wide<T>;
    for (long long c = thread_id(); c < channels; c += thread_count()) {
        auto each_chunk = [&](auto f) {  // f(how many, their mean, their sum of squares)
            for (long long k = 0; k < chunks && k * chunk < count; k++)
                f(C((k + 1) * chunk < count ? chunk : count - k * chunk), partial[k * channels + c],
                  partial[(chunks + k) * channels + c]);
        };
        C first = partial[c], sum = 0, squares = 0;
        each_chunk([&](C n, C m, C) { sum += n * (m - first); });
        C shift = first + sum / C(count);
        each_chunk([&](C n, C m, C s) { squares += s + n * (m - shift) * (m - shift); });
        C average = C(x[c * inner]) + shift, var = squares / C(count);
        mean[c] = average;
        rstd[c] = C(1) / sqrt(var + eps);
        if (running_mean_or_null) running_mean_or_null[c] += momentum * (average - running_mean_or_null[c]);
        if (running_var_or_null) {
            C unbiased = count > 1 ? squares / C(count - 1) : var;
            running_var_or_null[c] += momentum * (unbiased - running_var_or_null[c]);
        }
    }
}

// The same from the running ones, which may move before a pullback asks for them
template <typename T>
__global__ void running_statistics(const wide<T>* __restrict__ running_mean, const wide<T>* __restrict__ running_var,
                                   wide<T>* __restrict__ mean, wide<T>* __restrict__ rstd, wide<T> eps,
                                   long long channels) {
    for (long long c = thread_id(); c < channels; c += thread_count()) {
        mean[c] = running_mean[c];
        rstd[c] = wide<T>(1) / sqrt(running_var[c] + eps);
    }
}

// Which channel an element of a flat array is of, and where in its run of `inner`; moved on without divisions
struct Cursor {
    long long channels, inner, channel, at;

    DEVICE Cursor(long long i, long long channels, long long inner)
        : channels(channels), inner(inner), channel(i / inner % channels), at(i % inner) {}
    DEVICE void move(long long runs, long long rest) {  // runs < channels, rest < inner
        at += rest, channel += runs;
        if (at >= inner) at -= inner, channel++;
        if (channel >= channels) channel -= channels;
    }
    DEVICE bool next() {  // whether another channel begins
        if (++at < inner) return false;
        at = 0;
        if (++channel == channels) channel = 0;
        return true;
    }
};

// out[i] = of(channel)(in[i], ...) for begin <= i < end, K elements at a time
template <int K, typename T, typename F, typename... In>
DEVICE void stretch(F of, T* out, long long begin, long long end, long long channels, long long inner,
                    const In*... in) {
    long long stride = thread_count() * K, runs = stride / inner % channels, rest = stride % inner;
    Cursor start(begin + thread_id() * K, channels, inner);
    for (long long i = begin + thread_id() * K; i < end; i += stride, start.move(runs, rest)) {
        wide<T> v[sizeof...(In)][K];
        int k = 0;
        if constexpr (K == 1) ((v[k++][0] = wide<T>(in[i])), ...);
        else (load16(in + i, v[k++]), ...);
        Cursor c = start;
        auto f = of(c.channel);
#pragma unroll
        for (int j = 0; j < K; j++) {
            if constexpr (sizeof...(In) == 1) v[0][j] = f(v[0][j]);
            else v[0][j] = f(v[0][j], v[1][j]);
            if (j + 1 < K && c.next()) f = of(c.channel);
        }
        if constexpr (K == 1) out[i] = T(v[0][0]);
        else store16(out + i, v[0]);
    }
}

// The same of a whole array: 16 bytes at a time where everything is aligned, then what is left
template <typename T, typename F, typename... In>
DEVICE void by_channel(F of, T* out, long long n, long long channels, long long inner, const In*... in) {
    constexpr int W = Pack<T>::size;
    long long whole = aligned(out, in...) ? n / W * W : 0;
    stretch<W>(of, out, 0, whole, channels, inner, in...);
    stretch<1>(of, out, whole, n, channels, inner, in...);
}

// out = (x - mean) rstd gamma + beta, with the batch's statistics or the running ones
template <typename C> struct Normal {
    C mean, scale, shift;
    DEVICE C operator()(C x) const { return (x - mean) * scale + shift; }
};

template <typename T>
DEVICE Normal<wide<T>> normal(const T* gamma_or_null, const T* beta_or_null, const wide<T>* mean, const wide<T>* rstd,
                              long long c) {
    using C = wide<T>;
    return {mean[c], rstd[c] * (gamma_or_null ? C(gamma_or_null[c]) : C(1)), beta_or_null ? C(beta_or_null[c]) : C(0)};
}

template <typename T>
__global__ void batch_norm(const T* __restrict__ x, const T* __restrict__ gamma_or_null,
                           const T* __restrict__ beta_or_null, const wide<T>* __restrict__ mean,
                           const wide<T>* __restrict__ rstd, T* __restrict__ out, long long n, long long channels,
                           long long inner) {
    by_channel([&](long long c) { return normal(gamma_or_null, beta_or_null, mean, rstd, c); }, out, n, channels,
               inner, x);
}

template <typename T>
__global__ void batch_norm_columns(const T* __restrict__ x, const T* __restrict__ gamma_or_null,
                                   const T* __restrict__ beta_or_null, const wide<T>* __restrict__ mean,
                                   const wide<T>* __restrict__ rstd, T* __restrict__ out, long long outer,
                                   long long channels) {
    Stripe<T> s(outer, channels, aligned(x, out));
    Normal<wide<T>> f[s.W];
    wide<T> v[s.W] = {};
#pragma unroll
    for (int j = 0; j < s.W; j++)
        if (s.column(j) < channels) f[j] = normal(gamma_or_null, beta_or_null, mean, rstd, s.column(j));
    s.each_row([&](long long r) {
        s.load(x + r * channels, v);
#pragma unroll
        for (int j = 0; j < s.W; j++) v[j] = f[j](v[j]);
        s.store(out + r * channels, v);
    });
}

// The chunks' sums of g n, and behind them those of g, with n the normalized x: the gradients of gamma and beta
template <typename T>
__global__ void batch_grad_sums(const T* __restrict__ g, const T* __restrict__ x, const wide<T>* __restrict__ mean,
                                const wide<T>* __restrict__ rstd, wide<T>* __restrict__ partial, long long outer,
                                long long channels, long long inner, long long chunk) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    C m = mean[blockIdx.x], scale = rstd[blockIdx.x], a = 0, b = 0;
    auto add = [&](C v, C w) { a += v * ((w - m) * scale), b += v; };
    if (aligned(g, x) && inner % W == 0)
        each_of_chunk<W>(outer, channels, inner, chunk, [&](long long i) {
            C v[W], w[W];
            load16(g + i, v);
            load16(x + i, w);
#pragma unroll
            for (int j = 0; j < W; j++) add(v[j], w[j]);
        });
    else
        each_of_chunk<1>(outer, channels, inner, chunk, [&](long long i) { add(C(g[i]), C(x[i])); });
    a = reduce<256>(a, Add());
    b = reduce<256>(b, Add());
    if (threadIdx.x == 0) {
        partial[blockIdx.y * channels + blockIdx.x] = a;
        partial[(gridDim.y + blockIdx.y) * channels + blockIdx.x] = b;
    }
}

template <typename T>
__global__ void batch_grad_sums_columns(const T* __restrict__ g, const T* __restrict__ x,
                                        const wide<T>* __restrict__ mean, const wide<T>* __restrict__ rstd,
                                        wide<T>* __restrict__ partial, long long outer, long long channels) {
    Stripe<T> s(outer, channels, aligned(g, x));
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
template <typename C> struct Pull {
    C mean, scale, level, slope;
    DEVICE C operator()(C g, C x) const { return scale * (g - level - (x - mean) * slope); }
};

template <typename T>
DEVICE Pull<wide<T>> pull(const T* gamma_or_null, const wide<T>* mean, const wide<T>* rstd, const wide<T>* dgamma,
                          const wide<T>* dbeta, long long count, long long c) {
    using C = wide<T>;
    C by = C(1) / C(count);
    return {mean[c], rstd[c] * (gamma_or_null ? C(gamma_or_null[c]) : C(1)), dbeta[c] * by, rstd[c] * dgamma[c] * by};
}

template <typename T>
__global__ void batch_norm_grad(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ gamma_or_null,
                                const wide<T>* __restrict__ mean, const wide<T>* __restrict__ rstd,
                                const wide<T>* __restrict__ dgamma, const wide<T>* __restrict__ dbeta,
                                T* __restrict__ dx, long long n, long long channels, long long inner,
                                long long count) {
    by_channel([&](long long c) { return pull(gamma_or_null, mean, rstd, dgamma, dbeta, count, c); }, dx, n, channels,
               inner, g, x);
}

template <typename T>
__global__ void batch_norm_grad_columns(const T* __restrict__ g, const T* __restrict__ x,
                                        const T* __restrict__ gamma_or_null, const wide<T>* __restrict__ mean,
                                        const wide<T>* __restrict__ rstd, const wide<T>* __restrict__ dgamma,
                                        const wide<T>* __restrict__ dbeta, T* __restrict__ dx, long long outer,
                                        long long channels) {
    Stripe<T> s(outer, channels, aligned(g, x, dx));
    Pull<wide<T>> f[s.W];
    wide<T> v[s.W] = {}, w[s.W] = {};
#pragma unroll
    for (int j = 0; j < s.W; j++)
        if (s.column(j) < channels) f[j] = pull(gamma_or_null, mean, rstd, dgamma, dbeta, outer, s.column(j));
    s.each_row([&](long long r) {
        s.load(g + r * channels, v);
        s.load(x + r * channels, w);
#pragma unroll
        for (int j = 0; j < s.W; j++) v[j] = f[j](v[j], w[j]);
        s.store(dx + r * channels, v);
    });
}
