// Runs CUDA kernels on the CPU.  Each CUDA thread is a fiber; a block's fibers take turns on one OS thread and change
// over only at a barrier or a warp operation, in an order that the caller chooses.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <vector_types.h>  // dim3, uint3, uint4: NVIDIA's own headers, as a host compiler reads them
#include <vector_functions.h>
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __launch_bounds__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static thread_local  // one block at a time runs on an OS thread
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__ &  // written after the type: the parameter itself, no copy on a fiber's small stack

#if !defined(__x86_64__) && !defined(CUDAHOST_UCONTEXT)
#define CUDAHOST_UCONTEXT
#endif
#ifdef CUDAHOST_UCONTEXT
#include <ucontext.h>
#endif

namespace cudahost {

enum State : uint8_t { READY, AT_BARRIER, IN_WARP, DONE };
enum Order : unsigned { WARPS_BACKWARDS = 1, LANES_BACKWARDS = 2, BLOCKS_BACKWARDS = 4 };

constexpr size_t STACK = 32 * 1024, PAGE = 16 * 1024;  // a multiple of any machine's page

#ifdef CUDAHOST_UCONTEXT
// Portable, and some ten times slower: swapcontext makes a system call to save the signal mask.
using Context = ucontext_t;
inline void change(Context* from, Context* to) { swapcontext(from, to); }
#else
using Context = void*;  // the stack pointer; the registers that a call preserves are on the stack
extern "C" void cudahost_switch(void** save, void* to);
asm(R"(
.text
.weak cudahost_switch
cudahost_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
inline void change(Context* from, Context* to) { cudahost_switch(from, *to); }
#endif

struct Fiber {
    Context context;
    uint3 index;
    unsigned linear, mask;
    State state;
};

struct Warp {  // what lanes hand each other: two slots, so that a fast lane's next value does not hide its last one
    uint64_t slot[2][32];
    unsigned turn[32];
};

struct Block {
    uint3 index;
    dim3 shape, grid;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<char> shared;
    void (*entry)(void**);
    void** args;
    Context scheduler;
    Fiber* current = nullptr;
    char* stacks = nullptr;
    unsigned order = 0;
    std::string error;

    char* stack(size_t i) const { return stacks + i * (PAGE + STACK) + PAGE; }
};

inline thread_local Block* block;
inline thread_local sigjmp_buf crashed;
inline thread_local volatile sig_atomic_t crash_signal;
inline thread_local void* volatile crash_address;

inline void pause(State state) {
    Fiber* me = block->current;
    me->state = state;
    change(&me->context, &block->scheduler);
}

inline void body() {
    block->entry(block->args);
    pause(DONE);
    abort();  // a fiber that is done is not resumed
}

inline void prepare(Fiber& f, char* stack) {
    f.state = READY;
#ifdef CUDAHOST_UCONTEXT
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stack;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = nullptr;
    makecontext(&f.context, &body, 0);
#else
    void** top = (void**)(((uintptr_t)stack + STACK) & ~uintptr_t(15));
    *--top = nullptr;
    *--top = (void*)&body;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    f.context = top;
#endif
}

// Lanes wait in a warp operation until all that its mask names are in one with the same mask.
inline bool release_warp(Block& b, unsigned first, unsigned end) {
    bool released = false;
    for (unsigned i = first; i < end; i++) {
        if (b.fibers[i].state != IN_WARP) continue;
        unsigned mask = b.fibers[i].mask;
        bool all = mask >> (i - first) & 1;
        for (unsigned j = first; j < first + 32 && all; j++)
            if (mask >> (j - first) & 1)
                all = j < end && b.fibers[j].state == IN_WARP && b.fibers[j].mask == mask;
        if (!all) continue;
        released = true;
        for (unsigned j = first; j < end; j++)
            if (mask >> (j - first) & 1) b.fibers[j].state = READY;
    }
    return released;
}

inline void run_warp(Block& b, unsigned first, unsigned end, bool& progress, unsigned& done) {
    do {
        for (unsigned k = first; k < end; k++) {
            Fiber& f = b.fibers[b.order & LANES_BACKWARDS ? first + end - 1 - k : k];
            if (f.state != READY) continue;
            b.current = &f;
            change(&b.scheduler, &f.context);
            progress = true;
            done += f.state == DONE;
        }
    } while (release_warp(b, first, end));
}

inline void run_block(Block& b) {
    unsigned n = b.fibers.size(), warps = b.warps.size(), done = 0;
    for (unsigned i = 0; i < n; i++) prepare(b.fibers[i], b.stack(i));
    for (Warp& w : b.warps) memset(w.turn, 0, sizeof w.turn);
    while (done < n) {
        bool progress = false;
        for (unsigned k = 0; k < warps; k++) {
            unsigned first = (b.order & WARPS_BACKWARDS ? warps - 1 - k : k) * 32;
            run_warp(b, first, std::min(n, first + 32), progress, done);
        }
        unsigned waiting = 0;
        for (Fiber& f : b.fibers) waiting += f.state == AT_BARRIER;
        if (waiting && waiting + done == n) {
            if (done) {  // hardware lets this pass; it is undefined all the same
                b.error = "__syncthreads() not reached by " + std::to_string(done) + " exited threads";
                return;
            }
            for (Fiber& f : b.fibers) f.state = READY;
        } else if (!progress && done < n) {
            b.error = "deadlock: " + std::to_string(waiting) + " threads in __syncthreads(), " +
                      std::to_string(n - waiting - done) + " in a warp operation, " + std::to_string(done) + " exited";
            return;
        }
    }
}

// Stacks for the most threads that a block has, each above a page that nobody may touch; kept by the OS thread.
inline char* stacks() {
    static thread_local char* made = [] {
        void* p = mmap(nullptr, 1024 * (PAGE + STACK), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) abort();
        for (int i = 0; i < 1024; i++) mprotect((char*)p + i * (PAGE + STACK), PAGE, PROT_NONE);
        return (char*)p;
    }();
    return made;
}

inline unsigned lane() { return block->current->linear & 31; }
inline Warp& warp() { return block->warps[block->current->linear >> 5]; }

inline void meet(unsigned mask) {
    block->current->mask = mask;
    pause(IN_WARP);
}

// What lane `from` gave: every lane of the mask puts its value down, waits for the others, and takes.
template <class T> inline T exchange(unsigned mask, T value, int from) {
    static_assert(sizeof(T) <= 8);
    Warp& w = warp();
    unsigned turn = w.turn[lane()]++ & 1;
    memcpy(&w.slot[turn][lane()], &value, sizeof value);
    meet(mask);
    T taken;
    memcpy(&taken, &w.slot[turn][from & 31], sizeof taken);
    return taken;
}

inline void on_crash(int number, siginfo_t* info, void*) {
    crash_signal = number;
    crash_address = info->si_addr;
    siglongjmp(crashed, 1);
}

// Signals that a wrong kernel raises become the launch's error; the process goes on.
struct Signals {
    static constexpr int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction old[4];
    stack_t old_stack;
    Signals() {
        static thread_local char room[64 * 1024];  // a stack to handle the overflow of a stack on
        stack_t own = {};
        own.ss_sp = room, own.ss_size = sizeof room;
        sigaltstack(&own, &old_stack);
        struct sigaction action = {};
        action.sa_sigaction = on_crash;
        action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
        for (int i = 0; i < 4; i++) sigaction(numbers[i], &action, &old[i]);
    }
    ~Signals() {
        for (int i = 0; i < 4; i++) sigaction(numbers[i], &old[i], nullptr);
        sigaltstack(&old_stack, nullptr);
    }
};

inline std::string crash_report(const Block& b) {
    char text[160];
    char* at = (char*)crash_address;
    bool overflow = crash_signal != SIGILL && at >= b.stacks && at < b.stacks + 1024 * (PAGE + STACK);
    const char* what = overflow                 ? "it needs more than 32 KB of stack"
                       : crash_signal == SIGILL   ? "an index is out of bounds of a shared or local array"
                       : crash_signal == SIGFPE ? "an integer division by zero"
                                                : "an access outside the arrays it was given";
    uint3 t = b.current->index;
    snprintf(text, sizeof text, "%s, in thread (%u,%u,%u), at %p", what, t.x, t.y, t.z, crash_address);
    return text;
}

inline int launch(void (*entry)(void**), const unsigned* grid, const unsigned* shape, size_t shared, void** args,
                  unsigned order, char* error, size_t room) {
    size_t blocks = (size_t)grid[0] * grid[1] * grid[2], threads = (size_t)shape[0] * shape[1] * shape[2];
    if (!blocks || !threads || threads > 1024 || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) {
        snprintf(error, room, "CUDA has no grid (%u,%u,%u) of blocks (%u,%u,%u)", grid[0], grid[1], grid[2], shape[0],
                 shape[1], shape[2]);
        return 1;
    }
    Block b;
    b.shape = dim3(shape[0], shape[1], shape[2]);
    b.grid = dim3(grid[0], grid[1], grid[2]);
    b.fibers.resize(threads);
    b.warps.resize((threads + 31) / 32);
    b.shared.resize(shared + 16);
    b.entry = entry, b.args = args, b.order = order, b.stacks = stacks();
    for (size_t i = 0; i < threads; i++) {
        b.fibers[i].linear = i;
        b.fibers[i].index = make_uint3(i % shape[0], i / shape[0] % shape[1], i / shape[0] / shape[1]);
    }
    block = &b;
    Signals signals;
    for (size_t i = 0; i < blocks && b.error.empty(); i++) {
        size_t k = order & BLOCKS_BACKWARDS ? blocks - 1 - i : i;
        b.index = make_uint3(k % grid[0], k / grid[0] % grid[1], k / grid[0] / grid[1]);
        memset(b.shared.data(), 0xff, b.shared.size());  // NaN: dynamic shared memory starts undefined
        if (sigsetjmp(crashed, 0))
            b.error = crash_report(b);
        else
            run_block(b);
    }
    if (b.error.empty()) return 0;
    snprintf(error, room, "block (%u,%u,%u): %s", b.index.x, b.index.y, b.index.z, b.error.c_str());
    return 1;
}

// A kernel's parameters, and how to call it with pointers to them.
template <auto F> struct Kernel;
template <class... A, void (*F)(A...)> struct Kernel<F> {
    template <class P> using Plain = std::remove_cv_t<std::remove_reference_t<P>>;
    static constexpr int count = sizeof...(A);
    static void describe(char* kinds, int* sizes) {
        int i = 0, j = 0;
        ((kinds[i++] = std::is_pointer_v<A>                 ? 'p'
                       : std::is_floating_point_v<Plain<A>> ? 'f'
                       : std::is_integral_v<Plain<A>>       ? 'i'
                                                            : 's'),
         ...);
        ((sizes[j++] = sizeof(Plain<A>)), ...);
    }
    template <size_t... I> static void call(void** a, std::index_sequence<I...>) {
        F(*(Plain<std::tuple_element_t<I, std::tuple<A...>>>*)a[I]...);
    }
    static void entry(void** a) { call(a, std::index_sequence_for<A...>{}); }
};

}  // namespace cudahost

#define CUDAHOST_EXPORT(ID, ...)                                                                                   \
    extern "C" {                                                                                                   \
    int cudahost_count_##ID() { return cudahost::Kernel<&__VA_ARGS__>::count; }                                    \
    void cudahost_describe_##ID(char* kinds, int* sizes) { cudahost::Kernel<&__VA_ARGS__>::describe(kinds, sizes); } \
    int cudahost_run_##ID(const unsigned* grid, const unsigned* shape, size_t shared, void** args, unsigned order, \
                          char* error, size_t room) {                                                              \
        return cudahost::launch(&cudahost::Kernel<&__VA_ARGS__>::entry, grid, shape, shared, args, order, error, room); \
    }                                                                                                              \
    }

#include "intrinsics.h"
