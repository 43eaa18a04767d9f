# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Arrays, looked at through NumPy's C API.
#
# Passing one array through a typed memoryview costs some 240 ns, which is as long as a step of a small net,
# and memoryviews made 23 % of this module's own code (718 KB of kernel.c instead of 553): there are none.
cimport numpy as cnp

from .layer_weights cimport LayerWeights


cdef inline int type_number(const LayerWeights *weights) noexcept:
    """NumPy's number of the weights' dtype."""
    return cnp.NPY_DOUBLE if weights.is_double else cnp.NPY_FLOAT


cdef inline ptrdiff_t element_size(const LayerWeights *weights) noexcept nogil:
    """Bytes of a number of the net's dtype."""
    return sizeof(double) if weights.is_double else sizeof(float)


# Of an object that is known to be an array; without the casts Cython would test that again each time.

cdef inline int rank_of(object array) noexcept:
    return cnp.PyArray_NDIM(<cnp.ndarray>array)


cdef inline ptrdiff_t axis_of(object array, int axis) noexcept:
    return cnp.PyArray_DIM(<cnp.ndarray>array, axis)


cdef inline int type_of(object array) noexcept:
    return cnp.PyArray_TYPE(<cnp.ndarray>array)


cdef inline ptrdiff_t stride_of(object array, int axis) noexcept:
    """In bytes."""
    return cnp.PyArray_STRIDE(<cnp.ndarray>array, axis)


cdef inline void *data_of(object array) noexcept:
    return cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline ptrdiff_t bytes_of(object array) noexcept:
    return cnp.PyArray_NBYTES(<cnp.ndarray>array)


cdef inline bint is_writeable(object array) noexcept:
    return cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array)


cdef inline bint is_contiguous_of(object array, const LayerWeights *weights) noexcept:
    """Whether it is a numpy.ndarray of the weights' dtype, C-contiguous, aligned, in native byte order."""
    return (
        cnp.PyArray_CheckExact(array)
        and cnp.PyArray_TYPE(<cnp.ndarray>array) == type_number(weights)
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)
    )


cdef inline bint has_length(object array, ptrdiff_t length) noexcept:
    """Whether the array is (length,)."""
    return rank_of(array) == 1 and axis_of(array, 0) == length


cdef inline bint has_shape(object array, ptrdiff_t rows, ptrdiff_t columns) noexcept:
    """Whether the array is (rows, columns)."""
    return (
        rank_of(array) == 2
        and axis_of(array, 0) == rows
        and axis_of(array, 1) == columns
    )


cdef inline bint has_layers(object array, ptrdiff_t layers, ptrdiff_t rows, ptrdiff_t columns) noexcept:
    """Whether the array is (layers, rows, columns)."""
    return (
        rank_of(array) == 3
        and axis_of(array, 0) == layers
        and axis_of(array, 1) == rows
        and axis_of(array, 2) == columns
    )


cdef inline bint is_state(
    object state, const LayerWeights *weights, ptrdiff_t size, ptrdiff_t layers, ptrdiff_t rows,
    bint batched, bint may_lack_layers,
) noexcept:
    """Whether it is contiguous and (L, B, size) of a batch or (L, size) of one row.

    With `may_lack_layers` also, for one layer, (B, size) or, of one row, (size,) or (size, 1).
    """
    if not is_contiguous_of(state, weights):
        return False
    if has_layers(state, layers, rows, size) if batched else has_shape(state, layers, size):
        return True
    if layers > 1 or not may_lack_layers:
        return False
    return has_shape(state, rows, size) if batched else has_length(state, size) or has_shape(state, size, 1)


cdef inline object copy_of(object array):
    return cnp.PyArray_NewCopy(<cnp.ndarray>array, cnp.NPY_CORDER)


cdef inline object first_state(
    object state, const LayerWeights *weights, ptrdiff_t size, ptrdiff_t layers, ptrdiff_t rows, bint batched
):
    """A copy of a state given, (L, size) or (L, B, size), or zeros for None; None if it does not fit."""
    cdef cnp.npy_intp shape[3]
    if state is None:
        shape[0], shape[1], shape[2] = layers, rows if batched else size, size
        return cnp.PyArray_ZEROS(3 if batched else 2, shape, type_number(weights), 0)
    return copy_of(state) if is_state(state, weights, size, layers, rows, batched, False) else None


cdef inline object output_of(object out, const LayerWeights *weights, int rank, cnp.npy_intp *shape):
    """`out` or, for None, a new array of this shape; None if `out` is not contiguous or does not fit."""
    cdef int axis
    if out is None:
        return cnp.PyArray_SimpleNew(rank, shape, type_number(weights))
    if not (
        is_contiguous_of(out, weights)
        and is_writeable(out)
        and rank_of(out) == rank
    ):
        return None
    for axis in range(rank):
        if axis_of(out, axis) != shape[axis]:
            return None
    return out


cdef inline bint overlap(object array, object other) noexcept:
    """Whether two contiguous arrays have memory in common."""
    first, second = <char *>data_of(array), <char *>data_of(other)
    return first < second + bytes_of(other) and second < first + bytes_of(array)


cdef inline void *writable_data(
    const LayerWeights *weights, str name, object array, tuple shape
) except? NULL:
    """The first element of a contiguous, writable array of the net's dtype and this shape; else ValueError.

    NULL for None.
    """
    if array is None:
        return NULL
    if not is_contiguous_of(array, weights) or not is_writeable(array) or array.shape != shape:
        raise ValueError(f"{name} must be a contiguous, writable array of the net's dtype, of shape {shape}")
    return data_of(array)


cdef inline const void *read_data(
    const LayerWeights *weights, str name, object array, tuple shape
) except? NULL:
    """The same for an array that is only read."""
    if array is None:
        return NULL
    if not is_contiguous_of(array, weights) or array.shape != shape:
        raise ValueError(f"{name} must be a contiguous array of the net's dtype, of shape {shape}")
    return data_of(array)


cdef inline void *numbers_of(str name, object array, int number, int rank, bint is_written) except? NULL:
    """The first element of a contiguous array of this rank and NumPy's number of a dtype; else ValueError."""
    if not (
        cnp.PyArray_Check(array)
        and type_of(array) == number
        and rank_of(array) == rank
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)
        and (is_writeable(array) or not is_written)
    ):
        dtype = cnp.PyArray_DescrFromType(number)
        writable = ", writable" if is_written else ""
        raise ValueError(f"{name} must be contiguous{writable}, {rank}-D, of {dtype}")
    return data_of(array)


cdef inline int number_of_floats(str name, object array) except -1:
    """NumPy's number of float32 or float64; ValueError if it is not an array of these."""
    if cnp.PyArray_Check(array) and type_of(array) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        return type_of(array)
    raise ValueError(f"{name} must be an array of float32 or float64")
