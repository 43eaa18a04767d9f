/* A row of a net of many tiles: all time steps by one call, the cell update of a tile in parts between the products
 * of the next one, so that neither waits for the other.  Included by kernels_impl.h.
 *
 * The tiles of a step are the last panel, the others in pairs, and the last but one alone where their number is
 * even.  They are walked forward at one step and backward at the next: a step begins with weights that the cache
 * still holds, and ends with units that the next one needs late, so that their update may reach into it.
 */

/* A short sum has two blocks, which these kernels do not know. */
_Static_assert((LEAST_PANELS - 1) * LANES >= LSTM_SHORT_SUM, "row_steps is not for short sums");

/* What is left to do of a tile whose sums are known. */
typedef struct {
    REAL sums[2 * GATE_COUNT * LANES] __attribute__((aligned(64)));
    REAL *cell;
    REAL *hidden;
    REAL *output; /* or NULL */
    ptrdiff_t units;
    ptrdiff_t panels; /* 0: nothing */
    RECORD record;    /* from the first of these panels on, at the step */
} NAME(update);

enum { NAME(UPDATE_PARTS) = 5 };

/* One part of the update of panel p; the parts in their order are what update_default does. */
static LSTM_INLINE void NAME(update_part)(NAME(update) * update, const int part, ptrdiff_t p) {
    REAL *const gates = update->sums + p * GATE_COUNT * LANES;
    REAL *const cell = update->cell + p * LANES;
    const RECORD *const record = &update->record;
    VEC i, f, g, o, after, squashed, hidden;
    switch (part) {
    case 0:
        i = NAME(vec_sigmoid)(VEC_LOAD(gates + GATE_I * LANES));
        VEC_STORE(gates + GATE_I * LANES, i);
        NAME(record_gate)(record, GATE_I, 0, (int)p, i);
        return;
    case 1:
        g = NAME(vec_tanh)(VEC_LOAD(gates + GATE_G * LANES));
        VEC_STORE(gates + GATE_G * LANES, g);
        NAME(record_gate)(record, GATE_G, 0, (int)p, g);
        return;
    case 2:
        f = NAME(vec_sigmoid)(VEC_LOAD(gates + GATE_F * LANES));
        after = VEC_MUL(VEC_LOAD(gates + GATE_I * LANES), VEC_LOAD(gates + GATE_G * LANES));
        after = VEC_FMA(f, VEC_LOAD(cell), after);
        VEC_STORE(cell, after);
        NAME(record_gate)(record, GATE_F, 0, (int)p, f);
        NAME(record_cell)(record, 0, (int)p, after);
        return;
    case 3:
        o = NAME(vec_sigmoid)(VEC_LOAD(gates + GATE_O * LANES));
        VEC_STORE(gates + GATE_O * LANES, o);
        NAME(record_gate)(record, GATE_O, 0, (int)p, o);
        return;
    default:
        squashed = NAME(vec_tanh)(VEC_LOAD(cell));
        hidden = VEC_MUL(VEC_LOAD(gates + GATE_O * LANES), squashed);
        NAME(record_squashed)(record, 0, (int)p, squashed);
        VEC_STORE(update->hidden + p * LANES, hidden);
        if (update->output != NULL) {
            NAME(store_output)(update->output + p * LANES, update->units - p * LANES, hidden);
        }
    }
}

#if REAL_BITS == 32
/* sums (panels, 4) += hidden[k] . weights of 16 bits (panels, 4, LANES), `format` LSTM_BFLOAT16 or LSTM_FLOAT16. */
static LSTM_INLINE void NAME(add_narrow)(VEC unit, const uint16_t *weights, ptrdiff_t panel_stride,
                                         const int panels, const int format, VEC *sums) {
#pragma GCC unroll 2
    for (int p = 0; p < panels; p++) {
        VEC w[GATE_COUNT];
        NAME(widen_gates)(weights + p * panel_stride, format, w);
#pragma GCC unroll 4
        for (int g = 0; g < GATE_COUNT; g++) {
            sums[p * GATE_COUNT + g] = VEC_FMA(unit, w[g], sums[p * GATE_COUNT + g]);
        }
    }
}
#endif

/* sums (panels, 4) += hidden . weights (panels, depth, 4, LANES) from k to end; `format` is how these are kept. */
static LSTM_INLINE void NAME(add_products)(const REAL *hidden, const void *weights, ptrdiff_t panel_stride,
                                           const int panels, ptrdiff_t k, ptrdiff_t end, const int format,
                                           VEC *sums) {
    for (; k < end; k++) {
        const VEC unit = VEC_SET1(hidden[k]);
#if REAL_BITS == 32
        if (format != LSTM_FULL) {
            const uint16_t *const packed = (const uint16_t *)weights + k * GATE_COUNT * LANES;
            NAME(add_narrow)(unit, packed, panel_stride, panels, format, sums);
            continue;
        }
#else
        (void)format;
#endif
#pragma GCC unroll 8
        for (int v = 0; v < panels * GATE_COUNT; v++) {
            const ptrdiff_t at = (k * GATE_COUNT + v % GATE_COUNT) * LANES;
            const REAL *const place = (const REAL *)weights + v / GATE_COUNT * panel_stride + at;
            sums[v] = VEC_FMA(unit, VEC_LOAD(place), sums[v]);
        }
    }
}

/* after->sums (panels, 4, LANES) = start + hidden . weights of the tile from `panel` on; meanwhile `before`, one
 * part at every so many k. */
static LSTM_INLINE void NAME(row_tile)(const ROW_ARGUMENTS *row, const REAL *hidden, const REAL *start,
                                       ptrdiff_t panel, const int panels, NAME(update) * before,
                                       ptrdiff_t every, NAME(update) * after, const int format) {
    const ptrdiff_t panel_stride = row->depth * GATE_COUNT * LANES;
    const ptrdiff_t weight_bytes = format == LSTM_FULL ? (ptrdiff_t)sizeof(REAL) : 2;
    const void *const weights = (const char *)row->weights + panel * panel_stride * weight_bytes;
    const REAL *running = start + panel * row->start_panel_stride;
    ptrdiff_t running_stride = row->start_panel_stride;
    ptrdiff_t k = 0;
    do {
        const ptrdiff_t end = k + LSTM_SUM_BLOCK < row->depth ? k + LSTM_SUM_BLOCK : row->depth;
        VEC partial[2 * GATE_COUNT];
#pragma GCC unroll 8
        for (int v = 0; v < panels * GATE_COUNT; v++) {
            partial[v] = VEC_ZERO();
        }
        if (k == 0 && before->panels > 0) {
#pragma GCC unroll 5
            for (int part = 0; part < NAME(UPDATE_PARTS); part++) {
                NAME(update_part)(before, part, 0);
                if (before->panels > 1) {
                    NAME(update_part)(before, part, 1);
                }
                NAME(add_products)(hidden, weights, panel_stride, panels, k, k + every, format, partial);
                k += every;
            }
        }
        NAME(add_products)(hidden, weights, panel_stride, panels, k, end, format, partial);
        k = end;
#pragma GCC unroll 8
        for (int v = 0; v < panels * GATE_COUNT; v++) {
            const VEC sum = VEC_LOAD(running + v / GATE_COUNT * running_stride + v % GATE_COUNT * LANES);
            VEC_STORE(after->sums + v * LANES, VEC_ADD(sum, partial[v]));
        }
        running = after->sums;
        running_stride = GATE_COUNT * LANES;
    } while (k < row->depth);
}

/* depth > LSTM_SHORT_SUM and panels >= 3; the weights are kept in `format`. */
static LSTM_INLINE void NAME(row_steps)(const ROW_ARGUMENTS *row, const int format) {
    const ptrdiff_t tiles = 1 + row->panels / 2;
    const ptrdiff_t block = row->depth < LSTM_SUM_BLOCK ? row->depth : LSTM_SUM_BLOCK;
    /* As evenly as the first block has k; the last part has as many behind it as the others between them. */
    const ptrdiff_t even = block / NAME(UPDATE_PARTS);
    const REAL *hidden = row->hidden;
    REAL *hidden_next = row->hidden_next;
    const REAL *start = row->start;
    REAL *output = row->output;
    RECORD record = row->record;
    NAME(update) updates[2];
    NAME(update) *before = &updates[0];
    NAME(update) *after = &updates[1];
    ptrdiff_t panel = 0;
    before->panels = 0;
    for (ptrdiff_t step = 0; step < row->steps; step++) {
        const int forward = row->forward ^ (int)(step % 2);
        for (ptrdiff_t done = 0; done < tiles; done++) {
            const ptrdiff_t tile = forward ? done : tiles - 1 - done;
            /* The first tile of a step needs the units that `before` yields, from that panel's on. */
            const ptrdiff_t needed = panel * LANES / (NAME(UPDATE_PARTS) - 1);
            const ptrdiff_t every = done == 0 && needed < even ? needed : even;
            panel = tile == 0 ? row->panels - 1 : 2 * (tile - 1);
            after->panels = tile == 0 || panel == row->panels - 2 ? 1 : 2;
            if (after->panels == 1) {
                NAME(row_tile)(row, hidden, start, panel, 1, before, every, after, format);
            } else {
                NAME(row_tile)(row, hidden, start, panel, 2, before, every, after, format);
            }
            after->cell = row->cell + panel * LANES;
            after->hidden = hidden_next + panel * LANES;
            after->output = output == NULL ? NULL : output + panel * LANES;
            after->units = row->depth - panel * LANES;
            after->record = record;
            NAME(skip_panels)(&after->record, panel);
            NAME(update) *const done_with = before;
            before = after;
            after = done_with;
        }
        start += row->start_step_stride;
        output = output == NULL ? NULL : output + row->output_step_stride;
        NAME(next_record)(&record, record.step_stride);
        hidden = hidden_next;
        hidden_next = hidden == row->hidden ? row->hidden_next : row->hidden;
    }
    for (int part = 0; part < NAME(UPDATE_PARTS); part++) {
        for (ptrdiff_t p = 0; p < before->panels; p++) {
            NAME(update_part)(before, part, p);
        }
    }
}

static void LSTM_MAP(DTYPE, row_steps, ISA)(const ROW_ARGUMENTS *row) { NAME(row_steps)(row, LSTM_FULL); }

#if REAL_BITS == 32
#if LEAST_NARROW_PANELS_bfloat16 > 0
static void row_steps_bfloat16(const ROW_ARGUMENTS *row) { NAME(row_steps)(row, LSTM_BFLOAT16); }
#endif

static void row_steps_float16(const ROW_ARGUMENTS *row) { NAME(row_steps)(row, LSTM_FLOAT16); }
#endif
