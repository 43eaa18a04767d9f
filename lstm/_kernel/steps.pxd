# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Time: the steps of one pass, in blocks whose x half is done in one product.
from libc.math cimport NAN

from .lengths cimport caller_row, choose_rows, clear_padding, gather_input, output_place
from .micro_kernels cimport Pass
from .signals cimport hear_signals
from .single_rows cimport is_row_net, is_row_of_tiles, run_row
from .int8_tiles cimport hidden_half, input_half, quantize_hidden, quantize_input
from .tiles cimport (
    is_stepwise,
    project,
    share,
    sums_per_panel,
    tile_panels,
)
from .wide_inputs cimport is_wide, wide_products


cdef inline void store_outputs(Pass *layer, ptrdiff_t step) noexcept nogil:
    """output[:, step] (B, O) = hidden_next, where the tiles have not written it themselves."""
    cdef ptrdiff_t row, feature
    for row in range(layer.batch):
        output = layer.output + output_place(layer, row, step)
        hidden = layer.hidden_next + row * layer.state_width
        for feature in range(layer.state_size):
            h = hidden[feature]
            output[feature] = h if h == h else NAN


cdef inline void mask_hidden(Pass *layer) noexcept nogil:
    """masked (B, O) = hidden times the factors of the recurrent dropout."""
    cdef ptrdiff_t row, feature
    for row in range(layer.batch):
        factors = layer.recurrent + caller_row(layer, row) * layer.state_size
        hidden = layer.hidden + row * layer.state_width
        masked = layer.masked + row * layer.state_width
        for feature in range(layer.state_size):
            masked[feature] = hidden[feature] * factors[feature]


cdef inline void run_step(Pass *layer, ptrdiff_t step, ptrdiff_t block_step, bint forward) noexcept nogil:
    """One time step of the rows at work: hidden, cell and output[:, step].

    Panels are walked `forward` at one step and backward at the next: what the caches still hold of the
    weights is used again.
    """
    cdef ptrdiff_t done = 0
    cdef ptrdiff_t panel, panels, next_panel
    if layer.recurrent is not NULL:
        mask_hidden(layer)
    if layer.int8 is not NULL:
        quantize_hidden(layer)
    while done < layer.panels:
        panels = tile_panels(layer, layer.panels - done)
        panel = done if forward else layer.panels - done - panels
        if is_stepwise(layer):
            input_half(layer, block_step, 1, panel, panels)
        next_panel = min(panel + 1, layer.panels - 1) if forward else max(panel - 1, 0)
        hidden_half(layer, step, block_step, panel, panels, next_panel)
        done += panels
    if layer.projection_panels > 0:
        project(layer)
    if layer.output is not NULL and (layer.projection_panels > 0 or layer.order is not NULL):
        store_outputs(layer, step)
    layer.hidden, layer.hidden_next = layer.hidden_next, layer.hidden


cdef inline bint is_whole_tile(Pass *layer) noexcept nogil:
    """Whether one tile is the whole net and writes the output itself: it can do many time steps at once."""
    return (
        layer.panels <= (1 if layer.batch > 1 else layer.row_panels)
        and layer.batch <= layer.kernels.row_tile
        and layer.projection_panels == 0
        and layer.order is NULL
        and layer.recurrent is NULL
        and layer.int8 is NULL
        and not is_stepwise(layer)
    )


cdef inline void run_whole_tile(Pass *layer, ptrdiff_t step, ptrdiff_t steps) noexcept nogil:
    """Time steps of a block by one call of a micro-kernel: hidden, cell, output[:, step:step + steps].

    At H = 20 the driver's part of every step was a sixth of it.
    """
    layer.tile.steps = steps
    layer.tile.start_step_stride = layer.panels * sums_per_panel(layer)
    layer.tile.trace_step_stride = layer.trace_time_stride
    layer.hidden_next = layer.hidden
    hidden_half(layer, step, 0, 0, layer.panels, 0)


cdef inline void run_block(Pass *layer, ptrdiff_t step, ptrdiff_t steps, bint *forward) noexcept nogil:
    """Time steps of a block, tile by tile: hidden, cell, output[:, step:step + steps].

    `forward` is which way the panels are walked, at the first step and then at the one after the last.
    """
    cdef ptrdiff_t panel, block_step
    if is_wide(layer):
        wide_products(layer, steps)
    elif not is_stepwise(layer):
        for panel in range(layer.panels):
            input_half(layer, 0, steps, panel, 1)
    if is_row_of_tiles(layer):
        run_row(layer, step, steps, forward)
        return
    if is_whole_tile(layer):
        run_whole_tile(layer, step, steps)
        return
    for block_step in range(steps):
        run_step(layer, step + block_step, block_step, forward[0])
        forward[0] = not forward[0]


cdef inline void start_layer(Pass *layer) noexcept nogil:
    """Set what all tiles of a pass have in common."""
    layer.tile.output = layer.tile.trace = NULL
    layer.tile.record.gates = NULL
    if layer.record.gates is not NULL:
        layer.tile.record = layer.record
    layer.tile.peephole = NULL
    layer.tile.steps = 1
    layer.tile.variant = layer.variant
    layer.tile.output_row_stride = layer.output_batch_stride
    layer.tile.output_step_stride = layer.output_time_stride
    layer.tile.trace_gate_stride = layer.trace_gate_stride
    layer.tile.trace_row_stride = layer.trace_batch_stride
    layer.batch = layer.rows


cdef inline int run_layer(Pass *layer) noexcept nogil:
    """All time steps of one pass: output (B, T, O), and hidden and cell as after the last step.

    Returns -1, with an exception set, if a signal's handler raised meanwhile.
    """
    cdef ptrdiff_t step = 0
    cdef ptrdiff_t steps
    cdef bint forward = True
    start_layer(layer)
    while step < layer.time:
        steps = choose_rows(layer, step)
        if layer.batch == 0:
            step += steps
            continue
        # Blocks of a wide input are near-equal: a short one would read all weights for few rows.
        steps = share(steps, layer.block_time) if is_wide(layer) else min(steps, layer.block_time)
        gather_input(layer, step, steps)
        if layer.int8 is not NULL:
            quantize_input(layer, steps)
        if is_row_net(layer):
            run_row(layer, step, steps, &forward)
        else:
            run_block(layer, step, steps, &forward)
        if hear_signals(
            &layer.slice,
            steps * layer.batch * layer.hidden_size * (layer.input_size + layer.state_size),
        ) < 0:
            return -1
        step += steps
    layer.batch = layer.rows
    if layer.order is not NULL and layer.output is not NULL:
        clear_padding(layer)
    return 0
