/* Guards that a fork opens: atomics, and the generation of the process. */
#include "fork_guard.h"
#include "lstm_kernels.h" /* refuses -ffast-math, as for all of the kernel */
#include "system.h"

static long generation = 1;

static void begin_generation(void) { generation++; }

void lstm_guard_setup(void) { lstm_at_fork(NULL, NULL, begin_generation); }

int lstm_guard_enter(lstm_guard *guard) {
    long found = __atomic_load_n(guard, __ATOMIC_RELAXED);
    return found != generation &&
           __atomic_compare_exchange_n(guard, &found, generation, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void lstm_guard_leave(lstm_guard *guard) { __atomic_store_n(guard, 0, __ATOMIC_RELEASE); }
