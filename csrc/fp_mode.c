/* The calling thread's floating-point mode. */
#include "lstm_kernels.h"

#if LSTM_X86

#include <immintrin.h>

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

#elif LSTM_ARM64

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
