# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# One call of one layer and direction, from the caller's arrays to the passes over their rows.
cimport numpy as cnp
from libc.string cimport memset

from .arrays cimport (
    data_of,
    element_size,
    is_writeable,
    read_data,
    stride_of,
    type_number,
    type_of,
    writable_data,
)
from .layer_weights cimport LayerWeights, bind_weights, lanes_of, needs_codes
from .micro_kernels cimport (
    GATE_COUNT,
    Pass,
    Record,
    lstm_f32_pass,
    lstm_f32_record,
    lstm_f64_pass,
)
from .passes cimport choose_blocks, run_passes, scratch_bytes


cdef extern from "scratch.h" nogil:
    void *lstm_scratch_take(size_t size)
    void lstm_scratch_give(void *memory)


cdef enum:
    # Multiply-adds of a gate below which a call keeps the GIL.
    SHORT_CALL = 1 << 14


cdef struct Rows:
    # A (B, T, K) array of either dtype whose last axis is contiguous; strides in elements.
    void *data
    ptrdiff_t batch_stride
    ptrdiff_t time_stride


cdef struct Saved:
    # What a pass keeps for its gradients, rows in order of length; csrc/lstm_kernels.h has the layouts.
    void *gates  # (P, B, T, 4, L)
    void *cells  # (P, B, T + 1, L)
    void *squashed  # (P, B, T, L)


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
    Saved record  # its gates NULL: nothing is recorded
    const void *recurrent  # (B, O), or NULL
    const ptrdiff_t *order  # (B,): rows, longest first, or NULL
    const ptrdiff_t *lengths  # (B,), or NULL
    bint reverse


cdef inline Rows strided_rows(
    const LayerWeights *weights, str name, object array, tuple shape
) except *:
    """An array of the weights' dtype and of this shape, (B, T, K); of None a NULL."""
    cdef Rows rows
    cdef ptrdiff_t size = element_size(weights)
    rows.data, rows.batch_stride, rows.time_stride = NULL, 0, 0
    if array is None:
        return rows
    if not cnp.PyArray_Check(array) or array.shape != shape or type_of(array) != type_number(weights):
        raise ValueError(f"{name} must be an array of the weights' dtype, of shape {shape}")
    if cnp.PyArray_SIZE(array) == 0:
        return rows
    if not cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>array) or stride_of(array, 2) != size and shape[2] > 1:
        raise ValueError(f"{name} must be aligned, and contiguous on its last axis")
    rows.data = data_of(array)
    rows.batch_stride, rows.time_stride = stride_of(array, 0) // size, stride_of(array, 1) // size
    if rows.batch_stride * size != stride_of(array, 0) or rows.time_stride * size != stride_of(array, 1):
        raise ValueError(f"{name} has strides of parts of its elements")
    return rows


cdef inline Rows written_rows(
    const LayerWeights *weights, str name, object array, tuple shape
) except *:
    """The same of an array that is written."""
    cdef Rows rows = strided_rows(weights, name, array, shape)
    if not is_writeable(array):
        raise ValueError(f"{name} must be writable")
    return rows


cdef inline Rows from_end(Rows rows, ptrdiff_t time, ptrdiff_t size) noexcept nogil:
    """The same rows with time reversed."""
    if rows.data is NULL:
        return rows
    return Rows(
        <char *>rows.data + (time - 1) * rows.time_stride * size, rows.batch_stride, -rows.time_stride
    )


cdef inline Saved saved_of(
    const LayerWeights *weights, ptrdiff_t batch, ptrdiff_t time, tuple record
) except *:
    """The addresses of gates (P, B, T, 4, L), cells (P, B, T + 1, L) and squashed (P, B, T, L)."""
    cdef Saved saved
    cdef ptrdiff_t panels = weights.panels
    cdef ptrdiff_t lanes = lanes_of(weights)
    saved.gates = writable_data(weights, "gates", record[0], (panels, batch, time, GATE_COUNT, lanes))
    saved.cells = writable_data(weights, "cells", record[1], (panels, batch, time + 1, lanes))
    saved.squashed = writable_data(weights, "squashed", record[2], (panels, batch, time, lanes))
    return saved


cdef inline int check_lengths(lengths, batch, time) except -1:
    """ValueError if lengths (B,) are not between 0 and T."""
    if lengths.shape != (batch,):
        raise ValueError(f"lengths has shape {lengths.shape}, but must be {(batch,)}")
    if batch and not (0 <= lengths.min() and lengths.max() <= time):
        raise ValueError(f"lengths must be between 0 and {time}")
    return 0


cdef inline int check_call(
    const LayerWeights *weights, X, h, C, Y, lengths, trace, recurrent
) except -1:
    """ValueError if arrays disagree with the weights or with one another."""
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
    if recurrent is not None:
        shapes["recurrent"] = (recurrent, (batch, weights.state_size))
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, but must be {shape}")
    if lengths is not None:
        if trace is not None:
            raise ValueError("a trace of rows of different lengths is taken row by row")
        check_lengths(lengths, batch, time)
    return 0


cdef inline Call step_call(
    const LayerWeights *weights, ptrdiff_t batch, void *x, void *h, void *C
) noexcept nogil:
    """A call of one time step: x (B, I), h (B, O), C (B, H)."""
    cdef Call call
    memset(&call, 0, sizeof(call))
    call.batch, call.time = batch, 1
    call.X = Rows(x, weights.input_size, weights.input_size)
    call.h, call.C = h, C
    return call


cdef inline void bind_record(
    Record *record, const Saved *saved, ptrdiff_t batch, ptrdiff_t time, bint reverse
) noexcept nogil:
    """Point `record` at what a call of B rows and T steps keeps."""
    if Record is lstm_f32_record:
        record.gates, record.cells = <float *>saved.gates, <float *>saved.cells
        record.squashed = <float *>saved.squashed
    else:
        record.gates, record.cells = <double *>saved.gates, <double *>saved.cells
        record.squashed = <double *>saved.squashed
    record.row_stride, record.panel_stride = time, batch * time
    record.cells_row_stride, record.cells_panel_stride = time + 1, batch * (time + 1)
    record.step_stride = -1 if reverse else 1


cdef inline size_t prepare(Pass *layer, const LayerWeights *weights, Call *call) noexcept nogil:
    """Fill in the weights, sizes and strides of a call; returns the bytes of scratch memory that it needs."""
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
        layer.recurrent = <const float *>call.recurrent
        if layer.trace is not NULL or call.record.gates is not NULL:
            layer.variant = &weights.f32
    else:
        layer.input = <const double *>X.data
        layer.output = <double *>Y.data
        layer.trace = <double *>trace.data
        layer.state_hidden = <double *>call.h
        layer.state_cell = <double *>call.C
        layer.recurrent = <const double *>call.recurrent
        if layer.trace is not NULL or call.record.gates is not NULL:
            layer.variant = &weights.f64
    layer.record.gates = NULL
    if call.record.gates is not NULL:
        bind_record(&layer.record, &call.record, call.batch, call.time, call.reverse)
        layer.record.has_codes = needs_codes(layer.variant)
        layer.record.is_plain = weights.has_default_equations and layer.trace is NULL
    choose_blocks(layer, call.batch)
    return scratch_bytes(layer)


cdef inline bint is_short(const LayerWeights *weights, Call *call) noexcept nogil:
    """Whether a call takes about a microsecond: giving up the GIL would cost more than it gives."""
    return (
        <double>call.batch * call.time * weights.hidden_size * (weights.input_size + weights.state_size)
        < SHORT_CALL
    )


cdef inline int no_memory(const LayerWeights *weights, ptrdiff_t batch) except -1:
    raise MemoryError(f"no memory for the states of {batch} rows of {weights.hidden_size} units")


cdef inline int run_pass(Pass *layer, const LayerWeights *weights, Call *call, char *memory) except -1:
    """A call with this scratch memory or, for NULL, its thread's; only the latter hears signals."""
    cdef size_t size = prepare(layer, weights, call)
    cdef char *own = NULL
    cdef int status
    layer.slice.work = layer.slice.heard = 0
    layer.slice.hears_signals = memory is NULL
    layer.slice.is_stopped = NULL
    if memory is NULL:
        own = memory = <char *>lstm_scratch_take(size)
        if own is NULL:
            no_memory(weights, call.batch)
    if is_short(weights, call):
        status = run_passes(layer, memory, call.batch)
    else:
        with nogil:
            status = run_passes(layer, memory, call.batch)
    if own is not NULL:
        lstm_scratch_give(own)
    return status


cdef inline int run_alone(const LayerWeights *weights, Call *call, char *memory) except -1:
    """One call of B, T > 0 by this thread, with `call_bytes` of scratch memory or, for NULL, its own."""
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    if weights.is_double:
        return run_pass(&f64, weights, call, memory)
    return run_pass(&f32, weights, call, memory)


cdef inline size_t call_bytes(const LayerWeights *weights, Call *call) noexcept nogil:
    """Bytes of scratch memory of one call."""
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    if weights.is_double:
        return prepare(&f64, weights, call)
    return prepare(&f32, weights, call)


cdef inline Call call_of(
    const LayerWeights *weights, X, h, C, Y, lengths, order, bint reverse, trace, tuple record, recurrent
) except *:
    """X (B, T, I), Y (B, T, O) or None, trace (5, B, T, H) or None; h (B, O), C (B, H) in and out.

    `record` are gates, cells and squashed, or None; recurrent (B, O) or None; lengths and order (B,) of intp,
    contiguous, or None.
    """
    cdef Call call
    cdef ptrdiff_t outputs = weights.state_size
    memset(&call, 0, sizeof(call))
    batch, time = X.shape[:2]
    call.batch, call.time = batch, time
    if call.batch == 0 or call.time == 0:
        return call
    call.reverse = reverse
    call.X = strided_rows(weights, "X", X, (batch, time, weights.input_size))
    call.h = writable_data(weights, "h", h, (batch, outputs))
    call.C = writable_data(weights, "C", C, (batch, weights.hidden_size))
    if Y is not None:
        call.Y = written_rows(weights, "Y", Y, (batch, time, outputs))
    if trace is not None:
        call.trace = written_rows(weights, "trace", trace[0], (batch, time, weights.hidden_size))
        call.trace_gate_stride = <ptrdiff_t>trace.strides[0] // element_size(weights)
    if lengths is not None:
        call.lengths, call.order = <const ptrdiff_t *>data_of(lengths), <const ptrdiff_t *>data_of(order)
    if record is not None:
        call.record = saved_of(weights, call.batch, call.time, record)
    call.recurrent = read_data(weights, "recurrent", recurrent, (batch, outputs))
    return call
