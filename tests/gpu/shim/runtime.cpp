// The device that kernels run on: one processor thread, device memory between guard pages, a block's threads as fibers.
//
//     for block of the grid, in the schedule's order:
//         shared memory becomes NaN
//         until all threads have returned:
//             for thread, in the schedule's order: run it until it returns, or waits for others
//             who waits for a barrier, or for lanes of its warp, goes on when all of them are there
//
// Kernels compiled with -fsanitize=thread call __tsan_read4 and its like at every access to memory. These are defined
// here (the sanitizer's own library is not linked), and hold each access to four laws:
//
//     it lies inside an array, and an array that kernels may only read is not written
//     what it reads has been written before
//     two threads of a block touch the same place, one of them writing, only with a barrier between them
//     two blocks of a launch never do: nothing orders blocks
#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <vector>
#include <signal.h>
#include <sys/mman.h>

#include "launch.h"

#ifndef __x86_64__
#error "the fibers' switch is written for x86-64"
#endif

shim_uint3 shim_thread, shim_block;
shim_uint3 shim_block_dim, shim_grid_dim;
char* shim_dynamic_shared;

namespace {

typedef uintptr_t Address;

// ---------------------------------------------------------------------------------------------------------- fibers
extern "C" void shim_switch(void** save, void* to);
asm(".text\n.type shim_switch,@function\nshim_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");

enum State { READY, BARRIER, WARP, DONE };

struct Thread {
    State state;
    unsigned mask;              // of the lanes it waits for
    unsigned barriers, syncs;   // passed: those of the block, and __syncwarp
    int parity;                 // of its exchanges: a lane may be one ahead of another, never two
    uint64_t slot[2];
    shim_uint3 place;
    void* stack_pointer;
    char* stack;
};

const size_t STACK = 1 << 16;
const int MOST = 1024;
Thread threads[MOST];
int now, count;                 // the thread that runs, and how many a block has
void* scheduler;
const Launch* launched;
char error[400];
uint32_t serial, first_serial;  // of the block that runs, and of the launch's first: never used twice

void leave() { shim_switch(&threads[now].stack_pointer, scheduler); }

void fail(const char* form, ...) {
    if (!error[0]) {
        va_list args;
        va_start(args, form);
        int n = vsnprintf(error, sizeof error, form, args);
        va_end(args);
        snprintf(error + n, sizeof error - n, " (block %u,%u,%u thread %u,%u,%u)", shim_block.x, shim_block.y,
                 shim_block.z, shim_thread.x, shim_thread.y, shim_thread.z);
    }
}

[[noreturn]] void stop() {
    leave();  // the scheduler sees the error, and never comes back
    abort();
}

void entry() {
    launched->body(launched->argument);
    threads[now].state = DONE;
    leave();
    abort();
}

void prepare(Thread& t) {
    if (!t.stack)
        t.stack = (char*)mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t* top = (uint64_t*)(t.stack + STACK);
    *--top = 0;
    *--top = (uint64_t)entry;
    for (int i = 0; i < 6; i++) *--top = 0;
    t.stack_pointer = top;
    t.state = READY;
    t.barriers = t.syncs = t.parity = 0;
}

bool run(int i) {
    if (threads[i].state != READY) return false;
    now = i;
    shim_thread = threads[i].place;
    shim_switch(&scheduler, threads[i].stack_pointer);
    return true;
}

// Lanes that wait for just those lanes that wait for them go on.
bool release_warp(int warp) {
    int first = warp * 32, lanes = std::min(32, count - first);
    unsigned here = lanes == 32 ? ~0u : (1u << lanes) - 1;
    bool any = false;
    for (int lane = 0; lane < lanes; lane++) {
        Thread& t = threads[first + lane];
        if (t.state != WARP) continue;
        if (t.mask & ~here) return fail("a warp's mask names lanes that this block does not have"), false;
        bool all = true;
        for (int k = 0; k < lanes; k++)
            if (t.mask >> k & 1) all &= threads[first + k].state == WARP && threads[first + k].mask == t.mask;
        if (!all) continue;
        unsigned mask = t.mask;
        for (int k = 0; k < lanes; k++)
            if (mask >> k & 1) threads[first + k].state = READY;
        any = true;
    }
    return any;
}

// All that live wait for the barrier, and none has returned before it (CuPy's own kernels do: they are allowed to).
bool release_block() {
    int waiting = 0, done = 0;
    for (int i = 0; i < count; i++) waiting += threads[i].state == BARRIER, done += threads[i].state == DONE;
    if (!waiting || waiting + done < count) return false;
    if (done && !launched->lenient) return fail("a thread returned before a __syncthreads() of the others"), false;
    for (int i = 0; i < count; i++)
        if (threads[i].state == BARRIER) threads[i].state = READY, threads[i].barriers++;
    return true;
}

bool finished() {
    for (int i = 0; i < count; i++)
        if (threads[i].state != DONE) return false;
    return true;
}

// Schedule 0 runs all threads in step, the others one warp after the other, each as far as it can go alone.
void run_block(const std::vector<int>& order) {
    int warps = (count + 31) / 32;
    for (int i = 0; i < count; i++) prepare(threads[i]);
    while (!error[0] && !finished()) {
        bool any = false;
        if (launched->schedule == 0) {
            for (int i : order) any |= !error[0] && run(i);
            for (int w = 0; w < warps; w++) any |= !error[0] && release_warp(w);
        } else {
            std::vector<bool> seen(warps);
            for (int leader : order) {
                int w = leader / 32;
                if (seen[w]) continue;
                seen[w] = true;
                for (bool on = true; on;) {
                    on = false;
                    for (int i : order)
                        if (i / 32 == w) on |= !error[0] && run(i);
                    on |= !error[0] && release_warp(w);
                    any |= on;
                }
            }
        }
        if (error[0] || finished()) return;
        any |= release_block();
        if (!any && !error[0]) fail("deadlock: a __syncthreads() or a warp's mask that not all threads reach");
    }
}

std::vector<uint64_t> order_of(uint64_t n, int schedule) {
    std::vector<uint64_t> order(n);
    for (uint64_t i = 0; i < n; i++) order[i] = schedule == 1 ? n - 1 - i : i;
    std::mt19937 random(schedule);
    if (schedule > 1) std::shuffle(order.begin(), order.end(), random);
    return order;
}

// ---------------------------------------------------------------------------------------------------------- memory
const size_t PAGE = 4096, ARENA = size_t(1) << 37;  // addresses, not memory: none is ever used twice

struct Access {
    uint32_t block = 0;         // serial number; 0: there was none
    uint16_t thread = 0;
    bool atomic = false;
    uint32_t barriers = 0, syncs = 0;
};

struct Cell {
    Access write, reads[2];     // of two threads: whoever writes is another than one of them
    bool written = false;       // has it a value?
};

struct Region {
    Address begin, end, pages_end;
    size_t item;                // bytes that share a cell
    bool read_only, filled, shared;
    std::vector<Cell> cells;
};

Address arena, arena_next;
std::map<Address, Region> regions;  // by the first byte of their pages
Region* latest;
Region shared_static, shared_dynamic;

Region* region_at(Address at) {
    if (latest && at >= latest->begin && at < latest->end) return latest;
    auto found = regions.upper_bound(at);
    if (found == regions.begin()) return nullptr;
    --found;
    if (at >= found->second.pages_end) return nullptr;
    return latest = &found->second;
}

bool ordered(const Access& a, const Access& b) {
    if (a.block < first_serial) return true;  // none, or of an earlier launch
    if (a.block != b.block) return false;
    return a.thread == b.thread || a.barriers < b.barriers || (a.thread / 32 == b.thread / 32 && a.syncs < b.syncs);
}

void race(const char* what, const Region& r, size_t offset, const Access& other) {
    const char* where = r.shared ? "shared memory" : "device memory";
    if (other.block == serial)
        fail("race: %s byte %zu of %s, thread %u of the block too, without a barrier between", what, offset, where,
             other.thread);
    else
        fail("race: %s byte %zu of %s, block %u of the launch too", what, offset, where, other.block - first_serial);
    stop();
}

void touch(Region& r, Address at, size_t size, bool writes, bool atomic) {
    if (at < r.begin || at + size > r.end) {
        fail("out of range: %s %zu bytes at byte %lld of an array of %zu", writes ? "writes" : "reads", size,
             (long long)(at - r.begin), size_t(r.end - r.begin));
        stop();
    }
    if (writes && r.read_only) fail("writes byte %zu of an array that it may only read", at - r.begin), stop();
    if (r.cells.empty()) {
        r.cells.resize((r.end - r.begin + r.item - 1) / r.item);
        for (Cell& c : r.cells) c.written = r.filled;
    }
    Access here{serial, (uint16_t)now, atomic, threads[now].barriers, threads[now].syncs};
    for (size_t i = (at - r.begin) / r.item; i <= (at + size - 1 - r.begin) / r.item; i++) {
        Cell& c = r.cells[i];
        bool old = r.shared && c.write.block != serial;  // another block's: gone
        if (old) c = Cell();
        if (!(atomic && c.write.atomic) && !ordered(c.write, here))
            race(writes ? "writes" : "reads", r, i * r.item, c.write);
        if (!writes || atomic) {
            if (!c.written) fail("reads byte %zu, which nobody has written", i * r.item), stop();
        }
        if (writes) {
            for (Access& read : c.reads)
                if (!ordered(read, here)) race("writes", r, i * r.item, read);
            c.write = here;
            c.written = true;
        } else if (c.reads[0].thread == here.thread && c.reads[0].block == here.block) {
            c.reads[0] = here;
        } else {
            c.reads[1] = c.reads[0];
            c.reads[0] = here;
        }
    }
}

inline void hook(void* pointer, size_t size, bool writes) {
    Address at = (Address)pointer;
    if (!launched || error[0]) return;
    if (at - arena < ARENA) {
        Region* r = region_at(at);
        if (!r) fail("out of range: %s memory that belongs to no array", writes ? "writes" : "reads"), stop();
        touch(*r, at, size, writes, false);
    } else if (at - shared_static.begin < shared_static.pages_end - shared_static.begin) {
        touch(shared_static, at, size, writes, false);
    } else if (at - shared_dynamic.begin < shared_dynamic.pages_end - shared_dynamic.begin) {
        touch(shared_dynamic, at, size, writes, false);
    }
}

void on_fault(int, siginfo_t* info, void*) {
    Address at = (Address)info->si_addr;
    fail("out of range: touches memory that belongs to no array (%s)", at < PAGE ? "a null pointer" : "a guard page");
    stop();
}

void set_shared(Region& r, char* begin, size_t bytes, size_t room) {  // NaN, with some room behind that is nobody's
    memset(begin, 0xFF, bytes);
    if (r.begin == (Address)begin && r.end == (Address)begin + bytes) return;
    r = Region{(Address)begin, (Address)begin + bytes, (Address)begin + room, 4, false, false, true, {}};
}

}  // namespace

// ------------------------------------------------------------------------------------------------- what kernels call
extern "C" void shim_barrier() {
    threads[now].state = BARRIER;
    leave();
}

extern "C" void shim_warp_barrier(unsigned mask, int orders_memory) {
    Thread& t = threads[now];
    if (!(mask >> (now % 32) & 1)) fail("a lane calls with a mask that it is not in"), stop();
    t.state = WARP;
    t.mask = mask;
    leave();
    t.syncs += orders_memory;
}

extern "C" uint64_t shim_exchange(unsigned mask, uint64_t value, int source) {
    Thread& t = threads[now];
    t.parity ^= 1;
    int parity = t.parity;
    t.slot[parity] = value;
    shim_warp_barrier(mask, 0);
    if (!(mask >> source & 1)) fail("a lane reads the register of lane %d, which the mask leaves out", source), stop();
    return threads[now / 32 * 32 + source].slot[parity];
}

extern "C" int shim_lane() { return now % 32; }

extern "C" void shim_atomic(void* pointer, size_t size) {
    Address at = (Address)pointer;
    if (error[0]) return;
    if (at - arena < ARENA) {
        if (Region* r = region_at(at)) touch(*r, at, size, true, true);
    } else if (at - shared_static.begin < shared_static.end - shared_static.begin) {
        touch(shared_static, at, size, true, true);
    }
}

#define HOOKS(n)                                                                    \
    extern "C" void __tsan_read##n(void* p) { hook(p, n, false); }                  \
    extern "C" void __tsan_write##n(void* p) { hook(p, n, true); }                  \
    extern "C" void __tsan_unaligned_read##n(void* p) { hook(p, n, false); }        \
    extern "C" void __tsan_unaligned_write##n(void* p) { hook(p, n, true); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
extern "C" void __tsan_read_range(void* p, size_t n) { if (n) hook(p, n, false); }
extern "C" void __tsan_write_range(void* p, size_t n) { if (n) hook(p, n, true); }
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}

// ------------------------------------------------------------------------------------------------ what Python calls
extern "C" const char* shim_launch(const Launch* launch) {
    count = launch->block.x * launch->block.y * launch->block.z;
    uint64_t blocks = (uint64_t)launch->grid.x * launch->grid.y * launch->grid.z;
    error[0] = 0;
    if (count < 1 || count > MOST) return "a block has 1 to 1024 threads";
    if (!blocks) return "a grid has at least one block";
    if (launch->grid.y > 65535 || launch->grid.z > 65535) return "a grid has at most 65535 blocks along y and z";
    size_t fixed = launch->shared_end - launch->shared_begin;  // of all the module's kernels: ptxas counts each one's
    if (launch->shared_bytes > 48 << 10) return "a block has at most 48 KiB of shared memory";

    static char dynamic[(48 << 10) + 256] __attribute__((aligned(256)));
    shim_dynamic_shared = dynamic;
    shim_block_dim = launch->block;
    shim_grid_dim = launch->grid;
    launched = launch;
    first_serial = serial + 1;
    struct sigaction before, mine = {};
    mine.sa_sigaction = on_fault;
    mine.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &mine, &before);
    for (int i = 0; i < count; i++)
        threads[i].place = {i % launch->block.x, i / launch->block.x % launch->block.y,
                            i / (launch->block.x * launch->block.y)};
    std::vector<int> order;
    for (uint64_t i : order_of(count, launch->schedule)) order.push_back((int)i);
    for (uint64_t b : order_of(blocks, launch->schedule)) {
        shim_block = {unsigned(b % launch->grid.x), unsigned(b / launch->grid.x % launch->grid.y),
                      unsigned(b / ((uint64_t)launch->grid.x * launch->grid.y))};
        serial = first_serial + (uint32_t)b;
        set_shared(shared_static, launch->shared_begin, fixed, fixed ? fixed + 64 : 0);
        set_shared(shared_dynamic, dynamic, launch->shared_bytes, sizeof dynamic);
        run_block(order);
        if (error[0]) break;
    }
    serial = first_serial + (uint32_t)blocks;
    sigaction(SIGSEGV, &before, nullptr);
    launched = nullptr;
    return error[0] ? error : nullptr;
}

// An array of its own pages, its end at theirs (up to 15 bytes are left for alignment), between pages that nobody has.
extern "C" void* shim_allocate(size_t bytes, size_t item) {
    if (!arena) {
        arena = (Address)mmap(0, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        arena_next = arena + PAGE;
    }
    size_t room = (bytes + 15) / 16 * 16, pages = (room + PAGE - 1) / PAGE * PAGE;
    if (arena_next + pages + PAGE > arena + ARENA) return nullptr;
    Address first = arena_next, begin = first + pages - room;
    arena_next += pages + PAGE;
    if (pages && mprotect((void*)first, pages, PROT_READ | PROT_WRITE)) return nullptr;
    memset((void*)first, 0xFF, pages);
    regions[first] = Region{begin, begin + bytes, first + pages, item, false, false, false, {}};
    return (void*)begin;
}

static Region* region_of(void* pointer) {
    auto found = regions.upper_bound((Address)pointer);
    return found == regions.begin() ? nullptr : &std::prev(found)->second;
}

// What the host has written there counts as written; `read_only`: kernels must leave it as it is.
extern "C" void shim_filled(void* pointer, int read_only) {
    Region* r = region_of(pointer);
    r->filled = true;
    r->read_only = read_only;
    r->cells.clear();
}

// Has no kernel written beside the array, in its own pages? (Kernels without hooks can.)
extern "C" int shim_intact(void* pointer) {
    auto found = regions.upper_bound((Address)pointer);
    const Region& r = (--found)->second;
    for (Address at = found->first; at < r.pages_end; at++)
        if ((at < r.begin || at >= r.end) && *(unsigned char*)at != 0xFF) return 0;
    return 1;
}

extern "C" void shim_free(void* pointer) {
    auto found = regions.upper_bound((Address)pointer);
    if (found == regions.begin()) return;
    --found;
    size_t pages = found->second.pages_end - found->first;
    if (pages) {
        madvise((void*)found->first, pages, MADV_DONTNEED);
        mprotect((void*)found->first, pages, PROT_NONE);
    }
    latest = nullptr;
    regions.erase(found);
}
