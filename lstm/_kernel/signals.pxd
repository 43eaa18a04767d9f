# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Signals such as Ctrl-C, heard between slices of a long call, and guards against a second thread.
from libc.stdint cimport int64_t

from .micro_kernels cimport lstm_fp_enter, lstm_fp_leave, lstm_slice
from .thread_pool cimport lstm_nanoseconds, lstm_tracks_stopped


cdef extern from "Python.h":
    int PyErr_CheckSignals()  # leaves an exception set, for the callers up to run_pass to pass on


cdef extern from "fork_guard.h":
    ctypedef long lstm_guard
    void lstm_guard_setup() nogil
    int lstm_guard_enter(lstm_guard *guard) nogil
    void lstm_guard_leave(lstm_guard *guard) nogil


cdef enum:
    # Nanoseconds between two times that signals are heard.
    SLICE = 50_000_000
    # Multiply-adds of a gate between two looks at the clock: below a millisecond on every ISA, software
    # fused multiply-add apart.
    CLOCK_WORK = 1 << 20


cdef inline int hear_signals(lstm_slice *slice, ptrdiff_t work) noexcept nogil:
    """-1, with an exception set, if a signal's handler raised; to be called after each bit of `work`.

    `work` counts multiply-adds of a gate. Handlers run in the thread's own floating-point mode.
    Also -1, without an exception, if another member has stopped the team.
    """
    cdef int status
    cdef int64_t now
    if slice.is_stopped is not NULL and lstm_tracks_stopped(slice.is_stopped):
        return -1
    if not slice.hears_signals:
        return 0
    slice.work += work
    if slice.work < CLOCK_WORK:
        return 0
    slice.work = 0
    now = lstm_nanoseconds()
    if slice.heard == 0:
        slice.heard = now
    if now - slice.heard < SLICE:
        return 0
    lstm_fp_leave(slice.mode)
    with gil:
        status = PyErr_CheckSignals()
    slice.mode = lstm_fp_enter()
    slice.heard = lstm_nanoseconds()
    return status
