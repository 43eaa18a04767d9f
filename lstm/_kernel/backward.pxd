# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The backward pass of one layer and direction: its steps from the last to the first, then X and the weights.
from libc.math cimport INFINITY, NAN
from libc.string cimport memcpy, memset

from .backward_types cimport Backward, lstm_f32_backward
from .micro_kernels cimport GATE_COUNT, LSTM_MAX_PRODUCT_VECTORS, lstm_fp_enter, lstm_fp_leave
from .products cimport (
    caller_row,
    cell_output_gradients,
    column_panels,
    hidden_gradients,
    input_gradients,
    project_row,
    step_input_gradients,
    vectors_of,
)
from .signals cimport hear_signals
from .tiles cimport share
from .weight_gradients cimport steps_of, weight_gradients, weight_parts

cdef enum:
    # Rows of one pass: bounds the scratch memory, as in the forward pass.
    BACKWARD_ROWS = 96
    # Rows of the product for d_input, of all steps: their gradients of the gates' sums stay in L2.
    INPUT_ROWS = 96
    # From this many rows on, d_input is computed at every step, which finds its operands in L2.
    STEPWISE_ROWS = 12
    # What a step reads of the record, in elements, below which it stays in L2 until its turn has come.
    PREFETCH_ELEMENTS = 1 << 16
    RECORD_PARTS = 6


cdef inline bint is_stepwise(Backward *layer) noexcept nogil:
    """Whether d_input is computed at every step."""
    return layer.batch >= STEPWISE_ROWS


cdef inline void turn_weights(Backward *layer, bint of_hidden, ptrdiff_t number) noexcept nogil:
    """A panel of hidden_columns or input_columns, (4, H, columns), from packed (P, features, 4, L)."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t features = layer.state_size if of_hidden else layer.input_size
    cdef ptrdiff_t first = number * LSTM_MAX_PRODUCT_VECTORS * lanes
    cdef ptrdiff_t width = vectors_of(layer, features - first) * lanes
    cdef ptrdiff_t count = min(width, features - first)
    cdef ptrdiff_t panel, gate
    packed = layer.hidden_weights if of_hidden else layer.input_weights
    columns = layer.hidden_columns if of_hidden else layer.input_columns
    columns += first * GATE_COUNT * layer.hidden_size
    if count < width:
        memset(columns, 0, GATE_COUNT * layer.hidden_size * width * sizeof(columns[0]))
    for gate in range(GATE_COUNT):
        for panel in range(layer.panels):
            layer.kernels.turn(
                packed + ((panel * features + first) * GATE_COUNT + gate) * lanes,
                GATE_COUNT * lanes,
                count,
                min(lanes, layer.hidden_size - panel * lanes),
                columns + (gate * layer.hidden_size + panel * lanes) * width,
                width,
            )


cdef inline void turn_projection(Backward *layer) noexcept nogil:
    """projection_rows, panels of (O, columns), from the packed projection (groups, H, 4, L)."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t group = LSTM_MAX_PRODUCT_VECTORS * lanes
    cdef ptrdiff_t first = 0
    cdef ptrdiff_t width, count, feature
    rows = layer.projection_rows
    while first < layer.hidden_size:
        width = vectors_of(layer, layer.hidden_size - first) * lanes
        count = min(width, layer.hidden_size - first)
        memset(rows, 0, layer.state_size * width * sizeof(rows[0]))
        feature = 0
        while feature < layer.state_size:
            layer.kernels.turn(
                layer.projection + (feature // group * layer.hidden_size + first) * group + feature % group,
                group,
                count,
                min(lanes, layer.state_size - feature),
                rows + feature * width,
                width,
            )
            feature += lanes
        rows += layer.state_size * width
        first += count


cdef inline ptrdiff_t turned_parts(Backward *layer) noexcept nogil:
    """Parts of what `turn_part` lays out."""
    cdef ptrdiff_t parts = column_panels(layer, layer.state_size) + (layer.projection is not NULL)
    if layer.d_input is not NULL:
        parts += column_panels(layer, layer.input_size)
    return parts


cdef inline void turn_part(Backward *layer, ptrdiff_t part) noexcept nogil:
    """A part of the weights as products take them: a panel of W_h or W_x, or the projection."""
    cdef ptrdiff_t hidden = column_panels(layer, layer.state_size)
    if part < hidden:
        turn_weights(layer, True, part)
    elif layer.projection is NULL:
        turn_weights(layer, False, part - hidden)
    elif part == hidden:
        turn_projection(layer)
    else:
        turn_weights(layer, False, part - hidden - 1)


cdef inline void load_gradients(Backward *layer) noexcept nogil:
    """d_hidden, d_cell (rows, padded) = those of the last states, zeros past O and H."""
    cdef size_t size = sizeof(layer.d_cell[0])
    cdef ptrdiff_t row, from_row
    memset(layer.d_hidden, 0, layer.rows * layer.hidden_width * size)
    memset(layer.d_cell, 0, layer.rows * layer.cell_width * size)
    for row in range(layer.rows):
        from_row = caller_row(layer, layer.first_row + row)
        memcpy(
            layer.d_hidden + row * layer.hidden_width,
            layer.d_state_hidden + from_row * layer.state_size,
            layer.state_size * size,
        )
        memcpy(
            layer.d_cell + row * layer.cell_width,
            layer.d_state_cell + from_row * layer.hidden_size,
            layer.hidden_size * size,
        )


cdef inline void store_gradients(Backward *layer) noexcept nogil:
    """Those of the first states = d_hidden, d_cell, NaNs the contract's; rows of no steps keep theirs."""
    cdef ptrdiff_t row, to_row, k
    for row in range(layer.rows):
        to_row = caller_row(layer, layer.first_row + row)
        if steps_of(layer, to_row) == 0:
            continue
        for k in range(layer.state_size):
            h = layer.d_hidden[row * layer.hidden_width + k]
            layer.d_state_hidden[to_row * layer.state_size + k] = h if h == h else NAN
        for k in range(layer.hidden_size):
            C = layer.d_cell[row * layer.cell_width + k]
            layer.d_state_cell[to_row * layer.hidden_size + k] = C if C == C else NAN


cdef inline void choose_active(Backward *layer, ptrdiff_t moment) noexcept nogil:
    """active: the rows of this pass that have the step, which are the first ones."""
    if layer.lengths is NULL:
        layer.active = layer.rows
        return
    # From step to step their number goes one way.
    while layer.active > 0 and steps_of(layer, layer.order[layer.first_row + layer.active - 1]) <= moment:
        layer.active -= 1
    while layer.active < layer.rows and steps_of(layer, layer.order[layer.first_row + layer.active]) > moment:
        layer.active += 1


cdef inline void point_at_step(Backward *layer, ptrdiff_t moment) noexcept nogil:
    """Let `step` be the cell's at this time, of the active rows."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t place = layer.first_row * layer.record.row_stride + moment
    cdef ptrdiff_t cells = layer.first_row * layer.record.cells_row_stride + moment
    cdef ptrdiff_t first = layer.first_row if layer.order is NULL else 0
    layer.step.rows = layer.active
    layer.step.record.gates = layer.record.gates + place * GATE_COUNT * lanes
    layer.step.record.squashed = layer.record.squashed + place * lanes
    layer.step.record.cells = layer.record.cells + cells * lanes
    if layer.d_output is not NULL:
        layer.step.d_output = (
            layer.d_output + first * layer.d_output_batch_stride + moment * layer.d_output_time_stride
        )
    norms = layer.norms + first * layer.norms_batch_stride + moment
    layer.step.hidden_norms = norms
    layer.step.cell_norms = norms + layer.norms_kind_stride


cdef inline void bound_row(Backward *layer, ptrdiff_t row) noexcept nogil:
    """d_hidden (O,) of a row = 0 where proj_clip cut h."""
    cdef ptrdiff_t feature
    bound = layer.zeros[0]
    if Backward is lstm_f32_backward:
        bound = <float>layer.proj_clip
    else:
        bound = layer.proj_clip
    layer.kernels.cell_output(&layer.step, row, layer.cell_output)
    project_row(layer)
    d_hidden = layer.d_hidden + row * layer.hidden_width
    for feature in range(layer.state_size):
        h = layer.projected[feature]
        if h > bound or h < -bound:
            d_hidden[feature] = 0


cdef inline void back_through_projection(Backward *layer, ptrdiff_t moment) noexcept nogil:
    """d_cell_output = d_hidden with that of the outputs, back through the projection and its bound."""
    cdef ptrdiff_t row, to_row
    d_output = layer.step.d_output
    norms = layer.step.hidden_norms
    for row in range(layer.active):
        to_row = row if layer.order is NULL else layer.order[layer.first_row + row]
        d_hidden = layer.d_hidden + row * layer.hidden_width
        if layer.d_output is not NULL:
            d_output = layer.step.d_output + to_row * layer.d_output_batch_stride
        norms[to_row * layer.norms_batch_stride] = layer.kernels.add_norm(
            d_hidden, d_output, layer.state_size
        )
        if layer.proj_clip < INFINITY:
            bound_row(layer, row)
        if layer.d_hidden_steps is not NULL:
            to_row = caller_row(layer, layer.first_row + row)
            memcpy(
                layer.d_hidden_steps + (to_row * layer.time + moment) * layer.state_size,
                d_hidden,
                layer.state_size * sizeof(layer.d_cell[0]),
            )
    cell_output_gradients(layer)
    layer.step.d_output = layer.step.hidden_norms = NULL


cdef inline int run_steps_back(Backward *layer, ptrdiff_t first, ptrdiff_t end) noexcept nogil:
    """Some steps of the rows of a pass; -1, with an exception set, if a signal's handler raised."""
    cdef ptrdiff_t step, moment
    cdef bint prefetches = layer.rows * layer.panels * RECORD_PARTS * layer.kernels.lanes < PREFETCH_ELEMENTS
    layer.active = 0
    layer.step.order = NULL
    if layer.order is not NULL:
        layer.step.order = layer.order + layer.first_row
    layer.step.d_hidden = layer.d_hidden if layer.projection is NULL else layer.d_cell_output
    layer.step.d_cell = layer.d_cell
    layer.step.d_sums = layer.d_sums
    for step in range(first, end):
        moment = step if layer.reverse else layer.time - 1 - step
        choose_active(layer, moment)
        if layer.active == 0:
            continue
        point_at_step(layer, moment)
        if layer.projection is not NULL:
            back_through_projection(layer, moment)
        layer.step.prefetch = 0
        if prefetches and step + 1 < layer.time:
            layer.step.prefetch = -layer.record.step_stride
        layer.kernels.cell_backward(&layer.step)
        if layer.d_input is not NULL and is_stepwise(layer):
            step_input_gradients(layer, moment)
        hidden_gradients(layer)
        if hear_signals(&layer.slice, layer.active * layer.hidden_size * layer.state_size) < 0:
            return -1
    return 0


cdef inline void clear_padding(Backward *layer, ptrdiff_t first_row, ptrdiff_t end_row) noexcept nogil:
    """d_input (B, T, I) and norms (2, B, T) = 0 past the length of each of some rows of the record."""
    cdef size_t size = sizeof(layer.norms[0])
    cdef ptrdiff_t place, row, steps
    for place in range(first_row, end_row):
        row = caller_row(layer, place)
        steps = steps_of(layer, row)
        norms = layer.norms + row * layer.norms_batch_stride + steps
        memset(norms, 0, (layer.time - steps) * size)
        memset(norms + layer.norms_kind_stride, 0, (layer.time - steps) * size)
        if layer.d_input is not NULL:
            memset(
                layer.d_input + (row * layer.time + steps) * layer.input_size,
                0,
                (layer.time - steps) * layer.input_size * size,
            )


cdef inline int run_input_back(
    Backward *layer, ptrdiff_t row, ptrdiff_t end_row, ptrdiff_t first, ptrdiff_t end
) noexcept nogil:
    """d_input (B, T, I) of some rows and steps; -1, with an exception set, if a signal's handler raised."""
    cdef ptrdiff_t first_moment = first if layer.reverse else layer.time - end
    cdef ptrdiff_t last_moment = end if layer.reverse else layer.time - first
    # Rows of all steps lie one after another, as one long row.
    cdef bint is_whole = layer.lengths is NULL and end - first == layer.time
    cdef ptrdiff_t rows, moment, steps, left
    while row < end_row:
        rows = end_row - row if is_whole else 1
        moment = first_moment
        left = rows * (min(last_moment, steps_of(layer, caller_row(layer, row))) - moment)
        while left > 0:
            steps = share(left, INPUT_ROWS)
            input_gradients(layer, row, moment, steps)
            if hear_signals(&layer.slice, steps * layer.hidden_size * layer.input_size) < 0:
                return -1
            moment += steps
            left -= steps
        row += rows
    return 0


cdef inline int run_passes_back(
    Backward *layer, ptrdiff_t row, ptrdiff_t end_row, ptrdiff_t first, ptrdiff_t end
) noexcept nogil:
    """Some steps of some rows, a pass of a few rows at a time; -1 if a signal's handler raised.

    From the gradients of the states after these steps to those of the states before.
    """
    if first == 0 and layer.lengths is not NULL:
        clear_padding(layer, row, end_row)
    layer.first_row = row
    while layer.first_row < end_row:
        layer.rows = share(end_row - layer.first_row, BACKWARD_ROWS)
        load_gradients(layer)
        if run_steps_back(layer, first, end) < 0:
            return -1
        store_gradients(layer)
        layer.first_row += layer.rows
    return 0


cdef inline int run_backward(Backward *layer, const ptrdiff_t *rank) noexcept nogil:
    """All that is asked for of one layer and direction; -1, with an exception set, if a handler raised."""
    cdef ptrdiff_t part
    cdef int status
    layer.slice.mode = lstm_fp_enter()
    for part in range(turned_parts(layer)):
        turn_part(layer, part)
    status = run_passes_back(layer, 0, layer.batch, 0, layer.time)
    if status == 0 and layer.d_input is not NULL and not is_stepwise(layer):
        status = run_input_back(layer, 0, layer.batch, 0, layer.time)
    for part in range(weight_parts(layer)):
        if status == 0 and layer.d_bias is not NULL:
            status = weight_gradients(layer, rank, part)
    lstm_fp_leave(layer.slice.mode)
    return status
