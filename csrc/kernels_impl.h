/* The micro-kernels of one ISA and one dtype, over the vector macros of the file that includes this.
 *
 * That file defines, for the dtype: REAL, REAL_BITS, DTYPE, ISA, VEC, LANES, ROW_TILE, PANEL_TILE,
 * LSTM_TILES(TILE) naming every tile as TILE(rows, panels, units), LSTM_PRODUCTS(TILE) likewise with vectors
 * and columns, PRODUCT_SUMS, the most accumulators of those, ROW_VECTORS, how many vectors of a row have
 * accumulators for four gates, and the operations
 *   VEC_SET1 VEC_ZERO VEC_LOAD VEC_STORE           (no alignment asked)
 *   VEC_ADD VEC_SUB VEC_MUL VEC_DIV VEC_FMA(a, b, c) = a b + c and VEC_FMS(a, b, c) = a b - c, one rounding
 *   VEC_MIN(a, b) = a < b ? a : b   VEC_MAX(a, b) = a > b ? a : b   (so a NaN in b stays)
 *   VEC_MINUS_ABS(a) = -|a|   VEC_COPYSIGN(magnitude, sign)
 *   VEC_LOW_BITS_TO_EXPONENT(a): its bits shifted up by the mantissa's width
 *   VEC_FNMA(a, b, c) = c - a b, one rounding
 *   VEC_LOAD_FIRST(p, n), VEC_STORE_FIRST(p, n, a)  1 <= n <= LANES elements; what is loaded beyond is 0
 *   VEC_SELECT_LESS(a, b, x, y) = a < b ? x : y
 *   VEC_IN_REGISTER(a): keeps the compiler from loading `a` anew for each use, which made tiles of 2 and 3 rows
 *     wait for loads (25 % slower with GCC 12)
 *   VEC_TRANSPOSE(rows): LANES vectors turned: lane k of vector r becomes lane r of vector k
 *   VEC_PREFETCH(p): brings the cache line at p into L2, or does nothing
 *   VEC_CANONICAL_NAN(a): every NaN made 0x7fc00000 or 0x7ff8000000000000, so that NaNs have equal bits too
 * An ISA that runs a whole net of one row in registers (row_net.h) also defines
 *   NET_PANELS, the most panels of such a net, and NET_SIZES(NET) naming the sizes it is compiled for
 *   VEC_PICK(a, k): lane k of a in all lanes, if that is faster than from memory
 *   VEC_IN_ORDER(a): keeps what computes `a` before what follows in the program
 *   VEC_MASK, VEC_NOT_LESS(a, b) and VEC_WITHIN(low, a, high): where a comparison holds, of a NaN too
 *   VEC_DIV_WHERE(other, mask, a, b), VEC_SUB_WHERE(other, mask, a, b): a / b or a - b there, else other
 *   TAIL_SIZES(TAIL) naming the sizes of row_tail.h, if it has a large vector, and for it
 *   VEC_JOIN_HALVES(a, b), VEC_JOIN_QUARTERS(a, b, c, d): the first lanes of each, one after the other
 *   VEC_FROM_QUARTER_n(a): the lanes from the quarter n on, then those before
 * and, if row_steps.h, for a row of larger nets, is faster than tile after tile from some size on,
 *   LEAST_PANELS, that size, at least 3, and for weights of 16 bits LEAST_NARROW_PANELS_bfloat16 and
 *   LEAST_NARROW_PANELS_float16; 0 for never.
 * It includes this file once for float and once for double; all these macros are undefined at the end.
 */

#ifndef LSTM_INLINE
#define LSTM_INLINE inline __attribute__((always_inline))
#define LSTM_JOIN_(a, b) a##_##b
#define LSTM_JOIN(a, b) LSTM_JOIN_(a, b)
#define LSTM_KERNEL_(dtype, what, tile, isa) lstm_##dtype##_##what##_##tile##__##isa
#define LSTM_KERNEL(dtype, what, tile, isa) LSTM_KERNEL_(dtype, what, tile, isa)
#define LSTM_MAP_(dtype, what, isa) lstm_##dtype##_##what##__##isa
#define LSTM_MAP(dtype, what, isa) LSTM_MAP_(dtype, what, isa)
#endif

/* NAME(x) keeps the float and the double helpers of one file apart. */
#define NAME(x) LSTM_JOIN(x, DTYPE)
#define TILE_ARGUMENTS LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), tile)
#define VARIANT LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), variant)
#define ACTIVATION LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), activation)
#define RECORD LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), record)
#define PRODUCT LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), product)
#define ROW_ARGUMENTS LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), row)
#define CELL_GRADIENT LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), cell_gradient)
/* Vectors of sums in the largest tile. */
#define TILE_VECTORS ((ROW_TILE > PANEL_TILE ? ROW_TILE : PANEL_TILE) * GATE_COUNT)

#include "vec_math.h"

#include "vec_activations.h"

#include <math.h>
#include <string.h>

#if REAL_BITS == 32
#define REAL_SQRT(x) sqrtf(x)
#else
#define REAL_SQRT(x) sqrt(x)
#endif

#include "product_tile.h"

#include "vec_record.h"

#include "cell_backward.h"

#include "gate_tile.h"

#include "vec_output.h"

/* Offset of the vector of units of row r and panel p in cell and hidden, (rows, panels, LANES). */
static LSTM_INLINE ptrdiff_t NAME(state_offset)(const TILE_ARGUMENTS *tile, int r, int p) {
    return r * tile->state_row_stride + p * LANES;
}

/* hidden (LANES,) of row r and panel p, to the states and the output. */
static LSTM_INLINE void NAME(store_hidden)(const TILE_ARGUMENTS *tile, int r, int p, VEC hidden) {
    VEC_STORE(tile->hidden + NAME(state_offset)(tile, r, p), hidden);
    if (tile->output != NULL) {
        REAL *const output = tile->output + r * tile->output_row_stride + p * LANES;
        /* Row by row, so that the next step's are elsewhere: 2 % of H = 512, B = 64. */
        VEC_PREFETCH((const char *)(output + tile->output_step_stride));
        NAME(store_output)(output, tile->output_units - p * LANES, hidden);
    }
}

/* One vector of a gate's or the cell's values of row r and panel p, to the trace. */
static LSTM_INLINE void NAME(store_trace)(const TILE_ARGUMENTS *tile, int gate, int r, int p, VEC values) {
    if (tile->trace != NULL) {
        REAL *const trace = tile->trace + gate * tile->trace_gate_stride + r * tile->trace_row_stride;
        NAME(store_output)(trace + p * LANES, tile->output_units - p * LANES, values);
    }
}

/* The same as update_default with all that a variant may ask for.  `default_activations` is a constant after
 * inlining: sigmoid and tanh are then inlined too.
 *   z_i += p_i C, z_f += p_f C before the step's C is known, z_o += p_o C after it; all bounded by clip, and
 *   C by cell_clip. */
static LSTM_INLINE void NAME(update_variant)(const TILE_ARGUMENTS *tile, int rows, int panels,
                                             const REAL *sums, const int default_activations) {
    const VARIANT *const variant = tile->variant;
    const VEC low = VEC_SET1(-variant->clip);
    const VEC high = VEC_SET1(variant->clip);
    const VEC cell_low = VEC_SET1(-variant->cell_clip);
    const VEC cell_high = VEC_SET1(variant->cell_clip);
    const RECORD *const record = &tile->record;
    const int records_codes = record->gates != NULL && record->has_codes;
    for (int v = 0; v < rows * panels; v++) {
        const int r = v / panels;
        const int p = v % panels;
        const REAL *const z = sums + v * GATE_COUNT * LANES;
        REAL *const cell = tile->cell + NAME(state_offset)(tile, r, p);
        const VEC before = VEC_LOAD(cell);
        VEC i = VEC_LOAD(z + GATE_I * LANES);
        VEC f = VEC_LOAD(z + GATE_F * LANES);
        VEC g = VEC_LOAD(z + GATE_G * LANES);
        if (tile->peephole != NULL) {
            i = VEC_FMA(VEC_LOAD(tile->peephole + 3 * p * LANES), before, i);
            f = VEC_FMA(VEC_LOAD(tile->peephole + (3 * p + 1) * LANES), before, f);
        }
        if (records_codes) {
            VEC codes = NAME(slope_code)(&variant->gates, low, high, i);
            codes = VEC_FMA(VEC_SET1(4), NAME(slope_code)(&variant->gates, low, high, f), codes);
            codes = VEC_FMA(VEC_SET1(16), NAME(slope_code)(&variant->candidate, low, high, g), codes);
            VEC_STORE(record->squashed + NAME(record_offset)(record, r, p), codes);
        }
        i = VEC_MAX(low, VEC_MIN(high, i));
        f = VEC_MAX(low, VEC_MIN(high, f));
        g = VEC_MAX(low, VEC_MIN(high, g));
        i = default_activations ? NAME(vec_sigmoid)(i) : NAME(vec_activation)(&variant->gates, i);
        g = default_activations ? NAME(vec_tanh)(g) : NAME(vec_activation)(&variant->candidate, g);
        if (variant->input_forget) {
            f = VEC_SUB(VEC_SET1(1), i);
        } else {
            f = default_activations ? NAME(vec_sigmoid)(f) : NAME(vec_activation)(&variant->gates, f);
        }
        VEC after = VEC_FMA(f, before, VEC_MUL(i, g));
        after = VEC_MAX(cell_low, VEC_MIN(cell_high, after));
        VEC_STORE(cell, after);
        NAME(store_trace)(tile, 0, r, p, i);
        NAME(store_trace)(tile, 1, r, p, f);
        NAME(store_trace)(tile, 2, r, p, g);
        NAME(store_trace)(tile, 4, r, p, after);
        NAME(record_gate)(record, GATE_I, r, p, i);
        NAME(record_gate)(record, GATE_F, r, p, f);
        NAME(record_gate)(record, GATE_G, r, p, g);
        NAME(record_cell)(record, r, p, after);
        NAME(prefetch_next_record)(record, r, p);
    }
    for (int v = 0; v < rows * panels; v++) {
        const int r = v / panels;
        const int p = v % panels;
        const VEC cell = VEC_LOAD(tile->cell + NAME(state_offset)(tile, r, p));
        VEC o = VEC_LOAD(sums + (v * GATE_COUNT + GATE_O) * LANES);
        if (tile->peephole != NULL) {
            o = VEC_FMA(VEC_LOAD(tile->peephole + (3 * p + 2) * LANES), cell, o);
        }
        REAL *const squashed_place =
            record->gates == NULL ? NULL : record->squashed + NAME(record_offset)(record, r, p);
        if (records_codes) {
            const VEC code = NAME(slope_code)(&variant->gates, low, high, o);
            VEC_STORE(squashed_place, VEC_FMA(VEC_SET1(64), code, VEC_LOAD(squashed_place)));
        }
        o = VEC_MAX(low, VEC_MIN(high, o));
        o = default_activations ? NAME(vec_sigmoid)(o) : NAME(vec_activation)(&variant->gates, o);
        const VEC squashed =
            default_activations ? NAME(vec_tanh)(cell) : NAME(vec_activation)(&variant->cell_output, cell);
        NAME(store_trace)(tile, 3, r, p, o);
        NAME(record_gate)(record, GATE_O, r, p, o);
        if (record->gates != NULL && !records_codes) {
            VEC_STORE(squashed_place, squashed);
        }
        NAME(store_hidden)(tile, r, p, VEC_MUL(o, squashed));
    }
}

static void NAME(update_default_activations)(const TILE_ARGUMENTS *tile, int rows, int panels,
                                             const REAL *sums) {
    NAME(update_variant)(tile, rows, panels, sums, 1);
}

static void NAME(update_any_activations)(const TILE_ARGUMENTS *tile, int rows, int panels, const REAL *sums) {
    NAME(update_variant)(tile, rows, panels, sums, 0);
}

/* cell, hidden (rows, panels, LANES) and output (rows, units) after one time step of the default equations:
 *   C = f C + i g,  h = o tanh(C)
 * The two loops keep the activations of different units independent of one another, for the CPU to
 * overlap; in one loop the wait for tanh(C) cost half as much again. */
static LSTM_INLINE void NAME(update_default)(const TILE_ARGUMENTS *tile, const int rows, const int panels,
                                             REAL *sums) {
    for (int v = 0; v < rows * panels; v++) {
        REAL *const gates = sums + v * GATE_COUNT * LANES;
        REAL *const cell = tile->cell + NAME(state_offset)(tile, v / panels, v % panels);
        const VEC i = NAME(vec_sigmoid)(VEC_LOAD(gates + GATE_I * LANES));
        const VEC f = NAME(vec_sigmoid)(VEC_LOAD(gates + GATE_F * LANES));
        const VEC g = NAME(vec_tanh)(VEC_LOAD(gates + GATE_G * LANES));
        VEC_STORE(gates + GATE_O * LANES, NAME(vec_sigmoid)(VEC_LOAD(gates + GATE_O * LANES)));
        VEC_STORE(cell, VEC_FMA(f, VEC_LOAD(cell), VEC_MUL(i, g)));
    }
    for (int v = 0; v < rows * panels; v++) {
        const VEC o = VEC_LOAD(sums + (v * GATE_COUNT + GATE_O) * LANES);
        const VEC cell = VEC_LOAD(tile->cell + NAME(state_offset)(tile, v / panels, v % panels));
        NAME(store_hidden)(tile, v / panels, v % panels, VEC_MUL(o, NAME(vec_tanh)(cell)));
    }
}

/* The same with all that the gradients need. */
static LSTM_INLINE void NAME(update_record)(const TILE_ARGUMENTS *tile, const int rows, const int panels,
                                            REAL *sums) {
    const RECORD *const record = &tile->record;
    for (int v = 0; v < rows * panels; v++) {
        const ptrdiff_t place = NAME(record_offset)(record, v / panels, v % panels);
        REAL *const z = sums + v * GATE_COUNT * LANES;
        REAL *const gates = record->gates + place * GATE_COUNT;
        REAL *const cell = tile->cell + NAME(state_offset)(tile, v / panels, v % panels);
        const VEC i = NAME(vec_sigmoid)(VEC_LOAD(z + GATE_I * LANES));
        const VEC f = NAME(vec_sigmoid)(VEC_LOAD(z + GATE_F * LANES));
        const VEC g = NAME(vec_tanh)(VEC_LOAD(z + GATE_G * LANES));
        const VEC o = NAME(vec_sigmoid)(VEC_LOAD(z + GATE_O * LANES));
        const VEC after = VEC_FMA(f, VEC_LOAD(cell), VEC_MUL(i, g));
        VEC_STORE(z + GATE_O * LANES, o);
        VEC_STORE(gates + GATE_I * LANES, i);
        VEC_STORE(gates + GATE_F * LANES, f);
        VEC_STORE(gates + GATE_G * LANES, g);
        VEC_STORE(gates + GATE_O * LANES, o);
        VEC_STORE(cell, after);
        VEC_STORE(record->cells + NAME(record_cells_offset)(record, v / panels, v % panels), after);
        NAME(prefetch_next_record)(record, v / panels, v % panels);
    }
    for (int v = 0; v < rows * panels; v++) {
        const VEC o = VEC_LOAD(sums + (v * GATE_COUNT + GATE_O) * LANES);
        const VEC cell = VEC_LOAD(tile->cell + NAME(state_offset)(tile, v / panels, v % panels));
        const VEC squashed = NAME(vec_tanh)(cell);
        VEC_STORE(record->squashed + NAME(record_offset)(record, v / panels, v % panels), squashed);
        NAME(store_hidden)(tile, v / panels, v % panels, VEC_MUL(o, squashed));
    }
}

/* Out of line, once for all tiles; these have one panel or one row, so that nothing is divided. */
static void NAME(update_recorded)(const TILE_ARGUMENTS *tile, int rows, int panels, REAL *sums) {
    if (panels == 1) {
        NAME(update_record)(tile, rows, 1, sums);
    } else {
        NAME(update_record)(tile, 1, panels, sums);
    }
}

/* The cell update of whatever equations, from sums (rows, panels, 4, LANES), which it changes. */
static LSTM_INLINE void NAME(update_cell)(const TILE_ARGUMENTS *tile, const int rows, const int panels,
                                          REAL *sums) {
    if (tile->variant == NULL) {
        NAME(update_default)(tile, rows, panels, sums);
    } else if (tile->record.gates != NULL && tile->record.is_plain) {
        NAME(update_recorded)(tile, rows, panels, sums);
    } else {
        const VARIANT *const variant = tile->variant;
        const int default_activations = variant->gates.kind == LSTM_SIGMOID &&
                                        variant->candidate.kind == LSTM_TANH &&
                                        variant->cell_output.kind == LSTM_TANH;
        (default_activations ? NAME(update_default_activations) : NAME(update_any_activations))(tile, rows,
                                                                                                panels, sums);
    }
}

/* Go on to the next of several time steps. */
static LSTM_INLINE void NAME(next_step)(TILE_ARGUMENTS *tile) {
    tile->start += tile->start_step_stride;
    if (tile->output != NULL) {
        tile->output += tile->output_step_stride;
    }
    if (tile->trace != NULL) {
        tile->trace += tile->trace_step_stride;
    }
    NAME(next_record)(&tile->record, tile->record.step_stride);
}

/* tile->steps time steps: the h half, then the cell update. */
static LSTM_INLINE void NAME(step)(TILE_ARGUMENTS *tile, const int rows, const int panels) {
    REAL sums[TILE_VECTORS * LANES] __attribute__((aligned(64)));
    for (ptrdiff_t left = tile->steps - 1;; left--) {
        NAME(accumulate)
        (tile, rows, panels, LSTM_FULL, sums, panels * GATE_COUNT * LANES, GATE_COUNT * LANES,
         tile->sum_block);
        NAME(update_cell)(tile, rows, panels, sums);
        if (left == 0) {
            return;
        }
        NAME(next_step)(tile);
    }
}

#if REAL_BITS == 32
/* The update alone, for products that are not of this file. */
static void LSTM_MAP(DTYPE, update, ISA)(const TILE_ARGUMENTS *tile, ptrdiff_t rows, ptrdiff_t panels) {
    if (panels == 1) {
        NAME(update_cell)(tile, (int)rows, 1, tile->sums);
    } else {
        NAME(update_cell)(tile, 1, (int)panels, tile->sums);
    }
}
#endif

#ifdef NET_PANELS
#include "row_net.h"
#endif
#ifdef LEAST_PANELS
#include "row_steps.h"
#endif

#if REAL_BITS == 32
#define NARROW bfloat16
#define NARROW_FORMAT LSTM_BFLOAT16
#include "narrow_tiles.h"
#define NARROW float16
#define NARROW_FORMAT LSTM_FLOAT16
#include "narrow_tiles.h"
#endif

/* y (n,) = function(x (n,)), the last vector through a padded copy. */
static LSTM_INLINE void NAME(map)(VEC (*function)(VEC), const REAL *x, REAL *y, ptrdiff_t n) {
    ptrdiff_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        VEC_STORE(y + k, function(VEC_LOAD(x + k)));
    }
    if (k < n) {
        REAL rest[LANES] = {0};
        memcpy(rest, x + k, (size_t)(n - k) * sizeof(REAL));
        VEC_STORE(rest, function(VEC_LOAD(rest)));
        memcpy(y + k, rest, (size_t)(n - k) * sizeof(REAL));
    }
}

static void LSTM_MAP(DTYPE, sigmoid, ISA)(const REAL *x, REAL *y, ptrdiff_t n) {
    NAME(map)(NAME(vec_sigmoid), x, y, n);
}

static void LSTM_MAP(DTYPE, tanh, ISA)(const REAL *x, REAL *y, ptrdiff_t n) {
    NAME(map)(NAME(vec_tanh), x, y, n);
}

#define DEFINE_TILE(ROWS, PANELS, UNITS)                                                                     \
    static void LSTM_KERNEL(DTYPE, gates, ROWS##x##UNITS, ISA)(TILE_ARGUMENTS * tile) {                      \
        _Static_assert((UNITS) == (PANELS)*LANES, "the name tells the tile");                                \
        NAME(gates)(tile, ROWS, PANELS);                                                                     \
    }                                                                                                        \
    static void LSTM_KERNEL(DTYPE, step, ROWS##x##UNITS, ISA)(TILE_ARGUMENTS * tile) {                       \
        NAME(step)(tile, ROWS, PANELS);                                                                      \
    }
LSTM_TILES(DEFINE_TILE)

#define GATES_ENTRY(ROWS, PANELS, UNITS) [ROWS][PANELS] = LSTM_KERNEL(DTYPE, gates, ROWS##x##UNITS, ISA),
#define PRODUCT_ENTRY(ROWS, VECTORS, COLUMNS)                                                                \
    [ROWS][VECTORS] = LSTM_KERNEL(DTYPE, product, ROWS##x##COLUMNS, ISA),
#define STEP_ENTRY(ROWS, PANELS, UNITS) [ROWS][PANELS] = LSTM_KERNEL(DTYPE, step, ROWS##x##UNITS, ISA),
static const LSTM_JOIN(LSTM_JOIN(lstm, DTYPE), kernels) NAME(kernels) = {
    .lanes = LANES,
    .row_tile = ROW_TILE,
    .panel_tile = PANEL_TILE,
    .gates = {LSTM_TILES(GATES_ENTRY)},
    .step = {LSTM_TILES(STEP_ENTRY)},
#if REAL_BITS == 32
    .update = LSTM_MAP(DTYPE, update, ISA),
#endif
    .sigmoid = LSTM_MAP(DTYPE, sigmoid, ISA),
    .tanh = LSTM_MAP(DTYPE, tanh, ISA),
    .product_rows = LSTM_PRODUCT_ROWS,
    .product = {LSTM_PRODUCTS(PRODUCT_ENTRY)},
    .gates_row = {NULL, NAME(gates_row_1), NAME(gates_row_2), NAME(gates_row_3), NAME(gates_row_4)},
    .cell_backward = LSTM_MAP(DTYPE, cell_backward, ISA),
    .cell_output = LSTM_MAP(DTYPE, cell_output, ISA),
    .copy_rows = LSTM_MAP(DTYPE, copy_rows, ISA),
    .turn = LSTM_MAP(DTYPE, turn, ISA),
    .add_norm = LSTM_MAP(DTYPE, add_norm, ISA),
    .peephole_sums = LSTM_MAP(DTYPE, peephole_sums, ISA),
#ifdef NET_PANELS
    .net_panels = NET_PANELS,
    .row_net = LSTM_MAP(DTYPE, row_net, ISA),
#endif
#ifdef LEAST_PANELS
    .row_steps_panels = LEAST_PANELS,
    .row_steps = LSTM_MAP(DTYPE, row_steps, ISA),
#endif
};
#include "undefine.h"
