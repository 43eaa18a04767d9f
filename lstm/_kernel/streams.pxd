# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Steps and chunks of a stream in memory that is kept from one to the next.
cimport numpy as cnp
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from .arrays cimport (
    axis_of,
    bytes_of,
    data_of,
    has_length,
    has_shape,
    is_contiguous_of,
    is_state,
    is_writeable,
    output_of,
    overlap,
    rank_of,
)
from .call cimport Call, call_bytes, no_memory, step_call
from .layer_weights cimport LayerWeights
from .micro_kernels cimport LSTM_CACHE_LINE
from .numbers cimport convert_numbers, has_number_shape
from .stacks cimport Stack, element_size, is_long_stack, run_stack, sequence_call, step_layers

cdef enum:
    # Multiply-adds of a gate above which a step of a stream runs on a copy of its state and hears signals.
    LONG_STEP = 1 << 28


cdef struct StreamMemory:
    # What a stream of B rows computes with: one block of memory in three parts.
    Stack stack
    ptrdiff_t rows  # that the memory is for; 0: none yet
    char *input  # (B, I): a step's x as numbers of the net's dtype
    char *state  # h (L, B, O), then C (L, B, H), of a chunk
    char *step  # scratch memory of a step


cdef inline ptrdiff_t whole_lines(ptrdiff_t size) noexcept nogil:
    return (size + LSTM_CACHE_LINE - 1) // LSTM_CACHE_LINE * LSTM_CACHE_LINE


cdef inline int fit_memory(StreamMemory *stream, ptrdiff_t rows) except -1:
    """Make the memory fit the stack and this many rows."""
    cdef const Stack *stack = &stream.stack
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t size = element_size(weights)
    cdef ptrdiff_t input = whole_lines(rows * weights.input_size * size)
    cdef ptrdiff_t units = weights.state_size + weights.hidden_size
    cdef ptrdiff_t state = whole_lines(stack.layers * rows * units * size)
    cdef size_t step = 0
    cdef ptrdiff_t layer
    cdef char *memory
    cdef Call call
    for layer in range(stack.layers):
        call = step_call(stack.weights[layer], rows, NULL, NULL, NULL)
        step = max(step, call_bytes(stack.weights[layer], &call))
    memory = <char *>malloc(input + state + step)
    if memory is NULL:
        no_memory(weights, rows)
    free(stream.input)
    stream.input = memory
    stream.state = memory + input
    stream.step = stream.state + state
    stream.rows = rows
    return 0


cdef inline ptrdiff_t rows_of_state(object h) noexcept:
    """B of h (L, B, O); 0 if it is no such array."""
    return axis_of(h, 1) if cnp.PyArray_CheckExact(h) and rank_of(h) == 3 else 0


cdef inline bint has_states(const Stack *stack, object h, object C, ptrdiff_t rows) noexcept:
    """Whether a stream's h (L, B, O) and C (L, B, H) can be computed with."""
    cdef const LayerWeights *weights = stack.weights[0]
    return (
        is_state(h, weights, weights.state_size, stack.layers, rows, True, False)
        and is_state(C, weights, weights.hidden_size, stack.layers, rows, True, False)
        and is_writeable(h)
        and is_writeable(C)
    )


cdef inline bint is_step_input(const LayerWeights *weights, object x, ptrdiff_t rows, bint single) noexcept:
    """Whether x is a contiguous (B, I), for a single stream (I,), of the net's dtype."""
    return is_contiguous_of(x, weights) and (
        has_length(x, weights.input_size) if single else has_shape(x, rows, weights.input_size)
    )


cdef inline object stream_step(
    StreamMemory *stream, object x, object h, object C, object out, bint single
):
    """x (B, I), h (L, B, O) and C (L, B, H) in and out, out (B, O) or None: out, or a new one.

    `single`: x (I,) and out (O,). None, having done nothing, for what is not an everyday step.
    """
    cdef const LayerWeights *weights = stream.stack.weights[0]
    cdef ptrdiff_t rows = rows_of_state(h)
    cdef cnp.npy_intp shape[2]
    cdef void *input
    cdef void *hidden
    cdef bint fits = is_step_input(weights, x, rows, single)
    if not fits and not has_number_shape(x, rows, weights.input_size, single):
        return None
    if not has_states(&stream.stack, h, C, rows):
        return None
    if <double>rows * weights.hidden_size * (weights.input_size + weights.state_size) > LONG_STEP:
        return None
    shape[0], shape[1] = rows, weights.state_size
    out = output_of(out, weights, 1 if single else 2, &shape[1] if single else &shape[0])
    if out is None:
        return None
    if rows != stream.rows:
        fit_memory(stream, rows)
    if fits:
        input = data_of(x)
    elif convert_numbers(x, rows * weights.input_size, weights.is_double, stream.input):
        input = stream.input
    else:
        return None
    hidden = step_layers(&stream.stack, rows, input, data_of(h), data_of(C), stream.step)
    memmove(data_of(out), hidden, bytes_of(out))
    return out


cdef inline bint is_chunk(const LayerWeights *weights, object X, ptrdiff_t rows, bint single) noexcept:
    """Whether X is a contiguous (B, T, I), for a single stream (T, I), without I where that is 1."""
    cdef int batch_axes = 0 if single else 1
    cdef int rank
    if not is_contiguous_of(X, weights):
        return False
    rank = rank_of(X)
    if rank == batch_axes + 2:
        if axis_of(X, batch_axes + 1) != weights.input_size:
            return False
    elif rank != batch_axes + 1 or weights.input_size != 1:
        return False
    return single or axis_of(X, 0) == rows


cdef inline object stream_run(
    StreamMemory *stream, object X, object h, object C, object out, bint single
):
    """X (B, T, I), h (L, B, O) and C (L, B, H) in and out, out (B, T, O) or None: out, or a new one.

    `single`: X (T, I) and out (T, O). The states are changed only once all is done. None, having done
    nothing, for what is not an everyday chunk.
    """
    cdef const LayerWeights *weights = stream.stack.weights[0]
    cdef ptrdiff_t rows = rows_of_state(h)
    cdef cnp.npy_intp shape[3]
    cdef ptrdiff_t time
    cdef char *cell
    cdef Call call
    if not is_chunk(weights, X, rows, single) or bytes_of(X) == 0:
        return None
    if not has_states(&stream.stack, h, C, rows):
        return None
    time = axis_of(X, 0 if single else 1)
    shape[0], shape[1], shape[2] = rows, time, weights.state_size
    call = sequence_call(weights, rows, time, data_of(X), NULL, NULL, NULL)
    if is_long_stack(&stream.stack, &call):
        return None
    Y = output_of(out, weights, 2 if single else 3, &shape[1] if single else &shape[0])
    if Y is None or (out is not None and overlap(Y, X)):
        return None
    if rows != stream.rows:
        fit_memory(stream, rows)
    cell = stream.state + bytes_of(h)
    memcpy(stream.state, data_of(h), bytes_of(h))
    memcpy(cell, data_of(C), bytes_of(C))
    call.Y.data, call.h, call.C = data_of(Y), stream.state, cell
    run_stack(&stream.stack, &call)
    memcpy(data_of(h), stream.state, bytes_of(h))
    memcpy(data_of(C), cell, bytes_of(C))
    return Y
