# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# cython: freethreading_compatible=True
"""The native LSTM as Python sees it; the work is done by the parts next to this file, over csrc/.

    forward_sequence, everyday_…     this file            one layer and direction, or one step of several
      run_call                         teams.pxd            by several threads, or one
      run_alone                        call.pxd             scratch memory, the GIL
        run_passes                     passes.pxd           batch rows, states, the floating-point mode
          run_layer                    steps.pxd            time, in blocks of steps; lengths.pxd
            input_products             tiles.pxd            x half of all gates, for a block of steps
            hidden_products                                 h half, then the cell update
              kernels.gates / .step    micro_kernels.pxd    one register tile, in C

    backward_sequences               this file            their gradients, by several threads, or one
      run_backward_calls             backward_teams.pxd
        run_backward                 backward.pxd         backward_call.pxd, products.pxd

Shapes: B batch, T time, I input, H hidden, O features of h, L lanes, P = ceil(H / L) panels. The layouts of
weights, sums and states are drawn in csrc/lstm_kernels.h, docs/kernels.md explains the words.
"""
cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy

from .backward_teams cimport BackwardTask, run_backward_calls, set_backward_task
from .blocks cimport lstm_blocks_setup
from .call cimport check_call
from .heads cimport products_of
from .int8_sets cimport int8_limits, int8_set
from .isas cimport default_isa, isa_names, tile_limits_of
from .layer_weights cimport (
    LayerWeights,
    precision_of,
    set_options,
    set_narrow,
    set_products,
    set_sizes,
    take_addresses,
)
from .merges cimport merge_arrays
from .micro_kernels cimport LSTM_INT8
from .packs cimport pack_arrays
from .recorded_stacks cimport backward_stack, new_record, record_stack
from .signals cimport lstm_guard_setup
from .splits cimport Task, add_work, row_work, set_task, split_of
from .stacks cimport MOST_LAYERS, Stack, stack_sequence, stack_step
from .teams cimport run_calls
from .thread_pool cimport LSTM_MOST_THREADS, lstm_pool_setup
from .updates cimport adam_arrays


cdef extern from "scratch.h" nogil:
    int lstm_scratch_setup()


cnp.import_array()
lstm_guard_setup()
lstm_pool_setup()
if lstm_scratch_setup() < 0 or lstm_blocks_setup() < 0:
    raise ImportError("the system has no thread key or memory left for the kernel's memory")

KNOWN_ISAS = isa_names(False)
SUPPORTED_ISAS = isa_names(True)
DEFAULT_ISA = default_isa(KNOWN_ISAS, SUPPORTED_ISAS)
MOST_THREADS = LSTM_MOST_THREADS
DTYPES = ("float32", "float64")


cdef int isa_index(isa) except -1:
    if isa not in SUPPORTED_ISAS:
        raise ValueError(f"isa is {isa!r}, but this machine has {', '.join(SUPPORTED_ISAS)}")
    return KNOWN_ISAS.index(isa)


def lanes(isa, dtype):
    """Units in one vector of `isa` for "float32" or "float64"."""
    return tile_limits(isa, dtype)[0]


def tile_limits(isa, dtype):
    """(lanes, rows of the tallest tile, panels of the widest tile) for "float32" or "float64"."""
    return tile_limits_of(isa_index(isa), dtype)


def int8_sets(isa):
    """The sets of instructions by which this CPU can multiply int8 in `isa`, the fastest first.

    (Rows of the tallest tile, panels of the widest, bytes of an integer of an input) by their names.
    """
    return int8_limits(isa_index(isa))


include "process.pxi"


@cython.final
cdef class PackedWeights:
    """The weights of one layer and direction in the layout of the micro-kernels, made by `packing.pack`.

    input (P, I, 4, L), hidden (P, O, 4, L), bias (P, 4, L), peephole (P, 3, L) or None and projection
    (ceil(O / 4 L), H, 4, L) or None, of one dtype. `options` is None for the default equations, else
    (clip, cell_clip, proj_clip, each a bound or None, input_forget, three of (kind, alpha, beta)) with the
    kinds of csrc/lstm_kernels.h.

    `precision` other than None keeps input, hidden and, in 16 bits, projection small, as laid out in
    csrc/small_weights.h: (P, K, 2, L, 2) or (P, K, 4, L) of uint16, (P, ceil(K / 4), 4, L, 4) of int8. Of
    int8 `scales` are two of (P, 4, L), and `bounds_hidden` says whether |h| is at most 1 after every step.
    """
    cdef readonly object input, hidden, bias, peephole, projection, input_scales, hidden_scales
    cdef readonly object isa, precision
    cdef readonly Py_ssize_t input_size, hidden_size, state_size
    cdef list kept
    cdef LayerWeights layer

    def __cinit__(
        self, input, hidden, bias, sizes, isa, peephole=None, projection=None, options=None,
        precision=None, scales=(None, None), bint bounds_hidden=False,
    ):
        cdef LayerWeights *layer = &self.layer
        self.isa, self.precision = isa, precision
        layer.isa = isa_index(isa)
        layer.is_double = bias.dtype.char == "d"
        layer.precision = precision_of(precision)
        layer.bounds_hidden = bounds_hidden
        if layer.is_double and precision is not None:
            raise ValueError(f"precision is {precision!r}, but the bias is of float64")
        self.input_size, self.hidden_size, self.state_size = sizes
        layer.input_size, layer.hidden_size, layer.state_size = sizes
        self.take_arrays({
            "input": input, "hidden": hidden, "bias": bias, "peephole": peephole, "projection": projection,
            "input_scales": scales[0], "hidden_scales": scales[1],
        })
        panel_lanes, _, panel_tile = tile_limits(isa, DTYPES[layer.is_double])
        set_narrow(layer)
        set_sizes(layer, panel_lanes, panel_tile, input.itemsize)
        if layer.precision == LSTM_INT8:
            set_products(layer, int8_set(layer.isa, None), panel_tile)
        layer.has_default_equations = options is None and peephole is None
        set_options(layer, options)

    cdef take_arrays(self, dict arrays):
        """Check the arrays and keep them, read-only, and their addresses."""
        self.input, self.hidden, self.bias = arrays["input"], arrays["hidden"], arrays["bias"]
        self.peephole, self.projection = arrays["peephole"], arrays["projection"]
        self.input_scales, self.hidden_scales = arrays["input_scales"], arrays["hidden_scales"]
        self.kept = take_addresses(&self.layer, lanes(self.isa, DTYPES[self.layer.is_double]), arrays)
        for array in self.kept:
            array.flags.writeable = False

    def choose_products(self, name):
        """For tests: multiply int8 by this set of instructions, one of `int8_sets`; all yield equal bits."""
        set_products(&self.layer, int8_set(self.layer.isa, name), tile_limits(self.isa, "float32")[2])

    def new_record(self, ptrdiff_t rows, ptrdiff_t time):
        """New (gates, cells, squashed) of a pass of B rows and T steps, as `forward_sequence` takes them."""
        return new_record(&self.layer, rows, time, self.bias.dtype)

    @property
    def nbytes(self):
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.kept)

    @property
    def is_double(self):
        return bool(self.layer.is_double)

    def __reduce__(self):
        raise TypeError("PackedWeights belong to this machine's ISA; pickle the unpacked weights instead")


def pack_matrix(cnp.ndarray matrix not None, cnp.ndarray packed not None, isa):
    """matrix (G, H, K), contiguous, to packed (P, K, G, L), overwritten; units past H become zero."""
    pack_arrays(isa_index(isa), matrix, packed)


def forward_sequence(
    PackedWeights weights not None, X, h, C, Y, lengths=None, bint reverse=False, trace=None,
    tuple record=None, recurrent=None,
):
    """X (B, T, I), h (B, O), C (B, H), Y (B, T, O) or None: all time steps of one layer and direction.

    `h` and `C` hold the state before the first step and are overwritten with the last one; `Y`, if given,
    is overwritten with h of every step, and `trace`, (5, B, T, H), with i, f, g, o and C. All are of the
    weights' dtype; `X` and `Y` may have any strides but on the last axis. `h`, `C` and `Y` overlap neither
    one another nor `X`. With `reverse` time runs from the end. `lengths` (B,) of intp: a row's steps
    past its length are not read, and are zero in `Y`; not together with `trace`. `record` is overwritten
    with what `backward_sequences` needs: gates (P, B, T, 4, L), cells (P, B, T + 1, L), squashed
    (P, B, T, L). `recurrent` (B, O): factors of h on its way to the next step.
    """
    forward_sequences([(weights, X, h, C, Y, lengths, reverse, trace, record, recurrent)])


def forward_sequences(calls, bint is_chain=False):
    """What `forward_sequence` does for each of `calls`, which are tuples of its arguments.

    They are done together if there are threads. They do not depend on one another or, with
    `is_chain`, each reads as its X what the one before it writes as its Y.
    """
    cdef Task *tasks
    cdef PackedWeights weights
    cdef ptrdiff_t used = 0
    kept = []  # what the tasks point at
    for one in calls if is_chain else ():
        if one[1].shape[:2] != calls[0][1].shape[:2] or one[5] is not calls[0][5]:
            raise ValueError("the calls of a chain must have the same rows, steps and lengths")
    tasks = <Task *>malloc(max(1, len(calls)) * sizeof(Task))
    if tasks is NULL:
        raise MemoryError
    try:
        for call in calls:
            weights, X, h, C, Y, lengths, reverse, trace, record, recurrent = call
            check_call(&weights.layer, X, h, C, Y, lengths, trace, recurrent)
            if weights.precision is not None and not (record is None and recurrent is None):
                raise ValueError(f"nothing is recorded of weights in {weights.precision}")
            lengths, order = rows_by_length(lengths)
            kept.append((lengths, order))
            set_task(
                &tasks[used], &weights.layer, X, h, C, Y, lengths, order, reverse, trace, record, recurrent
            )
            used += tasks[used].call.batch > 0 and tasks[used].call.time > 0
        if used > 0:
            run_calls(tasks, used, is_chain)
    finally:
        free(tasks)


def shares(tuple cells, ptrdiff_t rows, ptrdiff_t time, bint is_chain):
    """Whether `forward_sequences` of these cells, each on X (B, T, I), would be done by several threads."""
    cdef int64_t work = 0
    cdef PackedWeights weights
    if lstm_get_num_threads() == 1 or type(cells[0]) is not PackedWeights:
        return False
    for weights in cells:
        work = add_work(work, row_work(&weights.layer), rows)
    return split_of(work, rows, time, len(cells), is_chain, lstm_get_num_threads()).members > 1


cdef rows_by_length(lengths):
    """The lengths (B,) of intp, and the rows in their order, longest first, (B,); None twice for None."""
    if lengths is None:
        return None, None
    lengths = numpy.ascontiguousarray(lengths, numpy.intp)
    return lengths, numpy.ascontiguousarray(numpy.argsort(-lengths, kind="stable"), numpy.intp)


def backward_sequences(calls):
    """The gradients of some passes of `forward_sequences` with a record, which do not depend on one another.

    Each of `calls` is (weights, X, Y, h0, record, dY, dh, dC, dX, sums, norms, lengths, reverse, recurrent).
    X (B, T, I), Y (B, T, O), h0 (B, O), `lengths`, `reverse` and `recurrent` are those of the pass. dY
    (B, T, O), or None, dh (B, O) and dC (B, H) are the gradients of its results; the last two are
    overwritten with those of the first state, dX (B, T, I), if given, with that of X. Those of the weights
    are added to `sums`, or None: input (4, H, I), hidden (4, H, O), bias (4, H), peephole (3, H) or None,
    projection (O, H) or None; with one more axis in front, (B, ...), each row's to its own. `norms`
    (2, B, T) is overwritten with the norms of the gradients of h and C of every step. Records are used up.
    """
    cdef BackwardTask *tasks
    cdef PackedWeights weights
    cdef ptrdiff_t used = 0
    kept = []  # what the tasks point at
    tasks = <BackwardTask *>malloc(max(1, len(calls)) * sizeof(BackwardTask))
    if tasks is NULL:
        raise MemoryError
    try:
        for weights, *given, lengths, reverse, recurrent in calls:
            if weights.precision is not None:
                raise ValueError(f"there are no gradients of weights in {weights.precision}")
            lengths, order = rows_by_length(lengths)
            rank = None if order is None else numpy.argsort(order)
            kept.append((lengths, order, rank))
            set_backward_task(&tasks[used], &weights.layer, given, lengths, order, rank, reverse, recurrent)
            used += tasks[used].call.batch > 0 and tasks[used].call.time > 0
        if used > 0:
            run_backward_calls(tasks, used)
    finally:
        free(tasks)


cdef bint stack_of(object cells, Stack *stack) noexcept:
    """Fill in a stack of one direction in native code, good while `cells` is held; False if it is none."""
    cdef ptrdiff_t layer
    if type(cells) is not tuple or not 1 <= len(<tuple>cells) <= MOST_LAYERS:
        return False
    if type((<tuple>cells)[0]) is not PackedWeights:
        return False
    stack.layers = len(<tuple>cells)
    for layer in range(stack.layers):
        stack.weights[layer] = &(<PackedWeights>(<tuple>cells)[layer]).layer
    return True


def merge_directions(outputs, backward, merge):
    """outputs (B, T, O), backward (B, T, O): outputs become the "sum", "mean" or "mul" of both."""
    kind = ("sum", "mean", "mul").index(merge)  # as in merges.pxd
    merge_arrays(outputs, backward, kind)


def add_products(input, weights, sums, isa=DEFAULT_ISA):
    """sums (n, m) += input (R, n, k) . weights (R, k, w), one r after the other; w >= m is whole vectors."""
    products_of(input, weights, sums, isa_index(isa))


def adam(
    values, gradient, moments, double keep, double beta1_rest, double beta2_rest, double square_scale,
    double epsilon, double rate,
):
    """values, gradient (n,), moments (2, n): a step of Adam in place, of the dtype of the values.

    The constants: what is left of the values by weight decay; 1 - beta1; 1 - beta2; what the root of the mean
    square is multiplied by, and what is added to it; the learning rate, made up for the mean's start at zero.
    """
    adam_arrays(values, gradient, moments, keep, beta1_rest, beta2_rest, square_scale, epsilon, rate)


def everyday_step(cells, x, h_prev, C_prev):
    """x (I,), (I, 1), (B, I), states of one step: new h, C; None if this is not an everyday call.

    `cells` are the layers of a stack of one direction. Everyday are contiguous arrays of the net's dtype that
    fit; `LSTM.forward` takes all other calls, and all errors, through its checks.
    """
    cdef Stack stack
    return stack_step(&stack, x, h_prev, C_prev) if stack_of(cells, &stack) else None


def everyday_sequence(cells, X, h0, C0, out, bint reverse):
    """X (T, I) or (B, T, I), states (L, O) or (L, B, O), or None: Y, h_n, C_n; or None.

    For `LSTM.forward_sequence` what `everyday_step` is for one step.
    """
    cdef Stack stack
    return stack_sequence(&stack, X, h0, C0, out, reverse) if stack_of(cells, &stack) else None


def everyday_record(cells, X, h0, C0, bint reverse, tuple storage=None, bint copies=True):
    """X (T, I) or (B, T, I), states (L, O) or (L, B, O), or None: storage, h0, C0, h_n, C_n; or None.

    For `LSTM.record` what `everyday_step` is for one step. The storage is what the pass keeps: X (B, T, I),
    the record of each layer and the outputs (L, B, T, O); that of an earlier call is written over. Without
    `copies` a new one has X (B, T, I) itself, which is not to change then.
    """
    cdef Stack stack
    return record_stack(&stack, X, h0, C0, reverse, storage, copies) if stack_of(cells, &stack) else None


def everyday_backward(
    cells, tuple storage not None, h0, dY, dh_n, dC_n, bint batched, bint inputs, sums, bint reverse
):
    """What `everyday_record` kept, and gradients of its results: dX or None, dh0, dC0, norms; or None.

    h0 (L, B, O); dY (B, T, O), dh_n (L, B, O), dC_n (L, B, H), or None, without B if not `batched`. Those of
    the weights are added to the arrays of every layer in `sums`, or None, also for one layer. dX (B, T, I) if
    `inputs`, dh0 (L, B, O), dC0 (L, B, H), norms (2, L, B, T). The records are used up.
    """
    cdef Stack stack
    if not stack_of(cells, &stack):
        return None
    return backward_stack(&stack, storage, h0, dY, dh_n, dC_n, batched, inputs, sums, reverse)


include "stream_calls.pxi"
include "single_calls.pxi"
