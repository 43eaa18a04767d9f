/* Standard C for any CPU: a vector is one number.  Where the CPU has no fused multiply-add, fma() of the C
 * library computes it: slow, and the same bits. */
#include "lstm_kernels.h"

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

const lstm_isa lstm_isa_generic = {"generic", is_supported, &kernels_f32, &kernels_f64};
