# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The kernels of int8 one by one, for tests.
cimport numpy as cnp
from libc.stdint cimport int8_t, int32_t, uint64_t

from .arrays cimport axis_of, numbers_of
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
    const lstm_int8_kernels *kernels, object x, float least, object integers
) except? -1:
    """x (n,), integers: room for n of them, rounded up to 16. Returns their scale."""
    cdef const float *source = <const float *>numbers_of("x", x, cnp.NPY_FLOAT, 1, False)
    cdef char *target = <char *>numbers_of("integers", integers, cnp.NPY_UBYTE, 1, True)
    cdef ptrdiff_t n = axis_of(x, 0)
    cdef ptrdiff_t room = (n + 15) // 16 * 16 * kernels.integer_bytes
    cdef float scale = 0
    cdef uint64_t found
    if n == 0 or axis_of(integers, 0) != room:
        raise ValueError(f"integers has {axis_of(integers, 0)} bytes, but must have {room}")
    with nogil:
        found = lstm_fp_enter()
        kernels.quantize(source, n, least, target, &scale)
        lstm_fp_leave(found)
    return scale


cdef inline int int8_tile_typed(
    const lstm_int8_kernels *kernels, object integers, object input_scales, object weights, object scales,
    object offsets, object start, object sums,
) except -1:
    """integers (rows, bytes), weights (panels, K / 4, 4, L, 4), start, sums (rows, panels, 4, L): a tile."""
    cdef lstm_int8_tile tile
    cdef ptrdiff_t rows, panels, vectors
    cdef uint64_t found
    tile.input = <const char *>numbers_of("integers", integers, cnp.NPY_UBYTE, 2, False)
    tile.input_scales = <const float *>numbers_of("input_scales", input_scales, cnp.NPY_FLOAT, 1, False)
    tile.weights = <const int8_t *>numbers_of("weights", weights, cnp.NPY_BYTE, 5, False)
    tile.scales = <const float *>numbers_of("scales", scales, cnp.NPY_FLOAT, 3, False)
    tile.offsets = <const int32_t *>numbers_of("offsets", offsets, cnp.NPY_INT32, 3, False)
    tile.start = <const float *>numbers_of("start", start, cnp.NPY_FLOAT, 4, False)
    tile.sums = <float *>numbers_of("sums", sums, cnp.NPY_FLOAT, 4, True)
    rows, panels = axis_of(integers, 0), axis_of(weights, 0)
    vectors = GATE_COUNT * axis_of(start, 3)
    if not (1 <= rows <= kernels.row_tile and panels == 1 or rows == 1 and 1 <= panels <= kernels.panel_tile):
        raise ValueError(f"there is no tile of {rows} rows by {panels} panels")
    tile.input_row_stride = axis_of(integers, 1)
    tile.input_scales_stride = 1
    tile.groups = axis_of(weights, 1)
    tile.weights_panel_stride = tile.groups * vectors * LSTM_INT8_GROUP
    tile.start_row_stride = tile.sums_row_stride = panels * vectors
    tile.start_panel_stride = tile.sums_panel_stride = vectors
    with nogil:
        found = lstm_fp_enter()
        kernels.gates[rows][panels](&tile)
        lstm_fp_leave(found)
    return 0


cdef inline int int8_row_typed(
    const lstm_int8_kernels *kernels, object weights, object scales, object offsets, object start,
    object cell, object hidden, object integers, object output, ptrdiff_t depth, bint forward,
) except -1:
    """weights (P, groups, 4, L, 4), start (T, P, 4, L), cell, hidden (P, L), output (T, depth): a row."""
    cdef lstm_int8_row row
    cdef ptrdiff_t lanes
    cdef uint64_t found
    if kernels.row_steps is NULL:
        raise ValueError(f"{kernels.name.decode()} has no kernel of a row")
    row.weights = <const int8_t *>numbers_of("weights", weights, cnp.NPY_BYTE, 5, False)
    row.scales = <const float *>numbers_of("scales", scales, cnp.NPY_FLOAT, 3, False)
    row.offsets = <const int32_t *>numbers_of("offsets", offsets, cnp.NPY_INT32, 3, False)
    row.start = <const float *>numbers_of("start", start, cnp.NPY_FLOAT, 4, False)
    row.cell = <float *>numbers_of("cell", cell, cnp.NPY_FLOAT, 2, True)
    row.hidden = <float *>numbers_of("hidden", hidden, cnp.NPY_FLOAT, 2, True)
    row.integers = <char *>numbers_of("integers", integers, cnp.NPY_UBYTE, 1, True)
    row.output = NULL
    if output is not None:
        row.output = <float *>numbers_of("output", output, cnp.NPY_FLOAT, 2, True)
    lanes = axis_of(start, 3)
    row.steps, row.depth, row.panels = axis_of(start, 0), depth, axis_of(weights, 0)
    row.groups = axis_of(weights, 1)
    room = 2 * row.panels * lanes * kernels.integer_bytes
    if axis_of(integers, 0) != room or (depth + lanes - 1) // lanes != row.panels:
        raise ValueError(
            f"integers has {axis_of(integers, 0)} bytes, but must have {room} of {row.panels} panels"
        )
    row.start_step_stride = row.panels * GATE_COUNT * lanes
    row.output_step_stride = depth
    row.forward = forward
    with nogil:
        found = lstm_fp_enter()
        kernels.row_steps(&row)
        lstm_fp_leave(found)
    return 0
