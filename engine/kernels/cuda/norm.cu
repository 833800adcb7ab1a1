// Normalisation. Squares are summed around the mean: m(x^2) - m(x)^2 cancels. Statistics are kept in A.
//
// Layer (and RMS) normalisation, x (count, n): for row: mean, then squares around it, then y       # rows(count, n)
//
// Batch normalisation, x (count, C), goes by columns, in parts of `rows` rows                      # columns(C, parts)
//     for part, column: mean and squares of its rows, n_p of them
//     for column:       M = Sum(p, n_p m_p) / n,  S = Sum(p, S_p + n_p (m_p - M)^2)        [Chan, Golub, LeVeque 1983]
//     for element:      y = (x - M) slope + beta                                                   # elements(count C)

static __device__ __forceinline__ A or_else(const T* weights, Int i, A otherwise) {
    return weights ? load(weights[i]) : otherwise;
}

// ------------------------------------------------------------------------------------------------ rows
// Not centred, the mean counts as 0.
extern "C" __global__ void layer_norm(const T* __restrict__ x, const T* __restrict__ gamma, const T* __restrict__ beta,
                                      T* __restrict__ y, A* __restrict__ means, A* __restrict__ scales, Int count, Int n,
                                      A eps, Int centred) {
    const Int row = this_row();
    if (row >= count) return;
    x += row * n;
    y += row * n;
    A mean = A(0);
    if (centred) {
        for (Int i = threadIdx.x; i < n; i += blockDim.x) mean += load(x[i]);
        mean = row_sum(mean) / A(n);
    }
    A squares = A(0);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) {
        const A v = load(x[i]) - mean;
        squares += v * v;
    }
    const A scale = A(1) / sqrt(row_sum(squares) / A(n) + eps);
    for (Int i = threadIdx.x; i < n; i += blockDim.x)
        y[i] = store((load(x[i]) - mean) * scale * or_else(gamma, i, A(1)) + or_else(beta, i, A(0)));
    if (threadIdx.x == 0) {
        means[row] = mean;
        scales[row] = scale;
    }
}

// x_bar = (h - m(h) - x_hat m(h x_hat)) scale,  h = gamma g; m(h) comes from the mean, and is 0 where that counts as 0
extern "C" __global__ void layer_norm_gradient(const T* __restrict__ g, const T* __restrict__ x,
                                               const T* __restrict__ gamma, const A* __restrict__ means,
                                               const A* __restrict__ scales, T* __restrict__ x_bar, Int count, Int n,
                                               Int centred) {
    const Int row = this_row();
    if (row >= count) return;
    g += row * n;
    x += row * n;
    x_bar += row * n;
    const A mean = means[row], scale = scales[row];
    A level = A(0), slope = A(0);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) {
        const A h = load(g[i]) * or_else(gamma, i, A(1));
        level += h;
        slope += h * ((load(x[i]) - mean) * scale);
    }
    level = centred ? row_sum(level) / A(n) : A(0);
    slope = row_sum(slope) / A(n);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) {
        const A h = load(g[i]) * or_else(gamma, i, A(1)), x_hat = (load(x[i]) - mean) * scale;
        x_bar[i] = store((h - level - x_hat * slope) * scale);
    }
}

// ------------------------------------------------------------------------------------------------ columns
// Sum of v over the 8 threads of a column, for the first of them.
static __device__ __forceinline__ A column_sum(A v) {
    __shared__ A sums[8][32];
    sums[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    v = A(0);
    for (int k = 0; k < 8; k++) v += sums[k][threadIdx.x];
    __syncthreads();  // all have read: the next sum may write
    return v;
}

// Sums for gamma and beta over a part's rows: g x_hat, and g. Statistics belong to rows, or to columns.
extern "C" __global__ void weight_sums(const T* __restrict__ g, const T* __restrict__ x, const A* __restrict__ means,
                                       const A* __restrict__ scales, A* __restrict__ gammas, A* __restrict__ betas,
                                       Int count, Int C, Int rows, Int per_row) {
    const Int tiles = (C + 31) / 32, part = blockIdx.x / tiles, c = blockIdx.x % tiles * 32 + threadIdx.x;
    const Int behind = (part + 1) * rows < count ? (part + 1) * rows : count;
    A gamma = A(0), beta = A(0);
    if (c < C)
        for (Int r = part * rows + threadIdx.y; r < behind; r += 8) {
            const Int at = per_row ? r : c;
            const A v = load(g[r * C + c]);
            gamma += v * ((load(x[r * C + c]) - means[at]) * scales[at]);
            beta += v;
        }
    gamma = column_sum(gamma);
    beta = column_sum(beta);
    if (threadIdx.y == 0 && c < C) {
        gammas[part * C + c] = gamma;
        betas[part * C + c] = beta;
    }
}

extern "C" __global__ void moments(const T* __restrict__ x, A* __restrict__ means, A* __restrict__ squares, Int count,
                                   Int C, Int rows) {
    const Int tiles = (C + 31) / 32, part = blockIdx.x / tiles, c = blockIdx.x % tiles * 32 + threadIdx.x;
    const Int behind = (part + 1) * rows < count ? (part + 1) * rows : count;
    A sum = A(0), square = A(0);
    if (c < C)
        for (Int r = part * rows + threadIdx.y; r < behind; r += 8) sum += load(x[r * C + c]);
    const A mean = column_sum(sum) / A(behind - part * rows);
    if (c < C)
        for (Int r = part * rows + threadIdx.y; r < behind; r += 8) {
            const A v = load(x[r * C + c]) - mean;
            square += v * v;
        }
    square = column_sum(square);
    if (threadIdx.y == 0 && c < C) {
        means[part * C + c] = mean;
        squares[part * C + c] = square;
    }
}

// What the parts found, joined; a thread for each column.
extern "C" __global__ void settle(const A* __restrict__ means, const A* __restrict__ squares, A* __restrict__ mean,
                                  A* __restrict__ variance, A* __restrict__ scale, Int count, Int C, Int rows, Int parts,
                                  A eps) {
    for (Int c = first_element(); c < C; c += element_step()) {
        A m = A(0), s = A(0);
        for (Int p = 0; p < parts; p++) {
            const Int behind = (p + 1) * rows < count ? (p + 1) * rows : count;
            m += (means[p * C + c] - means[c]) * (A(behind - p * rows) / A(count));
        }
        m += means[c];
        for (Int p = 0; p < parts; p++) {
            const Int behind = (p + 1) * rows < count ? (p + 1) * rows : count;
            const A d = means[p * C + c] - m;
            s += squares[p * C + c] + A(behind - p * rows) * d * d;
        }
        mean[c] = m;
        variance[c] = s / A(count);
        scale[c] = A(1) / sqrt(s / A(count) + eps);
    }
}

extern "C" __global__ void normalise(const T* __restrict__ x, const A* __restrict__ means, const A* __restrict__ scales,
                                     const T* __restrict__ gamma, const T* __restrict__ beta, T* __restrict__ y, Int n,
                                     Int C) {
    for (Int i = first_element(); i < n; i += element_step()) {
        const Int c = i % C;
        y[i] = store((load(x[i]) - means[c]) * (scales[c] * or_else(gamma, c, A(1))) + or_else(beta, c, A(0)));
    }
}

// x_bar = (g - beta_bar / count - x_hat gamma_bar / count) scale gamma
extern "C" __global__ void batch_norm_gradient(const T* __restrict__ g, const T* __restrict__ x,
                                               const A* __restrict__ means, const A* __restrict__ scales,
                                               const T* __restrict__ gamma, const A* __restrict__ gamma_bar,
                                               const A* __restrict__ beta_bar, T* __restrict__ x_bar, Int n, Int C) {
    for (Int i = first_element(); i < n; i += element_step()) {
        const Int c = i % C;
        const A count = A(n / C), x_hat = (load(x[i]) - means[c]) * scales[c];
        const A v = load(g[i]) - beta_bar[c] / count - x_hat * (gamma_bar[c] / count);
        x_bar[i] = store(v * (scales[c] * or_else(gamma, c, A(1))));
    }
}
