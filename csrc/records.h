/* What a recorded pass keeps for its gradients, by caller's time:
 *   gates     [panel][row][step][gate][lane]   i, f, g, o, overwritten by the gradients of their sums
 *   cells     [panel][row][step + 1][lane]     C before and after every step
 *   squashed  [panel][row][step][lane]         the activation of C, or codes of slopes (cell_update)
 */
#ifndef LSTM_RECORDS_H
#define LSTM_RECORDS_H

#include <stddef.h>

/* Strides are in steps, which are 4 LANES elements of gates and LANES of the others. */
#define LSTM_DECLARE_RECORD(REAL, DTYPE)                                                                     \
    typedef struct {                                                                                         \
        REAL *gates; /* NULL: nothing is recorded, and the others are not read */                            \
        REAL *cells;                                                                                         \
        REAL *squashed;                                                                                      \
        ptrdiff_t row_stride;                                                                                \
        ptrdiff_t panel_stride;                                                                              \
        ptrdiff_t cells_row_stride;                                                                          \
        ptrdiff_t cells_panel_stride;                                                                        \
        ptrdiff_t step_stride; /* in the order of computation: 1 or -1 */                                    \
        int has_codes;         /* squashed holds codes of slopes instead */                                  \
        int is_plain;          /* of the default equations */                                                \
    } lstm_##DTYPE##_record;

LSTM_DECLARE_RECORD(float, f32)
LSTM_DECLARE_RECORD(double, f64)

#endif
