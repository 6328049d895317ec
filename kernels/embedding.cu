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

// The same, always added up in the same order.  `order` sorts the indices, stably, into `sorted`.  A run of equal ones is
// cut at the multiples of PIECE, so that a frequent index does not keep one team busy alone.  The team at the start of
// a piece adds it up: into `out`, which is zero before, or, of a run in several pieces, into `partial`, whose first half
// has the pieces that start at a multiple, the second those that start in between.
enum { PIECE = 128 };  // the same as gpugrad/fused/embedding.py has

template <typename T, typename I, int TEAM>
__global__ void scatter_add_sorted(const T* __restrict__ g, const long long* __restrict__ order,
                                   const I* __restrict__ sorted, T* __restrict__ out, wide<T>* __restrict__ partial,
                                   long long entries, long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(g, out));
    S::each_row(rows, [&](long long r) {
        long long k = sorted[r], piece = r / PIECE, end = (piece + 1) * PIECE < rows ? (piece + 1) * PIECE : rows;
        bool starts = r == 0 || sorted[r - 1] != k;
        if (k < 0 || k >= entries || !(starts || r % PIECE == 0)) return;
        bool all = starts && (end == rows || sorted[end] != k || sorted[end - 1] != k);
        C* part = partial + ((r % PIECE ? (rows + PIECE - 1) / PIECE : 0) + piece) * cols;
        for (long long p = 0; p < s.packs; p++) {
            C sum[S::W] = {}, v[S::W];
            for (long long i = r; i < end && sorted[i] == k; i++) {
                s.load(g + order[i] * cols, p, v, C(0));
#pragma unroll
                for (int j = 0; j < S::W; j++) sum[j] += v[j];
            }
            if (all) s.store(out + k * cols, p, sum);
            else
#pragma unroll
                for (int j = 0; j < S::W; j++)
                    if (s.column(p, j) < cols) part[s.column(p, j)] = sum[j];
        }
    });
}

// The runs in several pieces: the team of the piece in which one starts adds its pieces up
template <typename T, typename I, int TEAM>
__global__ void scatter_add_pieces(const I* __restrict__ sorted, const wide<T>* __restrict__ partial,
                                   T* __restrict__ out, long long entries, long long rows, long long cols) {
    using S = Span<T, TEAM>;
    using C = wide<T>;
    S s(cols, aligned(out));
    long long pieces = (rows + PIECE - 1) / PIECE;
    S::each_row(pieces - 1, [&](long long piece) {
        long long first = piece * PIECE, next = first + PIECE, k = sorted[next];
        if (k < 0 || k >= entries || sorted[next - 1] != k || (first > 0 && sorted[first - 1] == k)) return;
        const C* part = partial + ((sorted[first] == k ? 0 : pieces) + piece) * cols;
        for (long long p = 0; p < s.packs; p++) {
            C sum[S::W] = {};
#pragma unroll
            for (int j = 0; j < S::W; j++)
                if (s.column(p, j) < cols) sum[j] = part[s.column(p, j)];
            for (long long b = piece + 1; b < pieces && sorted[b * PIECE] == k; b++)
#pragma unroll
                for (int j = 0; j < S::W; j++)
                    if (s.column(p, j) < cols) sum[j] += partial[b * cols + s.column(p, j)];
            s.store(out + k * cols, p, sum);
        }
    });
}
