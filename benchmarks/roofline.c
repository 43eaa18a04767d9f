/* Limits of one core: fused multiply-adds per second, and read bandwidth by size of what is read.
 *
 * What is read is walked forward, and to and fro, as the kernel walks weights, so that a cache yields again what
 * it still holds; without prefetches into L1, and with those of several distances: no one way is the fastest for
 * all sizes.
 *
 * Compiled and run by peers.py: cc -O2 -march=native roofline.c.  Prints JSON: gflops for float and double,
 * and for each size in bytes the gigabytes read in a second, best of several repeats.
 */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#ifdef __AVX512F__
#define VEC __m512
#define LANES 16
#define SET1 _mm512_set1_ps
#define FMA _mm512_fmadd_ps
#define LOAD _mm512_load_ps
#define ADD _mm512_add_ps
#else
#define VEC __m256
#define LANES 8
#define SET1 _mm256_set1_ps
#define FMA _mm256_fmadd_ps
#define LOAD _mm256_load_ps
#define ADD _mm256_add_ps
#endif

enum { CHAINS = 12 };

static volatile float sink;

static double gflops(void) {
    const long steps = 2000000;
    VEC sum[CHAINS];
    for (int i = 0; i < CHAINS; i++) {
        sum[i] = SET1((float)i);
    }
    VEC a = SET1(0.999f), b = SET1(0.001f);
    __asm__ volatile("" : "+v"(a), "+v"(b));
    const double start = now();
    for (long k = 0; k < steps; k++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = FMA(sum[i], a, b);
        }
    }
    const double seconds = now() - start;
    float total = 0;
    for (int i = 0; i < CHAINS; i++) {
        float lanes[LANES];
        for (int k = 0; k < LANES; k++)
            lanes[k] = ((float *)&sum[i])[k];
        total += lanes[0];
    }
    sink = total;
    return (double)steps * CHAINS * LANES * 2 / seconds * 1e-9;
}

/* sum += eight vectors; prefetches what stands `ahead` vectors further on, or nothing for 0. */
static inline __attribute__((always_inline)) void read_vectors(const float *at, ptrdiff_t ahead, VEC *sum) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        if (ahead != 0) {
            _mm_prefetch((const char *)(at + (i + ahead) * LANES), _MM_HINT_T0);
        }
        sum[i] = ADD(sum[i], LOAD(at + i * LANES));
    }
}

static inline __attribute__((always_inline)) void read_forward(const float *memory, ptrdiff_t vectors,
                                                               ptrdiff_t ahead, VEC *sum) {
    for (ptrdiff_t v = 0; v < vectors; v += 8) {
        read_vectors(memory + v * LANES, ahead, sum);
    }
}

static inline __attribute__((always_inline)) void read_backward(const float *memory, ptrdiff_t vectors,
                                                                ptrdiff_t ahead, VEC *sum) {
    for (ptrdiff_t v = vectors - 8; v >= 0; v -= 8) {
        read_vectors(memory + v * LANES, -ahead, sum);
    }
}

/* Forward or, `to_and_fro`, backward in turns; `ahead` vectors prefetched, 0: none. */
static double gigabytes(const float *memory, size_t bytes, int to_and_fro, ptrdiff_t ahead) {
    const ptrdiff_t vectors = (ptrdiff_t)(bytes / sizeof(VEC));
    const long passes = 2 * ((long)(64e6 / (double)bytes) + 1);
    VEC sum[8];
    for (int i = 0; i < 8; i++) {
        sum[i] = SET1(0);
    }
    const double start = now();
    for (long pass = 0; pass < passes; pass += 2) {
        if (ahead == 0) {
            read_forward(memory, vectors, 0, sum);
        } else {
            read_forward(memory, vectors, ahead, sum);
        }
        if (to_and_fro && ahead == 0) {
            read_backward(memory, vectors, 0, sum);
        } else if (to_and_fro) {
            read_backward(memory, vectors, ahead, sum);
        } else if (ahead == 0) {
            read_forward(memory, vectors, 0, sum);
        } else {
            read_forward(memory, vectors, ahead, sum);
        }
        __asm__ volatile("" ::: "memory");
    }
    const double seconds = now() - start;
    float total = 0;
    for (int i = 0; i < 8; i++)
        total += ((float *)&sum[i])[0];
    sink = total;
    return (double)passes * (double)vectors * sizeof(VEC) / seconds * 1e-9;
}

int main(void) {
    double best = 0;
    for (int repeat = 0; repeat < 7; repeat++) {
        const double g = gflops();
        best = g > best ? g : best;
    }
    printf("{\"gflops_float32\": %.1f, \"read_gbytes\": {", best);
    const size_t largest = (size_t)256 << 20;
    float *memory = aligned_alloc((size_t)2 << 20, largest);
    if (memory == NULL)
        return 1;
#ifdef MADV_HUGEPAGE
    madvise(memory, largest, MADV_HUGEPAGE); /* as the weights have it; where there is none, it fails */
#endif
    for (size_t i = 0; i < largest / sizeof(float); i++)
        memory[i] = 1;
    const char *separator = "";
    for (size_t bytes = (size_t)16 << 10; bytes <= largest; bytes *= 2) {
        best = 0;
        for (int repeat = 0; repeat < 7; repeat++) {
            for (ptrdiff_t ahead = 0; ahead <= 128; ahead = ahead == 0 ? 4 : 2 * ahead) {
                for (int to_and_fro = 0; to_and_fro < 2; to_and_fro++) {
                    const double g = gigabytes(memory, bytes, to_and_fro, ahead);
                    best = g > best ? g : best;
                }
            }
        }
        printf("%s\"%zu\": %.1f", separator, bytes, best);
        separator = ", ";
    }
    printf("}}\n");
    free(memory);
    return 0;
}
