/* Work that a team shares: tracks of parts.
 *
 * The parts of one track are done one after another, by one member at a time; a track may follow another one,
 * whose same part is done before its own, or come after the first ones of all, all parts of which are.
 * Members look for a track that can go on, and stay with it as long as it can.  Nobody waits for a member that
 * has not begun: those who are there do all of the work.
 */
#ifndef LSTM_TRACKS_H
#define LSTM_TRACKS_H

#include "thread_pool.h"

#include <stddef.h>

enum { LSTM_TRACK_KINDS = 4 };

typedef struct {
    int follows; /* the number of another track of as many parts, or -1 */
    int after;   /* how many of the first tracks are done before it begins */
    int kind;    /* parts of one kind take about the same time */
    int is_taken;
    ptrdiff_t parts;
    ptrdiff_t done; /* parts */
    char apart[LSTM_THREAD_LINE - 4 * sizeof(int) - 2 * sizeof(ptrdiff_t)];
} lstm_track;

typedef struct {
    lstm_track *tracks;
    int count;
    /* Does a part; 0, or -1 to stop all. */
    int (*run)(void *job, int track, ptrdiff_t part, int member);
    /* What member 0 does while it has waited for `patience` nanoseconds; 0, or -1 to stop all. */
    int (*while_waiting)(void *job);
    int64_t patience;
    void *job;
    int is_stopped;                     /* read by lstm_tracks_stopped(), also within a part */
    int64_t own_time;                   /* nanoseconds of CPU time of all members */
    int64_t quickest[LSTM_TRACK_KINDS]; /* nanoseconds of a part of this kind, so far */
    long generation;                    /* of the process that the team was called in */
    lstm_signpost progress;             /* parts that are done */
} lstm_tracks;

enum { LSTM_TRACKS_DONE = 0, LSTM_TRACKS_STOPPED = -1, LSTM_TRACKS_FORKED = -2 };

/* Does all parts with so many members, of a team that was entered if there is more than one, and leaves it.
 * Stopped: by member 0.  Forked: by member 0 too, or since this is a child, forked within `run` or
 * `while_waiting`, that lacks a member which was at work. */
int lstm_tracks_run(lstm_tracks *tracks, int members);

static inline int lstm_tracks_stopped(const int *is_stopped) {
    return __atomic_load_n(is_stopped, __ATOMIC_RELAXED);
}

#endif
