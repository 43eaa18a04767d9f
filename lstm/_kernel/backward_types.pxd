# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# What the driver of the gradients works on, as Cython sees it; csrc/lstm_kernels.h explains every field.
from .micro_kernels cimport (
    lstm_f32_cell_gradient,
    lstm_f32_kernels,
    lstm_f32_product,
    lstm_f32_record,
    lstm_f32_variant,
    lstm_f64_cell_gradient,
    lstm_f64_kernels,
    lstm_f64_product,
    lstm_f64_record,
    lstm_f64_variant,
    lstm_slice,
)


cdef extern from "lstm_kernels.h" nogil:
    ctypedef struct lstm_f32_backward:
        const lstm_f32_kernels *kernels
        lstm_slice slice
        ptrdiff_t batch
        ptrdiff_t time
        ptrdiff_t rows
        ptrdiff_t first_row
        ptrdiff_t active
        ptrdiff_t first_panel
        ptrdiff_t end_panel
        ptrdiff_t input_size
        ptrdiff_t hidden_size
        ptrdiff_t state_size
        ptrdiff_t panels
        ptrdiff_t hidden_width
        ptrdiff_t cell_width
        ptrdiff_t d_sums_width
        ptrdiff_t gathered_steps
        int reverse
        double proj_clip
        const lstm_f32_variant *variant
        const float *peephole
        const float *input_weights
        const float *hidden_weights
        const float *projection
        const ptrdiff_t *order
        const ptrdiff_t *lengths
        const float *input
        ptrdiff_t input_batch_stride
        ptrdiff_t input_time_stride
        const float *output
        ptrdiff_t output_batch_stride
        ptrdiff_t output_time_stride
        const float *first_hidden
        const float *recurrent
        lstm_f32_record record
        const float *d_output
        ptrdiff_t d_output_batch_stride
        ptrdiff_t d_output_time_stride
        float *d_state_hidden
        float *d_state_cell
        float *d_input
        float *norms
        ptrdiff_t norms_kind_stride
        ptrdiff_t norms_batch_stride
        float *d_input_weights
        float *d_hidden_weights
        float *d_bias
        float *d_peephole
        float *d_projection
        ptrdiff_t d_input_weights_stride
        ptrdiff_t d_hidden_weights_stride
        ptrdiff_t d_bias_stride
        ptrdiff_t d_peephole_stride
        ptrdiff_t d_projection_stride
        float *zeros
        float *ones
        float *hidden_columns
        float *input_columns
        float *projection_rows
        float *d_hidden
        float *d_cell_output
        float *d_cell
        float *d_sums
        float *d_hidden_steps
        float *cell_output
        float *projected
        float *d_step_input
        float *gathered
        float *packed
        lstm_f32_product product
        lstm_f32_cell_gradient step

    ctypedef struct lstm_f64_backward:
        const lstm_f64_kernels *kernels
        lstm_slice slice
        ptrdiff_t batch
        ptrdiff_t time
        ptrdiff_t rows
        ptrdiff_t first_row
        ptrdiff_t active
        ptrdiff_t first_panel
        ptrdiff_t end_panel
        ptrdiff_t input_size
        ptrdiff_t hidden_size
        ptrdiff_t state_size
        ptrdiff_t panels
        ptrdiff_t hidden_width
        ptrdiff_t cell_width
        ptrdiff_t d_sums_width
        ptrdiff_t gathered_steps
        int reverse
        double proj_clip
        const lstm_f64_variant *variant
        const double *peephole
        const double *input_weights
        const double *hidden_weights
        const double *projection
        const ptrdiff_t *order
        const ptrdiff_t *lengths
        const double *input
        ptrdiff_t input_batch_stride
        ptrdiff_t input_time_stride
        const double *output
        ptrdiff_t output_batch_stride
        ptrdiff_t output_time_stride
        const double *first_hidden
        const double *recurrent
        lstm_f64_record record
        const double *d_output
        ptrdiff_t d_output_batch_stride
        ptrdiff_t d_output_time_stride
        double *d_state_hidden
        double *d_state_cell
        double *d_input
        double *norms
        ptrdiff_t norms_kind_stride
        ptrdiff_t norms_batch_stride
        double *d_input_weights
        double *d_hidden_weights
        double *d_bias
        double *d_peephole
        double *d_projection
        ptrdiff_t d_input_weights_stride
        ptrdiff_t d_hidden_weights_stride
        ptrdiff_t d_bias_stride
        ptrdiff_t d_peephole_stride
        ptrdiff_t d_projection_stride
        double *zeros
        double *ones
        double *hidden_columns
        double *input_columns
        double *projection_rows
        double *d_hidden
        double *d_cell_output
        double *d_cell
        double *d_sums
        double *d_hidden_steps
        double *cell_output
        double *projected
        double *d_step_input
        double *gathered
        double *packed
        lstm_f64_product product
        lstm_f64_cell_gradient step


ctypedef fused Backward:
    lstm_f32_backward
    lstm_f64_backward
