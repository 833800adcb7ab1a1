// Pooling of channels-last images. A thread for each number of the result, channels side by side; what goes back to the
// pixels is gathered by them, so nothing is added by two threads.
//
//     for window (n, i, j), channel c:          y = the largest of its elements on the image, and which     # elements(..)
//     for pixel (n, h, w), channel c:           for window that reaches it: dx += g where it was the largest
//     (average: the sum over the number of elements on the image; and back, equal shares)
//
// kh kw stands for "no element on the image". `I` numbers the elements of a window: a byte, or an int where that is small.
#include "window.cuh"

// The elements (u, v) of the window at (i, j) that lie on the image: u0 <= u < u1, v0 <= v < v1.
struct Part { Int h, w, u0, u1, v0, v1; };
static __device__ __forceinline__ Part part(const Window& at, Int i, Int j) {
    const Int h = i * at.sh - at.top, w = j * at.sw - at.left;
    return {h, w, h < 0 ? -h : 0, h + at.kh < at.H ? at.kh : at.H - h, w < 0 ? -w : 0, w + at.kw < at.W ? at.kw : at.W - w};
}

template <class I>
static __device__ __forceinline__ void max_windows(const T* x, T* y, I* index, const Window& at, Int size) {
    for (Int o = first_element(); o < size; o += element_step()) {
        const Place p = place(o, at.OH, at.OW, at.C);
        const Part on = part(at, p.h, p.w);
        Int which = at.kh * at.kw;
        A best = -infinity();
        for (Int u = on.u0; u < on.u1; u++)
            for (Int v = on.v0; v < on.v1; v++) {
                const A value = load(x[((p.n * at.H + on.h + u) * at.W + on.w + v) * at.C + p.c]);
                if (which == at.kh * at.kw || (!(value <= best) && best == best)) {  // the first of equals; a NaN wins
                    best = value;
                    which = u * at.kw + v;
                }
            }
        y[o] = store(best);
        index[o] = (I)which;
    }
}

template <class I>
static __device__ __forceinline__ void scatter(const T* g, const I* index, T* dx, const Window& at, Int size) {
    for (Int o = first_element(); o < size; o += element_step()) {
        const Place p = place(o, at.H, at.W, at.C);
        A sum = A(0);
        for (Int i = first_window(p.h, at.top, at.kh, at.sh); i <= last_window(p.h, at.top, at.sh, at.OH); i++)
            for (Int j = first_window(p.w, at.left, at.kw, at.sw); j <= last_window(p.w, at.left, at.sw, at.OW); j++) {
                const Int from = ((p.n * at.OH + i) * at.OW + j) * at.C + p.c;
                const Int which = (p.h + at.top - i * at.sh) * at.kw + p.w + at.left - j * at.sw;
                if ((Int)index[from] == which) sum += load(g[from]);
            }
        dx[o] = store(sum);
    }
}

template <class I>
static __device__ __forceinline__ void gather(const T* x, const I* index, T* y, const Window& at, Int size) {
    for (Int o = first_element(); o < size; o += element_step()) {
        const Place p = place(o, at.OH, at.OW, at.C);
        const Int which = (Int)index[o], h = p.h * at.sh - at.top + which / at.kw, w = p.w * at.sw - at.left + which % at.kw;
        y[o] = which < at.kh * at.kw ? x[((p.n * at.H + h) * at.W + w) * at.C + p.c] : store(A(0));
    }
}

typedef unsigned char Byte;
extern "C" __global__ void max_pool2d_uint8(const T* __restrict__ x, T* __restrict__ y, Byte* __restrict__ index, Window at,
                                            Int size) {
    max_windows(x, y, index, at, size);
}
extern "C" __global__ void max_pool2d_int32(const T* __restrict__ x, T* __restrict__ y, int* __restrict__ index, Window at,
                                            Int size) {
    max_windows(x, y, index, at, size);
}
extern "C" __global__ void scatter_windows_uint8(const T* __restrict__ g, const Byte* __restrict__ index,
                                                 T* __restrict__ dx, Window at, Int size) {
    scatter(g, index, dx, at, size);
}
extern "C" __global__ void scatter_windows_int32(const T* __restrict__ g, const int* __restrict__ index,
                                                 T* __restrict__ dx, Window at, Int size) {
    scatter(g, index, dx, at, size);
}
extern "C" __global__ void gather_windows_uint8(const T* __restrict__ x, const Byte* __restrict__ index, T* __restrict__ y,
                                                Window at, Int size) {
    gather(x, index, y, at, size);
}
extern "C" __global__ void gather_windows_int32(const T* __restrict__ x, const int* __restrict__ index, T* __restrict__ y,
                                                Window at, Int size) {
    gather(x, index, y, at, size);
}

extern "C" __global__ void average_pool2d(const T* __restrict__ x, T* __restrict__ y, Window at, Int size) {
    for (Int o = first_element(); o < size; o += element_step()) {
        const Place p = place(o, at.OH, at.OW, at.C);
        const Part on = part(at, p.h, p.w);
        A sum = A(0);
        for (Int u = on.u0; u < on.u1; u++)
            for (Int v = on.v0; v < on.v1; v++)
                sum += load(x[((p.n * at.H + on.h + u) * at.W + on.w + v) * at.C + p.c]);
        y[o] = store(sum / A((on.u1 - on.u0) * (on.v1 - on.v0)));
    }
}

extern "C" __global__ void spread_windows(const T* __restrict__ g, T* __restrict__ dx, Window at, Int size) {
    for (Int o = first_element(); o < size; o += element_step()) {
        const Place p = place(o, at.H, at.W, at.C);
        A sum = A(0);
        for (Int i = first_window(p.h, at.top, at.kh, at.sh); i <= last_window(p.h, at.top, at.sh, at.OH); i++)
            for (Int j = first_window(p.w, at.left, at.kw, at.sw); j <= last_window(p.w, at.left, at.sw, at.OW); j++) {
                const Part on = part(at, i, j);
                const A elements = A((on.u1 - on.u0) * (on.v1 - on.v0));
                sum += load(g[((p.n * at.OH + i) * at.OW + j) * at.C + p.c]) / elements;
            }
        dx[o] = store(sum);
    }
}
