# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Everyday calls of training: a recorded pass of a stack of layers of one direction, and its gradients.
#
# Arrays of the caller are contiguous, of the net's dtype, and fit. Each function returns None, having done
# nothing, where a call is none of these.
cimport numpy as cnp
from libc.string cimport memmove

from .arrays cimport (
    axis_of,
    bytes_of,
    copy_of,
    data_of,
    has_layers,
    has_shape,
    is_contiguous_of,
    is_state,
    is_writeable,
    rank_of,
    type_number,
)
from .backward_call cimport backward_call
from .backward_teams cimport BackwardTask, run_backward_calls
from .blocks cimport array_in_block
from .call cimport call_of
from .layer_weights cimport LayerWeights, lanes_of
from .micro_kernels cimport GATE_COUNT, LSTM_FULL
from .splits cimport Task
from .stacks cimport Stack
from .teams cimport run_calls


cdef enum:
    RECORD_ARRAYS = 3  # gates, cells, squashed
    WEIGHT_ARRAYS = 5  # input, hidden, bias, peephole, projection


cdef inline tuple new_record(
    const LayerWeights *weights, ptrdiff_t rows, ptrdiff_t time, cnp.dtype dtype
):
    """What one layer keeps of T steps of B rows: gates, cells, squashed, as `Saved` has them."""
    cdef ptrdiff_t panels = weights.panels
    cdef ptrdiff_t lanes = lanes_of(weights)
    return (
        array_in_block((panels, rows, time, GATE_COUNT, lanes), dtype, False),
        array_in_block((panels, rows, time + 1, lanes), dtype, False),
        array_in_block((panels, rows, time, lanes), dtype, False),
    )


cdef inline object new_states(
    object state, const LayerWeights *weights, ptrdiff_t size, ptrdiff_t layers, ptrdiff_t rows, bint batched
):
    """A new (L, B, size): zeros for None, or of a state (L, size) or (L, B, size); None if that does not fit.
    """
    cdef cnp.npy_intp shape[3]
    if state is None:
        shape[0], shape[1], shape[2] = layers, rows, size
        return cnp.PyArray_ZEROS(3, shape, type_number(weights), 0)
    if not is_state(state, weights, size, layers, rows, batched, False):
        return None
    return copy_of(state) if batched else copy_of(state).reshape(layers, rows, size)


cdef inline tuple new_storage(
    const Stack *stack, object X, ptrdiff_t rows, ptrdiff_t time, cnp.dtype dtype
):
    """X (B, T, I), a new one for None, the records of all layers, and their outputs (L, B, T, O)."""
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t layer
    return (
        array_in_block((rows, time, weights.input_size), dtype, False) if X is None else X,
        [new_record(stack.weights[layer], rows, time, dtype) for layer in range(stack.layers)],
        array_in_block((stack.layers, rows, time, weights.state_size), dtype, False),
    )


cdef inline bint are_of_layers(object arrays, const Stack *stack, ptrdiff_t count) except -1:
    """Whether there are so many arrays for every layer, or None. Lists are read without a look at their ends.
    """
    if len(arrays) != stack.layers:
        return False
    for one in arrays:
        if one is not None and len(one) != count:
            return False
    return True


cdef inline bint has_full_weights(const Stack *stack) noexcept:
    """Whether no layer keeps its weights in a smaller precision, of which there are no gradients."""
    cdef ptrdiff_t layer
    for layer in range(stack.layers):
        if stack.weights[layer].precision != LSTM_FULL:
            return False
    return True


cdef inline object record_stack(
    const Stack *stack, object X, object h0, object C0, bint reverse, tuple storage, bint copies
):
    """X (T, I) or (B, T, I), states (L, O) or (L, B, O) or None: the storage, then h0, C0, h_n, C_n.

    The storage is X (B, T, I), records and outputs (L, B, T, O) of an earlier call, which are written over,
    or None: new ones, but for an X (B, T, I) that is not to be copied. The states are new, (L, B, O) and
    (L, B, H).
    """
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t rows, time, layer
    cdef int rank
    cdef bint batched
    cdef Task task
    if not is_contiguous_of(X, weights) or bytes_of(X) == 0 or not has_full_weights(stack):
        return None
    rank = rank_of(X)
    if rank not in (2, 3) or axis_of(X, rank - 1) != weights.input_size:
        return None
    batched = rank == 3
    rows = axis_of(X, 0) if batched else 1
    time = axis_of(X, rank - 2)
    h = new_states(h0, weights, weights.state_size, stack.layers, rows, batched)
    C = new_states(C0, weights, weights.hidden_size, stack.layers, rows, batched)
    if h is None or C is None:
        return None
    if storage is None:
        storage = new_storage(stack, X if batched and not copies else None, rows, time, X.dtype)
    kept, records, outputs = storage
    if kept is not X and not (
        is_contiguous_of(kept, weights)
        and is_writeable(kept)
        and has_layers(kept, rows, time, weights.input_size)
    ):
        return None
    if not are_of_layers(records, stack, RECORD_ARRAYS) or not cnp.PyArray_Check(outputs):
        return None
    if kept is not X:
        memmove(data_of(kept), data_of(X), bytes_of(X))
    h_n, C_n, input = copy_of(h), copy_of(C), kept
    for layer in range(stack.layers):
        task.weights = stack.weights[layer]
        task.call = call_of(
            task.weights, input, h_n[layer], C_n[layer], outputs[layer], None, None, reverse, None,
            tuple(records[layer]), None,
        )
        run_calls(&task, 1, False)
        input = outputs[layer]
    return storage, h, C, h_n, C_n


cdef inline bint is_output(
    object array, const LayerWeights *weights, ptrdiff_t rows, ptrdiff_t time, bint batched
) noexcept:
    """Whether it is contiguous and (B, T, O), or (T, O) of one sequence."""
    if not is_contiguous_of(array, weights):
        return False
    if batched:
        return has_layers(array, rows, time, weights.state_size)
    return has_shape(array, time, weights.state_size)


cdef inline object backward_stack(
    const Stack *stack, tuple storage, object h0, object dY, object dh_n, object dC_n, bint batched,
    bint inputs, object sums, bint reverse,
):
    """The gradients of a pass of `record_stack`: dX (B, T, I) or None, dh0, dC0, norms (2, L, B, T).

    `storage` and h0 (L, B, O) are the pass's; dY (B, T, O) or None, dh_n (L, B, O) and dC_n (L, B, H) or None
    are those of its results, without B if not `batched`. Those of the weights are added to `sums`, the five
    arrays of every layer that `backward_sequences` takes, or None in place of a layer's or of all.
    """
    cdef const LayerWeights *weights = stack.weights[0]
    cdef ptrdiff_t layer = stack.layers
    cdef ptrdiff_t rows, time
    cdef cnp.dtype dtype
    cdef BackwardTask task
    X, records, outputs = storage
    if not is_contiguous_of(X, weights) or rank_of(X) != 3 or bytes_of(X) == 0:
        return None
    if not are_of_layers(records, stack, RECORD_ARRAYS):
        return None
    if not (cnp.PyArray_Check(outputs) and cnp.PyArray_Check(h0)):
        return None
    if sums is not None and not are_of_layers(sums, stack, WEIGHT_ARRAYS):
        return None
    rows, time, dtype = axis_of(X, 0), axis_of(X, 1), X.dtype
    dh = new_states(dh_n, weights, weights.state_size, stack.layers, rows, batched)
    dC = new_states(dC_n, weights, weights.hidden_size, stack.layers, rows, batched)
    if dh is None or dC is None:
        return None
    if dY is not None:
        if not is_output(dY, stack.weights[layer - 1], rows, time, batched):
            return None
        dY = dY if batched else dY.reshape(1, time, weights.state_size)
    norms = array_in_block((2, stack.layers, rows, time), dtype, False)
    while layer > 0:
        layer -= 1
        weights = task.weights = stack.weights[layer]
        own = None if sums is None else sums[layer]
        dX = array_in_block((rows, time, weights.input_size), dtype, False) if inputs or layer > 0 else None
        task.call = backward_call(
            weights, outputs[layer - 1] if layer > 0 else X, outputs[layer], h0[layer], tuple(records[layer]),
            dY, dh[layer], dC[layer], dX, None if own is None else tuple(own), norms[:, layer], None, reverse,
        )
        run_backward_calls(&task, 1)
        dY = dX
    return dY, dh, dC, norms
