/* A number that grows with every change of something, for readers that would rather not touch the thing itself. */
#ifndef LSTM_EDITION_H
#define LSTM_EDITION_H

typedef long lstm_edition;

/* Who reads a number sees what was changed before it was advanced. */
static inline long lstm_edition_read(const lstm_edition *edition) {
    return __atomic_load_n(edition, __ATOMIC_ACQUIRE);
}

static inline void lstm_edition_advance(lstm_edition *edition) {
    __atomic_fetch_add(edition, 1, __ATOMIC_ACQ_REL);
}

#endif
