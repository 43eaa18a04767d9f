/* int8 with NEON of 64-bit Arm: 4 units in a vector. */
#include "small_weights.h"

#if LSTM_ARM64

#include <arm_neon.h>
#include <string.h>

#define LANES 4
#define ROW_TILE 2
#define PANEL_TILE 2
#define INT8_TILES(TILE) TILE(1, 1, 4) TILE(1, 2, 8) TILE(2, 1, 4)
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
#define STORE_INTEGERS(p, vec) store_rounded(p, vec)

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

static int is_supported_neon(void) { return 1; }

#define SET neon
#include "int8_plain.h"

#include "int8_impl.h"

const lstm_int8_kernels *const lstm_int8_neon[] = {&kernels_neon, NULL};

#endif
