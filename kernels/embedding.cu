// Rows taken from a table, and the gradient of the table.  A row that an index out of range asks for is NaN, and its
// gradient goes nowhere: nothing is read or written there.
#include "common.cuh"
#include "row.cuh"

template <typename T, typename I, int TEAM>
__global__ void gather(const T* __restrict__ table, const I* __restrict__ index, T* __restrict__ out, long long entries,
                       long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(table, out));
    S::each_row(rows, [&](long long r) {
        long long k = index[r];
        for (long long p = 0; p < s.packs; p++) {
            C v[S::W];
            if (k >= 0 && k < entries) s.load(table + k * cols, p, v, C(0));
            else
#pragma unroll
                for (int j = 0; j < S::W; j++) v[j] = nan<C>();
            s.store(out + r * cols, p, v);
        }
    });
}

// total[index[r]] += g[r] by atomic additions, in any order: `total` is wide, and zero before
template <typename T, typename I, int TEAM>
__global__ void scatter_add(const T* __restrict__ g, const I* __restrict__ index, wide<T>* __restrict__ total,
                            long long entries, long long rows, long long cols) {
    using S = Span<T, TEAM>;
    S s(cols, aligned(g));
    S::each_row(rows, [&](long long r) {
        long long k = index[r];
        if (k < 0 || k >= entries) return;
        for (long long p = 0; p < s.packs; p++) {
            wide<T> v[S::W];
            s.load(g + r * cols, p, v, wide<T>(0));
#pragma unroll
            for (int j = 0; j < S::W; j++)
                if (s.column(p, j) < cols) atomicAdd(total + k * cols + s.column(p, j), v[j]);
        }
    });
}

// The same, always added up in the same order.  `order` sorts the indices, stably, into `sorted`; the team at the
// start of a run of equal ones adds the run up.  `out` is zero before; rows without an index stay so.
template <typename T, typename I, int TEAM>
__global__ void scatter_add_sorted(const T* __restrict__ g, const long long* __restrict__ order,
                                   const I* __restrict__ sorted, T* __restrict__ out, long long entries, long long rows,
                                   long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(g, out));
    S::each_row(rows, [&](long long r) {
        long long k = sorted[r];
        if (k < 0 || k >= entries || (r > 0 && sorted[r - 1] == k)) return;
        for (long long p = 0; p < s.packs; p++) {
            C sum[S::W] = {}, v[S::W];
            for (long long i = r; i < rows && sorted[i] == k; i++) {
                s.load(g + order[i] * cols, p, v, C(0));
#pragma unroll
                for (int j = 0; j < S::W; j++) sum[j] += v[j];
            }
            s.store(out + k * cols, p, sum);
        }
    });
}
