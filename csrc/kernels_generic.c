/* Standard C for any CPU: a vector is one number.  Where the CPU has no fused multiply-add, fma() of the C
 * library computes it: slow, and the same bits. */
#include "small_weights.h"

#include <math.h>
#include <string.h>

#define ISA generic

static inline float low_bits_to_exponent_f32(float a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    bits <<= 23;
    memcpy(&a, &bits, sizeof a);
    return a;
}

static inline double low_bits_to_exponent_f64(double a) {
    uint64_t bits;
    memcpy(&bits, &a, sizeof bits);
    bits <<= 52;
    memcpy(&a, &bits, sizeof a);
    return a;
}

static inline float canonical_nan_f32(void) {
    const uint32_t bits = 0x7fc00000;
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    return nan;
}

static inline double canonical_nan_f64(void) {
    const uint64_t bits = 0x7ff8000000000000;
    double nan;
    memcpy(&nan, &bits, sizeof nan);
    return nan;
}

static inline float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* In integers: its subnormal numbers are normal as float, but not on the way there. */
static inline float from_float16(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 0x1f;
    uint32_t mantissa = half & 0x3ff;
    if (exponent == 0x1f) { /* infinity, or a NaN made quiet */
        return from_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa != 0 ? 0x400000 : 0));
    }
    if (exponent > 0) {
        return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    }
    if (mantissa == 0) {
        return from_bits(sign);
    }
    uint32_t shifted = 113;
    for (; mantissa < 0x400; mantissa <<= 1) {
        shifted--;
    }
    return from_bits(sign | shifted << 23 | (mantissa & 0x3ff) << 13);
}

#define VEC_WIDEN_bfloat16(p, w)                                                                             \
    for (int g = 0; g < GATE_COUNT; g++) {                                                                   \
        (w)[g] = from_bits((uint32_t)(p)[g] << 16);                                                          \
    }
#define VEC_WIDEN_float16(p, w)                                                                              \
    for (int g = 0; g < GATE_COUNT; g++) {                                                                   \
        (w)[g] = from_float16((p)[g]);                                                                       \
    }
#define REAL float
#define REAL_BITS 32
#define DTYPE f32
#define VEC_FMA(a, b, c) fmaf(a, b, c)
#define VEC_FMS(a, b, c) fmaf(a, b, -(c))
#define VEC_FNMA(a, b, c) fmaf(-(a), b, c)
#define VEC_MINUS_ABS(a) (-fabsf(a))
#define VEC_COPYSIGN(magnitude, sign) copysignf(magnitude, sign)
#define VEC_LOW_BITS_TO_EXPONENT(a) low_bits_to_exponent_f32(a)
#define VEC_CANONICAL_NAN(a) ((a) == (a) ? (a) : canonical_nan_f32())
#include "kernels_generic.h"

#define REAL double
#define REAL_BITS 64
#define DTYPE f64
#define VEC_FMA(a, b, c) fma(a, b, c)
#define VEC_FMS(a, b, c) fma(a, b, -(c))
#define VEC_FNMA(a, b, c) fma(-(a), b, c)
#define VEC_MINUS_ABS(a) (-fabs(a))
#define VEC_COPYSIGN(magnitude, sign) copysign(magnitude, sign)
#define VEC_LOW_BITS_TO_EXPONENT(a) low_bits_to_exponent_f64(a)
#define VEC_CANONICAL_NAN(a) ((a) == (a) ? (a) : canonical_nan_f64())
#include "kernels_generic.h"

static int is_supported(void) { return 1; }

static const lstm_narrow_kernels *float16(void) { return &kernels_float16; }

const lstm_isa lstm_isa_generic = {"generic",         is_supported, &kernels_f32,     &kernels_f64,
                                   &kernels_bfloat16, float16,      lstm_int8_generic};
