// Work on the rows of a matrix, each shared by TEAM threads: a warp or a block.  Where 16 bytes can be loaded at once a
// thread keeps the first 16 values it meets in registers, so rows of up to 16 * TEAM elements are read once; what is
// longer, and rows that are not aligned, are read again from the caches.
template <typename T, int TEAM> struct Span {
    using C = wide<T>;
    static constexpr int W = Pack<T>::size, HELD = 16 / W;
    long long cols, packs;  // packs: turns that the team takes through a row, `kept` of them in registers
    int me, kept;
    bool fast;

    DEVICE Span(long long cols, bool arrays_aligned) : cols(cols) {
        packs = (cols + TEAM * W - 1) / (TEAM * W);
        me = threadIdx.x % TEAM;
        fast = arrays_aligned && cols % W == 0;
        kept = !fast ? 0 : packs < HELD ? int(packs) : HELD;
    }
    // Where value j of this thread's turn p is: neighbouring threads take neighbouring 16 bytes, or elements.
    DEVICE long long column(int p, int j) const { return (p * TEAM + me) * W + j; }
    DEVICE long long column(long long p, int j) const {
        return fast ? (p * TEAM + me) * W + j : (p * W + j) * TEAM + me;
    }
    // A turn that is kept is numbered by an int, and its 16 bytes are there to be loaded; others by a long long.
    DEVICE void load(const T* row, int p, C (&v)[W], C fill) const {
        if (column(p, 0) < cols) load16(row + column(p, 0), v);
        else
#pragma unroll
            for (int j = 0; j < W; j++) v[j] = fill;
    }
    DEVICE void load(const T* row, long long p, C (&v)[W], C fill) const {
        if (fast) {
            if (column(p, 0) < cols) load16(row + column(p, 0), v);
            else
#pragma unroll
                for (int j = 0; j < W; j++) v[j] = fill;
            return;
        }
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = column(p, j) < cols ? C(row[column(p, j)]) : fill;
    }
    DEVICE void store(T* row, int p, const C (&v)[W]) const {
        if (column(p, 0) < cols) store16(row + column(p, 0), v);
    }
    DEVICE void store(T* row, long long p, const C (&v)[W]) const {
        if (fast) {
            if (column(p, 0) < cols) store16(row + column(p, 0), v);
            return;
        }
#pragma unroll
        for (int j = 0; j < W; j++)
            if (column(p, j) < cols) row[column(p, j)] = T(v[j]);
    }

    // f(p) for the turns that are kept, unrolled so that what it indexes by p stays in registers; then for the others
    template <typename F> DEVICE void each_kept(F f) const {
#pragma unroll
        for (int p = 0; p < HELD; p++)
            if (p < kept) f(p);
    }
    template <typename F> DEVICE void each_other(F f) const {
#pragma unroll 1
        for (long long p = kept; p < packs; p++) f(p);
    }

    // f(v, p) for all turns: `held` as they are, the others after `read(p, v)`
    template <typename G, typename F> DEVICE void each(C (&held)[HELD][W], G read, F f) const {
        each_kept([&](int p) { f(held[p], p); });
        each_other([&](long long p) {
            C v[W];
            read(p, v);
            f(v, p);
        });
    }
    // the same, of two rows
    template <typename G, typename F> DEVICE void each(C (&a)[HELD][W], C (&b)[HELD][W], G read, F f) const {
        each_kept([&](int p) { f(a[p], b[p], p); });
        each_other([&](long long p) {
            C v[W], w[W];
            read(p, v, w);
            f(v, w, p);
        });
    }

    // f(row) for the rows of this team; whole teams take part
    template <typename F> static DEVICE void each_row(long long rows, F f) {
        long long team = thread_id() / TEAM, teams = thread_count() / TEAM;
        for (long long r = team; r < rows; r += teams) f(r);
    }
};
