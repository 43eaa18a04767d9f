# The C side as Cython sees it; csrc/lstm_kernels.h explains every field.
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

from .cell_types cimport lstm_f32_record, lstm_f32_variant, lstm_f64_record, lstm_f64_variant
from .product_types cimport (
    lstm_f32_cell_gradient,
    lstm_f32_product,
    lstm_f64_cell_gradient,
    lstm_f64_product,
)
from .row_kernels cimport lstm_f32_row, lstm_f64_row


cdef extern from "small_weights.h" nogil:
    enum:
        GATE_COUNT
        LSTM_SUM_BLOCK
        LSTM_SHORT_SUM
        LSTM_CACHE_LINE
        LSTM_MAX_ROWS
        LSTM_MAX_PANELS
        LSTM_MAX_PRODUCT_ROWS
        LSTM_MAX_PRODUCT_VECTORS
        LSTM_ISA_COUNT
        LSTM_SIGMOID
        LSTM_TANH
        LSTM_LEAKY_RELU
        LSTM_THRESHOLDED_RELU
        LSTM_ELU
        LSTM_ACTIVATION_COUNT
        LSTM_FULL
        LSTM_BFLOAT16
        LSTM_FLOAT16
        LSTM_INT8
        LSTM_INT8_GROUP

    ctypedef struct lstm_slice:
        uint64_t mode
        int64_t heard
        ptrdiff_t work
        int hears_signals
        const int *is_stopped

    ctypedef struct lstm_f32_tile:
        const float *input
        ptrdiff_t input_row_stride
        ptrdiff_t depth
        const float *weights
        ptrdiff_t weights_panel_stride
        const float *prefetch
        const float *start
        ptrdiff_t start_row_stride
        ptrdiff_t start_panel_stride
        float *sums
        ptrdiff_t sums_row_stride
        ptrdiff_t sums_panel_stride
        float *cell
        float *hidden
        ptrdiff_t state_row_stride
        float *output
        ptrdiff_t output_row_stride
        ptrdiff_t output_units
        const lstm_f32_variant *variant
        const float *peephole
        float *trace
        ptrdiff_t trace_gate_stride
        ptrdiff_t trace_row_stride
        lstm_f32_record record
        ptrdiff_t sum_block
        ptrdiff_t steps
        ptrdiff_t start_step_stride
        ptrdiff_t output_step_stride
        ptrdiff_t trace_step_stride

    ctypedef struct lstm_f32_kernels:
        ptrdiff_t lanes
        ptrdiff_t row_tile
        ptrdiff_t panel_tile
        void (*gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(lstm_f32_tile *) noexcept nogil
        void (*step[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(lstm_f32_tile *) noexcept nogil
        void (*update)(const lstm_f32_tile *, ptrdiff_t, ptrdiff_t) noexcept nogil
        void (*sigmoid)(const float *, float *, ptrdiff_t) noexcept nogil
        void (*tanh)(const float *, float *, ptrdiff_t) noexcept nogil
        ptrdiff_t net_panels
        void (*row_net)(const lstm_f32_row *) noexcept nogil
        ptrdiff_t row_steps_panels
        void (*row_steps)(const lstm_f32_row *) noexcept nogil
        ptrdiff_t product_rows[LSTM_MAX_PRODUCT_VECTORS + 1]
        void (*product[LSTM_MAX_PRODUCT_ROWS + 1][LSTM_MAX_PRODUCT_VECTORS + 1])(
            const lstm_f32_product *
        ) noexcept nogil
        void (*gates_row[LSTM_MAX_PRODUCT_VECTORS + 1])(const lstm_f32_product *) noexcept nogil
        void (*cell_backward)(const lstm_f32_cell_gradient *) noexcept nogil
        void (*cell_output)(const lstm_f32_cell_gradient *, ptrdiff_t, float *) noexcept nogil
        void (*copy_rows)(
            const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, float *, ptrdiff_t
        ) noexcept nogil
        void (*turn)(
            const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, float *, ptrdiff_t
        ) noexcept nogil
        float (*add_norm)(float *, const float *, ptrdiff_t) noexcept nogil
        void (*peephole_sums)(
            const float *, const float *, ptrdiff_t, int, float *
        ) noexcept nogil

    ctypedef struct lstm_narrow_kernels:
        void (*widen)(const void *, ptrdiff_t, float *) noexcept nogil
        void (*gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(lstm_f32_tile *) noexcept nogil
        void (*step[LSTM_MAX_PANELS + 1])(lstm_f32_tile *) noexcept nogil
        ptrdiff_t row_steps_panels
        void (*row_steps)(const lstm_f32_row *) noexcept nogil

    ctypedef struct lstm_int8_tile:
        const char *input
        ptrdiff_t input_row_stride
        const float *input_scales
        ptrdiff_t input_scales_stride
        ptrdiff_t groups
        const int8_t *weights
        ptrdiff_t weights_panel_stride
        const float *scales
        const int32_t *offsets
        const float *start
        ptrdiff_t start_row_stride
        ptrdiff_t start_panel_stride
        float *sums
        ptrdiff_t sums_row_stride
        ptrdiff_t sums_panel_stride

    ctypedef struct lstm_int8_row:
        ptrdiff_t steps
        ptrdiff_t depth
        ptrdiff_t groups
        ptrdiff_t panels
        const int8_t *weights
        const float *scales
        const int32_t *offsets
        const float *start
        ptrdiff_t start_step_stride
        float *cell
        float *hidden
        char *integers
        float *output
        ptrdiff_t output_step_stride
        int forward

    ctypedef struct lstm_int8_kernels:
        const char *name
        int (*supported)() noexcept nogil
        ptrdiff_t row_tile
        ptrdiff_t panel_tile
        ptrdiff_t integer_bytes
        void (*gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(const lstm_int8_tile *) noexcept nogil
        void (*quantize)(const float *, ptrdiff_t, float, char *, float *) noexcept nogil
        void (*row_steps)(const lstm_int8_row *) noexcept nogil

    ctypedef struct lstm_f32_pass:
        const lstm_f32_kernels *kernels
        ptrdiff_t rows
        ptrdiff_t batch
        ptrdiff_t time
        ptrdiff_t input_size
        ptrdiff_t hidden_size
        ptrdiff_t state_size
        ptrdiff_t panels
        ptrdiff_t projection_panels
        double proj_clip
        lstm_slice slice
        ptrdiff_t state_width
        const float *input_weights
        const float *hidden_weights
        const float *bias
        const float *projection
        const float *peephole
        const lstm_f32_variant *variant
        const float *input
        ptrdiff_t input_batch_stride
        ptrdiff_t input_time_stride
        float *output
        ptrdiff_t output_batch_stride
        ptrdiff_t output_time_stride
        float *trace
        ptrdiff_t trace_gate_stride
        ptrdiff_t trace_batch_stride
        ptrdiff_t trace_time_stride
        lstm_f32_record record
        const float *recurrent
        float *masked
        const ptrdiff_t *order
        const ptrdiff_t *lengths
        int reverse
        ptrdiff_t block_time
        ptrdiff_t row_panels
        const float *block_input
        ptrdiff_t block_batch_stride
        ptrdiff_t block_time_stride
        float *gathered
        float *sums
        float *hidden
        float *hidden_next
        float *cell
        float *cell_output
        float *zeros
        float *state_hidden
        float *state_cell
        ptrdiff_t weight_row
        ptrdiff_t projection_row
        ptrdiff_t input_depth
        ptrdiff_t hidden_depth
        const lstm_narrow_kernels *narrow
        int reads_packed
        float *wide
        const lstm_int8_kernels *int8
        const float *input_scales
        const float *hidden_scales
        const int32_t *input_offsets
        const int32_t *hidden_offsets
        float least_hidden
        char *input_integers
        float *integer_scales
        char *hidden_integers
        float *hidden_integer_scales
        lstm_f32_tile tile

    ctypedef struct lstm_f64_tile:
        const double *input
        ptrdiff_t input_row_stride
        ptrdiff_t depth
        const double *weights
        ptrdiff_t weights_panel_stride
        const double *prefetch
        const double *start
        ptrdiff_t start_row_stride
        ptrdiff_t start_panel_stride
        double *sums
        ptrdiff_t sums_row_stride
        ptrdiff_t sums_panel_stride
        double *cell
        double *hidden
        ptrdiff_t state_row_stride
        double *output
        ptrdiff_t output_row_stride
        ptrdiff_t output_units
        const lstm_f64_variant *variant
        const double *peephole
        double *trace
        ptrdiff_t trace_gate_stride
        ptrdiff_t trace_row_stride
        lstm_f64_record record
        ptrdiff_t sum_block
        ptrdiff_t steps
        ptrdiff_t start_step_stride
        ptrdiff_t output_step_stride
        ptrdiff_t trace_step_stride

    ctypedef struct lstm_f64_kernels:
        ptrdiff_t lanes
        ptrdiff_t row_tile
        ptrdiff_t panel_tile
        void (*gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(lstm_f64_tile *) noexcept nogil
        void (*step[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(lstm_f64_tile *) noexcept nogil
        void (*update)(const lstm_f64_tile *, ptrdiff_t, ptrdiff_t) noexcept nogil
        void (*sigmoid)(const double *, double *, ptrdiff_t) noexcept nogil
        void (*tanh)(const double *, double *, ptrdiff_t) noexcept nogil
        ptrdiff_t net_panels
        void (*row_net)(const lstm_f64_row *) noexcept nogil
        ptrdiff_t row_steps_panels
        void (*row_steps)(const lstm_f64_row *) noexcept nogil
        ptrdiff_t product_rows[LSTM_MAX_PRODUCT_VECTORS + 1]
        void (*product[LSTM_MAX_PRODUCT_ROWS + 1][LSTM_MAX_PRODUCT_VECTORS + 1])(
            const lstm_f64_product *
        ) noexcept nogil
        void (*gates_row[LSTM_MAX_PRODUCT_VECTORS + 1])(const lstm_f64_product *) noexcept nogil
        void (*cell_backward)(const lstm_f64_cell_gradient *) noexcept nogil
        void (*cell_output)(const lstm_f64_cell_gradient *, ptrdiff_t, double *) noexcept nogil
        void (*copy_rows)(
            const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t, double *, ptrdiff_t
        ) noexcept nogil
        void (*turn)(
            const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t, double *, ptrdiff_t
        ) noexcept nogil
        double (*add_norm)(double *, const double *, ptrdiff_t) noexcept nogil
        void (*peephole_sums)(
            const double *, const double *, ptrdiff_t, int, double *
        ) noexcept nogil

    ctypedef struct lstm_f64_pass:
        const lstm_f64_kernels *kernels
        ptrdiff_t rows
        ptrdiff_t batch
        ptrdiff_t time
        ptrdiff_t input_size
        ptrdiff_t hidden_size
        ptrdiff_t state_size
        ptrdiff_t panels
        ptrdiff_t projection_panels
        double proj_clip
        lstm_slice slice
        ptrdiff_t state_width
        const double *input_weights
        const double *hidden_weights
        const double *bias
        const double *projection
        const double *peephole
        const lstm_f64_variant *variant
        const double *input
        ptrdiff_t input_batch_stride
        ptrdiff_t input_time_stride
        double *output
        ptrdiff_t output_batch_stride
        ptrdiff_t output_time_stride
        double *trace
        ptrdiff_t trace_gate_stride
        ptrdiff_t trace_batch_stride
        ptrdiff_t trace_time_stride
        lstm_f64_record record
        const double *recurrent
        double *masked
        const ptrdiff_t *order
        const ptrdiff_t *lengths
        int reverse
        ptrdiff_t block_time
        ptrdiff_t row_panels
        const double *block_input
        ptrdiff_t block_batch_stride
        ptrdiff_t block_time_stride
        double *gathered
        double *sums
        double *hidden
        double *hidden_next
        double *cell
        double *cell_output
        double *zeros
        double *state_hidden
        double *state_cell
        ptrdiff_t weight_row
        ptrdiff_t projection_row
        ptrdiff_t input_depth
        ptrdiff_t hidden_depth
        const lstm_narrow_kernels *narrow
        int reads_packed
        double *wide
        const lstm_int8_kernels *int8
        const float *input_scales
        const float *hidden_scales
        const int32_t *input_offsets
        const int32_t *hidden_offsets
        float least_hidden
        char *input_integers
        float *integer_scales
        char *hidden_integers
        float *hidden_integer_scales
        lstm_f64_tile tile

    ctypedef struct lstm_isa:
        const char *name
        int (*supported)() noexcept nogil
        const lstm_f32_kernels *f32
        const lstm_f64_kernels *f64
        const lstm_narrow_kernels *bfloat16
        const lstm_narrow_kernels *(*float16)() noexcept nogil
        const lstm_int8_kernels *const *int8

    const lstm_isa *lstm_isa_at(int index)
    uint64_t lstm_fp_enter()
    uint64_t lstm_fp_default()
    void lstm_fp_leave(uint64_t found)
    uint64_t lstm_fp_read()


# Either dtype of each type.
ctypedef fused Real:
    float
    double

ctypedef fused Record:
    lstm_f32_record
    lstm_f64_record

ctypedef fused Variant:
    lstm_f32_variant
    lstm_f64_variant

ctypedef fused Pass:
    lstm_f32_pass
    lstm_f64_pass
