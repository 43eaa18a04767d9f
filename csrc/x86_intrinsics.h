/* The vector intrinsics of x86, also where clang for Windows leaves them out unless the whole file may use them. */
#if defined(_MSC_VER) && defined(__clang__)
#define __SSE3__ 1
#define __SSSE3__ 1
#define __SSE4_1__ 1
#define __AVX__ 1
#define __AVX2__ 1
#define __FMA__ 1
#define __F16C__ 1
#define __AVX512F__ 1
#define __AVX512BW__ 1
#endif
#include <immintrin.h>
