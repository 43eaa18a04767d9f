# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# A step of Adam in one pass over the memory: the operations of NumPy one by one, none fused, the same bits.
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport uint64_t

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


cdef inline adam_typed(
    Real[::1] values, const Real[::1] gradient, Real[:, ::1] moments, double keep, double beta1_rest,
    double beta2_rest, double square_scale, double epsilon, double rate,
):
    """values, gradient (n,), moments (2, n)."""
    cdef ptrdiff_t n = values.shape[0]
    cdef uint64_t found
    if gradient.shape[0] != n or moments.shape[0] != 2 or moments.shape[1] != n:
        raise ValueError(
            f"values (n,) are {(n,)}, gradient {(gradient.shape[0],)}, "
            f"moments (2, n) {(moments.shape[0], moments.shape[1])}"
        )
    if n > 0:
        with nogil:
            found = lstm_fp_default()
            adam_step(
                &values[0], &gradient[0], &moments[0, 0], &moments[1, 0], n, <Real>keep, <Real>beta1_rest,
                <Real>beta2_rest, <Real>square_scale, <Real>epsilon, <Real>rate,
            )
            lstm_fp_leave(found)
