# What a cell computes, and what is kept of it for gradients; csrc/lstm_kernels.h and records.h
# explain every field.


cdef extern from "lstm_kernels.h" nogil:
    ctypedef struct lstm_f32_activation:
        int kind
        float alpha
        float beta

    ctypedef struct lstm_f32_variant:
        lstm_f32_activation gates
        lstm_f32_activation candidate
        lstm_f32_activation cell_output
        float clip
        float cell_clip
        int input_forget

    ctypedef struct lstm_f32_record:
        float *gates
        float *cells
        float *squashed
        ptrdiff_t row_stride
        ptrdiff_t panel_stride
        ptrdiff_t cells_row_stride
        ptrdiff_t cells_panel_stride
        ptrdiff_t step_stride
        int has_codes
        int is_plain

    ctypedef struct lstm_f64_activation:
        int kind
        double alpha
        double beta

    ctypedef struct lstm_f64_variant:
        lstm_f64_activation gates
        lstm_f64_activation candidate
        lstm_f64_activation cell_output
        double clip
        double cell_clip
        int input_forget

    ctypedef struct lstm_f64_record:
        double *gates
        double *cells
        double *squashed
        ptrdiff_t row_stride
        ptrdiff_t panel_stride
        ptrdiff_t cells_row_stride
        ptrdiff_t cells_panel_stride
        ptrdiff_t step_stride
        int has_codes
        int is_plain
