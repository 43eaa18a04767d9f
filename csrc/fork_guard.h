/* Whether a thread of this process is at work on something that only one may work on at a time.
 *
 * A guard holds 0, or the generation of the process whose thread is at work.  A forked child is of the next
 * generation: what a thread of its parent was in the middle of does not keep it waiting for ever.
 */
#ifndef LSTM_FORK_GUARD_H
#define LSTM_FORK_GUARD_H

typedef long lstm_guard;

/* To be called once, before the first guard is entered. */
void lstm_guard_setup(void);
/* 1 if this thread may go on, until it leaves; 0 if another one is at work. */
int lstm_guard_enter(lstm_guard *guard);
void lstm_guard_leave(lstm_guard *guard);

#endif
