# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Gradients of the weights: sums over the rows and steps of a pass.
#
# Row by row, in the caller's order; a row's steps ascend in time, in blocks of at most 128, each summed from
# zero and added to the running sum. So the gradients of a batch are the sum of its rows', bit for bit.
#
# A part of them is those of one panel of features, or those that are not of many features, and of the units
# from layer.first_panel to layer.end_panel: no sum is in two parts.
from libc.string cimport memset

from .backward_types cimport Backward
from .micro_kernels cimport GATE_COUNT, LSTM_MAX_PRODUCT_VECTORS, LSTM_SUM_BLOCK
from .products cimport column_panels, row_tiles, set_columns, vectors_of
from .signals cimport hear_signals
from .tiles cimport share

cdef enum:
    # Features up to which units are the columns of a product: so few would leave most lanes empty.
    FEW_FEATURES = 8


cdef inline ptrdiff_t steps_of(Backward *layer, ptrdiff_t caller_row) noexcept nogil:
    """Steps of a row of the caller."""
    return layer.time if layer.lengths is NULL else layer.lengths[caller_row]


cdef inline ptrdiff_t last_row(Backward *layer, ptrdiff_t first_row, ptrdiff_t rows) noexcept nogil:
    """The last of some rows that has steps: its sums are the last, whose NaNs are made the contract's."""
    cdef ptrdiff_t row = first_row + rows - 1
    while row > first_row and steps_of(layer, row) == 0:
        row -= 1
    return row


cdef inline void copy_features(
    Backward *layer, ptrdiff_t row, ptrdiff_t feature, ptrdiff_t count, ptrdiff_t width, bint of_hidden,
    ptrdiff_t place,
) noexcept nogil:
    """gathered (T, width) from a place on = some features of x, or of h before each step, of a row."""
    cdef ptrdiff_t steps = steps_of(layer, row)
    cdef ptrdiff_t step, k
    target = layer.gathered + place
    if not of_hidden:
        layer.kernels.copy_rows(
            layer.input + row * layer.input_batch_stride + feature,
            layer.input_time_stride, steps, count, target, width,
        )
        return
    first, others = target, target + width
    if layer.reverse:
        first, others = target + (steps - 1) * width, target
    layer.kernels.copy_rows(
        layer.first_hidden + row * layer.state_size + feature, 0, 1, count, first, width
    )
    layer.kernels.copy_rows(
        layer.output + row * layer.output_batch_stride + layer.reverse * layer.output_time_stride + feature,
        layer.output_time_stride, steps - 1, count, others, width,
    )
    if layer.recurrent is not NULL:
        factors = layer.recurrent + row * layer.state_size + feature
        for step in range(steps):
            for k in range(count):
                target[step * width + k] *= factors[k]


cdef inline void unit_tiles(
    Backward *layer, ptrdiff_t panel, ptrdiff_t vectors, ptrdiff_t depth
) noexcept nogil:
    """Sums (4, L, columns) += dz (depth, 4, L) of a block of steps . gathered (depth, columns): one panel.

    From the input, weights and sums in `layer.product` on.
    """
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t gate
    sums = layer.product.sums
    gates = layer.product.input
    layer.product.depth = layer.product.chunk = depth
    for gate in range(GATE_COUNT):
        layer.product.prefetch = gates + (depth * GATE_COUNT + gate * depth) * lanes
        layer.product.input = gates + gate * lanes
        layer.product.sums = sums + gate * layer.hidden_size * layer.product.sums_row_stride
        layer.product.start = layer.product.sums
        row_tiles(layer, min(lanes, layer.hidden_size - panel * lanes), vectors)


cdef inline int panel_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t end, ptrdiff_t last,
    ptrdiff_t feature, ptrdiff_t vectors, bint of_hidden,
) noexcept nogil:
    """Those of some features by all units of the rows gathered; -1 if a signal's handler raised.

    A panel of units at a time: its sums stay in L1 while all rows are added, and its dz lie in a row.
    """
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t width = vectors * lanes
    cdef ptrdiff_t panel, row, step, steps, depth, place, stride
    sums = layer.d_hidden_weights if of_hidden else layer.d_input_weights
    stride = layer.d_hidden_weights_stride if of_hidden else layer.d_input_weights_stride
    layer.product.chunk_stride = 0
    layer.product.input_row_stride = 1
    layer.product.input_k_stride = GATE_COUNT * lanes
    layer.product.weights_k_stride = width
    for panel in range(layer.first_panel, layer.end_panel):
        weights = layer.gathered
        for row in range(first_row, end):
            steps = steps_of(layer, row)
            place = panel * layer.record.panel_stride
            place += (row if rank is NULL else rank[row]) * layer.record.row_stride
            step = 0
            while step < steps:
                depth = min(LSTM_SUM_BLOCK, steps - step)
                layer.product.input = layer.record.gates + (place + step) * GATE_COUNT * lanes
                layer.product.weights = weights
                layer.product.sums = (
                    sums + row * stride + panel * lanes * layer.product.sums_row_stride + feature
                )
                layer.product.is_last = row == last and step + depth == steps
                unit_tiles(layer, panel, vectors, depth)
                weights += depth * width
                step += depth
        if hear_signals(&layer.slice, (weights - layer.gathered) * lanes) < 0:
            return -1
    return 0


cdef inline ptrdiff_t rows_gathered(Backward *layer, ptrdiff_t row, ptrdiff_t end) noexcept nogil:
    """The end of the rows from `row` on whose steps have a place in `gathered`."""
    cdef ptrdiff_t steps = 0
    while row < end:
        steps += steps_of(layer, row)
        if steps > layer.gathered_steps:
            break
        row += 1
    return row


cdef inline int matrix_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t feature,
    bint of_hidden,
) noexcept nogil:
    """A panel of d_input_weights (4, H, I) or d_hidden_weights (4, H, O), from a feature on, of some rows.

    Returns -1, with an exception set, if a signal's handler raised.
    """
    cdef ptrdiff_t features = layer.state_size if of_hidden else layer.input_size
    cdef ptrdiff_t vectors = vectors_of(layer, features - feature)
    cdef ptrdiff_t width = vectors * layer.kernels.lanes
    cdef ptrdiff_t count = min(features - feature, width)
    cdef ptrdiff_t row, end, place
    cdef ptrdiff_t group = first_row
    cdef ptrdiff_t last = last_row(layer, first_row, rows)
    set_columns(layer, count, vectors)
    layer.product.sums_row_stride = layer.product.start_row_stride = features
    while group < first_row + rows:
        end = rows_gathered(layer, group, first_row + rows)
        place = 0
        for row in range(group, end):
            if steps_of(layer, row) > 0:
                copy_features(layer, row, feature, count, width, of_hidden, place)
            place += steps_of(layer, row) * width
        if panel_gradients(layer, rank, group, end, last, feature, vectors, of_hidden) < 0:
            return -1
        group = end
    return 0


cdef inline int few_features(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t features,
    bint of_bias,
) noexcept nogil:
    """packed (P, features, 4, L) += of x or, of_bias, of one feature that is 1: dz of some rows as columns.

    Returns -1, with an exception set, if a signal's handler raised.
    """
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t vectors = GATE_COUNT * lanes
    cdef ptrdiff_t panel, row, step, depth, steps, place
    cdef ptrdiff_t last = last_row(layer, first_row, rows)
    layer.product.input_row_stride = 0 if of_bias else 1
    layer.product.input_k_stride = 0 if of_bias else layer.input_time_stride
    layer.product.chunk_stride = 0
    layer.product.weights_k_stride = vectors
    layer.product.start_row_stride = layer.product.sums_row_stride = vectors
    layer.product.last_lanes = lanes
    for panel in range(layer.first_panel, layer.end_panel):
        for row in range(first_row, first_row + rows):
            steps = steps_of(layer, row)
            place = panel * layer.record.panel_stride
            place += (row if rank is NULL else rank[row]) * layer.record.row_stride
            step = 0
            while step < steps:
                depth = min(LSTM_SUM_BLOCK, steps - step)
                layer.product.input = layer.ones
                if not of_bias:
                    layer.product.input = (
                        layer.input + row * layer.input_batch_stride + step * layer.input_time_stride
                    )
                layer.product.depth = layer.product.chunk = depth
                layer.product.weights = layer.record.gates + (place + step) * vectors
                layer.product.prefetch = layer.product.weights + depth * vectors
                layer.product.sums = layer.packed + panel * features * vectors
                layer.product.start = layer.product.sums
                layer.product.is_last = row == last and step + depth == steps
                row_tiles(layer, features, GATE_COUNT)
                if hear_signals(&layer.slice, depth * features * lanes) < 0:
                    return -1
                step += depth
    return 0


cdef inline void pack_sums(Backward *layer, ptrdiff_t features, bint of_bias, ptrdiff_t row) noexcept nogil:
    """packed (P, features, 4, L) = the caller's sums (4, H, features) of a row, or of all."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t vectors = features * GATE_COUNT * lanes
    cdef ptrdiff_t gate, unit, feature
    sums = layer.d_input_weights + row * layer.d_input_weights_stride
    if of_bias:
        sums = layer.d_bias + row * layer.d_bias_stride
    memset(
        layer.packed + layer.first_panel * vectors,
        0,
        (layer.end_panel - layer.first_panel) * vectors * sizeof(layer.packed[0]),
    )
    for gate in range(GATE_COUNT):
        for unit in range(layer.first_panel * lanes, min(layer.end_panel * lanes, layer.hidden_size)):
            for feature in range(features):
                layer.packed[
                    ((unit // lanes * features + feature) * GATE_COUNT + gate) * lanes + unit % lanes
                ] = sums[(gate * layer.hidden_size + unit) * features + feature]


cdef inline void unpack_sums(Backward *layer, ptrdiff_t features, bint of_bias, ptrdiff_t row) noexcept nogil:
    """The inverse of `pack_sums`."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t gate, unit, feature
    sums = layer.d_input_weights + row * layer.d_input_weights_stride
    if of_bias:
        sums = layer.d_bias + row * layer.d_bias_stride
    for gate in range(GATE_COUNT):
        for unit in range(layer.first_panel * lanes, min(layer.end_panel * lanes, layer.hidden_size)):
            for feature in range(features):
                sums[(gate * layer.hidden_size + unit) * features + feature] = layer.packed[
                    ((unit // lanes * features + feature) * GATE_COUNT + gate) * lanes + unit % lanes
                ]


cdef inline int few_feature_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows, bint of_bias
) noexcept nogil:
    """d_bias (4, H), or d_input_weights (4, H, I) of a few features, of some rows; -1 as `few_features`."""
    cdef ptrdiff_t features = 1 if of_bias else layer.input_size
    cdef int status
    pack_sums(layer, features, of_bias, first_row)
    status = few_features(layer, rank, first_row, rows, features, of_bias)
    unpack_sums(layer, features, of_bias, first_row)
    return status


cdef inline int peephole_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows
) noexcept nogil:
    """d_peephole (3, H) of some rows; -1, with an exception set, if a signal's handler raised."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t panel, row, ranked, gate, lane, units
    sums = layer.d_peephole + first_row * layer.d_peephole_stride
    memset(layer.packed, 0, 3 * lanes * sizeof(layer.packed[0]))
    for panel in range(layer.first_panel, layer.end_panel):
        units = min(lanes, layer.hidden_size - panel * lanes)
        for gate in range(3):
            for lane in range(units):
                layer.packed[gate * lanes + lane] = sums[gate * layer.hidden_size + panel * lanes + lane]
        for row in range(first_row, first_row + rows):
            ranked = row if rank is NULL else rank[row]
            layer.kernels.peephole_sums(
                layer.record.gates
                + (panel * layer.record.panel_stride + ranked * layer.record.row_stride) * GATE_COUNT * lanes,
                layer.record.cells
                + (panel * layer.record.cells_panel_stride + ranked * layer.record.cells_row_stride) * lanes,
                steps_of(layer, row),
                layer.reverse,
                layer.packed,
            )
            if hear_signals(&layer.slice, steps_of(layer, row) * lanes) < 0:
                return -1
        for gate in range(3):
            for lane in range(units):
                sums[gate * layer.hidden_size + panel * lanes + lane] = layer.packed[gate * lanes + lane]
    return 0


cdef inline int projection_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows
) noexcept nogil:
    """d_projection (O, H) of some rows: dh . h before its projection; -1 if a signal's handler raised."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t panel, row, step, depth, steps, place
    cdef ptrdiff_t last = last_row(layer, first_row, rows)
    layer.product.input_row_stride = 1
    layer.product.input_k_stride = layer.state_size
    layer.product.chunk_stride = 0
    layer.product.weights_k_stride = lanes
    layer.product.start_row_stride = layer.product.sums_row_stride = layer.hidden_size
    for row in range(first_row, first_row + rows):
        steps = steps_of(layer, row)
        step = 0
        while step < steps:
            depth = min(LSTM_SUM_BLOCK, steps - step)
            layer.product.depth = layer.product.chunk = depth
            layer.product.is_last = row == last and step + depth == steps
            for panel in range(layer.first_panel, layer.end_panel):
                place = panel * layer.record.panel_stride + step
                place += (row if rank is NULL else rank[row]) * layer.record.row_stride
                set_columns(layer, layer.hidden_size - panel * lanes, 1)
                layer.product.input = layer.d_hidden_steps + (row * layer.time + step) * layer.state_size
                layer.product.weights = layer.record.squashed + place * lanes
                layer.product.prefetch = layer.product.weights
                layer.product.sums = layer.d_projection + row * layer.d_projection_stride + panel * lanes
                layer.product.start = layer.product.sums
                row_tiles(layer, layer.state_size, 1)
            if hear_signals(&layer.slice, depth * layer.hidden_size * layer.state_size // 4) < 0:
                return -1
            step += depth
    return 0


cdef inline int other_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows
) noexcept nogil:
    """Those that are not of many features, of some rows; -1 if a signal's handler raised."""
    cdef int status = few_feature_gradients(layer, rank, first_row, rows, True)
    if status == 0 and layer.input_size <= FEW_FEATURES and layer.d_input_weights is not NULL:
        status = few_feature_gradients(layer, rank, first_row, rows, False)
    if status == 0 and layer.d_peephole is not NULL:
        status = peephole_gradients(layer, rank, first_row, rows)
    if status == 0 and layer.d_projection is not NULL:
        status = projection_gradients(layer, rank, first_row, rows)
    return status


cdef inline ptrdiff_t input_parts(Backward *layer) noexcept nogil:
    """Parts of d_input_weights, a panel of features each."""
    if layer.d_input_weights is NULL or layer.input_size <= FEW_FEATURES:
        return 0
    return column_panels(layer, layer.input_size)


cdef inline ptrdiff_t weight_parts(Backward *layer) noexcept nogil:
    """Parts of the gradients of the weights."""
    cdef ptrdiff_t parts = 1 + input_parts(layer)
    return parts if layer.d_hidden_weights is NULL else parts + column_panels(layer, layer.state_size)


cdef inline int row_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t part
) noexcept nogil:
    """A part of those of some rows, added to their sums; -1 if a signal's handler raised."""
    cdef ptrdiff_t width = LSTM_MAX_PRODUCT_VECTORS * layer.kernels.lanes
    cdef ptrdiff_t panel = part - 1
    cdef ptrdiff_t panels = input_parts(layer)
    if part == 0:
        return other_gradients(layer, rank, first_row, rows)
    if panel < panels:
        return matrix_gradients(layer, rank, first_row, rows, panel * width, False)
    return matrix_gradients(layer, rank, first_row, rows, (panel - panels) * width, True)


cdef inline int weight_gradients(Backward *layer, const ptrdiff_t *rank, ptrdiff_t part) noexcept nogil:
    """A part of those of all rows, into one sum or each row's into its own; -1 if a handler raised.

    `rank` (batch,) is the place of each of the caller's rows in the record, NULL if that is its number.
    """
    cdef ptrdiff_t row
    if layer.d_bias_stride == 0:
        return row_gradients(layer, rank, 0, layer.batch, part)
    for row in range(layer.batch):
        if row_gradients(layer, rank, row, 1, part) < 0:
            return -1
    return 0
