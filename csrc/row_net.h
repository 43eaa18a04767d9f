/* A net of one tile at one row: all time steps with sums, h and C in registers.  Included by kernels_impl.h.
 *
 * A step of such a net is one chain of dependent operations, h to h, in which every store and load counts.  So h
 * is read from its registers (VEC_PICK) where the ISA can, the blocks of a short sum run beside one another, and
 * the cell update is ordered by the length of what depends on it: the CPU begins with what comes first.
 */

#ifdef VEC_PICK
#define PICK(p, k) VEC_PICK(h[p], k)
#else
#define PICK(p, k) VEC_SET1(row->hidden[(p)*LANES + (k)])
#endif

enum { NAME(ROW_GATES) = NET_PANELS * GATE_COUNT };

/* z (panels, 4) = start, and of a net of one input also its product: a block of one k. */
static LSTM_INLINE void NAME(row_start)(const ROW_ARGUMENTS *row, const int panels, const REAL *start,
                                        const REAL *x, VEC *z) {
#pragma GCC unroll 12
    for (int v = 0; v < panels * GATE_COUNT; v++) {
        z[v] = VEC_LOAD(start + v / GATE_COUNT * row->start_panel_stride + v % GATE_COUNT * LANES);
        if (x != NULL) {
            const VEC product = VEC_FMA(VEC_SET1(*x), VEC_LOAD(row->x_weights + v * LANES), VEC_ZERO());
            z[v] = VEC_ADD(z[v], product);
        }
    }
}

/* sums (panels, 4) += unit k of panel p of h times its weights. */
#define ADD_UNIT(sums, p, k)                                                                                 \
    {                                                                                                        \
        const VEC unit = PICK(p, k);                                                                         \
        _Pragma("GCC unroll 12") for (int v = 0; v < panels * GATE_COUNT; v++) {                             \
            const ptrdiff_t at = (((p)*LANES + (k)) * GATE_COUNT + v % GATE_COUNT) * LANES;                  \
            sums[v] = VEC_FMA(unit, VEC_LOAD(base[v / GATE_COUNT] + at), sums[v]);                           \
        }                                                                                                    \
    }

/* z (panels, 4) += h . weights, in one block. */
static LSTM_INLINE void NAME(row_long_sum)(const VEC *h, const REAL *const *base, const int panels,
                                           ptrdiff_t depth, const ROW_ARGUMENTS *row, VEC *z) {
    VEC sums[NAME(ROW_GATES)];
    (void)row;
    (void)h;
#pragma GCC unroll 12
    for (int v = 0; v < panels * GATE_COUNT; v++) {
        sums[v] = VEC_ZERO();
    }
#pragma GCC unroll 4
    for (int p = 0; p < panels; p++) {
#pragma GCC unroll 16
        for (int k = 0; k < LANES; k++) {
            if (p + 1 == panels && p * LANES + k >= depth) {
                break;
            }
            ADD_UNIT(sums, p, k)
        }
    }
#pragma GCC unroll 12
    for (int v = 0; v < panels * GATE_COUNT; v++) {
        z[v] = VEC_ADD(z[v], sums[v]);
    }
}

/* z (panels, 4) += h . weights, in two blocks of `half` k, the second of one less where the depth is odd. */
static LSTM_INLINE void NAME(row_short_sum)(const VEC *h, const REAL *const *base, const int panels,
                                            const int half, ptrdiff_t depth, const ROW_ARGUMENTS *row,
                                            VEC *z) {
    VEC first[NAME(ROW_GATES)], second[NAME(ROW_GATES)];
    (void)row;
    (void)h;
#pragma GCC unroll 12
    for (int v = 0; v < panels * GATE_COUNT; v++) {
        first[v] = second[v] = VEC_ZERO();
    }
#pragma GCC unroll 8
    for (int k = 0; k < half; k++) {
        ADD_UNIT(first, k / LANES, k % LANES)
        if (k + 1 < half || depth == 2 * half) {
            ADD_UNIT(second, (half + k) / LANES, (half + k) % LANES)
        }
    }
#pragma GCC unroll 12
    for (int v = 0; v < panels * GATE_COUNT; v++) {
        z[v] = VEC_ADD(z[v], first[v]);
        if (depth > 1) {
            z[v] = VEC_ADD(z[v], second[v]);
        }
    }
}

/* h, C (panels,) after a step with the sums z (panels, 4), which is recorded if there is a record. */
static LSTM_INLINE void NAME(row_update)(const int panels, const VEC *z, VEC *h, VEC *C,
                                         const RECORD *record) {
    VEC i[NET_PANELS], g[NET_PANELS];
#pragma GCC unroll 3
    for (int p = 0; p < panels; p++) {
        g[p] = NAME(vec_tanh_soon)(z[p * GATE_COUNT + GATE_G]);
        VEC_IN_ORDER(g[p]);
        NAME(record_gate)(record, GATE_G, 0, p, g[p]);
    }
#pragma GCC unroll 3
    for (int p = 0; p < panels; p++) {
        i[p] = NAME(vec_sigmoid_soon)(z[p * GATE_COUNT + GATE_I]);
        VEC_IN_ORDER(i[p]);
        NAME(record_gate)(record, GATE_I, 0, p, i[p]);
    }
#pragma GCC unroll 3
    for (int p = 0; p < panels; p++) {
        const VEC f = NAME(vec_sigmoid_soon)(z[p * GATE_COUNT + GATE_F]);
        C[p] = VEC_FMA(f, C[p], VEC_MUL(i[p], g[p]));
        VEC_IN_ORDER(C[p]);
        NAME(record_gate)(record, GATE_F, 0, p, f);
        NAME(record_cell)(record, 0, p, C[p]);
    }
#pragma GCC unroll 3
    for (int p = 0; p < panels; p++) {
        VEC o = z[p * GATE_COUNT + GATE_O];
        h[p] = NAME(vec_tanh_soon)(C[p]);
        VEC_IN_ORDER(h[p]);
        NAME(record_squashed)(record, 0, p, h[p]);
        VEC_IN_ORDER(o);
        o = NAME(vec_sigmoid)(o);
        NAME(record_gate)(record, GATE_O, 0, p, o);
        h[p] = VEC_MUL(o, h[p]);
    }
}

/* All steps of a net of `panels`; `half` is that of a short sum, else 0, `units` the depth where it is known. */
static LSTM_INLINE void NAME(run_net)(const ROW_ARGUMENTS *row, const int panels, const int half,
                                      const int units) {
    const ptrdiff_t depth = units > 0 ? units : row->depth;
    const REAL *start = row->start;
    const REAL *x = row->x;
    REAL *output = row->output;
    RECORD record = row->record;
    VEC h[NET_PANELS], C[NET_PANELS];
#pragma GCC unroll 3
    for (int p = 0; p < panels; p++) {
        h[p] = VEC_LOAD(row->hidden + p * LANES);
        C[p] = VEC_LOAD(row->cell + p * LANES);
    }
    for (ptrdiff_t left = row->steps; left > 0; left--) {
        VEC z[NAME(ROW_GATES)];
        /* A pointer to each panel, so that all its loads have constant offsets: GCC kept an address for each,
         * and loaded that. */
        const REAL *base[NET_PANELS];
#pragma GCC unroll 3
        for (int p = 0; p < panels; p++) {
            base[p] = row->weights + p * depth * GATE_COUNT * LANES;
            __asm__ volatile("" : "+r"(base[p]));
        }
        NAME(row_start)(row, panels, start, x, z);
        if (half > 0) {
            NAME(row_short_sum)(h, base, panels, half, depth, row, z);
        } else {
            NAME(row_long_sum)(h, base, panels, depth, row, z);
        }
        NAME(row_update)(panels, z, h, C, &record);
        NAME(next_record)(&record, record.step_stride);
#pragma GCC unroll 3
        for (int p = 0; p < panels; p++) {
#ifndef VEC_PICK
            VEC_STORE(row->hidden + p * LANES, h[p]);
#endif
            if (output != NULL) {
                NAME(store_output)(output + p * LANES, depth - p * LANES, h[p]);
            }
        }
        start += row->start_step_stride;
        x = x == NULL ? NULL : x + row->x_step_stride;
        output = output == NULL ? NULL : output + row->output_step_stride;
    }
#pragma GCC unroll 3
    for (int p = 0; p < panels; p++) {
        VEC_STORE(row->hidden + p * LANES, h[p]);
        VEC_STORE(row->cell + p * LANES, C[p]);
    }
}

/* A function for each size, so that units have constant numbers; each out of the way of the tiles. */
#define DEFINE_NET(NUMBER, PANELS, HALF, UNITS)                                                              \
    static __attribute__((noinline)) void NAME(net_##NUMBER)(const ROW_ARGUMENTS *row) {                     \
        NAME(run_net)(row, PANELS, HALF, UNITS);                                                             \
    }
#define PANELS_OF(HALF) ((2 * (HALF) + LANES - 1) / LANES)
NET_SIZES(DEFINE_NET)

#ifdef TAIL_SIZES
#include "row_tail.h"
#endif

static void LSTM_MAP(DTYPE, row_net, ISA)(const ROW_ARGUMENTS *row) {
#ifdef TAIL_SIZES
    if (row->record.gates == NULL && NAME(run_tail_net)(row)) {
        return;
    }
#endif
#define RUN_NET(NUMBER, PANELS, HALF, UNITS)                                                                 \
    if ((HALF) > 0 ? (row->depth + 1) / 2 == (HALF)                                                          \
                   : row->panels == (PANELS) && ((UNITS) == 0 || row->depth == (UNITS))) {                   \
        NAME(net_##NUMBER)(row);                                                                             \
        return;                                                                                              \
    }
    NET_SIZES(RUN_NET)
#undef RUN_NET
}

#undef PICK
#undef ADD_UNIT
#undef DEFINE_NET
#undef PANELS_OF
