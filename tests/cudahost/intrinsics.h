// The names that device code has without an #include, for the host.  Included by cudahost.h.
#pragma once
#define threadIdx (cudahost::block->current->index)
#define blockIdx (cudahost::block->index)
#define blockDim (cudahost::block->shape)
#define gridDim (cudahost::block->grid)
#define warpSize 32

static inline void __syncthreads() { cudahost::pause(cudahost::AT_BARRIER); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { cudahost::meet(mask); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// Shuffles: a source outside the segment of `width` lanes gives the lane its own value.
template <class T> inline T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
    int me = cudahost::lane();
    return cudahost::exchange(mask, v, (me & ~(width - 1)) | (from & (width - 1)));
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T v, int x, int width = 32) {
    int me = cudahost::lane(), from = me ^ x;
    return cudahost::exchange(mask, v, from < (me & ~(width - 1)) + width ? from : me);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int me = cudahost::lane(), from = me + (int)by;
    return cudahost::exchange(mask, v, from < (me & ~(width - 1)) + width ? from : me);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int me = cudahost::lane(), from = me - (int)by;
    return cudahost::exchange(mask, v, from >= (me & ~(width - 1)) ? from : me);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    cudahost::Warp& w = cudahost::warp();
    int me = cudahost::lane();
    unsigned turn = w.turn[me] & 1, votes = 0;
    cudahost::exchange<int>(mask, predicate != 0, me);
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1) {
            int vote;
            memcpy(&vote, &w.slot[turn][i], sizeof vote);
            votes |= (unsigned)(vote != 0) << i;
        }
    return votes;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// Fibers change over only at barriers, so a plain read and write is atomic among them.
template <class T> inline T atomicAdd(T* p, std::common_type_t<T> v) {
    T old = *p;
    *p = old + v;
    return old;
}
template <class T> inline T atomicMax(T* p, std::common_type_t<T> v) {
    T old = *p;
    *p = old > v ? old : v;
    return old;
}
template <class T> inline T atomicExch(T* p, std::common_type_t<T> v) {
    T old = *p;
    *p = v;
    return old;
}
template <class T> inline T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> v) {
    T old = *p;
    if (old == expected) *p = v;
    return old;
}
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline void __stwb(T* p, T v) { *p = v; }

static inline float __int_as_float(int x) {
    float r;
    memcpy(&r, &x, sizeof r);
    return r;
}
static inline int __float_as_int(float x) {
    int r;
    memcpy(&r, &x, sizeof r);
    return r;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
using std::max;
using std::min;
