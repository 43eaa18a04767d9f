/* int8 with AVX-512: 16 units in a vector. */
#include "small_weights.h"

#if LSTM_X86

#include <cpuid.h>
#include <math.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif
#include "x86_intrinsics.h"

#include "vec_avx512_f32.h"
#define LSTM_INLINE inline __attribute__((always_inline))
#define NAME(x) x##_f32
#include "vec_math.h"

#include "vec_output.h"

#define VEC_FROM_INTEGERS(p) _mm512_cvtepi32_ps(_mm512_loadu_si512(p))
#define MAGNITUDES __m512i
#define NO_MAGNITUDE() _mm512_setzero_si512()
#define LARGER_MAGNITUDES(m, vec)                                                                            \
    _mm512_max_epi32(m, _mm512_and_si512(_mm512_castps_si512(vec), _mm512_set1_epi32(0x7fffffff)))
#define LARGEST_MAGNITUDE(m) ((uint32_t)_mm512_reduce_max_epi32(m))

/* The plain set is for CPUs that have the 512 bits of AVX-512F and nothing else. */
static int is_supported_avx512f(void) { return 1; }

#define SET avx512f
#define ROW_TILE 1
#define PANEL_TILE 1
#define INT8_TILES(TILE) TILE(1, 1, 16)
#define STORE_INTEGERS(p, vec) _mm_storeu_si128((__m128i *)(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(vec)))
#include "int8_plain.h"

#include "int8_impl.h"

#include "int8_undefine.h"

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw")
#endif

static int is_supported_avx512bw(void) { return (lstm_x86_read_cpu().leaf_7_ebx & bit_AVX512BW) != 0; }

/* Each of sixteen sums of two k and its neighbour: those of eight units. */
static inline __m256i unit_sums(__m512i pairs) {
    return _mm512_cvtepi64_epi32(_mm512_add_epi32(pairs, _mm512_srli_epi64(pairs, 32)));
}

/* Products of 16 bits in pairs: a part is half a panel.
 * 6 rows x 1 panel or 1 row x 2 panels: 24 or 8 sums, the inputs and weights in 32 registers. */
#define SET avx512bw
#define SET_NAME "AVX-512 vpmaddwd"
#define ROW_TILE 6
#define PANEL_TILE 2
#define INT8_TILES(TILE)                                                                                     \
    TILE(1, 1, 16)                                                                                           \
    TILE(1, 2, 32)                                                                                           \
                                                                                                             \
    TILE(2, 1, 16) TILE(3, 1, 16) TILE(4, 1, 16) TILE(5, 1, 16) TILE(6, 1, 16)
#define PARTS 2
#define INT __m512i
#define WEIGHTS __m512i
#define INPUT __m512i
#define INTEGER_BYTES 2
#define INT_START(offsets) ((void)(offsets), _mm512_setzero_si512())
#define LOAD_WEIGHTS(p) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(p)))
#define LOAD_INPUT(p) _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(p)))
#define ADD_PRODUCTS(sums, input, weights)                                                                   \
    ((sums) = _mm512_add_epi32(sums, _mm512_madd_epi16(input, weights)))
#define STORE_TOTALS(p, sums) _mm256_storeu_si256((__m256i *)(p), unit_sums(sums))
#define STORE_INTEGERS(p, vec)                                                                               \
    _mm256_storeu_si256((__m256i *)(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(vec)))
#include "int8_impl.h"

#include "int8_undefine.h"

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vnni"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vnni")
#endif

static int is_supported_avx512vnni(void) {
    uint32_t eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ecx & bit_AVX512VNNI) != 0;
}

/* Integers of an input are stored as unsigned ones, which its products take. */
#define SET avx512vnni
#define SET_NAME "AVX-512 vpdpbusd"
#define ROW_TILE 6
#define PANEL_TILE 2
#define INT8_TILES(TILE)                                                                                     \
    TILE(1, 1, 16)                                                                                           \
    TILE(1, 2, 32)                                                                                           \
                                                                                                             \
    TILE(2, 1, 16) TILE(3, 1, 16) TILE(4, 1, 16) TILE(5, 1, 16) TILE(6, 1, 16)
#define PARTS 1
#define INT __m512i
#define WEIGHTS __m512i
#define INPUT __m512i
#define INTEGER_BYTES 1
#define INT_START(offsets) _mm512_loadu_si512(offsets)
#define LOAD_WEIGHTS(p) _mm512_loadu_si512(p)
#define LOAD_INPUT(p) _mm512_set1_epi32(four_integers(p))
/* By assembly: GCC 12 stores each sum of an array to the stack after its intrinsic. */
#define ADD_PRODUCTS(sums, input, weights)                                                                   \
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(input), "v"(weights))
#define ADD_PRODUCTS_AT(sums, input, p)                                                                      \
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(input), "m"(*(const __m512i *)(p)))
#define VEC_FROM_SUMS(sums) _mm512_cvtepi32_ps(sums)
#define INT8_ROW_STEPS
#define HAS_NAN(a) (_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0)
#define STORE_INTEGERS(p, vec)                                                                               \
    _mm_storeu_si128((__m128i *)(p),                                                                         \
                     _mm_xor_si128(_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(vec)), _mm_set1_epi8(-128)))
#include "int8_impl.h"

#include "int8_undefine.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const lstm_int8_kernels *const lstm_int8_avx512[] = {&kernels_avx512vnni, &kernels_avx512bw, &kernels_avx512f,
                                                     NULL};

#endif
