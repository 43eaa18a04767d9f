# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The products of a linear layer behind a net: its outputs, and the gradients of its weights and inputs.
#
# One row of the batch after the other, k in blocks of at most 128, each from zero and added to the running
# sum. So nothing depends on a BLAS, its threads, or how a batch is split.
cimport numpy as cnp
from libc.stdint cimport uint64_t

from .arrays cimport axis_of, data_of, number_of_floats, numbers_of, rank_of, stride_of
from .micro_kernels cimport (
    LSTM_MAX_PRODUCT_VECTORS,
    LSTM_SUM_BLOCK,
    Real,
    lstm_f32_product,
    lstm_f64_product,
    lstm_fp_enter,
    lstm_fp_leave,
    lstm_isa_at,
)
from .tiles cimport share


cdef struct Products:
    # sums (n, m) += input (R, n, k) . weights (R, k, w), one r after the other; w >= m is whole vectors.
    int isa
    ptrdiff_t parts  # R
    ptrdiff_t rows
    ptrdiff_t columns
    ptrdiff_t depth
    ptrdiff_t width
    const char *input
    ptrdiff_t strides[3]  # of the input, in bytes
    void *weights
    void *sums


cdef inline void run_products(const Products *job, Real *sums) noexcept nogil:
    """The job, whose sums are these."""
    cdef lstm_f32_product f32
    cdef lstm_f64_product f64
    cdef ptrdiff_t part, k, column, vectors, done, count, lanes
    cdef const Real *weights = <const Real *>job.weights
    if Real is float:
        kernels = lstm_isa_at(job.isa).f32
        tile = &f32
    else:
        kernels = lstm_isa_at(job.isa).f64
        tile = &f64
    lanes = kernels.lanes
    tile.input_row_stride = job.strides[1] // <ptrdiff_t>sizeof(Real)
    tile.input_k_stride = job.strides[2] // <ptrdiff_t>sizeof(Real)
    tile.chunk_stride = 0
    tile.weights_k_stride = job.width
    tile.start_row_stride = tile.sums_row_stride = job.columns
    for part in range(job.parts):
        k = 0
        while k < job.depth:
            tile.depth = tile.chunk = min(LSTM_SUM_BLOCK, job.depth - k)
            tile.is_last = part == job.parts - 1 and k + tile.depth == job.depth
            column = 0
            while column < job.columns:  # a panel of weights stays in L1 while all rows are done
                vectors = min(LSTM_MAX_PRODUCT_VECTORS, (job.columns - column + lanes - 1) // lanes)
                tile.weights = tile.prefetch = weights + (part * job.depth + k) * job.width + column
                tile.last_lanes = min(lanes, job.columns - column - (vectors - 1) * lanes)
                done = 0
                while done < job.rows:
                    count = share(job.rows - done, kernels.product_rows[vectors])
                    tile.input = <const Real *>(
                        job.input + part * job.strides[0] + done * job.strides[1] + k * job.strides[2]
                    )
                    tile.start = tile.sums = sums + done * job.columns + column
                    kernels.product[count][vectors](tile)
                    done += count
                column += vectors * lanes
            k += tile.depth


cdef inline int products_of(object input, object weights, object sums, int isa) except -1:
    """sums (n, m) += input (R, n, k) . weights (R, k, w); ValueError if they do not fit."""
    cdef int number = number_of_floats("sums", sums)
    cdef Products job
    cdef ptrdiff_t axis
    cdef uint64_t found
    job.sums = numbers_of("sums", sums, number, 2, True)
    job.weights = numbers_of("weights", weights, number, 3, False)
    if not (number_of_floats("input", input) == number and rank_of(input) == 3):
        raise ValueError("input must be 3-D, of the dtype of the sums")
    job.isa = isa
    job.rows, job.columns = axis_of(sums, 0), axis_of(sums, 1)
    job.parts, job.depth, job.width = axis_of(input, 0), axis_of(input, 2), axis_of(weights, 2)
    job.input = <const char *>data_of(input)
    for axis in range(3):
        job.strides[axis] = stride_of(input, axis)
    lanes = lstm_isa_at(isa).f64.lanes if number == cnp.NPY_DOUBLE else lstm_isa_at(isa).f32.lanes
    if not (
        axis_of(input, 1) == job.rows
        and axis_of(weights, 0) == job.parts
        and axis_of(weights, 1) == job.depth
        and job.width % lanes == 0
        and job.width >= job.columns
        and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>input)
    ):
        raise ValueError(
            f"sums (n, m) are {sums.shape}, input (R, n, k) {input.shape}, weights (R, k, w) {weights.shape}"
        )
    if job.rows == 0 or job.columns == 0 or job.depth == 0:
        return 0
    with nogil:
        found = lstm_fp_enter()
        if number == cnp.NPY_DOUBLE:
            run_products(&job, <double *>job.sums)
        else:
            run_products(&job, <float *>job.sums)
        lstm_fp_leave(found)
    return 0
