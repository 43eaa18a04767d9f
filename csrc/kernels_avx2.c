/* AVX2 with FMA: 8 floats or 4 doubles in a vector, 16 registers. */
#include "small_weights.h"

#if LSTM_X86

#include <cpuid.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "x86_intrinsics.h"
#include "x86_turn.h"

#define ISA avx2

/* From 8 - n or 4 - n on, a mask of the first n lanes. */
static const int32_t first_lanes_f32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t first_lanes_f64[8] = {-1, -1, -1, -1};
#define FIRST_LANES_F32(n) _mm256_loadu_si256((const __m256i *)(first_lanes_f32 + 8 - (n)))
#define FIRST_LANES_F64(n) _mm256_loadu_si256((const __m256i *)(first_lanes_f64 + 4 - (n)))

LSTM_DEFINE_TURN_FOURS(256, 8)

/* 8 rows of 8 floats to 8 columns. */
static inline __attribute__((always_inline)) void transpose_f32(__m256 *rows) {
    __m256 fours[8];
    turn_fours(rows, fours);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        rows[c] = _mm256_permute2f128_ps(fours[c], fours[4 + c], 0x20);
        rows[c + 4] = _mm256_permute2f128_ps(fours[c], fours[4 + c], 0x31);
    }
}

/* 4 rows of 4 doubles to 4 columns. */
static inline __attribute__((always_inline)) void transpose_f64(__m256d *rows) {
    const __m256d low_even = _mm256_unpacklo_pd(rows[0], rows[1]);
    const __m256d low_odd = _mm256_unpackhi_pd(rows[0], rows[1]);
    const __m256d high_even = _mm256_unpacklo_pd(rows[2], rows[3]);
    const __m256d high_odd = _mm256_unpackhi_pd(rows[2], rows[3]);
    rows[0] = _mm256_permute2f128_pd(low_even, high_even, 0x20);
    rows[1] = _mm256_permute2f128_pd(low_odd, high_odd, 0x20);
    rows[2] = _mm256_permute2f128_pd(low_even, high_even, 0x31);
    rows[3] = _mm256_permute2f128_pd(low_odd, high_odd, 0x31);
}

/* w (4, 8) = the gates of one k, bfloat16: two in each word, or float16. */
static inline __attribute__((always_inline)) void gates_of_bfloat16(const uint16_t *p, __m256 *w) {
    const __m256i high = _mm256_set1_epi32((int32_t)0xffff0000);
    for (int g = 0; g < GATE_COUNT; g += 2) {
        const __m256i pair = _mm256_loadu_si256((const __m256i *)(p + g * 8));
        w[g] = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
        w[g + 1] = _mm256_castsi256_ps(_mm256_and_si256(pair, high));
    }
}

static inline __attribute__((always_inline)) void gates_of_float16(const uint16_t *p, __m256 *w) {
    for (int g = 0; g < GATE_COUNT; g++) {
        w[g] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + g * 8)));
    }
}

#define VEC_WIDEN_bfloat16(p, w) gates_of_bfloat16(p, w)
#define VEC_WIDEN_float16(p, w) gates_of_float16(p, w)
/* More rows are widened first: 16 registers have no place for what is widened beside 12 sums. */
#define NARROW_TILES(TILE) TILE(1, 1, 8) TILE(1, 2, 16) TILE(1, 3, 24)
#define NARROW_STEPS(TILE) TILE(1, 8) TILE(2, 16) TILE(3, 24)
#define LEAST_NARROW_PANELS_bfloat16 0 /* 1.04 to 1.26 times as long as tiles of 3 panels */
#define LEAST_NARROW_PANELS_float16 5

/* 3 rows x 1 panel or 1 row x 3 panels: 12 accumulators, the inputs and a weight in 16 registers. */
#define ROW_TILE 3
#define PANEL_TILE 3
#define LSTM_TILES(TILE) TILE(1, 1, 8) TILE(1, 2, 16) TILE(1, 3, 24) TILE(2, 1, 8) TILE(3, 1, 8)
/* Products: 12 accumulators, and the rest of 16 registers for inputs and weights. */
#define PRODUCT_SUMS 12
#define ROW_VECTORS 2
#define LSTM_PRODUCT_ROWS                                                                                    \
    { 0, 12, 6, 4, 3 }
#define LSTM_PRODUCTS(TILE)                                                                                  \
    LSTM_ROWS_12(TILE, 1, 8) LSTM_ROWS_6(TILE, 2, 16) LSTM_ROWS_4(TILE, 3, 24) LSTM_ROWS_3(TILE, 4, 32)
#define REAL float
#define REAL_BITS 32
#define DTYPE f32
#define VEC __m256
#define LANES 8
#define VEC_SET1(a) _mm256_set1_ps(a)
#define VEC_ZERO() _mm256_setzero_ps()
#define VEC_LOAD(p) _mm256_loadu_ps(p)
#define VEC_STORE(p, a) _mm256_storeu_ps(p, a)
#define VEC_ADD(a, b) _mm256_add_ps(a, b)
#define VEC_SUB(a, b) _mm256_sub_ps(a, b)
#define VEC_MUL(a, b) _mm256_mul_ps(a, b)
#define VEC_DIV(a, b) _mm256_div_ps(a, b)
#define VEC_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define VEC_FMS(a, b, c) _mm256_fmsub_ps(a, b, c)
#define VEC_FNMA(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define VEC_TRANSPOSE(rows) transpose_f32(rows)
#define VEC_LOAD_FIRST(p, n) _mm256_maskload_ps(p, FIRST_LANES_F32(n))
#define VEC_STORE_FIRST(p, n, a) _mm256_maskstore_ps(p, FIRST_LANES_F32(n), a)
#define VEC_MIN(a, b) _mm256_min_ps(a, b)
#define VEC_MAX(a, b) _mm256_max_ps(a, b)
#define VEC_MINUS_ABS(a) _mm256_or_ps(_mm256_set1_ps(-0.0f), a)
#define VEC_COPYSIGN(magnitude, sign)                                                                        \
    _mm256_or_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), magnitude),                                         \
                 _mm256_and_ps(_mm256_set1_ps(-0.0f), sign))
#define VEC_LOW_BITS_TO_EXPONENT(a) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23))
#define VEC_SELECT_LESS(a, b, x, y) _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ))
#define VEC_IN_REGISTER(a) __asm__("" : "+x"(a))
#define VEC_PREFETCH(p) _mm_prefetch(p, _MM_HINT_T1)
#define VEC_CANONICAL_NAN(a)                                                                                 \
    _mm256_blendv_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), _mm256_cmp_ps(a, a, _CMP_UNORD_Q))
#define VEC_MASK __m256
#define VEC_NOT_LESS(a, b) _mm256_cmp_ps(a, b, _CMP_NLT_UQ)
#define VEC_WITHIN(low, a, high) _mm256_and_ps(VEC_NOT_LESS(a, low), VEC_NOT_LESS(high, a))
#define VEC_DIV_WHERE(other, mask, a, b) _mm256_blendv_ps(other, _mm256_div_ps(a, b), mask)
#define VEC_SUB_WHERE(other, mask, a, b) _mm256_blendv_ps(other, _mm256_sub_ps(a, b), mask)
#define VEC_IN_ORDER(a) __asm__ volatile("" : "+x"(a))
#define LEAST_PANELS 7
#define NET_PANELS 1
#define NET_SIZES(NET) NET(short_1, 1, 1, 0) NET(short_2, 1, 2, 0) NET(short_3, 1, 3, 0) NET(short_4, 1, 4, 0)
#include "kernels_impl.h"

#define ROW_TILE 3
#define PANEL_TILE 3
#define LSTM_TILES(TILE) TILE(1, 1, 4) TILE(1, 2, 8) TILE(1, 3, 12) TILE(2, 1, 4) TILE(3, 1, 4)
#define PRODUCT_SUMS 12
#define ROW_VECTORS 2
#define LSTM_PRODUCT_ROWS                                                                                    \
    { 0, 12, 6, 4, 3 }
#define LSTM_PRODUCTS(TILE)                                                                                  \
    LSTM_ROWS_12(TILE, 1, 4) LSTM_ROWS_6(TILE, 2, 8) LSTM_ROWS_4(TILE, 3, 12) LSTM_ROWS_3(TILE, 4, 16)
#define REAL double
#define REAL_BITS 64
#define DTYPE f64
#define VEC __m256d
#define LANES 4
#define VEC_SET1(a) _mm256_set1_pd(a)
#define VEC_ZERO() _mm256_setzero_pd()
#define VEC_LOAD(p) _mm256_loadu_pd(p)
#define VEC_STORE(p, a) _mm256_storeu_pd(p, a)
#define VEC_ADD(a, b) _mm256_add_pd(a, b)
#define VEC_SUB(a, b) _mm256_sub_pd(a, b)
#define VEC_MUL(a, b) _mm256_mul_pd(a, b)
#define VEC_DIV(a, b) _mm256_div_pd(a, b)
#define VEC_FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define VEC_FMS(a, b, c) _mm256_fmsub_pd(a, b, c)
#define VEC_FNMA(a, b, c) _mm256_fnmadd_pd(a, b, c)
#define VEC_TRANSPOSE(rows) transpose_f64(rows)
#define VEC_LOAD_FIRST(p, n) _mm256_maskload_pd(p, FIRST_LANES_F64(n))
#define VEC_STORE_FIRST(p, n, a) _mm256_maskstore_pd(p, FIRST_LANES_F64(n), a)
#define VEC_MIN(a, b) _mm256_min_pd(a, b)
#define VEC_MAX(a, b) _mm256_max_pd(a, b)
#define VEC_MINUS_ABS(a) _mm256_or_pd(_mm256_set1_pd(-0.0), a)
#define VEC_COPYSIGN(magnitude, sign)                                                                        \
    _mm256_or_pd(_mm256_andnot_pd(_mm256_set1_pd(-0.0), magnitude), _mm256_and_pd(_mm256_set1_pd(-0.0), sign))
#define VEC_LOW_BITS_TO_EXPONENT(a) _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), 52))
#define VEC_SELECT_LESS(a, b, x, y) _mm256_blendv_pd(y, x, _mm256_cmp_pd(a, b, _CMP_LT_OQ))
#define VEC_IN_REGISTER(a) __asm__("" : "+x"(a))
#define VEC_PREFETCH(p) _mm_prefetch(p, _MM_HINT_T1)
#define VEC_CANONICAL_NAN(a)                                                                                 \
    _mm256_blendv_pd(a, _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff8000000000000)),                         \
                     _mm256_cmp_pd(a, a, _CMP_UNORD_Q))
#define VEC_MASK __m256d
#define VEC_NOT_LESS(a, b) _mm256_cmp_pd(a, b, _CMP_NLT_UQ)
#define VEC_WITHIN(low, a, high) _mm256_and_pd(VEC_NOT_LESS(a, low), VEC_NOT_LESS(high, a))
#define VEC_DIV_WHERE(other, mask, a, b) _mm256_blendv_pd(other, _mm256_div_pd(a, b), mask)
#define VEC_SUB_WHERE(other, mask, a, b) _mm256_blendv_pd(other, _mm256_sub_pd(a, b), mask)
#define VEC_IN_ORDER(a) __asm__ volatile("" : "+x"(a))
#define LEAST_PANELS 10
#define NET_PANELS 1
#define NET_SIZES(NET) NET(short_1, 1, 1, 0) NET(short_2, 1, 2, 0)
#include "kernels_impl.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

static int is_supported(void) {
    const lstm_x86_cpu cpu = lstm_x86_read_cpu();
    return (cpu.leaf_1_ecx & bit_FMA) != 0 && (cpu.leaf_7_ebx & bit_AVX2) != 0 &&
           (cpu.saved_registers & LSTM_SAVED_YMM) == LSTM_SAVED_YMM;
}

/* float16 where the CPU, or what it is told to be, cannot convert it: number after number. */
static void widen_plainly(const void *weights, ptrdiff_t depth, float *wide) {
    lstm_isa_generic.float16()->widen(weights, depth * 8, wide);
}

static const lstm_narrow_kernels plain_float16 = {.widen = widen_plainly};

static const lstm_narrow_kernels *float16(void) {
    return (lstm_x86_read_cpu().leaf_1_ecx & bit_F16C) != 0 ? &kernels_float16 : &plain_float16;
}

const lstm_isa lstm_isa_avx2 = {"avx2",  is_supported,  &kernels_f32, &kernels_f64, &kernels_bfloat16,
                                float16, lstm_int8_avx2};

#endif
