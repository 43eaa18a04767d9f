# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Signals such as Ctrl-C, heard between slices of a long call, and guards against a second thread.
from libc.stdint cimport int64_t

from .micro_kernels cimport Pass, lstm_fp_enter, lstm_fp_leave


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


cdef inline int hear_signals(Pass *layer, ptrdiff_t steps) noexcept nogil:
    """-1, with an exception set, if a signal's handler raised; to be called after each few `steps`.

    Handlers run in the thread's own floating-point mode.
    """
    cdef int status
    cdef int64_t now
    if not layer.hears_signals:
        return 0
    layer.work += steps * layer.batch * layer.hidden_size * (layer.input_size + layer.state_size)
    if layer.work < CLOCK_WORK:
        return 0
    layer.work = 0
    now = nanoseconds()
    if layer.heard == 0:
        layer.heard = now
    if now - layer.heard < SLICE:
        return 0
    lstm_fp_leave(layer.mode)
    with gil:
        status = PyErr_CheckSignals()
    layer.mode = lstm_fp_enter()
    layer.heard = nanoseconds()
    return status
