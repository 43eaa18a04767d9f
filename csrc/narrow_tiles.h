/* Tiles whose weights are kept in 16 bits, and such weights widened where an ISA has no tile of more rows.
 *
 * NARROW is the format, bfloat16 or float16, and NARROW_FORMAT its constant; the sums are those of float32
 * weights, in the same order.  Included by kernels_impl.h for each format of float32.
 */
#define NARROW_NAME_(x, narrow) x##_##narrow
#define NARROW_JOIN(x, narrow) NARROW_NAME_(x, narrow)
#define NARROW_NAME(x) NARROW_JOIN(x, NARROW)
#define NARROW_KERNEL_(narrow, what, tile, isa) lstm_##narrow##_##what##_##tile##__##isa
#define NARROW_KERNEL(narrow, what, tile, isa) NARROW_KERNEL_(narrow, what, tile, isa)

static void NARROW_NAME(widen)(const void *weights, ptrdiff_t depth, float *wide) {
    const uint16_t *packed = weights;
    for (ptrdiff_t k = 0; k < depth; k++) {
        VEC w[GATE_COUNT];
        NAME(widen_gates)(packed, NARROW_FORMAT, w);
#pragma GCC unroll 4
        for (int g = 0; g < GATE_COUNT; g++) {
            VEC_STORE(wide + g * LANES, w[g]);
        }
        packed += GATE_COUNT * LANES;
        wide += GATE_COUNT * LANES;
    }
}

#ifdef NARROW_TILES
static LSTM_INLINE void NARROW_NAME(step)(TILE_ARGUMENTS *tile, const int panels) {
    REAL sums[PANEL_TILE * GATE_COUNT * LANES] __attribute__((aligned(64)));
    tile->sums = sums;
    for (ptrdiff_t left = tile->steps - 1;; left--) {
        NAME(accumulate)
        (tile, 1, panels, NARROW_FORMAT, sums, 0, GATE_COUNT * LANES, tile->sum_block);
        LSTM_MAP(DTYPE, update, ISA)(tile, 1, panels);
        if (left == 0) {
            return;
        }
        NAME(next_step)(tile);
    }
}

#define DEFINE_NARROW_GATES(ROWS, PANELS, UNITS)                                                             \
    static void NARROW_KERNEL(NARROW, gates, ROWS##x##UNITS, ISA)(TILE_ARGUMENTS * tile) {                   \
        NAME(accumulate)                                                                                     \
        (tile, ROWS, PANELS, NARROW_FORMAT, tile->sums, tile->sums_row_stride, tile->sums_panel_stride,      \
         tile->sum_block);                                                                                   \
    }
#define DEFINE_NARROW_STEP(PANELS, UNITS)                                                                    \
    static void NARROW_KERNEL(NARROW, step, 1x##UNITS, ISA)(TILE_ARGUMENTS * tile) {                         \
        NARROW_NAME(step)(tile, PANELS);                                                                     \
    }
NARROW_TILES(DEFINE_NARROW_GATES)
NARROW_STEPS(DEFINE_NARROW_STEP)
#undef DEFINE_NARROW_GATES
#undef DEFINE_NARROW_STEP
#endif

#define NARROW_GATES_ENTRY(ROWS, PANELS, UNITS)                                                              \
    [ROWS][PANELS] = NARROW_KERNEL(NARROW, gates, ROWS##x##UNITS, ISA),
#define NARROW_STEP_ENTRY(PANELS, UNITS) [PANELS] = NARROW_KERNEL(NARROW, step, 1x##UNITS, ISA),
static const lstm_narrow_kernels NARROW_NAME(kernels) = {
    .widen = NARROW_NAME(widen),
#ifdef NARROW_TILES
    .gates = {NARROW_TILES(NARROW_GATES_ENTRY)},
    .step = {NARROW_STEPS(NARROW_STEP_ENTRY)},
#endif
#if NARROW_NAME(LEAST_NARROW_PANELS) > 0
    .row_steps_panels = NARROW_NAME(LEAST_NARROW_PANELS),
    .row_steps = NARROW_NAME(row_steps),
#endif
};
#undef NARROW_GATES_ENTRY
#undef NARROW_STEP_ENTRY
#undef NARROW_NAME_
#undef NARROW_JOIN
#undef NARROW_NAME
#undef NARROW_KERNEL_
#undef NARROW_KERNEL
#undef NARROW_FORMAT
#undef NARROW
