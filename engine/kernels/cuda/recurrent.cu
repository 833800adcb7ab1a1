// One step of a recurrent cell, forward and back, for each unit j of each sample n. The products with W and U are cuBLAS's,
// between the steps (recurrent.py): z = x_t W + b for all steps at once, m = past U for this one.
//
//     for n, j:                                     # elements(N H): a thread each, units side by side
//         gates = f(z[n, t] + m[n] + b_u);  h, c = the cell's new state where mask[n, t], else the old one
//         states[n, t] = h;  past = h factors       # what the product of the next step sees
//
// and back, where h_bar, c_bar come from the step after it, and past_bar = m_bar Uᵀ from its product:
//
//         h_bar += past_bar factors + g[n, t];  z_bar, m_bar, h_bar, c_bar = the cell's own; zeros where masked
//
// z (N,T,GH) becomes the gates. kept (N,T,H) is c' of an LSTM, m_a of a GRU. See engine/kernels/cpu/recurrent_cells.py.

enum Cell { SIMPLE = 1, GRU = 3, LSTM = 4 };          // by the number of its gates

struct Step {
    Int gates, N, steps, H, t, first;                 // g belongs to the steps from `first` on
};

static __device__ __forceinline__ A sigmoid(A x) { return A(1) / (A(1) + exp(-x)); }  // e^-x overflows to 1 / inf

extern "C" __global__ void recurrent_forward(T* __restrict__ z, const T* __restrict__ m, const T* __restrict__ b_u,
                                             T* __restrict__ hs, T* __restrict__ cs, T* __restrict__ kept,
                                             T* __restrict__ states, T* __restrict__ past,
                                             const T* __restrict__ factors, const unsigned char* __restrict__ mask,
                                             Step s) {
    const Int H = s.H;
    for (Int i = first_element(); i < s.N * H; i += element_step()) {
        const Int n = i / H, j = i % H, at = n * s.steps + s.t;
        T* gates = z + at * s.gates * H + j;                      // gate k at k H
        const T *more = m + n * s.gates * H + j, *bias = b_u + j;
        A h = load(hs[i]), c = load(cs[i]), keep = c;             // where a step is masked, the state stays
        if (mask[at]) {
            switch (s.gates) {
                case SIMPLE:
                    h = tanh(load(gates[0]) + load(more[0]) + load(bias[0]));
                    gates[0] = store(h);
                    break;
                case GRU: {
                    const A u = sigmoid(load(gates[0]) + load(more[0]) + load(bias[0]));
                    const A r = sigmoid(load(gates[H]) + load(more[H]) + load(bias[H]));
                    keep = load(more[2 * H]) + load(bias[2 * H]);
                    const A a = tanh(load(gates[2 * H]) + r * keep);
                    gates[0] = store(u);
                    gates[H] = store(r);
                    gates[2 * H] = store(a);
                    h = u * h + (A(1) - u) * a;
                    break;
                }
                case LSTM: {
                    const A in = sigmoid(load(gates[0]) + load(more[0]) + load(bias[0]));
                    const A f = sigmoid(load(gates[H]) + load(more[H]) + load(bias[H]));
                    const A g = tanh(load(gates[2 * H]) + load(more[2 * H]) + load(bias[2 * H]));
                    const A o = sigmoid(load(gates[3 * H]) + load(more[3 * H]) + load(bias[3 * H]));
                    gates[0] = store(in);
                    gates[H] = store(f);
                    gates[2 * H] = store(g);
                    gates[3 * H] = store(o);
                    keep = c = f * c + in * g;
                    h = o * tanh(c);
                    break;
                }
            }
        }
        hs[i] = store(h);
        cs[i] = store(c);
        kept[at * H + j] = store(keep);
        states[at * H + j] = store(h);
        past[i] = store(h * load(factors[i]));
    }
}

// z_bar (N,T,GH); m_now: m_bar (N,GH) of this step; own: m_bar of all steps, null where that is z_bar. before: states,
// or kept of an LSTM; start: what was before the first step.
extern "C" __global__ void recurrent_backward(const T* __restrict__ z, const T* __restrict__ kept,
                                              const T* __restrict__ before, const T* __restrict__ start,
                                              const T* __restrict__ g, const T* __restrict__ past_bar,
                                              const T* __restrict__ factors, const unsigned char* __restrict__ mask,
                                              T* __restrict__ h_bar, T* __restrict__ c_bar, T* __restrict__ z_bar,
                                              T* __restrict__ own, T* __restrict__ m_now, Step s) {
    const Int H = s.H;
    for (Int i = first_element(); i < s.N * H; i += element_step()) {
        const Int n = i / H, j = i % H, at = n * s.steps + s.t;
        const T* gates = z + at * s.gates * H + j;
        A bar = load(h_bar[i]) + load(past_bar[i]) * load(factors[i]);
        if (s.t >= s.first) bar += load(g[(n * (s.steps - s.first) + s.t - s.first) * H + j]);
        A bars[4] = {A(0), A(0), A(0), A(0)}, of_m = A(0), on = bar;  // of the gates; of m_a; of h before this step
        if (mask[at]) {
            const A earlier = load(s.t > 0 ? before[(at - 1) * H + j] : start[i]);
            switch (s.gates) {
                case SIMPLE: {
                    const A y = load(gates[0]);
                    bars[0] = bar * (A(1) - y * y);
                    on = A(0);
                    break;
                }
                case GRU: {
                    const A u = load(gates[0]), r = load(gates[H]), a = load(gates[2 * H]);
                    bars[0] = bar * (earlier - a) * u * (A(1) - u);
                    bars[2] = bar * (A(1) - u) * (A(1) - a * a);
                    bars[1] = bars[2] * load(kept[at * H + j]) * r * (A(1) - r);
                    of_m = bars[2] * r;
                    on = bar * u;
                    break;
                }
                case LSTM: {
                    const A in = load(gates[0]), f = load(gates[H]), a = load(gates[2 * H]), o = load(gates[3 * H]);
                    const A y = tanh(load(kept[at * H + j])), c = load(c_bar[i]) + bar * o * (A(1) - y * y);
                    bars[0] = c * a * in * (A(1) - in);
                    bars[1] = c * earlier * f * (A(1) - f);
                    bars[2] = c * in * (A(1) - a * a);
                    bars[3] = bar * y * o * (A(1) - o);
                    c_bar[i] = store(c * f);
                    on = A(0);
                    break;
                }
            }
        }
        h_bar[i] = store(on);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (k >= s.gates) break;
            const A m_bar = own && k == 2 ? of_m : bars[k];
            z_bar[(at * s.gates + k) * H + j] = store(bars[k]);
            m_now[(n * s.gates + k) * H + j] = store(m_bar);
            if (own) own[(at * s.gates + k) * H + j] = store(m_bar);
        }
    }
}
