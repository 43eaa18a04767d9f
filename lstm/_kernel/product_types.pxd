# The arguments of the kernels of the backward pass; csrc/lstm_kernels.h explains every field.
from .cell_types cimport lstm_f32_record, lstm_f32_variant, lstm_f64_record, lstm_f64_variant


cdef extern from "lstm_kernels.h" nogil:
    ctypedef struct lstm_f32_product:
        const float *input
        ptrdiff_t input_row_stride
        ptrdiff_t input_k_stride
        ptrdiff_t chunk
        ptrdiff_t chunk_stride
        ptrdiff_t depth
        const float *weights
        ptrdiff_t weights_k_stride
        const float *start
        ptrdiff_t start_row_stride
        float *sums
        ptrdiff_t sums_row_stride
        ptrdiff_t last_lanes
        int is_last
        const float *prefetch

    ctypedef struct lstm_f32_cell_gradient:
        ptrdiff_t rows
        ptrdiff_t panels
        ptrdiff_t units
        int reverse
        int projects
        int prefetch
        lstm_f32_record record
        const ptrdiff_t *order
        const float *d_output
        ptrdiff_t d_output_row_stride
        ptrdiff_t d_output_step_stride
        const float *d_hidden
        float *d_cell
        float *d_sums
        ptrdiff_t d_sums_row_stride
        float *hidden_norms
        float *cell_norms
        ptrdiff_t norms_row_stride
        const lstm_f32_variant *variant
        const float *peephole

    ctypedef struct lstm_f64_product:
        const double *input
        ptrdiff_t input_row_stride
        ptrdiff_t input_k_stride
        ptrdiff_t chunk
        ptrdiff_t chunk_stride
        ptrdiff_t depth
        const double *weights
        ptrdiff_t weights_k_stride
        const double *start
        ptrdiff_t start_row_stride
        double *sums
        ptrdiff_t sums_row_stride
        ptrdiff_t last_lanes
        int is_last
        const double *prefetch

    ctypedef struct lstm_f64_cell_gradient:
        ptrdiff_t rows
        ptrdiff_t panels
        ptrdiff_t units
        int reverse
        int projects
        int prefetch
        lstm_f64_record record
        const ptrdiff_t *order
        const double *d_output
        ptrdiff_t d_output_row_stride
        ptrdiff_t d_output_step_stride
        const double *d_hidden
        double *d_cell
        double *d_sums
        ptrdiff_t d_sums_row_stride
        double *hidden_norms
        double *cell_norms
        ptrdiff_t norms_row_stride
        const lstm_f64_variant *variant
        const double *peephole
