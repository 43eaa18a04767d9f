# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Batch rows: a pass of some rows at a time, its scratch memory, and the caller's states in and out.
from libc.math cimport NAN
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset

from .int8_tiles cimport integers_width
from .lengths cimport caller_row, ordered_length
from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_CACHE_LINE,
    LSTM_MAX_PANELS,
    LSTM_SUM_BLOCK,
    Pass,
    lstm_f32_pass,
    lstm_fp_enter,
    lstm_fp_leave,
)
from .steps cimport run_layer
from .tiles cimport is_stepwise, share, sums_per_panel
from .wide_inputs cimport can_be_wide, is_wide, wide_elements_of

cdef enum:
    # Sums of a block of steps, in bytes: part of an L2. Fewer steps read the input weights more often:
    # 128 KiB took 7 % longer at H = 1024, B = 1.
    SUMS_BYTES = 256 * 1024
    # The same of a wide input, whose weights no L2 holds: in 18 and 2 steps, not 20, they are read twice.
    WIDE_SUMS_BYTES = 512 * 1024
    # The same if the input weights take at most so many bytes, which stay in L2: the memory of the sums is in
    # no cache after other work, so that less of it takes less time (8, 32, 4, 100 12 %, 40, 128, 1, 100 3 %).
    # At least so many steps, as far as SUMS_BYTES goes: many units with few inputs are not done step by step.
    SMALL_WEIGHTS_BYTES = 128 * 1024
    SMALL_SUMS_BYTES = 64 * 1024
    SMALL_SUMS_STEPS = 16
    # Batch rows of one pass: bounds the scratch memory; more rows would gain little by sharing weights.
    PASS_ROWS = 96
    # From this many batch rows on, the x half is done step by step: a panel's weights are then used by
    # enough rows, and the sums of one panel stay in L1.
    STEPWISE_ROWS = 16


cdef inline ptrdiff_t cell_elements(Pass *layer) noexcept nogil:
    """Elements of C, (rows, P L)."""
    return layer.rows * layer.panels * layer.kernels.lanes


cdef inline ptrdiff_t gathered_elements(Pass *layer) noexcept nogil:
    """Elements of `gathered`."""
    if is_wide(layer):
        return wide_elements_of(layer)
    return 0 if layer.order is NULL else layer.block_time * layer.rows * layer.input_size


cdef inline ptrdiff_t wide_elements(Pass *layer) noexcept nogil:
    """Elements of `wide`."""
    return 0 if layer.narrow is NULL else LSTM_SUM_BLOCK * GATE_COUNT * layer.kernels.lanes


cdef inline ptrdiff_t int8_elements(Pass *layer) noexcept nogil:
    """Elements that x of a block of steps, h and their scales take as int8, in whole cache lines.

    One row more of h: a row alone has it before and after a step.
    """
    cdef ptrdiff_t size = sizeof(layer.cell[0])
    cdef ptrdiff_t inputs = layer.block_time * layer.rows
    cdef ptrdiff_t taken
    if layer.int8 is NULL:
        return 0
    taken = inputs * integers_width(layer, layer.input_size)
    taken += (layer.rows + 1) * integers_width(layer, layer.state_size)
    taken += (inputs + layer.rows) * <ptrdiff_t>sizeof(float)
    return (taken + LSTM_CACHE_LINE - 1) // LSTM_CACHE_LINE * LSTM_CACHE_LINE // size


cdef inline void choose_blocks(Pass *layer, ptrdiff_t batch) noexcept nogil:
    """rows: of a pass; block_time: as many steps as SUMS_BYTES or the others hold sums of, or one."""
    cdef ptrdiff_t size = sizeof(layer.cell[0])
    cdef ptrdiff_t step_bytes, sums_bytes
    layer.rows = layer.batch = share(batch, PASS_ROWS)
    layer.block_time = 1
    if layer.time == 1 or layer.rows >= STEPWISE_ROWS:
        return
    step_bytes = layer.panels * sums_per_panel(layer) * size
    if layer.order is not NULL or layer.int8 is not NULL:
        step_bytes = max(step_bytes, layer.rows * layer.input_size * size)
    # Never less for more steps: a team's memory is that of its longest part.
    sums_bytes = WIDE_SUMS_BYTES if can_be_wide(layer) else SUMS_BYTES
    if layer.panels * GATE_COUNT * layer.kernels.lanes * layer.input_size * size <= SMALL_WEIGHTS_BYTES:
        sums_bytes = min(sums_bytes, max(SMALL_SUMS_BYTES, SMALL_SUMS_STEPS * step_bytes))
    layer.block_time = max(1, min(layer.time, sums_bytes // step_bytes))


cdef inline size_t scratch_bytes(Pass *layer) noexcept nogil:
    """Bytes of all that `bind_scratch` hands out, in a pass of the most rows of a call."""
    cdef size_t elements = cell_elements(layer) + 2 * layer.rows * layer.state_width
    cdef ptrdiff_t sums_panels = min(layer.panels, LSTM_MAX_PANELS)
    if layer.projection_panels > 0:
        elements += cell_elements(layer) + GATE_COUNT * layer.kernels.lanes
    if layer.recurrent is not NULL:
        elements += layer.rows * layer.state_width
    if not is_stepwise(layer):
        sums_panels = layer.block_time * layer.panels
    elements += sums_panels * sums_per_panel(layer) + gathered_elements(layer)
    elements += wide_elements(layer) + int8_elements(layer)
    return elements * sizeof(layer.cell[0]) + LSTM_CACHE_LINE


cdef inline void *aligned(char *memory) noexcept nogil:
    """The first cache line's start in `memory`, which is one line longer than needed."""
    return memory + (LSTM_CACHE_LINE - <uintptr_t>memory % LSTM_CACHE_LINE) % LSTM_CACHE_LINE


cdef inline void bind_scratch(Pass *layer, char *memory) noexcept nogil:
    """Point `layer` at its parts of the scratch memory, for the rows of this pass."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    if Pass is lstm_f32_pass:
        layer.wide = <float *>aligned(memory)
    else:
        layer.wide = <double *>aligned(memory)
    layer.cell = layer.wide + wide_elements(layer)
    layer.hidden = layer.cell + cell_elements(layer)
    layer.hidden_next = layer.hidden + layer.rows * layer.state_width
    layer.sums = layer.hidden_next + layer.rows * layer.state_width
    if layer.projection_panels > 0:
        layer.zeros = layer.sums
        layer.cell_output = layer.zeros + vectors
        layer.sums = layer.cell_output + cell_elements(layer)
        memset(layer.zeros, 0, vectors * sizeof(layer.cell[0]))
    if layer.recurrent is not NULL:
        layer.masked = layer.sums
        layer.sums += layer.rows * layer.state_width
    layer.gathered = layer.sums
    layer.sums += gathered_elements(layer)
    if layer.int8 is not NULL:
        layer.input_integers = <char *>layer.sums
        layer.hidden_integers = layer.input_integers + (
            layer.block_time * layer.rows * integers_width(layer, layer.input_size)
        )
        layer.integer_scales = <float *>(
            layer.hidden_integers + (layer.rows + 1) * integers_width(layer, layer.state_size)
        )
        layer.hidden_integer_scales = layer.integer_scales + layer.block_time * layer.rows
        layer.sums += int8_elements(layer)


cdef inline void load_states(Pass *layer) noexcept nogil:
    """hidden, cell (rows, padded) = the caller's states, what is past H and O zero."""
    cdef ptrdiff_t cell_width = layer.panels * layer.kernels.lanes
    cdef ptrdiff_t row, from_row
    cdef size_t size = sizeof(layer.cell[0])
    memset(layer.cell, 0, layer.rows * cell_width * size)
    memset(layer.hidden, 0, layer.rows * layer.state_width * size)
    for row in range(layer.rows):
        from_row = caller_row(layer, row)
        memcpy(
            layer.hidden + row * layer.state_width,
            layer.state_hidden + from_row * layer.state_size,
            layer.state_size * size,
        )
        memcpy(
            layer.cell + row * cell_width,
            layer.state_cell + from_row * layer.hidden_size,
            layer.hidden_size * size,
        )
        if layer.record.gates is not NULL:
            record_first_cell(layer, row)


cdef inline void record_first_cell(Pass *layer, ptrdiff_t row) noexcept nogil:
    """C before the first step of a row, to its place in the record."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t step = 0
    cdef ptrdiff_t panel
    if layer.reverse:
        step = layer.time if layer.order is NULL else ordered_length(layer, row)
    for panel in range(layer.panels):
        memcpy(
            layer.record.cells
            + (panel * layer.record.cells_panel_stride + row * layer.record.cells_row_stride + step) * lanes,
            layer.cell + (row * layer.panels + panel) * lanes,
            lanes * sizeof(layer.cell[0]),
        )


cdef inline void store_states(Pass *layer) noexcept nogil:
    """The caller's states = hidden, cell (rows, padded), every NaN made the one NaN of the contract.

    The states of a row of no steps stay as they are, bit for bit.
    """
    cdef ptrdiff_t cell_width = layer.panels * layer.kernels.lanes
    cdef ptrdiff_t row, to_row, unit
    for row in range(layer.rows):
        to_row = caller_row(layer, row)
        if layer.order is not NULL and ordered_length(layer, row) == 0:
            continue
        for unit in range(layer.state_size):
            h = layer.hidden[row * layer.state_width + unit]
            layer.state_hidden[to_row * layer.state_size + unit] = h if h == h else NAN
        for unit in range(layer.hidden_size):
            C = layer.cell[row * cell_width + unit]
            layer.state_cell[to_row * layer.hidden_size + unit] = C if C == C else NAN


cdef inline void next_rows(Pass *layer) noexcept nogil:
    """Go on to the rows after those of this pass."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    if layer.record.gates is not NULL:
        layer.record.gates += layer.rows * layer.record.row_stride * GATE_COUNT * lanes
        layer.record.cells += layer.rows * layer.record.cells_row_stride * lanes
        layer.record.squashed += layer.rows * layer.record.row_stride * lanes
    if layer.order is not NULL:
        layer.order += layer.rows
        return
    layer.input += layer.rows * layer.input_batch_stride
    if layer.output is not NULL:
        layer.output += layer.rows * layer.output_batch_stride
    if layer.trace is not NULL:
        layer.trace += layer.rows * layer.trace_batch_stride
    layer.state_hidden += layer.rows * layer.state_size
    layer.state_cell += layer.rows * layer.hidden_size


cdef inline int run_passes(Pass *layer, char *memory, ptrdiff_t batch) noexcept nogil:
    """All rows of a call that `prepare` has filled in, a pass of a few at a time.

    Returns -1, with an exception set, if a signal's handler raised meanwhile.
    """
    cdef ptrdiff_t left = batch
    cdef int status = 0
    layer.slice.mode = lstm_fp_enter()
    while left > 0 and status == 0:
        layer.rows = layer.batch = share(left, PASS_ROWS)
        bind_scratch(layer, memory)
        load_states(layer)
        status = run_layer(layer)
        store_states(layer)
        next_rows(layer)
        left -= layer.rows
    lstm_fp_leave(layer.slice.mode)
    return status
