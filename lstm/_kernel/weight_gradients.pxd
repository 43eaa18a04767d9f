# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Gradients of the weights: sums over the rows and steps of a pass.
#
# Row by row, in the caller's order; a row's steps ascend in time, in blocks of at most 128, each summed from
# zero and added to the running sum. So the gradients of a batch are the sum of its rows', bit for bit.
from libc.string cimport memcpy, memset

from .backward_types cimport Backward
from .micro_kernels cimport GATE_COUNT, LSTM_SUM_BLOCK
from .products cimport row_tiles, set_columns, vectors_of
from .signals cimport hear_signals
from .tiles cimport share

cdef enum:
    # Features up to which units are the columns of a product: so few would leave most lanes empty.
    FEW_FEATURES = 8


cdef inline ptrdiff_t steps_of(Backward *layer, ptrdiff_t caller_row) noexcept nogil:
    """Steps of a row of the caller."""
    return layer.time if layer.lengths is NULL else layer.lengths[caller_row]


cdef inline void copy_features(
    Backward *layer, ptrdiff_t row, ptrdiff_t step, ptrdiff_t steps, ptrdiff_t feature, ptrdiff_t count,
    ptrdiff_t width, bint of_hidden,
) noexcept nogil:
    """gathered (steps, width) = some features of x or of h before each step, zeros past `count`."""
    cdef size_t size = sizeof(layer.gathered[0])
    cdef ptrdiff_t moment, k, before
    cdef ptrdiff_t first = steps_of(layer, row) - 1 if layer.reverse else 0
    for moment in range(step, step + steps):
        place = layer.gathered + (moment - step) * width
        if not of_hidden:
            source = layer.input + row * layer.input_batch_stride + moment * layer.input_time_stride
        elif moment == first:
            source = layer.first_hidden + row * layer.state_size
        else:
            before = moment + 1 if layer.reverse else moment - 1
            source = layer.output + row * layer.output_batch_stride + before * layer.output_time_stride
        memcpy(place, source + feature, count * size)
        if of_hidden and layer.recurrent is not NULL:
            for k in range(count):
                place[k] *= layer.recurrent[row * layer.state_size + feature + k]
        if count < width:
            memset(place + count, 0, (width - count) * size)


cdef inline void unit_tiles(
    Backward *layer, ptrdiff_t place, ptrdiff_t width, ptrdiff_t vectors, ptrdiff_t depth, bint is_last
) noexcept nogil:
    """Sums (4, H, columns) += dz (depth, 4, H) of a block of steps . gathered (depth, width): all units.

    `place` is that of the block's first step in the record. From the sums in `layer.product` on.
    """
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t panel, gate, unit
    sums = layer.product.sums
    layer.product.depth = layer.product.chunk = depth
    layer.product.chunk_stride = 0
    layer.product.input_row_stride = 1
    layer.product.input_k_stride = GATE_COUNT * lanes
    layer.product.weights = layer.gathered
    layer.product.weights_k_stride = width
    layer.product.prefetch = layer.gathered
    layer.product.start_row_stride = layer.product.sums_row_stride
    layer.product.is_last = is_last
    for panel in range(layer.panels):
        gates = layer.record.gates + (panel * layer.record.panel_stride + place) * GATE_COUNT * lanes
        for gate in range(GATE_COUNT):
            layer.product.input = gates + gate * lanes
            unit = gate * layer.hidden_size + panel * lanes
            layer.product.sums = sums + unit * layer.product.sums_row_stride
            layer.product.start = layer.product.sums
            row_tiles(layer, min(lanes, layer.hidden_size - panel * lanes), vectors)


cdef inline int matrix_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows, bint of_hidden
) noexcept nogil:
    """d_input_weights (4, H, I) or d_hidden_weights (4, H, O) of some rows; -1 if a handler raised."""
    cdef ptrdiff_t features = layer.state_size if of_hidden else layer.input_size
    cdef ptrdiff_t feature = 0
    cdef ptrdiff_t vectors, count, row, step, depth, steps, stride
    sums = layer.d_hidden_weights if of_hidden else layer.d_input_weights
    stride = layer.d_hidden_weights_stride if of_hidden else layer.d_input_weights_stride
    layer.product.sums_row_stride = features
    while feature < features:
        vectors = vectors_of(layer, features - feature)
        count = min(features - feature, vectors * layer.kernels.lanes)
        set_columns(layer, count, vectors)
        for row in range(first_row, first_row + rows):
            steps = steps_of(layer, row)
            step = 0
            while step < steps:
                depth = min(LSTM_SUM_BLOCK, steps - step)
                copy_features(
                    layer, row, step, depth, feature, count, vectors * layer.kernels.lanes, of_hidden
                )
                layer.product.sums = sums + row * stride + feature
                unit_tiles(
                    layer,
                    (row if rank is NULL else rank[row]) * layer.record.row_stride + step,
                    vectors * layer.kernels.lanes,
                    vectors,
                    depth,
                    step + depth == steps,
                )
                if hear_signals(&layer.slice, depth * layer.hidden_size * count) < 0:
                    return -1
                step += depth
        feature += count
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
    layer.product.input_row_stride = 0 if of_bias else 1
    layer.product.input_k_stride = 0 if of_bias else layer.input_time_stride
    layer.product.chunk_stride = 0
    layer.product.weights_k_stride = vectors
    layer.product.start_row_stride = layer.product.sums_row_stride = vectors
    layer.product.last_lanes = lanes
    for panel in range(layer.panels):
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
                layer.product.is_last = step + depth == steps
                row_tiles(layer, features, GATE_COUNT)
                if hear_signals(&layer.slice, depth * features * lanes) < 0:
                    return -1
                step += depth
    return 0


cdef inline void pack_sums(Backward *layer, ptrdiff_t features, bint of_bias, ptrdiff_t row) noexcept nogil:
    """packed (P, features, 4, L) = the caller's sums (4, H, features) of a row, or of all."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t gate, unit, feature
    sums = layer.d_input_weights + row * layer.d_input_weights_stride
    if of_bias:
        sums = layer.d_bias + row * layer.d_bias_stride
    memset(layer.packed, 0, layer.panels * features * GATE_COUNT * lanes * sizeof(layer.packed[0]))
    for gate in range(GATE_COUNT):
        for unit in range(layer.hidden_size):
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
        for unit in range(layer.hidden_size):
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
    for panel in range(layer.panels):
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
            layer.product.is_last = step + depth == steps
            for panel in range(layer.panels):
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


cdef inline int row_gradients(
    Backward *layer, const ptrdiff_t *rank, ptrdiff_t first_row, ptrdiff_t rows
) noexcept nogil:
    """Those of all weights of some rows, added to their sums; -1 if a signal's handler raised."""
    cdef int status = few_feature_gradients(layer, rank, first_row, rows, True)
    if status == 0 and layer.input_size <= FEW_FEATURES:
        status = few_feature_gradients(layer, rank, first_row, rows, False)
    elif status == 0:
        status = matrix_gradients(layer, rank, first_row, rows, False)
    if status == 0:
        status = matrix_gradients(layer, rank, first_row, rows, True)
    if status == 0 and layer.d_peephole is not NULL:
        status = peephole_gradients(layer, rank, first_row, rows)
    if status == 0 and layer.d_projection is not NULL:
        status = projection_gradients(layer, rank, first_row, rows)
    return status


cdef inline int weight_gradients(Backward *layer, const ptrdiff_t *rank) noexcept nogil:
    """Those of all rows, into one sum or each row's into its own; -1 if a signal's handler raised.

    `rank` (batch,) is the place of each of the caller's rows in the record, NULL if that is its number.
    """
    cdef ptrdiff_t row
    if layer.d_bias_stride == 0:
        return row_gradients(layer, rank, 0, layer.batch)
    for row in range(layer.batch):
        if row_gradients(layer, rank, row, 1) < 0:
            return -1
    return 0
