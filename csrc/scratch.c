/* Scratch memory by thread: a block that waits for the next call, freed on request, at the thread's end and in
 * a forked child. */
#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#endif

#include "lstm_kernels.h" /* refuses -ffast-math, as for all of the kernel */
#include "scratch.h"
#include "system.h"

#include <stdlib.h>

/* What stands before the memory that is handed out. */
typedef struct {
    size_t size;
    char rest[LSTM_CACHE_LINE - sizeof(size_t)];
} block_head;

/* One thread's place: `waiting` is its block, or NULL while a call works on it. */
typedef struct place {
    block_head *waiting;
    struct place *next;
    struct place *previous;
} place;

static lstm_key key;
static lstm_lock lock = LSTM_LOCK_FREE; /* guards the list, not what a place holds */
static place *places;

static block_head *exchange(place *of, block_head *block) {
    return __atomic_exchange_n(&of->waiting, block, __ATOMIC_ACQ_REL);
}

static size_t empty(place *of) {
    block_head *const block = exchange(of, NULL);
    const size_t size = block == NULL ? 0 : block->size;
    free(block);
    return size;
}

static place *new_place(void) {
    place *const mine = calloc(1, sizeof *mine);
    if (mine == NULL || lstm_key_set(key, mine) != 0) {
        free(mine);
        return NULL;
    }
    lstm_lock_take(&lock);
    mine->next = places;
    if (places != NULL) {
        places->previous = mine;
    }
    places = mine;
    lstm_lock_give(&lock);
    return mine;
}

LSTM_AT_THREAD_END(remove_place, ending) {
    place *const mine = ending;
    lstm_lock_take(&lock);
    if (mine->next != NULL) {
        mine->next->previous = mine->previous;
    }
    if (mine->previous != NULL) {
        mine->previous->next = mine->next;
    } else {
        places = mine->next;
    }
    lstm_lock_give(&lock);
    empty(mine);
    free(mine);
}

static void before_fork(void) { lstm_lock_take(&lock); }

static void after_fork(void) { lstm_lock_give(&lock); }

/* A child starts with nothing kept. The places of its parent's other threads are of no use to it. */
static void begin_child(void) {
    place *const mine = lstm_key_get(key);
    while (places != NULL) {
        place *const next = places->next;
        empty(places);
        if (places != mine) {
            free(places);
        }
        places = next;
    }
    if (mine != NULL) {
        mine->next = mine->previous = NULL;
        places = mine;
    }
    lstm_lock_give(&lock);
}

int lstm_scratch_setup(void) {
    if (lstm_key_create(&key, remove_place) != 0) {
        return -1;
    }
    return lstm_at_fork(before_fork, after_fork, begin_child) == 0 ? 0 : -1;
}

/* Large scratch memory holds weights that every step reads from end to end, which takes an entry of the TLB for
 * each page. */
static void ask_for_huge_pages(void *memory, size_t size) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t page = (uintptr_t)2 << 20;
    const uintptr_t first = ((uintptr_t)memory + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)memory + size) / page * page;
    if (first < end) {
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
    }
#else
    (void)memory;
    (void)size;
#endif
}

void *lstm_scratch_take(size_t size) {
    place *const mine = lstm_key_get(key);
    block_head *block = mine == NULL ? NULL : exchange(mine, NULL);
    if (block == NULL || block->size < size) {
        free(block);
        block = malloc(sizeof *block + size);
        if (block == NULL) {
            return NULL;
        }
        block->size = size;
        if (size > LSTM_SCRATCH_KEPT) {
            ask_for_huge_pages(block, size);
        }
    }
    return block + 1;
}

void lstm_scratch_give(void *memory) {
    block_head *const block = (block_head *)memory - 1;
    place *mine = lstm_key_get(key);
    if (block->size > LSTM_SCRATCH_KEPT) {
        free(block);
        return;
    }
    mine = mine == NULL ? new_place() : mine;
    free(mine == NULL ? block : exchange(mine, block));
}

size_t lstm_scratch_release(void) {
    size_t size = 0;
    lstm_lock_take(&lock);
    for (place *one = places; one != NULL; one = one->next) {
        size += empty(one);
    }
    lstm_lock_give(&lock);
    return size;
}
