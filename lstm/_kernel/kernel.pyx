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
from libc.math cimport INFINITY, NAN
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

import os

import numpy

from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_ACTIVATION_COUNT,
    LSTM_CACHE_LINE,
    LSTM_ISA_COUNT,
    LSTM_MAX_PANELS,
    LSTM_SUM_BLOCK,
    lstm_f32_kernels,
    lstm_f32_pass,
    lstm_f32_variant,
    lstm_f64_kernels,
    lstm_f64_pass,
    lstm_f64_variant,
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

ctypedef fused Variant:
    lstm_f32_variant
    lstm_f64_variant


cdef const void *address(const Real[:, :, :, ::1] array) noexcept:
    return &array[0, 0, 0, 0]


cdef void set_variant(Variant *variant, clip, bint input_forget, activations) noexcept:
    """Fill it in: clip or None, and three of (kind, alpha, beta)."""
    gates, candidate, cell_output = activations
    variant.gates.kind, variant.gates.alpha, variant.gates.beta = gates
    variant.candidate.kind, variant.candidate.alpha, variant.candidate.beta = candidate
    variant.cell_output.kind, variant.cell_output.alpha, variant.cell_output.beta = cell_output
    variant.clip = INFINITY if clip is None else clip
    variant.input_forget = input_forget


@cython.final
cdef class PackedWeights:
    """The weights of one layer and direction in the layout of the micro-kernels, made by `params.pack`.

    input (P, I, 4, L), hidden (P, O, 4, L), bias (P, 4, L), peephole (P, 3, L) or None and projection
    (ceil(O / 4 L), H, 4, L) or None, of one dtype. `options` is None for the plain equations, else
    (clip or None, input_forget, three of (kind, alpha, beta)) with the kinds of csrc/lstm_kernels.h.
    """
    cdef readonly object input
    cdef readonly object hidden
    cdef readonly object bias
    cdef readonly object peephole
    cdef readonly object projection
    cdef readonly object isa
    cdef readonly Py_ssize_t input_size
    cdef readonly Py_ssize_t hidden_size
    cdef readonly Py_ssize_t state_size
    cdef readonly bint is_double
    cdef bint is_plain
    cdef int index
    cdef const void *input_data
    cdef const void *hidden_data
    cdef const void *bias_data
    cdef const void *peephole_data
    cdef const void *projection_data
    cdef lstm_f32_variant f32
    cdef lstm_f64_variant f64

    def __cinit__(
        self, input, hidden, bias, Py_ssize_t hidden_size, isa, peephole=None, projection=None, options=None
    ):
        self.index = isa_index(isa)
        self.isa = isa
        self.is_double = bias.dtype == "float64"
        self.input_size = input.shape[1]
        self.hidden_size = hidden_size
        self.state_size = hidden.shape[1]
        panel_lanes = lanes(isa, bias.dtype.name)
        panels = -(-hidden_size // panel_lanes)
        shapes = {
            "input": (input, (panels, self.input_size, GATE_COUNT, panel_lanes)),
            "hidden": (hidden, (panels, self.state_size, GATE_COUNT, panel_lanes)),
            "bias": (bias, (panels, GATE_COUNT, panel_lanes)),
        }
        if peephole is not None:
            shapes["peephole"] = (peephole, (panels, 3, panel_lanes))
        if projection is not None:
            groups = -(-self.state_size // (GATE_COUNT * panel_lanes))
            shapes["projection"] = (projection, (groups, hidden_size, GATE_COUNT, panel_lanes))
        elif self.state_size != hidden_size:
            raise ValueError(f"h has {self.state_size} features, C {hidden_size}, and there is no projection")
        for name, (array, shape) in shapes.items():
            if array.shape != shape or 0 in shape:
                raise ValueError(f"packed {name} has shape {array.shape}, but must be {shape}")
        self.set_data(input, hidden, bias, peephole, projection)
        self.is_plain = options is None and peephole is None
        usual = ((0, 1.0, 0.0), (1, 1.0, 0.0), (1, 1.0, 0.0))  # LSTM_SIGMOID, LSTM_TANH, LSTM_TANH
        clip, input_forget, activations = (None, False, usual) if options is None else options
        for kind, _, _ in activations:
            if not 0 <= kind < LSTM_ACTIVATION_COUNT:
                raise ValueError(f"there is no activation {kind}")
        set_variant[lstm_f32_variant](&self.f32, clip, input_forget, activations)
        set_variant[lstm_f64_variant](&self.f64, clip, input_forget, activations)

    cdef set_data(self, input, hidden, bias, peephole, projection):
        """Keep the arrays, read-only, and their addresses."""
        self.peephole_data = self.projection_data = NULL
        if self.is_double:
            self.input_data = address[double](input)
            self.hidden_data = address[double](hidden)
            self.bias_data = address[double](bias[None])
            if peephole is not None:
                self.peephole_data = address[double](peephole[None])
            if projection is not None:
                self.projection_data = address[double](projection)
        else:
            self.input_data = address[float](input)
            self.hidden_data = address[float](hidden)
            self.bias_data = address[float](bias[None])
            if peephole is not None:
                self.peephole_data = address[float](peephole[None])
            if projection is not None:
                self.projection_data = address[float](projection)
        self.input, self.hidden, self.bias = input, hidden, bias
        self.peephole, self.projection = peephole, projection
        for array in (input, hidden, bias, peephole, projection):
            if array is not None:
                array.flags.writeable = False

    def __reduce__(self):
        raise TypeError("PackedWeights belong to this machine's ISA; pickle params.unpack(…) instead")


# ---- the loops

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


cdef inline ptrdiff_t prefetch_part(Pass *layer, ptrdiff_t row) noexcept nogil:
    """Offset of the part of the next block of weights that the tile from `row` on brings into L2.

    A tile brings one cache line at each k, a row of a panel has several: so many tiles share the block.
    """
    cdef ptrdiff_t size = sizeof(layer.cell[0])
    cdef ptrdiff_t parts = GATE_COUNT * layer.kernels.lanes * size // LSTM_CACHE_LINE
    cdef ptrdiff_t part
    if row == 0:
        return 0
    part = min(row // layer.kernels.row_tile, max(0, parts - 1))
    return part * layer.tile.depth * (LSTM_CACHE_LINE // size)


cdef void input_tiles(
    Pass *layer, ptrdiff_t first_step, ptrdiff_t steps, ptrdiff_t panel, ptrdiff_t panels, ptrdiff_t k
) noexcept nogil:
    """sums (steps, panels, B, 4, L) += x[:, first_step:, k:k + depth] . weights, in tiles of rows.

    x is the block's input, from the block's first step on.

    The rows of a tile are batch rows or, where there are few of those, the steps of one batch row.
    """
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t step_sums = layer.panels * sums_per_panel(layer)
    cdef bint tile_steps = steps > 1 and layer.batch < layer.kernels.row_tile
    cdef ptrdiff_t outer, row, rows, batch_row, step
    cdef ptrdiff_t outer_end = layer.batch if tile_steps else steps
    cdef ptrdiff_t row_end = steps if tile_steps else layer.batch
    layer.tile.input_row_stride = (
        layer.block_time_stride if tile_steps else layer.block_batch_stride
    )
    layer.tile.sums_row_stride = step_sums if tile_steps else vectors
    next_weights = layer.tile.weights + layer.tile.depth * vectors
    if k + layer.tile.depth >= layer.input_size:
        next_weights = layer.hidden_weights + panel * layer.state_size * vectors
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
                layer.block_input
                + batch_row * layer.block_batch_stride
                + (first_step + step) * layer.block_time_stride
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
    """sums (steps, panels, B, 4, L) = bias + x[:, first_step:first_step + steps] . input weights.

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
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t panel_weights = layer.state_size * vectors
    cdef ptrdiff_t sums_offset = 0
    cdef ptrdiff_t k = 0
    cdef ptrdiff_t row, rows
    cdef ptrdiff_t block = LSTM_SUM_BLOCK if layer.batch > 1 else layer.state_size
    if not is_stepwise(layer):
        sums_offset = (block_step * layer.panels + panel) * sums_per_panel(layer)
    layer.tile.input_row_stride = layer.state_width
    layer.tile.weights_panel_stride = panel_weights
    layer.tile.start_row_stride = vectors
    layer.tile.start_panel_stride = sums_per_panel(layer)
    layer.tile.sums_row_stride = vectors
    layer.tile.sums_panel_stride = sums_per_panel(layer)
    while k < layer.state_size:
        layer.tile.depth = min(block, layer.state_size - k)
        layer.tile.weights = layer.hidden_weights + panel * panel_weights + k * vectors
        next_weights = layer.tile.weights + layer.tile.depth * vectors
        if k + block >= layer.state_size:
            next_weights = layer.hidden_weights + next_panel * panel_weights
            if is_stepwise(layer):
                next_weights = layer.input_weights + next_panel * layer.input_size * vectors
        row = 0
        while row < layer.batch:
            rows = share(layer.batch - row, layer.kernels.row_tile)
            layer.tile.input = layer.hidden + row * layer.state_width + k
            layer.tile.prefetch = next_weights + prefetch_part(layer, row)
            layer.tile.sums = layer.sums + sums_offset + row * vectors
            layer.tile.start = layer.tile.sums
            if k + block < layer.state_size:
                layer.kernels.gates[rows][panels](&layer.tile)
            else:
                point_at_states(layer, step, panel, row)
                layer.kernels.step[rows][panels](&layer.tile)
            row += rows
        k += block


cdef inline bint is_whole_tile(Pass *layer) noexcept nogil:
    """Whether one tile is the whole net and writes the output itself: it can do many time steps at once."""
    return (
        layer.panels <= (1 if layer.batch > 1 else layer.row_panels)
        and layer.batch <= layer.kernels.row_tile
        and layer.projection_panels == 0
        and layer.order is NULL
        and not is_stepwise(layer)
    )


cdef void run_whole_tile(Pass *layer, ptrdiff_t step, ptrdiff_t steps) noexcept nogil:
    """Time steps of a block by one call of a micro-kernel: hidden, cell, output[:, step:step + steps].

    At H = 20 the driver's part of every step was a sixth of it.
    """
    layer.tile.steps = steps
    layer.tile.start_step_stride = layer.panels * sums_per_panel(layer)
    layer.tile.output_step_stride = layer.output_time_stride
    layer.tile.trace_step_stride = layer.trace_time_stride
    layer.hidden_next = layer.hidden
    hidden_products(layer, step, 0, 0, layer.panels, 0)


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


cdef void project(Pass *layer) noexcept nogil:
    """hidden_next (B, O) = cell_output (B, H) . projection, from zero in blocks of k as all sums are."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    cdef ptrdiff_t cell_width = layer.panels * layer.kernels.lanes
    cdef ptrdiff_t panel_weights = layer.hidden_size * vectors
    cdef ptrdiff_t panel = 0
    cdef ptrdiff_t panels, row, rows
    layer.tile.input_row_stride = cell_width
    layer.tile.weights_panel_stride = panel_weights
    layer.tile.depth = layer.hidden_size
    layer.tile.start = layer.zeros
    layer.tile.start_row_stride = layer.tile.start_panel_stride = 0
    layer.tile.sums_row_stride = layer.state_width
    layer.tile.sums_panel_stride = vectors
    while panel < layer.projection_panels:
        panels = tile_panels(layer, layer.projection_panels - panel)
        layer.tile.weights = layer.projection + panel * panel_weights
        layer.tile.prefetch = layer.tile.weights
        row = 0
        while row < layer.batch:
            rows = share(layer.batch - row, layer.kernels.row_tile)
            layer.tile.input = layer.cell_output + row * cell_width
            layer.tile.sums = layer.hidden_next + row * layer.state_width + panel * vectors
            layer.kernels.gates[rows][panels](&layer.tile)
            row += rows
        panel += panels


cdef void store_outputs(Pass *layer, ptrdiff_t step) noexcept nogil:
    """output[:, step] (B, O) = hidden_next, where the tiles have not written it themselves."""
    cdef ptrdiff_t row, caller_row, feature
    for row in range(layer.batch):
        caller_row = row if layer.order is NULL else layer.order[row]
        output = layer.output + caller_row * layer.output_batch_stride + step * layer.output_time_stride
        hidden = layer.hidden_next + row * layer.state_width
        for feature in range(layer.state_size):
            h = hidden[feature]
            output[feature] = h if h == h else NAN


cdef void run_step(Pass *layer, ptrdiff_t step, ptrdiff_t block_step, bint forward) noexcept nogil:
    """One time step of the rows at work: hidden, cell and output[:, step].

    Panels are walked `forward` at one step and backward at the next: what the caches still hold of the
    weights is used again.
    """
    cdef ptrdiff_t done = 0
    cdef ptrdiff_t panel, panels, next_panel
    while done < layer.panels:
        panels = tile_panels(layer, layer.panels - done)
        panel = done if forward else layer.panels - done - panels
        if is_stepwise(layer):
            input_products(layer, block_step, 1, panel, panels)
        next_panel = min(panel + 1, layer.panels - 1) if forward else max(panel - 1, 0)
        hidden_products(layer, step, block_step, panel, panels, next_panel)
        done += panels
    if layer.projection_panels > 0:
        project(layer)
    if layer.output is not NULL and (layer.projection_panels > 0 or layer.order is not NULL):
        store_outputs(layer, step)
    layer.hidden, layer.hidden_next = layer.hidden_next, layer.hidden


# ---- rows of different lengths: the longest first, those at work are the first ones

cdef inline ptrdiff_t ordered_length(Pass *layer, ptrdiff_t row) noexcept nogil:
    """Steps of a row of this pass."""
    return layer.lengths[layer.order[row]]


cdef void keep_states(Pass *layer, ptrdiff_t first, ptrdiff_t end) noexcept nogil:
    """hidden_next = hidden for rows that are over, or not yet at work: the two go on taking turns."""
    cdef size_t size = sizeof(layer.cell[0])
    memcpy(
        layer.hidden_next + first * layer.state_width,
        layer.hidden + first * layer.state_width,
        (end - first) * layer.state_width * size,
    )


cdef ptrdiff_t choose_rows(Pass *layer, ptrdiff_t step) noexcept nogil:
    """Set `batch` to the rows that have this step; returns for how many steps it stays so, at least 1."""
    cdef ptrdiff_t moment = layer.time - 1 - step if layer.reverse else step
    cdef ptrdiff_t batch = 0
    if layer.order is NULL:
        return layer.time - step
    while batch < layer.rows and ordered_length(layer, batch) > moment:
        batch += 1
    if batch < layer.batch:
        keep_states(layer, batch, layer.batch)
    layer.batch = batch
    if layer.reverse:
        if batch == layer.rows:
            return layer.time - step
        return moment + 1 - ordered_length(layer, batch)
    if batch == 0:
        return layer.time - step
    return ordered_length(layer, batch - 1) - moment


cdef void gather_input(Pass *layer, ptrdiff_t step, ptrdiff_t steps) noexcept nogil:
    """block_input (steps, B, I): the input itself, or a copy of the rows at work in their order."""
    cdef size_t row_bytes = layer.input_size * sizeof(layer.cell[0])
    cdef ptrdiff_t block_step, row
    if layer.order is NULL:
        layer.block_input = layer.input + step * layer.input_time_stride
        layer.block_batch_stride, layer.block_time_stride = layer.input_batch_stride, layer.input_time_stride
        return
    layer.block_input = layer.gathered
    layer.block_batch_stride = layer.input_size
    layer.block_time_stride = layer.batch * layer.input_size
    for block_step in range(steps):
        for row in range(layer.batch):
            memcpy(
                layer.gathered + (block_step * layer.batch + row) * layer.input_size,
                layer.input
                + layer.order[row] * layer.input_batch_stride
                + (step + block_step) * layer.input_time_stride,
                row_bytes,
            )


cdef void clear_padding(Pass *layer) noexcept nogil:
    """output (B, T, O) = 0 past every row's length."""
    cdef size_t row_bytes = layer.state_size * sizeof(layer.cell[0])
    cdef ptrdiff_t row, moment, step
    for row in range(layer.rows):
        for moment in range(ordered_length(layer, row), layer.time):
            step = layer.time - 1 - moment if layer.reverse else moment
            memset(
                layer.output
                + layer.order[row] * layer.output_batch_stride
                + step * layer.output_time_stride,
                0,
                row_bytes,
            )


cdef void run_layer(Pass *layer) noexcept nogil:
    """All time steps of one pass: output (B, T, O), and hidden and cell as after the last step."""
    cdef ptrdiff_t step = 0
    cdef ptrdiff_t block_step, steps, panel
    cdef bint forward = True
    layer.tile.output = layer.tile.trace = NULL
    layer.tile.peephole = NULL
    layer.tile.steps = 1
    layer.tile.variant = layer.variant
    layer.tile.output_row_stride = layer.output_batch_stride
    layer.tile.trace_gate_stride = layer.trace_gate_stride
    layer.tile.trace_row_stride = layer.trace_batch_stride
    layer.batch = layer.rows
    while step < layer.time:
        steps = choose_rows(layer, step)
        if layer.batch == 0:
            step += steps
            continue
        steps = min(steps, layer.block_time)
        gather_input(layer, step, steps)
        if not is_stepwise(layer):
            for panel in range(layer.panels):
                input_products(layer, 0, steps, panel, 1)
        if is_whole_tile(layer):
            run_whole_tile(layer, step, steps)
        else:
            for block_step in range(steps):
                run_step(layer, step + block_step, block_step, forward)
                forward = not forward
        step += steps
    layer.batch = layer.rows
    if layer.order is not NULL and layer.output is not NULL:
        clear_padding(layer)


# ---- one call

cdef struct Rows:
    # A (B, T, K) array of either dtype whose last axis is contiguous; strides in elements.
    void *data
    ptrdiff_t batch_stride
    ptrdiff_t time_stride


cdef struct Call:
    # What one layer and direction is asked for. States are (B, O) and (B, H), contiguous, in and out.
    ptrdiff_t batch
    ptrdiff_t time
    Rows X  # (B, T, I)
    void *h
    void *C
    Rows Y  # (B, T, O), or NULL
    Rows trace  # five of (B, T, H), or NULL
    ptrdiff_t trace_gate_stride
    const ptrdiff_t *order  # (B,): rows, longest first, or NULL
    const ptrdiff_t *lengths  # (B,), or NULL
    bint reverse


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


cdef inline Rows from_end(Rows rows, ptrdiff_t time, ptrdiff_t size) noexcept nogil:
    """The same rows with time reversed."""
    if rows.data is NULL:
        return rows
    return Rows(
        <char *>rows.data + (time - 1) * rows.time_stride * size, rows.batch_stride, -rows.time_stride
    )


cdef inline ptrdiff_t cell_elements(Pass *layer) noexcept nogil:
    """Elements of C, (rows, P L)."""
    return layer.rows * layer.panels * layer.kernels.lanes


cdef inline ptrdiff_t gathered_elements(Pass *layer) noexcept nogil:
    """Elements of `gathered`."""
    return 0 if layer.order is NULL else layer.block_time * layer.rows * layer.input_size


cdef size_t scratch_elements(Pass *layer) noexcept nogil:
    """Elements of all that `bind_scratch` hands out."""
    cdef size_t elements = cell_elements(layer) + 2 * layer.rows * layer.state_width
    cdef ptrdiff_t sums_panels = min(layer.panels, LSTM_MAX_PANELS)
    if layer.projection_panels > 0:
        elements += cell_elements(layer) + GATE_COUNT * layer.kernels.lanes
    if not is_stepwise(layer):
        sums_panels = layer.block_time * layer.panels
    return elements + sums_panels * sums_per_panel(layer) + gathered_elements(layer)


cdef void choose_blocks(Pass *layer, size_t element_size) noexcept nogil:
    """block_time: as many steps as SUMS_BYTES holds sums of, or one; row_panels: what TILE_BYTES holds."""
    cdef ptrdiff_t vector_bytes = layer.kernels.lanes * element_size
    cdef ptrdiff_t fitting = TILE_BYTES // (GATE_COUNT * vector_bytes * layer.state_size)
    # A panel's four chains read a vector a cycle: what L2 yields if that is a cache line, else too little.
    cdef ptrdiff_t needed = LSTM_CACHE_LINE // vector_bytes
    cdef ptrdiff_t step_bytes = layer.panels * sums_per_panel(layer) * element_size
    if layer.order is not NULL:
        step_bytes = max(step_bytes, layer.rows * layer.input_size * <ptrdiff_t>element_size)
    layer.block_time = 1
    if layer.rows < STEPWISE_ROWS:
        layer.block_time = max(1, min(layer.time, SUMS_BYTES // step_bytes))
    layer.row_panels = min(layer.kernels.panel_tile, max(needed, fitting))


cdef inline void *aligned(char *memory) noexcept nogil:
    """The first cache line's start in `memory`, which is one line longer than needed."""
    return memory + (LSTM_CACHE_LINE - <uintptr_t>memory % LSTM_CACHE_LINE) % LSTM_CACHE_LINE


cdef void bind_weights(Pass *layer, PackedWeights weights) noexcept nogil:
    """Point `layer` at the weights, and take their sizes."""
    if Pass is lstm_f32_pass:
        layer.kernels = lstm_isa_at(weights.index).f32
        layer.input_weights = <const float *>weights.input_data
        layer.hidden_weights = <const float *>weights.hidden_data
        layer.bias = <const float *>weights.bias_data
        layer.projection = <const float *>weights.projection_data
        layer.peephole = <const float *>weights.peephole_data
        layer.variant = NULL if weights.is_plain else &weights.f32
    else:
        layer.kernels = lstm_isa_at(weights.index).f64
        layer.input_weights = <const double *>weights.input_data
        layer.hidden_weights = <const double *>weights.hidden_data
        layer.bias = <const double *>weights.bias_data
        layer.projection = <const double *>weights.projection_data
        layer.peephole = <const double *>weights.peephole_data
        layer.variant = NULL if weights.is_plain else &weights.f64
    layer.input_size = weights.input_size
    layer.hidden_size = weights.hidden_size
    layer.state_size = weights.state_size
    layer.panels = (layer.hidden_size + layer.kernels.lanes - 1) // layer.kernels.lanes
    layer.state_width = layer.panels * layer.kernels.lanes
    layer.projection_panels = 0
    if weights.projection_data is not NULL:
        layer.state_width = GATE_COUNT * layer.kernels.lanes
        layer.projection_panels = (layer.state_size + layer.state_width - 1) // layer.state_width
        layer.state_width *= layer.projection_panels


cdef size_t prepare(Pass *layer, PackedWeights weights, Call *call) noexcept nogil:
    """Sizes and strides of a call; returns the bytes of scratch memory that it needs."""
    cdef size_t size = sizeof(layer.cell[0])
    cdef Rows X = call.X
    cdef Rows Y = call.Y
    cdef Rows trace = call.trace
    if call.reverse:
        X = from_end(X, call.time, size)
        Y = from_end(Y, call.time, size)
        trace = from_end(trace, call.time, size)
    bind_weights(layer, weights)
    layer.time = call.time
    layer.reverse = call.reverse
    layer.lengths = call.lengths
    layer.order = call.order
    layer.input_batch_stride, layer.input_time_stride = X.batch_stride, X.time_stride
    layer.output_batch_stride, layer.output_time_stride = Y.batch_stride, Y.time_stride
    layer.trace_batch_stride, layer.trace_time_stride = trace.batch_stride, trace.time_stride
    layer.trace_gate_stride = call.trace_gate_stride
    if Pass is lstm_f32_pass:
        layer.input = <const float *>X.data
        layer.output = <float *>Y.data
        layer.trace = <float *>trace.data
        layer.state_hidden = <float *>call.h
        layer.state_cell = <float *>call.C
        if layer.trace is not NULL:
            layer.variant = &weights.f32
    else:
        layer.input = <const double *>X.data
        layer.output = <double *>Y.data
        layer.trace = <double *>trace.data
        layer.state_hidden = <double *>call.h
        layer.state_cell = <double *>call.C
        if layer.trace is not NULL:
            layer.variant = &weights.f64
    layer.rows = layer.batch = share(call.batch, PASS_ROWS)
    choose_blocks(layer, size)
    return scratch_elements(layer) * size + LSTM_CACHE_LINE


cdef void bind_scratch(Pass *layer, char *memory) noexcept nogil:
    """Point `layer` at its parts of the scratch memory, for the rows of this pass."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    if Pass is lstm_f32_pass:
        layer.cell = <float *>aligned(memory)
    else:
        layer.cell = <double *>aligned(memory)
    layer.hidden = layer.cell + cell_elements(layer)
    layer.hidden_next = layer.hidden + layer.rows * layer.state_width
    layer.sums = layer.hidden_next + layer.rows * layer.state_width
    if layer.projection_panels > 0:
        layer.zeros = layer.sums
        layer.cell_output = layer.zeros + vectors
        layer.sums = layer.cell_output + cell_elements(layer)
        memset(layer.zeros, 0, vectors * sizeof(layer.cell[0]))
    layer.gathered = layer.sums
    layer.sums += gathered_elements(layer)


cdef inline ptrdiff_t caller_row(Pass *layer, ptrdiff_t row) noexcept nogil:
    """The caller's number of a row of this pass."""
    return row if layer.order is NULL else layer.order[row]


cdef void load_states(Pass *layer) noexcept nogil:
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


cdef void store_states(Pass *layer) noexcept nogil:
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


cdef void next_rows(Pass *layer) noexcept nogil:
    """Go on to the rows after those of this pass."""
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


cdef void run_passes(Pass *layer, char *memory, ptrdiff_t batch) noexcept nogil:
    """All rows of a call that `prepare` has filled in, a pass of a few at a time."""
    cdef ptrdiff_t left = batch
    cdef uint64_t found = lstm_fp_enter()
    while left > 0:
        layer.rows = layer.batch = share(left, PASS_ROWS)
        bind_scratch(layer, memory)
        load_states(layer)
        run_layer(layer)
        store_states(layer)
        next_rows(layer)
        left -= layer.rows
    lstm_fp_leave(found)


cdef inline bint is_short(PackedWeights weights, ptrdiff_t batch, ptrdiff_t time) noexcept nogil:
    """Whether a call takes about a microsecond: giving up the GIL would cost more than it gives."""
    return (
        <double>batch * time * weights.hidden_size * (weights.input_size + weights.state_size)
        < SHORT_CALL
    )


cdef inline size_t scratch_bytes(PackedWeights weights, Call *call) noexcept nogil:
    """Bytes of scratch memory of one call."""
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    if weights.is_double:
        return prepare(&f64, weights, call)
    return prepare(&f32, weights, call)


cdef inline void run_typed(PackedWeights weights, Call *call, char *memory) noexcept nogil:
    """One call in the weights' dtype, with `scratch_bytes` of memory."""
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    if weights.is_double:
        prepare(&f64, weights, call)
        run_passes(&f64, memory, call.batch)
    else:
        prepare(&f32, weights, call)
        run_passes(&f32, memory, call.batch)


cdef inline int no_memory(PackedWeights weights, ptrdiff_t batch) except -1:
    raise MemoryError(f"no memory for the states of {batch} rows of {weights.hidden_size} units")


cdef int run_call(PackedWeights weights, Call *call) except -1:
    """One call of B, T > 0 with its own scratch memory."""
    cdef char *memory = <char *>malloc(scratch_bytes(weights, call))
    if memory is NULL:
        no_memory(weights, call.batch)
    if is_short(weights, call.batch, call.time):
        run_typed(weights, call, memory)
    else:
        with nogil:
            run_typed(weights, call, memory)
    free(memory)
    return 0


def _check_call(PackedWeights weights, X, h, C, Y, lengths, trace):
    """ValueError where arrays disagree with the weights or with one another."""
    batch, time = X.shape[:2]
    shapes = {
        "X": (X, (batch, time, weights.input_size)),
        "h": (h, (batch, weights.state_size)),
        "C": (C, (batch, weights.hidden_size)),
    }
    if Y is not None:
        shapes["Y"] = (Y, (batch, time, weights.state_size))
    if trace is not None:
        shapes["trace"] = (trace, (5, batch, time, weights.hidden_size))
    if lengths is not None:
        shapes["lengths"] = (lengths, (batch,))
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, but must be {shape}")
    if lengths is not None:
        if trace is not None:
            raise ValueError("a trace of rows of different lengths is taken row by row")
        if batch and not (0 <= lengths.min() and lengths.max() <= time):
            raise ValueError(f"lengths must be between 0 and {time}")


cdef forward_typed(
    PackedWeights weights, const Real[:, :, :] X, Real[:, ::1] h, Real[:, ::1] C, Real[:, :, :] Y,
    const Py_ssize_t[::1] lengths, const Py_ssize_t[::1] order, bint reverse, Real[:, :, :, :] trace,
):
    cdef Call call
    memset(&call, 0, sizeof(call))
    call.batch, call.time = X.shape[0], X.shape[1]
    if call.batch == 0 or call.time == 0:
        return
    call.reverse = reverse
    call.X = rows_of[Real](X, "X")
    call.h, call.C = &h[0, 0], &C[0, 0]
    if Y is not None:
        call.Y = rows_of[Real](Y, "Y")
    if trace is not None:
        call.trace = rows_of[Real](trace[0], "trace")
        call.trace_gate_stride = trace.strides[0] // <Py_ssize_t>sizeof(Real)
    if lengths is not None:
        call.lengths = <const ptrdiff_t *>&lengths[0]
        call.order = <const ptrdiff_t *>&order[0]
    run_call(weights, &call)


def forward_sequence(
    PackedWeights weights not None, X, h, C, Y, lengths=None, bint reverse=False, trace=None
):
    """X (B, T, I), h (B, O), C (B, H), Y (B, T, O) or None: all time steps of one layer and direction.

    `h` and `C` hold the state before the first step and are overwritten with the last one; `Y`, if given,
    is overwritten with h of every step, and `trace`, (5, B, T, H), with i, f, g, o and C. All are of the
    weights' dtype; `X` and `Y` may have any strides but on the last axis. `h`, `C` and `Y` overlap neither
    one another nor `X`. With `reverse` time runs from the end. `lengths` (B,) of intp: a row's steps
    past its length are not read, and are zero in `Y`; not together with `trace`.
    """
    order = None
    _check_call(weights, X, h, C, Y, lengths, trace)
    if lengths is not None:
        lengths = numpy.ascontiguousarray(lengths, numpy.intp)
        order = numpy.ascontiguousarray(numpy.argsort(-lengths, kind="stable"), numpy.intp)
    if weights.is_double:
        forward_typed[double](weights, X, h, C, Y, lengths, order, reverse, trace)
    else:
        forward_typed[float](weights, X, h, C, Y, lengths, order, reverse, trace)


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


cdef inline ptrdiff_t layers_of(object cells) noexcept:
    """Layers of a stack of one direction in native code; 0 where it is something else."""
    if type(cells) is not tuple or len(<tuple>cells) == 0 or type((<tuple>cells)[0]) is not PackedWeights:
        return 0
    return len(<tuple>cells)


cdef inline bint has_layers(object array, ptrdiff_t layers, ptrdiff_t rows, ptrdiff_t columns) noexcept:
    """Whether the array is (layers, rows, columns)."""
    return (
        cnp.PyArray_NDIM(array) == 3
        and cnp.PyArray_DIM(array, 0) == layers
        and cnp.PyArray_DIM(array, 1) == rows
        and cnp.PyArray_DIM(array, 2) == columns
    )


cdef bint is_step_state_of(
    object state, ptrdiff_t layers, bint single, ptrdiff_t rows, ptrdiff_t columns
) noexcept:
    """Whether it is a state of one step: as `is_step_state`, or (L, H) for one row, (L, B, H) for a batch."""
    if has_layers(state, layers, rows, columns) and not single:
        return True
    if layers == 1:
        return is_step_state(state, single, rows, columns)
    return single and has_shape(state, layers, columns)


cdef Call step_call(PackedWeights weights, ptrdiff_t batch, void *x, void *h, void *C) noexcept nogil:
    """A call of one time step: x (B, I), h (B, O), C (B, H)."""
    cdef Call call
    memset(&call, 0, sizeof(call))
    call.batch, call.time = batch, 1
    call.X = Rows(x, weights.input_size, weights.input_size)
    call.h, call.C = h, C
    return call


def forward_plain(cells, x, h_prev, C_prev):
    """x (I,), (I, 1), (B, I), states of one step: new h, C; None where one is not plain.

    `cells` are the layers of a stack of one direction. The way of `LSTM.forward` for what is usual;
    whatever is not, errors included, goes through its checks.
    """
    cdef PackedWeights packed
    cdef ptrdiff_t rows, layer
    cdef ptrdiff_t layers = layers_of(cells)
    cdef Call call
    cdef void *features
    cdef ptrdiff_t size
    if layers == 0:
        return None
    packed = (<tuple>cells)[0]
    if not (is_plain(x, packed) and is_plain(h_prev, packed) and is_plain(C_prev, packed)):
        return None
    single = is_single(x, packed.input_size)
    rows = 1 if single else cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) == 2 else 0
    if not (
        rows > 0
        and (single or has_shape(x, rows, packed.input_size))
        and is_step_state_of(h_prev, layers, single, rows, packed.state_size)
        and is_step_state_of(C_prev, layers, single, rows, packed.hidden_size)
    ):
        return None
    h = copy_of(h_prev)
    C = copy_of(C_prev)
    size = sizeof(double) if packed.is_double else sizeof(float)
    features = cnp.PyArray_DATA(x)
    for layer in range(layers):
        packed = (<tuple>cells)[layer]
        call = step_call(
            packed, rows, features,
            <char *>cnp.PyArray_DATA(h) + layer * rows * packed.state_size * size,
            <char *>cnp.PyArray_DATA(C) + layer * rows * packed.hidden_size * size,
        )
        run_call(packed, &call)
        features = call.h
    return h, C


# ---- a sequence, likewise

cdef inline bint is_sequence(object X, ptrdiff_t input_size) noexcept:
    """Whether X is (T, I) or (B, T, I), and not empty."""
    cdef int rank = cnp.PyArray_NDIM(X)
    return rank in (2, 3) and cnp.PyArray_DIM(X, rank - 1) == input_size and cnp.PyArray_SIZE(X) > 0


cdef inline bint overlaps(object array, object other) noexcept:
    """Whether two contiguous arrays have memory in common."""
    first, second = <char *>cnp.PyArray_DATA(array), <char *>cnp.PyArray_DATA(other)
    return first < second + cnp.PyArray_NBYTES(other) and second < first + cnp.PyArray_NBYTES(array)


cdef object state_of_sequence(object state, PackedWeights packed, object X, ptrdiff_t size):
    """A copy of a state given, (1, size) or (1, B, size), or zeros where None; None where it is not plain."""
    cdef cnp.npy_intp shape[3]
    cdef int rank = cnp.PyArray_NDIM(X)
    shape[0], shape[1], shape[2] = 1, size, size
    if rank == 3:
        shape[1] = cnp.PyArray_DIM(X, 0)
    if state is None:
        return cnp.PyArray_ZEROS(rank, shape, cnp.NPY_DOUBLE if packed.is_double else cnp.NPY_FLOAT, 0)
    if not is_plain(state, packed):
        return None
    if not (has_shape(state, 1, size) if rank == 2 else has_layers(state, 1, shape[1], size)):
        return None
    return copy_of(state)


cdef object output_of_sequence(object out, PackedWeights packed, object X):
    """`out` or, for None, a new array, (T, O) or (B, T, O); None where `out` is not plain or does not fit."""
    cdef cnp.npy_intp shape[3]
    cdef int axis
    cdef int rank = cnp.PyArray_NDIM(X)
    for axis in range(rank - 1):
        shape[axis] = cnp.PyArray_DIM(X, axis)
    shape[rank - 1] = packed.state_size
    if out is None:
        return cnp.PyArray_SimpleNew(rank, shape, cnp.NPY_DOUBLE if packed.is_double else cnp.NPY_FLOAT)
    if not (is_plain(out, packed) and cnp.PyArray_ISWRITEABLE(out) and cnp.PyArray_NDIM(out) == rank):
        return None
    for axis in range(rank):
        if cnp.PyArray_DIM(out, axis) != shape[axis]:
            return None
    return None if overlaps(out, X) else out


def sequence_plain(cells, X, h0, C0, out, bint reverse):
    """X (T, I) or (B, T, I), states of one layer, (1, O) or (1, B, O), or None: Y, h_n, C_n; None otherwise.

    The way of `LSTM.forward_sequence` for what is usual, as `forward_plain` is for one step.
    """
    cdef PackedWeights packed
    cdef Call call
    cdef ptrdiff_t time
    if layers_of(cells) != 1:
        return None
    packed = (<tuple>cells)[0]
    if not (is_plain(X, packed) and is_sequence(X, packed.input_size)):
        return None
    h = state_of_sequence(h0, packed, X, packed.state_size)
    C = state_of_sequence(C0, packed, X, packed.hidden_size)
    Y = output_of_sequence(out, packed, X)
    if h is None or C is None or Y is None:
        return None
    memset(&call, 0, sizeof(call))
    time = cnp.PyArray_DIM(X, cnp.PyArray_NDIM(X) - 2)
    call.batch = cnp.PyArray_DIM(X, 0) if cnp.PyArray_NDIM(X) == 3 else 1
    call.time = time
    call.reverse = reverse
    call.X = Rows(cnp.PyArray_DATA(X), time * packed.input_size, packed.input_size)
    call.Y = Rows(cnp.PyArray_DATA(Y), time * packed.state_size, packed.state_size)
    call.h, call.C = cnp.PyArray_DATA(h), cnp.PyArray_DATA(C)
    run_call(packed, &call)
    return Y, h, C


@cython.final
cdef class StepScratch:
    """The scratch memory of one time step of B rows, for a `Stream`."""
    cdef char *memory
    cdef bint busy
    cdef ptrdiff_t batch
    cdef object cells

    def __cinit__(self):
        self.memory = NULL
        self.busy = False

    def __dealloc__(self):
        free(self.memory)

    def __reduce__(self):
        raise TypeError("the scratch memory of a stream cannot be pickled")

    cdef int use(self, tuple cells, ptrdiff_t batch) except -1:
        """Make the memory fit these layers."""
        cdef size_t size = 0
        cdef char *memory
        cdef PackedWeights packed
        cdef Call call
        for packed in cells:
            call = step_call(packed, batch, NULL, NULL, NULL)
            size = max(size, scratch_bytes(packed, &call))
        memory = <char *>malloc(size)
        if memory is NULL:
            no_memory(packed, batch)
        free(self.memory)
        self.memory = memory
        self.cells = cells
        self.batch = batch
        return 0

    cdef object fitting_out(self, out, PackedWeights packed, ptrdiff_t batch, bint single):
        """`out`, or for None a new array, (O,) or (B, O); None where `out` is not plain or does not fit."""
        cdef cnp.npy_intp shape[2]
        shape[0], shape[1] = batch, packed.state_size
        if out is None:
            return cnp.PyArray_SimpleNew(
                1 if single else 2,
                &shape[1] if single else &shape[0],
                cnp.NPY_DOUBLE if packed.is_double else cnp.NPY_FLOAT,
            )
        if (
            is_plain(out, packed)
            and cnp.PyArray_ISWRITEABLE(out)
            and (has_length(out, shape[1]) if single else has_shape(out, batch, shape[1]))
        ):
            return out
        return None

    cdef void *run(self, ptrdiff_t layers, ptrdiff_t batch, void *x, void *h, void *C):
        """One step of every layer: x (B, I), h (L, B, O), C (L, B, H); returns the last layer's h."""
        cdef PackedWeights packed
        cdef ptrdiff_t layer
        cdef ptrdiff_t size
        cdef Call call
        cdef void *features = x
        for layer in range(layers):
            packed = (<tuple>self.cells)[layer]
            size = sizeof(double) if packed.is_double else sizeof(float)
            call = step_call(
                packed, batch, features,
                <char *>h + layer * batch * packed.state_size * size,
                <char *>C + layer * batch * packed.hidden_size * size,
            )
            if is_short(packed, batch, 1):
                run_typed(packed, &call, self.memory)
            else:
                with nogil:
                    run_typed(packed, &call, self.memory)
            features = call.h
        return features

    def step(self, cells, x, h, C, out, bint single):
        """x (B, I), h (L, B, O) and C (L, B, H) in and out, out (B, O) or None: out, or a new one.

        `single` takes x (I,) and gives out (O,) instead, for B = 1. None where an array is not plain or does
        not fit: nothing has been done then.
        """
        cdef ptrdiff_t batch
        cdef ptrdiff_t layers = layers_of(cells)
        cdef PackedWeights packed
        cdef void *hidden
        if layers == 0:
            return None
        packed = (<tuple>cells)[0]
        if not (is_plain(x, packed) and is_plain(h, packed) and is_plain(C, packed)):
            return None
        batch = 1 if single else cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) == 2 else 0
        if not (
            batch > 0
            and cnp.PyArray_ISWRITEABLE(h)
            and cnp.PyArray_ISWRITEABLE(C)
            and (has_length(x, packed.input_size) if single else has_shape(x, batch, packed.input_size))
            and has_layers(h, layers, batch, packed.state_size)
            and has_layers(C, layers, batch, packed.hidden_size)
        ):
            return None
        out = self.fitting_out(out, packed, batch, single)
        if out is None:
            return None
        if self.busy:
            raise RuntimeError("this stream is in the middle of a step in another thread")
        if cells is not self.cells or batch != self.batch:
            self.use(cells, batch)
        self.busy = True
        hidden = self.run(layers, batch, cnp.PyArray_DATA(x), cnp.PyArray_DATA(h), cnp.PyArray_DATA(C))
        self.busy = False
        memmove(cnp.PyArray_DATA(out), hidden, cnp.PyArray_NBYTES(out))
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
    layer.tile.variant = NULL
    layer.tile.trace = NULL
    layer.tile.steps = 1
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
