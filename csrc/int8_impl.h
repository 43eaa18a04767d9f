/* The products of int8 by one set of instructions, over the macros of the file that includes this.
 *
 * That file defines: SET, the suffix of the kernels' names, SET_NAME, the name that users see, and
 *   LANES, VEC and VEC_SET1 VEC_LOAD VEC_STORE VEC_MUL VEC_FMA of float32, as in kernels_impl.h
 *   ROW_TILE, PANEL_TILE, INT8_TILES(TILE) naming every tile as TILE(rows, panels, units)
 *   PARTS: into how many parts of equal units a panel is cut, each with accumulators of its own
 *   INT, a vector of int32 sums, and INT_START(offsets): zeros or, where inputs are stored as unsigned integers,
 *     128 more than they are, the offsets
 *   WEIGHTS, and LOAD_WEIGHTS(p): the integers of four k and the units of a part
 *   INPUT, and LOAD_INPUT(p): four integers of an input in all places, or where ADD_PRODUCTS finds them
 *   ADD_PRODUCTS(sums, input, weights): the sums with the products of four k added, exactly
 *   of one part VEC_FROM_SUMS(sums): as float32, rounded to the nearest; of more
 *   STORE_TOTALS(p, sums): the sums of the units of a part, as int32, and
 *   VEC_FROM_INTEGERS(p): LANES of int32 as float32, rounded to the nearest
 *   INTEGER_BYTES of an input
 *   VEC_LOAD_FIRST as in kernels_impl.h, MAGNITUDES, a vector of the bits of |x|, and
 *   NO_MAGNITUDE() LARGER_MAGNITUDES(m, vec) LARGEST_MAGNITUDE(m)
 *   STORE_INTEGERS(p, vec): the vector rounded to integers, as LOAD_INPUT takes them
 * A set of one part that runs all steps of a row in one call (int8_row_steps.h) also defines INT8_ROW_STEPS,
 *   ADD_PRODUCTS_AT(sums, input, p): ADD_PRODUCTS with the weights at p
 *   HAS_NAN(vec): whether any lane is NaN,
 * and includes vec_math.h and vec_output.h for float before.
 * All but SET and what depends on it may be shared by the sets of a file; is_supported_<SET> comes before.
 */

#ifndef LSTM_INLINE
#define LSTM_INLINE inline __attribute__((always_inline))
#endif
#define INT8_JOIN_(a, b) a##_##b
#define INT8_JOIN(a, b) INT8_JOIN_(a, b)
#define INT8_NAME(x) INT8_JOIN(x, SET)
#define INT8_KERNEL_(tile, set) lstm_int8_gates_##tile##__##set
#define INT8_KERNEL(tile, set) INT8_KERNEL_(tile, set)
/* Vectors of sums in the largest tile. */
#define INT8_VECTORS ((ROW_TILE > PANEL_TILE ? ROW_TILE : PANEL_TILE) * GATE_COUNT)

/* sums (rows, panels, 4) = input . weights, of the units of one part. */
static LSTM_INLINE void INT8_NAME(products)(const lstm_int8_tile *tile, const int rows, const int panels,
                                            const int part, INT *sums) {
    const int8_t *weights = tile->weights + part * (LANES / PARTS) * LSTM_INT8_GROUP;
    const char *input = tile->input;
#pragma GCC unroll 24
    for (int v = 0; v < rows * panels * GATE_COUNT; v++) {
        sums[v] = INT_START(tile->offsets + v % (panels * GATE_COUNT) * LANES);
    }
    for (ptrdiff_t group = tile->groups; group > 0; group--) {
        INPUT x[ROW_TILE];
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            x[r] = LOAD_INPUT(input + r * tile->input_row_stride);
        }
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
#pragma GCC unroll 4
            for (int g = 0; g < GATE_COUNT; g++) {
                const WEIGHTS w =
                    LOAD_WEIGHTS(weights + p * tile->weights_panel_stride + g * LANES * LSTM_INT8_GROUP);
#pragma GCC unroll 6
                for (int r = 0; r < rows; r++) {
                    ADD_PRODUCTS(sums[(r * panels + p) * GATE_COUNT + g], x[r], w);
                }
            }
        }
        input += LSTM_INT8_GROUP * INTEGER_BYTES;
        weights += GATE_COUNT * LANES * LSTM_INT8_GROUP;
    }
}

/* tile->sums of row r and the vector v of (panels, 4) from a vector of integer sums and the product of both scales. */
static LSTM_INLINE void INT8_NAME(store_sums)(const lstm_int8_tile *tile, int r, int v, VEC total,
                                              VEC scale) {
    const int p = v / GATE_COUNT;
    const int g = v % GATE_COUNT;
    const VEC start =
        VEC_LOAD(tile->start + r * tile->start_row_stride + p * tile->start_panel_stride + g * LANES);
    VEC_STORE(tile->sums + r * tile->sums_row_stride + p * tile->sums_panel_stride + g * LANES,
              VEC_FMA(total, scale, start));
}

static LSTM_INLINE void INT8_NAME(gates)(const lstm_int8_tile *tile, const int rows, const int panels) {
    const int vectors = panels * GATE_COUNT;
    INT sums[INT8_VECTORS];
#if PARTS == 1
    INT8_NAME(products)(tile, rows, panels, 0, sums);
    VEC input_scales[ROW_TILE];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        input_scales[r] = VEC_SET1(tile->input_scales[r * tile->input_scales_stride]);
    }
    /* All vectors of the largest tile: with fewer, GCC keeps the sums in memory, all through the products. */
#pragma GCC unroll 12
    for (int v = 0; v < vectors; v++) {
        const VEC scale = VEC_LOAD(tile->scales + v * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const VEC total = VEC_FROM_SUMS(sums[r * vectors + v]);
            INT8_NAME(store_sums)(tile, r, v, total, VEC_MUL(input_scales[r], scale));
        }
    }
#else
    int32_t totals[INT8_VECTORS * LANES] __attribute__((aligned(64)));
    for (int part = 0; part < PARTS; part++) {
        INT8_NAME(products)(tile, rows, panels, part, sums);
#pragma GCC unroll 24
        for (int v = 0; v < rows * vectors; v++) {
            STORE_TOTALS(totals + v * LANES + part * (LANES / PARTS), sums[v]);
        }
    }
    for (int r = 0; r < rows; r++) {
        const VEC input_scale = VEC_SET1(tile->input_scales[r * tile->input_scales_stride]);
        for (int v = 0; v < vectors; v++) {
            const VEC total = VEC_FROM_INTEGERS(totals + (r * vectors + v) * LANES);
            INT8_NAME(store_sums)
            (tile, r, v, total, VEC_MUL(input_scale, VEC_LOAD(tile->scales + v * LANES)));
        }
    }
#endif
}

static void INT8_NAME(quantize)(const float *x, ptrdiff_t n, float least, char *integers, float *scale) {
    /* A row that is below 2^-119 is zero: 1/127 of it and 127 over it are normal. */
    const float smallest = 0x1p-119f;
    const uint32_t infinity = 0x7f800000;
    MAGNITUDES largest = NO_MAGNITUDE();
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        largest = LARGER_MAGNITUDES(largest, n - k < LANES ? VEC_LOAD_FIRST(x + k, n - k) : VEC_LOAD(x + k));
    }
    const uint32_t bits = LARGEST_MAGNITUDE(largest);
    float most, inverse = 0;
    memcpy(&most, &bits, sizeof most);
    *scale = 0;
    if (bits >= infinity) {
        *scale = most - most;
    } else {
        most = most > least ? most : least;
        if (most >= smallest) {
            *scale = most / 127;
            inverse = 127 / most;
        }
    }
    const ptrdiff_t room = (n + 15) / 16 * 16;
    for (ptrdiff_t k = 0; k < room; k += LANES) {
        VEC values = VEC_SET1(0);
        if (inverse != 0 && k < n) {
            values = n - k < LANES ? VEC_LOAD_FIRST(x + k, n - k) : VEC_LOAD(x + k);
            values = VEC_MUL(values, VEC_SET1(inverse));
        }
        STORE_INTEGERS(integers + k * INTEGER_BYTES, values);
    }
}

#ifdef INT8_ROW_STEPS
#include "int8_row_steps.h"
#endif

#define DEFINE_TILE(ROWS, PANELS, UNITS)                                                                     \
    static void INT8_KERNEL(ROWS##x##UNITS, SET)(const lstm_int8_tile *tile) {                               \
        _Static_assert((UNITS) == (PANELS)*LANES, "the name tells the tile");                                \
        INT8_NAME(gates)(tile, ROWS, PANELS);                                                                \
    }
INT8_TILES(DEFINE_TILE)

#define TILE_ENTRY(ROWS, PANELS, UNITS) [ROWS][PANELS] = INT8_KERNEL(ROWS##x##UNITS, SET),
static const lstm_int8_kernels INT8_NAME(kernels) = {
    .name = SET_NAME,
    .supported = INT8_NAME(is_supported),
    .row_tile = ROW_TILE,
    .panel_tile = PANEL_TILE,
    .integer_bytes = INTEGER_BYTES,
    .gates = {INT8_TILES(TILE_ENTRY)},
    .quantize = INT8_NAME(quantize),
#ifdef INT8_ROW_STEPS
    .row_steps = INT8_NAME(row_steps),
#endif
};

#undef INT8_NAME
#undef INT8_KERNEL_
#undef INT8_KERNEL
#undef INT8_VECTORS
#undef DEFINE_TILE
#undef TILE_ENTRY
