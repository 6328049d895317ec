// Steps of optimizers, each a launch for all parameters of a dtype, and what clips and scales their gradients.
#include "table.cuh"

enum { AMSGRAD, NADAM, RADAM, ADAMAX, ADADELTA, ADAGRAD, RMSPROP, LION, DAMPENED };  // of `rule`

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
