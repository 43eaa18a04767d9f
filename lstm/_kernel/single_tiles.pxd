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
