// What generated steps are made of, for REAL numbers, as many BITS each, of which WIDE fill a vector (vectors.h).
// M, N, K = rows of A, columns of B, what is summed over. Everything is inlined, so that sizes are constants.
#define WIDE ((long)(BYTES / sizeof(REAL)))

typedef REAL NAME(unaligned) __attribute__((vector_size(BYTES), aligned(sizeof(REAL))));
typedef REAL NAME(narrow) __attribute__((vector_size(32), aligned(sizeof(REAL))));
typedef BITS NAME(bits) __attribute__((vector_size(32), aligned(sizeof(REAL))));

// One tile of C = A B (more: C += A B): `rows` rows and `vectors` vectors of columns, all of them in registers. Of the
// last vector only the first `rest` columns are written, all if 0, and only `given` columns of B are there, all if 0.
#define TILE(rows, vectors)                                                                                            \
    INLINE void NAME(tile_##rows##_##vectors)(const long K, const REAL *restrict A, const long am, const long ak,      \
                                              const REAL *restrict B, const long bk, REAL *restrict C, const long ldc, \
                                              const long rest, const long given, const long more) {                    \
        NAME(vector) sum[rows][vectors];                                                                               \
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++)                                 \
            sum[i][j] = (NAME(vector)){0};                                                                             \
        for (long k = 0; k < K; k++) {                                                                                 \
            NAME(vector) b[vectors];                                                                                   \
            UNROLL for (int j = 0; j < vectors; j++) {                                                                 \
                const REAL *at = B + k * bk + WIDE * j;                                                                \
                b[j] = given && j == vectors - 1 ? NAME(some)(at, given) : *(const NAME(unaligned) *)at;               \
            }                                                                                                          \
            UNROLL for (int i = 0; i < rows; i++) {                                                                    \
                const REAL a = A[i * am + k * ak];                                                                     \
                UNROLL for (int j = 0; j < vectors; j++) sum[i][j] += a * b[j];                                        \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++) {                               \
            REAL *c = C + i * ldc + WIDE * j;                                                                          \
            if (rest && j == vectors - 1)                                                                              \
                NAME(put)(c, more ? NAME(some)(c, rest) + sum[i][j] : sum[i][j], rest);                                \
            else                                                                                                       \
                *(NAME(unaligned) *)c = more ? *(NAME(unaligned) *)c + sum[i][j] : sum[i][j];                          \
        }                                                                                                              \
    }
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1) TILE(7, 1) TILE(8, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2) TILE(7, 2) TILE(8, 2)
#undef TILE

// Copy the rows of A: ROWS of them side by side, at each place along K.
INLINE void NAME(lay_rows)(REAL *restrict a, const REAL *A, const long am, const long ak, const long M, const long K) {
    for (long m = 0; m < M; m += ROWS)
        for (long k = 0; k < K; k++)
            for (long i = 0; i < ROWS && m + i < M; i++) a[m * K + k * ROWS + i] = A[(m + i) * am + k * ak];
}

// Copy some columns of B into rows of two vectors, those that are missing as 0.
INLINE void NAME(lay_columns)(REAL *restrict b, const REAL *B, const long bk, const long bn, const long K,
                              const long columns) {
    const long row = 2 * WIDE, wide = columns > WIDE ? row : WIDE;
    if (bk == 1)
        for (long j = 0; j < wide; j += 8) {
            const long J = columns - j >= 8 ? 8 : columns > j ? columns - j : 0;
            for (long k = 0; k + 8 <= K; k += 8) NAME(turn)(b + k * row + j, row, B + k + j * bn, bn, 8, J);
            if (K % 8) NAME(turn)(b + (K - K % 8) * row + j, row, B + (K - K % 8) + j * bn, bn, K % 8, J);
        }
    else
        for (long k = 0; k < K; k++)
            for (long j = 0; j < wide; j++) b[k * row + j] = j < columns ? B[k * bk + j * bn] : 0;
}

INLINE REAL NAME(sum)(const REAL *x, const long n) {
    const long wide = 32 / sizeof(REAL);
    NAME(narrow) s[4] = {{0}, {0}, {0}, {0}};
    REAL total = 0;
    long i = 0;
    for (; i + 4 * wide <= n; i += 4 * wide)
        UNROLL for (int j = 0; j < 4; j++) s[j] += *(const NAME(narrow) *)(x + i + wide * j);
    for (; i + wide <= n; i += wide) s[0] += *(const NAME(narrow) *)(x + i);
    s[0] = (s[0] + s[1]) + (s[2] + s[3]);
    for (int j = 0; j < wide; j++) total += s[0][j];
    for (; i < n; i++) total += x[i];
    return total;
}
// The largest, or smallest, of n > 0 numbers; NaN if there is one among them.
#define EXTREME(what, beats)                                                                                           \
    INLINE REAL NAME(what)(const REAL *x, const long n) {                                                              \
        const long wide = 32 / sizeof(REAL);                                                                           \
        if (n < wide) {                                                                                                \
            REAL found = x[0];                                                                                         \
            for (long i = 1; i < n; i++) found = x[i] beats found || x[i] != x[i] ? x[i] : found;                      \
            return found;                                                                                              \
        }                                                                                                              \
        NAME(narrow) best = *(const NAME(narrow) *)x;                                                                  \
        for (long i = wide; i < n; i += wide) { /* the last ones overlap those before */                               \
            const NAME(narrow) new = *(const NAME(narrow) *)(x + (i + wide <= n ? i : n - wide));                      \
            const NAME(bits) take = (NAME(bits))(new beats best) | (NAME(bits))(new != new);                           \
            best = (NAME(narrow))((take & (NAME(bits))new) | (~take & (NAME(bits))best));                              \
        }                                                                                                              \
        REAL found = best[0];                                                                                          \
        for (int j = 1; j < wide; j++) found = best[j] beats found || best[j] != best[j] ? best[j] : found;            \
        return found;                                                                                                  \
    }
EXTREME(most, >) EXTREME(least, <)
#undef EXTREME
#undef NAME
#undef REAL
#undef BITS
#undef WIDE
