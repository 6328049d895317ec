// One launch for all parameters of a dtype: their addresses travel in a struct of the launch's arguments, so nothing is
// copied to the device before.  What changes from step to step is read from device memory (`schedule`, `scaling`), so a
// captured step need not be captured again.
#include "common.cuh"

// gpugrad/fused/optimizer.py has the same
enum { RATE, STEP, TICKET, PRODUCT };             // schedule: learning rate, steps done, blocks done in this one, NAdam's
enum { LOSS_SCALE, CLIP, SKIP, NORM, SKIPPED };   // scaling: what global_norm leaves, and how many steps were skipped
enum { SCALE, GOOD, FOUND, MISSED, ROW };         // moving: a loss scale that update_scale moves
enum { PARAMETER, UPDATED, GRADIENT, STATE, STATE2, STATE3 };

template <int N> struct Table {
    void* arrays[6][N];  // the updated parameter may be the parameter itself
    long long size[N];
    int first[N + 1];  // block of the launch with which each begins, and the number of blocks
    int count;
    int masters;  // whether the parameters are wide, and the updated ones those rounded
};

// Which array this block works on, and where in it.
struct Part {
    int k;
    long long begin, end;
};
template <int N> DEVICE Part part(const Table<N>& table, long long chunk) {
    int low = 0, high = table.count;  // first[low] <= block < first[high]
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table.first[middle] <= (int)blockIdx.x) low = middle;
        else high = middle;
    }
    long long begin = (blockIdx.x - table.first[low]) * chunk, end = begin + chunk;
    return {low, begin, end < table.size[low] ? end : table.size[low]};
}

// n values of S from p, in 16-byte loads
template <int n, typename S, typename C> DEVICE void load_many(const S* p, C (&v)[n]) {
    constexpr int W = Pack<S>::size;
#pragma unroll
    for (int i = 0; i < n; i += W) load16(p + i, reinterpret_cast<C(&)[W]>(v[i]));
}
template <int n, typename S, typename C> DEVICE void store_many(S* p, const C (&v)[n]) {
    constexpr int W = Pack<S>::size;
#pragma unroll
    for (int i = 0; i < n; i += W) store16(p + i, reinterpret_cast<const C(&)[W]>(v[i]));
}

enum { READS = 1, CHANGES = 2, WRITES = 4 };  // the gradient is read, the states are changed, the parameter is updated

// f(parameter, gradient, state, state2, state3) on every element of this block's part, with STATES states
template <typename T, int STATES, int DOES = READS | CHANGES | WRITES, int N, typename F>
DEVICE void update(const Table<N>& table, long long chunk, F f) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    Part own = part(table, chunk);
    const T* x = static_cast<const T*>(table.arrays[PARAMETER][own.k]);
    C* master = table.masters ? static_cast<C*>(table.arrays[PARAMETER][own.k]) : nullptr;
    const T* g = static_cast<const T*>(table.arrays[GRADIENT][own.k]);
    T* out = static_cast<T*>(table.arrays[UPDATED][own.k]);
    C* s = static_cast<C*>(table.arrays[STATE][own.k]);
    C* t = static_cast<C*>(table.arrays[STATE2][own.k]);
    C* u = static_cast<C*>(table.arrays[STATE3][own.k]);
    long long i = own.begin + threadIdx.x * W;
    bool fast = (DOES & READS ? aligned(x, g, out) : aligned(x, out)) && (STATES < 1 || aligned(s)) &&
                (STATES < 2 || aligned(t)) && (STATES < 3 || aligned(u));
    for (; i < own.end; i += blockDim.x * W) {
        C v[W], d[W] = {}, a[W] = {}, b[W] = {}, c[W] = {};
        if (fast && i + W <= own.end) {
            if (master) load_many(master + i, v);
            else load_many(x + i, v);
            if (DOES & READS) load_many(g + i, d);
            if (STATES > 0) load_many(s + i, a);
            if (STATES > 1) load_many(t + i, b);
            if (STATES > 2) load_many(u + i, c);
#pragma unroll
            for (int j = 0; j < W; j++) f(v[j], d[j], a[j], b[j], c[j]);
            if (DOES & WRITES) store_many(out + i, v);
            if ((DOES & WRITES) && master) store_many(master + i, v);
            if ((DOES & CHANGES) && STATES > 0) store_many(s + i, a);
            if ((DOES & CHANGES) && STATES > 1) store_many(t + i, b);
            if ((DOES & CHANGES) && STATES > 2) store_many(u + i, c);
        } else {
            for (long long j = i; j < i + W && j < own.end; j++) {
                C y = master ? master[j] : C(x[j]), m = STATES > 0 ? s[j] : C(0), n = STATES > 1 ? t[j] : C(0);
                C o = STATES > 2 ? u[j] : C(0);
                f(y, DOES & READS ? C(g[j]) : C(0), m, n, o);
                if (DOES & WRITES) out[j] = T(y);
                if ((DOES & WRITES) && master) master[j] = y;
                if ((DOES & CHANGES) && STATES > 0) s[j] = m;
                if ((DOES & CHANGES) && STATES > 1) t[j] = n;
                if ((DOES & CHANGES) && STATES > 2) u[j] = o;
            }
        }
    }
}

template <typename T, int N> DEVICE void copy_parameters(const Table<N>& table, long long chunk) {
    Part own = part(table, chunk);
    const T* x = static_cast<const T*>(table.arrays[PARAMETER][own.k]);
    const wide<T>* master = static_cast<const wide<T>*>(table.arrays[PARAMETER][own.k]);
    T* out = static_cast<T*>(table.arrays[UPDATED][own.k]);
    for (long long i = own.begin + threadIdx.x; i < own.end; i += blockDim.x)
        out[i] = table.masters ? T(master[i]) : x[i];
}

// Nobody asked for clipping or a loss scale where there is no scaling
DEVICE bool skips(const double* scaling) { return scaling && scaling[SKIP] != 0; }
DEVICE double scale_of(const double* scaling, int maximize) {
    double scale = scaling ? scaling[CLIP] / scaling[LOSS_SCALE] : 1;
    return maximize ? -scale : scale;
}
template <typename C> DEVICE C decayed(C g, C add, C x) { return add == C(0) ? g : g + add * x; }  // 0 * inf is NaN

// Whether this is the last block of a launch to come here: all others have read the schedule
DEVICE bool last(double* schedule) {
    unsigned* done = reinterpret_cast<unsigned*>(schedule + TICKET);
    __threadfence();
    if (atomicAdd(done, 1u) != gridDim.x - 1) return false;
    *done = 0;
    return true;
}
