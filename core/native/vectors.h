// Vectors as wide as the processor has them: whole ones, parts of them, and a block of numbers turned about.

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif
#ifdef __AVX512F__
#define BYTES 64 // in a vector
#define ROWS 8   // of a tile whose sums fill the registers with two vectors each
#else
#define BYTES 32
#define ROWS 6
#endif

typedef float vector_float __attribute__((vector_size(BYTES)));
typedef double vector_double __attribute__((vector_size(BYTES)));
typedef float eight __attribute__((vector_size(32)));
typedef float eight_anywhere __attribute__((vector_size(32), aligned(4)));

// some: the first n numbers from p on, the others 0; what lies behind them is not touched. put: the first n of v to p.
#ifdef __AVX512F__
INLINE vector_float some_float(const float *p, const long n) {
    return (vector_float)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void put_float(float *p, const vector_float v, const long n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
INLINE vector_double some_double(const double *p, const long n) {
    return (vector_double)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}
INLINE void put_double(double *p, const vector_double v, const long n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}
#elif defined(__AVX2__)
static const int32_t ones_float[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t ones_double[8] = {-1, -1, -1, -1};
#define MASK(kind, wide, n) _mm256_loadu_si256((const __m256i *)(ones_##kind + wide - n))
INLINE vector_float some_float(const float *p, const long n) {
    return (vector_float)_mm256_maskload_ps(p, MASK(float, 8, n));
}
INLINE void put_float(float *p, const vector_float v, const long n) {
    _mm256_maskstore_ps(p, MASK(float, 8, n), (__m256)v);
}
INLINE vector_double some_double(const double *p, const long n) {
    return (vector_double)_mm256_maskload_pd(p, MASK(double, 4, n));
}
INLINE void put_double(double *p, const vector_double v, const long n) {
    _mm256_maskstore_pd(p, MASK(double, 4, n), (__m256d)v);
}
#else
#define PARTS(kind)                                                                                                    \
    INLINE vector_##kind some_##kind(const kind *p, const long n) {                                                    \
        vector_##kind v = {0};                                                                                         \
        for (long i = 0; i < n; i++) v[i] = p[i];                                                                      \
        return v;                                                                                                      \
    }                                                                                                                  \
    INLINE void put_##kind(kind *p, const vector_##kind v, const long n) {                                             \
        for (long i = 0; i < n; i++) p[i] = v[i];                                                                      \
    }
PARTS(float) PARTS(double)
#undef PARTS
#endif

INLINE eight some_eight(const float *p, const long n) {
#ifdef __AVX2__
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return (eight)_mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(ones + 8 - n)));
#else
    eight v = {0};
    for (long i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}

// to (K, J) = from (J, K) turned, for at most eight of each: rows lie `row` and `line` numbers apart. Missing columns
// are 0, so that whole rows of eight are written.
INLINE void turn_float(float *restrict to, const long row, const float *from, const long line, const long K,
                       const long J) {
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
#define MIX __builtin_shufflevector
    eight a[8], b[8];
    UNROLL for (int j = 0; j < 8; j++) {
        const float *p = from + j * line;
        a[j] = j >= J ? (eight){0} : K == 8 ? (eight) * (const eight_anywhere *)p : some_eight(p, K);
    }
    UNROLL for (int j = 0; j < 8; j += 2) {
        b[j] = MIX(a[j], a[j + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[j + 1] = MIX(a[j], a[j + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    UNROLL for (int j = 0; j < 8; j += 4) {
        a[j] = MIX(b[j], b[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        a[j + 1] = MIX(b[j], b[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        a[j + 2] = MIX(b[j + 1], b[j + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        a[j + 3] = MIX(b[j + 1], b[j + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    UNROLL for (int k = 0; k < 4; k++) {
        if (k < K) *(eight_anywhere *)(to + k * row) = MIX(a[k], a[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        if (k + 4 < K) *(eight_anywhere *)(to + (k + 4) * row) = MIX(a[k], a[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#undef MIX
#else
    for (long k = 0; k < K; k++)
        for (long j = 0; j < 8; j++) to[k * row + j] = j < J ? from[k + j * line] : 0;
#endif
}
INLINE void turn_double(double *restrict to, const long row, const double *from, const long line, const long K,
                        const long J) {
    for (long j = 0; j < 8; j++)
        for (long k = 0; k < K; k++) to[k * row + j] = j < J ? from[k + j * line] : 0;
}
