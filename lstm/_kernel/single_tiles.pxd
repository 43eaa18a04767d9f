# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The micro-kernels one by one, for tests.
from libc.stdint cimport uint64_t

from .micro_kernels cimport (
    GATE_COUNT,
    Real,
    lstm_f32_pass,
    lstm_f64_pass,
    lstm_fp_enter,
    lstm_fp_leave,
    lstm_isa_at,
)
from .row_kernels cimport lstm_f32_row, lstm_f64_row
from .tiles cimport hidden_block


cdef inline map_typed(const Real[::1] x, Real[::1] y, int isa, bint is_tanh):
    """x (n,), y (n,): y = tanh(x) or sigmoid(x)."""
    cdef uint64_t found
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"x has {x.shape[0]} elements and y {y.shape[0]}")
    if x.shape[0] == 0:
        return
    if Real is float:
        kernels = lstm_isa_at(isa).f32
    else:
        kernels = lstm_isa_at(isa).f64
    function = kernels.tanh if is_tanh else kernels.sigmoid
    with nogil:
        found = lstm_fp_enter()
        function(&x[0], &y[0], x.shape[0])
        lstm_fp_leave(found)


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


cdef inline tile_typed(
    bint is_step, int isa, const Real[:, ::1] input, const Real[:, :, :, ::1] weights,
    const Real[:, :, :, ::1] start, Real[:, :, :, ::1] sums, Real[:, :, ::1] cell,
    Real[:, :, ::1] hidden, Real[:, ::1] output,
):
    """input (rows, depth), weights (panels, depth, 4, L), start (rows, panels, 4, L): one tile.

    Out: sums (rows, panels, 4, L) or, of a step, cell, hidden (rows, panels, L), output (rows, units).
    """
    cdef Py_ssize_t rows = start.shape[0]
    cdef Py_ssize_t panels = start.shape[1]
    cdef Py_ssize_t vectors = start.shape[2] * start.shape[3]
    cdef uint64_t found
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    if Real is float:
        layer = &f32
        layer.kernels = lstm_isa_at(isa).f32
    else:
        layer = &f64
        layer.kernels = lstm_isa_at(isa).f64
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
    layer.tile.record.gates = NULL
    layer.tile.steps = 1
    layer.tile.sum_block = hidden_block(layer.tile.depth)
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
    if not (0 < panels <= net_panels if is_net else has_row_steps and panels >= 3):
        raise ValueError(f"{isa} has no kernel of a row of {panels} panels")
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


cdef inline row_typed(
    bint is_net, int isa, const Real[:, :, :, ::1] weights, const Real[:, :, :, ::1] start, Real[:, ::1] cell,
    Real[:, :, ::1] hidden, Real[:, ::1] output, const Real[::1] x, const Real[:, :, ::1] x_weights,
    bint forward,
):
    """weights (P, depth, 4, L), start (T, P, 4, L): all T steps of a row.

    cell (P, L) in and out; hidden (2, P, L): h before in the first, after the steps there too or, of a net of
    several tiles after an odd number of steps, in the second; output (T, depth) or None; x (T,) and x_weights
    (P, 4, L), or None.
    """
    cdef uint64_t found
    cdef lstm_f32_row f32
    cdef lstm_f64_row f64
    if Real is float:
        row = &f32
        kernels = lstm_isa_at(isa).f32
    else:
        row = &f64
        kernels = lstm_isa_at(isa).f64
    row.steps = start.shape[0]
    row.depth = weights.shape[1]
    row.panels = weights.shape[0]
    row.weights = &weights[0, 0, 0, 0]
    row.start = &start[0, 0, 0, 0]
    row.start_panel_stride = GATE_COUNT * kernels.lanes
    row.start_step_stride = row.panels * row.start_panel_stride
    row.x = NULL
    if x is not None:
        row.x, row.x_step_stride, row.x_weights = &x[0], 1, &x_weights[0, 0, 0]
    row.cell = &cell[0, 0]
    row.hidden, row.hidden_next = &hidden[0, 0, 0], &hidden[1, 0, 0]
    row.output = NULL
    if output is not None:
        row.output, row.output_step_stride = &output[0, 0], output.shape[1]
    row.forward = forward
    row.record.gates = NULL
    kernel = kernels.row_net if is_net else kernels.row_steps
    with nogil:
        found = lstm_fp_enter()
        kernel(row)
        lstm_fp_leave(found)
