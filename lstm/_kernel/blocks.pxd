# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Arrays in memory that goes back to csrc/blocks.c when the last view of them is gone.
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New, PyCapsule_SetContext
from libc.stdint cimport uintptr_t


cdef extern from "blocks.h" nogil:
    ctypedef struct lstm_block:
        void *memory
        size_t size
    int lstm_blocks_setup()
    size_t lstm_blocks_release()
    lstm_block lstm_block_take(size_t size, bint clear)
    void lstm_block_give(lstm_block block)


cdef extern from "Python.h":
    # Without a look at whether an exception is set: one may be on its way when an array goes.
    void *PyCapsule_GetPointer(object capsule, const char *name) noexcept
    void *PyCapsule_GetContext(object capsule) noexcept
    int PyTraceMalloc_Track(unsigned int domain, uintptr_t address, size_t size)
    int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t address)


cdef enum:
    # Of NumPy's own arrays in tracemalloc.
    TRACED = 389047
    MOST_AXES = 8
    MOST_BITS = 48  # of a size that a machine may have


cdef inline void give_block(object owner) noexcept:
    """Called when nothing refers to an owner any more."""
    cdef lstm_block block
    block.memory = PyCapsule_GetPointer(owner, NULL)
    block.size = <size_t>PyCapsule_GetContext(owner)
    PyTraceMalloc_Untrack(TRACED, <uintptr_t>block.memory)
    lstm_block_give(block)


cdef inline object owner_of(lstm_block block, size_t size):
    """An object that gives the block back when it goes."""
    try:
        owner = PyCapsule_New(block.memory, NULL, give_block)
    except MemoryError:
        lstm_block_give(block)
        raise
    PyCapsule_SetContext(owner, <void *>block.size)
    PyTraceMalloc_Track(TRACED, <uintptr_t>block.memory, size)
    return owner


cdef inline object array_in_block(tuple shape, cnp.dtype dtype, bint clear):
    """A new contiguous array of numbers that begins on a cache line; zeros or, unless `clear`, anything."""
    cdef cnp.npy_intp sizes[MOST_AXES]
    cdef int rank = <int>len(shape)
    cdef ptrdiff_t size = dtype.itemsize
    cdef double exact = size
    cdef double most = <ptrdiff_t>1 << MOST_BITS
    cdef int axis
    cdef lstm_block block
    for axis in range(rank):
        sizes[axis] = shape[axis]
        exact *= sizes[axis]
        if exact < most:
            size *= sizes[axis]
    block.memory = NULL
    if exact < most:
        block = lstm_block_take(size, clear)
    if block.memory is NULL:
        raise MemoryError(f"there is no memory for an array of shape {shape}")
    owner = owner_of(block, size)
    array = cnp.PyArray_SimpleNewFromData(rank, sizes, dtype.num, block.memory)
    cnp.set_array_base(array, owner)
    return array
