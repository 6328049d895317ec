// layer_norm of rows and, where there is no place for a mean, rms_norm; with a residual added before; their pullbacks.
#include "common.cuh"
#include "columns.cuh"
#include "row.cuh"

// total = x + residual, rounded to T; out = (total - mean) rstd gamma + beta.  Rows beyond the registers are read
// three times, from the second on as the total.
template <typename T, int TEAM>
__global__ void norm(const T* __restrict__ x, const T* __restrict__ residual_or_null,
                     const T* __restrict__ gamma_or_null, const T* __restrict__ beta_or_null,
                     T* __restrict__ total_or_null, T* __restrict__ out, wide<T>* __restrict__ mean_or_null,
                     wide<T>* __restrict__ rstd, wide<T> eps, long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(x, residual_or_null, gamma_or_null, beta_or_null, total_or_null, out));
    S::each_row(rows, [&](long long r) {
        C held[S::HELD][S::W], sum = 0, squares = 0, rest = 0, mean = 0;
        const T *row = x + r * cols, *other = residual_or_null ? residual_or_null + r * cols : nullptr;
        T* total = residual_or_null ? total_or_null + r * cols : nullptr;
        auto take = [&](C(&v)[S::W], C(&w)[S::W], auto p) {
            if (other) {
#pragma unroll
                for (int j = 0; j < S::W; j++) v[j] = C(T(v[j] + w[j]));
                s.store(total, p, v);
            }
#pragma unroll
            for (int j = 0; j < S::W; j++) sum += v[j];
        };
        s.each_kept([&](int p) {
            C w[S::W];
            s.load(row, p, held[p], C(0));
            if (other) s.load(other, p, w, C(0));
            take(held[p], w, p);
        });
        s.each_other([&](long long p) {
            C v[S::W], w[S::W];
            s.load(row, p, v, C(0));
            if (other) s.load(other, p, w, C(0));
            take(v, w, p);
        });
        const T* again = other ? total : row;  // each thread reads what it wrote itself
        auto read = [&](long long p, C(&v)[S::W]) { s.load(again, p, v, C(0)); };
        if (mean_or_null) mean = reduce<TEAM>(sum, Add()) / C(cols);
        s.each(held, read, [&](C(&v)[S::W], auto p) {
#pragma unroll
            for (int j = 0; j < S::W; j++)
                if (s.column(p, j) < cols) squares += (v[j] - mean) * (v[j] - mean), rest += v[j] - mean;
        });
        if (mean_or_null) rest = reduce<TEAM>(rest, Add()) / C(cols);  // what the mean was rounded by
        else rest = 0;
        C var = reduce<TEAM>(squares, Add()) / C(cols) - rest * rest;
        C scale = C(1) / sqrt((var < C(0) ? C(0) : var) + eps);
        s.each(held, read, [&](C(&v)[S::W], auto p) {
            C w[S::W];
#pragma unroll
            for (int j = 0; j < S::W; j++) v[j] = ((v[j] - mean) - rest) * scale;
            if (gamma_or_null) {
                s.load(gamma_or_null, p, w, C(0));
#pragma unroll
                for (int j = 0; j < S::W; j++) v[j] *= w[j];
            }
            if (beta_or_null) {
                s.load(beta_or_null, p, w, C(0));
#pragma unroll
                for (int j = 0; j < S::W; j++) v[j] += w[j];
            }
            s.store(out + r * cols, p, v);
        });
        if (s.me == 0) {
            if (mean_or_null) mean_or_null[r] = mean + rest;
            rstd[r] = scale;
        }
    });
}

// With a = g gamma and n the normalized x: dx = rstd (a - mean(a) - n mean(a n)) + more, the first mean in layer_norm.
// `more` is what reaches x + residual beside the norm.
template <typename T, int TEAM>
__global__ void norm_grad(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ gamma_or_null,
                          const wide<T>* __restrict__ mean_or_null, const wide<T>* __restrict__ rstd,
                          const T* __restrict__ more_or_null, T* __restrict__ dx, long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(g, x, gamma_or_null, more_or_null, dx));
    S::each_row(rows, [&](long long r) {
        C a[S::HELD][S::W], n[S::HELD][S::W], sum = 0, product = 0;
        C mean = mean_or_null ? mean_or_null[r] : C(0), scale = rstd[r];
        auto adjust = [&](C(&v)[S::W], C(&w)[S::W], C(&by)[S::W]) {
#pragma unroll
            for (int j = 0; j < S::W; j++) {
                if (gamma_or_null) v[j] *= by[j];
                w[j] = (w[j] - mean) * scale;
            }
        };
        auto read = [&](long long p, C(&v)[S::W], C(&w)[S::W]) {
            C by[S::W];
            s.load(g + r * cols, p, v, C(0));
            s.load(x + r * cols, p, w, C(0));
            if (gamma_or_null) s.load(gamma_or_null, p, by, C(0));
            adjust(v, w, by);
        };
        s.each_kept([&](int p) {
            C by[S::W];
            s.load(g + r * cols, p, a[p], C(0));
            s.load(x + r * cols, p, n[p], C(0));
            if (gamma_or_null) s.load(gamma_or_null, p, by, C(0));
            adjust(a[p], n[p], by);
        });
        s.each(a, n, read, [&](C(&v)[S::W], C(&w)[S::W], auto) {
#pragma unroll
            for (int j = 0; j < S::W; j++) {
                sum += v[j];
                product += v[j] * w[j];
            }
        });
        sum = mean_or_null ? reduce<TEAM>(sum, Add()) / C(cols) : C(0);
        product = reduce<TEAM>(product, Add()) / C(cols);
        s.each(a, n, read, [&](C(&v)[S::W], C(&w)[S::W], auto p) {
#pragma unroll
            for (int j = 0; j < S::W; j++) v[j] = scale * (v[j] - sum - w[j] * product);
            if (more_or_null) {
                s.load(more_or_null + r * cols, p, w, C(0));
#pragma unroll
                for (int j = 0; j < S::W; j++) v[j] += w[j];
            }
            s.store(dx + r * cols, p, v);
        });
    });
}

// The chunks' sums of g n, and in layer_norm, behind them, those of g: the gradients of gamma and beta
template <typename T>
__global__ void norm_grad_columns(const T* __restrict__ g, const T* __restrict__ x,
                                  const wide<T>* __restrict__ mean_or_null, const wide<T>* __restrict__ rstd,
                                  wide<T>* __restrict__ partial, long long rows, long long cols) {
    using C = wide<T>;
    Stripe<T> s(rows, cols, aligned(g, x));
    C scaled[s.W] = {}, plain[s.W] = {}, v[s.W] = {}, w[s.W] = {};
    s.each_row([&](long long r) {
        s.load(g + r * cols, v);
        s.load(x + r * cols, w);
        C mean = mean_or_null ? mean_or_null[r] : C(0), scale = rstd[r];
#pragma unroll
        for (int j = 0; j < s.W; j++) {
            scaled[j] += v[j] * ((w[j] - mean) * scale);
            plain[j] += v[j];
        }
    });
    s.leave_sums(scaled, partial);
    if (mean_or_null) s.leave_sums(plain, partial + gridDim.y * cols);
}
