# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# A row alone by the kernels that do all of its steps: csrc/row_kernels.h.
from .int8_rows cimport is_int8_row, run_int8_row
from .lengths cimport output_place
from .micro_kernels cimport GATE_COUNT, Pass, lstm_f32_pass
from .row_kernels cimport lstm_f32_row, lstm_f64_row
from .tiles cimport input_products, is_stepwise, point_at_record


cdef inline bint is_plain_row(Pass *layer) noexcept nogil:
    """Whether one row is at work, of the default equations without masks."""
    return (
        layer.batch == 1
        and (layer.variant is NULL or layer.record.gates is not NULL and layer.record.is_plain)
        and layer.recurrent is NULL
        and layer.projection_panels == 0
    )


cdef inline bint is_row_net(Pass *layer) noexcept nogil:
    """Whether one tile is the net of a row.

    A single step whose x half is of several panels is faster tile by tile (I = H = 20: 7 %).
    """
    return (
        layer.panels <= layer.kernels.net_panels
        and layer.narrow is NULL
        and layer.int8 is NULL
        and is_plain_row(layer)
        and (not is_stepwise(layer) or layer.input_size == 1 or layer.panels == 1)
    )


cdef inline bint is_row_of_tiles(Pass *layer) noexcept nogil:
    """Whether a row of more panels, or of int8 weights, has several steps to do."""
    cdef ptrdiff_t least_panels
    if layer.int8 is not NULL:
        return is_int8_row(layer) and is_plain_row(layer) and not is_stepwise(layer)
    least_panels = layer.kernels.row_steps_panels
    if layer.narrow is not NULL:
        least_panels = layer.narrow.row_steps_panels
    return 0 < least_panels <= layer.panels and is_plain_row(layer) and not is_stepwise(layer)


cdef inline void run_row(Pass *layer, ptrdiff_t step, ptrdiff_t steps, bint *forward) noexcept nogil:
    """Time steps of a block by one call: hidden, cell, output[:, step:step + steps].

    `forward` as in run_block. The x half is in the sums, but of a net of one tile.
    """
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t panel
    cdef lstm_f32_row f32
    cdef lstm_f64_row f64
    if layer.int8 is not NULL:
        run_int8_row(layer, step, steps, forward)
        return
    if Pass is lstm_f32_pass:
        row = &f32
    else:
        row = &f64
    row.steps = steps
    row.depth = layer.state_size
    row.panels = layer.panels
    row.weights = layer.hidden_weights
    row.start = layer.sums
    row.start_panel_stride = vectors
    row.start_step_stride = layer.panels * vectors
    row.x = NULL
    row.cell = layer.cell
    row.hidden = layer.hidden
    row.hidden_next = layer.hidden_next
    row.forward = forward[0]
    if layer.record.gates is not NULL:
        point_at_record(layer, step, 0, 0)
    row.record = layer.tile.record
    row.output = NULL
    if layer.output is not NULL:
        row.output = layer.output + output_place(layer, 0, step)
        row.output_step_stride = layer.output_time_stride
    if not is_row_net(layer):
        kernel = layer.kernels.row_steps
        if Pass is lstm_f32_pass:
            if layer.narrow is not NULL:
                kernel = layer.narrow.row_steps
        kernel(row)
        if steps % 2 == 1:
            layer.hidden, layer.hidden_next = layer.hidden_next, layer.hidden
            forward[0] = not forward[0]
        return
    if layer.input_size == 1:
        row.x = layer.block_input
        row.x_step_stride = layer.block_time_stride
        row.x_weights = layer.input_weights
        row.start = layer.bias
        row.start_step_stride = 0
    else:
        for panel in range(layer.panels):
            input_products(layer, 0, steps, panel, 1)
    layer.kernels.row_net(row)
