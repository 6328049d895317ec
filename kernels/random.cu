// Random bits: element i is word i % 4 of the counter (i / 4, draw), so any draw can be made again, in any order.
#include "common.cuh"
#include "philox.cuh"

__global__ void random_bits(unsigned* __restrict__ out, unsigned long long seed, unsigned long long draw, long long n) {
    for (long long i = thread_id(); 4 * i < n; i += thread_count()) {
        uint4 b = philox(make_uint4((unsigned)i, (unsigned)(i >> 32), (unsigned)draw, (unsigned)(draw >> 32)),
                         make_uint2((unsigned)seed, (unsigned)(seed >> 32)));
        unsigned words[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (4 * i + j < n) out[4 * i + j] = words[j];
    }
}
