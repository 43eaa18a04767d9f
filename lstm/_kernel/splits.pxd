# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# How the work of one or several calls is split: how many threads, groups of rows, parts of time.
from libc.stdint cimport int64_t

from .call cimport Call, call_of
from .layer_weights cimport LayerWeights
from .thread_pool cimport lstm_pool_grain

cdef enum:
    # Work is counted in multiply-adds of a gate, some 25 a nanosecond with AVX-512; the update of a cell
    # counts as so many.
    CELL_WORK = 32
    # Grains of work in a part of a track that no other one follows.
    PART_GRAINS = 16
    # Steps of a part that the layer above waits for: so many parts of the call, within limits. The last layer
    # begins after one part of each below, and every part reads all input weights.
    LINK_PARTS = 10
    LEAST_LINK_STEPS = 8
    MOST_LINK_STEPS = 32
    # Such parts in a grain, if steps are short; and of a layer, at least.
    GRAIN_LINKS = 4
    LEAST_PARTS = 4
    MOST_PARTS = 1 << 20
    # Grains of a call that is split also if it comes after a pause.
    LONG_GRAINS = 32
    # The same of one row: it is bound by reading its weights, and a multiply-add takes twice as long.
    LONG_ROW_GRAINS = 12
    # Rows that share the weights of a tile: fewer are not parted.
    GROUP_ROWS = 4


cdef struct Task:
    # One layer and direction, and what it is asked for.
    const LayerWeights *weights
    Call call


cdef struct Extent:
    # The rows of a call, and how many steps each has.
    ptrdiff_t batch
    ptrdiff_t time
    const ptrdiff_t *order  # (B,): rows, longest first, or NULL
    const ptrdiff_t *lengths  # (B,), or NULL


cdef struct Split:
    bint is_long
    int members
    ptrdiff_t groups
    ptrdiff_t parts


cdef inline int set_task(
    Task *task, const LayerWeights *weights, X, h, C, Y, lengths, order, bint reverse, trace, record,
    recurrent,
) except -1:
    """Fill in a task from arrays that fit, and which must be kept."""
    task.weights = weights
    task.call = call_of(weights, X, h, C, Y, lengths, order, reverse, trace, record, recurrent)
    return 0


# All in integers: a quotient of doubles would leave the flag of an inexact result.

cdef inline Extent extent_of(const Call *call) noexcept nogil:
    return Extent(call.batch, call.time, call.order, call.lengths)


cdef inline ptrdiff_t row_length(const Extent *extent, ptrdiff_t row) noexcept nogil:
    """Steps of a row, by its place in `order`."""
    return extent.time if extent.order is NULL else extent.lengths[extent.order[row]]


cdef inline int64_t row_work(const LayerWeights *weights) noexcept nogil:
    """Work of one step of one row."""
    cdef int64_t work = weights.hidden_size * (weights.input_size + weights.state_size + CELL_WORK)
    if weights.projection_panels > 0:
        work += weights.hidden_size * weights.state_size // 4
    return work


cdef inline int64_t add_work(int64_t work, int64_t row, ptrdiff_t rows) noexcept nogil:
    """work + row * rows, or 2^60 if that is less."""
    cdef int64_t most = <int64_t>1 << 60
    return most if row > (most - work) // max(1, rows) else work + row * rows


cdef inline bint is_long_work(int64_t step_work, ptrdiff_t time, int grains) noexcept nogil:
    """Whether so many steps are so many grains: worth threads even if what they need is in no cache."""
    return time >= grains * lstm_pool_grain() // max(1, step_work)


cdef inline ptrdiff_t row_steps(const Extent *extent) noexcept nogil:
    """Steps of all rows together."""
    cdef ptrdiff_t steps = 0
    cdef ptrdiff_t row
    if extent.order is NULL:
        return extent.batch * extent.time
    for row in range(extent.batch):
        steps += row_length(extent, row)
    return steps


cdef inline ptrdiff_t average_rows(const Extent *extent) noexcept nogil:
    """Rows at work at a step, on average, rounded up."""
    return (row_steps(extent) + extent.time - 1) // extent.time


cdef inline int worthy_members(int64_t step_work, ptrdiff_t time, int members) noexcept nogil:
    """How many of `members` have a grain of the work of all steps each; 0 if there is less than one."""
    cdef int64_t grain = lstm_pool_grain()
    if step_work < grain:
        members = <int>min(members, time // (grain // max(1, step_work)))
    return members


cdef inline Split split_of(
    int64_t step_work, ptrdiff_t batch, ptrdiff_t time, int count, bint is_chain, int members
) noexcept nogil:
    """How `members` share `count` tasks: rows first, then tasks; by one member if that is best.

    `step_work` is that of one step of all tasks and rows.
    """
    cdef Split split = Split(False, 1, 1, 1)
    cdef int64_t grain = lstm_pool_grain()
    cdef int64_t track_work, steps
    step_work = max(1, step_work)
    members = worthy_members(step_work, time, members)
    if members < 2:
        return split
    split.is_long = is_long_work(step_work, time, LONG_ROW_GRAINS if batch == 1 else LONG_GRAINS)
    split.groups = members if is_chain else (members + count - 1) // count
    split.groups = max(1, min(split.groups, batch // GROUP_ROWS))
    track_work = max(1, step_work // (count * split.groups))
    if is_chain and split.groups < members:
        steps = max(LEAST_LINK_STEPS, min(MOST_LINK_STEPS, time // LINK_PARTS))
        steps = max(steps, grain // GRAIN_LINKS // track_work)
    else:
        steps = max(1, grain * PART_GRAINS // track_work)
    split.parts = max(1, min(time // steps, MOST_PARTS))
    if is_chain and split.parts < LEAST_PARTS:
        count = 1
    split.members = <int>min(members, count * split.groups)
    return split


cdef inline Split split_tasks(const Task *tasks, int count, bint is_chain, int members) noexcept nogil:
    """How `members` share these tasks."""
    cdef int64_t work = 0
    cdef ptrdiff_t time = 1
    cdef bint records = False
    cdef Extent extent
    cdef Split split
    cdef int k
    for k in range(count):
        extent = extent_of(&tasks[k].call)
        work = add_work(work, row_work(tasks[k].weights), average_rows(&extent))
        time = max(time, tasks[k].call.time)
        records = records or tasks[k].call.record.gates is not NULL
    split = split_of(work, tasks[0].call.batch, time, count, is_chain, members)
    if records:
        split.parts = 1  # a record is of all steps of a row
    return split


cdef inline ptrdiff_t group_start(const Extent *extent, ptrdiff_t group, ptrdiff_t groups) noexcept nogil:
    """The first row of a group, by its place in `order`: groups have about as many steps each."""
    cdef ptrdiff_t before
    cdef ptrdiff_t steps = 0
    cdef ptrdiff_t row = 0
    if group == groups:
        return extent.batch
    if extent.order is NULL:
        return extent.batch * group // groups
    before = row_steps(extent) // groups * group
    while row < extent.batch and steps < before:
        steps += row_length(extent, row)
        row += 1
    return row
