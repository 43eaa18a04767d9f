/* Affinities of helpers, for as long as a call takes to begin. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* affinities */
#endif
#include "placement.h"
#include "lstm_kernels.h" /* refuses -ffast-math, as for all of the kernel */
#include "thread_pool.h"

#ifdef __linux__
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    CALLS = 256, /* that wake helpers elsewhere, after one was placed badly; it takes some microseconds */
    LATE = 150 * 1000, /* nanoseconds after which a helper that wakes has waited for its caller's CPU */
    /* Nanoseconds of a loss after which the scheduler is not overruled for some time: other programs have the CPUs. */
    LOSS = 100 * 1000,
    REST = 256 * 1000 * 1000
};

typedef struct {
    int is_taken; /* by the helper or by a caller, who do not wait for each other */
    int is_narrowed;
    pid_t thread;
    cpu_set_t home; /* before it was narrowed */
} placement;

static struct {
    placement helpers[LSTM_MOST_THREADS];
    int caller_cpu;
    int64_t called; /* when */
    int calls_left;
    int64_t rests_until; /* nothing is placed before */
} places;

static int is_resting(void) {
    return lstm_nanoseconds() < __atomic_load_n(&places.rests_until, __ATOMIC_RELAXED);
}

static int is_with_caller(void) {
    return sched_getcpu() == __atomic_load_n(&places.caller_cpu, __ATOMIC_RELAXED);
}

static int take(placement *one) {
    int is_taken = 0;
    return __atomic_compare_exchange_n(&one->is_taken, &is_taken, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void give_back(placement *one) { __atomic_store_n(&one->is_taken, 0, __ATOMIC_RELEASE); }

/* Lets a thread run on any of `found` but this CPU; 0 if there is none or the system does not let it. */
static int keep_off(pid_t thread, const cpu_set_t *found, int cpu) {
    cpu_set_t others = *found;
    if (cpu < 0 || cpu >= CPU_SETSIZE) {
        return 0;
    }
    CPU_CLR((size_t)cpu, &others);
    return CPU_COUNT(&others) > 0 && sched_setaffinity(thread, sizeof others, &others) == 0;
}

void lstm_placement_start(int member) {
    __atomic_store_n(&places.helpers[member].thread, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
}

void lstm_placement_of_caller(void) {
    __atomic_store_n(&places.caller_cpu, sched_getcpu(), __ATOMIC_RELAXED);
}

void lstm_placement_before_call(int members) {
    const int left = __atomic_load_n(&places.calls_left, __ATOMIC_RELAXED);
    lstm_placement_of_caller();
    __atomic_store_n(&places.called, lstm_nanoseconds(), __ATOMIC_RELAXED);
    if (left == 0 || is_resting()) {
        return;
    }
    __atomic_store_n(&places.calls_left, left - 1, __ATOMIC_RELAXED);
    for (int member = 1; member < members; member++) {
        placement *one = &places.helpers[member];
        const pid_t thread = __atomic_load_n(&one->thread, __ATOMIC_ACQUIRE);
        if (thread == 0 || !take(one)) {
            continue; /* it is awake and looks at it itself */
        }
        if (one->is_narrowed || sched_getaffinity(thread, sizeof one->home, &one->home) == 0) {
            one->is_narrowed = keep_off(thread, &one->home, places.caller_cpu) || one->is_narrowed;
        }
        give_back(one);
    }
}

void lstm_placement_widen(int member) {
    placement *one = &places.helpers[member];
    if (take(one)) {
        if (one->is_narrowed) {
            sched_setaffinity(one->thread, sizeof one->home, &one->home);
            one->is_narrowed = 0;
        }
        give_back(one);
    }
}

void lstm_placement_settle(int member) {
    const int64_t called = __atomic_load_n(&places.called, __ATOMIC_RELAXED);
    if (is_with_caller() || lstm_nanoseconds() - called > LATE) {
        __atomic_store_n(&places.calls_left, CALLS, __ATOMIC_RELAXED);
    }
    lstm_placement_widen(member);
}

int lstm_placement_in_call(void) {
    cpu_set_t home;
    if (!is_with_caller() || sched_getaffinity(0, sizeof home, &home) != 0 || CPU_COUNT(&home) == 1) {
        return 1;
    }
    if (is_resting()) {
        return 0;
    }
    if (keep_off(0, &home, sched_getcpu())) {
        sched_setaffinity(0, sizeof home, &home);
    }
    return 1;
}

void lstm_placement_after_call(int64_t loss) {
    if (loss > LOSS) {
        __atomic_store_n(&places.rests_until, lstm_nanoseconds() + REST, __ATOMIC_RELAXED);
    }
}

void lstm_placement_forget(void) { memset(&places, 0, sizeof places); }

#else

void lstm_placement_start(int member) { (void)member; }
void lstm_placement_of_caller(void) {}
void lstm_placement_before_call(int members) { (void)members; }
void lstm_placement_widen(int member) { (void)member; }
void lstm_placement_settle(int member) { (void)member; }
int lstm_placement_in_call(void) { return 1; }
void lstm_placement_after_call(int64_t loss) { (void)loss; }
void lstm_placement_forget(void) {}

#endif
