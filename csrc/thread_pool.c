/* Threads, how they wait for one another, and who has them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity, futexes */
#endif
#include "thread_pool.h"
#include "lstm_kernels.h" /* refuses -ffast-math, as for all of the kernel */
#include "placement.h"
#include "system.h"

#include <stdlib.h>
#include <time.h>

#if LSTM_HAS_THREADS
#include <signal.h>
#include <string.h>
#endif
#ifdef __linux__
#include <limits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum {
    AFTERWARDS = 8, /* a helper spins after a call, no longer than this part of it: the next one may follow */
    PAUSES = 8,     /* between two looks at the clock */
    FIRST_PAUSES = 32, /* before the first one */
    SECOND = 1000 * 1000 * 1000,
    /* After a loss, as where other programs have the CPUs, calls run alone for so many times as long: all
     * losses together stay below one in so many. */
    LOSS_PAUSE = 32,
    SPORADIC = 4 * 1000 * 1000, /* nanoseconds since the last call's end */
    MOST_PAUSE = 10,            /* seconds */
    KEPT_BYTES = 4 << 20        /* of memory between two teams */
};

/* What a helper is told and tells: it sleeps while IDLE, and begins by making CALLED to RUNNING. */
enum { IDLE, CALLED, RUNNING };

typedef struct {
    lstm_signpost state;
    char apart[LSTM_THREAD_LINE - sizeof(lstm_signpost)];
} helper;

static struct {
    helper helpers[LSTM_MOST_THREADS]; /* number 0 is not used: a caller is member 0 */
    int started;                       /* helpers 1 to this one have a thread */
    int called;                        /* helpers 1 to this one are in the call */
    int is_taken;
    int64_t retry;       /* when to try again to start a thread, after that has failed */
    int64_t alone_until; /* when to have a team again, after a loss */
    int64_t last_call;   /* end, if it is known, or begin of the last one that asked for the pool */
    int is_end_missed;   /* of a call that was sent away */
    lstm_member_work work;
    void *job;
    void *memory;
    size_t memory_bytes;
    long generation;
} pool;

static int chosen = 1;
static int chosen_is_wish;
/* Some 50 microseconds with AVX-512; waking a thread takes some microseconds. */
static int64_t grain = 1 << 20;
static int is_stubborn;

/* ---- how many */

static int take_pool(void) {
    int is_taken = 0;
    return __atomic_compare_exchange_n(&pool.is_taken, &is_taken, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void give_pool_back(void) { __atomic_store_n(&pool.is_taken, 0, __ATOMIC_RELEASE); }

static void free_memory(void) {
    free(pool.memory);
    pool.memory = NULL;
    pool.memory_bytes = 0;
}

size_t lstm_pool_release(void) {
    size_t bytes = 0;
    if (take_pool()) {
        bytes = pool.memory_bytes;
        free_memory();
        give_pool_back();
    }
    return bytes;
}

void lstm_pool_choose(int count, int is_wish) {
    lstm_pool_release();
    __atomic_store_n(&chosen,
                     count < 1                   ? 1
                     : count > LSTM_MOST_THREADS ? LSTM_MOST_THREADS
                                                 : count,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&chosen_is_wish, is_wish, __ATOMIC_RELAXED);
}

int lstm_pool_is_wish(void) { return __atomic_load_n(&chosen_is_wish, __ATOMIC_RELAXED); }

int lstm_get_num_threads(void) { return __atomic_load_n(&chosen, __ATOMIC_RELAXED); }

void lstm_set_num_threads(int count) { lstm_pool_choose(count, lstm_pool_is_wish()); }

void lstm_pool_set_grain(int64_t work, int stubborn) {
    grain = work;
    is_stubborn = stubborn;
}

int64_t lstm_pool_grain(void) { return grain; }

int lstm_pool_size(void) {
    const int count = lstm_get_num_threads();
#ifdef __linux__
    if (count > 1 && !lstm_pool_is_wish()) {
        cpu_set_t cpus;
        /* Fails where there are more CPUs than the set holds: they are enough then. */
        if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) < count) {
            return CPU_COUNT(&cpus);
        }
    }
#endif
    return count;
}

/* ---- waiting */

#ifdef _WIN32

int64_t lstm_nanoseconds(void) {
    LARGE_INTEGER now, second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&second);
    return now.QuadPart / second.QuadPart * SECOND +
           now.QuadPart % second.QuadPart * SECOND / second.QuadPart;
}

int64_t lstm_own_nanoseconds(void) {
    FILETIME made, ended, kernel, user;
    if (!GetThreadTimes(GetCurrentThread(), &made, &ended, &kernel, &user)) {
        return 0;
    }
    return 100 * (((int64_t)kernel.dwHighDateTime + user.dwHighDateTime) * ((int64_t)1 << 32) +
                  kernel.dwLowDateTime + user.dwLowDateTime);
}

#else

int64_t lstm_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

int64_t lstm_own_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

#endif

uint32_t lstm_signpost_read(const lstm_signpost *post) {
    return __atomic_load_n(&post->value, __ATOMIC_SEQ_CST);
}

int lstm_signpost_waiting(const lstm_signpost *post) {
    return __atomic_load_n(&post->waiting, __ATOMIC_RELAXED) > 0;
}

static void rest(void) {
#if LSTM_X86
    __builtin_ia32_pause();
#elif LSTM_ARM64
    __asm__ volatile("yield");
#endif
}

#if defined(__linux__)

/* As linux/futex.h has them, which comes with the kernel's headers and not with every C library. */
enum { FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129 };

static void sleep_on(uint32_t *word, uint32_t seen, int64_t nanoseconds) {
    struct timespec limit = {(time_t)(nanoseconds / SECOND), (long)(nanoseconds % SECOND)};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, nanoseconds < 0 ? NULL : &limit, NULL, 0);
}

static void wake_all(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

static void forget_sleepers(void) {}

#elif LSTM_HAS_THREADS

static pthread_mutex_t sleeping = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;

static void sleep_on(uint32_t *word, uint32_t seen, int64_t nanoseconds) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += (time_t)(nanoseconds / SECOND);
    limit.tv_nsec += (long)(nanoseconds % SECOND);
    if (limit.tv_nsec >= SECOND) {
        limit.tv_sec++;
        limit.tv_nsec -= SECOND;
    }
    pthread_mutex_lock(&sleeping);
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == seen) {
        if (nanoseconds < 0) {
            pthread_cond_wait(&woken, &sleeping);
        } else {
            pthread_cond_timedwait(&woken, &sleeping, &limit);
        }
    }
    pthread_mutex_unlock(&sleeping);
}

static void wake_all(uint32_t *word) {
    (void)word;
    pthread_mutex_lock(&sleeping);
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&sleeping);
}

static void forget_sleepers(void) {
    sleeping = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    woken = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

#else

static void sleep_on(uint32_t *word, uint32_t seen, int64_t nanoseconds) {
    (void)word, (void)seen, (void)nanoseconds;
}
static void wake_all(uint32_t *word) { (void)word; }

#endif

static void wake_sleepers(lstm_signpost *post) {
    if (__atomic_load_n(&post->asleep, __ATOMIC_SEQ_CST) > 0) {
        wake_all(&post->value);
    }
}

void lstm_signpost_set(lstm_signpost *post, uint32_t value) {
    __atomic_store_n(&post->value, value, __ATOMIC_SEQ_CST);
    wake_sleepers(post);
}

void lstm_signpost_advance(lstm_signpost *post) {
    __atomic_fetch_add(&post->value, 1, __ATOMIC_SEQ_CST);
    wake_sleepers(post);
}

/* Sleep until the value is not `seen` or something else has happened. */
static void sleep_at(lstm_signpost *post, uint32_t seen, int64_t nanoseconds) {
    /* Counted before the value is looked at again, so that whoever changes it sees the sleeper. */
    __atomic_fetch_add(&post->asleep, 1, __ATOMIC_SEQ_CST);
    sleep_on(&post->value, seen, nanoseconds);
    __atomic_fetch_sub(&post->asleep, 1, __ATOMIC_SEQ_CST);
}

void lstm_signpost_wait(lstm_signpost *post, uint32_t seen, int64_t nanoseconds, int64_t spin) {
    for (int pause = 0; pause < FIRST_PAUSES; pause++) {
        if (lstm_signpost_read(post) != seen) {
            return;
        }
        rest();
    }
    const int64_t start = lstm_nanoseconds();
    int64_t waited = 0;
    __atomic_fetch_add(&post->waiting, 1, __ATOMIC_RELAXED);
    while (lstm_signpost_read(post) == seen && (nanoseconds < 0 || waited < nanoseconds)) {
        if (waited < spin) {
            for (int pause = 0; pause < PAUSES && lstm_signpost_read(post) == seen; pause++) {
                rest();
            }
        } else {
            sleep_at(post, seen, nanoseconds < 0 ? nanoseconds : nanoseconds - waited);
        }
        waited = lstm_nanoseconds() - start;
    }
    __atomic_fetch_sub(&post->waiting, 1, __ATOMIC_RELAXED);
}

/* ---- teams */

long lstm_pool_generation(void) { return pool.generation; }

#if LSTM_HAS_THREADS

static void *be_helper(void *number) {
    const int member = (int)(intptr_t)number;
    lstm_signpost *state = &pool.helpers[member].state;
    int64_t took = 0;
    lstm_placement_start(member);
#ifdef __linux__
    prctl(PR_SET_NAME, "lstm"); /* for top, ps and debuggers */
#endif
    for (;;) {
        lstm_signpost_wait(state, IDLE, took / AFTERWARDS < LSTM_SPIN ? took / AFTERWARDS : LSTM_SPIN,
                           LSTM_SPIN);
        while (lstm_signpost_read(state) == IDLE) {
            sleep_at(state, IDLE, -1);
            lstm_placement_settle(member);
        }
        lstm_placement_settle(member);
        uint32_t called = CALLED;
        if (__atomic_compare_exchange_n(&state->value, &called, RUNNING, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
            const int64_t start = lstm_nanoseconds();
            if (lstm_placement_in_call()) {
                pool.work(pool.job, member);
            }
            lstm_signpost_set(state, IDLE);
            took = lstm_nanoseconds() - start;
        }
    }
    return NULL;
}

/* Starts helper number `member`; 0 if that fails. */
static int start_helper(int member) {
    sigset_t all, found;
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0) {
        return 0;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* A thread starts with the signals that its creator blocks. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &found);
    const int failed = pthread_create(&thread, &attributes, be_helper, (void *)(intptr_t)member);
    pthread_sigmask(SIG_SETMASK, &found, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}

static void start_helpers(int wanted) {
    if (pool.started >= wanted || (pool.retry > 0 && lstm_nanoseconds() < pool.retry)) {
        return;
    }
    pool.retry = 0;
    while (pool.started < wanted) {
        if (!start_helper(pool.started + 1)) {
            pool.retry = lstm_nanoseconds() + SECOND;
            return;
        }
        pool.started++;
    }
}

int lstm_team_enter(int wanted, int is_long) {
    int members = 1;
    if (wanted < 2 || !take_pool()) {
        return members;
    }
    const int64_t now = lstm_nanoseconds();
    const int is_sporadic = !is_long && now - pool.last_call > SPORADIC;
    pool.last_call = now;
    if (is_stubborn || (now >= pool.alone_until && !is_sporadic)) {
        start_helpers(wanted - 1);
        members += pool.started < wanted - 1 ? pool.started : wanted - 1;
    }
    if (members == 1) {
        __atomic_store_n(&pool.is_end_missed, 1, __ATOMIC_RELAXED);
        give_pool_back();
    }
    return members;
}

void lstm_team_missed(void) {
    if (__atomic_load_n(&pool.is_end_missed, __ATOMIC_RELAXED) && take_pool()) {
        __atomic_store_n(&pool.is_end_missed, 0, __ATOMIC_RELAXED);
        pool.last_call = lstm_nanoseconds();
        give_pool_back();
    }
}

void *lstm_team_memory(size_t bytes) {
    if (pool.memory_bytes < bytes) {
        free_memory();
        pool.memory = malloc(bytes);
        pool.memory_bytes = pool.memory == NULL ? 0 : bytes;
    }
    return pool.memory;
}

void lstm_team_call(lstm_member_work work, void *job, int members) {
    pool.work = work;
    pool.job = job;
    pool.called = members - 1;
    lstm_placement_before_call(members);
    for (int member = 1; member < members; member++) {
        lstm_signpost_set(&pool.helpers[member].state, CALLED);
    }
}

void lstm_team_dismiss(void) {
    for (int member = 1; member <= pool.called; member++) {
        lstm_signpost *state = &pool.helpers[member].state;
        uint32_t called = CALLED;
        __atomic_compare_exchange_n(&state->value, &called, IDLE, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    for (int member = 1; member <= pool.called; member++) {
        while (lstm_signpost_read(&pool.helpers[member].state) == RUNNING) {
            lstm_signpost_wait(&pool.helpers[member].state, RUNNING, -1, LSTM_SPIN);
        }
        lstm_placement_widen(member); /* who has not begun may sleep on */
    }
    pool.called = 0;
}

void lstm_team_leave(int64_t loss) {
    const int64_t longest = (int64_t)MOST_PAUSE * SECOND;
    pool.last_call = lstm_nanoseconds();
    __atomic_store_n(&pool.is_end_missed, 0, __ATOMIC_RELAXED);
    pool.alone_until = 0;
    lstm_placement_after_call(loss);
    if (loss > 0) {
        pool.alone_until = pool.last_call + (loss < longest / LOSS_PAUSE ? loss * LOSS_PAUSE : longest);
    }
    if (pool.memory_bytes > KEPT_BYTES) {
        free_memory();
    }
    give_pool_back();
}

/* In a forked child: its parent's helpers do not exist, and who had the pool may be gone.  So may be who uses
 * its memory, or it is the thread that forked. */
static void forget(void) {
    const long generation = pool.generation + 1;
    memset(&pool, 0, sizeof pool);
    lstm_placement_forget();
    pool.generation = generation;
    forget_sleepers();
}

void lstm_pool_setup(void) { lstm_at_fork(NULL, NULL, forget); }

#else

int lstm_team_enter(int wanted, int is_long) {
    (void)wanted, (void)is_long;
    return 1;
}
void lstm_team_missed(void) {}
void *lstm_team_memory(size_t bytes) {
    (void)bytes;
    return NULL;
}
void lstm_team_call(lstm_member_work work, void *job, int members) { (void)work, (void)job, (void)members; }
void lstm_team_dismiss(void) {}
void lstm_team_leave(int64_t loss) { (void)loss; }
void lstm_pool_setup(void) {}

#endif
