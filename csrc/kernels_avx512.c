/* AVX-512: 16 floats or 8 doubles in a vector, 32 registers. */
#include "small_weights.h"

#if LSTM_X86

#include <cpuid.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif
#include "x86_intrinsics.h"
#include "x86_turn.h"

#define ISA avx512

LSTM_DEFINE_TURN_FOURS(512, 16)

/* quarters (4,) = quarter 0 of a, b, c and d, then their quarters 1, 2 and 3. */
static inline __attribute__((always_inline)) void turn_quarters(__m512 a, __m512 b, __m512 c, __m512 d,
                                                                __m512 *quarters) {
    const __m512 even_low = _mm512_shuffle_f32x4(a, b, 0x88);
    const __m512 even_high = _mm512_shuffle_f32x4(c, d, 0x88);
    const __m512 odd_low = _mm512_shuffle_f32x4(a, b, 0xdd);
    const __m512 odd_high = _mm512_shuffle_f32x4(c, d, 0xdd);
    quarters[0] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
    quarters[1] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
    quarters[2] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
    quarters[3] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
}

/* 16 rows of 16 floats to 16 columns. */
static inline __attribute__((always_inline)) void transpose_f32(__m512 *rows) {
    __m512 fours[16];
    __m512 columns[4];
    turn_fours(rows, fours);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        turn_quarters(fours[c], fours[4 + c], fours[8 + c], fours[12 + c], columns);
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            rows[4 * q + c] = columns[q];
        }
    }
}

/* 8 rows of 8 doubles to 8 columns: pairs[c][j] has columns c, c + 2, c + 4 and c + 6 of rows 2 j and 2 j + 1. */
static inline __attribute__((always_inline)) void transpose_f64(__m512d *rows) {
    __m512 pairs[2][4];
    __m512 columns[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        pairs[0][j] = _mm512_castpd_ps(_mm512_unpacklo_pd(rows[2 * j], rows[2 * j + 1]));
        pairs[1][j] = _mm512_castpd_ps(_mm512_unpackhi_pd(rows[2 * j], rows[2 * j + 1]));
    }
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
        turn_quarters(pairs[c][0], pairs[c][1], pairs[c][2], pairs[c][3], columns);
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            rows[2 * q + c] = _mm512_castps_pd(columns[q]);
        }
    }
}

/* w (4, 16) = the gates of one k, bfloat16: two in each word, or float16. */
static inline __attribute__((always_inline)) void gates_of_bfloat16(const uint16_t *p, __m512 *w) {
    const __m512i high = _mm512_set1_epi32((int32_t)0xffff0000);
    for (int g = 0; g < GATE_COUNT; g += 2) {
        const __m512i pair = _mm512_loadu_si512(p + g * 16);
        w[g] = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
        w[g + 1] = _mm512_castsi512_ps(_mm512_and_si512(pair, high));
    }
}

static inline __attribute__((always_inline)) void gates_of_float16(const uint16_t *p, __m512 *w) {
    for (int g = 0; g < GATE_COUNT; g++) {
        w[g] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p + g * 16)));
    }
}

#define VEC_WIDEN_bfloat16(p, w) gates_of_bfloat16(p, w)
#define VEC_WIDEN_float16(p, w) gates_of_float16(p, w)
#define NARROW_TILES(TILE) LSTM_TILES(TILE)
#define NARROW_STEPS(TILE) TILE(1, 16) TILE(2, 32)
#define LEAST_NARROW_PANELS_bfloat16 3
#define LEAST_NARROW_PANELS_float16 3

/* 6 rows x 1 panel: 24 accumulators, 6 inputs and a weight in 32 registers.
 * 1 row x 2 panels: 8 accumulators cover the latency of FMA; with 4 panels a time step of H = 64 took 13 %
 * longer, since nothing of the weights was left in L1 for the next step. */
#define ROW_TILE 6
#define PANEL_TILE 2
#define LSTM_TILES(TILE)                                                                                     \
    TILE(1, 1, 16)                                                                                           \
    TILE(1, 2, 32)                                                                                           \
                                                                                                             \
    TILE(2, 1, 16) TILE(3, 1, 16) TILE(4, 1, 16) TILE(5, 1, 16) TILE(6, 1, 16)
/* Products: 24 accumulators, and the rest of 32 registers for inputs and weights. */
#define PRODUCT_SUMS 24
#define ROW_VECTORS 4
#define LSTM_PRODUCT_ROWS                                                                                    \
    { 0, 12, 12, 8, 6 }
#define LSTM_PRODUCTS(TILE)                                                                                  \
    LSTM_ROWS_12(TILE, 1, 16) LSTM_ROWS_12(TILE, 2, 32) LSTM_ROWS_8(TILE, 3, 48) LSTM_ROWS_6(TILE, 4, 64)
#include "vec_avx512_f32.h"
#define VEC_TRANSPOSE(rows) transpose_f32(rows)
#define LEAST_PANELS 3
#define NET_PANELS 3
#define NET_SIZES(NET)                                                                                       \
    NET(short_1, PANELS_OF(1), 1, 0)                                                                         \
    NET(short_2, PANELS_OF(2), 2, 0)                                                                         \
    NET(short_3, PANELS_OF(3), 3, 0)                                                                         \
    NET(short_4, PANELS_OF(4), 4, 0)                                                                         \
    NET(short_5, PANELS_OF(5), 5, 0)                                                                         \
    NET(short_6, PANELS_OF(6), 6, 0)                                                                         \
    NET(short_7, PANELS_OF(7), 7, 0)                                                                         \
    NET(short_8, PANELS_OF(8), 8, 0) NET(32, 2, 0, 32) NET(2_panels, 2, 0, 0) NET(3_panels, 3, 0, 0)
#define VEC_JOIN_HALVES(a, b) _mm512_shuffle_f32x4(a, b, 0x44)
#define VEC_JOIN_QUARTERS(a, b, c, d)                                                                        \
    _mm512_shuffle_f32x4(_mm512_shuffle_f32x4(a, b, 0), _mm512_shuffle_f32x4(c, d, 0), 0x88)
#define VEC_FROM_QUARTER_1(a) _mm512_shuffle_f32x4(a, a, 0x39)
#define VEC_FROM_QUARTER_2(a) _mm512_shuffle_f32x4(a, a, 0x4e)
#define VEC_FROM_QUARTER_3(a) _mm512_shuffle_f32x4(a, a, 0x93)
#define TAIL_SIZES(TAIL) TAIL(1, 1) TAIL(1, 2) TAIL(2, 1) TAIL(2, 2)
#include "kernels_impl.h"

#define ROW_TILE 6
#define PANEL_TILE 2
#define LSTM_TILES(TILE)                                                                                     \
    TILE(1, 1, 8)                                                                                            \
    TILE(1, 2, 16)                                                                                           \
    TILE(2, 1, 8) TILE(3, 1, 8) TILE(4, 1, 8) TILE(5, 1, 8) TILE(6, 1, 8)
#define PRODUCT_SUMS 24
#define ROW_VECTORS 4
#define LSTM_PRODUCT_ROWS                                                                                    \
    { 0, 12, 12, 8, 6 }
#define LSTM_PRODUCTS(TILE)                                                                                  \
    LSTM_ROWS_12(TILE, 1, 8) LSTM_ROWS_12(TILE, 2, 16) LSTM_ROWS_8(TILE, 3, 24) LSTM_ROWS_6(TILE, 4, 32)
#define REAL double
#define REAL_BITS 64
#define DTYPE f64
#define VEC __m512d
#define LANES 8
#define VEC_SET1(a) _mm512_set1_pd(a)
#define VEC_ZERO() _mm512_setzero_pd()
#define VEC_LOAD(p) _mm512_loadu_pd(p)
#define VEC_STORE(p, a) _mm512_storeu_pd(p, a)
#define VEC_ADD(a, b) _mm512_add_pd(a, b)
#define VEC_SUB(a, b) _mm512_sub_pd(a, b)
#define VEC_MUL(a, b) _mm512_mul_pd(a, b)
#define VEC_DIV(a, b) _mm512_div_pd(a, b)
#define VEC_FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define VEC_FMS(a, b, c) _mm512_fmsub_pd(a, b, c)
#define VEC_FNMA(a, b, c) _mm512_fnmadd_pd(a, b, c)
#define VEC_TRANSPOSE(rows) transpose_f64(rows)
#define VEC_LOAD_FIRST(p, n) _mm512_maskz_loadu_pd((__mmask8)((1u << (n)) - 1), p)
#define VEC_STORE_FIRST(p, n, a) _mm512_mask_storeu_pd(p, (__mmask8)((1u << (n)) - 1), a)
#define VEC_MIN(a, b) _mm512_min_pd(a, b)
#define VEC_MAX(a, b) _mm512_max_pd(a, b)
#define VEC_MINUS_ABS(a)                                                                                     \
    _mm512_castsi512_pd(_mm512_or_si512(_mm512_castpd_si512(a), _mm512_set1_epi64(INT64_MIN)))
#define VEC_COPYSIGN(magnitude, sign)                                                                        \
    _mm512_castsi512_pd(_mm512_ternarylogic_epi64(_mm512_castpd_si512(magnitude), _mm512_castpd_si512(sign), \
                                                  _mm512_set1_epi64(INT64_MIN), 0xD8))
#define VEC_LOW_BITS_TO_EXPONENT(a) _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a), 52))
#define VEC_SELECT_LESS(a, b, x, y) _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), y, x)
#define VEC_IN_REGISTER(a) __asm__("" : "+v"(a))
#define VEC_PREFETCH(p) _mm_prefetch(p, _MM_HINT_T1)
#define VEC_CANONICAL_NAN(a)                                                                                 \
    _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q), a,                                          \
                         _mm512_castsi512_pd(_mm512_set1_epi64(0x7ff8000000000000)))
#define VEC_MASK __mmask8
#define VEC_NOT_LESS(a, b) _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ)
#define VEC_WITHIN(low, a, high)                                                                             \
    _mm512_mask_cmp_pd_mask(_mm512_cmp_pd_mask(a, low, _CMP_NLT_UQ), high, a, _CMP_NLT_UQ)
#define VEC_DIV_WHERE(other, mask, a, b) _mm512_mask_div_pd(other, mask, a, b)
#define VEC_SUB_WHERE(other, mask, a, b) _mm512_mask_sub_pd(other, mask, a, b)
#define VEC_PICK(a, k) _mm512_permutexvar_pd(_mm512_set1_epi64(k), a)
#define VEC_IN_ORDER(a) __asm__ volatile("" : "+v"(a))
#define LEAST_PANELS 3
#define NET_PANELS 3
#define NET_SIZES(NET)                                                                                       \
    NET(short_1, PANELS_OF(1), 1, 0)                                                                         \
    NET(short_2, PANELS_OF(2), 2, 0)                                                                         \
    NET(short_3, PANELS_OF(3), 3, 0)                                                                         \
    NET(short_4, PANELS_OF(4), 4, 0)                                                                         \
    NET(short_5, PANELS_OF(5), 5, 0)                                                                         \
    NET(short_6, PANELS_OF(6), 6, 0)                                                                         \
    NET(short_7, PANELS_OF(7), 7, 0)                                                                         \
    NET(short_8, PANELS_OF(8), 8, 0) NET(3_panels, 3, 0, 0)
#define VEC_JOIN_HALVES(a, b) _mm512_shuffle_f64x2(a, b, 0x44)
#define VEC_JOIN_QUARTERS(a, b, c, d)                                                                        \
    _mm512_shuffle_f64x2(_mm512_shuffle_f64x2(a, b, 0), _mm512_shuffle_f64x2(c, d, 0), 0x88)
#define VEC_FROM_QUARTER_1(a) _mm512_shuffle_f64x2(a, a, 0x39)
#define VEC_FROM_QUARTER_2(a) _mm512_shuffle_f64x2(a, a, 0x4e)
#define VEC_FROM_QUARTER_3(a) _mm512_shuffle_f64x2(a, a, 0x93)
#define TAIL_SIZES(TAIL) TAIL(2, 1) TAIL(2, 2)
#include "kernels_impl.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

static int is_supported(void) {
    const lstm_x86_cpu cpu = lstm_x86_read_cpu();
    return (cpu.leaf_7_ebx & bit_AVX512F) != 0 && (cpu.saved_registers & LSTM_SAVED_ZMM) == LSTM_SAVED_ZMM;
}

static const lstm_narrow_kernels *float16(void) { return &kernels_float16; }

const lstm_isa lstm_isa_avx512 = {"avx512",          is_supported, &kernels_f32,    &kernels_f64,
                                  &kernels_bfloat16, float16,      lstm_int8_avx512};

#endif
