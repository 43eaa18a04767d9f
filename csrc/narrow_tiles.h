/* Tiles whose weights are kept in 16 bits, and such weights widened where an ISA has no tile of more rows.
 *
 * NARROW is the format, bfloat16 or float16; the sums are those of float32 weights, in the same order.  Included by
 * kernels_impl.h for each format of float32.
 */
#define NARROW_NAME_(x, narrow) x##_##narrow
#define NARROW_JOIN(x, narrow) NARROW_NAME_(x, narrow)
#define NARROW_NAME(x) NARROW_JOIN(x, NARROW)
#define NARROW_KERNEL_(narrow, what, tile, isa) lstm_##narrow##_##what##_##tile##__##isa
#define NARROW_KERNEL(narrow, what, tile, isa) NARROW_KERNEL_(narrow, what, tile, isa)
/* VEC_WIDEN_bfloat16(p, w) and VEC_WIDEN_float16(p, w): w (4, LANES) = the gates of one k. */
#define WIDEN_GATES(p, w) NARROW_JOIN(VEC_WIDEN, NARROW)(p, w)

static void NARROW_NAME(widen)(const void *weights, ptrdiff_t depth, float *wide) {
    const uint16_t *packed = weights;
    for (ptrdiff_t k = 0; k < depth; k++) {
        VEC w[GATE_COUNT];
        WIDEN_GATES(packed, w);
#pragma GCC unroll 4
        for (int g = 0; g < GATE_COUNT; g++) {
            VEC_STORE(wide + g * LANES, w[g]);
        }
        packed += GATE_COUNT * LANES;
        wide += GATE_COUNT * LANES;
    }
}

#ifdef NARROW_TILES
/* As accumulate in kernels_impl.h, with the weights of a k widened in registers. */
static LSTM_INLINE void NARROW_NAME(accumulate)(const TILE_ARGUMENTS *tile, const int rows, const int panels,
                                                REAL *sums, ptrdiff_t sums_row_stride,
                                                ptrdiff_t sums_panel_stride, ptrdiff_t sum_block) {
    const REAL *const input = tile->input;
    const uint16_t *const weights = (const uint16_t *)(const void *)tile->weights;
    const ptrdiff_t weights_panel_stride = 2 * tile->weights_panel_stride;
    const REAL *running = tile->start;
    ptrdiff_t running_row_stride = tile->start_row_stride;
    ptrdiff_t running_panel_stride = tile->start_panel_stride;
    ptrdiff_t block = 0;
    do {
        const ptrdiff_t left = tile->depth - block;
        const ptrdiff_t end = block + (left < sum_block ? left : sum_block);
        VEC partial[TILE_VECTORS];
#pragma GCC unroll 24
        for (int v = 0; v < rows * panels * GATE_COUNT; v++) {
            partial[v] = VEC_ZERO();
        }
        for (ptrdiff_t k = block; k < end; k++) {
            VEC x[ROW_TILE];
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                x[r] = VEC_SET1(input[r * tile->input_row_stride + k]);
            }
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) {
                VEC w[GATE_COUNT];
                WIDEN_GATES(weights + p * weights_panel_stride + k * GATE_COUNT * LANES, w);
#pragma GCC unroll 4
                for (int g = 0; g < GATE_COUNT; g++) {
#pragma GCC unroll 6
                    for (int r = 0; r < rows; r++) {
                        const int v = (r * panels + p) * GATE_COUNT + g;
                        partial[v] = VEC_FMA(x[r], w[g], partial[v]);
                    }
                }
            }
        }
#pragma GCC unroll 24
        for (int v = 0; v < rows * panels * GATE_COUNT; v++) {
            const int r = v / (panels * GATE_COUNT);
            const int p = v / GATE_COUNT % panels;
            const int g = v % GATE_COUNT;
            const VEC before =
                VEC_LOAD(running + r * running_row_stride + p * running_panel_stride + g * LANES);
            VEC_STORE(sums + r * sums_row_stride + p * sums_panel_stride + g * LANES,
                      VEC_ADD(before, partial[v]));
        }
        running = sums;
        running_row_stride = sums_row_stride;
        running_panel_stride = sums_panel_stride;
        block = end;
    } while (block < tile->depth);
}

static LSTM_INLINE void NARROW_NAME(step)(TILE_ARGUMENTS *tile, const int panels) {
    REAL sums[PANEL_TILE * GATE_COUNT * LANES] __attribute__((aligned(64)));
    tile->sums = sums;
    for (ptrdiff_t left = tile->steps - 1;; left--) {
        NARROW_NAME(accumulate)(tile, 1, panels, sums, 0, GATE_COUNT * LANES, tile->sum_block);
        LSTM_MAP(DTYPE, update, ISA)(tile, 1, panels);
        if (left == 0) {
            return;
        }
        NAME(next_step)(tile);
    }
}

#define DEFINE_NARROW_GATES(ROWS, PANELS, UNITS)                                                             \
    static void NARROW_KERNEL(NARROW, gates, ROWS##x##UNITS, ISA)(TILE_ARGUMENTS * tile) {                   \
        NARROW_NAME(accumulate)                                                                              \
        (tile, ROWS, PANELS, tile->sums, tile->sums_row_stride, tile->sums_panel_stride, tile->sum_block);   \
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
#ifdef ROW_STEPS
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
#undef WIDEN_GATES
#undef NARROW
