// Attention, tile by tile: none of the N h T S weights is ever written.
//
//     forward, for sample, head, tile of 32 queries:                     # a block of 8 warps; a warp has 4 of the queries
//         for tile of 32 keys (a lane each), as far as the last query sees:
//             z = scale q . k + bias, -inf where hidden                  # depth by depth, both tiles in shared memory
//             m' = max(m, z);  p = exp(z - m');  sum = sum exp(m - m') + Sum(p);  y = y exp(m - m') + dropout(p) v
//         y / sum, and m + log(sum) for the way back
//
//     queries' gradient, the same tiles:     p = exp(z - lse);  s = p (g . v dropout - g . y);   dq += scale s k
//     keys' gradient, for sample, group, tile of 32 keys (a warp has 4), for head of the group, for tile of 32 queries:
//                                            dk += scale s q;  dv += dropout(p) g
//
// Everything is written by one thread. q, k, v are read where they lie: rows are contiguous, `at` says how far apart.
#include "philox.cuh"

const int TILE = 32, EACH = 4;                              // queries or keys of a tile; of a warp
const int DEPTH = sizeof(A) == 8 ? 32 : 64, WIDTH = 2 * DEPTH, SLOTS = WIDTH / 32;

struct Plan {
    Int N, T, h, d, S, groups, e, causal;
    Int q[3], k[3], v[3];                                   // steps along samples, rows, heads
    Int bias[4], mask[4];                                   // along samples, heads, queries, keys
};

struct Drop {
    Wide seed, stream;
    Int last, on;                                           // words up to `last` keep their weight
};

typedef A Narrow[TILE][DEPTH + 1];                          // odd rows: lanes read different banks
typedef A Broad[TILE][WIDTH + 1];

static __device__ __forceinline__ A warp_sum(A v) {
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}
static __device__ __forceinline__ A warp_max(A v) {
    for (int step = 16; step > 0; step /= 2) v = larger(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}

// Rows first .. first + 31 of x, columns from .. ; zeros beyond `rows` and `depth`.
template <int COLUMNS>
static __device__ __forceinline__ void load_tile(A (*tile)[COLUMNS + 1], const T* x, Int step, Int first, Int rows,
                                                 Int from, Int depth) {
    for (int r = threadIdx.y; r < TILE; r += blockDim.y)
        for (int c = threadIdx.x; c < COLUMNS; c += 32)
            tile[r][c] = first + r < rows && from + c < depth ? load(x[(first + r) * step + from + c]) : A(0);
}

// dots[r] = a[row r of this warp] . b[row of this lane]
static __device__ __forceinline__ void tile_dots(A* dots, Narrow& mine, Narrow& theirs, const T* a, Int a_step, Int a_first,
                                                 Int a_rows, const T* b, Int b_step, Int b_first, Int b_rows, Int depth) {
#pragma unroll
    for (int r = 0; r < EACH; r++) dots[r] = A(0);
    for (Int from = 0; from < depth; from += DEPTH) {
        load_tile<DEPTH>(mine, a, a_step, a_first, a_rows, from, depth);
        load_tile<DEPTH>(theirs, b, b_step, b_first, b_rows, from, depth);
        __syncthreads();
#pragma unroll 8
        for (int i = 0; i < DEPTH; i++)
#pragma unroll
            for (int r = 0; r < EACH; r++) dots[r] += mine[threadIdx.y * EACH + r][i] * theirs[threadIdx.x][i];
        __syncthreads();
    }
}

// sums[r][slot] += Sum(i, weights[r] of lane i * tile[i][column of this lane's slot])
static __device__ __forceinline__ void tile_sums(A (*sums)[SLOTS], const A* weights, Broad& tile) {
#pragma unroll 4
    for (int i = 0; i < TILE; i++)
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            const A weight = __shfl_sync(0xffffffffu, weights[r], i);
#pragma unroll
            for (int slot = 0; slot < SLOTS; slot++) sums[r][slot] += weight * tile[i][threadIdx.x + 32 * slot];
        }
}

// The score of query t and key s, -inf where the query does not see the key.
static __device__ __forceinline__ A score(const Plan& at, const T* bias, const bool* mask, Int n, Int a, Int t, Int s,
                                          A dot, A scale) {
    if (t >= at.T || s >= at.S || (at.causal && s > t + at.S - at.T)) return -infinity();
    if (mask && !mask[n * at.mask[0] + a * at.mask[1] + t * at.mask[2] + s * at.mask[3]]) return -infinity();
    const A z = dot * scale;
    return bias ? z + load(bias[n * at.bias[0] + a * at.bias[1] + t * at.bias[2] + s * at.bias[3]]) : z;
}

// What dropout multiplies the weight of (n, a, t, s) with: `up`, or 0.
static __device__ __forceinline__ A kept(const Plan& at, const Drop& drop, A up, Int n, Int a, Int t, Int s) {
    if (!drop.on) return A(1);
    const Int i = ((n * at.h + a) * at.T + t) * at.S + s;
    const Words words = philox(drop.seed, drop.stream, i / 4);
    const Word word = i % 4 < 2 ? (i % 4 == 0 ? words.at[0] : words.at[1]) : (i % 4 == 2 ? words.at[2] : words.at[3]);
    return (Int)word <= drop.last ? up : A(0);
}

// Keys that the last query of a tile sees, and the first query that sees the first key of a tile.
static __device__ __forceinline__ Int keys_seen(const Plan& at, Int first) {
    const Int seen = first + TILE + at.S - at.T;
    return !at.causal || seen > at.S ? at.S : seen;
}
static __device__ __forceinline__ Int first_query(const Plan& at, Int first) {
    const Int t = first - (at.S - at.T);
    return !at.causal || t < 0 ? 0 : t / TILE * TILE;
}

extern "C" __global__ void attention(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                                     const T* __restrict__ bias, const bool* __restrict__ mask, T* __restrict__ y,
                                     A* __restrict__ lses, Plan at, Drop drop, const Wide* __restrict__ now,
                                     A up, A scale) {
    drop.stream = stream_now(drop.stream, now);
    __shared__ Narrow queries, keys;
    __shared__ Broad values;
    const Int tiles = (at.T + TILE - 1) / TILE, first = blockIdx.x % tiles * TILE, head = blockIdx.x / tiles;
    const Int n = head / at.h, a = head % at.h, group = a / (at.h / at.groups), column = blockIdx.y * (Int)WIDTH;
    q += n * at.q[0] + a * at.q[2];
    k += n * at.k[0] + group * at.k[2];
    v += n * at.v[0] + group * at.v[2];
    A m[EACH], sum[EACH], sums[EACH][SLOTS], p[EACH];
#pragma unroll
    for (int r = 0; r < EACH; r++) {
        m[r] = -infinity();
        sum[r] = A(0);
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot++) sums[r][slot] = A(0);
    }
    for (Int s0 = 0; s0 < keys_seen(at, first); s0 += TILE) {
        A dots[EACH];
        tile_dots(dots, queries, keys, q, at.q[1], first, at.T, k, at.k[1], s0, at.S, at.d);
        load_tile<WIDTH>(values, v, at.v[1], s0, at.S, column, at.e);
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            const Int t = first + threadIdx.y * EACH + r, s = s0 + threadIdx.x;
            const A z = score(at, bias, mask, n, a, t, s, dots[r], scale);
            const A most = larger(m[r], warp_max(z)), level = most == -infinity() ? A(0) : most;
            const A old = exp(m[r] - level), weight = exp(z - level);
            sum[r] = sum[r] * old + warp_sum(weight);
            m[r] = most;
            p[r] = weight * kept(at, drop, up, n, a, t, s);
#pragma unroll
            for (int slot = 0; slot < SLOTS; slot++) sums[r][slot] *= old;
        }
        __syncthreads();
        tile_sums(sums, p, values);
        __syncthreads();  // where d = 0, products have no barriers
    }
#pragma unroll
    for (int r = 0; r < EACH; r++) {
        const Int t = first + threadIdx.y * EACH + r;
        if (t >= at.T) continue;
        const A part = sum[r] == A(0) ? A(0) : A(1) / sum[r];
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot++) {
            const Int c = column + threadIdx.x + 32 * slot;
            if (c < at.e) y[((n * at.T + t) * at.h + a) * at.e + c] = store(sums[r][slot] * part);
        }
        if (threadIdx.x == 0 && blockIdx.y == 0)
            lses[(n * at.h + a) * at.T + t] = sum[r] == A(0) ? infinity() : m[r] + log(sum[r]);
    }
}

// products (N,h,T): g . y of each query, both (N,T,h,e); rows(N T h, e)
extern "C" __global__ void row_products(const T* __restrict__ g, const T* __restrict__ y, A* __restrict__ products,
                                        Int count, Int queries, Int h, Int e) {
    const Int row = this_row();
    if (row >= count) return;
    A sum = A(0);
    for (Int i = threadIdx.x; i < e; i += blockDim.x) sum += load(g[row * e + i]) * load(y[row * e + i]);
    sum = row_sum(sum);
    const Int a = row % h, t = row / h % queries, n = row / (h * queries);
    if (threadIdx.x == 0) products[(n * h + a) * queries + t] = sum;
}

extern "C" __global__ void queries_gradient(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                                            const T* __restrict__ bias, const bool* __restrict__ mask,
                                            const T* __restrict__ g, const A* __restrict__ lses,
                                            const A* __restrict__ products, T* __restrict__ dq, Plan at, Drop drop,
                                            const Wide* __restrict__ now, A up, A scale) {
    drop.stream = stream_now(drop.stream, now);
    __shared__ Narrow mine, theirs;
    __shared__ Broad values;
    const Int tiles = (at.T + TILE - 1) / TILE, first = blockIdx.x % tiles * TILE, head = blockIdx.x / tiles;
    const Int n = head / at.h, a = head % at.h, group = a / (at.h / at.groups), column = blockIdx.y * (Int)WIDTH;
    q += n * at.q[0] + a * at.q[2];
    k += n * at.k[0] + group * at.k[2];
    v += n * at.v[0] + group * at.v[2];
    g += (n * at.T * at.h + a) * at.e;
    A sums[EACH][SLOTS];
#pragma unroll
    for (int r = 0; r < EACH; r++)
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot++) sums[r][slot] = A(0);
    for (Int s0 = 0; s0 < keys_seen(at, first); s0 += TILE) {
        A dots[EACH], pulls[EACH];
        tile_dots(dots, mine, theirs, q, at.q[1], first, at.T, k, at.k[1], s0, at.S, at.d);
        tile_dots(pulls, mine, theirs, g, at.h * at.e, first, at.T, v, at.v[1], s0, at.S, at.e);
        load_tile<WIDTH>(values, k, at.k[1], s0, at.S, column, at.d);
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            const Int t = first + threadIdx.y * EACH + r, s = s0 + threadIdx.x, row = (n * at.h + a) * at.T + t;
            const A z = score(at, bias, mask, n, a, t, s, dots[r], scale);
            const A p = z == -infinity() ? A(0) : exp(z - lses[row]);
            dots[r] = p == A(0) ? A(0) : p * (pulls[r] * kept(at, drop, up, n, a, t, s) - products[row]) * scale;
        }
        __syncthreads();
        tile_sums(sums, dots, values);  // the next tile's products have barriers, before its values are written
    }
#pragma unroll
    for (int r = 0; r < EACH; r++)
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot++) {
            const Int t = first + threadIdx.y * EACH + r, c = column + threadIdx.x + 32 * slot;
            if (t < at.T && c < at.d) dq[((n * at.T + t) * at.h + a) * at.d + c] = store(sums[r][slot]);
        }
}

extern "C" __global__ void keys_gradient(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                                         const T* __restrict__ bias, const bool* __restrict__ mask,
                                         const T* __restrict__ g, const A* __restrict__ lses,
                                         const A* __restrict__ products, T* __restrict__ dk, T* __restrict__ dv, Plan at,
                                         Drop drop, const Wide* __restrict__ now, A up, A scale) {
    drop.stream = stream_now(drop.stream, now);
    __shared__ Narrow mine, theirs;
    __shared__ Broad values;
    const Int tiles = (at.S + TILE - 1) / TILE, first = blockIdx.x % tiles * TILE, head = blockIdx.x / tiles;
    const Int n = head / at.groups, group = head % at.groups, each = at.h / at.groups, column = blockIdx.y * (Int)WIDTH;
    k += n * at.k[0] + group * at.k[2];
    v += n * at.v[0] + group * at.v[2];
    A of_k[EACH][SLOTS], of_v[EACH][SLOTS];
#pragma unroll
    for (int r = 0; r < EACH; r++)
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot++) of_k[r][slot] = of_v[r][slot] = A(0);
    for (Int a = group * each; a < (group + 1) * each; a++) {
        const T* queries = q + n * at.q[0] + a * at.q[2];
        const T* pulled = g + (n * at.T * at.h + a) * at.e;
        for (Int t0 = first_query(at, first); t0 < at.T; t0 += TILE) {
            A dots[EACH], pulls[EACH];
            tile_dots(dots, mine, theirs, k, at.k[1], first, at.S, queries, at.q[1], t0, at.T, at.d);
            tile_dots(pulls, mine, theirs, v, at.v[1], first, at.S, pulled, at.h * at.e, t0, at.T, at.e);
#pragma unroll
            for (int r = 0; r < EACH; r++) {
                const Int t = t0 + threadIdx.x, s = first + threadIdx.y * EACH + r, row = (n * at.h + a) * at.T + t;
                const A z = score(at, bias, mask, n, a, t, s, dots[r], scale);
                const A p = z == -infinity() ? A(0) : exp(z - lses[row]);
                const A weight = p == A(0) ? A(0) : p * kept(at, drop, up, n, a, t, s);
                dots[r] = p == A(0) ? A(0) : (weight * pulls[r] - p * products[row]) * scale;
                pulls[r] = weight;
            }
            load_tile<WIDTH>(values, queries, at.q[1], t0, at.T, column, at.d);
            __syncthreads();
            tile_sums(of_k, dots, values);
            __syncthreads();
            load_tile<WIDTH>(values, pulled, at.h * at.e, t0, at.T, column, at.e);
            __syncthreads();
            tile_sums(of_v, pulls, values);  // barriers: as above
        }
    }
#pragma unroll
    for (int r = 0; r < EACH; r++)
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot++) {
            const Int s = first + threadIdx.y * EACH + r, c = column + threadIdx.x + 32 * slot;
            if (s < at.S && c < at.d) dk[((n * at.S + s) * at.groups + group) * at.d + c] = store(of_k[r][slot]);
            if (s < at.S && c < at.e) dv[((n * at.S + s) * at.groups + group) * at.e + c] = store(of_v[r][slot]);
        }
}
