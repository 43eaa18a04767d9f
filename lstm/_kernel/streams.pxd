# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Steps and chunks of a stream in memory that is kept from one to the next.
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from .arrays cimport (
    axis_of,
    bytes_of,
    data_of,
    element_size,
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
from .signals cimport lstm_guard
from .stacks cimport (
    BETWEEN_BYTES,
    Stack,
    between_bytes,
    is_long_stack,
    layer_call,
    run_stack,
    sequence_call,
    step_layers,
)


cdef extern from "handover.h" nogil:
    ctypedef struct lstm_node:
        lstm_node *next

    bint lstm_handover_waits(lstm_node **place)
    lstm_node *lstm_handover_take(lstm_node **place)
    lstm_node *lstm_handover_put(lstm_node **place, lstm_node *node)
    void lstm_handover_add(lstm_node **list, lstm_node *node)


cdef enum:
    # Multiply-adds of a gate above which a step of a stream runs on a copy of its state and hears signals.
    LONG_STEP = 1 << 28
    # Of a chunk without the GIL: most steps, and the buffers that take turns from layer to layer.
    MOST_CHUNK_STEPS = 256
    CHUNK_BUFFERS = 2


cdef struct StreamMemory:
    # What a stream of B rows computes with, weights included: one block of memory in parts.
    lstm_node node
    PyObject *cells  # whose weights the stack has: a reference
    Stack stack
    ptrdiff_t rows
    char *input  # (B, I): a step's x as numbers of the net's dtype
    char *state  # h (L, B, O), then C (L, B, H), of a chunk
    char *step  # scratch memory of a step
    ptrdiff_t chunk_steps  # most steps of a chunk without the GIL; 0: no memory for them
    char *between  # what layers of such a chunk give to the next ones
    char *chunk  # its scratch memory


cdef struct StreamCore:
    # A stream without Python objects. What is in `memory` belongs to the thread that is within the guard.
    lstm_guard guard
    StreamMemory *memory  # NULL before the first step
    lstm_node *pending  # the memory for weights that have been set since: to be taken before the next step
    lstm_node *retired  # what it has replaced, to be freed by a thread that has the GIL
    void *h  # (L, B, O)
    void *C  # (L, B, H)
    const void *h_array  # the arrays that these are of
    const void *C_array


cdef inline ptrdiff_t whole_lines(ptrdiff_t size) noexcept nogil:
    return (size + LSTM_CACHE_LINE - 1) // LSTM_CACHE_LINE * LSTM_CACHE_LINE


cdef inline size_t step_bytes(const Stack *stack, ptrdiff_t rows) noexcept nogil:
    """Bytes of scratch memory of a step."""
    cdef size_t most = 0
    cdef ptrdiff_t layer
    cdef Call call
    for layer in range(stack.layers):
        call = step_call(stack.weights[layer], rows, NULL, NULL, NULL)
        most = max(most, call_bytes(stack.weights[layer], &call))
    return most


cdef inline Call chunk_call(const Stack *stack, ptrdiff_t rows) noexcept nogil:
    """The longest chunk without the GIL: what a layer gives to the next one is in the caches."""
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t step = rows * weights.state_size * element_size(weights)
    cdef ptrdiff_t steps = max(1, min(MOST_CHUNK_STEPS, BETWEEN_BYTES // step))
    return sequence_call(weights, rows, steps, NULL, NULL, NULL, NULL)


cdef inline size_t chunk_bytes(const Stack *stack, const Call *chunk) noexcept nogil:
    """Bytes of scratch memory of such a chunk."""
    cdef size_t most = 0
    cdef ptrdiff_t layer
    cdef Call call
    for layer in range(stack.layers):
        call = layer_call(stack, chunk, layer, NULL, CHUNK_BUFFERS)
        most = max(most, call_bytes(stack.weights[layer], &call))
    return most


cdef inline StreamMemory *new_memory(
    object cells, const Stack *stack, ptrdiff_t rows, bint has_chunks
) except NULL:
    """Memory for the weights of `cells`, which are this stack."""
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t head = whole_lines(sizeof(StreamMemory))
    cdef ptrdiff_t input = whole_lines(rows * weights.input_size * element_size(weights))
    cdef ptrdiff_t units = stack.layers * (weights.state_size + weights.hidden_size)
    cdef ptrdiff_t state = whole_lines(units * rows * element_size(weights))
    cdef ptrdiff_t step = whole_lines(step_bytes(stack, rows))
    cdef ptrdiff_t between = 0, scratch = 0
    cdef Call chunk = chunk_call(stack, rows)
    cdef StreamMemory *memory
    if has_chunks:
        between = CHUNK_BUFFERS * between_bytes(stack, &chunk) if stack.layers > 1 else 0
        scratch = chunk_bytes(stack, &chunk)
    memory = <StreamMemory *>malloc(head + input + state + step + between + scratch)
    if memory is NULL:
        no_memory(weights, rows)
    memory.node.next = NULL
    memory.stack = stack[0]
    memory.rows = rows
    memory.input = <char *>memory + head
    memory.state = memory.input + input
    memory.step = memory.state + state
    memory.between = memory.step + step
    memory.chunk = memory.between + between
    memory.chunk_steps = chunk.time if has_chunks else 0
    memory.cells = <PyObject *>cells
    Py_INCREF(cells)
    return memory


cdef inline void free_memory(lstm_node *node) noexcept:
    """Free what is in a list of memory."""
    cdef StreamMemory *memory
    while node is not NULL:
        memory = <StreamMemory *>node
        node = node.next
        Py_DECREF(<object>memory.cells)
        free(memory)


cdef inline void take_pending(StreamCore *core) noexcept nogil:
    """Go over to the newest weights; to be called within the guard."""
    cdef StreamMemory *replaced = core.memory
    cdef lstm_node *node = lstm_handover_take(&core.pending)
    if node is NULL:
        return
    core.memory = <StreamMemory *>node
    if replaced is not NULL:
        lstm_handover_add(&core.retired, &replaced.node)


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
    cdef ptrdiff_t rows = stream.rows
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
    cdef ptrdiff_t rows = stream.rows
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
    cell = stream.state + bytes_of(h)
    memcpy(stream.state, data_of(h), bytes_of(h))
    memcpy(cell, data_of(C), bytes_of(C))
    call.Y.data, call.h, call.C = data_of(Y), stream.state, cell
    run_stack(&stream.stack, &call)
    memcpy(data_of(h), stream.state, bytes_of(h))
    memcpy(data_of(C), cell, bytes_of(C))
    return Y
