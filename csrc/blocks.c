/* Blocks of memory that wait for their next use: few, bounded, freed on request and in a forked child. */
#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise, MAP_ANONYMOUS */
#endif

#include "blocks.h"
#include "lstm_kernels.h" /* refuses -ffast-math, as for all of the kernel */
#include "system.h"

#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <malloc.h>
#else
#include <sys/mman.h>
#endif

static lstm_lock lock = LSTM_LOCK_FREE;
static lstm_block waiting[LSTM_BLOCKS_MOST]; /* the oldest first */
static size_t count;
static size_t kept; /* bytes of all that wait */

#ifdef _WIN32

static lstm_block new_block(size_t size, int clear) {
    lstm_block block = {_aligned_malloc(size == 0 ? 1 : size, LSTM_CACHE_LINE), size};
    if (clear && block.memory != NULL) {
        memset(block.memory, 0, size);
    }
    return block;
}

static void free_block(lstm_block block) { _aligned_free(block.memory); }

#else

/* Blocks of at least this size are the system's, to which they go back when they are freed. */
static const size_t own_pages = (size_t)1 << 20;
static const size_t huge_page = (size_t)2 << 20;
static const size_t page = (size_t)16 << 10; /* a multiple of every page size in use */

static void *map_pages(size_t size) {
    /* Huge pages need to begin at a multiple of their size: what is left over goes back. */
    const size_t more = size >= huge_page ? huge_page : 0;
    char *const start = mmap(NULL, size + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        return NULL;
    }
    const size_t before = more == 0 ? 0 : (size_t)(-(uintptr_t)start % huge_page);
    if (before > 0) {
        (void)munmap(start, before);
    }
    if (more > before) {
        (void)munmap(start + before + size, more - before);
    }
#if defined(MADV_HUGEPAGE)
    if (more > 0) {
        (void)madvise(start + before, size, MADV_HUGEPAGE);
    }
#endif
    return start + before;
}

static lstm_block new_block(size_t size, int clear) {
    lstm_block block = {NULL, size};
    if (size >= own_pages) {
        block.size = (size + page - 1) / page * page;
        block.memory = map_pages(block.size);
        return block;
    }
    if (posix_memalign(&block.memory, LSTM_CACHE_LINE, size == 0 ? 1 : size) != 0) {
        block.memory = NULL;
    } else if (clear) {
        memset(block.memory, 0, size);
    }
    return block;
}

static void free_block(lstm_block block) {
    if (block.size >= own_pages) {
        (void)munmap(block.memory, block.size);
    } else {
        free(block.memory);
    }
}

#endif

/* The lock is held in all that follows but where it says otherwise. */

static lstm_block remove_at(size_t place) {
    const lstm_block block = waiting[place];
    count--;
    kept -= block.size;
    memmove(&waiting[place], &waiting[place + 1], (count - place) * sizeof waiting[0]);
    return block;
}

/* The smallest block of those that are large enough, but not twice as large as need be; else none. */
static lstm_block best_fit(size_t size) {
    size_t best = count;
    for (size_t place = 0; place < count; place++) {
        const size_t found = waiting[place].size;
        if (found >= size && found / 2 <= size && (best == count || found <= waiting[best].size)) {
            best = place;
        }
    }
    return best == count ? (lstm_block){NULL, 0} : remove_at(best);
}

static size_t free_all(void) {
    const size_t size = kept;
    while (count > 0) {
        free_block(remove_at(count - 1));
    }
    return size;
}

static void before_fork(void) { lstm_lock_take(&lock); }

static void after_fork(void) { lstm_lock_give(&lock); }

/* A child starts with nothing kept. */
static void begin_child(void) {
    (void)free_all();
    lstm_lock_give(&lock);
}

/* Called without the lock. */

int lstm_blocks_setup(void) { return lstm_at_fork(before_fork, after_fork, begin_child) == 0 ? 0 : -1; }

lstm_block lstm_block_take(size_t size, int clear) {
    lstm_block block = {NULL, 0};
    if (size >= LSTM_BLOCKS_LEAST) {
        lstm_lock_take(&lock);
        block = best_fit(size);
        lstm_lock_give(&lock);
    }
    if (block.memory == NULL) {
        block = new_block(size, clear);
        /* What waits may be what is missing. */
        return block.memory == NULL && lstm_blocks_release() > 0 ? new_block(size, clear) : block;
    }
    if (clear) {
        memset(block.memory, 0, size);
    }
    return block;
}

void lstm_block_give(lstm_block block) {
    if (block.size < LSTM_BLOCKS_LEAST || block.size > LSTM_BLOCKS_KEPT) {
        free_block(block);
        return;
    }
    lstm_lock_take(&lock);
    while (count == LSTM_BLOCKS_MOST || kept + block.size > LSTM_BLOCKS_KEPT) {
        free_block(remove_at(0));
    }
    waiting[count++] = block;
    kept += block.size;
    lstm_lock_give(&lock);
}

size_t lstm_blocks_release(void) {
    lstm_lock_take(&lock);
    const size_t size = free_all();
    lstm_lock_give(&lock);
    return size;
}
