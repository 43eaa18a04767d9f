# Streams: their memory, the guard against a second thread, and weights that are set meanwhile.
from libc.stdint cimport uintptr_t

from .natives cimport native_run, native_step
from .signals cimport lstm_guard_enter, lstm_guard_leave
from .streams cimport (
    StreamCore,
    StreamMemory,
    free_memory,
    lstm_handover_put,
    lstm_handover_take,
    lstm_handover_waits,
    new_memory,
    stream_run,
    stream_step,
    take_pending,
)

from weakref import WeakValueDictionary


cdef extern from "edition.h" nogil:
    ctypedef long lstm_edition
    long lstm_edition_read(const lstm_edition *edition)
    void lstm_edition_advance(lstm_edition *edition)


@cython.final
@cython.auto_pickle(False)
cdef class Edition:
    """Which weights a net has, the first ones or later ones, for its streams.

    They look at it before every step. Without a GIL the net itself, or the tuple of its cells, would be
    counted up and down by the threads of all of its streams, each of which waits for the others' caches.
    Streams that have callers without the GIL cannot look; they are told.
    """
    cdef lstm_edition number
    cdef object told  # streams by their id
    cdef long joined  # how many there have been

    def __cinit__(self):
        self.told = WeakValueDictionary()

    def prepare(self, cells):
        """What `advance` takes for weights that are to be set; MemoryError before anything is changed."""
        joined, found = self.joined, []
        if self.told:
            for reference in self.told.valuerefs():
                stream = reference()
                if stream is not None:
                    found.append((<StepScratch>stream).prepare(cells))
        return joined, found

    def advance(self, tuple prepared):
        """To be called once the weights are in place; takes no memory."""
        cdef long joined = prepared[0]
        cdef list found = prepared[1]
        lstm_edition_advance(&self.number)
        for one in found:
            (<Prepared>one).stream.put(one)
            (<Prepared>one).stream.number = lstm_edition_read(&self.number)
        if self.joined != joined:  # meanwhile, by another thread
            for reference in self.told.valuerefs():
                stream = reference()
                if stream is not None:
                    (<StepScratch>stream).publish()

    cdef int tell(self, StepScratch stream) except -1:
        """Have a stream publish the weights whenever they are set."""
        self.told[id(stream)] = stream
        self.joined += 1
        return 0


@cython.final
@cython.auto_pickle(False)
cdef class Prepared:
    """Memory of a stream for weights that it does not have yet."""
    cdef StepScratch stream
    cdef StreamMemory *memory  # NULL for weights that are no stack, and once the stream has it

    def __dealloc__(self):
        free_memory(&self.memory.node if self.memory is not NULL else NULL)


@cython.final
cdef class StepScratch:
    """The memory of a `Stream` of B rows of a net, and the guard that lets one thread at a time work on it.

    `net` has `cells`, its weights, and `edition`, an `Edition` of them; h (L, B, O) and C (L, B, H) are the
    state. With `single`, for B = 1, inputs and outputs have no axis of rows.

    Memory belongs to weights. Memory for others is published, with or without the guard; whoever steps next
    takes it over within the guard, and leaves the old one to be freed with the GIL. So a step that has no GIL
    reads neither what is being freed nor what is being made.
    """
    cdef StreamCore core
    cdef object net
    cdef Edition edition
    cdef long number  # of the edition that was published last
    cdef bint is_stack  # whether that was a stack of one direction, to compute with
    cdef bint is_native  # whether there are callers without the GIL
    cdef ptrdiff_t rows
    cdef object h
    cdef object C
    cdef bint single
    cdef object __weakref__

    def __cinit__(self, net, cnp.ndarray h not None, cnp.ndarray C not None, bint single):
        self.net = net
        self.edition = net.edition
        self.number = -1
        self.rows = h.shape[1]
        self.h, self.C, self.single = h, C, single
        self.core.h, self.core.C = cnp.PyArray_DATA(h), cnp.PyArray_DATA(C)
        self.core.h_array, self.core.C_array = <void *>h, <void *>C

    def __dealloc__(self):
        free_memory(self.core.pending)
        free_memory(self.core.retired)
        free_memory(&self.core.memory.node if self.core.memory is not NULL else NULL)

    def __reduce__(self):
        raise TypeError("the scratch memory of a stream cannot be pickled")

    cdef Prepared prepare(self, cells):
        """Memory for these weights."""
        cdef Prepared found = Prepared()
        cdef Stack stack
        found.stream = self
        if stack_of(cells, &stack):
            found.memory = new_memory(cells, &stack, self.rows, self.is_native)
        return found

    cdef int put(self, Prepared prepared) except -1:
        """Publish memory, for the next step to take over; nothing of this takes any."""
        cdef StreamMemory *memory = prepared.memory
        self.is_stack = memory is not NULL
        prepared.memory = NULL
        if memory is not NULL:
            free_memory(lstm_handover_put(&self.core.pending, &memory.node))
        free_memory(lstm_handover_take(&self.core.retired))
        return 0

    cdef int publish(self) except -1:
        """Publish memory for the net's weights of now."""
        cdef long number
        while True:
            number = lstm_edition_read(&self.edition.number)
            self.put(self.prepare(self.net.cells))
            # Without a GIL another thread may have published newer ones, which these have replaced.
            if number == lstm_edition_read(&self.edition.number):
                break
        self.number = number
        return 0

    cdef bint is_ready(self) except -1:
        """Whether the net's weights of now are a stack of one direction; to be called within the guard."""
        if lstm_edition_read(&self.edition.number) != self.number:
            self.publish()
        if lstm_handover_waits(&self.core.pending):
            take_pending(&self.core)
            free_memory(lstm_handover_take(&self.core.retired))
        return self.is_stack

    def step(self, x, out):
        """x (B, I), out (B, O) or None: out, or a new one, and the state one step on.

        `single`: x (I,) and out (O,). x may be a contiguous array of any real dtype but float16 and
        longdouble or, if `single`, a list or tuple of floats and ints. None if this is not an everyday call:
        nothing has been done then.
        """
        self.enter()
        try:
            if not self.is_ready():
                return None
            return stream_step(self.core.memory, x, self.h, self.C, out, self.single)
        finally:
            lstm_guard_leave(&self.core.guard)

    def run(self, X, out):
        """X (B, T, I), out (B, T, O) or None: out, or a new one, and the state T steps on.

        `single`: X (T, I) and out (T, O). Where I is 1, X may lack that axis. X is of the net's dtype. None
        as by `step`.
        """
        self.enter()
        try:
            if not self.is_ready():
                return None
            return stream_run(self.core.memory, X, self.h, self.C, out, self.single)
        finally:
            lstm_guard_leave(&self.core.guard)

    cdef int enter(self) except -1:
        """Keep other threads out; RuntimeError if one is at work."""
        if not lstm_guard_enter(&self.core.guard):
            raise RuntimeError("this stream is in the middle of a step in another thread")
        return 0

    def alone(self, function, *arguments):
        """Call `function` while other threads are kept out, whatever signals come."""
        self.enter()
        try:
            return function(*arguments)
        finally:
            lstm_guard_leave(&self.core.guard)

    def native(self):
        """Addresses of the C functions of a step and a chunk, and of the stream that they take.

        None if the weights are no stack of one direction in native code.
        """
        if not self.is_native:
            self.edition.tell(self)
        if not self.is_native or lstm_edition_read(&self.edition.number) != self.number:
            was_native, self.is_native = self.is_native, True
            try:
                self.publish()
            except MemoryError:
                self.is_native = was_native
                raise
        if not self.is_stack:
            return None
        return <uintptr_t>&native_step, <uintptr_t>&native_run, <uintptr_t>&self.core
