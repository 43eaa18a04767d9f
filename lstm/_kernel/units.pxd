# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# One sequence of one layer, whose units a team shares: every member has some panels, and all meet after each
# step. Only what every member needs of the others, h, is in common.
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from .call cimport Call, prepare
from .int8_tiles cimport input_half, quantize_input
from .layer_weights cimport LayerWeights
from .lengths cimport gather_input
from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_CACHE_LINE,
    Pass,
    lstm_f32_pass,
    lstm_f64_pass,
    lstm_fp_enter,
    lstm_fp_leave,
)
from .passes cimport aligned, bind_scratch, load_states, store_states
from .signals cimport hear_signals
from .single_rows cimport is_row_net, is_row_of_tiles, run_row
from .splits cimport row_work
from .steps cimport run_step, start_layer
from .thread_pool cimport (
    LSTM_THREAD_LINE,
    lstm_lockstep,
    lstm_lockstep_close,
    lstm_lockstep_join,
    lstm_lockstep_joined,
    lstm_lockstep_line,
    lstm_lockstep_meet,
    lstm_lockstep_next,
    lstm_lockstep_open,
    lstm_nanoseconds,
    lstm_pool_generation,
    lstm_pool_grain,
    lstm_team_call,
    lstm_team_dismiss,
    lstm_team_leave,
    lstm_team_memory,
)

cdef enum:
    # Steps of the first block of a team, which wakes a helper. The first block that one member does while no
    # helper has come, to see how long a step takes, has no more of them than are half a grain; each further
    # one has twice as many, since every block reads all input weights. A call has four first ones at least.
    FIRST_STEPS = 8
    GRAIN_BLOCKS = 2
    LEAST_BLOCKS = 4
    # What waking a helper may cost the first block of a team: this many times the time of one member alone.
    WAKING = 2
    # Blocks in which a team may be slower than that before one member goes on alone: the caches of a helper
    # are cold, or it moves to another CPU. If more nanoseconds are lost another program has its CPU.
    MOST_SLOW = 3
    MOST_LOST = 1000 * 1000
    # Steps of each member's share in a grain, at most: a meeting takes up to a microsecond.
    GRAIN_MEETINGS = 32


cdef union UnitWork:
    lstm_f32_pass f32
    lstm_f64_pass f64


cdef struct UnitTeam:
    # In memory that is not on the calling thread's stack, as a Team of teams.pxd is.
    lstm_lockstep shared
    const LayerWeights *weights
    Call call  # of one row
    UnitWork whole  # the layer as one thread sees it: states, and h before and after a step
    char *scratch  # (members + 1, scratch_bytes): the last one's is that of the whole layer
    size_t scratch_bytes
    UnitWork *works  # (members,)


cdef inline ptrdiff_t steps_alone(const LayerWeights *weights) noexcept nogil:
    """Steps of a block while no helper has come."""
    return max(1, min(FIRST_STEPS, lstm_pool_grain() // GRAIN_BLOCKS // row_work(weights)))


cdef inline void take_panels(
    Pass *own, const Pass *whole, ptrdiff_t first, ptrdiff_t end, bint is_odd
) noexcept nogil:
    """Make `own` a layer of the panels from `first` to `end`, before an odd step or an even one.

    Its depth stays: k runs over all of h. Rows are one, so that no stride depends on the width.
    """
    cdef ptrdiff_t lanes = whole.kernels.lanes
    cdef ptrdiff_t vectors = first * GATE_COUNT * lanes
    own.panels = end - first
    own.hidden_size = min(whole.hidden_size - first * lanes, own.panels * lanes)
    own.input_weights = whole.input_weights + first * whole.input_depth * whole.weight_row
    own.hidden_weights = whole.hidden_weights + first * whole.hidden_depth * whole.weight_row
    own.bias = whole.bias + vectors
    if whole.int8 is not NULL:
        own.input_scales = whole.input_scales + vectors
        own.hidden_scales = whole.hidden_scales + vectors
        own.input_offsets = whole.input_offsets + vectors
        own.hidden_offsets = whole.hidden_offsets + vectors
    own.cell = whole.cell + first * lanes
    if whole.peephole is not NULL:
        own.peephole = whole.peephole + first * 3 * lanes
    if whole.output is not NULL:
        own.output = whole.output + first * lanes
    if whole.trace is not NULL:
        own.trace = whole.trace + first * lanes
    turn_states(own, whole, first, is_odd)


cdef inline void turn_states(Pass *own, const Pass *whole, ptrdiff_t first, bint is_odd) noexcept nogil:
    """h that a step reads, all of it, and what it writes, from the first own panel on."""
    cdef ptrdiff_t units = first * whole.kernels.lanes
    own.hidden = whole.hidden_next if is_odd else whole.hidden
    own.hidden_next = (whole.hidden if is_odd else whole.hidden_next) + units


cdef inline void run_block(
    Pass *own, const Pass *whole, lstm_lockstep *shared, int member, int members, ptrdiff_t step,
    ptrdiff_t end,
) noexcept nogil:
    """The steps of a block, of a member's share of the panels."""
    cdef ptrdiff_t first = whole.panels * member // members
    cdef ptrdiff_t steps = end - step
    cdef ptrdiff_t panel, block_step
    cdef bint forward = step % 2 == 0
    take_panels(own, whole, first, whole.panels * (member + 1) // members, step % 2)
    gather_input(own, step, steps)
    if own.int8 is not NULL:
        quantize_input(own, steps)
    for panel in range(own.panels if own.block_time > 1 else 0):
        input_half(own, 0, steps, panel, 1)
    if members == 1 and is_row_of_tiles(own) and not is_row_net(own):
        run_row(own, step, steps, &forward)
        turn_states(own, whole, first, end % 2)
        return
    for block_step in range(steps):
        run_step(own, step + block_step, block_step, (step + block_step) % 2 == 0)
        # Before the meeting: after the last one of all the calling thread changes `whole`.
        turn_states(own, whole, first, (step + block_step + 1) % 2)
        if members > 1:
            lstm_lockstep_meet(shared, member, members, <unsigned int>(step + block_step))


cdef inline int lead_typed(Pass *own, Pass *whole, UnitTeam *team, int64_t *loss) noexcept nogil:
    """All steps by the calling thread and who has joined; -1, with an exception set, if a handler raised.

    `loss`: by how many nanoseconds it would have been faster alone in the blocks of several members, by the
    time of the steps it has done so.
    """
    cdef ptrdiff_t step = 0
    cdef ptrdiff_t end, all_steps = whole.time
    cdef ptrdiff_t first = min(own.block_time, steps_alone(team.weights))
    cdef bint is_team = False  # the last block of several members was quick
    cdef int slow = 0  # such blocks that were not
    cdef int members = 1
    cdef int status = 0
    cdef bint is_alone = False
    cdef long generation = lstm_pool_generation()
    cdef int64_t begun, took, lost
    cdef int64_t alone = 0  # nanoseconds a step
    own.slice.mode = lstm_fp_enter()
    load_states(whole)
    while step < all_steps and status == 0:
        if is_team or is_alone:
            end = min(step + own.block_time, all_steps)
        elif alone > 0 and lstm_lockstep_joined(&team.shared):
            end = min(step + min(own.block_time, FIRST_STEPS), all_steps)
        else:
            end = min(step + first, all_steps)
            first = min(2 * first, own.block_time)
        members = lstm_lockstep_open(
            &team.shared, <unsigned int>step, <unsigned int>end, is_alone or alone == 0
        )
        begun = lstm_nanoseconds()
        run_block(own, whole, &team.shared, 0, members, step, end)
        took = (lstm_nanoseconds() - begun) // (end - step)
        if members == 1:
            alone = took if alone == 0 else min(alone, took)
        else:
            lost = (took - alone) * (end - step)
            loss[0] += lost
            is_team = took <= (alone if is_team else WAKING * alone)
            slow += not is_team
            is_alone = slow == MOST_SLOW or lost > MOST_LOST
        status = hear_signals(&own.slice, (end - step) * own.hidden_size * (own.input_size + own.state_size))
        if lstm_pool_generation() != generation:
            is_alone = True  # a handler has forked, and this is the child
        step = end
    lstm_lockstep_close(&team.shared)
    whole.hidden = own.hidden
    if status == 0:
        store_states(whole)
    lstm_fp_leave(own.slice.mode)
    return status


cdef inline void prepare_units(Pass *layer, UnitTeam *team, int member) noexcept nogil:
    """A pass over all units, in the scratch memory of this member."""
    layer.slice.work = layer.slice.heard = 0
    prepare(layer, team.weights, &team.call)
    layer.slice.hears_signals = member == 0
    layer.slice.is_stopped = NULL
    bind_scratch(layer, team.scratch + member * team.scratch_bytes)
    start_layer(layer)


cdef inline void help_typed(Pass *own, Pass *whole, UnitTeam *team, int member) noexcept nogil:
    """What a helper does: blocks of steps until there are no more."""
    cdef unsigned int seen = 0
    cdef int members
    own.slice.mode = lstm_fp_enter()
    while True:
        members = lstm_lockstep_next(&team.shared, member, &seen)
        if members == 0:
            break
        run_block(own, whole, &team.shared, member, members, team.shared.first, team.shared.end)
    lstm_fp_leave(own.slice.mode)


cdef inline void help_with_units(void *job, int number) noexcept nogil:
    """For `lstm_team_call`. Members are numbered as they join."""
    cdef UnitTeam *team = <UnitTeam *>job
    cdef int member = lstm_lockstep_join(&team.shared)
    if team.weights.is_double:
        help_typed(&team.works[member].f64, &team.whole.f64, team, member)
    else:
        help_typed(&team.works[member].f32, &team.whole.f32, team, member)


cdef inline void set_scratch_size(UnitTeam *team) noexcept nogil:
    """Bytes of one pass over all units, in whole cache lines."""
    cdef UnitWork work
    cdef size_t size
    if team.weights.is_double:
        size = prepare(&work.f64, team.weights, &team.call)
    else:
        size = prepare(&work.f32, team.weights, &team.call)
    team.scratch_bytes = (size + LSTM_CACHE_LINE - 1) // LSTM_CACHE_LINE * LSTM_CACHE_LINE


cdef inline UnitTeam *new_unit_team(
    const LayerWeights *weights, const Call *call, int members
) noexcept nogil:
    """With scratch memory of the pool; NULL if there is not enough memory."""
    cdef size_t header = sizeof(UnitTeam) + LSTM_THREAD_LINE
    cdef char *memory = <char *>malloc(header + members * (sizeof(lstm_lockstep_line) + sizeof(UnitWork)))
    cdef UnitTeam *team = <UnitTeam *>memory
    cdef int member
    if team is NULL:
        return NULL
    memset(team, 0, header + members * (sizeof(lstm_lockstep_line) + sizeof(UnitWork)))
    team.weights = weights
    team.call = call[0]
    set_scratch_size(team)
    team.scratch = <char *>lstm_team_memory((members + 1) * team.scratch_bytes)
    if team.scratch is NULL:
        free(team)
        return NULL
    team.shared.lines = <lstm_lockstep_line *>aligned(memory + sizeof(UnitTeam))
    team.works = <UnitWork *>(team.shared.lines + members)
    for member in range(members + 1):
        work = &team.works[member] if member < members else &team.whole
        if weights.is_double:
            prepare_units(&work.f64, team, member)
        else:
            prepare_units(&work.f32, team, member)
    return team


cdef inline int unit_members(const LayerWeights *weights, const Call *call, int members) noexcept nogil:
    """How many may share the units of a call; 1 if it is not worth a meeting after each step."""
    cdef int64_t work = row_work(weights)
    if (
        call.batch > 1
        or call.order is not NULL
        or call.record.gates is not NULL
        or call.recurrent is not NULL
        or weights.projection_panels > 0
        or call.time < LEAST_BLOCKS * steps_alone(weights)
        or call.time >= <int64_t>1 << 31
        or call.time < 2 * lstm_pool_grain() // work
    ):
        return 1
    return <int>max(1, min(members, min(weights.panels, GRAIN_MEETINGS * work // lstm_pool_grain())))


cdef inline int run_units(const LayerWeights *weights, const Call *call, int members) except? -1:
    """All steps by a team that was entered, and which is left; 0 if there is not enough memory."""
    cdef UnitTeam *team
    cdef int64_t loss = 0
    cdef int status
    with nogil:
        team = new_unit_team(weights, call, members)
        if team is not NULL:
            lstm_team_call(help_with_units, team, members)
            if weights.is_double:
                status = lead_typed(&team.works[0].f64, &team.whole.f64, team, &loss)
            else:
                status = lead_typed(&team.works[0].f32, &team.whole.f32, team, &loss)
            lstm_team_dismiss()
        lstm_team_leave(loss)
    if team is NULL:
        return 0
    free(team)
    return -1 if status < 0 else 1
