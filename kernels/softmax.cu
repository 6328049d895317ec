// softmax and log_softmax of rows, cross-entropy of rows with integer labels, and their pullbacks.
#include "common.cuh"
#include "row.cuh"

// A row's largest value and its sum of exp(x - largest), in one reading; the first values stay in `held`.
template <typename T, int TEAM>
DEVICE void statistics(const Span<T, TEAM>& s, const T* row, wide<T> (&held)[Span<T, TEAM>::HELD][Pack<T>::size],
                       wide<T>& top, wide<T>& sum) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    const C none = -infinity<C>();
    top = none, sum = 0;
    s.each_kept([&](int p) {
        s.load(row, p, held[p], none);
#pragma unroll
        for (int j = 0; j < W; j++) top = Max()(top, held[p][j]);
    });
    C from = top == none ? C(0) : top;  // a thread that saw only -inf, or NaN, which has to get through
    s.each_kept([&](int p) {
#pragma unroll
        for (int j = 0; j < W; j++) sum += exp(held[p][j] - from);
    });
    s.each_other([&](long long p) {  // online: the sum is rescaled when a larger value comes
        C v[W], t = none;
        s.load(row, p, v, none);
#pragma unroll
        for (int j = 0; j < W; j++) t = Max()(t, v[j]);
        if (t > top) {
            sum *= exp(top - t);
            top = t;
        }
        from = top == none ? C(0) : top;
#pragma unroll
        for (int j = 0; j < W; j++) sum += exp(v[j] - from);
    });
    C mine = top;
    top = reduce<TEAM>(mine, Max());
    if (mine != none) sum *= exp(mine - top);
    sum = reduce<TEAM>(sum, Add());
}

template <typename T, int TEAM>
__global__ void softmax(const T* __restrict__ x, T* __restrict__ out, int logarithm, long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(x, out));
    S::each_row(rows, [&](long long r) {
        C held[S::HELD][S::W], top, sum;
        const T* row = x + r * cols;
        statistics<T, TEAM>(s, row, held, top, sum);
        C by = logarithm ? log(sum) : C(1) / sum;
        s.each(
            held, [&](long long p, C(&v)[S::W]) { s.load(row, p, v, C(0)); },
            [&](C(&v)[S::W], auto p) {
#pragma unroll
                for (int j = 0; j < S::W; j++) v[j] = logarithm ? v[j] - top - by : exp(v[j] - top) * by;
                s.store(out + r * cols, p, v);
            });
    });
}

// By the output y: softmax y (g - sum(g y)); log_softmax g - exp(y) sum(g)
template <typename T, int TEAM>
__global__ void softmax_grad(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ dx, int logarithm,
                             long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(g, y, dx));
    S::each_row(rows, [&](long long r) {
        C a[S::HELD][S::W], b[S::HELD][S::W], sum = 0;
        auto read = [&](long long p, C(&v)[S::W], C(&w)[S::W]) {
            s.load(g + r * cols, p, v, C(0));
            s.load(y + r * cols, p, w, C(0));
        };
        s.each_kept([&](int p) {
            s.load(g + r * cols, p, a[p], C(0));
            s.load(y + r * cols, p, b[p], C(0));
        });
        s.each(a, b, read, [&](C(&v)[S::W], C(&w)[S::W], auto) {
#pragma unroll
            for (int j = 0; j < S::W; j++) sum += logarithm ? v[j] : v[j] * w[j];
        });
        sum = reduce<TEAM>(sum, Add());
        s.each(a, b, read, [&](C(&v)[S::W], C(&w)[S::W], auto p) {
#pragma unroll
            for (int j = 0; j < S::W; j++) v[j] = logarithm ? v[j] - exp(w[j]) * sum : w[j] * (v[j] - sum);
            s.store(dx + r * cols, p, v);
        });
    });
}

// loss = log(sum(exp(z))) - z[label] of each row, and what the pullback needs beside z: all rows' largest values, and
// behind them the logarithms of their sums of exp(z - largest).  Apart: added up they lose what is after the point.
// The label `ignored`, if there is such a one, gives 0, another one out of range NaN: nothing is read there.
template <typename T, int TEAM, typename I>
__global__ void softmax_xent(const T* __restrict__ z, const I* __restrict__ labels, wide<T>* __restrict__ loss,
                             wide<T>* __restrict__ lse, bool ignores, long long ignored, long long rows,
                             long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(z));
    S::each_row(rows, [&](long long r) {
        C held[S::HELD][S::W], top, sum;
        statistics<T, TEAM>(s, z + r * cols, held, top, sum);
        if (s.me == 0) {
            long long label = labels[r];
            lse[r] = top;
            lse[rows + r] = log(sum);
            if (ignores && label == ignored) loss[r] = C(0);
            else if (label < 0 || label >= cols) loss[r] = nan<C>();
            else loss[r] = (top - C(z[r * cols + label])) + log(sum);  // the large terms first: their difference is exact
        }
    });
}

// dz = g scale (softmax - one-hot) / count, with g a number for each row (step 1) or one for all (step 0); 0 in rows
// with the label `ignored`
template <typename T, int TEAM, typename I>
__global__ void softmax_xent_grad(const T* __restrict__ g, const T* __restrict__ z, const I* __restrict__ labels,
                                  const wide<T>* __restrict__ lse, const wide<T>* __restrict__ count_or_null,
                                  T* __restrict__ dz, long long step, wide<T> scale, bool ignores, long long ignored,
                                  long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(z, dz));
    if (count_or_null) scale /= *count_or_null;
    S::each_row(rows, [&](long long r) {
        C by = C(g[r * step]) * scale, top = lse[r], size = lse[rows + r];
        long long label = labels[r];
        bool out = ignores && label == ignored;
        if (label < 0 || label >= cols) by = nan<C>();
        for (long long p = 0; p < s.packs; p++) {
            C v[S::W];
            s.load(z + r * cols, p, v, C(0));
#pragma unroll
            for (int j = 0; j < S::W; j++) {
                v[j] = by * (exp((v[j] - top) - size) - (s.column(p, j) == label ? C(1) : C(0)));
                if (out) v[j] = C(0);
            }
            s.store(dz + r * cols, p, v);
        }
    });
}
