/* Vectors of float in 512 bits: the operations that the head of kernels_impl.h lists. */
#define REAL float
#define REAL_BITS 32
#define DTYPE f32
#define VEC __m512
#define LANES 16
#define VEC_SET1(a) _mm512_set1_ps(a)
#define VEC_ZERO() _mm512_setzero_ps()
#define VEC_LOAD(p) _mm512_loadu_ps(p)
#define VEC_STORE(p, a) _mm512_storeu_ps(p, a)
#define VEC_ADD(a, b) _mm512_add_ps(a, b)
#define VEC_SUB(a, b) _mm512_sub_ps(a, b)
#define VEC_MUL(a, b) _mm512_mul_ps(a, b)
#define VEC_DIV(a, b) _mm512_div_ps(a, b)
#define VEC_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define VEC_FMS(a, b, c) _mm512_fmsub_ps(a, b, c)
#define VEC_FNMA(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define VEC_LOAD_FIRST(p, n) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), p)
#define VEC_STORE_FIRST(p, n, a) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), a)
#define VEC_MIN(a, b) _mm512_min_ps(a, b)
#define VEC_MAX(a, b) _mm512_max_ps(a, b)
#define VEC_MINUS_ABS(a)                                                                                     \
    _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)))
/* Ternary logic 0xD8: where the third operand's bit is set take the second's, else the first's. */
#define VEC_COPYSIGN(magnitude, sign)                                                                        \
    _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(magnitude), _mm512_castps_si512(sign), \
                                                  _mm512_set1_epi32(INT32_MIN), 0xD8))
#define VEC_LOW_BITS_TO_EXPONENT(a) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23))
#define VEC_SELECT_LESS(a, b, x, y) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x)
#define VEC_IN_REGISTER(a) __asm__("" : "+v"(a))
#define VEC_PREFETCH(p) _mm_prefetch(p, _MM_HINT_T1)
#define VEC_CANONICAL_NAN(a)                                                                                 \
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a,                                          \
                         _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)))
#define VEC_MASK __mmask16
#define VEC_NOT_LESS(a, b) _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ)
#define VEC_WITHIN(low, a, high)                                                                             \
    _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(a, low, _CMP_NLT_UQ), high, a, _CMP_NLT_UQ)
#define VEC_DIV_WHERE(other, mask, a, b) _mm512_mask_div_ps(other, mask, a, b)
#define VEC_SUB_WHERE(other, mask, a, b) _mm512_mask_sub_ps(other, mask, a, b)
#define VEC_PICK(a, k) _mm512_permutexvar_ps(_mm512_set1_epi32(k), a)
#define VEC_IN_ORDER(a) __asm__ volatile("" : "+v"(a))
