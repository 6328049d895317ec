// Work on the columns of a matrix.  A block is (width, 256 / width) threads: `width` threads take 16 bytes each of a
// row, the others further rows.  blockIdx.y numbers chunks of rows.  Sums down columns have two stages, always added
// up in the same order: a block adds up its chunk (`leave_sums`), the kernel `fold` the chunks.
template <typename T> struct Stripe {
    using C = wide<T>;
    static constexpr int W = Pack<T>::size;
    long long cols, first, rows_begin, rows_end;
    int step;   // between a thread's columns: 1, or the width where 16 bytes cannot be loaded at once
    bool fast;

    DEVICE Stripe(long long rows, long long cols, bool arrays_aligned) : cols(cols) {
        fast = arrays_aligned && cols % W == 0;
        step = fast ? 1 : blockDim.x;
        first = (long long)blockIdx.x * blockDim.x * W + threadIdx.x * (fast ? W : 1);
        long long chunk = (rows + gridDim.y - 1) / gridDim.y;
        rows_begin = blockIdx.y * chunk;
        rows_end = rows_begin + chunk < rows ? rows_begin + chunk : rows;
    }
    DEVICE long long column(int j) const { return first + (long long)j * step; }

    DEVICE void load(const T* row, C (&v)[W]) const {
        if (fast) {
            if (first < cols) load16(row + first, v);
            return;
        }
#pragma unroll
        for (int j = 0; j < W; j++)
            if (column(j) < cols) v[j] = C(row[column(j)]);
    }
    DEVICE void load_wide(const C* row, C (&v)[W]) const {  // once a thread: an element at a time
#pragma unroll
        for (int j = 0; j < W; j++)
            if (column(j) < cols) v[j] = row[column(j)];
    }
    DEVICE void store(T* row, const C (&v)[W]) const {
        if (fast) {
            if (first < cols) store16(row + first, v);
            return;
        }
#pragma unroll
        for (int j = 0; j < W; j++)
            if (column(j) < cols) row[column(j)] = T(v[j]);
    }

    // f(row) for the rows of this thread; what it does must not wait for other threads
    template <typename F> DEVICE void each_row(F f) const {
        for (long long r = rows_begin + threadIdx.y; r < rows_end; r += blockDim.y) f(r);
    }

    // The block's sum of `sum` for each column, in all threads that have the column
    DEVICE void add_up(C (&sum)[W]) const {
        __shared__ C cells[W][256];
        int me = threadIdx.y * blockDim.x + threadIdx.x;
        __syncthreads();
#pragma unroll
        for (int j = 0; j < W; j++) cells[j][me] = sum[j];
        for (int half = blockDim.y / 2; half > 0; half /= 2) {
            __syncthreads();
            if ((int)threadIdx.y < half)
#pragma unroll
                for (int j = 0; j < W; j++) cells[j][me] += cells[j][me + half * blockDim.x];
        }
        __syncthreads();
#pragma unroll
        for (int j = 0; j < W; j++) sum[j] = cells[j][threadIdx.x];
    }
    // partial[blockIdx.y, column] = the block's value of each column
    DEVICE void leave(const C (&value)[W], C* partial) const {
        if (threadIdx.y > 0) return;
#pragma unroll
        for (int j = 0; j < W; j++)
            if (column(j) < cols) partial[blockIdx.y * cols + column(j)] = value[j];
    }
    DEVICE void leave_sums(C (&sum)[W], C* partial) const {
        add_up(sum);
        leave(sum, partial);
    }
};

// The second stage: out[c] = sum over chunks of partial[0, chunk, c], and `second` the same of partial[1, chunk, c]
template <typename T>
__global__ void fold(const wide<T>* __restrict__ partial, T* __restrict__ first, T* __restrict__ second_or_null,
                     long long chunks, long long cols) {
    partial += blockIdx.y * chunks * cols;
    T* out = blockIdx.y ? second_or_null : first;
    for (long long c = thread_id(); c < cols; c += thread_count()) {
        wide<T> sum = 0;
        for (long long k = 0; k < chunks; k++) sum += partial[k * cols + c];
        out[c] = T(sum);
    }
}
