# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Products of the backward pass: the tiles of one block of k, and dh and dX gate by gate.
#
# The order of summation is part of the contract of the numbers: docs/numbers.md has it.
from libc.string cimport memcpy

from .backward_types cimport Backward
from .micro_kernels cimport GATE_COUNT, LSTM_MAX_PRODUCT_VECTORS, LSTM_SUM_BLOCK
from .tiles cimport share


cdef inline ptrdiff_t caller_row(Backward *layer, ptrdiff_t row) noexcept nogil:
    """The caller's number of a row of the record."""
    return row if layer.order is NULL else layer.order[row]


cdef inline ptrdiff_t vectors_of(Backward *layer, ptrdiff_t columns) noexcept nogil:
    """Vectors of the next panel of columns: as many as a tile takes at most."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    return min(LSTM_MAX_PRODUCT_VECTORS, (columns + lanes - 1) // lanes)


cdef inline ptrdiff_t column_panels(Backward *layer, ptrdiff_t columns) noexcept nogil:
    """Panels of so many columns."""
    cdef ptrdiff_t width = LSTM_MAX_PRODUCT_VECTORS * layer.kernels.lanes
    return (columns + width - 1) // width


cdef inline void row_tiles(Backward *layer, ptrdiff_t rows, ptrdiff_t vectors) noexcept nogil:
    """The product of `rows` rows, from the tile in `layer.product` on, a tile of some rows at a time."""
    cdef ptrdiff_t done = 0
    cdef ptrdiff_t count
    while done < rows:
        count = share(rows - done, layer.kernels.product_rows[vectors])
        layer.kernels.product[count][vectors](&layer.product)
        layer.product.input += count * layer.product.input_row_stride
        layer.product.start += count * layer.product.start_row_stride
        layer.product.sums += count * layer.product.sums_row_stride
        done += count


cdef inline void set_columns(Backward *layer, ptrdiff_t columns, ptrdiff_t vectors) noexcept nogil:
    """Let the tiles have `columns` columns, in so many vectors, or all that these have."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    layer.product.last_lanes = min(lanes, columns - (vectors - 1) * lanes)


cdef inline void block_product(
    Backward *layer, ptrdiff_t rows, ptrdiff_t vectors, ptrdiff_t depth, bint is_first
) noexcept nogil:
    """sums (rows, columns) += input (rows, depth) . weights (depth, columns), or = for the first block."""
    sums = layer.product.sums
    input = layer.product.input
    layer.product.depth = depth
    layer.product.start = layer.zeros if is_first else sums
    layer.product.start_row_stride = 0 if is_first else layer.product.sums_row_stride
    layer.product.prefetch = layer.product.weights + depth * layer.product.weights_k_stride
    row_tiles(layer, rows, vectors)
    layer.product.sums = sums
    layer.product.input = input


cdef inline void gates_panel(
    Backward *layer, ptrdiff_t rows, ptrdiff_t gate_stride, ptrdiff_t vectors
) noexcept nogil:
    """sums (rows, columns) = input (rows, 4, H) . weights (4, H, columns): gates in order, units in blocks.

    From the input, weights and sums in `layer.product` on.
    """
    cdef ptrdiff_t width = vectors * layer.kernels.lanes
    cdef ptrdiff_t gate, unit, depth
    input = layer.product.input
    weights = layer.product.weights
    layer.product.weights_k_stride = width
    for gate in range(GATE_COUNT):
        unit = 0
        while unit < layer.hidden_size:
            depth = min(LSTM_SUM_BLOCK, layer.hidden_size - unit)
            layer.product.input = (
                input + gate * gate_stride + unit // layer.product.chunk * layer.product.chunk_stride
            )
            layer.product.weights = weights + (gate * layer.hidden_size + unit) * width
            layer.product.is_last = gate == GATE_COUNT - 1 and unit + depth == layer.hidden_size
            block_product(layer, rows, vectors, depth, gate == 0 and unit == 0)
            unit += depth
    layer.product.input = input


cdef inline void hidden_gradients(Backward *layer) noexcept nogil:
    """d_hidden (active, features of h) = d_sums (active, 4, H) . W_h: of h before the step."""
    cdef ptrdiff_t feature = 0
    cdef ptrdiff_t vectors, row
    layer.product.input = layer.d_sums
    layer.product.input_row_stride = layer.d_sums_width
    layer.product.input_k_stride = 1
    layer.product.chunk = layer.product.chunk_stride = LSTM_SUM_BLOCK
    layer.product.sums_row_stride = layer.hidden_width
    layer.product.last_lanes = layer.kernels.lanes
    while feature < layer.state_size:
        vectors = vectors_of(layer, layer.state_size - feature)
        layer.product.weights = layer.hidden_columns + feature * GATE_COUNT * layer.hidden_size
        layer.product.sums = layer.d_hidden + feature
        if layer.active == 1 and layer.hidden_size <= LSTM_SUM_BLOCK:
            layer.product.input_row_stride = layer.cell_width
            layer.product.depth = layer.hidden_size
            layer.product.weights_k_stride = vectors * layer.kernels.lanes
            layer.product.start = layer.zeros
            layer.kernels.gates_row[vectors](&layer.product)
        else:
            gates_panel(layer, layer.active, layer.cell_width, vectors)
        feature += vectors * layer.kernels.lanes
    if layer.recurrent is not NULL:
        for row in range(layer.active):
            factors = layer.recurrent + caller_row(layer, layer.first_row + row) * layer.state_size
            d_hidden = layer.d_hidden + row * layer.hidden_width
            for feature in range(layer.state_size):
                d_hidden[feature] *= factors[feature]


cdef inline void input_panels(Backward *layer, ptrdiff_t rows, ptrdiff_t gate_stride) noexcept nogil:
    """sums (rows, I) = input (rows, 4, H) . W_x, from the input and sums in `layer.product` on."""
    cdef ptrdiff_t feature = 0
    cdef ptrdiff_t vectors
    sums = layer.product.sums
    while feature < layer.input_size:
        vectors = vectors_of(layer, layer.input_size - feature)
        set_columns(layer, layer.input_size - feature, vectors)
        layer.product.weights = layer.input_columns + feature * GATE_COUNT * layer.hidden_size
        layer.product.sums = sums + feature
        gates_panel(layer, rows, gate_stride, vectors)
        feature += vectors * layer.kernels.lanes


cdef inline void input_gradients(
    Backward *layer, ptrdiff_t row, ptrdiff_t step, ptrdiff_t rows
) noexcept nogil:
    """d_input (rows, I) = gradients of the gates' sums (rows, 4, H) . W_x, rows of the record from a step on.

    Where all rows have all steps, `rows` may go on into those of the next ones.
    """
    cdef ptrdiff_t lanes = layer.kernels.lanes
    layer.product.input = layer.record.gates + (
        (row * layer.record.row_stride + step) * GATE_COUNT * lanes
    )
    layer.product.input_row_stride = GATE_COUNT * lanes
    layer.product.input_k_stride = 1
    layer.product.chunk = lanes
    layer.product.chunk_stride = layer.record.panel_stride * GATE_COUNT * lanes
    layer.product.sums = layer.d_input + (caller_row(layer, row) * layer.time + step) * layer.input_size
    layer.product.sums_row_stride = layer.input_size
    input_panels(layer, rows, lanes)


cdef inline void step_input_gradients(Backward *layer, ptrdiff_t moment) noexcept nogil:
    """d_input (active, I) of one step, from d_sums: they are still in a cache."""
    cdef ptrdiff_t row
    layer.product.input = layer.d_sums
    layer.product.input_row_stride = layer.d_sums_width
    layer.product.input_k_stride = 1
    layer.product.chunk = layer.product.chunk_stride = LSTM_SUM_BLOCK
    if layer.order is NULL:
        layer.product.sums = layer.d_input + (layer.first_row * layer.time + moment) * layer.input_size
        layer.product.sums_row_stride = layer.time * layer.input_size
        input_panels(layer, layer.active, layer.cell_width)
        return
    layer.product.sums = layer.d_step_input
    layer.product.sums_row_stride = layer.input_size
    input_panels(layer, layer.active, layer.cell_width)
    for row in range(layer.active):
        memcpy(
            layer.d_input + (layer.order[layer.first_row + row] * layer.time + moment) * layer.input_size,
            layer.d_step_input + row * layer.input_size,
            layer.input_size * sizeof(layer.d_input[0]),
        )


cdef inline void cell_output_gradients(Backward *layer) noexcept nogil:
    """d_cell_output (active, H) = d_hidden (active, O) . W_hr: of h before its projection."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t unit = 0
    cdef ptrdiff_t vectors, feature, depth
    layer.product.input_row_stride = layer.hidden_width
    layer.product.input_k_stride = 1
    layer.product.chunk = LSTM_SUM_BLOCK
    layer.product.chunk_stride = 0
    layer.product.sums_row_stride = layer.cell_width
    layer.product.last_lanes = lanes
    layer.product.is_last = False
    while unit < layer.hidden_size:
        vectors = vectors_of(layer, layer.hidden_size - unit)
        layer.product.weights_k_stride = vectors * lanes
        layer.product.sums = layer.d_cell_output + unit
        feature = 0
        while feature < layer.state_size:
            depth = min(LSTM_SUM_BLOCK, layer.state_size - feature)
            layer.product.input = layer.d_hidden + feature
            layer.product.weights = (
                layer.projection_rows + unit * layer.state_size + feature * vectors * lanes
            )
            block_product(layer, layer.active, vectors, depth, feature == 0)
            feature += depth
        unit += vectors * lanes


cdef inline void project_row(Backward *layer) noexcept nogil:
    """projected (O,) = cell_output (H,) . the projection, as the forward pass sums it."""
    cdef ptrdiff_t width = LSTM_MAX_PRODUCT_VECTORS * layer.kernels.lanes
    cdef ptrdiff_t feature = 0
    cdef ptrdiff_t unit, depth
    layer.product.input_row_stride = 0
    layer.product.input_k_stride = 1
    layer.product.chunk = LSTM_SUM_BLOCK
    layer.product.chunk_stride = 0
    layer.product.sums_row_stride = 0
    layer.product.weights_k_stride = width
    layer.product.last_lanes = layer.kernels.lanes
    layer.product.is_last = False
    while feature < layer.state_size:
        layer.product.sums = layer.projected + feature
        unit = 0
        while unit < layer.hidden_size:
            depth = min(LSTM_SUM_BLOCK, layer.hidden_size - unit)
            layer.product.input = layer.cell_output + unit
            layer.product.weights = layer.projection + feature * layer.hidden_size + unit * width
            block_product(layer, 1, LSTM_MAX_PRODUCT_VECTORS, depth, unit == 0)
            unit += depth
        feature += width
