/* The contract between the Cython driver (lstm/_kernel/) and the micro-kernels of each ISA.
 *
 * Shapes      I input, H hidden, LANES units in one vector, PANELS = ceil(H / LANES)
 *   weights   [panel][k][gate][lane]     k outermost inside a panel, gates in the order of GATE_*
 *   sums      [row][panel][gate][lane]   by strides; a row is a batch row or a time step
 *   states    [row][panel][lane]         rows padded to whole panels
 * records.h has what a recorded pass keeps for its gradients.
 *
 * A tile is `rows` x `panels`; its kernel yields all four gates of its units.  Kernel names decode as
 * lstm_<dtype>_<gates|step>_<rows>x<units>__<isa>; docs/kernels.md has the page on it.
 *
 * Every pointer may have any alignment its element type has.  `sums` may be `start`; the states may not
 * overlap the input.  Kernels run in the mode of lstm_fp_enter(), allocate nothing and cannot fail.
 */
#ifndef LSTM_KERNELS_H
#define LSTM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "row_kernels.h"

#ifdef __FAST_MATH__
#error "lstm promises the same bits everywhere: build it without -ffast-math"
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#error "the C of lstm is that of GCC and clang: build it with clang-cl on Windows"
#endif
#ifdef __MINGW32__
#error "fmaf of MinGW rounds twice, which gives other bits: build lstm with clang-cl on Windows"
#endif

#if defined(__x86_64__) /* which MSVC does not define, but clang-cl */
#define LSTM_X86 1
#else
#define LSTM_X86 0
#endif
#ifdef __aarch64__
#define LSTM_ARM64 1
#else
#define LSTM_ARM64 0
#endif

/* The four gates of a panel, in PyTorch's order; GATES in lstm/core/ is the same order. */
enum { GATE_I, GATE_F, GATE_G, GATE_O, GATE_COUNT };

enum {
    /* Products are summed in blocks of this many k, each from zero: part of the contract of the numbers. */
    LSTM_SUM_BLOCK = 128,
    /* But an h half of at most so many k in two blocks, the first of ceil(depth / 2): a row alone has their
     * chains side by side. */
    LSTM_SHORT_SUM = 16,
    LSTM_CACHE_LINE = 64,
    /* Bounds of every ISA's tiles; the table of an ISA is empty where it has no such tile. */
    LSTM_MAX_ROWS = 6,
    LSTM_MAX_PANELS = 3,
    /* The same for products: rows, and vectors of columns. */
    LSTM_MAX_PRODUCT_ROWS = 12,
    LSTM_MAX_PRODUCT_VECTORS = 4,
    /* Places into which a sum of squares is spread, whatever the ISA. */
    LSTM_SQUARES = 16
};

/* Product kernels of 1 to so many rows, for the lists of an ISA. */
#define LSTM_ROWS_3(TILE, vectors, columns)                                                                  \
    TILE(1, vectors, columns) TILE(2, vectors, columns) TILE(3, vectors, columns)
#define LSTM_ROWS_4(TILE, vectors, columns) LSTM_ROWS_3(TILE, vectors, columns) TILE(4, vectors, columns)
#define LSTM_ROWS_5(TILE, vectors, columns) LSTM_ROWS_4(TILE, vectors, columns) TILE(5, vectors, columns)
#define LSTM_ROWS_6(TILE, vectors, columns) LSTM_ROWS_5(TILE, vectors, columns) TILE(6, vectors, columns)
#define LSTM_ROWS_8(TILE, vectors, columns)                                                                  \
    LSTM_ROWS_6(TILE, vectors, columns) TILE(7, vectors, columns) TILE(8, vectors, columns)
#define LSTM_ROWS_12(TILE, vectors, columns)                                                                 \
    LSTM_ROWS_8(TILE, vectors, columns)                                                                      \
    TILE(9, vectors, columns) TILE(10, vectors, columns) TILE(11, vectors, columns) TILE(12, vectors, columns)

/* The functions of the ONNX operator, for gates, candidate and cell output; lstm/core/activations.py
 * holds the same order. */
enum {
    LSTM_SIGMOID,
    LSTM_TANH,
    LSTM_RELU,
    LSTM_AFFINE,
    LSTM_LEAKY_RELU,
    LSTM_THRESHOLDED_RELU,
    LSTM_SCALED_TANH,
    LSTM_HARD_SIGMOID,
    LSTM_ELU,
    LSTM_SOFTSIGN,
    LSTM_SOFTPLUS,
    LSTM_ACTIVATION_COUNT
};

/* What a long call needs to hear signals between slices of its work. */
typedef struct {
    uint64_t mode;  /* the floating-point mode that the thread came with */
    int64_t heard;  /* when signals were heard last, in nanoseconds; 0: not yet */
    ptrdiff_t work; /* since the last look at the clock */
    int hears_signals;
    const int *is_stopped; /* nonzero once the team is to give up; or NULL */
} lstm_slice;

/* Of small weights: small_weights.h. */
typedef struct lstm_narrow_kernels lstm_narrow_kernels;
typedef struct lstm_int8_kernels lstm_int8_kernels;

/* Strides are in elements.
 * A variant is what the cell update does beyond the default equations.
 * A tile is the arguments of one micro-kernel:
 *   sums = start + input . weights, block by block            (gates, step)
 *   cell, hidden, output = one LSTM step from these sums      (step)
 * A step kernel does several time steps if the tile is a whole net, whose `input` is then `hidden`.
 * A pass is what the driver works on: one layer, all time steps, some batch rows.
 * A product is the arguments of a product kernel: sums = start + input . weights, one block of k
 * A cell gradient is those of cell_backward: one step of the cell, from its last operation to its first
 * A backward pass is what the driver of the gradients works on: one layer, all rows, all time steps. */
#define LSTM_DECLARE_TYPES(REAL, DTYPE)                                                                           \
    typedef struct {                                                                                              \
        int kind;                                                                                                 \
        REAL alpha;                                                                                               \
        REAL beta;                                                                                                \
    } lstm_##DTYPE##_activation;                                                                                  \
                                                                                                                  \
    typedef struct {                                                                                              \
        lstm_##DTYPE##_activation gates;                                                                          \
        lstm_##DTYPE##_activation candidate;                                                                      \
        lstm_##DTYPE##_activation cell_output;                                                                    \
        REAL clip;      /* bound of the sums before their activation; infinite: none */                           \
        REAL cell_clip; /* bound of C after its update; infinite: none */                                         \
        int input_forget;                                                                                         \
    } lstm_##DTYPE##_variant;                                                                                     \
                                                                                                                  \
    typedef struct {                                                                                              \
        const REAL *input; /* (rows, depth) */                                                                    \
        ptrdiff_t input_row_stride;                                                                               \
        ptrdiff_t depth;     /* at least 1 */                                                                     \
        const REAL *weights; /* (panels, depth, 4, LANES) */                                                      \
        ptrdiff_t weights_panel_stride;                                                                           \
        const REAL *prefetch; /* weights to bring into L2 meanwhile, a cache line at each k */                    \
        const REAL *start;    /* (rows, panels, 4, LANES) */                                                      \
        ptrdiff_t start_row_stride;                                                                               \
        ptrdiff_t start_panel_stride;                                                                             \
        REAL *sums; /* (rows, panels, 4, LANES), gates only */                                                    \
        ptrdiff_t sums_row_stride;                                                                                \
        ptrdiff_t sums_panel_stride;                                                                              \
        REAL *cell;   /* (rows, panels, LANES), in and out; step only, as all below */                            \
        REAL *hidden; /* (rows, panels, LANES), out */                                                            \
        ptrdiff_t state_row_stride;                                                                               \
        REAL *output; /* (rows, output_units), or NULL */                                                         \
        ptrdiff_t output_row_stride;                                                                              \
        ptrdiff_t output_units;                /* units from the tile's first one to the net's last one */        \
        const lstm_##DTYPE##_variant *variant; /* NULL: default equations; needed for what follows */             \
        const REAL *peephole;                  /* (panels, 3, LANES) in the order i, f, o, or NULL */             \
        REAL *trace; /* (5, rows, output_units): i, f, g, o, C as computed, or NULL */                            \
        ptrdiff_t trace_gate_stride;                                                                              \
        ptrdiff_t trace_row_stride;                                                                               \
        lstm_##DTYPE##_record record; /* from the tile's first row, panel and step on; cells after it */          \
        ptrdiff_t sum_block;          /* k of a block of sums; in gates LSTM_SUM_BLOCK */                         \
        ptrdiff_t steps; /* at least 1; from one to the next start, output, trace, record go on by: */            \
        ptrdiff_t start_step_stride;                                                                              \
        ptrdiff_t output_step_stride;                                                                             \
        ptrdiff_t trace_step_stride;                                                                              \
    } lstm_##DTYPE##_tile;                                                                                        \
                                                                                                                  \
    /* A step kernel of several steps leaves start, output, trace and record at the last. */                      \
    typedef void (*lstm_##DTYPE##_tile_kernel)(lstm_##DTYPE##_tile * tile);                                       \
    typedef void (*lstm_##DTYPE##_map_kernel)(const REAL *x, REAL *y, ptrdiff_t n);                               \
                                                                                                                  \
    typedef struct {                                                                                              \
        const REAL *input; /* (rows, depth): k in chunks of `chunk`, from one to the next chunk_stride */         \
        ptrdiff_t input_row_stride;                                                                               \
        ptrdiff_t input_k_stride;                                                                                 \
        ptrdiff_t chunk;                                                                                          \
        ptrdiff_t chunk_stride;                                                                                   \
        ptrdiff_t depth;     /* 1 to LSTM_SUM_BLOCK */                                                            \
        const REAL *weights; /* (depth, vectors, LANES) */                                                        \
        ptrdiff_t weights_k_stride;                                                                               \
        const REAL *start; /* (rows, columns) */                                                                  \
        ptrdiff_t start_row_stride;                                                                               \
        REAL *sums; /* (rows, columns) */                                                                         \
        ptrdiff_t sums_row_stride;                                                                                \
        ptrdiff_t last_lanes; /* columns in the last vector, 1 to LANES: no others are read or written */         \
        int is_last;          /* NaNs are made the contract's */                                                  \
        const REAL *prefetch; /* to bring into L2 meanwhile, a cache line at each k */                            \
    } lstm_##DTYPE##_product;                                                                                     \
                                                                                                                  \
    typedef struct {                                                                                              \
        ptrdiff_t rows;                                                                                           \
        ptrdiff_t panels;                                                                                         \
        ptrdiff_t units; /* of the net */                                                                         \
        int reverse;                                                                                              \
        int projects; /* squashed becomes h before its projection */                                              \
        int prefetch; /* steps to the one whose record and d_output come into L2 meanwhile, or 0 */               \
        lstm_##DTYPE##_record record; /* at the step; cells before it or, if reverse, after it */                 \
        const ptrdiff_t *order;       /* the rows of d_output and the norms, or NULL */                           \
        const REAL *d_output;         /* (caller's rows, units), or NULL */                                       \
        ptrdiff_t d_output_row_stride;                                                                            \
        ptrdiff_t d_output_step_stride;                                                                           \
        const REAL *d_hidden; /* (rows, panels, LANES) */                                                         \
        REAL *d_cell;         /* (rows, panels, LANES), in and out */                                             \
        REAL *d_sums;         /* (rows, 4, panels, LANES), out */                                                 \
        ptrdiff_t d_sums_row_stride;                                                                              \
        REAL *hidden_norms; /* (caller's rows,) of dh, or NULL */                                                 \
        REAL *cell_norms;   /* (caller's rows,) of dC */                                                          \
        ptrdiff_t norms_row_stride;                                                                               \
        const lstm_##DTYPE##_variant *variant; /* NULL: default equations */                                      \
        const REAL *peephole;                  /* (panels, 3, LANES), or NULL */                                  \
    } lstm_##DTYPE##_cell_gradient;                                                                               \
                                                                                                                  \
    typedef void (*lstm_##DTYPE##_product_kernel)(const lstm_##DTYPE##_product *tile);                            \
                                                                                                                  \
    typedef struct {                                                                                              \
        ptrdiff_t lanes;                                                                                          \
        ptrdiff_t row_tile;   /* most rows of a tile of one panel */                                              \
        ptrdiff_t panel_tile; /* most panels of a tile of one row */                                              \
        lstm_##DTYPE##_tile_kernel gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1];                                 \
        lstm_##DTYPE##_tile_kernel step[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1];                                  \
        /* The cell update of a step kernel, from tile->sums, which lie close together and are changed */         \
        void (*update)(const lstm_##DTYPE##_tile *tile, ptrdiff_t rows, ptrdiff_t panels);                        \
        lstm_##DTYPE##_map_kernel sigmoid; /* (n,) -> (n,), x may be y */                                         \
        lstm_##DTYPE##_map_kernel tanh;                                                                           \
        /* All steps of a single row; NULL where an ISA has none. */                                              \
        ptrdiff_t net_panels; /* most panels of a net of one tile for row_net */                                  \
        lstm_##DTYPE##_row_kernel row_net;                                                                        \
        ptrdiff_t row_steps_panels; /* from how many panels on row_steps is faster than tile after tile */        \
        lstm_##DTYPE##_row_kernel row_steps;                                                                      \
        ptrdiff_t product_rows[LSTM_MAX_PRODUCT_VECTORS + 1]; /* most rows of a product of these vectors */       \
        lstm_##DTYPE##_product_kernel product[LSTM_MAX_PRODUCT_ROWS + 1][LSTM_MAX_PRODUCT_VECTORS + 1];           \
        /* sums (columns) = start + input (4, depth) . weights (4, depth, vectors, LANES): one row, each gate   \
         * from zero, all four side by side, in order added; the gates of input are input_row_stride apart */ \
        lstm_##DTYPE##_product_kernel gates_row[LSTM_MAX_PRODUCT_VECTORS + 1];                                    \
        void (*cell_backward)(const lstm_##DTYPE##_cell_gradient *step);                                          \
        /* h before its projection, (panels, LANES), of a row whose step has not gone backward yet */             \
        void (*cell_output)(const lstm_##DTYPE##_cell_gradient *step, ptrdiff_t row, REAL *output);               \
        /* x (n,) += y (n,) or, if that is NULL, nothing; the Euclidean norm of x */                              \
        REAL (*add_norm)(REAL * x, const REAL *y, ptrdiff_t n);                                                   \
        /* target (columns, rows) = source (rows, columns), columns at most LANES */                              \
        void (*turn)(const REAL *source, ptrdiff_t source_stride, ptrdiff_t rows, ptrdiff_t columns,              \
                     REAL *target, ptrdiff_t target_stride);                                                      \
        /* target (rows, width) = source (rows, count), zeros past count; width is whole vectors */               \
        void (*copy_rows)(const REAL *source, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t count,                  \
                          REAL *target, ptrdiff_t width);                                                         \
        /* sums (3, LANES) += products of gates' gradients (steps, 4, LANES) with C (steps + 1, LANES) */         \
        void (*peephole_sums)(const REAL *gates, const REAL *cells, ptrdiff_t steps, int reverse,                 \
                              REAL *sums);                                                                        \
    } lstm_##DTYPE##_kernels;                                                                                     \
                                                                                                                  \
    typedef struct {                                                                                              \
        const lstm_##DTYPE##_kernels *kernels;                                                                    \
        ptrdiff_t rows;  /* batch rows of this pass */                                                            \
        ptrdiff_t batch; /* those that are at work: the first ones, fewer if lengths differ */                    \
        ptrdiff_t time;                                                                                           \
        ptrdiff_t input_size;                                                                                     \
        ptrdiff_t hidden_size;                                                                                    \
        ptrdiff_t state_size; /* features of h: hidden_size, or fewer after a projection */                       \
        ptrdiff_t panels;                                                                                         \
        ptrdiff_t projection_panels; /* of 4 LANES features of h each; 0: no projection */                        \
        double proj_clip;            /* bound of h after its projection; infinite: none */                        \
        lstm_slice slice;                                                                                         \
        ptrdiff_t state_width;                 /* a row of hidden, padded */                                      \
        const REAL *input_weights;             /* (panels, input_size, 4, LANES), or small */                     \
        const REAL *hidden_weights;            /* (panels, state_size, 4, LANES), or small */                     \
        const REAL *bias;                      /* (panels, 4, LANES) */                                           \
        const REAL *projection;                /* (projection_panels, hidden_size, 4, LANES) */                   \
        const REAL *peephole;                  /* (panels, 3, LANES), or NULL */                                  \
        const lstm_##DTYPE##_variant *variant; /* or NULL */                                                      \
        /* Steps in the order of computation: strides over time are negative if a net runs from the end. */       \
        const REAL *input; /* (batch, time, input_size) */                                                        \
        ptrdiff_t input_batch_stride;                                                                             \
        ptrdiff_t input_time_stride;                                                                              \
        REAL *output; /* (batch, time, state_size), or NULL */                                                    \
        ptrdiff_t output_batch_stride;                                                                            \
        ptrdiff_t output_time_stride;                                                                             \
        REAL *trace; /* (5, batch, time, hidden_size), or NULL */                                                 \
        ptrdiff_t trace_gate_stride;                                                                              \
        ptrdiff_t trace_batch_stride;                                                                             \
        ptrdiff_t trace_time_stride;                                                                              \
        lstm_##DTYPE##_record record; /* from the first row of this pass on */                                    \
        const REAL *recurrent;        /* (caller's rows, state_size): factors of h before a step, or NULL */      \
        REAL *masked;                 /* (rows, state_width): h times these factors */                            \
        const ptrdiff_t *order;       /* the caller's rows, longest first, or NULL: all of `time` steps */        \
        const ptrdiff_t *lengths;     /* of the caller's rows */                                                  \
        int reverse;                                                                                              \
        ptrdiff_t block_time;    /* steps whose x half is one product */                                          \
        ptrdiff_t row_panels;    /* most panels of a tile of one row in this net */                               \
        const REAL *block_input; /* (steps of a block, batch, input_size) */                                      \
        ptrdiff_t block_batch_stride;                                                                             \
        ptrdiff_t block_time_stride;                                                                              \
        REAL *gathered; /* (block_time, rows, input_size): a block's input in `order`; or of wide_inputs */       \
        /* (block_time, panels, rows, 4, LANES); of one tile's panels only if block_time is 1 */                  \
        REAL *sums;                                                                                               \
        REAL *hidden;       /* (rows, state_width): h before the step */                                          \
        REAL *hidden_next;  /* the same after it */                                                               \
        REAL *cell;         /* (rows, panels, LANES) */                                                           \
        REAL *cell_output;  /* (rows, panels, LANES): h before its projection */                                  \
        REAL *zeros;        /* (4, LANES) */                                                                      \
        REAL *state_hidden; /* (caller's rows, state_size): h, in and out */                                      \
        REAL *state_cell;   /* (caller's rows, hidden_size): C, in and out */                                     \
        /* Small weights. */                                                                                      \
        ptrdiff_t weight_row;     /* elements of REAL that the packed weights of a k and a panel take */          \
        ptrdiff_t projection_row; /* the same of the projection */                                                \
        ptrdiff_t input_depth;    /* k that are packed: input_size, or more */                                    \
        ptrdiff_t hidden_depth;   /* the same of state_size */                                                    \
        const lstm_narrow_kernels *narrow; /* NULL: not of 16 bits */                                             \
        int reads_packed;              /* whether tiles of one row read 16 bits; else they are widened */         \
        REAL *wide;                    /* (LSTM_SUM_BLOCK, 4, LANES) */                                           \
        const lstm_int8_kernels *int8; /* NULL: not of int8 */                                                    \
        const float *input_scales;     /* (panels, 4, LANES) */                                                   \
        const float *hidden_scales;    /* (panels, 4, LANES) */                                                   \
        const int32_t *input_offsets;  /* (panels, 4, LANES) */                                                   \
        const int32_t *hidden_offsets; /* (panels, 4, LANES) */                                                   \
        float least_hidden;            /* the least that counts as the largest |h| of a row: 1 or 0 */            \
        char *input_integers;         /* (block_time, batch) of input_size integers, as `quantize` writes */      \
        float *integer_scales;        /* (block_time, batch) */                                                   \
        char *hidden_integers;        /* (batch) of state_size integers */                                        \
        float *hidden_integer_scales; /* (batch,) */                                                              \
        lstm_##DTYPE##_tile tile;                                                                                 \
    } lstm_##DTYPE##_pass;                                                                                        \
                                                                                                                  \
    typedef struct {                                                                                              \
        const lstm_##DTYPE##_kernels *kernels;                                                                    \
        lstm_slice slice;                                                                                         \
        ptrdiff_t batch;                                                                                          \
        ptrdiff_t time;                                                                                           \
        ptrdiff_t rows;        /* of a pass */                                                                    \
        ptrdiff_t first_row;   /* of a pass, in the record */                                                     \
        ptrdiff_t active;      /* of these, those that have the step at work: the first ones */                   \
        ptrdiff_t first_panel; /* of the units whose gradients of the weights are added */                        \
        ptrdiff_t end_panel;                                                                                      \
        ptrdiff_t input_size;                                                                                     \
        ptrdiff_t hidden_size;                                                                                    \
        ptrdiff_t state_size;                                                                                     \
        ptrdiff_t panels;                                                                                         \
        ptrdiff_t hidden_width; /* features of h and */                                                           \
        ptrdiff_t cell_width;   /* units, both padded to vectors */                                               \
        ptrdiff_t d_sums_width;                                                                                   \
        ptrdiff_t gathered_steps;                                                                                 \
        int reverse;                                                                                              \
        double proj_clip;                                                                                         \
        const lstm_##DTYPE##_variant *variant;                                                                    \
        const REAL *peephole;                                                                                     \
        const REAL *input_weights; /* packed, as those of a pass */                                               \
        const REAL *hidden_weights;                                                                               \
        const REAL *projection;                                                                                   \
        const ptrdiff_t *order;   /* (batch,): caller's rows, longest first, or NULL */                           \
        const ptrdiff_t *lengths; /* (batch,) of the caller's rows */                                             \
        /* The pass, by caller's rows and time. */                                                                \
        const REAL *input; /* (batch, time, input_size) */                                                        \
        ptrdiff_t input_batch_stride;                                                                             \
        ptrdiff_t input_time_stride;                                                                              \
        const REAL *output; /* (batch, time, state_size): h */                                                    \
        ptrdiff_t output_batch_stride;                                                                            \
        ptrdiff_t output_time_stride;                                                                             \
        const REAL *first_hidden;     /* (batch, state_size): h before the first step */                          \
        const REAL *recurrent;        /* (batch, state_size), or NULL */                                          \
        lstm_##DTYPE##_record record; /* rows in `order` */                                                       \
        /* Gradients, by caller's rows and time. */                                                               \
        const REAL *d_output; /* (batch, time, state_size), or NULL */                                            \
        ptrdiff_t d_output_batch_stride;                                                                          \
        ptrdiff_t d_output_time_stride;                                                                           \
        REAL *d_state_hidden; /* (batch, state_size), in and out */                                               \
        REAL *d_state_cell;   /* (batch, hidden_size), in and out */                                              \
        REAL *d_input;        /* (batch, time, input_size), or NULL */                                            \
        REAL *norms;          /* (2, batch, time) */                                                              \
        ptrdiff_t norms_kind_stride;                                                                              \
        ptrdiff_t norms_batch_stride;                                                                             \
        /* Of the weights, added to; NULL if not asked for. From one row's to the next these strides, or 0. */    \
        REAL *d_input_weights; /* (4, hidden_size, input_size) */                                                 \
        REAL *d_hidden_weights;                                                                                   \
        REAL *d_bias;                                                                                             \
        REAL *d_peephole;   /* (3, hidden_size), or NULL */                                                       \
        REAL *d_projection; /* (state_size, hidden_size), or NULL */                                              \
        ptrdiff_t d_input_weights_stride;                                                                         \
        ptrdiff_t d_hidden_weights_stride;                                                                        \
        ptrdiff_t d_bias_stride;                                                                                  \
        ptrdiff_t d_peephole_stride;                                                                              \
        ptrdiff_t d_projection_stride;                                                                            \
        /* Scratch memory. */                                                                                     \
        REAL *zeros;           /* (4, LANES) */                                                                   \
        REAL *ones;            /* (1,) */                                                                         \
        REAL *hidden_columns;  /* W_h as products with gates take it */                                           \
        REAL *input_columns;   /* W_x, likewise */                                                                \
        REAL *projection_rows; /* W_hr as products with dh take it */                                             \
        REAL *d_hidden;        /* (rows, hidden_width) */                                                         \
        REAL *d_cell_output;   /* (rows, cell_width): of h before its projection */                               \
        REAL *d_cell;          /* (rows, cell_width) */                                                           \
        REAL *d_sums;          /* (rows, d_sums_width) */                                                         \
        REAL *d_hidden_steps;  /* (batch, time, state_size), with a projection and weights */                     \
        REAL *cell_output;     /* (cell_width,), with proj_clip */                                                \
        REAL *projected;       /* (hidden_width,), with proj_clip */                                              \
        REAL *d_step_input;    /* (rows, input_size), with d_input and rows in another order */                   \
        REAL *gathered;        /* (gathered_steps, 4, LANES): features of x or h */                               \
        REAL *packed;          /* (panels, features, 4, LANES): sums of a few features */                         \
        lstm_##DTYPE##_product product;                                                                           \
        lstm_##DTYPE##_cell_gradient step;                                                                        \
    } lstm_##DTYPE##_backward;

LSTM_DECLARE_TYPES(float, f32)
LSTM_DECLARE_TYPES(double, f64)

typedef struct {
    const char *name;
    int (*supported)(void); /* by this CPU and its operating system */
    const lstm_f32_kernels *f32;
    const lstm_f64_kernels *f64;
    const lstm_narrow_kernels *bfloat16;
    const lstm_narrow_kernels *(*float16)(void); /* by what converts it on this CPU */
    const lstm_int8_kernels *const *int8; /* the fastest first, NULL at the end; the last one always runs */
} lstm_isa;

extern const lstm_isa lstm_isa_generic;
extern const lstm_isa lstm_isa_avx2;
extern const lstm_isa lstm_isa_avx512;
extern const lstm_isa lstm_isa_neon;

/* The ISAs of this build, slowest first. */
enum { LSTM_ISA_COUNT = 1 + (LSTM_X86 ? 2 : LSTM_ARM64) };
const lstm_isa *lstm_isa_at(int index);

#if LSTM_X86
/* Words of CPUID, and the registers that the operating system saves (XCR0): without it a vector register
 * would not survive a context switch, whatever CPUID says of the CPU. All zero if it saves none. */
typedef struct {
    uint32_t leaf_1_ecx;
    uint32_t leaf_7_ebx;
    uint64_t saved_registers;
} lstm_x86_cpu;

enum { LSTM_SAVED_YMM = 0x06, LSTM_SAVED_ZMM = 0xe6 };
lstm_x86_cpu lstm_x86_read_cpu(void);
#endif

/* Sets the calling thread's floating-point mode to the kernels' (round to nearest, no traps, subnormals
 * count as zero) and returns the mode found; lstm_fp_leave() restores it, flags included. */
uint64_t lstm_fp_enter(void);
/* The same for the mode that a thread starts in, in which NumPy converts arrays. */
uint64_t lstm_fp_default(void);
void lstm_fp_leave(uint64_t found);
uint64_t lstm_fp_read(void);

#endif
