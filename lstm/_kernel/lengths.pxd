# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Rows of different lengths: the longest first, so that those at work are always the first ones.
from libc.string cimport memcpy, memset

from .micro_kernels cimport Pass


cdef inline ptrdiff_t caller_row(Pass *layer, ptrdiff_t row) noexcept nogil:
    """The caller's number of a row of this pass."""
    return row if layer.order is NULL else layer.order[row]


cdef inline ptrdiff_t output_place(Pass *layer, ptrdiff_t row, ptrdiff_t step) noexcept nogil:
    """Where a row of this pass has its output of a step."""
    return caller_row(layer, row) * layer.output_batch_stride + step * layer.output_time_stride


cdef inline ptrdiff_t ordered_length(Pass *layer, ptrdiff_t row) noexcept nogil:
    """Steps of a row of this pass."""
    return layer.lengths[layer.order[row]]


cdef inline void keep_states(Pass *layer, ptrdiff_t first, ptrdiff_t end) noexcept nogil:
    """hidden_next = hidden for rows that are over, or not yet at work: the two go on taking turns."""
    cdef size_t size = sizeof(layer.cell[0])
    memcpy(
        layer.hidden_next + first * layer.state_width,
        layer.hidden + first * layer.state_width,
        (end - first) * layer.state_width * size,
    )


cdef inline ptrdiff_t choose_rows(Pass *layer, ptrdiff_t step) noexcept nogil:
    """Set `batch` to the rows that have this step; returns for how many steps it stays so, at least 1."""
    cdef ptrdiff_t moment = layer.time - 1 - step if layer.reverse else step
    cdef ptrdiff_t batch = 0
    if layer.order is NULL:
        return layer.time - step
    while batch < layer.rows and ordered_length(layer, batch) > moment:
        batch += 1
    if batch < layer.batch:
        keep_states(layer, batch, layer.batch)
    layer.batch = batch
    if layer.reverse:
        if batch == layer.rows:
            return layer.time - step
        return moment + 1 - ordered_length(layer, batch)
    if batch == 0:
        return layer.time - step
    return ordered_length(layer, batch - 1) - moment


cdef inline void gather_input(Pass *layer, ptrdiff_t step, ptrdiff_t steps) noexcept nogil:
    """block_input (steps, B, I): the input itself, or a copy of the rows at work in their order."""
    cdef size_t row_bytes = layer.input_size * sizeof(layer.cell[0])
    cdef ptrdiff_t block_step, row
    if layer.order is NULL:
        layer.block_input = layer.input + step * layer.input_time_stride
        layer.block_batch_stride, layer.block_time_stride = layer.input_batch_stride, layer.input_time_stride
        return
    layer.block_input = layer.gathered
    layer.block_batch_stride = layer.input_size
    layer.block_time_stride = layer.batch * layer.input_size
    for block_step in range(steps):
        for row in range(layer.batch):
            memcpy(
                layer.gathered + (block_step * layer.batch + row) * layer.input_size,
                layer.input
                + layer.order[row] * layer.input_batch_stride
                + (step + block_step) * layer.input_time_stride,
                row_bytes,
            )


cdef inline void clear_padding(Pass *layer) noexcept nogil:
    """output (B, T, O) = 0 past every row's length."""
    cdef size_t row_bytes = layer.state_size * sizeof(layer.cell[0])
    cdef ptrdiff_t row, moment, step
    for row in range(layer.rows):
        for moment in range(ordered_length(layer, row), layer.time):
            step = layer.time - 1 - moment if layer.reverse else moment
            memset(
                layer.output
                + layer.order[row] * layer.output_batch_stride
                + step * layer.output_time_stride,
                0,
                row_bytes,
            )
