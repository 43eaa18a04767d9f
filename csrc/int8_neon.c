/* int8 with NEON of 64-bit Arm: 4 units in a vector. */
#include "small_weights.h"

#if LSTM_ARM64

#include <arm_neon.h>
#include <string.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

#define LANES 4
#define VEC float32x4_t
#define VEC_SET1(a) vdupq_n_f32(a)
#define VEC_LOAD(p) vld1q_f32(p)
#define VEC_LOAD_FIRST(p, n) load_first(p, n)
#define VEC_STORE(p, a) vst1q_f32(p, a)
#define VEC_MUL(a, b) vmulq_f32(a, b)
#define VEC_FMA(a, b, c) vfmaq_f32(c, a, b)
#define VEC_FROM_INTEGERS(p) vcvtq_f32_s32(vld1q_s32(p))
#define MAGNITUDES uint32x4_t
#define NO_MAGNITUDE() vdupq_n_u32(0)
#define LARGER_MAGNITUDES(m, vec) vmaxq_u32(m, vandq_u32(vreinterpretq_u32_f32(vec), vdupq_n_u32(0x7fffffff)))
#define LARGEST_MAGNITUDE(m) vmaxvq_u32(m)

static inline float32x4_t load_first(const float *p, ptrdiff_t n) {
    float lanes[LANES] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vld1q_f32(lanes);
}

static inline void store_rounded(char *p, float32x4_t x) {
    const int16x4_t halves = vmovn_s32(vcvtnq_s32_f32(x));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
    memcpy(p, &bytes, LANES);
}

/* An extension of Armv8.2, which later CPUs have, and all of Apple's. */
static int is_supported_sdot(void) {
#if defined(__linux__)
    const unsigned long has_dot_products = 1ul << 20; /* HWCAP_ASIMDDP, which older headers lack */
    return (getauxval(AT_HWCAP) & has_dot_products) != 0;
#elif defined(__ARM_FEATURE_DOTPROD)
    return 1;
#else
    return 0;
#endif
}

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

/* Four rows have 16 sums in the registers, three panels of one row 12. */
#define SET sdot
#define SET_NAME "sdot"
#define ROW_TILE 4
#define PANEL_TILE 3
#define INT8_TILES(TILE) TILE(1, 1, 4) TILE(1, 2, 8) TILE(1, 3, 12) TILE(2, 1, 4) TILE(3, 1, 4) TILE(4, 1, 4)
#define PARTS 1
#define INT int32x4_t
#define WEIGHTS int8x16_t
#define INPUT int8x16_t
#define INTEGER_BYTES 1
#define INT_START(offsets) ((void)(offsets), vdupq_n_s32(0))
#define LOAD_WEIGHTS(p) vld1q_s8(p)
#define LOAD_INPUT(p) vreinterpretq_s8_s32(vdupq_n_s32(four_integers(p)))
/* By assembly: clang has the intrinsic only where all of the file may use it. */
#define ADD_PRODUCTS(sums, input, weights)                                                                   \
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(input), "w"(weights))
#define VEC_FROM_SUMS(sums) vcvtq_f32_s32(sums)
#define STORE_INTEGERS(p, vec) store_rounded(p, vec)
#include "int8_impl.h"

#include "int8_undefine.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

static int is_supported_neon(void) { return 1; }

#define SET neon
#define ROW_TILE 2
#define PANEL_TILE 2
#define INT8_TILES(TILE) TILE(1, 1, 4) TILE(1, 2, 8) TILE(2, 1, 4)
#define STORE_INTEGERS(p, vec) store_rounded(p, vec)
#include "int8_plain.h"

#include "int8_impl.h"

const lstm_int8_kernels *const lstm_int8_neon[] = {&kernels_sdot, &kernels_neon, NULL};

#endif
