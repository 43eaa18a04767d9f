# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The backward pass of one or several cells by a team: what is summed by one member alone is a track.
#
#   TURN     the weights as products take them, a panel of features each
#   STEPS    groups of rows, their steps from the last to the first
#   INPUT    d_input of a group, part by part after its steps, unless these compute it
#   WEIGHTS  panels of features by some units, of all rows and steps
#
# No sum is split, so that its bits do not depend on the members.
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .arrays cimport data_of
from .backward cimport BACKWARD_ROWS, is_stepwise, run_input_back, run_passes_back, turn_part, turned_parts
from .backward_call cimport (
    BackwardCall,
    backward_call,
    bind_own,
    prepare_backward,
    run_backward_alone,
    start_backward,
)
from .backward_types cimport Backward, lstm_f32_backward, lstm_f64_backward
from .call cimport check_lengths
from .layer_weights cimport LayerWeights
from .micro_kernels cimport LSTM_CACHE_LINE, lstm_fp_enter, lstm_fp_leave, lstm_slice
from .passes cimport aligned
from .splits cimport CELL_WORK, Extent, Split, add_work, average_rows, group_start, split_of, worthy_members
from .thread_pool cimport (
    lstm_get_num_threads,
    lstm_pool_grain,
    lstm_pool_size,
    lstm_team_enter,
    lstm_team_leave,
    lstm_team_memory,
    lstm_team_missed,
    lstm_track,
    lstm_tracks,
)
from .tracks cimport padded, place, run_tracks, set_tracks
from .weight_gradients cimport weight_gradients, weight_parts

cdef enum:
    # Kinds of tracks, in the order of their numbers.
    TURN
    STEPS
    INPUT
    WEIGHTS
    KINDS

cdef enum:
    # Rows of d_input in a part that follows the steps: several tiles.
    LINK_ROWS = 24
    # Such parts in a grain, if steps are short.
    GRAIN_LINKS = 4
    # Parts of the gradients of the weights for each member, at least, where they do not come out even.
    MEMBER_PARTS = 3


cdef union BackwardWork:
    lstm_f32_backward f32
    lstm_f64_backward f64


cdef struct BackwardTask:
    # One layer and direction, and what it is asked for.
    const LayerWeights *weights
    BackwardCall call


cdef struct BackwardTeam:
    # In memory that is not on the calling thread's stack, as a Team of teams.pxd is.
    char *memory  # all but the scratch memory
    lstm_tracks shared
    lstm_track *tracks
    int first[KINDS + 1]  # track of each kind
    int count
    BackwardTask *tasks  # (count,)
    BackwardWork *bases  # (count,): what all members do of a task
    BackwardWork *works  # (members,)
    Split split
    ptrdiff_t shares  # of the units, of a part of the gradients of the weights
    ptrdiff_t rows  # of a pass, at most
    char *scratch  # (members, own_bytes)
    size_t own_bytes


cdef inline int set_backward_task(
    BackwardTask *task, const LayerWeights *weights, list given, lengths, order, rank, bint reverse, recurrent
) except -1:
    """Fill in a task from X, Y, h0, record, dY, dh, dC, dX, sums, norms, and the rest; all must be kept."""
    X, Y, h0, record, dY, dh, dC, dX, sums, norms = given
    task.weights = weights
    task.call = backward_call(weights, X, Y, h0, record, dY, dh, dC, dX, sums, norms, recurrent, reverse)
    if lengths is not None and task.call.batch > 0:
        check_lengths(lengths, task.call.batch, task.call.time)
        task.call.lengths = <const ptrdiff_t *>data_of(lengths)
        task.call.order = <const ptrdiff_t *>data_of(order)
        task.call.rank = <const ptrdiff_t *>data_of(rank)
    return 0


# ---- a part

cdef inline Extent rows_back(const BackwardCall *call) noexcept nogil:
    return Extent(call.batch, call.time, call.order, call.lengths)


cdef inline int run_track(
    Backward *own, const BackwardTeam *team, const BackwardTask *task, int kind, int number, ptrdiff_t part
) noexcept nogil:
    """A part of a track of a task; -1, with an exception set, if a signal's handler raised."""
    cdef Extent extent = rows_back(&task.call)
    cdef ptrdiff_t groups = team.split.groups
    cdef ptrdiff_t parts = team.split.parts
    cdef ptrdiff_t row, end_row, first, end
    if kind == TURN:
        turn_part(own, number)
        return 0
    if kind == WEIGHTS:
        own.first_panel = own.panels * (number % team.shares) // team.shares
        own.end_panel = own.panels * (number % team.shares + 1) // team.shares
        return weight_gradients(own, task.call.rank, number // team.shares)
    row, end_row = group_start(&extent, number, groups), group_start(&extent, number + 1, groups)
    first, end = task.call.time * part // parts, task.call.time * (part + 1) // parts
    if kind == STEPS:
        return run_passes_back(own, row, end_row, first, end)
    return run_input_back(own, row, end_row, first, end)


cdef inline int run_member(
    Backward *own, const Backward *base, BackwardTeam *team, int track, ptrdiff_t part, int member
) noexcept nogil:
    """A part by one member, in its own scratch memory."""
    cdef lstm_slice slice = own.slice
    cdef int kind = team.tracks[track].kind
    cdef int of_task = (team.first[kind + 1] - team.first[kind]) // team.count
    cdef int number = track - team.first[kind]
    cdef int status
    own[0] = base[0]
    own.slice = slice
    own.slice.hears_signals = member == 0
    own.slice.is_stopped = &team.shared.is_stopped
    bind_own(own, team.scratch + member * team.own_bytes, team.rows)
    own.slice.mode = lstm_fp_enter()
    status = run_track(own, team, &team.tasks[number // of_task], kind, number % of_task, part)
    lstm_fp_leave(own.slice.mode)
    return status


cdef inline int run_backward_part(void *job, int track, ptrdiff_t part, int member) noexcept nogil:
    """For `lstm_tracks`; -1, with an exception set, if a signal's handler raised."""
    cdef BackwardTeam *team = <BackwardTeam *>job
    cdef int kind = team.tracks[track].kind
    cdef int of_task = (team.first[kind + 1] - team.first[kind]) // team.count
    cdef BackwardWork *base = &team.bases[(track - team.first[kind]) // of_task]
    if team.tasks[0].weights.is_double:
        return run_member(&team.works[member].f64, &base.f64, team, track, part, member)
    return run_member(&team.works[member].f32, &base.f32, team, track, part, member)


# ---- a team

cdef inline ptrdiff_t input_links(const BackwardTask *task, int64_t work, ptrdiff_t groups) noexcept nogil:
    """Parts of the steps of a group that its d_input follows; `work` is that of a step of all rows."""
    cdef ptrdiff_t rows = max(1, task.call.batch // groups)
    cdef int64_t steps = max(1, LINK_ROWS // rows)
    steps = max(steps, lstm_pool_grain() // GRAIN_LINKS // max(1, work // groups))
    return max(1, task.call.time // steps)


cdef inline Split split_backward(const BackwardTask *tasks, int count, int members) noexcept nogil:
    """How `members` share the gradients of these tasks, which are alike: rows, then tasks, then the rest."""
    cdef const LayerWeights *weights = tasks[0].weights
    cdef const BackwardCall *call = &tasks[0].call
    cdef Extent extent = rows_back(call)
    cdef ptrdiff_t rows = count * average_rows(&extent)
    # From step to step, and what can wait.
    cdef int64_t steps_work = weights.hidden_size * (weights.state_size + CELL_WORK)
    cdef int64_t rest_work = 0
    cdef Split split
    if call.dX is not NULL:
        rest_work += weights.hidden_size * weights.input_size
    if call.sums.bias is not NULL:
        rest_work += weights.hidden_size * (weights.input_size + weights.state_size)
    split = split_of(add_work(0, steps_work + rest_work, rows), call.batch, call.time, count, False, members)
    split.members = max(split.members, worthy_members(add_work(0, rest_work, rows), call.time, members))
    return split


cdef inline ptrdiff_t unit_shares(ptrdiff_t parts, ptrdiff_t panels, int members) noexcept nogil:
    """How often so many parts are split by units, so that members have about as many."""
    if parts % members == 0:
        return 1
    return min(panels, (MEMBER_PARTS * members + parts - 1) // parts)


cdef inline void count_tracks(Backward *base, BackwardTeam *team) noexcept nogil:
    """Fill in how the tasks are split into tracks."""
    cdef const BackwardCall *call = &team.tasks[0].call
    cdef ptrdiff_t counts[KINDS]
    cdef int kind
    cdef bint has_links = call.dX is not NULL and not is_stepwise(base)
    counts[TURN] = turned_parts(base)
    counts[STEPS] = team.split.groups
    counts[INPUT] = team.split.groups if has_links else 0
    counts[WEIGHTS] = 0
    team.shares = 1
    if call.sums.bias is not NULL:
        team.shares = unit_shares(team.count * (weight_parts(base) - 1), base.panels, team.split.members)
        counts[WEIGHTS] = weight_parts(base) * team.shares
    team.first[TURN] = 0
    for kind in range(KINDS):
        team.first[kind + 1] = team.first[kind] + <int>(team.count * counts[kind])
    if has_links:
        team.split.parts = input_links(&team.tasks[0], base.hidden_size * base.state_size, team.split.groups)


cdef inline void link_tracks(BackwardTeam *team) noexcept nogil:
    """Fill in which track waits for which."""
    cdef int kind, track
    for kind in range(KINDS):
        for track in range(team.first[kind], team.first[kind + 1]):
            team.tracks[track].kind = kind
            team.tracks[track].follows = -1
            team.tracks[track].parts = team.split.parts if kind == STEPS or kind == INPUT else 1
            if kind == STEPS or kind == INPUT:
                team.tracks[track].after = team.first[STEPS]
            elif kind == WEIGHTS:
                team.tracks[track].after = team.first[INPUT]
            if kind == INPUT:
                team.tracks[track].follows = track - team.first[INPUT] + team.first[STEPS]


cdef inline ptrdiff_t most_rows(const BackwardTeam *team) noexcept nogil:
    """Rows of the largest group of all tasks, or of a pass if that is less."""
    cdef Extent extent
    cdef ptrdiff_t most = 0
    cdef ptrdiff_t group
    cdef int task
    for task in range(team.count):
        extent = rows_back(&team.tasks[task].call)
        for group in range(team.split.groups):
            most = max(
                most,
                group_start(&extent, group + 1, team.split.groups)
                - group_start(&extent, group, team.split.groups),
            )
    return min(most, BACKWARD_ROWS)


cdef inline Backward *base_of(Backward *first, int task) noexcept nogil:
    """That of a task, of the team's `bases`."""
    return <Backward *>(<char *>first + task * sizeof(BackwardWork))


cdef inline bint start_tasks(Backward *first, BackwardTeam *team) noexcept nogil:
    """Fill in the bases and tracks, in memory of the pool; False if there is not enough."""
    cdef size_t shared = 0
    cdef size_t tracks
    cdef char *memory
    cdef int task
    team.rows = most_rows(team)
    for task in range(team.count):
        shared = padded(
            prepare_backward(base_of(first, task), team.tasks[task].weights, &team.tasks[task].call)
        )
    team.own_bytes = padded(bind_own(first, NULL, team.rows) * sizeof(first.zeros[0]))
    count_tracks(first, team)
    team.shared.count = team.first[KINDS]
    tracks = padded(team.shared.count * sizeof(lstm_track))
    memory = <char *>lstm_team_memory(
        LSTM_CACHE_LINE + tracks + team.count * shared + team.split.members * team.own_bytes
    )
    if memory is NULL:
        return False
    memory = <char *>aligned(memory)
    team.tracks = <lstm_track *>place(&memory, tracks)
    memset(team.tracks, 0, tracks)
    for task in range(team.count):
        start_backward(base_of(first, task), place(&memory, shared))
    team.scratch = memory
    return True


cdef inline BackwardTeam *new_backward_team(const BackwardTask *tasks, int count, Split split) noexcept nogil:
    """With scratch memory of the pool; NULL if there is not enough memory."""
    cdef size_t sizes[3]
    cdef size_t size = padded(sizeof(BackwardTeam)) + LSTM_CACHE_LINE
    cdef BackwardTeam *team
    cdef char *memory
    cdef char *start
    cdef bint has_memory
    cdef int k
    sizes[0] = count * sizeof(BackwardTask)
    sizes[1] = count * sizeof(BackwardWork)
    sizes[2] = split.members * sizeof(BackwardWork)
    for k in range(3):
        size += padded(sizes[k])
    memory = <char *>malloc(size)
    if memory is NULL:
        return NULL
    memset(memory, 0, size)
    start = <char *>aligned(memory)
    team = <BackwardTeam *>place(&start, sizeof(BackwardTeam))
    team.memory = memory
    team.count, team.split = count, split
    team.tasks = <BackwardTask *>place(&start, sizes[0])
    team.bases = <BackwardWork *>place(&start, sizes[1])
    team.works = <BackwardWork *>place(&start, sizes[2])
    memcpy(team.tasks, tasks, sizes[0])
    if tasks[0].weights.is_double:
        has_memory = start_tasks(&team.bases[0].f64, team)
    else:
        has_memory = start_tasks(&team.bases[0].f32, team)
    if not has_memory:
        free(memory)
        return NULL
    link_tracks(team)
    set_tracks(&team.shared, team.tracks, run_backward_part, team)
    return team


cdef inline bint ask_alike(const BackwardCall *one, const BackwardCall *other) noexcept nogil:
    """Whether two calls ask for the same gradients: their scratch is then laid out alike."""
    return (
        (one.dX is NULL) == (other.dX is NULL)
        and (one.sums.input is NULL) == (other.sums.input is NULL)
        and (one.sums.hidden is NULL) == (other.sums.hidden is NULL)
        and (one.sums.bias is NULL) == (other.sums.bias is NULL)
        and (one.sums.peephole is NULL) == (other.sums.peephole is NULL)
        and (one.sums.projection is NULL) == (other.sums.projection is NULL)
    )


cdef inline bint are_alike(const BackwardTask *tasks, int count) noexcept nogil:
    """Whether all tasks are of the same sizes, rows and steps, and asked for the same."""
    cdef const LayerWeights *first = tasks[0].weights
    cdef const LayerWeights *weights
    cdef int k
    for k in range(1, count):
        weights = tasks[k].weights
        if (
            weights.isa != first.isa
            or weights.is_double != first.is_double
            or weights.input_size != first.input_size
            or weights.hidden_size != first.hidden_size
            or weights.state_size != first.state_size
            or weights.projection_panels != first.projection_panels
            or tasks[k].call.batch != tasks[0].call.batch
            or tasks[k].call.time != tasks[0].call.time
            or not ask_alike(&tasks[k].call, &tasks[0].call)
        ):
            return False
    return True


cdef inline int run_backward_team(const BackwardTask *tasks, int count) except? -1:
    """All tasks by as many members as there are and as pay; 0 if it is to be done by one thread alone."""
    cdef Split split
    cdef BackwardTeam *team = NULL
    cdef int members = lstm_get_num_threads()
    if members < 2 or not are_alike(tasks, count):
        return 0
    split = split_backward(tasks, count, members)
    if split.members < 2:
        return 0
    with nogil:
        members = lstm_team_enter(min(split.members, lstm_pool_size()), split.is_long)
        if members > 1:
            split = split_backward(tasks, count, members)
            team = new_backward_team(tasks, count, split)
            if team is NULL:
                lstm_team_leave(0)
    if team is NULL:
        return 0
    return run_tracks(&team.shared, split.members, team.memory)


cdef inline int run_backward_calls(const BackwardTask *tasks, int count) except -1:
    """The gradients of calls of B, T > 0, which do not depend on one another: together, if it pays."""
    cdef int k
    if run_backward_team(tasks, count) == 0:
        for k in range(count):
            run_backward_alone(tasks[k].weights, &tasks[k].call)
        lstm_team_missed()
    return 0
