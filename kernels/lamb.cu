// LAMB (You et al. 2020) in three launches: lengths are of whole arrays.
#include "table.cuh"

// What x is moved by, before lengths are compared; corrections: of the bias
template <typename C> DEVICE C lamb_move(C x, C m, C v, const C* corrections, C eps, C add) {
    return decayed(m * corrections[0] / (sqrt(v) * corrections[1] + eps), add, x);
}
template <typename C> DEVICE void lamb_corrections(const double* schedule, double beta1, double beta2, C* out) {
    double step = schedule[STEP] + 1;
    out[0] = C(1 / (1 - pow(beta1, step)));
    out[1] = C(1 / sqrt(1 - pow(beta2, step)));
}

// The running means of g and g²; sums[2 (start + block)] and the one beside it = the squares of x and of r in its part
template <typename T, int N>
__global__ void lamb_squares(const Table<N> __grid_constant__ table, const double* __restrict__ schedule,
                             const double* __restrict__ scaling_or_null, double* __restrict__ sums, long long start,
                             long long chunk, double beta1, double beta2, wide<T> eps, double decay, int maximize) {
    using C = wide<T>;
    if (skips(scaling_or_null)) return;
    __shared__ C read[2];
    if (threadIdx.x == 0) lamb_corrections(schedule, beta1, beta2, read);
    __syncthreads();
    C scale = C(scale_of(scaling_or_null, maximize)), add = C(decay);
    C b1 = C(beta1), b2 = C(beta2), c1 = C(1 - beta1), c2 = C(1 - beta2);
    double ours = 0, theirs = 0;  // a square may be more than float32 holds
    update<T, 2, READS | CHANGES>(table, chunk, [&](C& x, C g, C& m, C& v, C&) {
        g *= scale;
        m = b1 * m + c1 * g;
        v = b2 * v + c2 * g * g;
        C r = lamb_move(x, m, v, read, eps, add);
        ours += double(x) * double(x);
        theirs += double(r) * double(r);
    });
    ours = reduce<256>(ours, Add());
    theirs = reduce<256>(theirs, Add());
    if (threadIdx.x == 0) {
        sums[2 * (start + blockIdx.x)] = ours;
        sums[2 * (start + blockIdx.x) + 1] = theirs;
    }
}

// shares[k] = |x| / |r| of the k-th array of the table, 1 where one of them is 0.  A block for each
template <typename T, int N>
__global__ void lamb_shares(const Table<N> __grid_constant__ table, const double* __restrict__ sums,
                            double* __restrict__ shares, long long start) {
    double ours = 0, theirs = 0;
    for (int i = table.first[blockIdx.x] + threadIdx.x; i < table.first[blockIdx.x + 1]; i += blockDim.x) {
        ours += sums[2 * (start + i)];
        theirs += sums[2 * (start + i) + 1];
    }
    ours = reduce<256>(ours, Add());
    theirs = reduce<256>(theirs, Add());
    if (threadIdx.x == 0) shares[blockIdx.x] = ours > 0 && theirs > 0 ? sqrt(ours) / sqrt(theirs) : 1;
}

// x -= lr share r
template <typename T, int N>
__global__ void lamb(const Table<N> __grid_constant__ table, double* schedule,
                     const double* __restrict__ scaling_or_null, const double* __restrict__ shares, long long chunk,
                     double beta1, double beta2, wide<T> eps, double decay, int advance) {
    using C = wide<T>;
    if (skips(scaling_or_null)) return copy_parameters<T>(table, chunk);
    __shared__ C read[3];
    if (threadIdx.x == 0) {
        lamb_corrections(schedule, beta1, beta2, read);
        read[2] = C(schedule[RATE] * shares[part(table, chunk).k]);
        if (advance && last(schedule)) schedule[STEP] += 1;
    }
    __syncthreads();
    C rate = read[2], add = C(decay);
    update<T, 2, WRITES>(table, chunk, [&](C& x, C, C& m, C& v, C&) { x -= rate * lamb_move(x, m, v, read, eps, add); });
}
