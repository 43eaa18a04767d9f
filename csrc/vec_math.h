/* exp, sigmoid and tanh on one vector, the same sequence of IEEE operations on every ISA.
 *
 * Included by kernels_impl.h once for each dtype; the vector macros are those of the including file.
 * The coefficients come from minimax.py; tests/kernel/test_activations.py holds the error bounds, for float32
 * over all 2^32 arguments with --exhaustive.
 */

#if REAL_BITS == 32
/* Numbers of this size have no fraction bits: adding it rounds to an integer, which then stands in the low
 * bits, biased as an exponent is. */
#define EXPONENT_SHIFT (0x1.8p23f + 127)
#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62ep-1f
#define LN2_LOW 0x1.0bfbe8p-15f
/* ln 2 rounded, and the rest. */
#define LN2_NEAREST 0x1.62e43p-1f
#define LN2_REST (-0x1.05c610p-29f)
#define EXP_TAIL_COUNT 5
#define TANH_TAIL_COUNT 5
/* sigmoid(-x) is subnormal, hence zero, past HIGH; sigmoid(x) rounds to one past LOW. */
#define SIGMOID_HIGH 87.9f
#define SIGMOID_LOW (-30.0f)
/* 2 x, past which tanh(x) rounds to one. */
#define TANH_HIGH 18.1f
#define TANH_SPLIT 0.5625f
static const float exp_tail_f32[EXP_TAIL_COUNT] = {
    0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558eap-5f, 0x1.12393cp-7f, 0x1.6a26dep-10f,
};
static const float tanh_tail_f32[TANH_TAIL_COUNT] = {
    -0x1.555548p-2f, 0x1.110c8cp-3f, -0x1.b90d14p-5f, 0x1.584c4p-6f, -0x1.9593fep-8f,
};
#else
#define EXPONENT_SHIFT (0x1.8p52 + 1023)
#define LOG2_E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa4p-1
#define LN2_LOW (-0x1.8432a1b0e2634p-43)
#define LN2_NEAREST 0x1.62e42fefa39efp-1
#define LN2_REST 0x1.abc9e3b39803fp-56
#define EXP_TAIL_COUNT 10
#define TANH_TAIL_COUNT 10
#define SIGMOID_HIGH 709.0
#define SIGMOID_LOW (-60.0)
#define TANH_HIGH 38.5
#define TANH_SPLIT 0.5625
static const double exp_tail_f64[EXP_TAIL_COUNT] = {
    0x1.0000000000009p-1,  0x1.55555555554fcp-3,  0x1.5555555550b8cp-5,  0x1.111111112789ep-7,
    0x1.6c16c1839c6d7p-10, 0x1.a01a012a6fc8dp-13, 0x1.a0199b57fafebp-16, 0x1.71df26c3be2cfp-19,
    0x1.28ac62e84dd4cp-22, 0x1.ad7b26dc13877p-26,
};
static const double tanh_tail_f64[TANH_TAIL_COUNT] = {
    -0x1.5555555555448p-2,  0x1.11111110fca50p-3,  -0x1.ba1ba1a8eb05ap-5,  0x1.664f44ec4a2a7p-6,
    -0x1.226dc6ef6f08dp-7,  0x1.d6c351c5f0efap-9,  -0x1.7cd8445e09b92p-10, 0x1.2f008e4a672a4p-11,
    -0x1.b4ee074742e1bp-13, 0x1.a0b7dc636eb5fp-15,
};
#endif

/* sum of c[k] x^k, k < count; x2 = x^2.  Pairs of terms halve the chain of dependent operations. */
static LSTM_INLINE VEC NAME(polynomial)(const REAL *c, int count, VEC x, VEC x2) {
    int k = count - 1 - (count - 1) % 2;
    VEC sum = k + 1 < count ? VEC_FMA(VEC_SET1(c[k + 1]), x, VEC_SET1(c[k])) : VEC_SET1(c[k]);
    for (k -= 2; k >= 0; k -= 2) {
        sum = VEC_FMA(sum, x2, VEC_FMA(VEC_SET1(c[k + 1]), x, VEC_SET1(c[k])));
    }
    return sum;
}

/* exp(-x) = power * (1 + tail): power = 2^n with n = -x log2(e) rounded, |tail| < 0.42.
 * With r = -x - n ln 2 in [-ln 2 / 2, ln 2 / 2], tail = r + r^2 p(r).  The noise of r^2 p is under half a
 * step of r, so the exact value of the last fused operation grows with r and its rounded value cannot fall:
 * the functions made of it are monotone. Error of 1 + tail before it is rounded: 2^-27.9 (float32), 2^-57.4
 * (float64) from the polynomial and about half an ULP from the roundings of r and tail. */
static LSTM_INLINE void NAME(exp_range)(VEC x, VEC *power, VEC *r) {
    const VEC shifted = VEC_FMA(x, VEC_SET1(-LOG2_E), VEC_SET1(EXPONENT_SHIFT));
    const VEC n = VEC_SUB(shifted, VEC_SET1(EXPONENT_SHIFT));
    *r = VEC_FMA(n, VEC_SET1(-LN2_LOW), VEC_FMS(n, VEC_SET1(-LN2_HIGH), x));
    *power = VEC_LOW_BITS_TO_EXPONENT(shifted);
}

static LSTM_INLINE VEC NAME(exp_tail_of)(VEC r) {
    const VEC r2 = VEC_MUL(r, r);
    return VEC_FMA(NAME(polynomial)(NAME(exp_tail), EXP_TAIL_COUNT, r, r2), r2, r);
}

static LSTM_INLINE void NAME(exp_of_negative)(VEC x, VEC *power, VEC *tail) {
    VEC r;
    NAME(exp_range)(x, power, &r);
    *tail = NAME(exp_tail_of)(r);
}

/* An activation is computed in three stages, for what has something else to do between them: what a stage leaves
 * to the next one. */
typedef struct {
    VEC x;     /* of tanh */
    VEC power; /* of two */
    VEC r;     /* what exp has beside it */
    VEC n;     /* of tanh: exp's multiple of ln 2 */
} NAME(stage);

/* 1 / (1 + exp(-x)), at most 1.70 ULP in float32, 1.73 in float64.
 * The denominator 1 + power + power * tail is rounded once: `base` takes 1 + power, `lost` what its
 * rounding dropped (exact where power is 2^24 or 2^-24, the only place where it matters). */
static LSTM_INLINE void NAME(sigmoid_range)(NAME(stage) * stage, VEC x) {
    const VEC bounded = VEC_MAX(VEC_SET1(-SIGMOID_HIGH), VEC_MIN(VEC_SET1(-SIGMOID_LOW), x));
    NAME(exp_range)(bounded, &stage->power, &stage->r);
}

static LSTM_INLINE void NAME(sigmoid_tail)(NAME(stage) * stage) { stage->r = NAME(exp_tail_of)(stage->r); }

static LSTM_INLINE VEC NAME(sigmoid_quotient)(const NAME(stage) * stage) {
    const VEC one = VEC_SET1(1);
    const VEC base = VEC_ADD(one, stage->power);
    const VEC lost = VEC_SUB(one, VEC_SUB(base, stage->power));
    return VEC_DIV(one, VEC_ADD(base, VEC_FMA(stage->power, stage->r, lost)));
}

static LSTM_INLINE VEC NAME(vec_sigmoid)(VEC x) {
    NAME(stage) stage;
    NAME(sigmoid_range)(&stage, x);
    NAME(sigmoid_tail)(&stage);
    return NAME(sigmoid_quotient)(&stage);
}

/* x + x^3 p(x^2), tanh(x) below TANH_SPLIT: there x^3 p is under a tenth of x, so that its noise cannot undo a step
 * of x. */
static LSTM_INLINE VEC NAME(tanh_of_small)(VEC x) {
    const VEC s = VEC_MUL(x, x);
    const VEC p = NAME(polynomial)(NAME(tanh_tail), TANH_TAIL_COUNT, s, VEC_MUL(s, s));
    return VEC_FMA(VEC_MUL(x, s), p, x);
}

/* tanh(x), at most 1.31 ULP in float32, 1.33 in float64: tanh_of_small, from TANH_SPLIT on
 * 1 - 2 / (exp(2|x|) + 1).  The split is just above atanh(1/2): from there on the quotient is below 1/2 and its
 * error counts less than half in the difference.
 *
 * exp is that of exp_of_negative but for r: n LN2_NEAREST - x is exact, and of what it lacks, n LN2_REST, the
 * polynomial needs nothing, so that it need not wait for it. */
static LSTM_INLINE void NAME(tanh_range)(NAME(stage) * stage, VEC x) {
    const VEC negative = VEC_MINUS_ABS(x);
    const VEC bounded = VEC_MAX(VEC_SET1(-TANH_HIGH), VEC_ADD(negative, negative));
    const VEC shifted = VEC_FMA(bounded, VEC_SET1(-LOG2_E), VEC_SET1(EXPONENT_SHIFT));
    stage->x = x;
    stage->n = VEC_SUB(shifted, VEC_SET1(EXPONENT_SHIFT));
    stage->power = VEC_LOW_BITS_TO_EXPONENT(shifted);
    stage->r = VEC_FMS(stage->n, VEC_SET1(-LN2_NEAREST), bounded);
}

/* r becomes exp(2|x|) + 1. */
static LSTM_INLINE void NAME(tanh_denominator)(NAME(stage) * stage) {
    const VEC r2 = VEC_MUL(stage->r, stage->r);
    const VEC linear = VEC_FMA(stage->n, VEC_SET1(-LN2_REST), stage->r);
    const VEC p = NAME(polynomial)(NAME(exp_tail), EXP_TAIL_COUNT, stage->r, r2);
    stage->r = VEC_FMA(stage->power, VEC_FMA(p, r2, linear), VEC_ADD(VEC_SET1(1), stage->power));
}

static LSTM_INLINE VEC NAME(tanh_quotient)(const NAME(stage) * stage) {
    const VEC large = VEC_SUB(VEC_SET1(1), VEC_DIV(VEC_SET1(2), stage->r));
    const VEC small = NAME(tanh_of_small)(stage->x);
    const VEC magnitude = VEC_SELECT_LESS(VEC_SET1(-TANH_SPLIT), VEC_MINUS_ABS(stage->x), small, large);
    return VEC_COPYSIGN(magnitude, stage->x);
}

static LSTM_INLINE VEC NAME(vec_tanh)(VEC x) {
    NAME(stage) stage;
    NAME(tanh_range)(&stage, x);
    NAME(tanh_denominator)(&stage);
    return NAME(tanh_quotient)(&stage);
}

#ifdef VEC_MASK
/* The same bits as vec_sigmoid and vec_tanh by shorter chains of more operations: for a row alone, which waits for
 * one after the other.
 *
 * The power of two enters before the last multiply-add, where it changes no bit; what is out of range is not
 * bounded before but replaced by the division; tanh's sign is that of its numbers, and its |x| is not doubled. */
static LSTM_INLINE VEC NAME(vec_sigmoid_soon)(VEC x) {
    const VEC one = VEC_SET1(1);
    const VEC shifted = VEC_FMA(x, VEC_SET1(-LOG2_E), VEC_SET1(EXPONENT_SHIFT));
    const VEC n = VEC_SUB(shifted, VEC_SET1(EXPONENT_SHIFT));
    const VEC power = VEC_LOW_BITS_TO_EXPONENT(shifted);
    const VEC r = VEC_FMA(n, VEC_SET1(-LN2_LOW), VEC_FMS(n, VEC_SET1(-LN2_HIGH), x));
    const VEC r2 = VEC_MUL(r, r);
    const VEC p = NAME(polynomial)(NAME(exp_tail), EXP_TAIL_COUNT, r, r2);
    const VEC base = VEC_ADD(one, power);
    const VEC lost = VEC_SUB(one, VEC_SUB(base, power));
    const VEC tail = VEC_FMA(p, VEC_MUL(power, r2), VEC_MUL(power, r));
    const VEC limit = VEC_SELECT_LESS(x, VEC_ZERO(), VEC_ZERO(), one);
    const VEC_MASK within = VEC_WITHIN(VEC_SET1(-SIGMOID_HIGH), x, VEC_SET1(-SIGMOID_LOW));
    return VEC_DIV_WHERE(limit, within, one, VEC_ADD(base, VEC_ADD(tail, lost)));
}

static LSTM_INLINE VEC NAME(vec_tanh_soon)(VEC x) {
    /* p(2 r) of twice the argument. */
    REAL half_tail[EXP_TAIL_COUNT];
    for (int k = 0; k < EXP_TAIL_COUNT; k++) {
        half_tail[k] = NAME(exp_tail)[k] * (REAL)(4 << k);
    }
    const VEC negative = VEC_MINUS_ABS(x);
    const VEC shifted = VEC_FMA(negative, VEC_SET1(-2 * LOG2_E), VEC_SET1(EXPONENT_SHIFT));
    const VEC n = VEC_SUB(shifted, VEC_SET1(EXPONENT_SHIFT));
    const VEC power = VEC_LOW_BITS_TO_EXPONENT(shifted);
    const VEC r = VEC_FMS(n, VEC_SET1(-LN2_NEAREST / 2), negative);
    const VEC r2 = VEC_MUL(r, r);
    const VEC linear = VEC_FMA(n, VEC_SET1(-LN2_REST / 2), r);
    const VEC p = NAME(polynomial)(half_tail, EXP_TAIL_COUNT, r, r2);
    const VEC tail = VEC_FMA(p, VEC_MUL(power, r2), VEC_MUL(VEC_ADD(power, power), linear));
    const VEC one = VEC_COPYSIGN(VEC_SET1(1), x);
    const VEC_MASK within = VEC_NOT_LESS(negative, VEC_SET1(-TANH_HIGH / 2));
    const VEC_MASK large = VEC_NOT_LESS(VEC_SET1(-TANH_SPLIT), negative);
    const VEC denominator = VEC_ADD(VEC_ADD(VEC_SET1(1), power), tail);
    const VEC part = VEC_DIV_WHERE(VEC_ZERO(), within, VEC_ADD(one, one), denominator);
    return VEC_SUB_WHERE(VEC_COPYSIGN(NAME(tanh_of_small)(x), x), large, one, part);
}
#endif

#undef EXPONENT_SHIFT
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef LN2_NEAREST
#undef LN2_REST
#undef EXP_TAIL_COUNT
#undef TANH_TAIL_COUNT
#undef SIGMOID_HIGH
#undef SIGMOID_LOW
#undef TANH_HIGH
#undef TANH_SPLIT
