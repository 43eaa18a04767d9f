# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# One register tile after another: the products of both halves and of a projection.
#
# The shape of a tile is chosen here; its sums are computed in csrc/kernels_impl.h. Layouts are drawn in
# csrc/lstm_kernels.h.
from libc.math cimport INFINITY

from .micro_kernels cimport GATE_COUNT, LSTM_CACHE_LINE, LSTM_SHORT_SUM, LSTM_SUM_BLOCK, Pass, lstm_f32_pass


cdef inline ptrdiff_t share(ptrdiff_t left, ptrdiff_t largest) noexcept nogil:
    """The next of the fewest, near-equal parts of at most `largest` that make up `left`."""
    cdef ptrdiff_t parts
    if left <= largest or largest == 1:  # two divisions less for every tile of a single row: 2 % at H = 128
        return min(left, largest)
    parts = (left + largest - 1) // largest
    return (left + parts - 1) // parts


cdef inline ptrdiff_t sums_per_panel(Pass *layer) noexcept nogil:
    """Elements of the sums of one panel at one step: (B, 4, L)."""
    return layer.batch * GATE_COUNT * layer.kernels.lanes


cdef inline bint is_stepwise(Pass *layer) noexcept nogil:
    """Whether the x half is done at each step, panel by panel, into sums of a few panels only."""
    return layer.block_time == 1


cdef inline ptrdiff_t tile_panels(Pass *layer, ptrdiff_t left) noexcept nogil:
    """Panels of the next tile at one step: one, or for a single row a near-equal part of what is left."""
    return 1 if layer.batch > 1 else share(left, layer.row_panels)


cdef inline ptrdiff_t prefetch_part(Pass *layer, ptrdiff_t tile) noexcept nogil:
    """Offset of the part of the next block of weights that a tile of this number brings into L2.

    A tile brings one cache line at each k, a row of a panel has several: so many tiles share the block.
    """
    cdef ptrdiff_t size = sizeof(layer.cell[0])
    cdef ptrdiff_t parts = layer.weight_row * size // LSTM_CACHE_LINE
    if tile == 0:
        return 0
    return min(tile, max(0, parts - 1)) * layer.tile.depth * (LSTM_CACHE_LINE // size)


cdef inline bint widens(Pass *layer, ptrdiff_t rows) noexcept nogil:
    """Whether weights of 16 bits are widened for a product of so many rows; else its tiles read them."""
    if layer.narrow is NULL:
        return False
    # Only tiles of one row do several steps.
    layer.reads_packed = layer.narrow.gates[1][1] is not NULL and (
        rows == 1 or layer.narrow.gates[2][1] is not NULL and layer.tile.steps == 1
    )
    return not layer.reads_packed


cdef inline void widen_weights(Pass *layer) noexcept nogil:
    """Let the tiles read float32 instead of 16 bits: once for all rows, into memory that stays in L1."""
    if Pass is lstm_f32_pass:
        layer.narrow.widen(layer.tile.weights, layer.tile.depth, layer.wide)
        layer.tile.weights = layer.wide


cdef inline void gates_tile(Pass *layer, ptrdiff_t rows, ptrdiff_t panels) noexcept nogil:
    """The tile's sums."""
    if Pass is lstm_f32_pass:
        if layer.reads_packed:
            layer.tile.sum_block = LSTM_SUM_BLOCK
            layer.narrow.gates[rows][panels](&layer.tile)
            return
    layer.kernels.gates[rows][panels](&layer.tile)


cdef inline void step_tile(Pass *layer, ptrdiff_t rows, ptrdiff_t panels) noexcept nogil:
    """The tile's sums, then its cell update."""
    if Pass is lstm_f32_pass:
        if layer.reads_packed and layer.batch == 1:
            layer.narrow.step[panels](&layer.tile)
            return
        if layer.reads_packed:
            layer.narrow.gates[rows][panels](&layer.tile)
            layer.kernels.update(&layer.tile, rows, panels)
            return
    layer.kernels.step[rows][panels](&layer.tile)


cdef inline void input_tiles(
    Pass *layer, ptrdiff_t first_step, ptrdiff_t steps, bint tile_steps, ptrdiff_t panels, ptrdiff_t k,
    ptrdiff_t column,
) noexcept nogil:
    """tile.sums (steps, panels, B, 4, L) += the features from k on . tile.weights, in tiles of rows.

    The rows of a tile are batch rows or, with `tile_steps`, the steps of one batch row. The features are in
    block_input[:, first_step:], from `column` on; tile.prefetch is where the next weights are.
    """
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t step_sums = layer.panels * sums_per_panel(layer)
    cdef ptrdiff_t outer, row, rows, batch_row, step
    cdef ptrdiff_t outer_end = layer.batch if tile_steps else steps
    cdef ptrdiff_t row_end = steps if tile_steps else layer.batch
    cdef ptrdiff_t tile = 0
    next_weights = layer.tile.prefetch
    layer.tile.input_row_stride = (
        layer.block_time_stride if tile_steps else layer.block_batch_stride
    )
    layer.tile.sums_row_stride = step_sums if tile_steps else vectors
    if k > 0:
        layer.tile.start_row_stride = layer.tile.sums_row_stride
    for outer in range(outer_end):
        row = 0
        while row < row_end:
            rows = share(row_end - row, layer.kernels.row_tile)
            batch_row = outer if tile_steps else row
            step = row if tile_steps else outer
            layer.tile.prefetch = next_weights + prefetch_part(layer, tile)
            layer.tile.input = (
                layer.block_input
                + batch_row * layer.block_batch_stride
                + (first_step + step) * layer.block_time_stride
                + column
            )
            layer.tile.sums += step * step_sums + batch_row * vectors
            if k > 0:
                layer.tile.start = layer.tile.sums
            gates_tile(layer, rows, panels)
            layer.tile.sums -= step * step_sums + batch_row * vectors
            row += rows
            tile += 1


cdef inline void start_input(Pass *layer, ptrdiff_t panel) noexcept nogil:
    """Let the first block of features of a panel go from its bias to its sums."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    layer.tile.weights_panel_stride = layer.input_depth * layer.weight_row
    layer.tile.sums_panel_stride = sums_per_panel(layer)
    layer.tile.sums = layer.sums
    if not is_stepwise(layer):
        layer.tile.sums += panel * sums_per_panel(layer)
    layer.tile.start = layer.bias + panel * vectors
    layer.tile.start_row_stride = 0
    layer.tile.start_panel_stride = vectors


cdef inline void input_products(
    Pass *layer, ptrdiff_t first_step, ptrdiff_t steps, ptrdiff_t panel, ptrdiff_t panels
) noexcept nogil:
    """sums (steps, panels, B, 4, L) = bias + x[:, first_step:first_step + steps] . input weights.

    Over many rows, k goes in blocks: a panel's block of weights stays in L1 while all rows use it.
    """
    cdef bint is_widened = widens(layer, steps * layer.batch)
    cdef bint tile_steps = steps > 1 and layer.batch < layer.kernels.row_tile
    cdef ptrdiff_t block = layer.input_size
    cdef ptrdiff_t k = 0
    if steps * layer.batch > 1 or is_widened:
        block = LSTM_SUM_BLOCK
    start_input(layer, panel)
    weights = layer.input_weights + panel * layer.tile.weights_panel_stride
    while k < layer.input_size:
        layer.tile.depth = min(block, layer.input_size - k)
        layer.tile.weights = weights + k * layer.weight_row
        if is_widened:
            widen_weights(layer)
        layer.tile.prefetch = weights + (k + layer.tile.depth) * layer.weight_row
        if k + layer.tile.depth >= layer.input_size:
            layer.tile.prefetch = layer.hidden_weights + panel * layer.hidden_depth * layer.weight_row
        input_tiles(layer, first_step, steps, tile_steps, panels, k, k)
        layer.tile.start_panel_stride = layer.tile.sums_panel_stride
        k += block


cdef inline void point_at_states(Pass *layer, ptrdiff_t step, ptrdiff_t panel, ptrdiff_t row) noexcept nogil:
    """Let the tile update cell, hidden_next and output of `panel` from `row` on, and what a variant needs."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t cell_width = layer.panels * lanes
    cdef ptrdiff_t units = panel * lanes
    layer.tile.cell = layer.cell + row * cell_width + units
    layer.tile.state_row_stride = cell_width
    layer.tile.output_units = layer.hidden_size - units
    if layer.projection_panels > 0:
        layer.tile.hidden = layer.cell_output + row * cell_width + units
    else:
        layer.tile.hidden = layer.hidden_next + row * cell_width + units
        if layer.output is not NULL and layer.order is NULL:
            layer.tile.output = (
                layer.output
                + row * layer.output_batch_stride
                + step * layer.output_time_stride
                + units
            )
    if layer.peephole is not NULL:
        layer.tile.peephole = layer.peephole + 3 * units
    if layer.trace is not NULL:
        layer.tile.trace = (
            layer.trace + row * layer.trace_batch_stride + step * layer.trace_time_stride + units
        )
    if layer.record.gates is not NULL:
        point_at_record(layer, step, panel, row)


cdef inline void point_at_record(Pass *layer, ptrdiff_t step, ptrdiff_t panel, ptrdiff_t row) noexcept nogil:
    """Let the tile record `panel` from `row` on; `step` is in the order of computation."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t moment = layer.time - 1 - step if layer.reverse else step
    cdef ptrdiff_t place = panel * layer.record.panel_stride + row * layer.record.row_stride + moment
    cdef ptrdiff_t after = moment if layer.reverse else moment + 1
    layer.tile.record.gates = layer.record.gates + place * GATE_COUNT * lanes
    layer.tile.record.squashed = layer.record.squashed + place * lanes
    layer.tile.record.cells = layer.record.cells + lanes * (
        panel * layer.record.cells_panel_stride + row * layer.record.cells_row_stride + after
    )


cdef inline ptrdiff_t hidden_block(ptrdiff_t depth) noexcept nogil:
    """k of a block of the h half of this depth: a short one is summed in two halves."""
    return (depth + 1) // 2 if depth <= LSTM_SHORT_SUM else LSTM_SUM_BLOCK


cdef inline void hidden_products(
    Pass *layer, ptrdiff_t step, ptrdiff_t block_step, ptrdiff_t panel, ptrdiff_t panels, ptrdiff_t next_panel
) noexcept nogil:
    """cell, hidden_next, output[:, step] of some panels = one step from sums + h . hidden weights."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t panel_weights = layer.hidden_depth * layer.weight_row
    cdef ptrdiff_t sums_offset = 0
    cdef ptrdiff_t k = 0
    cdef ptrdiff_t row, rows, tile
    cdef bint is_widened = widens(layer, layer.batch)
    cdef ptrdiff_t block = LSTM_SUM_BLOCK if layer.batch > 1 or is_widened else layer.state_size
    hidden = layer.hidden if layer.recurrent is NULL else layer.masked
    if not is_stepwise(layer):
        sums_offset = (block_step * layer.panels + panel) * sums_per_panel(layer)
    layer.tile.input_row_stride = layer.state_width
    layer.tile.weights_panel_stride = panel_weights
    layer.tile.start_row_stride = vectors
    layer.tile.start_panel_stride = sums_per_panel(layer)
    layer.tile.sums_row_stride = vectors
    layer.tile.sums_panel_stride = sums_per_panel(layer)
    layer.tile.sum_block = hidden_block(layer.state_size)
    while k < layer.state_size:
        layer.tile.depth = min(block, layer.state_size - k)
        layer.tile.weights = layer.hidden_weights + panel * panel_weights + k * layer.weight_row
        next_weights = layer.tile.weights + layer.tile.depth * layer.weight_row
        if k + block >= layer.state_size:
            next_weights = layer.hidden_weights + next_panel * panel_weights
            if is_stepwise(layer):
                next_weights = layer.input_weights + next_panel * layer.input_depth * layer.weight_row
        if is_widened:
            widen_weights(layer)
        row = tile = 0
        while row < layer.batch:
            rows = share(layer.batch - row, layer.kernels.row_tile)
            layer.tile.input = hidden + row * layer.state_width + k
            layer.tile.prefetch = next_weights + prefetch_part(layer, tile)
            layer.tile.sums = layer.sums + sums_offset + row * vectors
            layer.tile.start = layer.tile.sums
            if k + block < layer.state_size:
                gates_tile(layer, rows, panels)
            else:
                point_at_states(layer, step, panel, row)
                step_tile(layer, rows, panels)
            row += rows
            tile += 1
        k += block


cdef inline void project(Pass *layer) noexcept nogil:
    """hidden_next (B, O) = cell_output (B, H) . projection, from zero in blocks of k as all sums are."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t panel = 0
    cdef ptrdiff_t panels
    cdef bint is_widened = widens(layer, layer.batch)
    layer.tile.input_row_stride = layer.panels * layer.kernels.lanes
    layer.tile.weights_panel_stride = layer.hidden_size * layer.projection_row
    layer.tile.sums_row_stride = layer.state_width
    layer.tile.sums_panel_stride = vectors
    while panel < layer.projection_panels:
        panels = tile_panels(layer, layer.projection_panels - panel)
        project_panels(layer, panel, panels, is_widened)
        panel += panels
    if layer.proj_clip < INFINITY:
        bound_hidden(layer)


cdef inline void project_panels(
    Pass *layer, ptrdiff_t panel, ptrdiff_t panels, bint is_widened
) noexcept nogil:
    """The features of some panels; what is widened goes block by block."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t cell_width = layer.panels * layer.kernels.lanes
    cdef ptrdiff_t block = LSTM_SUM_BLOCK if is_widened else layer.hidden_size
    cdef ptrdiff_t k = 0
    cdef ptrdiff_t row, rows
    weights = layer.projection + panel * layer.tile.weights_panel_stride
    layer.tile.start_row_stride = layer.tile.start_panel_stride = 0
    while k < layer.hidden_size:
        layer.tile.depth = min(block, layer.hidden_size - k)
        layer.tile.weights = layer.tile.prefetch = weights + k * layer.projection_row
        if is_widened:
            widen_weights(layer)
        row = 0
        while row < layer.batch:
            rows = share(layer.batch - row, layer.kernels.row_tile)
            layer.tile.input = layer.cell_output + row * cell_width + k
            layer.tile.sums = layer.hidden_next + row * layer.state_width + panel * vectors
            layer.tile.start = layer.zeros if k == 0 else layer.tile.sums
            gates_tile(layer, rows, panels)
            row += rows
        layer.tile.start_row_stride, layer.tile.start_panel_stride = layer.state_width, vectors
        k += block


cdef inline void bound_hidden(Pass *layer) noexcept nogil:
    """hidden_next (B, O) within ±proj_clip; a NaN stays."""
    cdef ptrdiff_t row, feature
    bound = layer.zeros[0]
    if Pass is lstm_f32_pass:
        bound = <float>layer.proj_clip
    else:
        bound = layer.proj_clip
    for row in range(layer.batch):
        hidden = layer.hidden_next + row * layer.state_width
        for feature in range(layer.state_size):
            h = hidden[feature]
            h = bound if h > bound else h
            hidden[feature] = -bound if h < -bound else h
