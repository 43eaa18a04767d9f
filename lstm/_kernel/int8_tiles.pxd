# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Products of int8: x and h made integers, row by row, and the tiles of both halves.
#
# Sums of integers are exact, so that all k are one sum; csrc/small_weights.h has the layouts.
from libc.stdint cimport int8_t

from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_INT8_GROUP,
    Pass,
    lstm_f32_pass,
    lstm_int8_tile,
)
from .tiles cimport (
    hidden_products,
    input_products,
    is_stepwise,
    point_at_states,
    share,
    sums_per_panel,
)


cdef inline ptrdiff_t integers_width(Pass *layer, ptrdiff_t depth) noexcept nogil:
    """Bytes of a row of x or h as integers, with the room that `quantize` asks for."""
    return (depth + 15) // 16 * 16 * layer.int8.integer_bytes


cdef inline void quantize_input(Pass *layer, ptrdiff_t steps) noexcept nogil:
    """x of a block of steps, (steps, B, I), as integers and a scale for each row and step."""
    cdef ptrdiff_t width = integers_width(layer, layer.input_size)
    cdef ptrdiff_t step, row, place
    if Pass is lstm_f32_pass:
        for step in range(steps):
            for row in range(layer.batch):
                place = step * layer.batch + row
                layer.int8.quantize(
                    layer.block_input + step * layer.block_time_stride + row * layer.block_batch_stride,
                    layer.input_size,
                    0,
                    layer.input_integers + place * width,
                    layer.integer_scales + place,
                )


cdef inline void quantize_hidden(Pass *layer) noexcept nogil:
    """h before a step, (B, O), as integers and a scale for each row."""
    cdef ptrdiff_t width = integers_width(layer, layer.state_size)
    cdef ptrdiff_t row
    if Pass is lstm_f32_pass:
        for row in range(layer.batch):
            layer.int8.quantize(
                layer.hidden + row * layer.state_width,
                layer.state_size,
                layer.least_hidden,
                layer.hidden_integers + row * width,
                layer.hidden_integer_scales + row,
            )


cdef inline ptrdiff_t rows_of_tile(ptrdiff_t left, ptrdiff_t row_tile) noexcept nogil:
    """Rows of the next tile: full ones up to the last two, which share what is left.

    Two divisions a tile were 1 % of a step of H 64 and of H 128.
    """
    return row_tile if left >= 2 * row_tile else share(left, row_tile)


cdef inline void int8_input_products(
    Pass *layer, ptrdiff_t steps, ptrdiff_t panel, ptrdiff_t panels
) noexcept nogil:
    """sums (steps, panels, B, 4, L) = bias + x of a block of steps . input weights.

    The rows of a tile are batch rows or, if there are few of those, the steps of one batch row.
    """
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t width = integers_width(layer, layer.input_size)
    cdef ptrdiff_t step_sums = layer.panels * sums_per_panel(layer)
    cdef bint tile_steps = steps > 1 and layer.batch < layer.int8.row_tile
    cdef ptrdiff_t outer_end = layer.batch if tile_steps else steps
    cdef ptrdiff_t row_end = steps if tile_steps else layer.batch
    cdef ptrdiff_t outer, row, rows, batch_row, step, place
    cdef lstm_int8_tile tile
    if Pass is lstm_f32_pass:
        tile.groups = layer.input_depth // LSTM_INT8_GROUP
        tile.weights_panel_stride = layer.input_depth * GATE_COUNT * layer.kernels.lanes
        tile.weights = <const int8_t *>layer.input_weights + panel * tile.weights_panel_stride
        tile.scales = layer.input_scales + panel * vectors
        tile.offsets = layer.input_offsets + panel * vectors
        tile.input_row_stride = width * (layer.batch if tile_steps else 1)
        tile.input_scales_stride = layer.batch if tile_steps else 1
        tile.start = layer.bias + panel * vectors
        tile.start_row_stride, tile.start_panel_stride = 0, vectors
        tile.sums_row_stride = step_sums if tile_steps else vectors
        tile.sums_panel_stride = sums_per_panel(layer)
        sums = layer.sums
        if not is_stepwise(layer):
            sums += panel * sums_per_panel(layer)
        for outer in range(outer_end):
            row = 0
            while row < row_end:
                rows = rows_of_tile(row_end - row, layer.int8.row_tile)
                batch_row = outer if tile_steps else row
                step = row if tile_steps else outer
                place = step * layer.batch + batch_row
                tile.input = layer.input_integers + place * width
                tile.input_scales = layer.integer_scales + place
                tile.sums = sums + step * step_sums + batch_row * vectors
                layer.int8.gates[rows][panels](&tile)
                row += rows


cdef inline void int8_hidden_products(
    Pass *layer, ptrdiff_t step, ptrdiff_t block_step, ptrdiff_t panel, ptrdiff_t panels
) noexcept nogil:
    """cell, hidden_next, output[:, step] of some panels = one step from sums + h . hidden weights."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t width = integers_width(layer, layer.state_size)
    cdef ptrdiff_t row = 0
    cdef ptrdiff_t rows
    cdef lstm_int8_tile tile
    if Pass is lstm_f32_pass:
        tile.groups = layer.hidden_depth // LSTM_INT8_GROUP
        tile.weights_panel_stride = layer.hidden_depth * GATE_COUNT * layer.kernels.lanes
        tile.weights = <const int8_t *>layer.hidden_weights + panel * tile.weights_panel_stride
        tile.scales = layer.hidden_scales + panel * vectors
        tile.offsets = layer.hidden_offsets + panel * vectors
        tile.input_row_stride, tile.input_scales_stride = width, 1
        tile.start_row_stride = tile.sums_row_stride = vectors
        tile.start_panel_stride = tile.sums_panel_stride = sums_per_panel(layer)
        sums = layer.sums
        if not is_stepwise(layer):
            sums += (block_step * layer.panels + panel) * sums_per_panel(layer)
        while row < layer.batch:
            rows = rows_of_tile(layer.batch - row, layer.int8.row_tile)
            tile.input = layer.hidden_integers + row * width
            tile.input_scales = layer.hidden_integer_scales + row
            tile.start = tile.sums = layer.tile.sums = sums + row * vectors
            layer.int8.gates[rows][panels](&tile)
            point_at_states(layer, step, panel, row)
            layer.kernels.update(&layer.tile, rows, panels)
            row += rows


cdef inline void input_half(
    Pass *layer, ptrdiff_t first_step, ptrdiff_t steps, ptrdiff_t panel, ptrdiff_t panels
) noexcept nogil:
    """The x half of some panels, of steps of a block, by whatever weights."""
    if layer.int8 is NULL:
        input_products(layer, first_step, steps, panel, panels)
    else:
        int8_input_products(layer, steps, panel, panels)


cdef inline void hidden_half(
    Pass *layer, ptrdiff_t step, ptrdiff_t block_step, ptrdiff_t panel, ptrdiff_t panels, ptrdiff_t next_panel
) noexcept nogil:
    """The h half of some panels and their cell update, by whatever weights."""
    if layer.int8 is NULL:
        hidden_products(layer, step, block_step, panel, panels, next_panel)
    else:
        int8_hidden_products(layer, step, block_step, panel, panels)
