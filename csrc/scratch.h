/* Scratch memory that a thread keeps from one call to the next.
 *
 * What malloc gives for some hundred kilobytes the C library may map anew for each call, whose pages the system
 * then has to clear: a third of a call of H = 64 and 1000 steps.
 */
#ifndef LSTM_SCRATCH_H
#define LSTM_SCRATCH_H

#include <stddef.h>

enum {
    /* Most bytes that a thread keeps; what is larger is freed when it is given back. */
    LSTM_SCRATCH_KEPT = 2 << 20
};

/* To be called once, before any other; returns 0, or -1 if the system has no more thread keys. */
int lstm_scratch_setup(void);
/* At least `size` bytes for the calling thread, or NULL. A thread may take several at once. */
void *lstm_scratch_take(size_t size);
/* Give back what was taken, in the same thread; it is kept for the next call if there is room. */
void lstm_scratch_give(void *memory);
/* Free what all threads keep and none is at work on; returns how many bytes that were. */
size_t lstm_scratch_release(void);

#endif
