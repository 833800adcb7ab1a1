// Windows on channels-last images (N, H, W, C): those of pooling, and the taps of a convolution.
//
//     the window at (i, j) has the elements (u, v); element (u, v) lies on the pixel (sh i + dh u - top, sw j + dw v - left)

struct Window {
    Int H, W, C, kh, kw, sh, sw, dh, dw, top, left, OH, OW;  // size, stride, dilation, padding, and how many there are
};

// A number's place in (N, H, W, C), whichever sides these are.
struct Place { Int n, h, w, c; };
static __device__ __forceinline__ Place place(Int i, Int H, Int W, Int C) {
    Place p;
    p.c = i % C;
    i /= C;
    p.w = i % W;
    i /= W;
    p.h = i % H;
    p.n = i / H;
    return p;
}

// The first window along an axis whose elements reach pixel `at`, and the last one, without dilation.
static __device__ __forceinline__ Int first_window(Int at, Int before, Int size, Int stride) {
    const Int reach = at + before - size + stride;  // ceil((at + before - size + 1) / stride)
    return reach < stride ? 0 : reach / stride;
}
static __device__ __forceinline__ Int last_window(Int at, Int before, Int stride, Int count) {
    const Int i = (at + before) / stride;
    return i < count ? i : count - 1;
}
