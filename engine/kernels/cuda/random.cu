// For int64 only: words of (seed, stream), from word `start` on.
//
//     for block b of four words:                    # elements(blocks): a thread for every so many
//         words[4 b - skip ..] = philox(seed, stream, start / 4 + b)
#include "philox.cuh"

extern "C" __global__ void philox_bits(Wide seed, Wide stream, Wide first, Int skip, Word* __restrict__ words, Int n) {
    for (Int b = first_element(); 4 * b < skip + n; b += element_step()) {
        const Words block = philox(seed, stream, first + b);
        for (int k = 0; k < 4; k++) {
            const Int i = 4 * b + k - skip;
            if (i >= 0 && i < n) words[i] = block.at[k];
        }
    }
}
