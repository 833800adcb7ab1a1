// A bias on the way out, and relu on the way back; both for each element i of (.., F).
//
//     for i: y[i] = y[i] + bias[i % F], at least 0 with relu           # elements(n): a thread for every so many
//     for i: passed[i] = g[i] where y[i] > 0, else 0

extern "C" __global__ void add_bias(T* __restrict__ y, const T* __restrict__ bias, Int n, Int F, Int relu) {
    for (Int i = first_element(); i < n; i += element_step()) {
        const A v = load(y[i]) + (bias ? load(bias[i % F]) : A(0));
        y[i] = store(relu && v < A(0) ? A(0) : v);
    }
}

extern "C" __global__ void rectified(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ passed, Int n) {
    for (Int i = first_element(); i < n; i += element_step()) passed[i] = load(y[i]) > A(0) ? g[i] : store(A(0));
}
