# The C side as Cython sees it; csrc/lstm_kernels.h explains every field.
from libc.stdint cimport uint64_t


cdef extern from "lstm_kernels.h" nogil:
    enum:
        GATE_COUNT
        LSTM_SUM_BLOCK
        LSTM_CACHE_LINE
        LSTM_MAX_ROWS
        LSTM_MAX_PANELS
        LSTM_ISA_COUNT

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

    ctypedef struct lstm_f32_kernels:
        ptrdiff_t lanes
        ptrdiff_t row_tile
        ptrdiff_t panel_tile
        void (*gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(const lstm_f32_tile *) noexcept nogil
        void (*step[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(const lstm_f32_tile *) noexcept nogil
        void (*sigmoid)(const float *, float *, ptrdiff_t) noexcept nogil
        void (*tanh)(const float *, float *, ptrdiff_t) noexcept nogil

    ctypedef struct lstm_f32_pass:
        const lstm_f32_kernels *kernels
        ptrdiff_t batch
        ptrdiff_t time
        ptrdiff_t input_size
        ptrdiff_t hidden_size
        ptrdiff_t panels
        const float *input_weights
        const float *hidden_weights
        const float *bias
        const float *input
        ptrdiff_t input_batch_stride
        ptrdiff_t input_time_stride
        float *output
        ptrdiff_t output_batch_stride
        ptrdiff_t output_time_stride
        ptrdiff_t block_time
        ptrdiff_t row_panels
        float *sums
        float *hidden
        float *hidden_next
        float *cell
        float *state_hidden
        float *state_cell
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

    ctypedef struct lstm_f64_kernels:
        ptrdiff_t lanes
        ptrdiff_t row_tile
        ptrdiff_t panel_tile
        void (*gates[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(const lstm_f64_tile *) noexcept nogil
        void (*step[LSTM_MAX_ROWS + 1][LSTM_MAX_PANELS + 1])(const lstm_f64_tile *) noexcept nogil
        void (*sigmoid)(const double *, double *, ptrdiff_t) noexcept nogil
        void (*tanh)(const double *, double *, ptrdiff_t) noexcept nogil

    ctypedef struct lstm_f64_pass:
        const lstm_f64_kernels *kernels
        ptrdiff_t batch
        ptrdiff_t time
        ptrdiff_t input_size
        ptrdiff_t hidden_size
        ptrdiff_t panels
        const double *input_weights
        const double *hidden_weights
        const double *bias
        const double *input
        ptrdiff_t input_batch_stride
        ptrdiff_t input_time_stride
        double *output
        ptrdiff_t output_batch_stride
        ptrdiff_t output_time_stride
        ptrdiff_t block_time
        ptrdiff_t row_panels
        double *sums
        double *hidden
        double *hidden_next
        double *cell
        double *state_hidden
        double *state_cell
        lstm_f64_tile tile

    ctypedef struct lstm_isa:
        const char *name
        const lstm_f32_kernels *f32
        const lstm_f64_kernels *f64

    const lstm_isa *lstm_isa_at(int index)
    int lstm_isa_supported(int index)
    uint64_t lstm_fp_enter()
    uint64_t lstm_fp_default()
    void lstm_fp_leave(uint64_t found)
    uint64_t lstm_fp_read()
