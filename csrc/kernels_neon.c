/* NEON of 64-bit Arm: 4 floats or 2 doubles in a vector, 32 registers.  Every CPU of this kind has it.
 *
 * Minimum and maximum are a comparison and a choice: FMIN and FMAX take another operand where one is NaN. */
#include "small_weights.h"

#if LSTM_ARM64

#include <arm_neon.h>
#include <string.h>

#define ISA neon

static inline float32x4_t load_first_f32(const float *p, ptrdiff_t n) {
    float lanes[4] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vld1q_f32(lanes);
}

static inline void store_first_f32(float *p, ptrdiff_t n, float32x4_t a) {
    float lanes[4];
    vst1q_f32(lanes, a);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}

static inline uint64x2_t not_less_f64(float64x2_t a, float64x2_t b) {
    return veorq_u64(vcltq_f64(a, b), vdupq_n_u64(UINT64_MAX));
}

/* 4 rows of 4 floats to 4 columns: neighbours, then halves of registers. */
static inline __attribute__((always_inline)) void transpose_f32(float32x4_t *rows) {
    const float32x4x2_t low = vtrnq_f32(rows[0], rows[1]);
    const float32x4x2_t high = vtrnq_f32(rows[2], rows[3]);
    for (int c = 0; c < 2; c++) {
        rows[c] = vcombine_f32(vget_low_f32(low.val[c]), vget_low_f32(high.val[c]));
        rows[c + 2] = vcombine_f32(vget_high_f32(low.val[c]), vget_high_f32(high.val[c]));
    }
}

static inline __attribute__((always_inline)) void transpose_f64(float64x2_t *rows) {
    const float64x2_t first = vtrn1q_f64(rows[0], rows[1]);
    rows[1] = vtrn2q_f64(rows[0], rows[1]);
    rows[0] = first;
}

/* w (4, 4) = the gates of one k, bfloat16: two in each word, or float16. */
static inline __attribute__((always_inline)) void gates_of_bfloat16(const uint16_t *p, float32x4_t *w) {
    for (int g = 0; g < GATE_COUNT; g += 2) {
        const uint32x4_t pair = vreinterpretq_u32_u16(vld1q_u16(p + g * 4));
        w[g] = vreinterpretq_f32_u32(vshlq_n_u32(pair, 16));
        w[g + 1] = vreinterpretq_f32_u32(vandq_u32(pair, vdupq_n_u32(0xffff0000)));
    }
}

static inline __attribute__((always_inline)) void gates_of_float16(const uint16_t *p, float32x4_t *w) {
    for (int g = 0; g < GATE_COUNT; g++) {
        w[g] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + g * 4)));
    }
}

#define VEC_WIDEN_bfloat16(p, w) gates_of_bfloat16(p, w)
#define VEC_WIDEN_float16(p, w) gates_of_float16(p, w)
/* More rows are widened first. */
#define NARROW_TILES(TILE) TILE(1, 1, 4) TILE(1, 2, 8) TILE(1, 3, 12)
#define NARROW_STEPS(TILE) TILE(1, 4) TILE(2, 8) TILE(3, 12)

/* 5 rows x 1 panel: 20 accumulators, 5 inputs and a weight in 32 registers; GCC 12 spilled two of 24.
 * 1 row x 3 panels: 12 accumulators cover the latency of FMA on four pipes. */
#define ROW_TILE 5
#define PANEL_TILE 3
#define LSTM_TILES(TILE)                                                                                     \
    TILE(1, 1, 4)                                                                                            \
    TILE(1, 2, 8)                                                                                            \
    TILE(1, 3, 12)                                                                                           \
    TILE(2, 1, 4) TILE(3, 1, 4) TILE(4, 1, 4) TILE(5, 1, 4)
/* Products: 24 accumulators, 20 where each row has an input in a register. */
#define PRODUCT_SUMS 24
#define ROW_VECTORS 4
#define LSTM_PRODUCT_ROWS                                                                                    \
    { 0, 12, 12, 8, 5 }
#define LSTM_PRODUCTS(TILE)                                                                                  \
    LSTM_ROWS_12(TILE, 1, 4) LSTM_ROWS_12(TILE, 2, 8) LSTM_ROWS_8(TILE, 3, 12) LSTM_ROWS_5(TILE, 4, 16)
#define REAL float
#define REAL_BITS 32
#define DTYPE f32
#define VEC float32x4_t
#define LANES 4
#define VEC_SET1(a) vdupq_n_f32(a)
#define VEC_ZERO() vdupq_n_f32(0)
#define VEC_LOAD(p) vld1q_f32(p)
#define VEC_STORE(p, a) vst1q_f32(p, a)
#define VEC_ADD(a, b) vaddq_f32(a, b)
#define VEC_SUB(a, b) vsubq_f32(a, b)
#define VEC_MUL(a, b) vmulq_f32(a, b)
#define VEC_DIV(a, b) vdivq_f32(a, b)
#define VEC_FMA(a, b, c) vfmaq_f32(c, a, b)
#define VEC_FMS(a, b, c) vfmaq_f32(vnegq_f32(c), a, b)
#define VEC_FNMA(a, b, c) vfmsq_f32(c, a, b)
#define VEC_TRANSPOSE(rows) transpose_f32(rows)
#define VEC_LOAD_FIRST(p, n) load_first_f32(p, n)
#define VEC_STORE_FIRST(p, n, a) store_first_f32(p, n, a)
#define VEC_MIN(a, b) vbslq_f32(vcltq_f32(a, b), a, b)
#define VEC_MAX(a, b) vbslq_f32(vcgtq_f32(a, b), a, b)
#define VEC_MINUS_ABS(a) vnegq_f32(vabsq_f32(a))
#define VEC_COPYSIGN(magnitude, sign) vbslq_f32(vdupq_n_u32(0x80000000), sign, magnitude)
#define VEC_LOW_BITS_TO_EXPONENT(a) vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(a), 23))
#define VEC_SELECT_LESS(a, b, x, y) vbslq_f32(vcltq_f32(a, b), x, y)
#define VEC_IN_REGISTER(a) __asm__("" : "+w"(a))
#define VEC_PREFETCH(p) __builtin_prefetch(p, 0, 2)
#define VEC_CANONICAL_NAN(a) vbslq_f32(vceqq_f32(a, a), a, vreinterpretq_f32_u32(vdupq_n_u32(0x7fc00000)))
#define VEC_MASK uint32x4_t
#define VEC_NOT_LESS(a, b) vmvnq_u32(vcltq_f32(a, b))
#define VEC_WITHIN(low, a, high) vandq_u32(VEC_NOT_LESS(a, low), VEC_NOT_LESS(high, a))
#define VEC_DIV_WHERE(other, mask, a, b) vbslq_f32(mask, vdivq_f32(a, b), other)
#define VEC_SUB_WHERE(other, mask, a, b) vbslq_f32(mask, vsubq_f32(a, b), other)
/* A multiply-add takes a lane of a register as it is. */
#define VEC_PICK(a, k) vdupq_n_f32((a)[k])
#define VEC_IN_ORDER(a) __asm__ volatile("" : "+w"(a))
#define NET_PANELS 3
#define NET_SIZES(NET)                                                                                       \
    NET(short_1, PANELS_OF(1), 1, 0)                                                                         \
    NET(short_2, PANELS_OF(2), 2, 0)                                                                         \
    NET(short_3, PANELS_OF(3), 3, 0)                                                                         \
    NET(short_4, PANELS_OF(4), 4, 0) NET(short_5, PANELS_OF(5), 5, 0) NET(short_6, PANELS_OF(6), 6, 0)
#include "kernels_impl.h"

#define ROW_TILE 5
#define PANEL_TILE 3
#define LSTM_TILES(TILE)                                                                                     \
    TILE(1, 1, 2)                                                                                            \
    TILE(1, 2, 4)                                                                                            \
    TILE(1, 3, 6)                                                                                            \
    TILE(2, 1, 2) TILE(3, 1, 2) TILE(4, 1, 2) TILE(5, 1, 2)
#define PRODUCT_SUMS 24
#define ROW_VECTORS 4
#define LSTM_PRODUCT_ROWS                                                                                    \
    { 0, 12, 12, 8, 5 }
#define LSTM_PRODUCTS(TILE)                                                                                  \
    LSTM_ROWS_12(TILE, 1, 2) LSTM_ROWS_12(TILE, 2, 4) LSTM_ROWS_8(TILE, 3, 6) LSTM_ROWS_5(TILE, 4, 8)
#define REAL double
#define REAL_BITS 64
#define DTYPE f64
#define VEC float64x2_t
#define LANES 2
#define VEC_SET1(a) vdupq_n_f64(a)
#define VEC_ZERO() vdupq_n_f64(0)
#define VEC_LOAD(p) vld1q_f64(p)
#define VEC_STORE(p, a) vst1q_f64(p, a)
#define VEC_ADD(a, b) vaddq_f64(a, b)
#define VEC_SUB(a, b) vsubq_f64(a, b)
#define VEC_MUL(a, b) vmulq_f64(a, b)
#define VEC_DIV(a, b) vdivq_f64(a, b)
#define VEC_FMA(a, b, c) vfmaq_f64(c, a, b)
#define VEC_FMS(a, b, c) vfmaq_f64(vnegq_f64(c), a, b)
#define VEC_FNMA(a, b, c) vfmsq_f64(c, a, b)
#define VEC_TRANSPOSE(rows) transpose_f64(rows)
#define VEC_LOAD_FIRST(p, n) ((n) < 2 ? vcombine_f64(vld1_f64(p), vdup_n_f64(0)) : vld1q_f64(p))
#define VEC_STORE_FIRST(p, n, a) ((n) < 2 ? vst1_f64(p, vget_low_f64(a)) : vst1q_f64(p, a))
#define VEC_MIN(a, b) vbslq_f64(vcltq_f64(a, b), a, b)
#define VEC_MAX(a, b) vbslq_f64(vcgtq_f64(a, b), a, b)
#define VEC_MINUS_ABS(a) vnegq_f64(vabsq_f64(a))
#define VEC_COPYSIGN(magnitude, sign) vbslq_f64(vdupq_n_u64((uint64_t)1 << 63), sign, magnitude)
#define VEC_LOW_BITS_TO_EXPONENT(a) vreinterpretq_f64_s64(vshlq_n_s64(vreinterpretq_s64_f64(a), 52))
#define VEC_SELECT_LESS(a, b, x, y) vbslq_f64(vcltq_f64(a, b), x, y)
#define VEC_IN_REGISTER(a) __asm__("" : "+w"(a))
#define VEC_PREFETCH(p) __builtin_prefetch(p, 0, 2)
#define VEC_CANONICAL_NAN(a)                                                                                 \
    vbslq_f64(vceqq_f64(a, a), a, vreinterpretq_f64_u64(vdupq_n_u64(0x7ff8000000000000)))
#define VEC_MASK uint64x2_t
#define VEC_NOT_LESS(a, b) not_less_f64(a, b)
#define VEC_WITHIN(low, a, high) vandq_u64(VEC_NOT_LESS(a, low), VEC_NOT_LESS(high, a))
#define VEC_DIV_WHERE(other, mask, a, b) vbslq_f64(mask, vdivq_f64(a, b), other)
#define VEC_SUB_WHERE(other, mask, a, b) vbslq_f64(mask, vsubq_f64(a, b), other)
#define VEC_PICK(a, k) vdupq_n_f64((a)[k])
#define VEC_IN_ORDER(a) __asm__ volatile("" : "+w"(a))
#define NET_PANELS 3
#define NET_SIZES(NET)                                                                                       \
    NET(short_1, PANELS_OF(1), 1, 0) NET(short_2, PANELS_OF(2), 2, 0) NET(short_3, PANELS_OF(3), 3, 0)
#include "kernels_impl.h"

static int is_supported(void) { return 1; }

static const lstm_narrow_kernels *float16(void) { return &kernels_float16; }

const lstm_isa lstm_isa_neon = {"neon",  is_supported,  &kernels_f32, &kernels_f64, &kernels_bfloat16,
                                float16, lstm_int8_neon};

#endif
