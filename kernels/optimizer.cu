// One launch for all parameters of a dtype: their addresses travel in a struct of the launch's arguments, so nothing is
// copied to the device before.  What changes from step to step is read from device memory (`schedule`, `scaling`), so a
// captured step need not be captured again.
#include "common.cuh"

// gpugrad/fused/optimizer.py has the same
enum { RATE, STEP, TICKET, PRODUCT };             // schedule: learning rate, steps done, blocks done in this one, NAdam's
enum { LOSS_SCALE, CLIP, SKIP, NORM, SKIPPED };   // scaling: what global_norm leaves, and how many steps were skipped
enum { SCALE, GOOD, FOUND, MISSED, ROW };         // moving: a loss scale that update_scale moves
enum { PARAMETER, UPDATED, GRADIENT, STATE, STATE2, STATE3 };
enum { AMSGRAD, NADAM, RADAM, ADAMAX, ADADELTA, ADAGRAD, RMSPROP, LION, DAMPENED };  // of `rule`

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

// f(parameter, gradient, state, state2, state3) on every element of this block's part, with STATES states that it changes
template <typename T, int STATES, int N, typename F> DEVICE void update(const Table<N>& table, long long chunk, F f) {
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
    bool fast = aligned(x, g, out) && (STATES < 1 || aligned(s)) && (STATES < 2 || aligned(t)) &&
                (STATES < 3 || aligned(u));
    for (; i < own.end; i += blockDim.x * W) {
        C v[W], d[W], a[W] = {}, b[W] = {}, c[W] = {};
        if (fast && i + W <= own.end) {
            if (master) load_many(master + i, v);
            else load_many(x + i, v);
            load_many(g + i, d);
            if (STATES > 0) load_many(s + i, a);
            if (STATES > 1) load_many(t + i, b);
            if (STATES > 2) load_many(u + i, c);
#pragma unroll
            for (int j = 0; j < W; j++) f(v[j], d[j], a[j], b[j], c[j]);
            store_many(out + i, v);
            if (master) store_many(master + i, v);
            if (STATES > 0) store_many(s + i, a);
            if (STATES > 1) store_many(t + i, b);
            if (STATES > 2) store_many(u + i, c);
        } else {
            for (long long j = i; j < i + W && j < own.end; j++) {
                C y = master ? master[j] : C(x[j]), m = STATES > 0 ? s[j] : C(0), n = STATES > 1 ? t[j] : C(0);
                C o = STATES > 2 ? u[j] : C(0);
                f(y, C(g[j]), m, n, o);
                out[j] = T(y);
                if (master) master[j] = y;
                if (STATES > 0) s[j] = m;
                if (STATES > 1) t[j] = n;
                if (STATES > 2) u[j] = o;
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

// x -= lr v, with v = g + decay x, or its running sum; no state where momentum is 0.  decoupled: x shrinks instead
template <typename T, int N>
__global__ void sgd(const Table<N> __grid_constant__ table, const double* __restrict__ schedule,
                    const double* __restrict__ scaling_or_null, long long chunk, wide<T> momentum, double decay,
                    int nesterov, int decoupled, int maximize) {
    using C = wide<T>;
    if (skips(scaling_or_null)) return copy_parameters<T>(table, chunk);
    C rate = C(schedule[RATE]), scale = C(scale_of(scaling_or_null, maximize));
    C shrink = decoupled ? C(1 - schedule[RATE] * decay) : C(1), add = decoupled ? C(0) : C(decay);
    if (momentum == C(0))
        update<T, 0>(table, chunk, [&](C& x, C g, C&, C&, C&) { x = shrink * x - rate * decayed(g * scale, add, x); });
    else
        update<T, 1>(table, chunk, [&](C& x, C g, C& v, C&, C&) {
            g = decayed(g * scale, add, x);
            v = momentum * v + g;
            x = shrink * x - rate * (nesterov ? g + momentum * v : v);
        });
}

// Whether this is the last block of a launch to come here: all others have read the schedule
DEVICE bool last(double* schedule) {
    unsigned* done = reinterpret_cast<unsigned*>(schedule + TICKET);
    __threadfence();
    if (atomicAdd(done, 1u) != gridDim.x - 1) return false;
    *done = 0;
    return true;
}

// Adam (Kingma & Ba 2014); decoupled: AdamW (Loshchilov & Hutter 2017); raw_eps: eps beside the uncorrected root.
// advance: the last block of the launch to be done counts the step; all have read the count by then.
template <typename T, int N>
__global__ void adam(const Table<N> __grid_constant__ table, double* schedule,
                     const double* __restrict__ scaling_or_null, long long chunk, double beta1, double beta2,
                     wide<T> eps, double decay, int decoupled, int raw_eps, int maximize, int advance) {
    using C = wide<T>;
    if (skips(scaling_or_null)) return copy_parameters<T>(table, chunk);
    __shared__ C read[3];  // the rate, what the root is divided by, what x shrinks by: one thread takes the powers
    if (threadIdx.x == 0) {
        double rate = schedule[RATE], step = schedule[STEP] + 1;
        double root = sqrt(1 - pow(beta2, step)), size = rate / (1 - pow(beta1, step));
        read[0] = C(raw_eps ? size * root : size);
        read[1] = C(raw_eps ? 1 : 1 / root);
        read[2] = decoupled ? C(1 - rate * decay) : C(1);
        if (advance && last(schedule)) schedule[STEP] = step;
    }
    __syncthreads();
    C size = read[0], correction = read[1], shrink = read[2], scale = C(scale_of(scaling_or_null, maximize));
    C add = decoupled ? C(0) : C(decay);
    C b1 = C(beta1), b2 = C(beta2), c1 = C(1 - beta1), c2 = C(1 - beta2);
    update<T, 2>(table, chunk, [&](C& x, C g, C& m, C& v, C&) {
        x *= shrink;
        g = decayed(g * scale, add, x);
        m = b1 * m + c1 * g;
        v = b2 * v + c2 * g * g;
        x -= size * m / (sqrt(v) * correction + eps);
    });
}

template <typename C> DEVICE C larger(C a, C b) { return a > b || a != a ? a : b; }  // NaN, if one is

// The other optimizers' rules for an element, each as its class in gpugrad/optim says.  a, b: betas, or rho, or alpha;
// extra: a rule's own number; option: a rule's own switch; advance: the last block counts the step.
template <typename T, int RULE, int N>
__global__ void rule(const Table<N> __grid_constant__ table, double* schedule,
                     const double* __restrict__ scaling_or_null, long long chunk, double a, double b, wide<T> eps,
                     double decay, double extra, int decoupled, int option, int maximize, int advance) {
    using C = wide<T>;
    if (skips(scaling_or_null)) return copy_parameters<T>(table, chunk);
    __shared__ C read[4];  // what x shrinks by, and what a rule makes of the schedule
    if (threadIdx.x == 0) {
        double rate = schedule[RATE], step = schedule[STEP] + 1, product = 1;
        read[0] = decoupled ? C(1 - rate * decay) : C(1);
        read[1] = C(rate);
        if (RULE == AMSGRAD) {
            double root = sqrt(1 - pow(b, step)), size = rate / (1 - pow(a, step));
            read[1] = C(option ? size * root : size);
            read[2] = C(option ? 1 : 1 / root);
        } else if (RULE == NADAM) {
            double now = a * (1 - 0.5 * pow(0.96, step * extra)), later = a * (1 - 0.5 * pow(0.96, (step + 1) * extra));
            product = schedule[PRODUCT] * now;
            read[1] = C(rate * (1 - now) / (1 - product));
            read[2] = C(1 / sqrt(1 - pow(b, step)));
            read[3] = C(rate * later / (1 - product * later));
        } else if (RULE == RADAM) {
            double power = pow(b, step), left = 1 - power, size = rate / (1 - pow(a, step));
            double rho = 2 / (1 - b) - 1, now = rho - 2 * step * power / left;
            bool rectified = now > 5;
            double r = rectified ? sqrt(left * (now - 4) * (now - 2) * rho / ((rho - 4) * (rho - 2) * now)) : 1;
            read[1] = C(size * r);
            read[2] = C(rectified);
        } else if (RULE == ADAMAX) {
            read[1] = C(rate / (1 - pow(a, step)));
        } else if (RULE == ADAGRAD) {
            read[1] = C(rate / (1 + extra * (step - 1)));
        }
        if (advance && last(schedule)) {
            schedule[STEP] = step;
            if (RULE == NADAM) schedule[PRODUCT] = product;
        }
    }
    __syncthreads();
    C shrink = read[0], rate = read[1], second = read[2], third = read[3];
    C scale = C(scale_of(scaling_or_null, maximize)), add = decoupled ? C(0) : C(decay);
    C b1 = C(a), b2 = C(b), c1 = C(1 - a), c2 = C(1 - b), more = C(extra);
    auto given = [&](C& x, C g) {  // the gradient, and the variable shrunk
        x *= shrink;
        return decayed(g * scale, add, x);
    };
    if (RULE == AMSGRAD)
        update<T, 3>(table, chunk, [&](C& x, C g, C& m, C& v, C& most) {
            g = given(x, g);
            m = b1 * m + c1 * g;
            v = b2 * v + c2 * g * g;
            most = larger(most, v);
            x -= rate * m / (sqrt(most) * second + eps);
        });
    if (RULE == NADAM)
        update<T, 2>(table, chunk, [&](C& x, C g, C& m, C& v, C&) {
            g = given(x, g);
            m = b1 * m + c1 * g;
            v = b2 * v + c2 * g * g;
            x -= (rate * g + third * m) / (sqrt(v) * second + eps);
        });
    if (RULE == RADAM)
        update<T, 2>(table, chunk, [&](C& x, C g, C& m, C& v, C&) {
            g = given(x, g);
            m = b1 * m + c1 * g;
            v = b2 * v + c2 * g * g;
            x -= second != C(0) ? rate * m / (sqrt(v) + eps) : rate * m;
        });
    if (RULE == ADAMAX)
        update<T, 2>(table, chunk, [&](C& x, C g, C& m, C& u, C&) {
            g = given(x, g);
            m = b1 * m + c1 * g;
            u = larger(b2 * u, (g < C(0) ? -g : g) + eps);
            x -= rate * m / u;
        });
    if (RULE == ADADELTA)
        update<T, 2>(table, chunk, [&](C& x, C g, C& v, C& d2, C&) {
            g = given(x, g);
            v = b1 * v + c1 * g * g;
            C d = g * (sqrt(d2 + eps) / sqrt(v + eps));
            d2 = b1 * d2 + c1 * d * d;
            x -= rate * d;
        });
    auto root = [&](C v) { return option ? sqrt(v + eps) : sqrt(v) + eps; };
    if (RULE == ADAGRAD)
        update<T, 1>(table, chunk, [&](C& x, C g, C& v, C&, C&) {
            g = given(x, g);
            v += g * g;
            x -= rate * (g / root(v));
        });
    if (RULE == RMSPROP) {  // b: 0 where it is centered; extra: momentum; option: the rate goes into it, too
        auto step = [&](C& x, C d, C& m) {
            if (more == C(0)) {
                x -= rate * d;
            } else {
                m = more * m + (option ? rate * d : d);
                x -= option ? m : rate * m;
            }
        };
        auto alone = [&](C& x, C g, C& v, C& m, C&) {
            g = given(x, g);
            v = b1 * v + c1 * g * g;
            step(x, g / root(v), m);
        };
        auto centered = [&](C& x, C g, C& v, C& mean, C& m) {
            g = given(x, g);
            v = b1 * v + c1 * g * g;
            mean += c1 * (g - mean);  // of gradients that stay the same, mean² is below v
            step(x, g / root(larger(v - mean * mean, C(0))), m);
        };
        if (b2 == C(0)) {
            if (more != C(0)) update<T, 3>(table, chunk, centered);
            else update<T, 2>(table, chunk, centered);
        } else {
            if (more != C(0)) update<T, 2>(table, chunk, alone);
            else update<T, 1>(table, chunk, alone);
        }
    }
    if (RULE == LION)
        update<T, 1>(table, chunk, [&](C& x, C g, C& m, C&, C&) {
            g = given(x, g);
            C to = b1 * m + c1 * g;
            m = b2 * m + c2 * g;
            x -= rate * (to > C(0) ? C(1) : to < C(0) ? C(-1) : to);
        });
    if (RULE == DAMPENED)  // extra: dampening
        update<T, 1>(table, chunk, [&](C& x, C g, C& v, C&, C&) {
            g = given(x, g);
            v = b1 * v + (C(1) - more) * g;
            x -= rate * v;
        });
}

// updated = the gradient over the loss scale, times the factor that global_norm left
template <typename T, int N>
__global__ void clipped(const Table<N> __grid_constant__ table, const double* __restrict__ scaling, long long chunk) {
    using C = wide<T>;
    C clip = C(scaling[CLIP] / scaling[LOSS_SCALE]);
    update<T, 0>(table, chunk, [&](C& x, C g, C&, C&, C&) { x = g * clip; });
}

// partial[start + block] = the sum of the squares of the block's part of the gradients
template <typename T, int N>
__global__ void squares(const Table<N> __grid_constant__ table, double* __restrict__ partial, long long start,
                        long long chunk) {
    using C = wide<T>;
    constexpr int W = Pack<T>::size;
    Part own = part(table, chunk);
    const T* g = static_cast<const T*>(table.arrays[GRADIENT][own.k]);
    double sum = 0;  // a square may be more than float32 holds
    bool fast = aligned(g);
    for (long long i = own.begin + threadIdx.x * W; i < own.end; i += blockDim.x * W) {
        C v[W];
        if (fast && i + W <= own.end) load16(g + i, v);
        else
            for (int j = 0; j < W; j++) v[j] = i + j < own.end ? C(g[i + j]) : C(0);
#pragma unroll
        for (int j = 0; j < W; j++) sum += double(v[j]) * double(v[j]);
    }
    double total = reduce<256>(sum, Add());
    if (threadIdx.x == 0) partial[start + blockIdx.x] = total;
}

// The length of all gradients together, and the factor that clips it to `limit`: NaN for a length that is NaN.
// skips: the step is skipped if the length is not finite.  moving: that is where the loss scale is read, and a skip is
// told; where it was told already (found), gradients have been divided by it, and the step is skipped if that is not 0.
// One block.
template <typename D>
__global__ void global_norm(const D* __restrict__ partial, D* __restrict__ scaling, D* __restrict__ moving_or_null,
                            const D* __restrict__ found_or_null, long long count, D limit, D eps, int skips) {
    D sum = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
    sum = reduce<256>(sum, Add());
    if (threadIdx.x == 0) {
        if (moving_or_null) scaling[LOSS_SCALE] = found_or_null ? D(1) : moving_or_null[SCALE];
        D length = sqrt(sum) / scaling[LOSS_SCALE], clip = limit / (length + eps);
        bool skip = skips && (!(length < infinity<D>()) || (found_or_null && *found_or_null != 0));
        scaling[NORM] = length;
        scaling[CLIP] = length + eps <= limit ? D(1) : clip;
        scaling[SKIP] = skip;
        scaling[SKIPPED] += skip;
        if (moving_or_null && skip) moving_or_null[FOUND] = 1;
    }
}

// A loss scale after the steps that went by it: smaller if one was skipped, larger after `interval` that were not, as
// long as float32 holds it.  One thread.
template <typename D>
__global__ void update_scale(D* __restrict__ moving, D growth, D backoff, long long interval) {
    if (moving[FOUND] != 0) {
        moving[SCALE] *= backoff;
        moving[GOOD] = 0;
        moving[MISSED] += 1;
        moving[ROW] += 1;
    } else {
        moving[ROW] = 0;
        moving[GOOD] += 1;
        if (moving[GOOD] >= interval) {
            D larger = moving[SCALE] * growth;
            if (larger <= D(3.4e38)) moving[SCALE] = larger;
            moving[GOOD] = 0;
        }
    }
    moving[FOUND] = 0;
}
