/* A team that goes through the same steps side by side and meets after each.
 *
 * Steps come in blocks, which member 0 opens: those helpers take part that have joined by then, so that nobody
 * waits for one that has not got a CPU.
 */
#ifndef LSTM_LOCKSTEP_H
#define LSTM_LOCKSTEP_H

#include "thread_pool.h"

typedef struct {
    lstm_signpost steps; /* done by this member */
    char apart[LSTM_THREAD_LINE - sizeof(lstm_signpost)];
} lstm_lockstep_line;

typedef struct {
    lstm_signpost block; /* its number and members: LSTM_MOST_THREADS * 2 * number + members */
    int joined;          /* helpers */
    uint32_t first;      /* step of the block */
    uint32_t end;
    lstm_lockstep_line *lines; /* one a member */
} lstm_lockstep;

/* Of a helper: its number. */
int lstm_lockstep_join(lstm_lockstep *all);
/* Of member 0: how many helpers have joined. */
int lstm_lockstep_joined(const lstm_lockstep *all);
/* Of member 0: opens a block of steps for all who have joined, or for itself alone; how many they are. */
int lstm_lockstep_open(lstm_lockstep *all, uint32_t first, uint32_t end, int is_alone);
/* Of member 0: there are no more blocks. */
void lstm_lockstep_close(lstm_lockstep *all);
/* Of a helper: waits for a block that it takes part in; how many they are, or 0 if there are no more. */
int lstm_lockstep_next(lstm_lockstep *all, int member, uint32_t *seen);
/* This member has done the step of this number; returns once all have. */
void lstm_lockstep_meet(lstm_lockstep *all, int member, int members, uint32_t step);

#endif
