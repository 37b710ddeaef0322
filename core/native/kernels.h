// What generated steps are made of, for REAL numbers of which WIDE fill a vector of 32 bytes.
// M, N, K = rows of A, columns of B, what is summed over. Everything is inlined, so that sizes are constants.

typedef REAL NAME(vector) __attribute__((vector_size(32)));
typedef REAL NAME(unaligned) __attribute__((vector_size(32), aligned(sizeof(REAL))));

// One tile of C = A B (more: C += A B): `rows` rows and `vectors` vectors of columns, all of them in registers. Of the
// last vector only the first `rest` columns are written, all if 0.
#define TILE(rows, vectors)                                                                                            \
    INLINE void NAME(tile_##rows##_##vectors)(const long K, const REAL *restrict A, const long am, const long ak,      \
                                              const REAL *restrict B, const long bk, REAL *restrict C, const long ldc, \
                                              const long rest, const long more) {                                     \
        NAME(vector) sum[rows][vectors];                                                                               \
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++)                                 \
            sum[i][j] = (NAME(vector)){0};                                                                             \
        for (long k = 0; k < K; k++) {                                                                                 \
            NAME(vector) b[vectors];                                                                                   \
            UNROLL for (int j = 0; j < vectors; j++) b[j] = *(const NAME(unaligned) *)(B + k * bk + WIDE * j);         \
            UNROLL for (int i = 0; i < rows; i++) {                                                                    \
                const REAL a = A[i * am + k * ak];                                                                     \
                UNROLL for (int j = 0; j < vectors; j++) sum[i][j] += a * b[j];                                        \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++) {                               \
            REAL *c = C + i * ldc + WIDE * j;                                                                          \
            if (rest && j == vectors - 1)                                                                              \
                for (long n = 0; n < rest; n++) c[n] = more ? c[n] + sum[i][j][n] : sum[i][j][n];                      \
            else                                                                                                       \
                *(NAME(unaligned) *)c = more ? *(NAME(unaligned) *)c + sum[i][j] : sum[i][j];                          \
        }                                                                                                              \
    }
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)
#undef TILE

#define GIVEN K, A, am, ak, B, bk, C, ldc, rest, more
INLINE void NAME(tile)(const long rows, const long vectors, const long K, const REAL *A, const long am, const long ak,
                       const REAL *B, const long bk, REAL *C, const long ldc, const long rest, const long more) {
    switch (rows * 2 + vectors - 3) {
    case 0: NAME(tile_1_1)(GIVEN); break;
    case 1: NAME(tile_1_2)(GIVEN); break;
    case 2: NAME(tile_2_1)(GIVEN); break;
    case 3: NAME(tile_2_2)(GIVEN); break;
    case 4: NAME(tile_3_1)(GIVEN); break;
    case 5: NAME(tile_3_2)(GIVEN); break;
    case 6: NAME(tile_4_1)(GIVEN); break;
    case 7: NAME(tile_4_2)(GIVEN); break;
    case 8: NAME(tile_5_1)(GIVEN); break;
    case 9: NAME(tile_5_2)(GIVEN); break;
    case 10: NAME(tile_6_1)(GIVEN); break;
    case 11: NAME(tile_6_2)(GIVEN); break;
    }
}
#undef GIVEN

// Columns of C that one or two vectors hold, for all rows of A, whose sixes lie `step` numbers apart.
INLINE void NAME(columns)(const long M, const long vectors, const long K, const REAL *A, const long step, const long am,
                          const long ak, const REAL *B, const long bk, REAL *C, const long ldc, const long rest,
                          const long more) {
    long m = 0;
    for (; m + 6 <= M; m += 6, A += step) NAME(tile)(6, vectors, K, A, am, ak, B, bk, C + m * ldc, ldc, rest, more);
    if (M % 6) NAME(tile)(M % 6, vectors, K, A, am, ak, B, bk, C + m * ldc, ldc, rest, more);
}

// C (M, N) = A B, where A and B have any strides. What is summed over goes in blocks of DEEP. layA: copy a block of A to
// `a`, six rows side by side; layB: copy a block of two vectors of B's columns to `b`. The last columns, fewer than fill
// a vector, are always copied, so that nothing is read beyond B.
INLINE void NAME(product)(const long M, const long N, const long K, const REAL *A, const long am, const long ak,
                          const REAL *B, const long bk, const long bn, REAL *C, const long ldc, const long layA,
                          const long layB, REAL *restrict a, REAL *restrict b) {
    for (long k0 = 0; k0 < K; k0 += DEEP) {
        const long deep = K <= DEEP ? K : K - k0 < DEEP ? K - k0 : DEEP, more = K > DEEP && k0 > 0;
        const REAL *Ak = A + k0 * ak, *Bk = B + k0 * bk;
        if (layA)
            for (long m = 0; m < M; m += 6)
                for (long k = 0; k < deep; k++)
                    for (long i = 0; i < 6 && m + i < M; i++) a[m * deep + k * 6 + i] = Ak[(m + i) * am + k * ak];
        for (long n = 0; n < N; n += 2 * WIDE) {
            const long left = N - n, wide = left < 2 * WIDE ? left : 2 * WIDE;
            const REAL *Bn = Bk + n * bn;
            const long lay = layB || wide % WIDE, row = lay ? 2 * WIDE : bk;
            if (lay)
                for (long j = 0; j < 2 * WIDE; j++)
                    for (long k = 0; k < deep; k++) b[k * 2 * WIDE + j] = j < wide ? Bn[k * bk + j * bn] : 0;
            const REAL *from = layA ? a : Ak, *Bl = lay ? b : Bn;
            const long step = layA ? 6 * deep : 6 * am, ai = layA ? 1 : am, aj = layA ? 6 : ak;
            if (wide == 2 * WIDE)
                NAME(columns)(M, 2, deep, from, step, ai, aj, Bl, row, C + n, ldc, 0, more);
            else if (wide > WIDE)
                NAME(columns)(M, 2, deep, from, step, ai, aj, Bl, row, C + n, ldc, N % WIDE, more);
            else
                NAME(columns)(M, 1, deep, from, step, ai, aj, Bl, row, C + n, ldc, N % WIDE, more);
        }
    }
}

INLINE REAL NAME(sum)(const REAL *x, const long n) {
    NAME(vector) s[4] = {{0}, {0}, {0}, {0}};
    REAL total = 0;
    long i = 0;
    for (; i + 4 * WIDE <= n; i += 4 * WIDE)
        UNROLL for (int j = 0; j < 4; j++) s[j] += *(const NAME(unaligned) *)(x + i + WIDE * j);
    for (; i + WIDE <= n; i += WIDE) s[0] += *(const NAME(unaligned) *)(x + i);
    s[0] = (s[0] + s[1]) + (s[2] + s[3]);
    for (int j = 0; j < WIDE; j++) total += s[0][j];
    for (; i < n; i++) total += x[i];
    return total;
}
#undef NAME
#undef REAL
#undef WIDE
