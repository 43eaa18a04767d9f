# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# A stream's step and chunk as C functions, for callers in any thread that have no GIL.
#
# They take no lock, allocate nothing, hear no signals and run on the calling thread alone.
from libc.stdint cimport PTRDIFF_MAX, uintptr_t
from libc.string cimport memmove

from .arrays cimport element_size
from .call cimport Call, prepare
from .layer_weights cimport LayerWeights
from .micro_kernels cimport Pass, lstm_f32_pass, lstm_f64_pass
from .passes cimport run_passes
from .signals cimport lstm_guard_enter, lstm_guard_leave
from .stacks cimport Stack, layer_call, layer_step_call, sequence_call
from .streams cimport CHUNK_BUFFERS, StreamCore, StreamMemory, lstm_handover_waits, take_pending


cdef extern from "numpy/arrayobject.h" nogil:
    enum:
        NPY_ARRAY_WRITEABLE
    int array_flags "PyArray_FLAGS"(const void *array)


cdef enum Status:
    # What they return; described in lstm/stream.py.
    DONE = 0
    IS_BUSY = 1
    IS_READ_ONLY = 2
    IS_WRONG = 3


cdef inline bint fits(const void *array, ptrdiff_t size) noexcept nogil:
    """Whether there can be numbers of this size."""
    return array is not NULL and <uintptr_t>array % size == 0


cdef inline bint meet(
    const void *first, ptrdiff_t bytes, const void *second, ptrdiff_t others
) noexcept nogil:
    """Whether two blocks of memory have bytes in common."""
    return <uintptr_t>first < <uintptr_t>second + others and <uintptr_t>second < <uintptr_t>first + bytes


cdef inline Status enter(StreamCore *core) noexcept nogil:
    """DONE: the stream is this thread's until it leaves the guard, with the newest weights."""
    cdef Status status = DONE
    if core is NULL:
        return IS_WRONG
    if not lstm_guard_enter(&core.guard):
        return IS_BUSY
    if lstm_handover_waits(&core.pending):
        take_pending(core)
    if core.memory is NULL or core.memory.chunk_steps == 0:
        status = IS_WRONG
    elif not array_flags(core.h_array) & array_flags(core.C_array) & NPY_ARRAY_WRITEABLE:
        status = IS_READ_ONLY
    if status != DONE:
        lstm_guard_leave(&core.guard)
    return status


cdef inline void run_typed(
    Pass *layer, const LayerWeights *weights, Call *call, char *scratch
) noexcept nogil:
    prepare(layer, weights, call)
    layer.slice.work = layer.slice.heard = 0
    layer.slice.hears_signals = False
    layer.slice.is_stopped = NULL
    run_passes(layer, scratch, call.batch)


cdef inline void run_one(const LayerWeights *weights, Call *call, char *scratch) noexcept nogil:
    """A call of one layer, with `call_bytes` of scratch memory."""
    cdef lstm_f32_pass f32
    cdef lstm_f64_pass f64
    if weights.is_double:
        run_typed(&f64, weights, call, scratch)
    else:
        run_typed(&f32, weights, call, scratch)


cdef inline void step_core(StreamCore *core, const void *x, void *y) noexcept nogil:
    """x (B, I) -> y (B, O), which may be any memory, x and the state too."""
    cdef StreamMemory *memory = core.memory
    cdef const LayerWeights *weights = memory.stack.weights[0]
    cdef void *hidden = <void *>x
    cdef ptrdiff_t layer
    cdef Call call
    for layer in range(memory.stack.layers):
        call = layer_step_call(&memory.stack, layer, memory.rows, hidden, core.h, core.C)
        run_one(memory.stack.weights[layer], &call, memory.step)
        hidden = call.h
    memmove(y, hidden, memory.rows * weights.state_size * element_size(weights))


cdef inline void run_core(StreamCore *core, const void *X, void *Y, ptrdiff_t time) noexcept nogil:
    """X (B, T, I) -> Y (B, T, O), chunk by chunk."""
    cdef StreamMemory *memory = core.memory
    cdef const Stack *stack = &memory.stack
    cdef const LayerWeights *weights = stack.weights[0]
    cdef Call chunk = sequence_call(weights, memory.rows, time, <void *>X, core.h, core.C, Y)
    cdef ptrdiff_t size = element_size(weights)
    cdef ptrdiff_t layer
    cdef Call call
    while time > 0:
        chunk.time = min(time, memory.chunk_steps)
        for layer in range(stack.layers):
            call = layer_call(stack, &chunk, layer, memory.between, CHUNK_BUFFERS)
            run_one(stack.weights[layer], &call, memory.chunk)
        chunk.X.data = <char *>chunk.X.data + chunk.time * weights.input_size * size
        chunk.Y.data = <char *>chunk.Y.data + chunk.time * weights.state_size * size
        time -= chunk.time


cdef inline bint are_apart(
    const StreamCore *core, const void *X, const void *Y, ptrdiff_t time
) noexcept nogil:
    """Whether X (B, T, I), Y (B, T, O) and the state have no bytes in common."""
    cdef const LayerWeights *weights = core.memory.stack.weights[0]
    cdef ptrdiff_t rows = core.memory.rows
    cdef ptrdiff_t size = element_size(weights)
    cdef ptrdiff_t inputs = time * rows * weights.input_size * size
    cdef ptrdiff_t outputs = time * rows * weights.state_size * size
    cdef ptrdiff_t states = core.memory.stack.layers * rows * size
    return not (
        meet(X, inputs, Y, outputs)
        or meet(X, inputs, core.h, states * weights.state_size)
        or meet(X, inputs, core.C, states * weights.hidden_size)
        or meet(Y, outputs, core.h, states * weights.state_size)
        or meet(Y, outputs, core.C, states * weights.hidden_size)
    )


cdef inline bint is_countable(const StreamCore *core, ptrdiff_t time) noexcept nogil:
    """Whether the bytes of so many steps can be counted."""
    cdef const LayerWeights *weights = core.memory.stack.weights[0]
    cdef ptrdiff_t widest = max(weights.input_size, weights.state_size)
    return time <= PTRDIFF_MAX // (core.memory.rows * widest * element_size(weights))


cdef inline int native_step(void *stream, const void *x, void *y) noexcept nogil:
    """x (B, I) -> y (B, O): the state one step on; returns a Status, and has done nothing if not DONE."""
    cdef StreamCore *core = <StreamCore *>stream
    cdef Status status = enter(core)
    cdef ptrdiff_t size
    if status != DONE:
        return status
    size = element_size(core.memory.stack.weights[0])
    if fits(x, size) and fits(y, size):
        step_core(core, x, y)
    else:
        status = IS_WRONG
    lstm_guard_leave(&core.guard)
    return status


cdef inline int native_run(void *stream, const void *X, void *Y, ptrdiff_t time) noexcept nogil:
    """X (B, T, I) -> Y (B, T, O): the state T steps on; returns as native_step does."""
    cdef StreamCore *core = <StreamCore *>stream
    cdef Status status = enter(core)
    cdef ptrdiff_t size
    if status != DONE:
        return status
    size = element_size(core.memory.stack.weights[0])
    if time < 0 or not is_countable(core, time):
        status = IS_WRONG
    elif time > 0 and fits(X, size) and fits(Y, size) and are_apart(core, X, Y, time):
        run_core(core, X, Y, time)
    elif time > 0:
        status = IS_WRONG
    lstm_guard_leave(&core.guard)
    return status
