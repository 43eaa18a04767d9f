# The arguments of the kernels of a row alone as Cython sees them; csrc/row_kernels.h explains every field.

from .cell_types cimport lstm_f32_record, lstm_f64_record


cdef extern from "row_kernels.h" nogil:
    ctypedef struct lstm_f32_row:
        ptrdiff_t steps
        ptrdiff_t depth
        ptrdiff_t panels
        const float *weights
        const float *start
        ptrdiff_t start_panel_stride
        ptrdiff_t start_step_stride
        const float *x
        ptrdiff_t x_step_stride
        const float *x_weights
        float *cell
        float *hidden
        float *hidden_next
        float *output
        ptrdiff_t output_step_stride
        lstm_f32_record record
        int forward

    ctypedef struct lstm_f64_row:
        ptrdiff_t steps
        ptrdiff_t depth
        ptrdiff_t panels
        const double *weights
        const double *start
        ptrdiff_t start_panel_stride
        ptrdiff_t start_step_stride
        const double *x
        ptrdiff_t x_step_stride
        const double *x_weights
        double *cell
        double *hidden
        double *hidden_next
        double *output
        ptrdiff_t output_step_stride
        lstm_f64_record record
        int forward
