// What a kernel's library and the runtime know of each other.
#pragma once
#include <cstddef>

struct shim_uint3 { unsigned x, y, z; };

struct Launch {
    shim_uint3 grid, block;
    int schedule;                       // 0 in step, 1 backwards, 2 and more shuffled: the number is the seed
    int lenient;                        // threads may return before a barrier of the others
    size_t shared_bytes;                // dynamic
    char *shared_begin, *shared_end;    // static
    void (*body)(void*);                // one thread
    void* argument;
};
