# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Numbers of a step that are not of the net's dtype: NumPy arrays of other dtypes, lists and tuples.
#
# A conversion by NumPy takes ten times as long as the step of a small net. The results are those of
# lstm/core/checks.py: rounded once, to nearest, without a trace in the thread's floating-point flags.
cimport numpy as cnp
from cpython.float cimport PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact
from libc.stdint cimport (
    int8_t,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)

from .arrays cimport data_of, has_length, has_shape
from .micro_kernels cimport lstm_fp_default, lstm_fp_leave


cdef extern from *:
    """
    /* The stable ABI has functions in place of these macros. */
    #ifdef Py_LIMITED_API
    #define list_length(list) (PyList_Check(list) ? PyList_Size(list) : PyTuple_Size(list))
    #define list_item(list, k) (PyList_Check(list) ? PyList_GetItem(list, k) : PyTuple_GetItem(list, k))
    #define float_value(number) PyFloat_AsDouble(number)
    #else
    #define list_length(list) PySequence_Fast_GET_SIZE(list)
    #define list_item(list, k) PySequence_Fast_GET_ITEM(list, k)
    #define float_value(number) PyFloat_AS_DOUBLE(number)
    #endif
    """
    Py_ssize_t list_length(object list) noexcept
    PyObject *list_item(object list, Py_ssize_t k) noexcept  # borrowed
    double float_value(object number) noexcept


cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1


ctypedef fused Number:
    float
    double
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef inline bint is_list(object x) noexcept:
    return PyList_CheckExact(x) or PyTuple_CheckExact(x)


cdef inline bint has_number_shape(object x, ptrdiff_t rows, ptrdiff_t size, bint single) noexcept:
    """Whether x is a contiguous array (rows, size) or, if `single`, an array or a list of (size,)."""
    if is_list(x):
        return single and list_length(x) == size
    return (
        cnp.PyArray_CheckExact(x)
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>x)
        and (has_length(x, size) if single else has_shape(x, rows, size))
    )


cdef inline void convert_typed(
    const Number *numbers, ptrdiff_t count, bint is_double, void *into
) noexcept nogil:
    """numbers (count,) -> into (count,) of double or float."""
    cdef ptrdiff_t k
    if is_double:
        for k in range(count):
            (<double *>into)[k] = <double>numbers[k]
    else:
        for k in range(count):
            (<float *>into)[k] = <float>numbers[k]


cdef inline bint convert_array(
    int kind, const void *data, ptrdiff_t count, bint is_double, void *into
) noexcept:
    """data (count,) of a dtype of NumPy -> into; False for a dtype that is none of these."""
    if kind == cnp.NPY_FLOAT64:
        convert_typed(<const double *>data, count, is_double, into)
    elif kind == cnp.NPY_FLOAT32:
        convert_typed(<const float *>data, count, is_double, into)
    elif kind == cnp.NPY_INT64 or kind == cnp.NPY_LONGLONG:
        convert_typed(<const int64_t *>data, count, is_double, into)
    elif kind == cnp.NPY_INT32:
        convert_typed(<const int32_t *>data, count, is_double, into)
    elif kind == cnp.NPY_INT16:
        convert_typed(<const int16_t *>data, count, is_double, into)
    elif kind == cnp.NPY_INT8:
        convert_typed(<const int8_t *>data, count, is_double, into)
    elif kind == cnp.NPY_UINT8 or kind == cnp.NPY_BOOL:
        convert_typed(<const uint8_t *>data, count, is_double, into)
    elif kind == cnp.NPY_UINT16:
        convert_typed(<const uint16_t *>data, count, is_double, into)
    elif kind == cnp.NPY_UINT32:
        convert_typed(<const uint32_t *>data, count, is_double, into)
    elif kind == cnp.NPY_UINT64 or kind == cnp.NPY_ULONGLONG:
        convert_typed(<const uint64_t *>data, count, is_double, into)
    else:
        return False
    return True


cdef inline bint convert_list(object x, bint is_double, void *into) except -1:
    """A list or tuple of Python's numbers -> into; False for others, and for integers no double holds."""
    cdef Py_ssize_t k
    cdef double value
    cdef long long integer
    cdef int overflow = 0
    for k in range(list_length(x)):
        item = <object>list_item(x, k)
        if PyFloat_CheckExact(item):
            value = float_value(item)
        elif PyLong_CheckExact(item):
            integer = PyLong_AsLongLongAndOverflow(item, &overflow)
            # Up to 2^53 an integer is a double, so that it is rounded once on its way to a float.
            if overflow or not -9007199254740992LL <= integer <= 9007199254740992LL:
                return False
            value = <double>integer
        else:
            return False
        if is_double:
            (<double *>into)[k] = value
        else:
            (<float *>into)[k] = <float>value
    return True


cdef inline bint convert_numbers(object x, ptrdiff_t count, bint is_double, void *into) except -1:
    """x of `has_number_shape` -> into (count,) of double or float; False if it holds other things."""
    cdef uint64_t found = lstm_fp_default()
    cdef bint done
    try:
        if is_list(x):
            done = convert_list(x, is_double, into)
        else:
            done = convert_array(cnp.PyArray_TYPE(<cnp.ndarray>x), data_of(x), count, is_double, into)
    finally:
        lstm_fp_leave(found)
    return done
