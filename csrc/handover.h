/* Blocks of memory that one thread hands to another without a lock, each with a node at its front.
 *
 * A place holds at most one node, a list any number of them.  Either holds NULL if it is empty.
 */
#ifndef LSTM_HANDOVER_H
#define LSTM_HANDOVER_H

#include <stddef.h>

typedef struct lstm_node {
    struct lstm_node *next;
} lstm_node;

/* Whether there is something to be taken: all that a step asks in most cases. */
static inline int lstm_handover_waits(lstm_node *const *place) {
    return __atomic_load_n(place, __ATOMIC_RELAXED) != NULL;
}

/* Take all that is there: a node, or a list of them, which is then the caller's. */
static inline lstm_node *lstm_handover_take(lstm_node **place) {
    return __atomic_exchange_n(place, NULL, __ATOMIC_ACQ_REL);
}

/* Put a node at a place; returns the one that was there, which nobody has taken, or NULL. */
static inline lstm_node *lstm_handover_put(lstm_node **place, lstm_node *node) {
    return __atomic_exchange_n(place, node, __ATOMIC_ACQ_REL);
}

/* Add a node to a list, from which nodes are only ever taken all together. */
static inline void lstm_handover_add(lstm_node **list, lstm_node *node) {
    node->next = __atomic_load_n(list, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(list, &node->next, node, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

#endif
