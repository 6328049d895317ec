// Dropout without a mask: seed and offset give the same bits again in the pullback, which is the same kernel on g.
#include "common.cuh"
#include "philox.cuh"

// out = (kept ? x scale : 0) + residual.  Element i is kept if word i % 4 of the counter offset + i / 4 is at least
// `threshold`.  The offset is `offset` plus, if given, what device memory holds: a captured graph draws anew.
template <typename T>
__global__ void dropout(const T* __restrict__ x, const T* __restrict__ residual_or_null,
                        const unsigned long long* __restrict__ more_offset_or_null, T* __restrict__ out,
                        unsigned long long seed, unsigned long long offset, unsigned threshold, wide<T> scale,
                        long long n) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    if (more_offset_or_null) offset += *more_offset_or_null;
    bool fast = aligned(x, residual_or_null, out);
    for (long long first = thread_id() * W; first < n; first += thread_count() * W) {
        C v[W], w[W];
        bool whole = fast && first + W <= n;
        if (whole) load16(x + first, v);
        else
            for (int j = 0; j < W; j++) v[j] = first + j < n ? C(x[first + j]) : C(0);
        unsigned bits[W < 4 ? 4 : W];
#pragma unroll
        for (int j = 0; j < W; j += 4) {
            uint4 b = philox(offset + (unsigned long long)(first + j) / 4, seed);
            bits[j] = b.x, bits[j + 1] = b.y, bits[j + 2] = b.z, bits[j + 3] = b.w;
        }
        if (W < 4 && first % 4) bits[0] = bits[2], bits[1] = bits[3];  // doubles use half of the four words
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = bits[j] >= threshold ? v[j] * scale : C(0);
        if (residual_or_null) {
            if (whole) load16(residual_or_null + first, w);
            else
                for (int j = 0; j < W; j++) w[j] = first + j < n ? C(residual_or_null[first + j]) : C(0);
#pragma unroll
            for (int j = 0; j < W; j++) v[j] += w[j];
        }
        if (whole) store16(out + first, v);
        else
            for (int j = 0; j < W && first + j < n; j++) out[first + j] = T(v[j]);
    }
}
