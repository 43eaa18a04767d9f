# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
"""The native LSTM: the time loop and the tiles, over the micro-kernels of csrc/.

    forward_sequence          checks, scratch memory, the thread's floating-point mode
      run_layer                 time, in blocks of steps
        input_products            x half of all gates, for a block of steps at once
        hidden_products           h half, then the cell update
          kernels.gates / .step     one register tile, in C

Shapes: B batch, T time, I input, H hidden, L lanes, P = ceil(H / L) panels. The layouts of weights, sums
and states are drawn in csrc/lstm_kernels.h.
"""
cimport cython
cimport numpy as cnp
from libc.math cimport NAN
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

import os

from ._micro_kernels cimport (
    GATE_COUNT,
    LSTM_CACHE_LINE,
    LSTM_ISA_COUNT,
    LSTM_MAX_PANELS,
    LSTM_SUM_BLOCK,
    lstm_f32_kernels,
    lstm_f32_pass,
    lstm_f64_kernels,
    lstm_f64_pass,
    lstm_fp_default,
    lstm_fp_enter,
    lstm_fp_leave,
    lstm_fp_read,
    lstm_isa_at,
    lstm_isa_supported,
)

cnp.import_array()


ctypedef fused Real:
    float
    double

ctypedef fused Pass:
    lstm_f32_pass
    lstm_f64_pass

cdef enum:
    # Sums of a block of steps, in bytes: part of an L2. Fewer steps read the input weights more often:
    # 128 KiB took 7 % longer at H = 1024, B = 1.
    SUMS_BYTES = 256 * 1024
    # Recurrent weights of a tile of one row, in bytes: few enough for the next step to find some in L1. Two
    # panels of 32 KiB instead of one took 7 % longer (H = 128), one of 16 KiB instead of two 13 % (H = 64).
    TILE_BYTES = 32 * 1024
    # Batch rows of one pass: bounds the scratch memory; more rows would gain little by sharing weights.
    PASS_ROWS = 96
    # From this many batch rows on, the x half is done step by step: a panel's weights are then used by
    # enough rows, and the sums of one panel stay in L1.
    STEPWISE_ROWS = 16
    # Multiply-adds of a gate below which a call keeps the GIL.
    SHORT_CALL = 1 << 14


# ---- ISAs

def _isa_names(supported):
    names = []
    for index in range(LSTM_ISA_COUNT):
        if not supported or lstm_isa_supported(index):
            names.append(lstm_isa_at(index).name.decode())
    return tuple(names)


KNOWN_ISAS = _isa_names(False)
SUPPORTED_ISAS = _isa_names(True)


def _default_isa():
    forced = os.environ.get("LSTM_ISA")
    if not forced:
        return SUPPORTED_ISAS[-1]
    if forced not in SUPPORTED_ISAS:
        reason = "not run by this CPU" if forced in KNOWN_ISAS else "unknown"
        raise ValueError(
            f"the environment variable LSTM_ISA is {forced!r}, which is {reason}; "
            f"this machine has {', '.join(SUPPORTED_ISAS)}"
        )
    return forced


DEFAULT_ISA = _default_isa()


cdef int isa_index(isa) except -1:
    if isa not in SUPPORTED_ISAS:
        raise ValueError(f"isa is {isa!r}, but this machine has {', '.join(SUPPORTED_ISAS)}")
    return KNOWN_ISAS.index(isa)


cdef const lstm_f32_kernels *f32_kernels(isa) except NULL:
    return lstm_isa_at(isa_index(isa)).f32


cdef const lstm_f64_kernels *f64_kernels(isa) except NULL:
    return lstm_isa_at(isa_index(isa)).f64


def lanes(isa, dtype):
    """Units in one vector of `isa` for "float32" or "float64"."""
    return tile_limits(isa, dtype)[0]


def tile_limits(isa, dtype):
    """(lanes, rows of the tallest tile, panels of the widest tile) for "float32" or "float64"."""
    if dtype == "float32":
        f32 = f32_kernels(isa)
        return f32.lanes, f32.row_tile, f32.panel_tile
    if dtype == "float64":
        f64 = f64_kernels(isa)
        return f64.lanes, f64.row_tile, f64.panel_tile
    raise ValueError(f"dtype is {dtype!r}, but must be 'float32' or 'float64'")


def floating_point_mode():
    """The calling thread's floating-point control and status bits."""
    return lstm_fp_read()


def enter_default_mode():
    """Set the calling thread's floating-point mode to the usual one, flags clear; returns what it was."""
    return lstm_fp_default()


def restore_mode(uint64_t found):
    """Set the calling thread's floating-point mode and flags to what `enter_default_mode` returned."""
    lstm_fp_leave(found)


# ---- weights

cdef const void *address(const Real[:, :, :, ::1] array) noexcept:
    return &array[0, 0, 0, 0]


@cython.final
cdef class PackedWeights:
    """One layer's weights in the layout of the micro-kernels, made by `params.pack`.

    input (P, I, 4, L), hidden (P, H, 4, L), bias (P, 4, L), of one dtype.
    """
    cdef readonly object input
    cdef readonly object hidden
    cdef readonly object bias
    cdef readonly object isa
    cdef readonly Py_ssize_t input_size
    cdef readonly Py_ssize_t hidden_size
    cdef readonly bint is_double
    cdef int index
    cdef const void *input_data
    cdef const void *hidden_data
    cdef const void *bias_data

    def __cinit__(self, input, hidden, bias, Py_ssize_t hidden_size, isa):
        self.index = isa_index(isa)
        self.isa = isa
        self.is_double = bias.dtype == "float64"
        self.input_size = input.shape[1]
        self.hidden_size = hidden_size
        panel_lanes = lanes(isa, bias.dtype.name)
        panels = -(-hidden_size // panel_lanes)
        for name, array, shape in (
            ("input", input, (panels, self.input_size, GATE_COUNT, panel_lanes)),
            ("hidden", hidden, (panels, hidden_size, GATE_COUNT, panel_lanes)),
            ("bias", bias, (panels, GATE_COUNT, panel_lanes)),
        ):
            if array.shape != shape or 0 in shape:
                raise ValueError(f"packed {name} has shape {array.shape}, but must be {shape}")
        if self.is_double:
            self.input_data = address[double](input)
            self.hidden_data = address[double](hidden)
            self.bias_data = address[double](bias[None])
        else:
            self.input_data = address[float](input)
            self.hidden_data = address[float](hidden)
            self.bias_data = address[float](bias[None])
        self.input, self.hidden, self.bias = input, hidden, bias
        for array in (input, hidden, bias):
            array.flags.writeable = False

    def __reduce__(self):
        raise TypeError("PackedWeights belong to this machine's ISA; pickle params.unpack(…) instead")


# ---- the loops

cdef inline ptrdiff_t share(ptrdiff_t left, ptrdiff_t largest) noexcept nogil:
    """The next of the fewest, near-equal parts of at most `largest` that make up `left`."""
    cdef ptrdiff_t parts = (left + largest - 1) // largest
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


cdef inline ptrdiff_t prefetch_part(Pass *layer, ptrdiff_t row) noexcept nogil:
    """Offset of the part of the next block of weights that the tile from `row` on brings into L2.

    A tile brings one cache line at each k, a row of a panel has several: so many tiles share the block.
    """
    cdef ptrdiff_t size = sizeof(layer.cell[0])
    cdef ptrdiff_t parts = GATE_COUNT * layer.kernels.lanes * size // LSTM_CACHE_LINE
    cdef ptrdiff_t part = min(row // layer.kernels.row_tile, max(0, parts - 1))
    return part * layer.tile.depth * (LSTM_CACHE_LINE // size)


cdef void input_tiles(
    Pass *layer, ptrdiff_t first_step, ptrdiff_t steps, ptrdiff_t panel, ptrdiff_t panels, ptrdiff_t k
) noexcept nogil:
    """sums (steps, panels, B, 4, L) += X[:, first_step:, k:k + depth] . weights, in tiles of rows.

    The rows of a tile are batch rows or, where there are few of those, the steps of one batch row.
    """
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t step_sums = layer.panels * sums_per_panel(layer)
    cdef bint tile_steps = steps > 1 and layer.batch < layer.kernels.row_tile
    cdef ptrdiff_t outer, row, rows, batch_row, step
    cdef ptrdiff_t outer_end = layer.batch if tile_steps else steps
    cdef ptrdiff_t row_end = steps if tile_steps else layer.batch
    layer.tile.input_row_stride = (
        layer.input_time_stride if tile_steps else layer.input_batch_stride
    )
    layer.tile.sums_row_stride = step_sums if tile_steps else vectors
    next_weights = layer.tile.weights + layer.tile.depth * vectors
    if k + layer.tile.depth >= layer.input_size:
        next_weights = layer.hidden_weights + panel * layer.hidden_size * vectors
    if k > 0:
        layer.tile.start_row_stride = layer.tile.sums_row_stride
    for outer in range(outer_end):
        row = 0
        while row < row_end:
            rows = share(row_end - row, layer.kernels.row_tile)
            batch_row = outer if tile_steps else row
            step = row if tile_steps else outer
            layer.tile.prefetch = next_weights + prefetch_part(layer, row)
            layer.tile.input = (
                layer.input
                + batch_row * layer.input_batch_stride
                + (first_step + step) * layer.input_time_stride
                + k
            )
            layer.tile.sums += step * step_sums + batch_row * vectors
            if k > 0:
                layer.tile.start = layer.tile.sums
            layer.kernels.gates[rows][panels](&layer.tile)
            layer.tile.sums -= step * step_sums + batch_row * vectors
            row += rows


cdef void input_products(
    Pass *layer, ptrdiff_t first_step, ptrdiff_t steps, ptrdiff_t panel, ptrdiff_t panels
) noexcept nogil:
    """sums (steps, panels, B, 4, L) = bias + X[:, first_step:first_step + steps] . input weights.

    Over many rows, k goes in blocks: a panel's block of weights stays in L1 while all rows use it.
    """
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t panel_weights = layer.input_size * vectors
    cdef ptrdiff_t k = 0
    cdef ptrdiff_t block = LSTM_SUM_BLOCK if steps * layer.batch > 1 else layer.input_size
    layer.tile.weights_panel_stride = panel_weights
    layer.tile.sums_panel_stride = sums_per_panel(layer)
    layer.tile.sums = layer.sums
    if not is_stepwise(layer):
        layer.tile.sums += panel * sums_per_panel(layer)
    layer.tile.start = layer.bias + panel * vectors
    layer.tile.start_row_stride = 0
    layer.tile.start_panel_stride = vectors
    while k < layer.input_size:
        layer.tile.depth = min(block, layer.input_size - k)
        layer.tile.weights = layer.input_weights + panel * panel_weights + k * vectors
        input_tiles(layer, first_step, steps, panel, panels, k)
        layer.tile.start_panel_stride = layer.tile.sums_panel_stride
        k += block


cdef void hidden_products(
    Pass *layer, ptrdiff_t step, ptrdiff_t block_step, ptrdiff_t panel, ptrdiff_t panels, ptrdiff_t next_panel
) noexcept nogil:
    """cell, hidden_next, output[:, step] of some panels = one step from sums + h . hidden weights."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t vectors = GATE_COUNT * lanes
    cdef ptrdiff_t panel_weights = layer.hidden_size * vectors
    cdef ptrdiff_t state_stride = layer.panels * lanes
    cdef ptrdiff_t sums_offset = 0
    cdef ptrdiff_t k = 0
    cdef ptrdiff_t row, rows
    cdef ptrdiff_t block = LSTM_SUM_BLOCK if layer.batch > 1 else layer.hidden_size
    if not is_stepwise(layer):
        sums_offset = (block_step * layer.panels + panel) * sums_per_panel(layer)
    layer.tile.input_row_stride = state_stride
    layer.tile.weights_panel_stride = panel_weights
    layer.tile.start_row_stride = vectors
    layer.tile.start_panel_stride = sums_per_panel(layer)
    layer.tile.sums_row_stride = vectors
    layer.tile.sums_panel_stride = sums_per_panel(layer)
    layer.tile.state_row_stride = state_stride
    layer.tile.output_row_stride = layer.output_batch_stride
    layer.tile.output_units = layer.hidden_size - panel * lanes
    while k < layer.hidden_size:
        layer.tile.depth = min(block, layer.hidden_size - k)
        layer.tile.weights = layer.hidden_weights + panel * panel_weights + k * vectors
        next_weights = layer.tile.weights + layer.tile.depth * vectors
        if k + block >= layer.hidden_size:
            next_weights = layer.hidden_weights + next_panel * panel_weights
            if is_stepwise(layer):
                next_weights = layer.input_weights + next_panel * layer.input_size * vectors
        row = 0
        while row < layer.batch:
            rows = share(layer.batch - row, layer.kernels.row_tile)
            layer.tile.input = layer.hidden + row * state_stride + k
            layer.tile.prefetch = next_weights + prefetch_part(layer, row)
            layer.tile.sums = layer.sums + sums_offset + row * vectors
            layer.tile.start = layer.tile.sums
            if k + block < layer.hidden_size:
                layer.kernels.gates[rows][panels](&layer.tile)
            else:
                layer.tile.cell = layer.cell + row * state_stride + panel * lanes
                layer.tile.hidden = layer.hidden_next + row * state_stride + panel * lanes
                if layer.output is not NULL:
                    layer.tile.output = (
                        layer.output
                        + row * layer.output_batch_stride
                        + step * layer.output_time_stride
                        + panel * lanes
                    )
                layer.kernels.step[rows][panels](&layer.tile)
            row += rows
        k += block


cdef void run_layer(Pass *layer) noexcept nogil:
    """All time steps of one pass: output (B, T, H), and hidden and cell (B, P L) as after the last step."""
    cdef ptrdiff_t first_step = 0
    cdef ptrdiff_t block_step, steps, panel, panels, next_panel, done
    cdef bint forward = True
    layer.tile.output = NULL
    while first_step < layer.time:
        steps = min(layer.block_time, layer.time - first_step)
        if not is_stepwise(layer):
            for panel in range(layer.panels):
                input_products(layer, first_step, steps, panel, 1)
        for block_step in range(steps):
            # Panels are walked forward at one step and backward at the next: what the caches still hold of
            # the weights is used again.
            done = 0
            while done < layer.panels:
                panels = tile_panels(layer, layer.panels - done)
                panel = done if forward else layer.panels - done - panels
                if is_stepwise(layer):
                    input_products(layer, first_step + block_step, 1, panel, panels)
                next_panel = min(panel + 1, layer.panels - 1) if forward else max(panel - 1, 0)
                hidden_products(layer, first_step + block_step, block_step, panel, panels, next_panel)
                done += panels
            forward = not forward
            layer.hidden, layer.hidden_next = layer.hidden_next, layer.hidden
        first_step += steps


# ---- one call

cdef struct Rows:
    # A (B, T, K) array of either dtype whose last axis is contiguous; strides in elements.
    void *data
    ptrdiff_t batch_stride
    ptrdiff_t time_stride


cdef Rows rows_of(const Real[:, :, :] array, name) except *:
    cdef Rows rows
    cdef ptrdiff_t size = sizeof(Real)
    if array.shape[2] > 1 and array.strides[2] != size:
        raise ValueError(f"{name} has strides on its last axis; make it contiguous there")
    if array.strides[0] % size or array.strides[1] % size or <uintptr_t>&array[0, 0, 0] % size:
        raise ValueError(f"{name} is not aligned to its elements")
    rows.data = <void *>&array[0, 0, 0]
    rows.batch_stride = array.strides[0] // size
    rows.time_stride = array.strides[1] // size
    return rows


cdef size_t scratch_elements(Pass *layer) noexcept nogil:
    """Elements of the sums (steps, P or a tile's panels, B, 4, L) and of three states (B, P L)."""
    cdef size_t states = 3 * layer.batch * layer.panels * layer.kernels.lanes
    cdef ptrdiff_t sums_panels = min(layer.panels, LSTM_MAX_PANELS)
    if not is_stepwise(layer):
        sums_panels = layer.block_time * layer.panels
    return states + sums_panels * sums_per_panel(layer)


cdef void choose_blocks(Pass *layer, size_t element_size) noexcept nogil:
    """block_time: as many steps as SUMS_BYTES holds sums of, or one; row_panels: what TILE_BYTES holds."""
    cdef ptrdiff_t vector_bytes = layer.kernels.lanes * element_size
    cdef ptrdiff_t fitting = TILE_BYTES // (GATE_COUNT * vector_bytes * layer.hidden_size)
    # A panel's four chains read a vector a cycle: what L2 yields if that is a cache line, else too little.
    cdef ptrdiff_t needed = LSTM_CACHE_LINE // vector_bytes
    cdef ptrdiff_t step_bytes = layer.panels * sums_per_panel(layer) * element_size
    layer.block_time = 1
    if layer.batch < STEPWISE_ROWS:
        layer.block_time = max(1, min(layer.time, SUMS_BYTES // step_bytes))
    layer.row_panels = min(layer.kernels.panel_tile, max(needed, fitting))


cdef inline void *aligned(char *memory) noexcept nogil:
    """The first cache line's start in `memory`, which is one line longer than needed."""
    return memory + (LSTM_CACHE_LINE - <uintptr_t>memory % LSTM_CACHE_LINE) % LSTM_CACHE_LINE


cdef void bind_rows(
    Pass *layer, PackedWeights weights, Rows X, void *h, void *C, Rows Y, char *memory, ptrdiff_t row
) noexcept nogil:
    """Point `layer` at batch rows from `row` on, at the weights, and at its parts of the scratch memory."""
    cdef ptrdiff_t padded = layer.batch * layer.panels * layer.kernels.lanes
    if Pass is lstm_f32_pass:
        layer.input_weights = <const float *>weights.input_data
        layer.hidden_weights = <const float *>weights.hidden_data
        layer.bias = <const float *>weights.bias_data
        layer.input = <const float *>X.data
        layer.output = <float *>Y.data
        layer.state_hidden = <float *>h
        layer.state_cell = <float *>C
        layer.cell = <float *>aligned(memory)
    else:
        layer.input_weights = <const double *>weights.input_data
        layer.hidden_weights = <const double *>weights.hidden_data
        layer.bias = <const double *>weights.bias_data
        layer.input = <const double *>X.data
        layer.output = <double *>Y.data
        layer.state_hidden = <double *>h
        layer.state_cell = <double *>C
        layer.cell = <double *>aligned(memory)
    layer.input += row * X.batch_stride
    if layer.output is not NULL:
        layer.output += row * Y.batch_stride
    layer.state_hidden += row * layer.hidden_size
    layer.state_cell += row * layer.hidden_size
    layer.hidden = layer.cell + padded
    layer.hidden_next = layer.hidden + padded
    layer.sums = layer.hidden_next + padded


cdef void load_states(Pass *layer) noexcept nogil:
    """hidden, cell (B, P L) = the caller's (B, H), the units past H zero."""
    cdef ptrdiff_t padded = layer.panels * layer.kernels.lanes
    cdef ptrdiff_t row
    cdef size_t size = sizeof(layer.cell[0])
    memset(layer.cell, 0, layer.batch * padded * size)
    memset(layer.hidden, 0, layer.batch * padded * size)
    for row in range(layer.batch):
        memcpy(
            layer.hidden + row * padded,
            layer.state_hidden + row * layer.hidden_size,
            layer.hidden_size * size,
        )
        memcpy(
            layer.cell + row * padded, layer.state_cell + row * layer.hidden_size, layer.hidden_size * size
        )


cdef void store_states(Pass *layer) noexcept nogil:
    """The caller's (B, H) = hidden, cell (B, P L), every NaN made the one NaN of the contract."""
    cdef ptrdiff_t padded = layer.panels * layer.kernels.lanes
    cdef ptrdiff_t row, unit
    for row in range(layer.batch):
        for unit in range(layer.hidden_size):
            h = layer.hidden[row * padded + unit]
            C = layer.cell[row * padded + unit]
            layer.state_hidden[row * layer.hidden_size + unit] = h if h == h else NAN
            layer.state_cell[row * layer.hidden_size + unit] = C if C == C else NAN


cdef size_t prepare(
    Pass *layer, PackedWeights weights, ptrdiff_t batch, ptrdiff_t time, Rows X, Rows Y
) noexcept nogil:
    """Sizes and strides of a call of `batch` rows; returns the bytes of scratch memory that it needs."""
    cdef size_t size = sizeof(layer.cell[0])
    if Pass is lstm_f32_pass:
        layer.kernels = lstm_isa_at(weights.index).f32
    else:
        layer.kernels = lstm_isa_at(weights.index).f64
    layer.time = time
    layer.input_size = weights.input_size
    layer.hidden_size = weights.hidden_size
    layer.panels = (layer.hidden_size + layer.kernels.lanes - 1) // layer.kernels.lanes
    layer.input_batch_stride, layer.input_time_stride = X.batch_stride, X.time_stride
    layer.output_batch_stride, layer.output_time_stride = Y.batch_stride, Y.time_stride
    layer.batch = share(batch, PASS_ROWS)
    choose_blocks(layer, size)
    return scratch_elements(layer) * size + LSTM_CACHE_LINE


cdef void run_passes(
    Pass *layer, PackedWeights weights, Rows X, void *h, void *C, Rows Y, char *memory, ptrdiff_t batch
) noexcept nogil:
    """X (B, T, I), h (B, H), C (B, H), Y (B, T, H) or NULL: all rows, a pass of a few at a time."""
    cdef ptrdiff_t row = 0
    cdef uint64_t found = lstm_fp_enter()
    while row < batch:
        layer.batch = share(batch - row, PASS_ROWS)
        bind_rows(layer, weights, X, h, C, Y, memory, row)
        load_states(layer)
        run_layer(layer)
        store_states(layer)
        row += layer.batch
    lstm_fp_leave(found)


cdef inline bint is_short(PackedWeights weights, ptrdiff_t batch, ptrdiff_t time) noexcept nogil:
    """Whether a call takes about a microsecond: giving up the GIL would cost more than it gives."""
    return (
        <double>batch * time * weights.hidden_size * (weights.input_size + weights.hidden_size)
        < SHORT_CALL
    )


cdef int run_call(
    PackedWeights weights, ptrdiff_t batch, ptrdiff_t time, Rows X, void *h, void *C, Rows Y
) except -1:
    """X (B, T, I), h (B, H), C (B, H), Y (B, T, H) or NULL; B, T > 0: one call with its own scratch."""
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    cdef char *memory
    cdef size_t size
    if weights.is_double:
        size = prepare(&f64, weights, batch, time, X, Y)
    else:
        size = prepare(&f32, weights, batch, time, X, Y)
    memory = <char *>malloc(size)
    if memory is NULL:
        raise MemoryError(f"no memory for the states of {batch} rows of {weights.hidden_size} units")
    if is_short(weights, batch, time):
        run_typed(&f32, &f64, weights, X, h, C, Y, memory, batch)
    else:
        with nogil:
            run_typed(&f32, &f64, weights, X, h, C, Y, memory, batch)
    free(memory)
    return 0


cdef inline void run_typed(
    lstm_f32_pass *f32, lstm_f64_pass *f64, PackedWeights weights,
    Rows X, void *h, void *C, Rows Y, char *memory, ptrdiff_t batch,
) noexcept nogil:
    """run_passes on the one of the two that `prepare` has filled, by the weights' dtype."""
    if weights.is_double:
        run_passes(f64, weights, X, h, C, Y, memory, batch)
    else:
        run_passes(f32, weights, X, h, C, Y, memory, batch)


cdef forward_typed(
    PackedWeights weights, const Real[:, :, :] X, Real[:, ::1] h, Real[:, ::1] C, Real[:, :, :] Y
):
    cdef Py_ssize_t batch = X.shape[0]
    cdef Py_ssize_t time = X.shape[1]
    cdef Rows output = Rows(NULL, 0, 0)
    for name, got, expected in (
        ("X", (X.shape[2],), (weights.input_size,)),
        ("h", (h.shape[0], h.shape[1]), (batch, weights.hidden_size)),
        ("C", (C.shape[0], C.shape[1]), (batch, weights.hidden_size)),
    ):
        if got != expected:
            raise ValueError(f"the last axes of {name} are {got}, but must be {expected}")
    if Y is not None:
        got, expected = (Y.shape[0], Y.shape[1], Y.shape[2]), (batch, time, weights.hidden_size)
        if got != expected:
            raise ValueError(f"Y has shape {got}, but must be {expected}")
    if batch == 0 or time == 0:
        return
    if Y is not None:
        output = rows_of[Real](Y, "Y")
    run_call(weights, batch, time, rows_of[Real](X, "X"), &h[0, 0], &C[0, 0], output)


def forward_sequence(PackedWeights weights not None, X, h, C, Y):
    """X (B, T, I), h (B, H), C (B, H), Y (B, T, H) or None: all time steps.

    `h` and `C` hold the state before the first step and are overwritten with the last one; `Y`, if given,
    is overwritten with h of every step. All are of the weights' dtype; `X` and `Y` may have any strides
    but on the last axis. `h`, `C` and `Y` overlap neither one another nor `X`.
    """
    if weights.is_double:
        forward_typed[double](weights, X, h, C, Y)
    else:
        forward_typed[float](weights, X, h, C, Y)


# ---- one step, without the cost of memoryviews and checks in Python

cdef inline bint is_plain(object array, PackedWeights weights) noexcept:
    """Whether it is a numpy.ndarray of the weights' dtype, C-contiguous, aligned, in native byte order."""
    return (
        cnp.PyArray_CheckExact(array)
        and cnp.PyArray_TYPE(array) == (<int>cnp.NPY_DOUBLE if weights.is_double else <int>cnp.NPY_FLOAT)
        and cnp.PyArray_ISCARRAY_RO(array)
    )


cdef inline bint has_shape(object array, ptrdiff_t rows, ptrdiff_t columns) noexcept:
    """Whether the array is (rows, columns)."""
    return (
        cnp.PyArray_NDIM(array) == 2
        and cnp.PyArray_DIM(array, 0) == rows
        and cnp.PyArray_DIM(array, 1) == columns
    )


cdef inline bint has_length(object array, ptrdiff_t length) noexcept:
    """Whether the array is (length,)."""
    return cnp.PyArray_NDIM(array) == 1 and cnp.PyArray_DIM(array, 0) == length


cdef bint is_single(object x, ptrdiff_t input_size) noexcept:
    """Whether x is one row, (I,) or (I, 1), not a batch."""
    return has_length(x, input_size) or has_shape(x, input_size, 1)


cdef bint is_step_state(object state, bint single, ptrdiff_t rows, ptrdiff_t hidden_size) noexcept:
    """Whether the state is (H,), (H, 1) or (1, H) for one row, (B, H) for a batch."""
    if has_shape(state, rows, hidden_size):
        return True
    return single and (has_length(state, hidden_size) or has_shape(state, hidden_size, 1))


cdef object copy_of(object array):
    return cnp.PyArray_NewCopy(array, cnp.NPY_CORDER)


def forward_plain(weights, x, h_prev, C_prev):
    """x (I,), (I, 1), (B, I), states (H,), (H, 1), (1, H), (B, H): new h, C; None where one is not plain.

    The way of `LSTM.forward` for what is usual; whatever is not, errors included, goes through its checks.
    """
    cdef PackedWeights packed
    cdef ptrdiff_t rows
    if type(weights) is not PackedWeights:
        return None
    packed = weights
    if not (is_plain(x, packed) and is_plain(h_prev, packed) and is_plain(C_prev, packed)):
        return None
    single = is_single(x, packed.input_size)
    rows = 1 if single else cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) == 2 else 0
    if not (
        rows > 0
        and (single or has_shape(x, rows, packed.input_size))
        and is_step_state(h_prev, single, rows, packed.hidden_size)
        and is_step_state(C_prev, single, rows, packed.hidden_size)
    ):
        return None
    h = copy_of(h_prev)
    C = copy_of(C_prev)
    run_call(
        packed, rows, 1, Rows(cnp.PyArray_DATA(x), packed.input_size, packed.input_size),
        cnp.PyArray_DATA(h), cnp.PyArray_DATA(C), Rows(NULL, 0, 0),
    )
    return h, C


@cython.final
cdef class StepScratch:
    """The scratch memory of one time step of B rows, for a `Stream`."""
    cdef char *memory
    cdef bint busy
    cdef ptrdiff_t batch
    cdef PackedWeights weights
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64

    def __cinit__(self):
        self.memory = NULL
        self.busy = False

    def __dealloc__(self):
        free(self.memory)

    def __reduce__(self):
        raise TypeError("the scratch memory of a stream cannot be pickled")

    cdef int use(self, PackedWeights weights, ptrdiff_t batch) except -1:
        """Make the memory fit these weights."""
        cdef size_t size
        cdef char *memory
        cdef Rows X = Rows(NULL, weights.input_size, weights.input_size)
        if weights.is_double:
            size = prepare(&self.f64, weights, batch, 1, X, Rows(NULL, 0, 0))
        else:
            size = prepare(&self.f32, weights, batch, 1, X, Rows(NULL, 0, 0))
        memory = <char *>malloc(size)
        if memory is NULL:
            raise MemoryError(f"no memory for the states of {batch} rows of {weights.hidden_size} units")
        free(self.memory)
        self.memory = memory
        self.weights = weights
        self.batch = batch
        return 0

    def step(self, PackedWeights weights not None, x, h, C, out, bint single):
        """x (B, I), h and C (B, H) in and out, out (B, H) or None: out, or a new one.

        `single` takes x (I,) and gives out (H,) instead, for B = 1. None where an array is not plain or does
        not fit: nothing has been done then.
        """
        cdef ptrdiff_t batch
        cdef cnp.npy_intp shape[2]
        cdef Rows X
        if not (is_plain(x, weights) and is_plain(h, weights) and is_plain(C, weights)):
            return None
        batch = 1 if single else cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) == 2 else 0
        shape[0], shape[1] = batch, weights.hidden_size
        if not (
            batch > 0
            and cnp.PyArray_ISWRITEABLE(h)
            and cnp.PyArray_ISWRITEABLE(C)
            and (has_length(x, weights.input_size) if single else has_shape(x, batch, weights.input_size))
            and has_shape(h, batch, shape[1])
            and has_shape(C, batch, shape[1])
        ):
            return None
        if out is None:
            out = cnp.PyArray_SimpleNew(
                1 if single else 2,
                &shape[1] if single else &shape[0],
                cnp.NPY_DOUBLE if weights.is_double else cnp.NPY_FLOAT,
            )
        elif not (
            is_plain(out, weights)
            and cnp.PyArray_ISWRITEABLE(out)
            and (has_length(out, shape[1]) if single else has_shape(out, batch, shape[1]))
        ):
            return None
        if self.busy:
            raise RuntimeError("this stream is in the middle of a step in another thread")
        if weights is not self.weights or batch != self.batch:
            self.use(weights, batch)
        X = Rows(cnp.PyArray_DATA(x), weights.input_size, weights.input_size)
        Y = Rows(NULL, 0, 0)
        hidden = cnp.PyArray_DATA(h)
        cell = cnp.PyArray_DATA(C)
        if is_short(weights, batch, 1):
            run_typed(&self.f32, &self.f64, weights, X, hidden, cell, Y, self.memory, batch)
        else:
            self.busy = True
            with nogil:
                run_typed(&self.f32, &self.f64, weights, X, hidden, cell, Y, self.memory, batch)
            self.busy = False
        memmove(cnp.PyArray_DATA(out), hidden, cnp.PyArray_NBYTES(h))
        return out


# ---- the micro-kernels one by one, for tests

cdef map_typed(const Real[::1] x, Real[::1] y, isa, bint is_tanh):
    cdef uint64_t found
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"x has {x.shape[0]} elements and y {y.shape[0]}")
    if x.shape[0] == 0:
        return
    if Real is float:
        kernels = f32_kernels(isa)
    else:
        kernels = f64_kernels(isa)
    function = kernels.tanh if is_tanh else kernels.sigmoid
    with nogil:
        found = lstm_fp_enter()
        function(&x[0], &y[0], x.shape[0])
        lstm_fp_leave(found)


def sigmoid(x, y, isa=DEFAULT_ISA):
    """x (n,), y (n,): y = 1 / (1 + exp(-x)), as the cell update computes it."""
    if y.dtype == "float64":
        map_typed[double](x, y, isa, False)
    else:
        map_typed[float](x, y, isa, False)


def tanh(x, y, isa=DEFAULT_ISA):
    """x (n,), y (n,): y = tanh(x), as the cell update computes it."""
    if y.dtype == "float64":
        map_typed[double](x, y, isa, True)
    else:
        map_typed[float](x, y, isa, True)


def _check_tile(isa, input, weights, start, **others):
    """(rows, panels) of a tile whose kernel there is and whose arrays fit; ValueError otherwise."""
    lanes_, row_tile, panel_tile = tile_limits(isa, start.dtype.name)
    rows, depth = input.shape
    panels = weights.shape[0]
    if not (1 <= rows <= row_tile and panels == 1 or rows == 1 and 1 <= panels <= panel_tile):
        raise ValueError(f"{isa} has no tile of {rows} rows by {panels} panels")
    shapes = {
        "weights": (panels, depth, GATE_COUNT, lanes_),
        "start": (rows, panels, GATE_COUNT, lanes_),
        "sums": (rows, panels, GATE_COUNT, lanes_),
        "cell": (rows, panels, lanes_),
        "hidden": (rows, panels, lanes_),
    }
    for name, array in {"weights": weights, "start": start, **others}.items():
        if array.shape != shapes[name]:
            raise ValueError(f"{name} has shape {array.shape}, but must be {shapes[name]}")
        if array.size == 0:
            raise ValueError(f"{name} is empty")
    return rows, panels


cdef tile_typed(
    bint is_step, isa, const Real[:, ::1] input, const Real[:, :, :, ::1] weights,
    const Real[:, :, :, ::1] start, Real[:, :, :, ::1] sums, Real[:, :, ::1] cell,
    Real[:, :, ::1] hidden, Real[:, ::1] output,
):
    cdef Py_ssize_t rows = start.shape[0]
    cdef Py_ssize_t panels = start.shape[1]
    cdef Py_ssize_t vectors = start.shape[2] * start.shape[3]
    cdef uint64_t found
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    if Real is float:
        layer = &f32
        layer.kernels = f32_kernels(isa)
    else:
        layer = &f64
        layer.kernels = f64_kernels(isa)
    layer.tile.input = &input[0, 0]
    layer.tile.input_row_stride = layer.tile.depth = input.shape[1]
    layer.tile.weights = &weights[0, 0, 0, 0]
    layer.tile.weights_panel_stride = input.shape[1] * vectors
    layer.tile.start = &start[0, 0, 0, 0]
    layer.tile.start_row_stride = layer.tile.sums_row_stride = panels * vectors
    layer.tile.start_panel_stride = layer.tile.sums_panel_stride = vectors
    layer.tile.prefetch = layer.tile.weights
    layer.tile.sums = NULL
    layer.tile.output = NULL
    if is_step:
        layer.tile.cell = &cell[0, 0, 0]
        layer.tile.hidden = &hidden[0, 0, 0]
        layer.tile.state_row_stride = panels * layer.kernels.lanes
        if output is not None:
            layer.tile.output = &output[0, 0]
            layer.tile.output_row_stride = layer.tile.output_units = output.shape[1]
        kernel = layer.kernels.step[rows][panels]
    else:
        layer.tile.sums = &sums[0, 0, 0, 0]
        kernel = layer.kernels.gates[rows][panels]
    with nogil:
        found = lstm_fp_enter()
        kernel(&layer.tile)
        lstm_fp_leave(found)


def gates_tile(input, weights, start, sums, isa=DEFAULT_ISA):
    """input (rows, depth), weights (panels, depth, 4, L), start, sums (rows, panels, 4, L): one tile.

    sums = start + input . weights, of `lstm_<dtype>_gates_<rows>x<panels L>__<isa>`.
    """
    _check_tile(isa, input, weights, start, sums=sums)
    if start.dtype == "float64":
        tile_typed[double](False, isa, input, weights, start, sums, None, None, None)
    else:
        tile_typed[float](False, isa, input, weights, start, sums, None, None, None)


def step_tile(input, weights, start, cell, hidden, output=None, isa=DEFAULT_ISA):
    """gates_tile, then the cell update: cell, hidden (rows, panels, L), output (rows, units) or None.

    `cell` holds C before the step and is overwritten with C after it; `hidden`, and `output` for the
    units it has, are overwritten with h. Of `lstm_<dtype>_step_<rows>x<panels L>__<isa>`.
    """
    rows, panels = _check_tile(isa, input, weights, start, cell=cell, hidden=hidden)
    units = panels * start.shape[3]
    if output is not None and not (output.shape[0] == rows and 1 <= output.shape[1] <= units):
        raise ValueError(f"output has shape {output.shape}, but must be ({rows}, 1 to {units})")
    if start.dtype == "float64":
        tile_typed[double](True, isa, input, weights, start, None, cell, hidden, output)
    else:
        tile_typed[float](True, isa, input, weights, start, None, cell, hidden, output)
