/* int8 in standard C, for any CPU: a vector is one number. */
#include <math.h>
#include <string.h>

#include "small_weights.h"

#define LANES 1
#define ROW_TILE 2
#define PANEL_TILE 2
#define INT8_TILES(TILE) TILE(1, 1, 1) TILE(1, 2, 2) TILE(2, 1, 1)
#define VEC float
#define VEC_SET1(a) ((float)(a))
#define VEC_LOAD(p) (*(p))
#define VEC_LOAD_FIRST(p, n) ((void)(n), *(p))
#define VEC_STORE(p, a) ((void)(*(p) = (a)))
#define VEC_MUL(a, b) ((a) * (b))
#define VEC_FMA(a, b, c) fmaf(a, b, c)
#define VEC_FROM_INTEGERS(p) ((float)*(p))
#define MAGNITUDES uint32_t
#define NO_MAGNITUDE() 0
#define LARGER_MAGNITUDES(m, vec) larger_magnitude(m, vec)
#define LARGEST_MAGNITUDE(m) (m)
#define STORE_INTEGERS(p, vec) ((void)(*(p) = rounded(vec)))

static inline uint32_t larger_magnitude(uint32_t magnitude, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7fffffff;
    return bits > magnitude ? bits : magnitude;
}

/* Numbers of this size have no fraction bits: adding it rounds to an integer. */
static inline char rounded(float x) { return (char)(int8_t)((x + 0x1.8p23f) - 0x1.8p23f); }

static int is_supported_generic(void) { return 1; }

#define SET generic
#include "int8_plain.h"

#include "int8_impl.h"

const lstm_int8_kernels *const lstm_int8_generic[] = {&kernels_generic, NULL};
