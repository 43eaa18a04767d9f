/* Who does which part when. */
#include "tracks.h"
#include "lstm_kernels.h" /* refuses -ffast-math, as for all of the kernel */

enum {
    /* A part that took so many times as long as the quickest one, and more than this, was interrupted: its
     * member shares a CPU with another program. */
    INTERRUPTED = 8,
    LEAST_INTERRUPTION = 200 * 1000
};

enum { NONE_FREE = -1, NONE_READY = -2 };

static ptrdiff_t parts_done(const lstm_track *track) {
    return __atomic_load_n(&track->done, __ATOMIC_ACQUIRE);
}

static int is_done(const lstm_track *track) { return parts_done(track) == track->parts; }

/* Whether all parts of the first `count` tracks are done. */
static int are_done(const lstm_tracks *all, int count) {
    for (int number = 0; number < count; number++) {
        if (!is_done(&all->tracks[number])) {
            return 0;
        }
    }
    return 1;
}

/* Whether the next part of a track can be done; its member, or anyone if it has none, may ask. */
static int is_ready(const lstm_tracks *all, const lstm_track *track) {
    const ptrdiff_t done = parts_done(track);
    return done < track->parts && (track->follows < 0 || parts_done(&all->tracks[track->follows]) > done) &&
           (done > 0 || are_done(all, track->after));
}

static int take(lstm_track *track) {
    int is_taken = 0;
    return __atomic_compare_exchange_n(&track->is_taken, &is_taken, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void leave(lstm_track *track) { __atomic_store_n(&track->is_taken, 0, __ATOMIC_RELEASE); }

/* Takes a track that can go on, those that wait for others first: they are what the last ones wait for. */
static int take_ready(const lstm_tracks *all) {
    int found = NONE_FREE;
    for (int number = all->count - 1; number >= 0; number--) {
        lstm_track *track = &all->tracks[number];
        if (__atomic_load_n(&track->is_taken, __ATOMIC_RELAXED) || is_done(track)) {
            continue;
        }
        if (is_ready(all, track) && take(track)) {
            if (is_ready(all, track)) {
                return number;
            }
            leave(track);
        }
        found = NONE_READY;
    }
    return found;
}

static void stop(lstm_tracks *all) {
    __atomic_store_n(&all->is_stopped, 1, __ATOMIC_RELAXED);
    lstm_signpost_advance(&all->progress);
}

/* Whether a part of this many nanoseconds was interrupted; keeps the quickest one's of its kind. */
static int was_interrupted(lstm_tracks *all, int kind, int64_t nanoseconds) {
    const int64_t quickest = __atomic_load_n(&all->quickest[kind], __ATOMIC_RELAXED);
    if (quickest == 0 || nanoseconds < quickest) {
        __atomic_store_n(&all->quickest[kind], nanoseconds, __ATOMIC_RELAXED);
        return 0;
    }
    return nanoseconds > INTERRUPTED * quickest + LEAST_INTERRUPTION;
}

/* Whether this is a child, forked since the team was called, that lacks a member which is at work.  Without
 * one at work it can do the rest alone; `own` is the track of the calling member, or -1. */
static int lacks_member(const lstm_tracks *all, int own) {
    if (lstm_pool_generation() == all->generation) {
        return 0;
    }
    for (int number = 0; number < all->count; number++) {
        if (number != own && __atomic_load_n(&all->tracks[number].is_taken, __ATOMIC_RELAXED)) {
            return 1;
        }
    }
    return 0;
}

/* Does parts of a track as long as it can go on; whether the member should look for another one. */
static int go_along(lstm_tracks *all, int number, int member) {
    lstm_track *track = &all->tracks[number];
    int goes_home = 0;
    while (!goes_home && !lstm_tracks_stopped(&all->is_stopped) && is_ready(all, track)) {
        const ptrdiff_t part = parts_done(track);
        const int64_t start = lstm_nanoseconds();
        if (all->run(all->job, number, part, member) < 0 || (member == 0 && lacks_member(all, number))) {
            stop(all);
            break;
        }
        /* Whoever waits may have a CPU to itself; a helper that was interrupted has not. */
        goes_home = was_interrupted(all, track->kind, lstm_nanoseconds() - start) && member > 0 &&
                    lstm_signpost_waiting(&all->progress);
        __atomic_store_n(&track->done, part + 1, __ATOMIC_RELEASE);
        if (!goes_home) {
            lstm_signpost_advance(&all->progress);
        }
    }
    leave(track);
    if (goes_home) {
        lstm_signpost_advance(&all->progress);
    }
    return !goes_home;
}

static void look_for_parts(lstm_tracks *all, int member) {
    int number;
    do {
        const uint32_t seen = lstm_signpost_read(&all->progress);
        if (lstm_tracks_stopped(&all->is_stopped)) {
            return;
        }
        number = take_ready(all);
        if (number >= 0) {
            if (!go_along(all, number, member)) {
                return;
            }
        } else if (number == NONE_READY) {
            lstm_signpost_wait(&all->progress, seen, -1, LSTM_SPIN);
        }
    } while (number != NONE_FREE); /* else every track that is not done has a member */
}

static void be_helper(void *job, int member) {
    lstm_tracks *all = job;
    const int64_t start = lstm_own_nanoseconds();
    look_for_parts(all, member);
    __atomic_fetch_add(&all->own_time, lstm_own_nanoseconds() - start, __ATOMIC_RELAXED);
}

static void be_caller(lstm_tracks *all) {
    int64_t heard = lstm_nanoseconds();
    while (!lstm_tracks_stopped(&all->is_stopped)) {
        const uint32_t seen = lstm_signpost_read(&all->progress);
        const int number = take_ready(all);
        if (number >= 0) {
            go_along(all, number, 0);
            continue;
        }
        if (are_done(all, all->count)) {
            return;
        }
        const int64_t left = all->patience - (lstm_nanoseconds() - heard);
        if (left > 0) {
            lstm_signpost_wait(&all->progress, seen, left, LSTM_SPIN);
            continue;
        }
        if (all->while_waiting(all->job) < 0 || lacks_member(all, -1)) {
            stop(all);
        }
        heard = lstm_nanoseconds();
    }
}

int lstm_tracks_run(lstm_tracks *all, int members) {
    const int64_t start = lstm_nanoseconds();
    const int64_t own_start = lstm_own_nanoseconds();
    all->generation = lstm_pool_generation();
    if (members > 1) {
        lstm_team_call(be_helper, all, members);
    }
    be_caller(all);
    int status = LSTM_TRACKS_DONE;
    if (lstm_tracks_stopped(&all->is_stopped)) {
        status = lstm_pool_generation() == all->generation ? LSTM_TRACKS_STOPPED : LSTM_TRACKS_FORKED;
    }
    if (members > 1) {
        lstm_team_dismiss();
        /* One thread with a CPU to itself takes as long as all members' CPU time. */
        const int64_t one_alone = all->own_time + lstm_own_nanoseconds() - own_start;
        lstm_team_leave(lstm_nanoseconds() - start - one_alone);
    }
    return status;
}
