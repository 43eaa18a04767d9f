/* Products of the gates: rows x panels in registers, whatever the weights are kept in.
 *
 * Included by kernels_impl.h for each dtype; narrow_tiles.h makes the tiles of 16 bits of the same body. */

#if REAL_BITS == 32
/* w (4, LANES) = the gates of one k, kept in 16 bits; `format` is LSTM_BFLOAT16 or LSTM_FLOAT16. */
static LSTM_INLINE void NAME(widen_gates)(const uint16_t *packed, const int format, VEC *w) {
    if (format == LSTM_BFLOAT16) {
        VEC_WIDEN_bfloat16(packed, w);
    } else {
        VEC_WIDEN_float16(packed, w);
    }
}
#endif

/* sums (rows, panels, 4, LANES) = start + input (rows, depth) . weights (panels, depth, 4, LANES), in blocks of
 * `sum_block` k; `format` is how the weights are kept: those of 16 bits are widened in registers.
 * `rows`, `panels` and `format` are constants after inlining, so that the block's accumulators live in registers. */
static LSTM_INLINE void NAME(accumulate)(const TILE_ARGUMENTS *tile, const int rows, const int panels,
                                         const int format, REAL *sums, ptrdiff_t sums_row_stride,
                                         ptrdiff_t sums_panel_stride, ptrdiff_t sum_block) {
    const REAL *const input = tile->input;
    const REAL *const weights = tile->weights;
    const ptrdiff_t input_row_stride = tile->input_row_stride;
    const ptrdiff_t weights_panel_stride = tile->weights_panel_stride;
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
        const char *const prefetch = (const char *)tile->prefetch;
        for (ptrdiff_t k = block; k < end; k++) {
            /* A tall tile leaves time for it; in a low one it only takes the place of a load. */
            if (format == LSTM_FULL && rows > 1 && 2 * rows > ROW_TILE) {
                VEC_PREFETCH(prefetch + (k - block) * LSTM_CACHE_LINE);
            }
            VEC x[ROW_TILE];
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                x[r] = VEC_SET1(input[r * input_row_stride + k]);
            }
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) {
#if REAL_BITS == 32
                VEC wide[GATE_COUNT];
                if (format != LSTM_FULL) {
                    const uint16_t *const packed = (const uint16_t *)(const void *)weights;
                    const ptrdiff_t place = 2 * p * weights_panel_stride + k * GATE_COUNT * LANES;
                    NAME(widen_gates)(packed + place, format, wide);
                }
#endif
#pragma GCC unroll 4
                for (int g = 0; g < GATE_COUNT; g++) {
                    VEC w;
#if REAL_BITS == 32
                    if (format != LSTM_FULL) {
                        w = wide[g];
                    } else
#endif
                    {
                        w = VEC_LOAD(weights + p * weights_panel_stride + (k * GATE_COUNT + g) * LANES);
                        if (rows > 1) {
                            VEC_IN_REGISTER(w);
                        }
                    }
#pragma GCC unroll 6
                    for (int r = 0; r < rows; r++) {
                        const int v = (r * panels + p) * GATE_COUNT + g;
                        partial[v] = VEC_FMA(x[r], w, partial[v]);
                    }
                }
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) {
#pragma GCC unroll 4
                for (int g = 0; g < GATE_COUNT; g++) {
                    const VEC before =
                        VEC_LOAD(running + r * running_row_stride + p * running_panel_stride + g * LANES);
                    VEC_STORE(sums + r * sums_row_stride + p * sums_panel_stride + g * LANES,
                              VEC_ADD(before, partial[(r * panels + p) * GATE_COUNT + g]));
                }
            }
        }
        running = sums;
        running_row_stride = sums_row_stride;
        running_panel_stride = sums_panel_stride;
        block = end;
    } while (block < tile->depth);
}

/* tile->sums (rows, panels, 4, LANES) = start + input . weights */
static LSTM_INLINE void NAME(gates)(const TILE_ARGUMENTS *tile, const int rows, const int panels) {
    NAME(accumulate)
    (tile, rows, panels, LSTM_FULL, tile->sums, tile->sums_row_stride, tile->sums_panel_stride,
     LSTM_SUM_BLOCK);
}
