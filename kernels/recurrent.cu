// A step of LSTM and of GRU and their pullbacks.  A thread for each of the `size` elements of the state, whose rows are n
// wide; the gates of a row lie side by side, n elements each, so that threads beside each other read beside each other.
#include "common.cuh"
#include "activation.cuh"

template <typename F> DEVICE void states(long long size, long long n, F f) {
    for (long long i = thread_id(); i < size; i += thread_count()) f(i, i / n, i % n);
}

// Gates i, f, m, o of x + back: cell = f c + i m, out = o tanh(cell)
template <typename T>
__global__ void lstm_cell(const T* __restrict__ x, const T* __restrict__ back, const T* __restrict__ c,
                          T* __restrict__ out, T* __restrict__ cell, T* __restrict__ gates, long long size,
                          long long n) {
    using C = wide<T>;
    states(size, n, [&](long long i, long long row, long long col) {
        long long at = row * 4 * n + col;
        C v[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            C z = C(x[at + k * n]) + C(back[at + k * n]);
            v[k] = k == 2 ? activation<TANH>(z) : activation<SIGMOID>(z);
            gates[at + k * n] = T(v[k]);
        }
        C s = v[1] * C(c[i]) + v[0] * v[2];
        cell[i] = T(s);
        out[i] = T(v[3] * activation<TANH>(s));
    });
}

// The cotangents of x + back and of c, from g, that of out, and `more`, that of cell
template <typename T>
__global__ void lstm_cell_grad(const T* __restrict__ gates, const T* __restrict__ c, const T* __restrict__ cell,
                               const T* __restrict__ g_or_null, const T* __restrict__ more_or_null,
                               T* __restrict__ dx, T* __restrict__ dc, long long size, long long n) {
    using C = wide<T>;
    states(size, n, [&](long long i, long long row, long long col) {
        long long at = row * 4 * n + col;
        C in = C(gates[at]), keep = C(gates[at + n]), m = C(gates[at + 2 * n]), o = C(gates[at + 3 * n]);
        C g = g_or_null ? C(g_or_null[i]) : C(0), t = activation<TANH>(C(cell[i]));
        C total = g * o * (C(1) - t * t) + (more_or_null ? C(more_or_null[i]) : C(0));
        dx[at] = T(pull<SIGMOID>(total * m, in));
        dx[at + n] = T(pull<SIGMOID>(total * C(c[i]), keep));
        dx[at + 2 * n] = T(pull<TANH>(total * in, m));
        dx[at + 3 * n] = T(pull<SIGMOID>(g * t, o));
        dc[i] = T(total * keep);
    });
}

// Gates r, z, m, a third of the columns each: r and z of x + back, m = tanh(x + r back); out = m + z (h - m).
// Kept are r, z, m and the last third of back.
template <typename T>
__global__ void gru_cell(const T* __restrict__ x, const T* __restrict__ back, const T* __restrict__ h,
                         T* __restrict__ out, T* __restrict__ gates, long long size, long long n) {
    using C = wide<T>;
    states(size, n, [&](long long i, long long row, long long col) {
        long long from = row * 3 * n + col, at = row * 4 * n + col;
        C r = activation<SIGMOID>(C(x[from]) + C(back[from]));
        C z = activation<SIGMOID>(C(x[from + n]) + C(back[from + n]));
        C b = C(back[from + 2 * n]), m = activation<TANH>(C(x[from + 2 * n]) + r * b);
        gates[at] = T(r), gates[at + n] = T(z), gates[at + 2 * n] = T(m), gates[at + 3 * n] = T(b);
        out[i] = T(m + z * (C(h[i]) - m));
    });
}

// The cotangents of x, of back and of h
template <typename T>
__global__ void gru_cell_grad(const T* __restrict__ gates, const T* __restrict__ h, const T* __restrict__ g,
                              T* __restrict__ dx, T* __restrict__ dback, T* __restrict__ dh, long long size,
                              long long n) {
    using C = wide<T>;
    states(size, n, [&](long long i, long long row, long long col) {
        long long to = row * 3 * n + col, at = row * 4 * n + col;
        C r = C(gates[at]), z = C(gates[at + n]), m = C(gates[at + 2 * n]), b = C(gates[at + 3 * n]), d = C(g[i]);
        C by_m = pull<TANH>(d * (C(1) - z), m), by_r = pull<SIGMOID>(by_m * b, r);
        C by_z = pull<SIGMOID>(d * (C(h[i]) - m), z);
        dx[to] = T(by_r), dx[to + n] = T(by_z), dx[to + 2 * n] = T(by_m);
        dback[to] = T(by_r), dback[to + n] = T(by_z), dback[to + 2 * n] = T(by_m * r);
        dh[i] = T(d * z);
    });
}
