/* The contract of the kernels that do all time steps of a single row: the default equations, no projection.
 *
 * Weights, sums and states are laid out as in lstm_kernels.h.  Every pointer may have any alignment its element
 * type has; the states overlap nothing.  As all kernels they run in the mode of lstm_fp_enter(), allocate
 * nothing and cannot fail.
 */
#ifndef LSTM_ROW_KERNELS_H
#define LSTM_ROW_KERNELS_H

#include <stddef.h>

#include "records.h"

/* Strides are in elements. */
#define LSTM_DECLARE_ROW_TYPES(REAL, DTYPE)                                                                  \
    typedef struct {                                                                                         \
        ptrdiff_t steps;     /* at least 1 */                                                                \
        ptrdiff_t depth;     /* features of h, as many as units */                                           \
        ptrdiff_t panels;    /* ceil(depth / LANES) */                                                       \
        const REAL *weights; /* (panels, depth, 4, LANES) */                                                 \
        const REAL *start; /* (steps, panels, 4, LANES): bias and x half; the bias alone where x is given */ \
        ptrdiff_t start_panel_stride;                                                                        \
        ptrdiff_t start_step_stride;                                                                         \
        const REAL *x; /* (steps,) of a net of one input, or NULL; nets of one tile only */                  \
        ptrdiff_t x_step_stride;                                                                             \
        const REAL *x_weights; /* (panels, 4, LANES) */                                                      \
        REAL *cell;            /* (panels, LANES), in and out */                                             \
        REAL *hidden;          /* (panels, LANES), in and, of nets of one tile, out */                       \
        REAL *hidden_next;     /* (panels, LANES): h after odd numbers of steps; not of nets of one tile */  \
        REAL *output;          /* (steps, depth), or NULL */                                                 \
        ptrdiff_t output_step_stride;                                                                        \
        lstm_##DTYPE##_record record; /* from the first step on, cells after it */                           \
        int forward; /* whether the first step walks the panels forward; not of nets of one tile */          \
    } lstm_##DTYPE##_row;                                                                                    \
                                                                                                             \
    typedef void (*lstm_##DTYPE##_row_kernel)(const lstm_##DTYPE##_row *row);

LSTM_DECLARE_ROW_TYPES(float, f32)
LSTM_DECLARE_ROW_TYPES(double, f64)

#endif
