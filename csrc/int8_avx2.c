/* int8 with AVX2: 8 units in a vector. */
#include "small_weights.h"

#if LSTM_X86

#include <cpuid.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "x86_intrinsics.h"

/* From 8 - n on, a mask of the first n lanes. */
static const int32_t first_lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

#define LANES 8
#define VEC __m256
#define VEC_SET1(a) _mm256_set1_ps(a)
#define VEC_LOAD(p) _mm256_loadu_ps(p)
#define VEC_LOAD_FIRST(p, n)                                                                                 \
    _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(first_lanes + 8 - (n))))
#define VEC_STORE(p, a) _mm256_storeu_ps(p, a)
#define VEC_MUL(a, b) _mm256_mul_ps(a, b)
#define VEC_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define VEC_FROM_INTEGERS(p) _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define MAGNITUDES __m256i
#define NO_MAGNITUDE() _mm256_setzero_si256()
#define LARGER_MAGNITUDES(m, vec)                                                                            \
    _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(vec), _mm256_set1_epi32(0x7fffffff)))
#define LARGEST_MAGNITUDE(m) largest_magnitude(m)

static inline uint32_t largest_magnitude(__m256i magnitudes) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(magnitudes), _mm256_extracti128_si256(magnitudes, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* A vector rounded to eight integers of 16 bits. */
static inline __m128i rounded(__m256 x) {
    const __m256i integers = _mm256_cvtps_epi32(x);
    return _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
}

/* Integers of 8 bits of a vector, exclusive-or `flips`. */
static inline void store_bytes(char *p, __m256 x, char flips) {
    const __m128i bytes = _mm_packs_epi16(rounded(x), _mm_setzero_si128());
    _mm_storel_epi64((__m128i *)p, _mm_xor_si128(bytes, _mm_set1_epi8(flips)));
}

/* Weights of four k and eight units, and their magnitudes, which 8 bits hold without a sign. */
typedef struct {
    __m256i signs;
    __m256i magnitudes;
} weights_avx2;

static inline weights_avx2 load_weights(const int8_t *p) {
    const __m256i weights = _mm256_loadu_si256((const __m256i *)p);
    return (weights_avx2){weights, _mm256_abs_epi8(weights)};
}

/* Four integers of an input, wherever they are. */
typedef int32_t group_of_input __attribute__((may_alias, aligned(1)));

static int is_supported_avx2(void) { return 1; }

/* Magnitudes of weights times inputs with the weights' signs: two products are at most 2 128 127, so that their
 * sum of 16 bits is exact. */
#define SET avx2
#define SET_NAME "vpmaddubsw"
#define ROW_TILE 3
#define PANEL_TILE 3
#define INT8_TILES(TILE) TILE(1, 1, 8) TILE(1, 2, 16) TILE(1, 3, 24) TILE(2, 1, 8) TILE(3, 1, 8)
#define PARTS 1
#define INT __m256i
#define WEIGHTS weights_avx2
#define INPUT const char *
#define INTEGER_BYTES 1
#define INT_START(offsets) ((void)(offsets), _mm256_setzero_si256())
#define LOAD_WEIGHTS(p) load_weights(p)
#define LOAD_INPUT(p) (p)
/* By assembly: GCC 12 stores sums of an array to the stack after an intrinsic, and would keep the inputs in
 * registers: 12 sums, the weights, a product and the ones take all of them. */
#define ADD_PRODUCTS(sums, input, weights)                                                                   \
    do {                                                                                                     \
        __m256i products;                                                                                    \
        __asm__("vpbroadcastd %2, %1\n\t"                                                                    \
                "vpsignb %3, %1, %1\n\t"                                                                     \
                "vpmaddubsw %1, %4, %1\n\t"                                                                  \
                "vpmaddwd %5, %1, %1\n\t"                                                                    \
                "vpaddd %1, %0, %0"                                                                          \
                : "+x"(sums), "=&x"(products)                                                                \
                : "m"(*(const group_of_input *)(input)), "x"((weights).signs), "x"((weights).magnitudes),    \
                  "xm"(_mm256_set1_epi16(1)));                                                               \
    } while (0)
#define VEC_FROM_SUMS(sums) _mm256_cvtepi32_ps(sums)
#define STORE_INTEGERS(p, vec) store_bytes(p, vec, 0)
#include "int8_impl.h"

#include "int8_undefine.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* AVX-VNNI needs a compiler that knows it. */
#if (defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11)
#define HAS_AVX_VNNI 1

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avxvnni")
#endif

static int is_supported_avxvnni(void) {
    uint32_t eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1 << 4) != 0;
}

/* Integers of an input are stored as unsigned ones, which its products take. */
#define SET avxvnni
#define SET_NAME "AVX-VNNI vpdpbusd"
#define ROW_TILE 3
#define PANEL_TILE 3
#define INT8_TILES(TILE) TILE(1, 1, 8) TILE(1, 2, 16) TILE(1, 3, 24) TILE(2, 1, 8) TILE(3, 1, 8)
#define PARTS 1
#define INT __m256i
#define WEIGHTS __m256i
#define INPUT __m256i
#define INTEGER_BYTES 1
#define INT_START(offsets) _mm256_loadu_si256((const __m256i *)(offsets))
#define LOAD_WEIGHTS(p) _mm256_loadu_si256((const __m256i *)(p))
#define LOAD_INPUT(p) _mm256_set1_epi32(four_integers(p))
/* By assembly: GCC 12 stores each sum of an array to the stack after its intrinsic. */
#define ADD_PRODUCTS(sums, input, weights)                                                                   \
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(input), "x"(weights))
#define VEC_FROM_SUMS(sums) _mm256_cvtepi32_ps(sums)
#define STORE_INTEGERS(p, vec) store_bytes(p, vec, -128)

#include "int8_impl.h"

#include "int8_undefine.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

const lstm_int8_kernels *const lstm_int8_avx2[] = {
#ifdef HAS_AVX_VNNI
    &kernels_avxvnni,
#endif
    &kernels_avx2,
    NULL,
};

#endif
