# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# What teams that share tracks have in common: their memory, and how a call ends.
from cpython.exc cimport PyErr_Occurred
from libc.stdlib cimport free

from .micro_kernels cimport LSTM_CACHE_LINE
from .signals cimport SLICE, PyErr_CheckSignals
from .thread_pool cimport LSTM_TRACKS_FORKED, lstm_track, lstm_tracks, lstm_tracks_run


cdef inline size_t padded(size_t bytes) noexcept nogil:
    """As many bytes or a few more, to whole cache lines."""
    return (bytes + LSTM_CACHE_LINE - 1) // LSTM_CACHE_LINE * LSTM_CACHE_LINE


cdef inline char *place(char **memory, size_t bytes) noexcept nogil:
    """The next so many bytes."""
    cdef char *found = memory[0]
    memory[0] += padded(bytes)
    return found


cdef inline int hear_while_waiting(void *job) noexcept nogil:
    """For `lstm_tracks`; -1, with an exception set, if a signal's handler raised."""
    with gil:
        return PyErr_CheckSignals()


cdef inline void set_tracks(
    lstm_tracks *shared, lstm_track *tracks, int (*run)(void *, int, ptrdiff_t, int) noexcept nogil, void *job
) noexcept nogil:
    """Let a team's members do the parts of these tracks of its `job` by `run`."""
    shared.tracks = tracks
    shared.run = run
    shared.while_waiting = hear_while_waiting
    shared.patience = SLICE
    shared.job = job


cdef inline int run_tracks(lstm_tracks *shared, int members, char *memory) except? -1:
    """All parts, by a team that was entered and which is left; frees its memory, and returns 1."""
    cdef int status
    with nogil:
        status = lstm_tracks_run(shared, members)
    free(memory)
    if status == LSTM_TRACKS_FORKED and PyErr_Occurred() is NULL:
        raise RuntimeError("this process was forked by a signal's handler in the middle of a call of lstm")
    return -1 if status < 0 else 1
