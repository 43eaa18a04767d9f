/* A net of one tile at one row whose last panel has few units: their four gates share one or two vectors, the tail.
 * Included by row_net.h.
 *
 * H 20 then has five vectors of sums for eight, and eight activations a step for ten. Each unit's sums and cell are
 * the same operations in the same order; lanes past the last unit hold numbers that nothing uses.
 */

/* Units of one gate in a tail of `vectors`. */
#define TAIL_WIDTH(VECTORS) (LANES * (VECTORS) / GATE_COUNT)

/* tail (vectors,) = the first units of each gate of from (4, LANES). */
static LSTM_INLINE void NAME(pack_tail)(const REAL *from, const int vectors, VEC *tail) {
    const VEC i = VEC_LOAD(from + GATE_I * LANES), f = VEC_LOAD(from + GATE_F * LANES);
    const VEC g = VEC_LOAD(from + GATE_G * LANES), o = VEC_LOAD(from + GATE_O * LANES);
    if (vectors == 1) {
        tail[0] = VEC_JOIN_QUARTERS(i, f, g, o);
    } else {
        tail[0] = VEC_JOIN_HALVES(i, f);
        tail[1] = VEC_JOIN_HALVES(g, o);
    }
}

/* sums (whole panels, 4), then the tail's (vectors,), += unit k of panel p of h times its weights. */
#define ADD_UNIT_AND_TAIL(p, k)                                                                              \
    {                                                                                                        \
        const VEC unit = PICK(p, k);                                                                         \
        const ptrdiff_t at = (p)*LANES + (k);                                                                \
        _Pragma("GCC unroll 8") for (int v = 0; v < whole * GATE_COUNT; v++) {                               \
            const REAL *const w = base[v / GATE_COUNT] + (at * GATE_COUNT + v % GATE_COUNT) * LANES;         \
            sums[v] = VEC_FMA(unit, VEC_LOAD(w), sums[v]);                                                   \
        }                                                                                                    \
        _Pragma("GCC unroll 2") for (int v = 0; v < vectors; v++) {                                          \
            const VEC w = VEC_LOAD(base[whole] + (at * vectors + v) * LANES);                                \
            sums[whole * GATE_COUNT + v] = VEC_FMA(unit, w, sums[whole * GATE_COUNT + v]);                   \
        }                                                                                                    \
    }

/* h, C (whole panels and the tail) after a step with the sums z (whole panels, 4), then (vectors,). */
static LSTM_INLINE void NAME(tail_update)(const int whole, const int vectors, const VEC *z, VEC *h, VEC *C) {
    const VEC *const tail = z + whole * GATE_COUNT;
    VEC i[NET_PANELS], f[NET_PANELS], g[NET_PANELS], o[NET_PANELS];
#pragma GCC unroll 2
    for (int p = 0; p < whole; p++) {
        g[p] = NAME(vec_tanh_soon)(z[p * GATE_COUNT + GATE_G]);
        VEC_IN_ORDER(g[p]);
    }
    const VEC tanhs = NAME(vec_tanh_soon)(tail[vectors - 1]);
    g[whole] = vectors == 1 ? VEC_FROM_QUARTER_2(tanhs) : tanhs;
    VEC_IN_ORDER(g[whole]);
#pragma GCC unroll 2
    for (int p = 0; p < whole; p++) {
        i[p] = NAME(vec_sigmoid_soon)(z[p * GATE_COUNT + GATE_I]);
        VEC_IN_ORDER(i[p]);
    }
    i[whole] = NAME(vec_sigmoid_soon)(tail[0]);
    VEC_IN_ORDER(i[whole]);
#pragma GCC unroll 2
    for (int p = 0; p < whole; p++) {
        f[p] = NAME(vec_sigmoid_soon)(z[p * GATE_COUNT + GATE_F]);
    }
    f[whole] = vectors == 1 ? VEC_FROM_QUARTER_1(i[whole]) : VEC_FROM_QUARTER_2(i[whole]);
#pragma GCC unroll 3
    for (int p = 0; p <= whole; p++) {
        C[p] = VEC_FMA(f[p], C[p], VEC_MUL(i[p], g[p]));
        VEC_IN_ORDER(C[p]);
    }
#pragma GCC unroll 3
    for (int p = 0; p <= whole; p++) {
        h[p] = NAME(vec_tanh_soon)(C[p]);
        VEC_IN_ORDER(h[p]);
        if (p < whole) {
            o[p] = z[p * GATE_COUNT + GATE_O];
            VEC_IN_ORDER(o[p]);
            o[p] = NAME(vec_sigmoid)(o[p]);
        } else if (vectors == 1) {
            o[p] = VEC_FROM_QUARTER_3(i[p]);
        } else {
            o[p] = tail[1];
            VEC_IN_ORDER(o[p]);
            o[p] = VEC_FROM_QUARTER_2(NAME(vec_sigmoid)(o[p]));
        }
        h[p] = VEC_MUL(o[p], h[p]);
    }
}

/* z (whole panels, 4), then the tail's (vectors,) = start and, of a net of one input, its product. */
static LSTM_INLINE void NAME(tail_start)(const ROW_ARGUMENTS *row, const int whole, const int vectors,
                                         const REAL *start, const REAL *x, const VEC *x_weights, VEC *z) {
    VEC *const tail = z + whole * GATE_COUNT;
    NAME(row_start)(row, whole, start, x, z);
    NAME(pack_tail)(start + whole * row->start_panel_stride, vectors, tail);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        if (x != NULL) {
            tail[v] = VEC_ADD(tail[v], VEC_FMA(VEC_SET1(*x), x_weights[v], VEC_ZERO()));
        }
    }
}

/* All steps of a net of `whole` panels and a tail of `vectors`. */
static LSTM_INLINE void NAME(run_tail)(const ROW_ARGUMENTS *row, const int whole, const int vectors) {
    REAL weights[NET_PANELS * LANES * 2 * LANES] __attribute__((aligned(64)));
    const ptrdiff_t depth = row->depth;
    const ptrdiff_t panel_stride = depth * GATE_COUNT * LANES;
    const REAL *start = row->start;
    const REAL *x = row->x;
    REAL *output = row->output;
    VEC h[NET_PANELS], C[NET_PANELS], x_weights[2] = {VEC_ZERO(), VEC_ZERO()};
    for (ptrdiff_t k = 0; k < depth; k++) {
        VEC tail[2];
        NAME(pack_tail)(row->weights + whole * panel_stride + k * GATE_COUNT * LANES, vectors, tail);
        for (int v = 0; v < vectors; v++) {
            VEC_STORE(weights + (k * vectors + v) * LANES, tail[v]);
        }
    }
    if (x != NULL) {
        NAME(pack_tail)(row->x_weights + whole * GATE_COUNT * LANES, vectors, x_weights);
    }
#pragma GCC unroll 3
    for (int p = 0; p <= whole; p++) {
        h[p] = VEC_LOAD(row->hidden + p * LANES);
        C[p] = VEC_LOAD(row->cell + p * LANES);
    }
    for (ptrdiff_t left = row->steps; left > 0; left--) {
        VEC z[NAME(ROW_GATES)], sums[NAME(ROW_GATES)];
        const REAL *base[NET_PANELS];
#pragma GCC unroll 3
        for (int p = 0; p <= whole; p++) {
            base[p] = p < whole ? row->weights + p * panel_stride : weights;
            __asm__ volatile("" : "+r"(base[p]));
        }
#pragma GCC unroll 10
        for (int v = 0; v < whole * GATE_COUNT + vectors; v++) {
            sums[v] = VEC_ZERO();
        }
        NAME(tail_start)(row, whole, vectors, start, x, x_weights, z);
#pragma GCC unroll 3
        for (int p = 0; p <= whole; p++) {
#pragma GCC unroll 16
            for (int k = 0; k < LANES; k++) {
                if (p == whole && (k >= TAIL_WIDTH(vectors) || whole * LANES + k >= depth)) {
                    break;
                }
                ADD_UNIT_AND_TAIL(p, k)
            }
        }
#pragma GCC unroll 10
        for (int v = 0; v < whole * GATE_COUNT + vectors; v++) {
            z[v] = VEC_ADD(z[v], sums[v]);
        }
        NAME(tail_update)(whole, vectors, z, h, C);
        if (output != NULL) {
#pragma GCC unroll 3
            for (int p = 0; p <= whole; p++) {
                NAME(store_output)(output + p * LANES, depth - p * LANES, h[p]);
            }
            output += row->output_step_stride;
        }
        start += row->start_step_stride;
        x = x == NULL ? NULL : x + row->x_step_stride;
    }
#pragma GCC unroll 3
    for (int p = 0; p <= whole; p++) {
        VEC_STORE(row->hidden + p * LANES, h[p]);
        VEC_STORE(row->cell + p * LANES, C[p]);
    }
}

enum {
    /* Steps from which packing the tail's weights pays. */
    NAME(TAIL_STEPS) = 8
};

#define DEFINE_TAIL(WHOLE, VECTORS)                                                                          \
    static __attribute__((noinline)) void NAME(tail_##WHOLE##_##VECTORS)(const ROW_ARGUMENTS *row) {         \
        NAME(run_tail)(row, WHOLE, VECTORS);                                                                 \
    }
#define RUN_TAIL(WHOLE, VECTORS)                                                                             \
    if (row->panels == (WHOLE) + 1 && units <= TAIL_WIDTH(VECTORS)) {                                        \
        NAME(tail_##WHOLE##_##VECTORS)(row);                                                                 \
        return 1;                                                                                            \
    }
TAIL_SIZES(DEFINE_TAIL)

/* Returns 0, having done nothing, if it is no net for a tail. */
static LSTM_INLINE int NAME(run_tail_net)(const ROW_ARGUMENTS *row) {
    const ptrdiff_t units = row->depth - (row->panels - 1) * LANES;
    if (row->depth <= LSTM_SHORT_SUM || row->steps < NAME(TAIL_STEPS)) {
        return 0;
    }
    TAIL_SIZES(RUN_TAIL)
    return 0;
}

#undef TAIL_WIDTH
#undef ADD_UNIT_AND_TAIL
#undef DEFINE_TAIL
#undef RUN_TAIL
