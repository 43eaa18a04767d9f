# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The kernels of int8 one by one, for tests.
from libc.stdint cimport int8_t, int32_t, uint8_t, uint64_t

from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_INT8_GROUP,
    lstm_fp_enter,
    lstm_fp_leave,
    lstm_int8_kernels,
    lstm_int8_row,
    lstm_int8_tile,
)


cdef inline float quantize_typed(
    const lstm_int8_kernels *kernels, const float[::1] x, float least, uint8_t[::1] integers
) except? -1:
    """x (n,), integers: room for n of them, rounded up to 16. Returns their scale."""
    cdef float scale = 0
    cdef uint64_t found
    room = (x.shape[0] + 15) // 16 * 16 * kernels.integer_bytes
    if x.shape[0] == 0 or integers.shape[0] != room:
        raise ValueError(f"integers has {integers.shape[0]} bytes, but must have {room}")
    with nogil:
        found = lstm_fp_enter()
        kernels.quantize(&x[0], x.shape[0], least, <char *>&integers[0], &scale)
        lstm_fp_leave(found)
    return scale


cdef inline int int8_tile_typed(
    const lstm_int8_kernels *kernels, const uint8_t[:, ::1] integers,
    const float[::1] input_scales, const int8_t[:, :, :, :, ::1] weights, const float[:, :, ::1] scales,
    const int32_t[:, :, ::1] offsets, const float[:, :, :, ::1] start, float[:, :, :, ::1] sums,
) except -1:
    """integers (rows, bytes), weights (panels, K / 4, 4, L, 4), start, sums (rows, panels, 4, L): a tile."""
    cdef ptrdiff_t rows = integers.shape[0]
    cdef ptrdiff_t panels = weights.shape[0]
    cdef ptrdiff_t vectors = GATE_COUNT * start.shape[3]
    cdef lstm_int8_tile tile
    cdef uint64_t found
    if not (1 <= rows <= kernels.row_tile and panels == 1 or rows == 1 and 1 <= panels <= kernels.panel_tile):
        raise ValueError(f"there is no tile of {rows} rows by {panels} panels")
    tile.input = <const char *>&integers[0, 0]
    tile.input_row_stride = integers.shape[1]
    tile.input_scales, tile.input_scales_stride = &input_scales[0], 1
    tile.groups = weights.shape[1]
    tile.weights = &weights[0, 0, 0, 0, 0]
    tile.weights_panel_stride = tile.groups * vectors * LSTM_INT8_GROUP
    tile.scales, tile.offsets = &scales[0, 0, 0], &offsets[0, 0, 0]
    tile.start, tile.sums = &start[0, 0, 0, 0], &sums[0, 0, 0, 0]
    tile.start_row_stride = tile.sums_row_stride = panels * vectors
    tile.start_panel_stride = tile.sums_panel_stride = vectors
    with nogil:
        found = lstm_fp_enter()
        kernels.gates[rows][panels](&tile)
        lstm_fp_leave(found)
    return 0


cdef inline int int8_row_typed(
    const lstm_int8_kernels *kernels, const int8_t[:, :, :, :, ::1] weights, const float[:, :, ::1] scales,
    const int32_t[:, :, ::1] offsets, const float[:, :, :, ::1] start, float[:, ::1] cell,
    float[:, ::1] hidden, uint8_t[::1] integers, float[:, ::1] output, ptrdiff_t depth, bint forward,
) except -1:
    """weights (P, groups, 4, L, 4), start (T, P, 4, L), cell, hidden (P, L), output (T, depth): a row."""
    cdef ptrdiff_t panels = weights.shape[0]
    cdef ptrdiff_t lanes = start.shape[3]
    cdef lstm_int8_row row
    cdef uint64_t found
    if kernels.row_steps is NULL:
        raise ValueError(f"{kernels.name.decode()} has no kernel of a row")
    room = 2 * panels * lanes * kernels.integer_bytes
    if integers.shape[0] != room or (depth + lanes - 1) // lanes != panels:
        raise ValueError(f"integers has {integers.shape[0]} bytes, but must have {room} of {panels} panels")
    row.steps, row.depth, row.panels = start.shape[0], depth, panels
    row.groups = weights.shape[1]
    row.weights, row.scales, row.offsets = &weights[0, 0, 0, 0, 0], &scales[0, 0, 0], &offsets[0, 0, 0]
    row.start, row.start_step_stride = &start[0, 0, 0, 0], panels * GATE_COUNT * lanes
    row.cell, row.hidden = &cell[0, 0], &hidden[0, 0]
    row.integers = <char *>&integers[0]
    row.output = NULL
    row.output_step_stride = depth
    if output is not None:
        row.output = &output[0, 0]
    row.forward = forward
    with nogil:
        found = lstm_fp_enter()
        kernels.row_steps(&row)
        lstm_fp_leave(found)
    return 0
