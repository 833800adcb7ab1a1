// A libcublas with products of matrices only, as plain loops summed in double. It checks leading dimensions as the real
// one does. Column-major: C (m,n) = alpha op(A) (m,k) op(B) (k,n) + beta C. What is missing here returns NOT_SUPPORTED.
#include <functional>
#include <vector>
#include "shim.h"
#include "cuda_fp16.h"
#include "cuda_bf16.h"

typedef void* Handle;
typedef long long Int;
enum { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };
enum { COMPUTE_16F = 64, COMPUTE_64F = 70, COMPUTE_64F_PEDANTIC = 71 };
enum { SUCCESS = 0, INVALID_VALUE = 7 };
static int pointer_mode = 0, math_mode = 0;

// Work is done at once, unless its stream captures: then it is kept, and whoever owns the stream asks for it by number.
static void* stream = nullptr;
static int (*ask)(void* stream, int number) = nullptr;
static std::vector<std::function<int()>> kept;
template <class F> static int work(F f) {
    if (!ask || !ask(stream, (int)kept.size())) return f();
    kept.push_back(f);
    return 0;
}

static double get(const void* p, Int i, int type) {
    switch (type) {
        case F32: return ((const float*)p)[i];
        case F64: return ((const double*)p)[i];
        case F16: return __half2float(((const __half*)p)[i]);
        case BF16: return __bfloat162float(((const __nv_bfloat16*)p)[i]);
    }
    return 0.0 / 0.0;
}
static void set(void* p, Int i, int type, double v) {
    switch (type) {
        case F32: ((float*)p)[i] = (float)v; break;
        case F64: ((double*)p)[i] = v; break;
        case F16: ((__half*)p)[i] = __float2half_rn((float)v); break;
        case BF16: ((__nv_bfloat16*)p)[i] = __float2bfloat16_rn((float)v); break;
    }
}
static double scalar(const void* p, int compute) {
    if (compute == COMPUTE_64F || compute == COMPUTE_64F_PEDANTIC) return *(const double*)p;
    if (compute == COMPUTE_16F || compute == COMPUTE_16F + 1) return __half2float(*(const __half*)p);
    return *(const float*)p;
}
static int gemm(int ta, int tb, Int m, Int n, Int k, double alpha, const void* A, int At, Int lda, const void* B, int Bt,
                Int ldb, double beta, void* C, int Ct, Int ldc, Int oa, Int ob, Int oc) {
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return INVALID_VALUE;
    std::vector<double> a(m * k), column(m);
    for (Int l = 0; l < k; l++)
        for (Int i = 0; i < m; i++) a[l * m + i] = get(A, oa + (ta ? l + i * lda : i + l * lda), At);
    for (Int j = 0; j < n; j++) {
        for (Int i = 0; i < m; i++) column[i] = 0;
        for (Int l = 0; l < k; l++) {
            double b = get(B, ob + (tb ? j + l * ldb : l + j * ldb), Bt);
            for (Int i = 0; i < m; i++) column[i] += a[l * m + i] * b;
        }
        for (Int i = 0; i < m; i++) {
            Int at = oc + i + j * ldc;
            set(C, at, Ct, alpha * column[i] + (beta ? beta * get(C, at, Ct) : 0));
        }
    }
    return SUCCESS;
}

extern "C" {
int cublasCreate_v2(Handle* h) { *h = (Handle)0x1234; return 0; }
int cublasDestroy_v2(Handle) { return 0; }
int cublasGetVersion_v2(Handle, int* v) { *v = 130000; return 0; }
int cublasSetStream_v2(Handle, void* s) { stream = s; return 0; }
int cublasGetStream_v2(Handle, void** s) { *s = stream; return 0; }
void cublas_shim_ask(int (*f)(void*, int)) { ask = f; }
int cublas_shim_run(int number) { return kept[number](); }
int cublasSetPointerMode_v2(Handle, int m) { pointer_mode = m; return 0; }
int cublasGetPointerMode_v2(Handle, int* m) { *m = pointer_mode; return 0; }
int cublasSetMathMode(Handle, int m) { math_mode = m; return 0; }
int cublasGetMathMode(Handle, int* m) { *m = math_mode; return 0; }
int cublasSgemm_v2(Handle, int ta, int tb, int m, int n, int k, const float* al, const float* A, int lda, const float* B,
                   int ldb, const float* be, float* C, int ldc) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        return gemm(ta, tb, m, n, k, al_now, A, F32, lda, B, F32, ldb, be_now, C, F32, ldc, 0, 0, 0);
    });
}
int cublasDgemm_v2(Handle, int ta, int tb, int m, int n, int k, const double* al, const double* A, int lda,
                   const double* B, int ldb, const double* be, double* C, int ldc) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        return gemm(ta, tb, m, n, k, al_now, A, F64, lda, B, F64, ldb, be_now, C, F64, ldc, 0, 0, 0);
    });
}
int cublasGemmEx(Handle, int ta, int tb, int m, int n, int k, const void* al, const void* A, int At, int lda,
                 const void* B, int Bt, int ldb, const void* be, void* C, int Ct, int ldc, int compute, int) {
    const double al_now = scalar(al, compute);
    const double be_now = scalar(be, compute);
    return work([=] {
        return gemm(ta, tb, m, n, k, al_now, A, At, lda, B, Bt, ldb, be_now, C, Ct, ldc, 0, 0, 0);
    });
}
int cublasGemmStridedBatchedEx_64(Handle, int ta, int tb, Int m, Int n, Int k, const void* al, const void* A, int At,
                                  Int lda, Int sa, const void* B, int Bt, Int ldb, Int sb, const void* be, void* C,
                                  int Ct, Int ldc, Int sc, Int count, int compute, int) {
    const double al_now = scalar(al, compute);
    const double be_now = scalar(be, compute);
    return work([=] {
        for (Int i = 0; i < count; i++) {
            int e = gemm(ta, tb, m, n, k, al_now, A, At, lda, B, Bt, ldb, be_now, C, Ct, ldc,
                         i * sa, i * sb, i * sc);
            if (e) return e;
        }
        return 0;
    });
}
int cublasGemmStridedBatchedEx(Handle h, int ta, int tb, int m, int n, int k, const void* al, const void* A, int At,
                               int lda, Int sa, const void* B, int Bt, int ldb, Int sb, const void* be, void* C, int Ct,
                               int ldc, Int sc, int count, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx_64(h, ta, tb, m, n, k, al, A, At, lda, sa, B, Bt, ldb, sb, be, C, Ct, ldc, sc,
                                         count, compute, algorithm);
}
int cublasSgemmStridedBatched(Handle h, int ta, int tb, int m, int n, int k, const float* al, const float* A, int lda,
                              Int sa, const float* B, int ldb, Int sb, const float* be, float* C, int ldc, Int sc,
                              int count) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        for (Int i = 0; i < count; i++) {
            int e = gemm(ta, tb, m, n, k, al_now, A, F32, lda, B, F32, ldb, be_now, C, F32, ldc, i * sa, i * sb, i * sc);
            if (e) return e;
        }
        return 0;
    });
}
int cublasDgemmStridedBatched(Handle h, int ta, int tb, int m, int n, int k, const double* al, const double* A, int lda,
                              Int sa, const double* B, int ldb, Int sb, const double* be, double* C, int ldc, Int sc,
                              int count) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        for (Int i = 0; i < count; i++) {
            int e = gemm(ta, tb, m, n, k, al_now, A, F64, lda, B, F64, ldb, be_now, C, F64, ldc, i * sa, i * sb, i * sc);
            if (e) return e;
        }
        return 0;
    });
}
int cublasSgemmBatched(Handle, int ta, int tb, int m, int n, int k, const float* al, const float* const* A, int lda,
                       const float* const* B, int ldb, const float* be, float* const* C, int ldc, int count) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        for (int i = 0; i < count; i++) {
            int e = gemm(ta, tb, m, n, k, al_now, A[i], F32, lda, B[i], F32, ldb, be_now, C[i], F32, ldc, 0, 0, 0);
            if (e) return e;
        }
        return 0;
    });
}
int cublasDgemmBatched(Handle, int ta, int tb, int m, int n, int k, const double* al, const double* const* A, int lda,
                       const double* const* B, int ldb, const double* be, double* const* C, int ldc, int count) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        for (int i = 0; i < count; i++) {
            int e = gemm(ta, tb, m, n, k, al_now, A[i], F64, lda, B[i], F64, ldb, be_now, C[i], F64, ldc, 0, 0, 0);
            if (e) return e;
        }
        return 0;
    });
}
int cublasSdot_v2(Handle, int n, const float* x, int ix, const float* y, int iy, float* r) {
    return work([=] {
        double s = 0;
        for (Int i = 0; i < n; i++) s += (double)x[i * ix] * y[i * iy];
        *r = (float)s;
        return 0;
    });
}
int cublasDdot_v2(Handle, int n, const double* x, int ix, const double* y, int iy, double* r) {
    return work([=] {
        double s = 0;
        for (Int i = 0; i < n; i++) s += x[i * ix] * y[i * iy];
        *r = s;
        return 0;
    });
}
int cublasSgemv_v2(Handle, int t, int m, int n, const float* al, const float* A, int lda, const float* x, int ix,
                   const float* be, float* y, int iy) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        for (Int i = 0; i < (t ? n : m); i++) {
            double s = 0;
            for (Int l = 0; l < (t ? m : n); l++) s += (double)(t ? A[l + i * lda] : A[i + l * lda]) * x[l * ix];
            y[i * iy] = (float)(al_now * s + (be_now ? be_now * y[i * iy] : 0));
        }
        return 0;
    });
}
int cublasDgemv_v2(Handle, int t, int m, int n, const double* al, const double* A, int lda, const double* x, int ix,
                   const double* be, double* y, int iy) {
    const auto al_now = *al;
    const auto be_now = *be;
    return work([=] {
        for (Int i = 0; i < (t ? n : m); i++) {
            double s = 0;
            for (Int l = 0; l < (t ? m : n); l++) s += (t ? A[l + i * lda] : A[i + l * lda]) * x[l * ix];
            y[i * iy] = al_now * s + (be_now ? be_now * y[i * iy] : 0);
        }
        return 0;
    });
}
}
