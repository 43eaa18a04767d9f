# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The outputs of a layer's two directions made one.
from libc.math cimport NAN
from libc.stdint cimport uint64_t

from .micro_kernels cimport Real, lstm_fp_enter, lstm_fp_leave

cdef enum Merge:
    SUM
    MEAN
    MUL


cdef inline void merge_typed(Real[:, :, :] outputs, const Real[:, :, :] backward, int merge) noexcept nogil:
    """outputs (B, T, O) = outputs + backward, their mean or their product; every NaN is the contract's."""
    cdef ptrdiff_t row, step, feature
    cdef Real value
    cdef uint64_t found = lstm_fp_enter()
    for row in range(outputs.shape[0]):
        for step in range(outputs.shape[1]):
            for feature in range(outputs.shape[2]):
                if merge == MUL:
                    value = outputs[row, step, feature] * backward[row, step, feature]
                else:
                    value = outputs[row, step, feature] + backward[row, step, feature]
                if merge == MEAN:
                    value = value * <Real>0.5
                outputs[row, step, feature] = value if value == value else NAN
    lstm_fp_leave(found)
