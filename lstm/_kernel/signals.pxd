# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Signals such as Ctrl-C, heard between slices of a long call, and guards against a second thread.
from libc.stdint cimport int64_t

from .micro_kernels cimport lstm_fp_enter, lstm_fp_leave, lstm_slice


cdef extern from "Python.h":
    int PyErr_CheckSignals()  # leaves an exception set, for the callers up to run_pass to pass on


cdef extern from "fork_guard.h":
    ctypedef long lstm_guard
    void lstm_guard_setup() nogil
    int lstm_guard_enter(lstm_guard *guard) nogil
    void lstm_guard_leave(lstm_guard *guard) nogil


cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    ctypedef int clockid_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(clockid_t clock, timespec *time)
    clockid_t CLOCK_MONOTONIC


cdef enum:
    # Nanoseconds between two times that signals are heard.
    SLICE = 50_000_000
    # Multiply-adds of a gate between two looks at the clock: below a millisecond on every ISA, software
    # fused multiply-add apart.
    CLOCK_WORK = 1 << 20


cdef inline int64_t nanoseconds() noexcept nogil:
    """The time since some moment of the past."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef inline int hear_signals(lstm_slice *slice, ptrdiff_t work) noexcept nogil:
    """-1, with an exception set, if a signal's handler raised; to be called after each bit of `work`.

    `work` counts multiply-adds of a gate. Handlers run in the thread's own floating-point mode.
    """
    cdef int status
    cdef int64_t now
    if not slice.hears_signals:
        return 0
    slice.work += work
    if slice.work < CLOCK_WORK:
        return 0
    slice.work = 0
    now = nanoseconds()
    if slice.heard == 0:
        slice.heard = now
    if now - slice.heard < SLICE:
        return 0
    lstm_fp_leave(slice.mode)
    with gil:
        status = PyErr_CheckSignals()
    slice.mode = lstm_fp_enter()
    slice.heard = nanoseconds()
    return status
