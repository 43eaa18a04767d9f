/* A pool of threads of our own, for calls whose work is split.
 *
 * Its threads are started by the first call that splits and sleep between calls.  One call at a time has the
 * pool: a second one runs alone and never waits.  Threads block all signals and are never joined; their affinity
 * is that of the thread that started them (but see placement.h).  A forked child has a pool without threads, and starts its own.
 *
 * Member 0 of a team is the calling thread itself.  Where there are no POSIX threads every team is of one.
 */
#ifndef LSTM_THREAD_POOL_H
#define LSTM_THREAD_POOL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__unix__) || defined(__APPLE__)
#define LSTM_HAS_THREADS 1
#else
#define LSTM_HAS_THREADS 0
#endif

enum {
    LSTM_MOST_THREADS = 256, /* of a team */
    /* What is written by one thread and read by another is kept apart by this much: two cache lines, since
     * they are fetched in pairs. */
    LSTM_THREAD_LINE = 128
};

/* ---- how many */

/* To be called once, before all else. */
void lstm_pool_setup(void);
/* Sets the number of threads of a call, the calling one included: 1 to LSTM_MOST_THREADS.  If it is the user's
 * wish, work may be split that needs all of them at every step. */
void lstm_pool_choose(int count, int is_wish);
int lstm_pool_is_wish(void);
/* The number for this calling thread: no more than the CPUs it may run on, unless it is the user's wish. */
int lstm_pool_size(void);

/* The least work, in multiply-adds of a gate, for which a thread is woken, and whether teams are had although
 * they were a loss; set by tests only. */
void lstm_pool_set_grain(int64_t work, int is_stubborn);
int64_t lstm_pool_grain(void);

#ifdef _WIN32
#define LSTM_EXPORTED __declspec(dllexport)
#else
#define LSTM_EXPORTED __attribute__((visibility("default")))
#endif

/* For threadpoolctl, which calls these by name.  What it sets is no user's wish, but leaves one as it is. */
LSTM_EXPORTED int lstm_get_num_threads(void);
LSTM_EXPORTED void lstm_set_num_threads(int count);

/* ---- waiting for a number to change */

enum {
    /* Nanoseconds of spinning before a thread sleeps.  Falling asleep and being woken takes about as long on a
     * virtual machine, where the CPU halts: 31 to 47 microseconds were seen, of which the waking thread spends 12
     * to 17. */
    LSTM_SPIN = 50 * 1000
};

/* To be set and waited for by these functions only. */
typedef struct {
    uint32_t value;
    uint32_t waiting; /* threads, spinning or asleep */
    uint32_t asleep;
} lstm_signpost;

uint32_t lstm_signpost_read(const lstm_signpost *post);
void lstm_signpost_set(lstm_signpost *post, uint32_t value);
void lstm_signpost_advance(lstm_signpost *post);
int lstm_signpost_waiting(const lstm_signpost *post);
/* Returns once the value is no more `seen`, or after `nanoseconds` (negative: never); spins for `spin` of them
 * before it sleeps. */
void lstm_signpost_wait(lstm_signpost *post, uint32_t seen, int64_t nanoseconds, int64_t spin);

int64_t lstm_nanoseconds(void);
/* Of CPU time of the calling thread. */
int64_t lstm_own_nanoseconds(void);

/* ---- teams */

typedef void (*lstm_member_work)(void *job, int member);

/* Takes the pool for a call: how many members it can have, at most `wanted`; 1, which needs no
 * lstm_team_leave(), if another call has the pool or teams have been a loss, or if the call is not long and
 * the last one ended some time ago: other CPUs would have to fetch all it needs into cold caches. */
int lstm_team_enter(int wanted, int is_long);
/* At the end of a call that one thread has done alone: if it had asked for a team in vain, when that was. */
void lstm_team_missed(void);
/* Frees the memory that is kept between teams, if none is at work; how many bytes that were. */
size_t lstm_pool_release(void);
/* Memory for the team that was entered, until it is left; NULL if there is not enough.  It is kept for the next
 * one unless it is large, since fresh pages would cost as much as a short call. */
void *lstm_team_memory(size_t bytes);
/* Has members 1 to `members` - 1 do `work`, which they begin when they get a CPU. */
void lstm_team_call(lstm_member_work work, void *job, int members);
/* Sends away who has not begun, waits for who has, and returns once all are gone. */
void lstm_team_dismiss(void);
/* Gives the pool back.  `loss`: nanoseconds that one undisturbed thread would have been faster by. */
void lstm_team_leave(int64_t loss);
/* Changes in a forked child, where all members but the calling thread are gone. */
long lstm_pool_generation(void);

#endif
