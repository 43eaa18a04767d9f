# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The x half of many features: a block of k of x, copied together, is used by all panels before the next one.
#
# Panel after panel, x of a block of steps would be read once for each panel, from a cache that is too small
# for it. A last panel of few units, the tail, has its four gates side by side in one vector or two, not four.
from libc.string cimport memcpy, memset

from .micro_kernels cimport GATE_COUNT, LSTM_SUM_BLOCK, Pass, lstm_f32_pass
from .product_types cimport lstm_f32_product, lstm_f64_product
from .tiles cimport input_tiles, start_input, sums_per_panel, widen_weights, widens

cdef enum:
    # From so many bytes of x, so many rows of it (steps of batch rows), and either a tail or so many bytes of
    # input weights on this pays. With less it is level or a few percent slower.
    WIDE_BYTES = 512 * 1024
    WIDE_ROWS = 64
    WIDE_WEIGHTS = 1024 * 1024


cdef inline ptrdiff_t tail_vectors(Pass *layer) noexcept nogil:
    """Vectors that the gates of the last panel take side by side: 1 or 2, or 0 where they do not fit."""
    cdef ptrdiff_t lanes = layer.kernels.lanes
    cdef ptrdiff_t units = layer.hidden_size - (layer.panels - 1) * lanes
    if layer.narrow is not NULL or 2 * units > lanes:
        return 0
    return 1 if GATE_COUNT * units <= lanes else 2


cdef inline bint can_be_wide(Pass *layer) noexcept nogil:
    """Whether the x half of blocks of steps is to be done by `wide_products`."""
    cdef ptrdiff_t size = sizeof(layer.cell[0])
    cdef ptrdiff_t rows = layer.time * layer.rows
    if rows < WIDE_ROWS or rows * layer.input_size * size < WIDE_BYTES:
        return False
    if layer.panels == 1 or layer.int8 is not NULL or layer.order is not NULL:
        return False
    return (
        tail_vectors(layer) > 0
        or layer.panels * layer.input_depth * layer.weight_row * size >= WIDE_WEIGHTS
    )


cdef inline bint is_wide(Pass *layer) noexcept nogil:
    """Whether it is done so: not of single steps."""
    return layer.block_time > 1 and can_be_wide(layer)


cdef inline ptrdiff_t wide_elements_of(Pass *layer) noexcept nogil:
    """Elements of `gathered`: x of a block of k, then sums, bias and weights of the tail."""
    cdef ptrdiff_t tail = 2 * layer.kernels.lanes
    return layer.block_time * layer.rows * (LSTM_SUM_BLOCK + tail) + (LSTM_SUM_BLOCK + 1) * tail


cdef inline void pack_tail(Pass *layer, const void *gates, ptrdiff_t rows, void *tail) noexcept nogil:
    """tail (rows, 4, width) = the first units of gates (rows, 4, L)."""
    cdef size_t size = sizeof(layer.cell[0])
    cdef size_t bytes = layer.kernels.lanes * size
    cdef size_t width = tail_vectors(layer) * bytes // GATE_COUNT
    cdef ptrdiff_t _gate
    source, target = <const char *>gates, <char *>tail
    for _gate in range(rows * GATE_COUNT):
        # Of a constant size a copy is one move.
        if width == 16:
            memcpy(target, source, 16)
        elif width == 32:
            memcpy(target, source, 32)
        else:
            memcpy(target, source, width)
        source += bytes
        target += width


cdef inline void store_tail(Pass *layer, const void *tail, ptrdiff_t steps) noexcept nogil:
    """sums[:, P - 1] (steps, B, 4, L) = tail (steps, B, 4, width), and zero in the other lanes."""
    cdef size_t size = sizeof(layer.cell[0])
    cdef size_t bytes = layer.kernels.lanes * size
    cdef size_t width = tail_vectors(layer) * bytes // GATE_COUNT
    cdef size_t step_bytes = layer.panels * sums_per_panel(layer) * size
    cdef ptrdiff_t step, _gate
    source = <const char *>tail
    for step in range(steps):
        target = <char *>layer.sums + (step + 1) * step_bytes - sums_per_panel(layer) * size
        for _gate in range(layer.batch * GATE_COUNT):
            memcpy(target, source, width)
            memset(target + width, 0, bytes - width)
            source += width
            target += bytes


cdef inline void tail_products(Pass *layer, ptrdiff_t rows, ptrdiff_t k, ptrdiff_t depth) noexcept nogil:
    """Sums of the tail (rows, 4, width) += gathered (rows, depth) . weights, from the bias where k is 0."""
    cdef ptrdiff_t vectors = tail_vectors(layer)
    cdef ptrdiff_t width = vectors * layer.kernels.lanes
    cdef ptrdiff_t panel = layer.panels - 1
    cdef ptrdiff_t largest = layer.kernels.product_rows[vectors]
    cdef ptrdiff_t row = 0
    cdef ptrdiff_t count
    cdef lstm_f32_product f32
    cdef lstm_f64_product f64
    if Pass is lstm_f32_pass:
        product = &f32
    else:
        product = &f64
    sums = layer.gathered + layer.block_time * layer.rows * LSTM_SUM_BLOCK
    bias = sums + layer.block_time * layer.rows * width
    weights = bias + width
    pack_tail(
        layer, layer.input_weights + (panel * layer.input_depth + k) * layer.weight_row, depth, weights
    )
    if k == 0:
        pack_tail(layer, layer.bias + panel * layer.weight_row, 1, bias)
    product.input_row_stride, product.input_k_stride = depth, 1
    product.chunk = product.depth = depth
    product.chunk_stride = 0
    product.weights, product.weights_k_stride = weights, width
    product.last_lanes = layer.kernels.lanes
    product.is_last = False
    product.start_row_stride = product.sums_row_stride = width
    if k == 0:
        product.start_row_stride = 0
    while row < rows:
        count = min(largest, rows - row)
        product.input = layer.gathered + row * depth
        product.sums = sums + row * width
        product.start = bias if k == 0 else product.sums
        product.prefetch = product.weights
        layer.kernels.product[count][vectors](product)
        row += count


cdef inline void gather_features(
    Pass *layer, ptrdiff_t steps, ptrdiff_t k, ptrdiff_t depth
) noexcept nogil:
    """gathered (steps, B, depth) = x of a block of steps from k on."""
    cdef ptrdiff_t step, row
    target = layer.gathered
    for step in range(steps):
        for row in range(layer.batch):
            memcpy(
                target,
                layer.block_input + step * layer.block_time_stride + row * layer.block_batch_stride + k,
                depth * sizeof(layer.cell[0]),
            )
            target += depth


cdef inline ptrdiff_t tiles_over(ptrdiff_t rows, ptrdiff_t others, ptrdiff_t row_tile) noexcept nogil:
    """Tiles whose rows are these, for each of the others."""
    return (rows + row_tile - 1) // row_tile * others


cdef inline void panel_products(Pass *layer, ptrdiff_t steps, ptrdiff_t panel, ptrdiff_t k) noexcept nogil:
    """sums[:, panel] (steps, B, 4, L) += gathered (steps, B, tile.depth) . weights from k on."""
    cdef ptrdiff_t row_tile = layer.kernels.row_tile
    cdef ptrdiff_t batch = layer.batch
    cdef bint tile_steps = tiles_over(steps, batch, row_tile) < tiles_over(batch, steps, row_tile)
    cdef ptrdiff_t end = k + layer.tile.depth
    start_input(layer, panel)
    layer.tile.weights = (
        layer.input_weights + panel * layer.tile.weights_panel_stride + k * layer.weight_row
    )
    layer.tile.prefetch = layer.tile.weights + layer.tile.weights_panel_stride
    if panel + 1 == layer.panels:
        layer.tile.prefetch = layer.input_weights + end * layer.weight_row
        if end == layer.input_size:
            layer.tile.prefetch = layer.hidden_weights
    if widens(layer, steps * layer.batch):
        widen_weights(layer)
    input_tiles(layer, 0, steps, tile_steps, 1, k, 0)


cdef inline void wide_products(Pass *layer, ptrdiff_t steps) noexcept nogil:
    """sums (steps, P, B, 4, L) = bias + x of a block of steps . input weights."""
    cdef ptrdiff_t batch_stride = layer.block_batch_stride
    cdef ptrdiff_t time_stride = layer.block_time_stride
    cdef ptrdiff_t whole = layer.panels - (tail_vectors(layer) > 0)
    cdef ptrdiff_t k = 0
    cdef ptrdiff_t panel, depth
    x = layer.block_input
    while k < layer.input_size:
        depth = layer.tile.depth = min(<ptrdiff_t>LSTM_SUM_BLOCK, layer.input_size - k)
        gather_features(layer, steps, k, depth)
        layer.block_input = layer.gathered
        layer.block_batch_stride, layer.block_time_stride = depth, layer.batch * depth
        for panel in range(whole):
            panel_products(layer, steps, panel, k)
        if whole < layer.panels:
            tail_products(layer, steps * layer.batch, k, depth)
        layer.block_input = x
        layer.block_batch_stride, layer.block_time_stride = batch_stride, time_stride
        k += depth
    if whole < layer.panels:
        store_tail(layer, layer.gathered + layer.block_time * layer.rows * LSTM_SUM_BLOCK, steps)
