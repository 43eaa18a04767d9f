/* The table of ISAs, slowest first, and what this CPU and its operating system can run. */
#include "lstm_kernels.h"

#if LSTM_X86
#include <cpuid.h>
#endif

const lstm_isa *lstm_isa_at(int index) {
    static const lstm_isa *const isas[LSTM_ISA_COUNT] = {
        &lstm_isa_generic,
#if LSTM_X86
        &lstm_isa_avx2,
        &lstm_isa_avx512,
#endif
#if LSTM_ARM64
        &lstm_isa_neon,
#endif
    };
    return index >= 0 && index < LSTM_ISA_COUNT ? isas[index] : NULL;
}

#if LSTM_X86

lstm_x86_cpu lstm_x86_read_cpu(void) {
    lstm_x86_cpu cpu = {0, 0, 0};
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & bit_OSXSAVE) == 0) {
        return cpu;
    }
    cpu.leaf_1_ecx = ecx;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        cpu.leaf_7_ebx = ebx;
    }
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    cpu.saved_registers = (uint64_t)high << 32 | low;
    return cpu;
}

#endif
