// Activations and their pullbacks, element by element; relu that keeps one bit an element.
#include "common.cuh"
#include "activation.cuh"

template <typename T, int ACT> __global__ void activate(const T* __restrict__ x, T* __restrict__ out, long long n) {
    elementwise([](wide<T> v) { return activation<ACT>(v); }, out, n, x);
}

// The pullbacks by s: the output for relu, sigmoid and tanh, else the input
template <typename T, int ACT>
__global__ void activate_grad(const T* __restrict__ g, const T* __restrict__ s, T* __restrict__ out, long long n) {
    elementwise([](wide<T> a, wide<T> b) { return pull<ACT>(a, b); }, out, n, g, s);
}

// A warp takes a tile of 32 packs of W elements; bit `lane` of word k of the tile is element lane * W + k.
// The forward and the pullback share this order, and nobody else reads the bits.
template <typename T, typename F> DEVICE void tiles(long long n, F f) {
    constexpr int W = Pack<T>::size;
    long long warps = thread_count() / 32, count = (n + 32 * W - 1) / (32 * W);
    for (long long tile = thread_id() / 32; tile < count; tile += warps) {
        int lane = threadIdx.x % 32;
        f(tile * W, lane, (tile * 32 + lane) * W);
    }
}

// relu that leaves one bit an element: 1 where the gradient passes
template <typename T>
__global__ void relu_mask(const T* __restrict__ x, T* __restrict__ out, unsigned* __restrict__ bits, long long n) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    bool fast = aligned(x, out);
    tiles<T>(n, [&](long long word, int lane, long long first) {
        C v[W], r[W];
        bool whole = fast && first + W <= n;
        if (whole) load16(x + first, v);
        else
            for (int j = 0; j < W; j++) v[j] = first + j < n ? C(x[first + j]) : C(0);
#pragma unroll
        for (int j = 0; j < W; j++) {
            r[j] = activation<RELU>(v[j]);
            unsigned vote = __ballot_sync(0xffffffffu, v[j] > C(0));
            if (lane == j) bits[word + j] = vote;
        }
        if (whole) store16(out + first, r);
        else
            for (int j = 0; j < W && first + j < n; j++) out[first + j] = T(r[j]);
    });
}

// the bits alone
template <typename T>
__global__ void positive_bits(const T* __restrict__ x, unsigned* __restrict__ bits, long long n) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    bool fast = aligned(x);
    tiles<T>(n, [&](long long word, int lane, long long first) {
        C v[W];
        if (fast && first + W <= n) load16(x + first, v);
        else
            for (int j = 0; j < W; j++) v[j] = first + j < n ? C(x[first + j]) : C(0);
#pragma unroll
        for (int j = 0; j < W; j++) {
            unsigned vote = __ballot_sync(0xffffffffu, v[j] > C(0));
            if (lane == j) bits[word + j] = vote;
        }
    });
}

template <typename T>
__global__ void relu_mask_grad(const T* __restrict__ g, const unsigned* __restrict__ bits, T* __restrict__ out,
                               long long n) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    bool fast = aligned(g, out);
    tiles<T>(n, [&](long long word, int lane, long long first) {
        C v[W];
        bool whole = fast && first + W <= n;
        if (whole) load16(g + first, v);
        else
            for (int j = 0; j < W; j++) v[j] = first + j < n ? C(g[first + j]) : C(0);
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = bits[word + j] >> lane & 1 ? v[j] : C(0);
        if (whole) store16(out + first, v);
        else
            for (int j = 0; j < W && first + j < n; j++) out[first + j] = T(v[j]);
    });
}
