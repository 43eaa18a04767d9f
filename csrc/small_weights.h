/* The contract of the kernels for small weights: bfloat16, float16 and int8; docs/numbers.md has their numbers.
 *
 * Shapes are those of lstm_kernels.h; all is float32 but the weights of gates, and in 16 bits of a projection:
 *   bfloat16  [panel][k][gate / 2][lane][gate % 2]   two gates in each word of 32 bits
 *   float16   [panel][k][gate][lane]
 *   int8      [panel][k / 4][gate][lane][k % 4]      zeros past the last k
 * Every pointer may have any alignment its element type has.  As all kernels they run in the mode of
 * lstm_fp_enter(), allocate nothing and cannot fail.
 */
#ifndef LSTM_SMALL_WEIGHTS_H
#define LSTM_SMALL_WEIGHTS_H

#include "lstm_kernels.h"

#include <string.h>

/* How the weights of a net are kept; PRECISIONS in lstm/core/precision.py is the same order. */
enum { LSTM_FULL, LSTM_BFLOAT16, LSTM_FLOAT16, LSTM_INT8 };

/* Of weights in 16 bits; sums are those of float32 weights, in the same order. */
struct lstm_narrow_kernels {
    /* wide (depth, 4, LANES) = so many k of a panel of packed weights, exactly */
    void (*widen)(const void *weights, ptrdiff_t depth, float *wide);
    /* Tiles whose weights are packed, in blocks of tile->sum_block: of one row or of all rows, or none; where
     * there are none, weights are widened first. */
    lstm_f32_tile_kernel gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1];
    lstm_f32_tile_kernel step[LSTM_MAX_PANELS + 1]; /* of one row, by panels */
    ptrdiff_t row_steps_panels;                     /* as in lstm_f32_kernels */
    lstm_f32_row_kernel row_steps;                  /* NULL where an ISA has none */
};

/* k of a group of int8 weights, which one product takes. */
enum { LSTM_INT8_GROUP = 4 };

/* A group of an input's integers of 8 bits as one number. */
static inline int32_t four_integers(const char *p) {
    int32_t integers;
    memcpy(&integers, p, sizeof integers);
    return integers;
}

/* sums = start + input_scales scales (input . weights), the product an exact sum of integers: one float32 product
 * of both scales, one fused multiply-add.  Strides are in elements, but those of input and weights in bytes. */
typedef struct {
    const char *input; /* (rows, groups, 4): integers as `quantize` writes them */
    ptrdiff_t input_row_stride;
    const float *input_scales; /* (rows,) */
    ptrdiff_t input_scales_stride;
    ptrdiff_t groups;      /* at least 1 */
    const int8_t *weights; /* (panels, groups, 4, LANES, 4) */
    ptrdiff_t weights_panel_stride;
    const float *scales;    /* (panels, 4, LANES) */
    const int32_t *offsets; /* (panels, 4, LANES): -128 times the sum of the integers of a unit and gate */
    const float *start;     /* (rows, panels, 4, LANES) */
    ptrdiff_t start_row_stride;
    ptrdiff_t start_panel_stride;
    float *sums; /* (rows, panels, 4, LANES), may be `start` */
    ptrdiff_t sums_row_stride;
    ptrdiff_t sums_panel_stride;
} lstm_int8_tile;

typedef void (*lstm_int8_tile_kernel)(const lstm_int8_tile *tile);

/* All time steps of a row alone, of the default equations without a projection: lstm_f32_row of row_kernels.h
 * with int8 weights. */
typedef struct {
    ptrdiff_t steps;        /* at least 1 */
    ptrdiff_t depth;        /* features of h, as many as units */
    ptrdiff_t groups;       /* ceil(depth / 4) */
    ptrdiff_t panels;       /* ceil(depth / LANES) */
    const int8_t *weights;  /* (panels, groups, 4, LANES, 4) */
    const float *scales;    /* (panels, 4, LANES) */
    const int32_t *offsets; /* (panels, 4, LANES) */
    const float *start;     /* (steps, panels, 4, LANES): bias and x half */
    ptrdiff_t start_step_stride;
    float *cell;    /* (panels, LANES), in and out */
    float *hidden;  /* (panels, LANES), in and out */
    char *integers; /* (2, panels, LANES) integers: scratch memory */
    float *output;  /* (steps, depth), or NULL */
    ptrdiff_t output_step_stride;
    int forward; /* whether the first step walks the panels forward */
} lstm_int8_row;

typedef void (*lstm_int8_row_kernel)(const lstm_int8_row *row);

/* The products of int8 by one set of instructions.  All sets of an ISA have its lanes, and yield equal bits. */
struct lstm_int8_kernels {
    const char *name;
    int (*supported)(void);
    ptrdiff_t row_tile;
    ptrdiff_t panel_tile;
    ptrdiff_t integer_bytes; /* of one integer of an input */
    lstm_int8_tile_kernel gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1];
    /* x (n,) -> integers, room for n rounded up to 16 of them, zeros past n; and their scale.
     *   m = max(least, |x|): not finite: the scale is NaN; below 2^-119: all is zero; else
     *   scale = m / 127, integers = x (127 / m), rounded to the nearest, of two the even one */
    void (*quantize)(const float *x, ptrdiff_t n, float least, char *integers, float *scale);
    lstm_int8_row_kernel row_steps; /* NULL where a set has none */
};

extern const lstm_int8_kernels *const lstm_int8_generic[];
extern const lstm_int8_kernels *const lstm_int8_avx2[];
extern const lstm_int8_kernels *const lstm_int8_avx512[];
extern const lstm_int8_kernels *const lstm_int8_neon[];

#endif
