# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The outputs of a layer's two directions made one.
cimport numpy as cnp
from libc.math cimport NAN
from libc.stdint cimport uint64_t

from .arrays cimport axis_of, data_of, number_of_floats, rank_of, stride_of
from .micro_kernels cimport Real, lstm_fp_enter, lstm_fp_leave

cdef enum Merge:
    SUM
    MEAN
    MUL


cdef inline void merge_row(
    char *outputs, ptrdiff_t outputs_stride, const char *backward, ptrdiff_t backward_stride, ptrdiff_t n,
    int merge, Real half,
) noexcept nogil:
    """outputs (O,) = outputs + backward, their mean or their product; every NaN is the contract's.

    Strides are in bytes.
    """
    cdef ptrdiff_t feature
    cdef Real value, other
    for feature in range(n):
        value = (<Real *>(outputs + feature * outputs_stride))[0]
        other = (<const Real *>(backward + feature * backward_stride))[0]
        value = value * other if merge == MUL else value + other
        if merge == MEAN:
            value = value * half
        (<Real *>(outputs + feature * outputs_stride))[0] = value if value == value else NAN


cdef inline int merge_arrays(object outputs, object backward, int merge) except -1:
    """outputs (B, T, O) = both made one; ValueError if they do not fit."""
    cdef int number = number_of_floats("outputs", outputs)
    cdef ptrdiff_t row, step, features
    cdef uint64_t found
    if outputs.shape != backward.shape or rank_of(outputs) != 3:
        raise ValueError(f"outputs has shape {outputs.shape}, but backward {backward.shape}")
    if not (
        number == number_of_floats("backward", backward)
        and cnp.PyArray_ISBEHAVED(<cnp.ndarray>outputs)
        and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>backward)
    ):
        raise ValueError("outputs and backward must be aligned arrays of one dtype, outputs writable")
    features = axis_of(outputs, 2)
    found = lstm_fp_enter()
    for row in range(axis_of(outputs, 0)):
        for step in range(axis_of(outputs, 1)):
            target = <char *>data_of(outputs) + row * stride_of(outputs, 0) + step * stride_of(outputs, 1)
            source = <char *>data_of(backward) + row * stride_of(backward, 0) + step * stride_of(backward, 1)
            if number == cnp.NPY_DOUBLE:
                merge_row[double](
                    target, stride_of(outputs, 2), source, stride_of(backward, 2), features, merge, 0.5
                )
            else:
                merge_row[float](
                    target, stride_of(outputs, 2), source, stride_of(backward, 2), features, merge, 0.5
                )
    lstm_fp_leave(found)
    return 0
