/* Where helpers of a team begin: not on the CPU of the thread that calls them.
 *
 * Where the other CPUs sleep deeply, as those of virtual machines do, a scheduler may wake a helper on its caller's
 * CPU and leave it there for milliseconds: both then take turns.  A helper that finds itself there moves on, and
 * for some calls more helpers are woken elsewhere: their affinity lacks the caller's CPU until they run.  Then it
 * is what it was; one of a single CPU is left alone.
 */
#ifndef LSTM_PLACEMENT_H
#define LSTM_PLACEMENT_H

#include <stdint.h>

/* Of a helper, once, before it is called. */
void lstm_placement_start(int member);
/* Of the caller, before it wakes helpers 1 to `members` - 1. */
void lstm_placement_before_call(int members);
/* Of the caller, in a call: it may have been moved. */
void lstm_placement_of_caller(void);
/* Lets a helper use all of its CPUs again, if that is not so. */
void lstm_placement_widen(int member);
/* Of a helper that has been woken: the same, and it looks at where it is. */
void lstm_placement_settle(int member);
/* Of a helper that is called, after it has settled: whether it has a CPU for its work. */
int lstm_placement_in_call(void);
/* Of the caller: by how many nanoseconds one thread would have been faster. */
void lstm_placement_after_call(int64_t loss);
/* In a forked child, which has no helpers. */
void lstm_placement_forget(void);

#endif
