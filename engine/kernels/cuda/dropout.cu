// Dropout: word i of (seed, stream) decides on element i. The mask is made, used, and forgotten.
//
//     for block b of four elements:                 # elements(n / 4): a thread for every so many
//         words = philox(seed, stream, b)
//         y[i] = x[i] scale  where words[i] <= last, else 0
#include "philox.cuh"

extern "C" __global__ void dropout(const T* __restrict__ x, T* __restrict__ y, Wide seed, Wide stream,
                                   const Wide* __restrict__ now, Word last, A scale, Int n) {
    stream = stream_now(stream, now);
    for (Int b = first_element(); 4 * b < n; b += element_step()) {
        const Words words = philox(seed, stream, b);
        for (int k = 0; k < 4 && 4 * b + k < n; k++)
            y[4 * b + k] = store(words.at[k] <= last ? load(x[4 * b + k]) * scale : A(0));
    }
}
