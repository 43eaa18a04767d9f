# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Matrices of weights into the panels of the micro-kernels.
cimport numpy as cnp
from libc.string cimport memset

from .arrays cimport axis_of, data_of, is_writeable, rank_of, type_of
from .micro_kernels cimport Real, lstm_isa_at


cdef inline void pack_typed(
    int isa, const Real *matrix, Real *packed, ptrdiff_t gates, ptrdiff_t units, ptrdiff_t depth
) noexcept nogil:
    """matrix (G, H, K) to packed (P, K, G, L), units past H zero."""
    cdef ptrdiff_t lanes, unit, gate, k, count
    if Real is float:
        kernels = lstm_isa_at(isa).f32
    else:
        kernels = lstm_isa_at(isa).f64
    lanes = kernels.lanes
    unit = 0
    while unit < units:
        count = min(lanes, units - unit)
        if count < lanes:
            memset(packed, 0, depth * gates * lanes * sizeof(Real))
        k = 0
        while k < depth:
            for gate in range(gates):
                kernels.turn(
                    matrix + (gate * units + unit) * depth + k,
                    depth,
                    count,
                    min(lanes, depth - k),
                    packed + (k * gates + gate) * lanes,
                    gates * lanes,
                )
            k += lanes
        packed += depth * gates * lanes
        unit += lanes


cdef inline int pack_arrays(int isa, object matrix, object packed) except -1:
    """`pack_typed` of arrays of one dtype; ValueError if they do not fit."""
    cdef ptrdiff_t gates, units, depth, lanes
    cdef bint is_double = type_of(matrix) == cnp.NPY_DOUBLE
    lanes = lstm_isa_at(isa).f64.lanes if is_double else lstm_isa_at(isa).f32.lanes
    if rank_of(matrix) != 3 or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>matrix):
        raise ValueError(f"the matrix must be contiguous and (G, H, K), but is {matrix.shape}")
    gates, units, depth = axis_of(matrix, 0), axis_of(matrix, 1), axis_of(matrix, 2)
    shape = ((units + lanes - 1) // lanes, depth, gates, lanes)
    if packed.shape != shape or packed.dtype != matrix.dtype or not is_writeable(packed):
        raise ValueError(f"packed must be writable, of shape {shape} and dtype {matrix.dtype}")
    source, target = data_of(matrix), data_of(packed)
    with nogil:
        if is_double:
            pack_typed(isa, <const double *>source, <double *>target, gates, units, depth)
        else:
            pack_typed(isa, <const float *>source, <float *>target, gates, units, depth)
    return 0
