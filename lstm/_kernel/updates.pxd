# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# A step of Adam in one pass over the memory: the operations of NumPy one by one, none fused, the same bits.
cimport numpy as cnp
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport uint64_t

from .arrays cimport axis_of, has_shape, number_of_floats, numbers_of
from .micro_kernels cimport Real, lstm_fp_default, lstm_fp_leave


cdef inline void adam_step(
    Real *values, const Real *gradient, Real *mean, Real *square, ptrdiff_t n, Real keep, Real beta1_rest,
    Real beta2_rest, Real square_scale, Real epsilon, Real rate,
) noexcept nogil:
    """All (n,); lstm/train/optimizers.py has the equations."""
    cdef ptrdiff_t k
    cdef Real change, root
    for k in range(n):
        mean[k] += (gradient[k] - mean[k]) * beta1_rest
        square[k] += (gradient[k] * gradient[k] - square[k]) * beta2_rest
        if Real is float:
            root = sqrtf(square[k])
        else:
            root = sqrt(square[k])
        change = mean[k] / (root * square_scale + epsilon) * rate
        values[k] = values[k] * keep - change


cdef inline int adam_arrays(
    object values, object gradient, object moments, double keep, double beta1_rest, double beta2_rest,
    double square_scale, double epsilon, double rate,
) except -1:
    """values, gradient (n,), moments (2, n); ValueError if they do not fit."""
    cdef int number = number_of_floats("values", values)
    cdef void *x = numbers_of("values", values, number, 1, True)
    cdef void *dx = numbers_of("gradient", gradient, number, 1, False)
    cdef void *means = numbers_of("moments", moments, number, 2, True)
    cdef ptrdiff_t n = axis_of(values, 0)
    cdef uint64_t found
    if axis_of(gradient, 0) != n or not has_shape(moments, 2, n):
        raise ValueError(
            f"values (n,) are {values.shape}, gradient {gradient.shape}, moments (2, n) {moments.shape}"
        )
    with nogil:
        found = lstm_fp_default()
        if number == cnp.NPY_DOUBLE:
            adam_step[double](
                <double *>x, <const double *>dx, <double *>means, <double *>means + n, n, keep, beta1_rest,
                beta2_rest, square_scale, epsilon, rate,
            )
        else:
            adam_step[float](
                <float *>x, <const float *>dx, <float *>means, <float *>means + n, n, keep, beta1_rest,
                beta2_rest, square_scale, epsilon, rate,
            )
        lstm_fp_leave(found)
    return 0
