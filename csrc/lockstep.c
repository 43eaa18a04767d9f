/* Blocks of steps, and the meeting after each step. */
#include "lockstep.h"
#include "lstm_kernels.h" /* refuses -ffast-math, as for all of the kernel */
#include "placement.h"

enum {
    NUMBER = 2 * LSTM_MOST_THREADS,
    /* Nanoseconds.  Who sleeps may be woken on the other one's CPU, and both then put each other to sleep at every
     * step: 256 inputs, 512 units and 50 steps after a pause took 9 ms with 50 microseconds, 2.4 ms with this. */
    MEETING_SPIN = 1000 * 1000
};

int lstm_lockstep_join(lstm_lockstep *all) { return __atomic_add_fetch(&all->joined, 1, __ATOMIC_ACQ_REL); }

int lstm_lockstep_joined(const lstm_lockstep *all) { return __atomic_load_n(&all->joined, __ATOMIC_ACQUIRE); }

int lstm_lockstep_open(lstm_lockstep *all, uint32_t first, uint32_t end, int is_alone) {
    const uint32_t block = lstm_signpost_read(&all->block);
    const int before = (int)(block % NUMBER);
    const int members = is_alone ? 1 : 1 + lstm_lockstep_joined(all);
    /* Who is new has done all steps so far, as others see it. */
    for (int member = before; member < members; member++) {
        lstm_signpost_set(&all->lines[member].steps, first);
    }
    if (members > 1) {
        lstm_placement_of_caller();
        lstm_signpost_set(&all->lines[0].steps, first);
        all->first = first;
        all->end = end;
        lstm_signpost_set(&all->block, (block / NUMBER + 1) * NUMBER + (uint32_t)members);
    }
    return members;
}

void lstm_lockstep_close(lstm_lockstep *all) {
    const uint32_t block = lstm_signpost_read(&all->block);
    lstm_signpost_set(&all->block, (block / NUMBER + 1) * NUMBER);
}

int lstm_lockstep_next(lstm_lockstep *all, int member, uint32_t *seen) {
    for (;;) {
        const uint32_t block = lstm_signpost_read(&all->block);
        const int members = (int)(block % NUMBER);
        if (block != *seen) {
            *seen = block;
            if (members == 0 || member < members) {
                lstm_placement_in_call(); /* one of the two may have been woken on the other's CPU */
                return members;
            }
        }
        lstm_signpost_wait(&all->block, block, -1, MEETING_SPIN);
    }
}

void lstm_lockstep_meet(lstm_lockstep *all, int member, int members, uint32_t step) {
    lstm_signpost_set(&all->lines[member].steps, step + 1);
    for (int other = 0; other < members; other++) {
        if (other != member) {
            lstm_signpost_wait(&all->lines[other].steps, step, -1, MEETING_SPIN);
        }
    }
}
