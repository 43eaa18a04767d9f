/* Products for gradients: rows x vectors of columns in registers, one block of k from zero.
 *
 * The same tile serves dh and dX (k runs over a gate's units, columns are features) and dW (k runs over
 * steps, rows are units, columns are features).  Included by kernels_impl.h for each dtype. */

/* Columns of the last vector are fewer than LANES where a row of the caller's array ends there. */
static LSTM_INLINE VEC NAME(load_columns)(const REAL *p, ptrdiff_t columns) {
    return columns == LANES ? VEC_LOAD(p) : VEC_LOAD_FIRST(p, columns);
}

static LSTM_INLINE void NAME(store_columns)(REAL *p, ptrdiff_t columns, VEC values) {
    if (columns == LANES) {
        VEC_STORE(p, values);
    } else {
        VEC_STORE_FIRST(p, columns, values);
    }
}

/* sums (rows, columns) = start + partial (rows, vectors); with `is_last` NaNs are made the contract's. */
static LSTM_INLINE void NAME(store_sums)(const PRODUCT *tile, const int rows, const int vectors,
                                         const VEC *partial, const int is_last) {
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        const REAL *const start = tile->start + r * tile->start_row_stride;
        REAL *const sums = tile->sums + r * tile->sums_row_stride;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const ptrdiff_t columns = v + 1 < vectors ? LANES : tile->last_lanes;
            const VEC before = NAME(load_columns)(start + v * LANES, columns);
            const VEC sum = VEC_ADD(before, partial[r * vectors + v]);
            NAME(store_columns)(sums + v * LANES, columns, is_last ? VEC_CANONICAL_NAN(sum) : sum);
        }
    }
}

/* sums (rows, columns) = start + input (rows, depth) . weights (depth, vectors, LANES).
 * `rows` and `vectors` are constants after inlining, so that the accumulators live in registers. */
static LSTM_INLINE void NAME(product)(const PRODUCT *tile, const int rows, const int vectors) {
    const ptrdiff_t input_row_stride = tile->input_row_stride;
    const ptrdiff_t input_k_stride = tile->input_k_stride;
    const ptrdiff_t weights_k_stride = tile->weights_k_stride;
    const REAL *weights = tile->weights;
    const REAL *input = tile->input;
    const char *prefetch = (const char *)tile->prefetch;
    VEC partial[PRODUCT_SUMS];
#pragma GCC unroll 24
    for (int v = 0; v < rows * vectors; v++) {
        partial[v] = VEC_ZERO();
    }
    for (ptrdiff_t left = tile->depth; left > 0; left -= tile->chunk) {
        const REAL *x = input;
        for (ptrdiff_t k = left < tile->chunk ? left : tile->chunk; k > 0; k--) {
            if (rows * vectors > PRODUCT_SUMS / 2) {
                VEC_PREFETCH(prefetch);
                prefetch += LSTM_CACHE_LINE;
            }
            if (vectors == LSTM_MAX_PRODUCT_VECTORS) {
                VEC inputs[LSTM_MAX_PRODUCT_ROWS];
#pragma GCC unroll 12
                for (int r = 0; r < rows; r++) {
                    inputs[r] = VEC_SET1(x[r * input_row_stride]);
                }
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) {
                    VEC w = VEC_LOAD(weights + v * LANES);
                    if (rows > 1) {
                        VEC_IN_REGISTER(w);
                    }
#pragma GCC unroll 12
                    for (int r = 0; r < rows; r++) {
                        partial[r * vectors + v] = VEC_FMA(inputs[r], w, partial[r * vectors + v]);
                    }
                }
            } else {
                VEC w[LSTM_MAX_PRODUCT_VECTORS];
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) {
                    w[v] = VEC_LOAD(weights + v * LANES);
                    VEC_IN_REGISTER(w[v]);
                }
#pragma GCC unroll 12
                for (int r = 0; r < rows; r++) {
                    const VEC one = VEC_SET1(x[r * input_row_stride]);
#pragma GCC unroll 4
                    for (int v = 0; v < vectors; v++) {
                        partial[r * vectors + v] = VEC_FMA(one, w[v], partial[r * vectors + v]);
                    }
                }
            }
            x += input_k_stride;
            weights += weights_k_stride;
        }
        input += tile->chunk_stride;
    }
    if (tile->is_last) {
        NAME(store_sums)(tile, rows, vectors, partial, 1);
    } else {
        NAME(store_sums)(tile, rows, vectors, partial, 0);
    }
}

/* Some vectors of one row: the chains of the four gates hide one another's latency. */
static LSTM_INLINE void NAME(gates_row_part)(const PRODUCT *tile, const int vectors, ptrdiff_t first) {
    const ptrdiff_t depth = tile->depth;
    const ptrdiff_t stride = tile->weights_k_stride;
    const ptrdiff_t gate_stride = tile->input_row_stride;
    const REAL *const input = tile->input;
    const REAL *weights = tile->weights + first;
    VEC partial[GATE_COUNT * LSTM_MAX_PRODUCT_VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < GATE_COUNT * vectors; v++) {
        partial[v] = VEC_ZERO();
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
#pragma GCC unroll 4
        for (int g = 0; g < GATE_COUNT; g++) {
            const VEC x = VEC_SET1(input[g * gate_stride + k]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                partial[g * vectors + v] =
                    VEC_FMA(x, VEC_LOAD(weights + g * depth * stride + v * LANES), partial[g * vectors + v]);
            }
        }
        weights += stride;
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        VEC sum = VEC_LOAD(tile->start + first + v * LANES);
#pragma GCC unroll 4
        for (int g = 0; g < GATE_COUNT; g++) {
            sum = VEC_ADD(sum, partial[g * vectors + v]);
        }
        VEC_STORE(tile->sums + first + v * LANES, sum);
    }
}

static LSTM_INLINE void NAME(gates_row)(const PRODUCT *tile, const int vectors) {
    int v = 0;
    for (; v + ROW_VECTORS <= vectors; v += ROW_VECTORS) {
        NAME(gates_row_part)(tile, ROW_VECTORS, v * LANES);
    }
    if (v < vectors) {
        NAME(gates_row_part)(tile, vectors % ROW_VECTORS, v * LANES);
    }
}

#define DEFINE_GATES_ROW(VECTORS)                                                                            \
    static void NAME(gates_row_##VECTORS)(const PRODUCT *tile) { NAME(gates_row)(tile, VECTORS); }
DEFINE_GATES_ROW(1)
DEFINE_GATES_ROW(2)
DEFINE_GATES_ROW(3)
DEFINE_GATES_ROW(4)

#define DEFINE_PRODUCT(ROWS, VECTORS, COLUMNS)                                                               \
    static void LSTM_KERNEL(DTYPE, product, ROWS##x##COLUMNS, ISA)(const PRODUCT *tile) {                    \
        _Static_assert((COLUMNS) == (VECTORS)*LANES, "the name tells the tile");                             \
        NAME(product)(tile, ROWS, VECTORS);                                                                  \
    }
LSTM_PRODUCTS(DEFINE_PRODUCT)

static void LSTM_MAP(DTYPE, copy_rows, ISA)(const REAL *source, ptrdiff_t stride, ptrdiff_t rows,
                                            ptrdiff_t count, REAL *target, ptrdiff_t width) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t k = 0; k < width; k += LANES) {
            VEC values = VEC_ZERO();
            if (k < count) {
                values = NAME(load_columns)(source + k, count - k < LANES ? count - k : LANES);
            }
            VEC_STORE(target + k, values);
        }
        source += stride;
        target += width;
    }
}

/* `turn` of at most LANES rows. */
static LSTM_INLINE void NAME(turn_block)(const REAL *source, ptrdiff_t source_stride, ptrdiff_t rows,
                                         ptrdiff_t columns, REAL *target, ptrdiff_t target_stride) {
    VEC block[LANES];
#pragma GCC unroll 16
    for (int k = 0; k < LANES; k++) {
        block[k] = k < rows ? NAME(load_columns)(source + k * source_stride, columns) : VEC_ZERO();
    }
    VEC_TRANSPOSE(block);
#pragma GCC unroll 16
    for (int k = 0; k < LANES; k++) {
        if (k < columns) {
            NAME(store_columns)(target + k * target_stride, rows, block[k]);
        }
    }
}

/* target (columns, rows) = source (rows, columns), columns at most LANES. */
static void LSTM_MAP(DTYPE, turn, ISA)(const REAL *source, ptrdiff_t source_stride, ptrdiff_t rows,
                                       ptrdiff_t columns, REAL *target, ptrdiff_t target_stride) {
    ptrdiff_t r = 0;
    if (columns == LANES) {
        for (; r + LANES <= rows; r += LANES) {
            NAME(turn_block)
            (source + r * source_stride, source_stride, LANES, LANES, target + r, target_stride);
        }
    }
    if (columns > LANES / 4) { /* fewer are turned number by number as fast */
        for (; r + LANES / 4 < rows; r += LANES) {
            const ptrdiff_t count = rows - r < LANES ? rows - r : LANES;
            NAME(turn_block)
            (source + r * source_stride, source_stride, count, columns, target + r, target_stride);
        }
    }
    for (ptrdiff_t c = 0; c < columns; c++) {
        for (ptrdiff_t k = r; k < rows; k++) {
            target[c * target_stride + k] = source[k * source_stride + c];
        }
    }
}
