/* What the float and the double half of kernels_generic.c share: a vector of one lane. */
#define ROW_TILE 2
#define PANEL_TILE 2
#define LSTM_TILES(TILE) TILE(1, 1, 1) TILE(1, 2, 2) TILE(2, 1, 1)
#define PRODUCT_SUMS 8
#define ROW_VECTORS 2
#define LSTM_PRODUCT_ROWS                                                                                    \
    { 0, 2, 2, 2, 2 }
#define LSTM_PRODUCTS(TILE)                                                                                  \
    TILE(1, 1, 1)                                                                                            \
    TILE(2, 1, 1) TILE(1, 2, 2) TILE(2, 2, 2) TILE(1, 3, 3) TILE(2, 3, 3) TILE(1, 4, 4) TILE(2, 4, 4)
#define VEC REAL
#define LANES 1
#define VEC_SET1(a) ((REAL)(a))
#define VEC_ZERO() ((REAL)0)
#define VEC_LOAD(p) (*(p))
#define VEC_STORE(p, a) ((void)(*(p) = (a)))
#define VEC_TRANSPOSE(rows) ((void)(rows))
#define VEC_LOAD_FIRST(p, n) ((void)(n), *(p))
#define VEC_STORE_FIRST(p, n, a) ((void)(n), (void)(*(p) = (a)))
#define VEC_ADD(a, b) ((a) + (b))
#define VEC_SUB(a, b) ((a) - (b))
#define VEC_MUL(a, b) ((a) * (b))
#define VEC_DIV(a, b) ((a) / (b))
#define VEC_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VEC_MAX(a, b) ((a) > (b) ? (a) : (b))
#define VEC_SELECT_LESS(a, b, x, y) ((a) < (b) ? (x) : (y))
#define VEC_IN_REGISTER(a) ((void)(a))
#define VEC_PREFETCH(p) ((void)(p))
#include "kernels_impl.h"
