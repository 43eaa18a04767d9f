# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Everyday calls of a stack of layers of one direction: contiguous arrays of the net's dtype that fit.
#
# Each function returns None, having done nothing, where a call is none of these.
cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from .arrays cimport (
    axis_of,
    bytes_of,
    copy_of,
    data_of,
    element_size,
    first_state,
    has_length,
    has_shape,
    is_contiguous_of,
    is_state,
    output_of,
    overlap,
    rank_of,
)
from .call cimport (
    Call,
    Rows,
    call_bytes,
    lstm_scratch_give,
    lstm_scratch_take,
    no_memory,
    run_alone,
    step_call,
)
from .layer_weights cimport LayerWeights
from .micro_kernels cimport LSTM_CACHE_LINE
from .splits cimport Task, add_work, row_work, split_of
from .teams cimport run_call, run_team
from .thread_pool cimport lstm_get_num_threads, lstm_team_missed

cdef enum:
    MOST_LAYERS = 16
    # Bytes of what one layer gives to the next, and multiply-adds of a gate of all layers, above which a
    # sequence of several layers is left to lstm/core/sequence.py, which takes it in chunks of time.
    BETWEEN_BYTES = 1 << 19
    LONG_SEQUENCE = 1 << 25


cdef struct Stack:
    ptrdiff_t layers
    const LayerWeights *weights[MOST_LAYERS]


cdef inline Call layer_step_call(
    const Stack *stack, ptrdiff_t layer, ptrdiff_t rows, void *x, void *h, void *C
) noexcept nogil:
    """One layer's part of a step: x (B, its I), h (L, B, O), C (L, B, H)."""
    cdef const LayerWeights *weights = stack.weights[layer]
    cdef ptrdiff_t size = element_size(weights)
    return step_call(
        weights, rows, x,
        <char *>h + layer * rows * weights.state_size * size,
        <char *>C + layer * rows * weights.hidden_size * size,
    )


cdef inline void *step_layers(
    const Stack *stack, ptrdiff_t rows, void *x, void *h, void *C, char *memory
) except? NULL:
    """One step of every layer: x (B, I), h (L, B, O), C (L, B, H) in and out; returns the last layer's h."""
    cdef ptrdiff_t layer
    cdef Call call
    for layer in range(stack.layers):
        call = layer_step_call(stack, layer, rows, x, h, C)
        run_call(stack.weights[layer], &call, memory)
        x = call.h
    return x


cdef inline ptrdiff_t between_bytes(const Stack *stack, const Call *whole) noexcept nogil:
    """Bytes of the output of a layer that the next one reads, whole cache lines."""
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t size = whole.batch * whole.time * weights.state_size * element_size(weights)
    return (size + LSTM_CACHE_LINE - 1) // LSTM_CACHE_LINE * LSTM_CACHE_LINE


cdef inline bint is_shared_stack(const Stack *stack, const Call *whole) noexcept nogil:
    """Whether several threads would share a sequence of several layers."""
    cdef int members = lstm_get_num_threads()
    cdef int64_t work = 0
    cdef ptrdiff_t layer
    if members == 1:
        return False
    for layer in range(stack.layers):
        work = add_work(work, row_work(stack.weights[layer]), whole.batch)
    return split_of(work, whole.batch, whole.time, <int>stack.layers, True, members).members > 1


cdef inline bint is_long_stack(const Stack *stack, const Call *whole) noexcept nogil:
    """Whether a sequence of several layers takes much memory or time."""
    cdef const LayerWeights *weights = stack.weights[0]
    cdef double rows = <double>whole.batch * whole.time * stack.layers
    return stack.layers > 1 and (
        <double>whole.batch * whole.time * weights.state_size * element_size(weights) > BETWEEN_BYTES
        or rows * weights.hidden_size * (weights.input_size + weights.state_size) > LONG_SEQUENCE
    )


cdef inline Call layer_call(
    const Stack *stack, const Call *whole, ptrdiff_t layer, char *between, ptrdiff_t buffers
) noexcept nogil:
    """One layer's part of a call of all; from layer to layer some buffers take turns."""
    cdef const LayerWeights *weights = stack.weights[layer]
    cdef ptrdiff_t size = element_size(weights)
    cdef ptrdiff_t buffer = between_bytes(stack, whole)
    cdef ptrdiff_t features = weights.state_size
    cdef Call call = whole[0]
    call.h = <char *>whole.h + layer * whole.batch * features * size
    call.C = <char *>whole.C + layer * whole.batch * weights.hidden_size * size
    if layer > 0:
        call.X = Rows(between + (layer - 1) % buffers * buffer, whole.time * features, features)
    if layer + 1 < stack.layers:
        call.Y = Rows(between + layer % buffers * buffer, whole.time * features, features)
    return call


cdef inline int share_stack(const Stack *stack, const Call *whole) except? -1:
    """A sequence of several layers by several threads; 0 if it is to be done by one."""
    cdef Task tasks[MOST_LAYERS]
    cdef ptrdiff_t layer
    cdef int status
    # Not the thread's scratch memory: at the interpreter's exit helpers may outlive the calling thread.
    cdef char *memory = <char *>malloc((stack.layers - 1) * between_bytes(stack, whole))
    if memory is NULL:
        return 0
    for layer in range(stack.layers):
        tasks[layer].weights = stack.weights[layer]
        tasks[layer].call = layer_call(stack, whole, layer, memory, stack.layers)
    try:
        status = run_team(tasks, <int>stack.layers, True)
    finally:
        free(memory)
    return status


cdef inline int run_stack(const Stack *stack, Call *whole) except -1:
    """A sequence, not a long one if of several layers: h (L, B, O), C (L, B, H) in and out."""
    cdef size_t size = 0
    cdef ptrdiff_t layer
    cdef ptrdiff_t buffers = 2 * between_bytes(stack, whole)
    cdef char *memory
    cdef Call call
    if stack.layers == 1:
        return run_call(stack.weights[0], whole, NULL)
    if is_shared_stack(stack, whole) and share_stack(stack, whole) > 0:
        return 0
    for layer in range(stack.layers):
        call = layer_call(stack, whole, layer, NULL, 2)
        size = max(size, call_bytes(stack.weights[layer], &call))
    memory = <char *>lstm_scratch_take(buffers + size)
    if memory is NULL:
        no_memory(stack.weights[0], whole.batch)
    try:
        for layer in range(stack.layers):
            call = layer_call(stack, whole, layer, memory, 2)
            run_alone(stack.weights[layer], &call, memory + buffers)
    finally:
        lstm_scratch_give(memory)
    lstm_team_missed()
    return 0


cdef inline Call sequence_call(
    const LayerWeights *weights, ptrdiff_t rows, ptrdiff_t time, void *X, void *h, void *C, void *Y
) noexcept nogil:
    """A call of contiguous X (B, T, I) and Y (B, T, O)."""
    cdef Call call
    memset(&call, 0, sizeof(call))
    call.batch, call.time = rows, time
    call.X = Rows(X, time * weights.input_size, weights.input_size)
    call.Y = Rows(Y, time * weights.state_size, weights.state_size)
    call.h, call.C = h, C
    return call


cdef inline object stack_step(const Stack *stack, object x, object h_prev, object C_prev):
    """x (I,), (I, 1), (B, I), states of one step: new h, C."""
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t rows
    cdef bint batched
    if not is_contiguous_of(x, weights):
        return None
    batched = not (has_length(x, weights.input_size) or has_shape(x, weights.input_size, 1))
    rows = 1 if not batched else axis_of(x, 0) if rank_of(x) == 2 else 0
    if (
        rows == 0
        or (batched and axis_of(x, 1) != weights.input_size)
        or not is_state(h_prev, weights, weights.state_size, stack.layers, rows, batched, True)
        or not is_state(C_prev, weights, weights.hidden_size, stack.layers, rows, batched, True)
    ):
        return None
    h = copy_of(h_prev)
    C = copy_of(C_prev)
    step_layers(stack, rows, data_of(x), data_of(h), data_of(C), NULL)
    return h, C


cdef inline object stack_sequence(
    const Stack *stack, object X, object h0, object C0, object out, bint reverse
):
    """X (T, I) or (B, T, I), states (L, O) or (L, B, O) or None: Y, h_n, C_n."""
    cdef const LayerWeights *weights = stack.weights[0]
    cdef cnp.npy_intp shape[3]
    cdef ptrdiff_t rows, time
    cdef int rank
    cdef bint batched
    cdef Call call
    if not is_contiguous_of(X, weights) or bytes_of(X) == 0:
        return None
    rank = rank_of(X)
    if rank not in (2, 3) or axis_of(X, rank - 1) != weights.input_size:
        return None
    batched = rank == 3
    rows = axis_of(X, 0) if batched else 1
    time = axis_of(X, rank - 2)
    call = sequence_call(weights, rows, time, data_of(X), NULL, NULL, NULL)
    if is_long_stack(stack, &call):
        return None
    shape[0], shape[1], shape[2] = rows, time, weights.state_size
    h = first_state(h0, weights, weights.state_size, stack.layers, rows, batched)
    C = first_state(C0, weights, weights.hidden_size, stack.layers, rows, batched)
    Y = output_of(out, weights, rank, &shape[3 - rank])
    if h is None or C is None or Y is None or (out is not None and overlap(Y, X)):
        return None
    call.reverse = reverse
    call.Y.data, call.h, call.C = data_of(Y), data_of(h), data_of(C)
    run_stack(stack, &call)
    return Y, h, C
