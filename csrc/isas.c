/* Which ISAs this CPU and its operating system run, and the thread's floating-point mode. */
#include "lstm_kernels.h"

#if LSTM_X86
#include <cpuid.h>
#include <immintrin.h>
#endif

const lstm_isa *lstm_isa_at(int index) {
    static const lstm_isa *const isas[LSTM_ISA_COUNT] = {
        &lstm_isa_generic,
#if LSTM_X86
        &lstm_isa_avx2,
        &lstm_isa_avx512,
#endif
    };
    return index >= 0 && index < LSTM_ISA_COUNT ? isas[index] : NULL;
}

#if LSTM_X86

/* The register state that the operating system saves (XCR0): without it a vector register would not
 * survive a context switch, whatever CPUID says of the CPU. */
static uint64_t saved_register_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

enum { STATE_YMM = 0x06, STATE_ZMM = 0xe6 };

int lstm_isa_supported(int index) {
    unsigned eax, ebx, ecx, edx;
    if (index == 0) {
        return 1;
    }
    if (index < 0 || index >= LSTM_ISA_COUNT || !__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        return 0;
    }
    const int has_fma = (ecx & bit_FMA) != 0;
    if ((ecx & bit_OSXSAVE) == 0 || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        return 0;
    }
    const uint64_t state = saved_register_state();
    if (index == 1) {
        return has_fma && (ebx & bit_AVX2) != 0 && (state & STATE_YMM) == STATE_YMM;
    }
    return (ebx & bit_AVX512F) != 0 && (state & STATE_ZMM) == STATE_ZMM;
}

/* MXCSR: all exceptions masked, round to nearest, flush to zero, denormals are zero. */
enum { DEFAULT_MXCSR = 0x1f80, KERNEL_MXCSR = DEFAULT_MXCSR | 0x8000 | 0x0040, MXCSR_BITS = 0xffff };

uint64_t lstm_fp_read(void) { return _mm_getcsr(); }

uint64_t lstm_fp_enter(void) {
    const uint64_t found = _mm_getcsr();
    _mm_setcsr(KERNEL_MXCSR);
    return found;
}

uint64_t lstm_fp_default(void) {
    const uint64_t found = _mm_getcsr();
    _mm_setcsr(DEFAULT_MXCSR);
    return found;
}

void lstm_fp_leave(uint64_t found) { _mm_setcsr((unsigned)found & MXCSR_BITS); }

#else

int lstm_isa_supported(int index) { return index == 0; }

#if defined(__aarch64__)

/* FPCR: flush to zero (bit 24), all else zero: round to nearest, no traps.  FPSR holds the flags. */
static const uint64_t KERNEL_FPCR = (uint64_t)1 << 24;

uint64_t lstm_fp_read(void) {
    uint64_t control, status;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(status));
    return control | status << 32;
}

uint64_t lstm_fp_enter(void) {
    const uint64_t found = lstm_fp_read();
    __asm__ volatile("msr fpcr, %0" : : "r"(KERNEL_FPCR) : "memory");
    return found;
}

uint64_t lstm_fp_default(void) {
    const uint64_t found = lstm_fp_read();
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return found;
}

void lstm_fp_leave(uint64_t found) {
    __asm__ volatile("msr fpcr, %0" : : "r"(found & UINT32_MAX) : "memory");
    __asm__ volatile("msr fpsr, %0" : : "r"(found >> 32) : "memory");
}

#else

uint64_t lstm_fp_read(void) { return 0; }
uint64_t lstm_fp_enter(void) { return 0; }
uint64_t lstm_fp_default(void) { return 0; }
void lstm_fp_leave(uint64_t found) { (void)found; }

#endif
#endif
