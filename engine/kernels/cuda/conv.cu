// The matrix of a convolution's taps, and back. Its products with the filters are cuBLAS's (conv.py).
//
//     columns[group, pixel, (u, v, c)] = x[pixel + tap (u, v), group's channel c], 0 beside the image
//
//     im2col   for element of columns: its number of x                               # elements(size): channels side by side
//     col2im   for number of dx: the sum of the columns that it would go to          # no two threads add to one number
#include "window.cuh"

extern "C" __global__ void im2col(const T* __restrict__ x, T* __restrict__ columns, Window at, Int N, Int groups,
                                  Int size) {
    const Int each = at.C / groups;
    for (Int o = first_element(); o < size; o += element_step()) {
        Int rest = o;
        const Int c = rest % each;
        rest /= each;
        const Int v = rest % at.kw;
        rest /= at.kw;
        const Int u = rest % at.kh;
        rest /= at.kh;  // (group, n, i, j)
        const Int group = rest / (N * at.OH * at.OW);
        const Place p = place(rest % (N * at.OH * at.OW), at.OH, at.OW, 1);
        const Int h = p.h * at.sh + u * at.dh - at.top, w = p.w * at.sw + v * at.dw - at.left;
        const bool on = h >= 0 && h < at.H && w >= 0 && w < at.W;
        columns[o] = on ? x[((p.n * at.H + h) * at.W + w) * at.C + group * each + c] : store(A(0));
    }
}

extern "C" __global__ void col2im(const T* __restrict__ columns, T* __restrict__ dx, Window at, Int N, Int groups,
                                  Int size) {
    const Int each = at.C / groups;
    for (Int o = first_element(); o < size; o += element_step()) {
        const Place p = place(o, at.H, at.W, at.C);
        const Int group = p.c / each, c = p.c % each;
        A sum = A(0);
        for (Int u = 0; u < at.kh; u++) {
            const Int h = p.h + at.top - u * at.dh, i = h / at.sh;
            if (h < 0 || h % at.sh != 0 || i >= at.OH) continue;
            for (Int v = 0; v < at.kw; v++) {
                const Int w = p.w + at.left - v * at.dw, j = w / at.sw;
                if (w < 0 || w % at.sw != 0 || j >= at.OW) continue;
                const Int pixel = ((group * N + p.n) * at.OH + i) * at.OW + j;
                sum += load(columns[((pixel * at.kh + u) * at.kw + v) * each + c]);
            }
        }
        dx[o] = store(sum);
    }
}
