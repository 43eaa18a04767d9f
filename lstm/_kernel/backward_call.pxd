# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# One call of the backward pass of one layer and direction: its arguments, scratch memory and the GIL.
from libc.string cimport memset

from .arrays cimport read_data, writable_data
from .backward cimport BACKWARD_ROWS, run_backward
from .backward_types cimport Backward, lstm_f32_backward, lstm_f64_backward
from .call cimport Rows, Saved, bind_record, saved_of, strided_rows
from .layer_weights cimport LayerWeights, needs_codes
from .micro_kernels cimport GATE_COUNT, LSTM_CACHE_LINE, LSTM_MAX_PRODUCT_VECTORS, lstm_isa_at
from .passes cimport aligned
from .tiles cimport share
from .weight_gradients cimport FEW_FEATURES


cdef extern from "scratch.h" nogil:
    void *lstm_scratch_take(size_t size)
    void lstm_scratch_give(void *memory)


cdef enum:
    # Steps whose features are gathered at a time for the gradients of the weights: of float32 on AVX-512
    # half a megabyte, most of an L2.
    GATHERED_STEPS = 2048


cdef struct Sums:
    # Gradients of the weights, added to: one for all rows, or with an axis (B,) in front, one for each.
    void *input  # (4, H, I), or NULL if it is not asked for
    void *hidden  # (4, H, O), or NULL
    void *bias  # (4, H), or NULL if none are asked for
    void *peephole  # (3, H), or NULL
    void *projection  # (O, H), or NULL
    bint by_row


cdef struct BackwardCall:
    # What one layer and direction is asked for, by the caller's rows and time.
    ptrdiff_t batch
    ptrdiff_t time
    Rows X  # (B, T, I)
    Rows Y  # (B, T, O)
    const void *h0  # (B, O)
    const void *recurrent  # (B, O), or NULL
    Saved record
    Rows dY  # (B, T, O), or NULL
    void *dh  # (B, O), in and out
    void *dC  # (B, H), in and out
    void *dX  # (B, T, I), or NULL
    void *norms  # (2, B, T)
    ptrdiff_t norms_kind_stride
    Sums sums
    const ptrdiff_t *order  # (B,): rows, longest first, or NULL
    const ptrdiff_t *rank  # (B,): the place of each row in `order`, or NULL
    const ptrdiff_t *lengths  # (B,), or NULL
    bint reverse


cdef inline Sums sums_of(const LayerWeights *weights, ptrdiff_t batch, tuple sums) except *:
    """The addresses of (input, hidden, bias, peephole, projection), with or without an axis of rows."""
    cdef Sums result
    cdef tuple front = ()
    cdef ptrdiff_t hidden = weights.hidden_size
    cdef ptrdiff_t size = weights.state_size
    result.by_row = sums[2].ndim == 3
    if result.by_row:
        front = (batch,)
    result.input = writable_data(
        weights, "input", sums[0], (*front, GATE_COUNT, hidden, weights.input_size)
    )
    result.hidden = writable_data(weights, "hidden", sums[1], (*front, GATE_COUNT, hidden, size))
    result.bias = writable_data(weights, "bias", sums[2], (*front, GATE_COUNT, hidden))
    result.peephole = writable_data(weights, "peephole", sums[3], (*front, 3, hidden))
    result.projection = writable_data(weights, "projection", sums[4], (*front, size, hidden))
    return result


cdef inline BackwardCall backward_call(
    const LayerWeights *weights, X, Y, h0, tuple record, dY, dh, dC, dX, sums, norms, recurrent, bint reverse
) except *:
    """The arguments of a call, without lengths; ValueError if arrays disagree with one another."""
    cdef BackwardCall call
    cdef ptrdiff_t batch = X.shape[0]
    cdef ptrdiff_t time = X.shape[1]
    cdef tuple outputs = (batch, time, weights.state_size)
    cdef tuple states = (batch, weights.state_size)
    cdef Rows rows
    memset(&call, 0, sizeof(call))
    call.batch, call.time, call.reverse = batch, time, reverse
    call.X = strided_rows(weights, "X", X, (batch, time, weights.input_size))
    call.Y = strided_rows(weights, "Y", Y, outputs)
    call.h0 = read_data(weights, "h0", h0, states)
    call.recurrent = read_data(weights, "recurrent", recurrent, states)
    call.record = saved_of(weights, batch, time, record)
    call.dY = strided_rows(weights, "dY", dY, outputs)
    call.dh = writable_data(weights, "dh", dh, states)
    call.dC = writable_data(weights, "dC", dC, (batch, weights.hidden_size))
    call.dX = writable_data(weights, "dX", dX, X.shape)
    rows = strided_rows(weights, "norms", norms, (2, batch, time))
    if rows.data is not NULL and rows.time_stride != time:
        raise ValueError("norms must be contiguous but for its first axis")
    call.norms, call.norms_kind_stride = rows.data, rows.batch_stride
    if sums is not None:
        call.sums = sums_of(weights, batch, sums)
    return call


cdef inline void bind_typed_weights(Backward *layer, const LayerWeights *weights) noexcept nogil:
    """Point `layer` at the packed weights."""
    if Backward is lstm_f32_backward:
        layer.kernels = lstm_isa_at(weights.isa).f32
        layer.variant = &weights.f32
        layer.peephole = <const float *>weights.peephole
        layer.input_weights = <const float *>weights.input
        layer.hidden_weights = <const float *>weights.hidden
        layer.projection = <const float *>weights.projection
    else:
        layer.kernels = lstm_isa_at(weights.isa).f64
        layer.variant = &weights.f64
        layer.peephole = <const double *>weights.peephole
        layer.input_weights = <const double *>weights.input
        layer.hidden_weights = <const double *>weights.hidden
        layer.projection = <const double *>weights.projection


cdef inline void bind_typed_arrays(Backward *layer, const BackwardCall *call) noexcept nogil:
    """Point `layer` at the caller's arrays."""
    if Backward is lstm_f32_backward:
        layer.input, layer.output = <const float *>call.X.data, <const float *>call.Y.data
        layer.first_hidden, layer.recurrent = <const float *>call.h0, <const float *>call.recurrent
        layer.d_output, layer.norms = <const float *>call.dY.data, <float *>call.norms
        layer.d_state_hidden, layer.d_state_cell = <float *>call.dh, <float *>call.dC
        layer.d_input, layer.d_bias = <float *>call.dX, <float *>call.sums.bias
        layer.d_input_weights = <float *>call.sums.input
        layer.d_hidden_weights = <float *>call.sums.hidden
        layer.d_peephole = <float *>call.sums.peephole
        layer.d_projection = <float *>call.sums.projection
    else:
        layer.input, layer.output = <const double *>call.X.data, <const double *>call.Y.data
        layer.first_hidden, layer.recurrent = <const double *>call.h0, <const double *>call.recurrent
        layer.d_output, layer.norms = <const double *>call.dY.data, <double *>call.norms
        layer.d_state_hidden, layer.d_state_cell = <double *>call.dh, <double *>call.dC
        layer.d_input, layer.d_bias = <double *>call.dX, <double *>call.sums.bias
        layer.d_input_weights = <double *>call.sums.input
        layer.d_hidden_weights = <double *>call.sums.hidden
        layer.d_peephole = <double *>call.sums.peephole
        layer.d_projection = <double *>call.sums.projection


cdef inline void bind_sizes(
    Backward *layer, const LayerWeights *weights, const BackwardCall *call
) noexcept nogil:
    """Sizes and strides of a call."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef bint by_row = call.sums.by_row
    layer.batch, layer.time, layer.reverse = call.batch, call.time, call.reverse
    layer.input_size, layer.hidden_size = weights.input_size, weights.hidden_size
    layer.state_size, layer.panels = weights.state_size, weights.panels
    layer.proj_clip = weights.proj_clip
    layer.first_panel, layer.end_panel = 0, layer.panels
    layer.hidden_width = (layer.state_size + lanes - 1) // lanes * lanes
    layer.cell_width = layer.panels * lanes
    # A cache line more: at a power of two the rows of a tile would share a few sets of the cache.
    layer.d_sums_width = GATE_COUNT * layer.cell_width + lanes
    layer.order, layer.lengths = call.order, call.lengths
    layer.input_batch_stride, layer.input_time_stride = call.X.batch_stride, call.X.time_stride
    layer.output_batch_stride, layer.output_time_stride = call.Y.batch_stride, call.Y.time_stride
    layer.d_output_batch_stride, layer.d_output_time_stride = call.dY.batch_stride, call.dY.time_stride
    layer.norms_kind_stride, layer.norms_batch_stride = call.norms_kind_stride, call.time
    layer.gathered_steps = max(layer.time, min(layer.batch * layer.time, GATHERED_STEPS))
    layer.d_input_weights_stride = by_row * GATE_COUNT * layer.hidden_size * layer.input_size
    layer.d_hidden_weights_stride = by_row * GATE_COUNT * layer.hidden_size * layer.state_size
    layer.d_bias_stride = by_row * GATE_COUNT * layer.hidden_size
    layer.d_peephole_stride = by_row * 3 * layer.hidden_size
    layer.d_projection_stride = by_row * layer.state_size * layer.hidden_size


cdef inline void bind_step(Backward *layer, const LayerWeights *weights) noexcept nogil:
    """What is the same at every step of the cell."""
    memset(&layer.step, 0, sizeof(layer.step))
    layer.record.has_codes = needs_codes(layer.variant)
    layer.step.panels, layer.step.units = layer.panels, layer.hidden_size
    layer.step.reverse = layer.reverse
    layer.step.projects = layer.projection is not NULL
    layer.step.record = layer.record
    layer.step.d_output_row_stride = layer.d_output_batch_stride
    layer.step.d_output_step_stride = layer.d_output_time_stride
    layer.step.d_sums_row_stride = layer.d_sums_width
    layer.step.norms_row_stride = layer.norms_batch_stride
    if not weights.has_default_equations:
        layer.step.variant = layer.variant
    layer.step.peephole = layer.peephole


cdef inline ptrdiff_t take(ptrdiff_t *used, ptrdiff_t elements, ptrdiff_t lanes) noexcept nogil:
    """The place of the next part of the scratch memory, in elements; parts begin on whole vectors."""
    cdef ptrdiff_t place = used[0]
    used[0] += (elements + lanes - 1) // lanes * lanes
    return place


cdef inline void hand_out(Backward *layer, char *memory) noexcept nogil:
    """Let d_hidden be the start of this memory, of which parts are handed out."""
    if Backward is lstm_f32_backward:
        layer.d_hidden = <float *>memory
    else:
        layer.d_hidden = <double *>memory


cdef inline ptrdiff_t bind_shared(Backward *layer, char *memory) noexcept nogil:
    """Point `layer` at the scratch memory that all its parts share; returns the elements of it."""
    cdef ptrdiff_t lanes = LSTM_CACHE_LINE // sizeof(layer.zeros[0])
    cdef ptrdiff_t gates = GATE_COUNT * layer.hidden_size
    cdef ptrdiff_t input_width = (layer.input_size + layer.kernels.lanes - 1) // layer.kernels.lanes
    cdef ptrdiff_t used = 0
    hand_out(layer, memory)
    start = layer.d_hidden
    layer.zeros = start + take(&used, LSTM_MAX_PRODUCT_VECTORS * layer.kernels.lanes, lanes)
    layer.ones = start + take(&used, 1, lanes)
    layer.hidden_columns = start + take(&used, gates * layer.hidden_width, lanes)
    layer.input_columns = layer.projection_rows = layer.d_hidden_steps = NULL
    if layer.d_input is not NULL:
        layer.input_columns = start + take(&used, gates * input_width * layer.kernels.lanes, lanes)
    if layer.projection is not NULL:
        layer.projection_rows = start + take(&used, layer.state_size * layer.cell_width, lanes)
    if layer.d_projection is not NULL:
        layer.d_hidden_steps = start + take(&used, layer.batch * layer.time * layer.state_size, lanes)
    return used


cdef inline ptrdiff_t bind_own(Backward *layer, char *memory, ptrdiff_t rows) noexcept nogil:
    """Point `layer` at the scratch memory of passes of at most so many rows; returns the elements of it."""
    cdef ptrdiff_t lanes = LSTM_CACHE_LINE // sizeof(layer.zeros[0])
    cdef ptrdiff_t vectors = LSTM_MAX_PRODUCT_VECTORS * layer.kernels.lanes
    cdef ptrdiff_t used = 0
    hand_out(layer, memory)
    start = layer.d_hidden
    layer.d_hidden = start + take(&used, rows * layer.hidden_width, lanes)
    layer.d_cell = start + take(&used, rows * layer.cell_width, lanes)
    layer.d_sums = start + take(&used, rows * layer.d_sums_width, lanes)
    layer.gathered = start + take(&used, layer.gathered_steps * vectors, lanes)
    layer.packed = start + take(&used, layer.panels * FEW_FEATURES * vectors, lanes)
    layer.d_step_input = layer.d_cell_output = layer.cell_output = layer.projected = NULL
    if layer.d_input is not NULL:
        layer.d_step_input = start + take(&used, rows * layer.input_size, lanes)
    if layer.projection is not NULL:
        layer.d_cell_output = start + take(&used, rows * layer.cell_width, lanes)
        layer.cell_output = start + take(&used, layer.cell_width, lanes)
        layer.projected = start + take(&used, layer.hidden_width + vectors, lanes)
    return used


cdef inline size_t prepare_backward(
    Backward *layer, const LayerWeights *weights, const BackwardCall *call
) noexcept nogil:
    """Fill in all but the scratch memory; returns the bytes of what all parts share."""
    bind_typed_weights(layer, weights)
    bind_typed_arrays(layer, call)
    bind_sizes(layer, weights, call)
    bind_record(&layer.record, &call.record, call.batch, call.time, call.reverse)
    bind_step(layer, weights)
    return bind_shared(layer, NULL) * sizeof(layer.zeros[0])


cdef inline void start_backward(Backward *layer, char *memory) noexcept nogil:
    """Point `layer` at the scratch memory that all its parts share, and set what is the same in each call."""
    bind_shared(layer, memory)
    memset(layer.zeros, 0, LSTM_MAX_PRODUCT_VECTORS * layer.kernels.lanes * sizeof(layer.zeros[0]))
    layer.ones[0] = 1


cdef inline int no_memory_for_gradients(const BackwardCall *call) except -1:
    raise MemoryError(f"no memory for the gradients of {call.batch} rows of {call.time} steps")


cdef inline int run_typed(
    Backward *layer, const LayerWeights *weights, const BackwardCall *call
) except -1:
    """One call of B, T > 0 by this thread."""
    cdef ptrdiff_t rows = share(call.batch, BACKWARD_ROWS)
    cdef size_t shared = prepare_backward(layer, weights, call)
    cdef size_t own = bind_own(layer, NULL, rows) * sizeof(layer.zeros[0])
    cdef char *memory = <char *>lstm_scratch_take(shared + own + LSTM_CACHE_LINE)
    cdef char *start
    cdef int status
    if memory is NULL:
        no_memory_for_gradients(call)
    start = <char *>aligned(memory)
    start_backward(layer, start)
    bind_own(layer, start + shared, rows)
    layer.slice.work = layer.slice.heard = 0
    layer.slice.hears_signals = True
    layer.slice.is_stopped = NULL
    with nogil:
        status = run_backward(layer, call.rank)
    lstm_scratch_give(memory)
    return status


cdef inline int run_backward_alone(const LayerWeights *weights, const BackwardCall *call) except -1:
    """All that a call of B, T > 0 asks for, by this thread."""
    cdef lstm_f32_backward f32
    cdef lstm_f64_backward f64
    if weights.is_double:
        return run_typed(&f64, weights, call)
    return run_typed(&f32, weights, call)
