/* Memory of large arrays that are made anew at every training step: what one step frees the next one takes.
 *
 * The C library gives such memory back to the system, which then has to clear its pages again: of a step of
 * H = 32, 32 rows and 100 steps that took longer than the step itself.
 */
#ifndef LSTM_BLOCKS_H
#define LSTM_BLOCKS_H

#include <stddef.h>

enum {
    /* Most bytes and blocks that wait for their next use; the oldest are freed first. */
    LSTM_BLOCKS_KEPT = 64 << 20,
    LSTM_BLOCKS_MOST = 128,
    /* Bytes below which a block is freed at once: the C library keeps those. */
    LSTM_BLOCKS_LEAST = 1 << 12
};

typedef struct {
    void *memory;
    size_t size;
} lstm_block;

/* To be called once, before any other; returns 0, or -1 if the system has no memory for it. */
int lstm_blocks_setup(void);
/* A block of at least `size` bytes that begins on a cache line, its memory NULL if there is none left; with
 * `clear` all of its first `size` bytes are zero. Any thread may take and give. */
lstm_block lstm_block_take(size_t size, int clear);
/* Give back what was taken. */
void lstm_block_give(lstm_block block);
/* Free all blocks that wait; returns how many bytes that were. */
size_t lstm_blocks_release(void);

#endif
