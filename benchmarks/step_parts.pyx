# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False
"""The parts of a time step in float32, timed in the driver itself; compiled and used by anatomy.py.

The loops are those of lstm/_kernel/, which are inline code: a part is timed by leaving out the others.
Without features of h there is no h half, without features of x no x half, and with `gates` kernels in the
place of the `step` kernels no cell update. The parts of a row alone are those of its tiles, one after the
other: the kernels that do all of its steps mix them.
"""
cimport numpy as cnp
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from lstm import _kernel

from lstm._kernel.call cimport Call, prepare, strided_rows
from lstm._kernel.layer_weights cimport LayerWeights, address_of, set_sizes
from lstm._kernel.micro_kernels cimport (
    LSTM_MAX_PANELS,
    LSTM_MAX_ROWS,
    lstm_f32_kernels,
    lstm_f32_pass,
    lstm_f32_tile,
    lstm_fp_enter,
    lstm_fp_leave,
)
from lstm._kernel.passes cimport bind_scratch, load_states, store_states
from lstm._kernel.steps cimport is_whole_tile, run_layer

cnp.import_array()


cdef extern from *:
    """
    #include <time.h>

    static int64_t nanoseconds(void) {
        struct timespec t;
        timespec_get(&t, TIME_UTC);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }

    /* By a chain of multiplications, of 3 cycles on all of these CPUs; some fold additions of constants. */
    static double gigahertz(void) {
        double most = 0;
        for (int repeat = 0; repeat < 20; repeat++) {
            const long steps = 1000000;
            uint64_t x = 1;
            const int64_t start = nanoseconds();
            for (long k = 0; k < steps; k++) {
                __asm__ volatile("imulq $3, %0, %0\\n\\timulq $3, %0, %0" : "+r"(x));
            }
            const double rate = 6 * (double)steps / (double)(nanoseconds() - start);
            most = rate > most ? rate : most;
        }
        return most;
    }
    """
    int64_t nanoseconds() nogil
    double gigahertz() nogil

cdef enum:
    REPEATS = 60

ctypedef void (*Kernel)(lstm_f32_tile *) noexcept nogil

cdef Kernel gates_of_whole_tile


cdef void gates_of_all_steps(lstm_f32_tile *tile) noexcept nogil:
    """What a step kernel does when one tile is the whole net, without the cell update."""
    for _ in range(tile.steps):
        gates_of_whole_tile(tile)
        tile.start += tile.start_step_stride


cdef lstm_f32_kernels tiles_alone(lstm_f32_pass *layer) noexcept:
    """The table of the pass without the kernels of a row alone."""
    cdef lstm_f32_kernels table = layer.kernels[0]
    table.net_panels = 0
    table.row_net = table.row_steps = NULL
    return table


cdef lstm_f32_kernels without_cell(lstm_f32_pass *layer) noexcept:
    """The table of the pass with `gates` in the place of `step`."""
    global gates_of_whole_tile
    cdef lstm_f32_kernels table = layer.kernels[0]
    cdef int rows, panels
    for rows in range(LSTM_MAX_ROWS + 1):
        for panels in range(LSTM_MAX_PANELS + 1):
            table.step[rows][panels] = table.gates[rows][panels]
    if is_whole_tile(layer):
        gates_of_whole_tile = table.gates[layer.batch][layer.panels]
        table.step[layer.batch][layer.panels] = gates_of_all_steps
    return table


cdef double best(lstm_f32_pass *layer) noexcept nogil:
    """Least nanoseconds a step of many runs of the whole sequence."""
    cdef int64_t least = INT64_MAX
    cdef int64_t start
    for _ in range(REPEATS):
        start = nanoseconds()
        run_layer(layer)
        least = min(least, nanoseconds() - start)
    return <double>least / layer.time


cdef LayerWeights weights_of(packed):
    """The same as `packed` holds, of the default equations."""
    cdef LayerWeights weights
    memset(&weights, 0, sizeof(weights))
    lanes, _, panel_tile = _kernel.tile_limits(packed.isa, "float32")
    weights.isa = _kernel.KNOWN_ISAS.index(packed.isa)
    weights.has_default_equations = True
    weights.input_size, weights.hidden_size = packed.input_size, packed.hidden_size
    weights.state_size, weights.proj_clip = packed.state_size, INFINITY
    weights.input = address_of(packed.input)
    weights.hidden = address_of(packed.hidden)
    weights.bias = address_of(packed.bias)
    set_sizes(&weights, lanes, panel_tile, sizeof(float))
    return weights


def measure(
    packed, X, float[:, ::1] h, float[:, ::1] C, Y, float[:, :, ::1] unused
):
    """X (B, T, I), h (B, H), C (B, H), Y (B, T, H): one run, then nanoseconds a step of every part.

    The run overwrites Y, h and C, for the caller to compare; the parts write into `unused`, shaped as Y.
    """
    cdef LayerWeights weights = weights_of(packed)
    cdef lstm_f32_pass layer
    cdef lstm_f32_kernels tiles, gates
    cdef Call call
    cdef size_t size
    cdef char *memory
    cdef uint64_t found
    memset(&call, 0, sizeof(call))
    call.batch, call.time = X.shape[0], X.shape[1]
    call.X, call.Y = strided_rows(&weights, "X", X, X.shape), strided_rows(&weights, "Y", Y, Y.shape)
    call.h, call.C = &h[0, 0], &C[0, 0]
    size = prepare(&layer, &weights, &call)
    if layer.rows != call.batch:
        raise ValueError(f"{call.batch} rows are more than one pass")
    layer.slice.work = layer.slice.heard = layer.slice.hears_signals = 0
    layer.slice.is_stopped = NULL
    memory = <char *>malloc(size)
    memset(memory, 0, size)
    found = lstm_fp_enter()
    bind_scratch(&layer, memory)
    load_states(&layer)
    run_layer(&layer)
    store_states(&layer)
    tiles = tiles_alone(&layer)
    layer.kernels = &tiles
    layer.output = &unused[0, 0, 0]
    layer.state_size = 0
    x_half = best(&layer)
    layer.state_size, layer.input_size = weights.state_size, 0
    step = best(&layer)
    gates = without_cell(&layer)
    layer.kernels = &gates
    h_half = best(&layer)
    lstm_fp_leave(found)
    free(memory)
    return {"x_half": x_half, "h_half": h_half, "step": step, "gigahertz": gigahertz()}
