# What belongs to the process or the thread: threads, memory that waits, the floating-point mode.
from .blocks cimport MOST_AXES, array_in_block, lstm_blocks_release
from .micro_kernels cimport lstm_fp_default, lstm_fp_leave, lstm_fp_read
from .thread_pool cimport lstm_get_num_threads, lstm_pool_choose, lstm_pool_grain, lstm_pool_is_wish
from .thread_pool cimport lstm_pool_release, lstm_pool_set_grain


cdef extern from "scratch.h" nogil:
    size_t lstm_scratch_release()


def threads():
    """The number of threads of a call."""
    return lstm_get_num_threads()


def choose_threads(int count, bint is_wish):
    """Set the number of threads of a call, and whether it is the user's wish; returns what both were."""
    found = lstm_get_num_threads(), bool(lstm_pool_is_wish())
    lstm_pool_choose(count, is_wish)
    return found


def share_grains(int work, bint is_stubborn=False):
    """For tests: set the least work for which a thread is woken, and whether losses are disregarded.

    Returns what the least work was.
    """
    found = lstm_pool_grain()
    lstm_pool_set_grain(work, is_stubborn)
    return found


def release_scratch():
    """Free the scratch memory that threads keep for their next call; returns how many bytes that were."""
    return lstm_scratch_release() + lstm_pool_release()


def release_blocks():
    """Free the memory that waits for `recycled`; returns how many bytes that were."""
    return lstm_blocks_release()


def recycled(tuple shape not None, cnp.dtype dtype not None, bint clear=False):
    """A new array of numbers, zeros if `clear`, whose memory earlier ones had and later ones will have."""
    if len(shape) > MOST_AXES or dtype.num not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        raise ValueError(f"there are no recycled arrays of shape {shape} and dtype {dtype}")
    return array_in_block(shape, dtype, clear)


def floating_point_mode():
    """The calling thread's floating-point control and status bits."""
    return lstm_fp_read()


def enter_default_mode():
    """Set the calling thread's floating-point mode to what threads start in; returns what it was."""
    return lstm_fp_default()


def restore_mode(uint64_t found):
    """Set the calling thread's floating-point mode and flags to what `enter_default_mode` returned."""
    lstm_fp_leave(found)
