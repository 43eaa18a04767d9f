# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The micro-kernels one by one, for tests.
cimport numpy as cnp
from libc.stdint cimport uint64_t

from .arrays cimport axis_of, number_of_floats, numbers_of
from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_SHORT_SUM,
    Real,
    lstm_f32_pass,
    lstm_f64_pass,
    lstm_fp_enter,
    lstm_fp_leave,
    lstm_isa_at,
)
from .row_kernels cimport lstm_f32_row, lstm_f64_row
from .tiles cimport hidden_block


cdef inline int map_arrays(object x, object y, int isa, bint is_tanh) except -1:
    """x (n,), y (n,): y = tanh(x) or sigmoid(x)."""
    cdef int number = number_of_floats("y", y)
    cdef void *source = numbers_of("x", x, number, 1, False)
    cdef void *target = numbers_of("y", y, number, 1, True)
    cdef ptrdiff_t n = axis_of(x, 0)
    cdef uint64_t found
    if n != axis_of(y, 0):
        raise ValueError(f"x has {n} elements and y {axis_of(y, 0)}")
    f32, f64 = lstm_isa_at(isa).f32, lstm_isa_at(isa).f64
    with nogil:
        found = lstm_fp_enter()
        if number == cnp.NPY_DOUBLE:
            (f64.tanh if is_tanh else f64.sigmoid)(<const double *>source, <double *>target, n)
        else:
            (f32.tanh if is_tanh else f32.sigmoid)(<const float *>source, <float *>target, n)
        lstm_fp_leave(found)
    return 0


cdef inline tuple check_tile(isa, limits, input, dict others):
    """(rows, panels) of a tile whose kernel there is and whose arrays fit; ValueError otherwise."""
    lanes, row_tile, panel_tile = limits
    rows, depth = input.shape
    panels = others["weights"].shape[0]
    if not (1 <= rows <= row_tile and panels == 1 or rows == 1 and 1 <= panels <= panel_tile):
        raise ValueError(f"{isa} has no tile of {rows} rows by {panels} panels")
    shapes = {
        "weights": (panels, depth, GATE_COUNT, lanes),
        "start": (rows, panels, GATE_COUNT, lanes),
        "sums": (rows, panels, GATE_COUNT, lanes),
        "cell": (rows, panels, lanes),
        "hidden": (rows, panels, lanes),
    }
    for name, array in others.items():
        if array.shape != shapes[name]:
            raise ValueError(f"{name} has shape {array.shape}, but must be {shapes[name]}")
        if array.size == 0:
            raise ValueError(f"{name} is empty")
    return rows, panels


cdef struct TileArrays:
    # input (rows, depth), weights (panels, depth, 4, L), start, sums (rows, panels, 4, L), cell, hidden
    # (rows, panels, L), output (rows, units) or NULL.
    ptrdiff_t rows
    ptrdiff_t panels
    ptrdiff_t depth
    ptrdiff_t units
    const void *input
    const void *weights
    const void *start
    void *sums
    void *cell
    void *hidden
    void *output


cdef inline void tile_typed(
    const Real *input, int isa, bint is_step, const TileArrays *arrays
) noexcept nogil:
    """One tile of these arrays: sums or, of a step, cell, hidden and output."""
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    cdef ptrdiff_t vectors
    if Real is float:
        layer = &f32
        layer.kernels = lstm_isa_at(isa).f32
    else:
        layer = &f64
        layer.kernels = lstm_isa_at(isa).f64
    vectors = GATE_COUNT * layer.kernels.lanes
    layer.tile.input = input
    layer.tile.input_row_stride = layer.tile.depth = arrays.depth
    layer.tile.weights = <const Real *>arrays.weights
    layer.tile.weights_panel_stride = arrays.depth * vectors
    layer.tile.start = <const Real *>arrays.start
    layer.tile.start_row_stride = layer.tile.sums_row_stride = arrays.panels * vectors
    layer.tile.start_panel_stride = layer.tile.sums_panel_stride = vectors
    layer.tile.prefetch = layer.tile.weights
    layer.tile.sums = <Real *>arrays.sums
    layer.tile.cell = <Real *>arrays.cell
    layer.tile.hidden = <Real *>arrays.hidden
    layer.tile.state_row_stride = arrays.panels * layer.kernels.lanes
    layer.tile.output = <Real *>arrays.output
    layer.tile.output_row_stride = layer.tile.output_units = arrays.units
    layer.tile.output_step_stride = 0
    layer.tile.variant = NULL
    layer.tile.trace = NULL
    layer.tile.record.gates = NULL
    layer.tile.steps = 1
    layer.tile.sum_block = hidden_block(layer.tile.depth)
    if is_step:
        layer.kernels.step[arrays.rows][arrays.panels](&layer.tile)
    else:
        layer.kernels.gates[arrays.rows][arrays.panels](&layer.tile)


cdef inline int run_tile(int isa, object input, object weights, object start, dict written) except -1:
    """A tile of arrays whose shapes fit: `written` are sums or, of a step, cell, hidden, output or None."""
    cdef int number = number_of_floats("start", start)
    cdef bint is_step = "sums" not in written
    cdef TileArrays arrays
    cdef uint64_t found
    arrays.input = numbers_of("input", input, number, 2, False)
    arrays.weights = numbers_of("weights", weights, number, 4, False)
    arrays.start = numbers_of("start", start, number, 4, False)
    arrays.rows, arrays.panels = axis_of(start, 0), axis_of(start, 1)
    arrays.depth, arrays.units = axis_of(input, 1), 0
    arrays.sums = arrays.cell = arrays.hidden = arrays.output = NULL
    if is_step:
        arrays.cell = numbers_of("cell", written["cell"], number, 3, True)
        arrays.hidden = numbers_of("hidden", written["hidden"], number, 3, True)
        output = written["output"]
        if output is not None:
            arrays.output = numbers_of("output", output, number, 2, True)
            arrays.units = axis_of(output, 1)
    else:
        arrays.sums = numbers_of("sums", written["sums"], number, 4, True)
    with nogil:
        found = lstm_fp_enter()
        if number == cnp.NPY_DOUBLE:
            tile_typed(<const double *>arrays.input, isa, is_step, &arrays)
        else:
            tile_typed(<const float *>arrays.input, isa, is_step, &arrays)
        lstm_fp_leave(found)
    return 0


cdef inline tuple row_limits_of(int isa, bint is_double):
    """(most panels of a net of one tile, whether there is a kernel for more): the kernels of a row alone."""
    if is_double:
        f64 = lstm_isa_at(isa).f64
        return f64.net_panels, f64.row_steps is not NULL
    f32 = lstm_isa_at(isa).f32
    return f32.net_panels, f32.row_steps is not NULL


cdef inline int check_row(isa, limits, bint is_net, weights, dict others) except -1:
    """ValueError for a row of which there is no kernel, or whose arrays do not fit."""
    lanes, net_panels, has_row_steps = limits
    panels, depth = weights.shape[:2]
    steps = others["start"].shape[0]
    has_more = has_row_steps and panels >= 3 and depth > LSTM_SHORT_SUM
    if not (0 < panels <= net_panels if is_net else has_more):
        raise ValueError(f"{isa} has no kernel of a row of {panels} panels and {depth} units")
    shapes = {
        "weights": (panels, (panels - 1) * lanes + (depth - 1) % lanes + 1, GATE_COUNT, lanes),
        "start": (steps, panels, GATE_COUNT, lanes),
        "cell": (panels, lanes),
        "hidden": (2, panels, lanes),
        "output": (steps, depth),
        "x": (steps,),
        "x_weights": (panels, GATE_COUNT, lanes),
    }
    for name, array in {"weights": weights, **others}.items():
        if array is not None and (array.shape != shapes[name] or array.size == 0):
            raise ValueError(f"{name} has shape {array.shape}, but must be {shapes[name]}")
    if (others["x"] is None) != (others["x_weights"] is None) or not (is_net or others["x"] is None):
        raise ValueError("x and x_weights are given together or not at all, and for a net of one tile")
    return 0


cdef struct RowArrays:
    # weights (P, depth, 4, L), start (T, P, 4, L), cell (P, L), hidden (2, P, L), output (T, depth) or NULL,
    # x (T,) and x_weights (P, 4, L), or NULL.
    ptrdiff_t steps
    ptrdiff_t panels
    ptrdiff_t depth
    ptrdiff_t lanes
    const void *weights
    const void *start
    void *cell
    void *hidden
    void *output
    const void *x
    const void *x_weights
    bint forward


cdef inline void row_typed(
    const Real *weights, int isa, bint is_net, const RowArrays *arrays
) noexcept nogil:
    """All steps of a row.

    hidden is after them in its first part or, of a net of several tiles and an odd number of steps, in the
    second.
    """
    cdef lstm_f32_row f32
    cdef lstm_f64_row f64
    if Real is float:
        row = &f32
        kernels = lstm_isa_at(isa).f32
    else:
        row = &f64
        kernels = lstm_isa_at(isa).f64
    row.steps, row.depth, row.panels = arrays.steps, arrays.depth, arrays.panels
    row.weights = weights
    row.start = <const Real *>arrays.start
    row.start_panel_stride = GATE_COUNT * arrays.lanes
    row.start_step_stride = row.panels * row.start_panel_stride
    row.x, row.x_step_stride, row.x_weights = <const Real *>arrays.x, 1, <const Real *>arrays.x_weights
    row.cell = <Real *>arrays.cell
    row.hidden = <Real *>arrays.hidden
    row.hidden_next = row.hidden + arrays.panels * arrays.lanes
    row.output, row.output_step_stride = <Real *>arrays.output, arrays.depth
    row.forward = arrays.forward
    row.record.gates = NULL
    kernel = kernels.row_net if is_net else kernels.row_steps
    kernel(row)


cdef inline const void *optional(str name, object array, int number, int rank, bint is_written) except? NULL:
    """`numbers_of`, NULL for None."""
    return NULL if array is None else numbers_of(name, array, number, rank, is_written)


cdef inline int run_single_row(bint is_net, int isa, object weights, dict others, bint forward) except -1:
    """All steps of a row, of arrays whose shapes fit: those of RowArrays by their names."""
    cdef int number = number_of_floats("weights", weights)
    cdef RowArrays arrays
    cdef uint64_t found
    start = others["start"]
    arrays.weights = numbers_of("weights", weights, number, 4, False)
    arrays.start = numbers_of("start", start, number, 4, False)
    arrays.cell = numbers_of("cell", others["cell"], number, 2, True)
    arrays.hidden = numbers_of("hidden", others["hidden"], number, 3, True)
    arrays.output = <void *>optional("output", others["output"], number, 2, True)
    arrays.x = optional("x", others["x"], number, 1, False)
    arrays.x_weights = optional("x_weights", others["x_weights"], number, 3, False)
    arrays.steps, arrays.panels, arrays.depth = axis_of(start, 0), axis_of(weights, 0), axis_of(weights, 1)
    arrays.lanes, arrays.forward = axis_of(weights, 3), forward
    with nogil:
        found = lstm_fp_enter()
        if number == cnp.NPY_DOUBLE:
            row_typed(<const double *>arrays.weights, isa, is_net, &arrays)
        else:
            row_typed(<const float *>arrays.weights, isa, is_net, &arrays)
        lstm_fp_leave(found)
    return 0
