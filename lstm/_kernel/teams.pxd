# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# Calls whose work a team shares: rows, directions and layers as tracks, whose parts are some time steps each.
#
# A part is a call of its own, of some rows and steps, from the caller's states and back to them: so the bits
# do not depend on how the work is split.
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .call cimport Call, Rows, Saved, prepare, run_alone
from .layer_weights cimport LayerWeights, lanes_of
from .micro_kernels cimport GATE_COUNT, LSTM_CACHE_LINE, Pass, lstm_f32_pass, lstm_f64_pass
from .passes cimport aligned, run_passes
from .splits cimport (
    LONG_ROW_GRAINS,
    Extent,
    Split,
    Task,
    extent_of,
    group_start,
    is_long_work,
    row_work,
    split_tasks,
)
from .thread_pool cimport (
    lstm_get_num_threads,
    lstm_pool_is_wish,
    lstm_pool_size,
    lstm_team_enter,
    lstm_team_leave,
    lstm_team_memory,
    lstm_team_missed,
    lstm_track,
    lstm_tracks,
)
from .tracks cimport padded, place, run_tracks, set_tracks
from .units cimport run_units, unit_members

cdef union Work:
    # What a member works on.
    lstm_f32_pass f32
    lstm_f64_pass f64


cdef struct Team:
    # In memory that is not on any thread's stack: at the interpreter's exit the calling thread may end before
    # its helpers.
    char *memory  # all but the scratch memory
    lstm_tracks shared
    lstm_track *tracks  # (tasks, groups)
    Task *tasks
    ptrdiff_t groups  # of rows, of every task
    ptrdiff_t parts  # of every track
    ptrdiff_t *lengths  # (tasks, B): what every row has left of its length in a part
    Work *works  # (members,)
    char *scratch  # (members, scratch_bytes)
    size_t scratch_bytes


# ---- a part of a task

cdef inline Rows rows_from(Rows rows, ptrdiff_t row, ptrdiff_t step, ptrdiff_t size) noexcept nogil:
    """The same rows from this row and step on."""
    if rows.data is NULL:
        return rows
    return Rows(
        <char *>rows.data + (row * rows.batch_stride + step * rows.time_stride) * size,
        rows.batch_stride,
        rows.time_stride,
    )


cdef inline Call rows_of_track(const Team *team, int track) noexcept nogil:
    """What a track's rows are asked for."""
    cdef const Task *task = &team.tasks[track // team.groups]
    cdef ptrdiff_t group = track % team.groups
    cdef ptrdiff_t size = sizeof(double) if task.weights.is_double else sizeof(float)
    cdef Call call = task.call
    cdef Extent extent = extent_of(&call)
    cdef ptrdiff_t row = group_start(&extent, group, team.groups)
    call.batch = group_start(&extent, group + 1, team.groups) - row
    if call.record.gates is not NULL:
        call.record = record_from(task, row)
    if call.order is not NULL:
        call.order += row
        return call
    call.X = rows_from(call.X, row, 0, size)
    call.Y = rows_from(call.Y, row, 0, size)
    call.trace = rows_from(call.trace, row, 0, size)
    call.h = <char *>call.h + row * task.weights.state_size * size
    call.C = <char *>call.C + row * task.weights.hidden_size * size
    if call.recurrent is not NULL:
        call.recurrent = <const char *>call.recurrent + row * task.weights.state_size * size
    return call


cdef inline Saved record_from(const Task *task, ptrdiff_t row) noexcept nogil:
    """The record from this row on, of all steps."""
    cdef Saved record = task.call.record
    cdef ptrdiff_t size = sizeof(double) if task.weights.is_double else sizeof(float)
    cdef ptrdiff_t steps = row * task.call.time * lanes_of(task.weights) * size
    record.gates = <char *>record.gates + GATE_COUNT * steps
    record.squashed = <char *>record.squashed + steps
    record.cells = <char *>record.cells + steps + row * lanes_of(task.weights) * size
    return record


cdef inline Call part_of(const Team *team, int track, ptrdiff_t part) noexcept nogil:
    """The rows of a track, and the time steps of a part in the order of computation."""
    cdef ptrdiff_t number = track // team.groups
    cdef ptrdiff_t size = sizeof(double) if team.tasks[number].weights.is_double else sizeof(float)
    cdef Call call = rows_of_track(team, track)
    cdef ptrdiff_t first = call.time * part // team.parts
    cdef ptrdiff_t end = call.time * (part + 1) // team.parts
    cdef ptrdiff_t row
    if call.reverse:
        first, end = call.time - end, call.time - first
    call.time = end - first
    call.X = rows_from(call.X, 0, first, size)
    call.Y = rows_from(call.Y, 0, first, size)
    call.trace = rows_from(call.trace, 0, first, size)
    if call.lengths is not NULL:
        lengths = team.lengths + number * team.tasks[number].call.batch
        for row in range(call.batch):
            lengths[call.order[row]] = max(0, min(call.lengths[call.order[row]] - first, call.time))
        call.lengths = lengths
    return call


cdef inline int run_part_typed(
    Pass *layer, Team *team, const LayerWeights *weights, Call *call, ptrdiff_t rows, int member
) noexcept nogil:
    """A part by one member, in its own scratch memory; its task has so many rows."""
    prepare(layer, weights, call)
    layer.slice.hears_signals = member == 0
    layer.slice.is_stopped = &team.shared.is_stopped
    # Of all rows, of which these are some.
    layer.record.panel_stride = rows * layer.record.row_stride
    layer.record.cells_panel_stride = rows * layer.record.cells_row_stride
    return run_passes(layer, team.scratch + member * team.scratch_bytes, call.batch)


cdef inline int run_part(void *job, int track, ptrdiff_t part, int member) noexcept nogil:
    """For `lstm_tracks`; -1, with an exception set, if a signal's handler raised."""
    cdef Team *team = <Team *>job
    cdef const Task *task = &team.tasks[track // team.groups]
    cdef const LayerWeights *weights = task.weights
    cdef ptrdiff_t rows = task.call.batch
    cdef Call call = part_of(team, track, part)
    if call.batch == 0 or call.time == 0:
        return 0
    if weights.is_double:
        return run_part_typed(&team.works[member].f64, team, weights, &call, rows, member)
    return run_part_typed(&team.works[member].f32, team, weights, &call, rows, member)


# ---- a team

cdef inline size_t most_scratch(Team *team) noexcept nogil:
    """Bytes of scratch memory of the largest part of all tracks."""
    cdef Work work
    cdef Call call
    cdef size_t most = 0
    cdef Task *task
    cdef ptrdiff_t time
    cdef int track
    for track in range(team.shared.count):
        task = &team.tasks[track // team.groups]
        # Parts differ by a step; in one of a single step less is needed.
        time = min(task.call.time, task.call.time // team.parts + 1)
        call = rows_of_track(team, track)
        call.time = time
        if call.batch == 0:
            continue
        if task.weights.is_double:
            most = max(most, prepare(&work.f64, task.weights, &call))
        else:
            most = max(most, prepare(&work.f32, task.weights, &call))
    return padded(most)


cdef inline Team *new_team(const Task *tasks, int count, bint is_chain, Split split) noexcept nogil:
    """With scratch memory of the pool; NULL if there is not enough memory."""
    cdef Team plan
    cdef Team *team
    cdef char *memory
    cdef int tracks = <int>(count * split.groups)
    cdef ptrdiff_t batch = 0 if tasks[0].call.order is NULL else tasks[0].call.batch
    cdef size_t sizes[4]
    cdef size_t size
    cdef int track
    memset(&plan, 0, sizeof(plan))
    plan.shared.count, plan.parts = tracks, split.parts
    plan.groups = split.groups
    plan.tasks = <Task *>tasks
    plan.scratch_bytes = most_scratch(&plan)
    sizes[0] = tracks * sizeof(lstm_track)
    sizes[1] = count * sizeof(Task)
    sizes[2] = count * batch * sizeof(ptrdiff_t)
    sizes[3] = split.members * sizeof(Work)
    size = padded(sizeof(Team)) + LSTM_CACHE_LINE
    for track in range(4):
        size += padded(sizes[track])
    plan.memory = memory = <char *>malloc(size)
    plan.scratch = <char *>lstm_team_memory(split.members * plan.scratch_bytes)
    if plan.memory is NULL or plan.scratch is NULL:
        free(plan.memory)
        return NULL
    memory = <char *>aligned(memory)
    team = <Team *>place(&memory, sizeof(Team))
    team[0] = plan
    team.tracks = <lstm_track *>place(&memory, sizes[0])
    team.tasks = <Task *>place(&memory, sizes[1])
    team.lengths = <ptrdiff_t *>place(&memory, sizes[2])
    team.works = <Work *>place(&memory, sizes[3])
    memset(team.tracks, 0, sizes[0])
    memset(team.works, 0, sizes[3])
    memcpy(team.tasks, tasks, sizes[1])
    for track in range(tracks):
        team.tracks[track].follows = <int>(track - split.groups) if is_chain else -1
        team.tracks[track].parts = split.parts
    set_tracks(&team.shared, team.tracks, run_part, team)
    return team


cdef inline int share_units(const Task *task, int members) except? -1:
    """One task by members that meet after each step; 0 if it is to be done by one thread alone."""
    cdef bint is_long = is_long_work(row_work(task.weights), task.call.time, LONG_ROW_GRAINS)
    members = unit_members(task.weights, &task.call, members)
    if members > 1:
        with nogil:
            members = lstm_team_enter(members, is_long)
    return run_units(task.weights, &task.call, members) if members > 1 else 0


cdef inline bint are_units_better(const Task *tasks, int count, int members) noexcept nogil:
    """Whether the layers of a chain take turns, each done by all members, whose shares are equal then.

    At H 256 two members are 1.4 to 1.75 times as fast as one so, at H 512 2.7 times; 1.3 to 1.7 times if one
    layer follows the other.
    """
    cdef int k
    for k in range(count):
        if unit_members(tasks[k].weights, &tasks[k].call, members) < members:
            return False
    return lstm_pool_is_wish()


cdef inline int run_layers(const Task *tasks, int count, int members) except -1:
    """The layers of a chain one after another, the units of each shared if there are members."""
    cdef Call call
    cdef int k
    for k in range(count):
        if share_units(&tasks[k], members) == 0:
            call = tasks[k].call
            run_alone(tasks[k].weights, &call, NULL)
            lstm_team_missed()
    return 1


cdef inline int run_team(const Task *tasks, int count, bint is_chain) except? -1:
    """All tasks by as many members as there are and as pay; 0 if it is to be done by one thread alone."""
    cdef Split split
    cdef Team *team = NULL
    cdef int members = lstm_get_num_threads()
    if members < 2:
        return 0
    split = split_tasks(tasks, count, is_chain, members)
    if is_chain and count > 1 and are_units_better(tasks, count, members):
        return run_layers(tasks, count, members)
    if split.members < 2:
        return share_units(tasks, members) if count == 1 and lstm_pool_is_wish() else 0
    with nogil:
        members = lstm_team_enter(min(split.members, lstm_pool_size()), split.is_long)
        if members > 1:
            split = split_tasks(tasks, count, is_chain, members)
            team = new_team(tasks, count, is_chain, split)
            if team is NULL:
                lstm_team_leave(0)
    if team is NULL:
        return 0
    return run_tracks(&team.shared, split.members, team.memory)


cdef inline int run_calls(const Task *tasks, int count, bint is_chain) except -1:
    """Calls of B, T > 0, each with scratch memory of its own: one after another or, if it pays, by a team.

    Calls that are a chain have the same rows and steps, and each one reads what the one before it writes.
    """
    cdef Task task
    cdef int k
    if run_team(tasks, count, is_chain) > 0:
        return 0
    for k in range(count):
        task = tasks[k]
        run_alone(task.weights, &task.call, NULL)
    lstm_team_missed()
    return 0


cdef inline int run_call(const LayerWeights *weights, Call *call, char *memory) except -1:
    """One call of B, T > 0 with `call_bytes` of scratch memory or, for NULL, its own."""
    cdef Task task
    if memory is not NULL:
        return run_alone(weights, call, memory)
    task.weights = weights
    task.call = call[0]
    return run_calls(&task, 1, False)
