# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The products of a linear layer behind a net: its outputs, and the gradients of its weights and inputs.
#
# One row of the batch after the other, k in blocks of at most 128, each from zero and added to the running
# sum. So nothing depends on a BLAS, its threads, or how a batch is split.
from libc.stdint cimport uint64_t

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


cdef inline products_typed(
    const Real[:, :, :] input, const Real[:, :, ::1] weights, Real[:, ::1] sums, int isa
):
    """sums (n, m) += input (R, n, k) . weights (R, k, w), one r after the other; w >= m is whole vectors."""
    cdef lstm_f32_product f32
    cdef lstm_f64_product f64
    cdef ptrdiff_t rows = sums.shape[0]
    cdef ptrdiff_t columns = sums.shape[1]
    cdef ptrdiff_t depth = input.shape[2]
    cdef ptrdiff_t lanes, part, k, column, vectors, done, count
    cdef uint64_t found
    if Real is float:
        kernels = lstm_isa_at(isa).f32
        tile = &f32
    else:
        kernels = lstm_isa_at(isa).f64
        tile = &f64
    lanes = kernels.lanes
    if not (
        input.shape[1] == rows
        and weights.shape[0] == input.shape[0]
        and weights.shape[1] == depth
        and weights.shape[2] % lanes == 0
        and weights.shape[2] >= columns
    ):
        left = (input.shape[0], input.shape[1], depth)
        right = (weights.shape[0], weights.shape[1], weights.shape[2])
        raise ValueError(
            f"sums (n, m) are {(rows, columns)}, input (R, n, k) {left} and weights (R, k, w) {right}"
        )
    if rows == 0 or columns == 0 or depth == 0:
        return
    tile.input_row_stride = input.strides[1] // <ptrdiff_t>sizeof(Real)
    tile.input_k_stride = input.strides[2] // <ptrdiff_t>sizeof(Real)
    tile.chunk_stride = 0
    tile.weights_k_stride = weights.shape[2]
    tile.start_row_stride = tile.sums_row_stride = columns
    with nogil:
        found = lstm_fp_enter()
        for part in range(input.shape[0]):
            k = 0
            while k < depth:
                tile.depth = tile.chunk = min(LSTM_SUM_BLOCK, depth - k)
                tile.is_last = part == input.shape[0] - 1 and k + tile.depth == depth
                column = 0
                while column < columns:  # a panel of weights stays in L1 while all rows are done
                    vectors = min(LSTM_MAX_PRODUCT_VECTORS, (columns - column + lanes - 1) // lanes)
                    tile.weights = tile.prefetch = &weights[part, k, column]
                    tile.last_lanes = min(lanes, columns - column - (vectors - 1) * lanes)
                    done = 0
                    while done < rows:
                        count = share(rows - done, kernels.product_rows[vectors])
                        tile.input = &input[part, done, k]
                        tile.start = tile.sums = &sums[done, column]
                        kernels.product[count][vectors](tile)
                        done += count
                    column += vectors * lanes
                k += tile.depth
        lstm_fp_leave(found)
