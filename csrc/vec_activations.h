/* The other functions of the ONNX LSTM operator on one vector, the same sequence of IEEE operations on
 * every ISA.  Included by kernels_impl.h after vec_math.h; a NaN stays one, an infinity saturates.
 */

#if REAL_BITS == 32
#define LARGEST_REAL 0x1.fffffep127f
/* exp(-x) is normal up to here. */
#define EXP_HIGH 87.0f
#define LOG_TAIL_COUNT 8
#else
#define LARGEST_REAL 0x1.fffffffffffffp1023
#define EXP_HIGH 708.0
#define LOG_TAIL_COUNT 16
#endif

/* exp(x) - 1 for x <= 0: power - 1 is exact or next to it, so that nothing cancels at small x. */
static LSTM_INLINE VEC NAME(vec_exp_minus_one)(VEC x) {
    VEC power, tail;
    NAME(exp_of_negative)(VEC_SUB(VEC_ZERO(), VEC_MAX(VEC_SET1(-EXP_HIGH), x)), &power, &tail);
    return VEC_FMA(power, tail, VEC_SUB(power, VEC_SET1(1)));
}

/* log(1 + exp(x)) = max(x, 0) + log(1 + y), y = exp(-|x|).  With s = y / (2 + y) <= 1/3,
 * log(1 + y) = 2 atanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...): the terms left out are below an ULP. */
static LSTM_INLINE VEC NAME(vec_softplus)(VEC x) {
    VEC power, tail;
    NAME(exp_of_negative)
    (VEC_SUB(VEC_ZERO(), VEC_MAX(VEC_SET1(-EXP_HIGH), VEC_MINUS_ABS(x))), &power, &tail);
    const VEC y = VEC_FMA(power, tail, power);
    const VEC s = VEC_DIV(y, VEC_ADD(VEC_SET1(2), y));
    const VEC s2 = VEC_MUL(s, s);
    VEC series = VEC_SET1((REAL)1 / (2 * LOG_TAIL_COUNT + 1));
    for (int k = LOG_TAIL_COUNT - 1; k > 0; k--) {
        series = VEC_FMA(series, s2, VEC_SET1((REAL)1 / (REAL)(2 * k + 1)));
    }
    const VEC atanh = VEC_FMA(VEC_MUL(s, s2), series, s);
    return VEC_ADD(VEC_MAX(VEC_ZERO(), x), VEC_ADD(atanh, atanh));
}

static VEC NAME(vec_activation)(const ACTIVATION *function, VEC x) {
    const VEC zero = VEC_ZERO();
    const VEC one = VEC_SET1(1);
    const VEC alpha = VEC_SET1(function->alpha);
    const VEC beta = VEC_SET1(function->beta);
    switch (function->kind) {
    case LSTM_TANH:
        return NAME(vec_tanh)(x);
    case LSTM_RELU:
        return VEC_MAX(zero, x);
    case LSTM_AFFINE:
        return VEC_FMA(alpha, x, beta);
    case LSTM_LEAKY_RELU:
        return VEC_SELECT_LESS(x, zero, VEC_MUL(alpha, x), x);
    case LSTM_THRESHOLDED_RELU:
        /* Zero times x within [-1, 1]: zero, but NaN of a NaN. */
        return VEC_SELECT_LESS(alpha, x, x, VEC_FMA(zero, VEC_MAX(VEC_SET1(-1), VEC_MIN(one, x)), zero));
    case LSTM_SCALED_TANH:
        return VEC_MUL(alpha, NAME(vec_tanh)(VEC_MUL(beta, x)));
    case LSTM_HARD_SIGMOID:
        return VEC_MAX(zero, VEC_MIN(one, VEC_FMA(alpha, x, beta)));
    case LSTM_ELU:
        return VEC_SELECT_LESS(x, zero, VEC_MUL(alpha, NAME(vec_exp_minus_one)(x)), x);
    case LSTM_SOFTSIGN: {
        const VEC finite = VEC_MAX(VEC_SET1(-LARGEST_REAL), VEC_MIN(VEC_SET1(LARGEST_REAL), x));
        return VEC_DIV(finite, VEC_SUB(one, VEC_MINUS_ABS(finite)));
    }
    case LSTM_SOFTPLUS:
        return NAME(vec_softplus)(x);
    default:
        return NAME(vec_sigmoid)(x);
    }
}

#undef LARGEST_REAL
#undef EXP_HIGH
#undef LOG_TAIL_COUNT
