/* A thread that has a block of samples to do in every period, as an audio callback has; compiled and used by
 * paced.py. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef int (*step_function)(void *stream, const void *x, void *y);
typedef int (*run_function)(void *stream, const void *X, void *Y, ptrdiff_t T);

typedef struct {
    step_function step;
    void *stream;
    ptrdiff_t inputs;
    ptrdiff_t outputs;
} stepper;

/* X (T, inputs) -> Y (T, outputs): a block step by step, as a run_function. */
int run_steps(void *steps, const void *X, void *Y, ptrdiff_t T) {
    const stepper *const all = steps;
    for (ptrdiff_t t = 0; t < T; t++) {
        const int status =
            all->step(all->stream, (const float *)X + t * all->inputs, (float *)Y + t * all->outputs);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void sleep_until(int64_t when) {
    const struct timespec until = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) {
    }
}

/* How many of `blocks` were not done before the next one was due; -1 if a call was refused.  A block that is
 * begun too late is left out, and counts as one that was not done.  `longest` is that of all calls. */
int64_t pace(run_function run, void *stream, const float *X, float *Y, ptrdiff_t T, int64_t period,
             int64_t blocks, int64_t *longest) {
    const int64_t start = nanoseconds() + period;
    int64_t missed = 0;
    *longest = 0;
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t due = start + (block + 1) * period;
        int64_t begun;
        sleep_until(start + block * period);
        begun = nanoseconds();
        if (begun >= due) {
            missed++;
            continue;
        }
        if (run(stream, X, Y, T) != 0) {
            return -1;
        }
        const int64_t end = nanoseconds();
        *longest = end - begun > *longest ? end - begun : *longest;
        missed += end > due;
    }
    return missed;
}
