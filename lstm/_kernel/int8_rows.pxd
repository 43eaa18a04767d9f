# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# A row alone of int8 weights by the kernel that does all of its steps: csrc/int8_row_steps.h.
from libc.stdint cimport int8_t
from libc.string cimport memcpy

from .lengths cimport output_place
from .micro_kernels cimport GATE_COUNT, LSTM_INT8_GROUP, Pass, lstm_f32_pass, lstm_int8_row


cdef inline bint is_int8_row(Pass *layer) noexcept nogil:
    """Whether the set of instructions has such a kernel, and the scale of h does not depend on h."""
    return layer.int8.row_steps is not NULL and layer.least_hidden == 1


cdef inline void run_int8_row(Pass *layer, ptrdiff_t step, ptrdiff_t steps, bint *forward) noexcept nogil:
    """hidden, cell, output[:, step:step + steps] from the sums of a block; `forward` as in run_block."""
    cdef lstm_int8_row row
    if Pass is lstm_f32_pass:
        row.steps = steps
        row.depth = layer.state_size
        row.groups = layer.hidden_depth // LSTM_INT8_GROUP
        row.panels = layer.panels
        row.weights = <const int8_t *>layer.hidden_weights
        row.scales, row.offsets = layer.hidden_scales, layer.hidden_offsets
        row.start = layer.sums
        row.start_step_stride = layer.panels * GATE_COUNT * layer.kernels.lanes
        row.cell = layer.cell
        row.hidden = layer.hidden
        row.integers = layer.hidden_integers
        row.output = NULL
        row.output_step_stride = layer.output_time_stride
        if layer.output is not NULL:
            row.output = layer.output + output_place(layer, 0, step)
        row.forward = forward[0]
        layer.int8.row_steps(&row)
        if steps % 2 == 1:
            # h is where the driver looks for it after so many steps.
            memcpy(layer.hidden_next, layer.hidden, layer.state_width * sizeof(float))
            layer.hidden, layer.hidden_next = layer.hidden_next, layer.hidden
            forward[0] = not forward[0]
