# The pool of threads and what its members share as Cython sees them; csrc/thread_pool.h, tracks.h and
# lockstep.h explain.
from libc.stdint cimport int64_t, uint32_t


cdef extern from "thread_pool.h" nogil:
    enum:
        LSTM_MOST_THREADS
        LSTM_THREAD_LINE
    void lstm_pool_setup()
    size_t lstm_pool_release()
    void lstm_pool_choose(int count, int is_wish)
    int lstm_pool_is_wish()
    int lstm_pool_size()
    void lstm_pool_set_grain(int64_t work, int is_stubborn)
    int64_t lstm_pool_grain()
    int lstm_get_num_threads()
    int64_t lstm_nanoseconds()
    long lstm_pool_generation()
    int lstm_team_enter(int wanted, int is_long)
    void lstm_team_missed()
    void lstm_team_call(void (*work)(void *job, int member) noexcept nogil, void *job, int members)
    void lstm_team_dismiss()
    void *lstm_team_memory(size_t bytes)
    void lstm_team_leave(int64_t loss)


cdef extern from "tracks.h" nogil:
    enum:
        LSTM_TRACK_KINDS
        LSTM_TRACKS_FORKED

    ctypedef struct lstm_track:
        int follows
        int after
        int kind
        ptrdiff_t parts

    ctypedef struct lstm_tracks:
        lstm_track *tracks
        int count
        int (*run)(void *job, int track, ptrdiff_t part, int member) noexcept nogil
        int (*while_waiting)(void *job) noexcept nogil
        int64_t patience
        void *job
        int is_stopped

    int lstm_tracks_run(lstm_tracks *tracks, int members)
    int lstm_tracks_stopped(const int *is_stopped)


cdef extern from "lockstep.h" nogil:
    ctypedef struct lstm_lockstep_line:
        pass

    ctypedef struct lstm_lockstep:
        uint32_t first
        uint32_t end
        lstm_lockstep_line *lines

    int lstm_lockstep_join(lstm_lockstep *all)
    int lstm_lockstep_joined(const lstm_lockstep *all)
    int lstm_lockstep_open(lstm_lockstep *all, uint32_t first, uint32_t end, int is_alone)
    void lstm_lockstep_close(lstm_lockstep *all)
    int lstm_lockstep_next(lstm_lockstep *all, int member, uint32_t *seen)
    void lstm_lockstep_meet(lstm_lockstep *all, int member, int members, uint32_t step)
