# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The packed weights of one layer and direction as the loops see them: sizes and addresses, no Python object.
cimport numpy as cnp
from libc.math cimport INFINITY
from libc.stdint cimport int32_t

from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_CACHE_LINE,
    LSTM_ACTIVATION_COUNT,
    LSTM_BFLOAT16,
    LSTM_ELU,
    LSTM_FLOAT16,
    LSTM_FULL,
    LSTM_INT8,
    LSTM_INT8_GROUP,
    LSTM_LEAKY_RELU,
    LSTM_SIGMOID,
    LSTM_TANH,
    LSTM_THRESHOLDED_RELU,
    Pass,
    Variant,
    lstm_f32_pass,
    lstm_f32_variant,
    lstm_f64_variant,
    lstm_int8_kernels,
    lstm_isa_at,
    lstm_narrow_kernels,
)

cdef enum:
    # Recurrent weights of a tile of one row, in bytes: few enough for the next step to find some in L1. Two
    # panels of 32 KiB instead of one took 7 % longer (H = 128), one of 16 KiB instead of two 13 % (H = 64).
    TILE_BYTES = 32 * 1024


cdef struct LayerWeights:
    int isa  # its row in the table
    bint is_double
    bint has_default_equations
    ptrdiff_t input_size
    ptrdiff_t hidden_size
    ptrdiff_t state_size
    ptrdiff_t panels
    ptrdiff_t row_panels
    ptrdiff_t projection_panels
    ptrdiff_t state_width
    double proj_clip  # infinite: none
    const void *input
    const void *hidden
    const void *bias
    const void *peephole  # or NULL
    const void *projection  # or NULL
    int precision  # LSTM_FULL and so on: of input, hidden and, in 16 bits, projection
    bint bounds_hidden  # of int8: whether |h| <= 1 after every step
    const lstm_narrow_kernels *narrow  # of 16 bits, or NULL
    const lstm_int8_kernels *int8  # or NULL
    const float *input_scales  # of int8 these four, (P, 4, L)
    const float *hidden_scales
    const int32_t *input_offsets
    const int32_t *hidden_offsets
    lstm_f32_variant f32
    lstm_f64_variant f64


cdef inline const void *address_of(array) noexcept:
    """The first element of a contiguous array; NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline str type_of_weights(int precision, bint is_double):
    """NumPy's name of the dtype in which the packed weights are kept."""
    if precision == LSTM_INT8:
        return "int8"
    if precision == LSTM_FULL:
        return "float64" if is_double else "float32"
    return "uint16"


cdef inline tuple row_shape(int precision, ptrdiff_t lanes):
    """The shape of the weights of one k in a panel; of int8 those of four k."""
    if precision == LSTM_BFLOAT16:
        return GATE_COUNT // 2, lanes, 2
    if precision == LSTM_INT8:
        return GATE_COUNT, lanes, LSTM_INT8_GROUP
    return GATE_COUNT, lanes


cdef inline int check_arrays(const LayerWeights *weights, ptrdiff_t lanes, dict arrays) except -1:
    """ValueError if packed arrays do not fit the sizes and the precision; some may be None."""
    real = "float64" if weights.is_double else "float32"
    small = type_of_weights(weights.precision, weights.is_double)
    group = LSTM_INT8_GROUP if weights.precision == LSTM_INT8 else 1
    row = row_shape(weights.precision, lanes)
    panels = (weights.hidden_size + lanes - 1) // lanes
    groups = (weights.state_size + GATE_COUNT * lanes - 1) // (GATE_COUNT * lanes)
    is_int8 = weights.precision == LSTM_INT8
    projection_row = (GATE_COUNT, lanes) if is_int8 else row
    fitting = {
        "input": (small, (panels, (weights.input_size + group - 1) // group, *row)),
        "hidden": (small, (panels, (weights.state_size + group - 1) // group, *row)),
        "bias": (real, (panels, GATE_COUNT, lanes)),
        "peephole": (real, (panels, 3, lanes)),
        "projection": (real if is_int8 else small, (groups, weights.hidden_size, *projection_row)),
        "input_scales": (real, (panels, GATE_COUNT, lanes)),
        "hidden_scales": (real, (panels, GATE_COUNT, lanes)),
    }
    if arrays["projection"] is None and weights.state_size != weights.hidden_size:
        raise ValueError(
            f"h has {weights.state_size} features, C {weights.hidden_size}, and there is no projection"
        )
    if (arrays["input_scales"] is None) == is_int8 or (arrays["hidden_scales"] is None) == is_int8:
        raise ValueError("scales belong to the precision 'int8'")
    for name, (dtype, shape) in fitting.items():
        array = arrays[name]
        if array is None:
            continue
        if array.shape != shape or 0 in shape:
            raise ValueError(f"packed {name} has shape {array.shape}, but must be {shape}")
        if array.dtype != dtype or not array.flags.c_contiguous or not array.flags.aligned:
            raise ValueError(f"packed {name} must be a contiguous array of {dtype}, not of {array.dtype}")
    return 0


cdef inline list take_addresses(LayerWeights *weights, ptrdiff_t lanes, dict arrays):
    """Point `weights` at packed arrays, which must fit; returns what must be kept."""
    check_arrays(weights, lanes, arrays)
    kept = [array for array in arrays.values() if array is not None]
    weights.input = address_of(arrays["input"])
    weights.hidden = address_of(arrays["hidden"])
    weights.bias = address_of(arrays["bias"])
    weights.peephole = address_of(arrays["peephole"])
    weights.projection = address_of(arrays["projection"])
    if weights.precision == LSTM_INT8:
        # What 128 more in every input adds to a sum, times -1: (P, 4, L).
        offsets = [-128 * arrays[name].sum(axis=(1, 4), dtype="int32") for name in ("input", "hidden")]
        weights.input_scales = <const float *>address_of(arrays["input_scales"])
        weights.hidden_scales = <const float *>address_of(arrays["hidden_scales"])
        weights.input_offsets = <const int32_t *>address_of(offsets[0])
        weights.hidden_offsets = <const int32_t *>address_of(offsets[1])
        kept += offsets
    return kept


cdef inline int precision_of(name) except -1:
    """LSTM_FULL and so on, of None or a name of `PRECISIONS` in lstm/core/precision.py."""
    names = (None, "bfloat16", "float16", "int8")  # as in csrc/small_weights.h
    if name not in names:
        raise ValueError(f"precision is {name!r}, but must be one of {names}")
    return names.index(name)


cdef inline void set_narrow(LayerWeights *weights) noexcept:
    """The kernels of weights in 16 bits on this CPU."""
    isa = lstm_isa_at(weights.isa)
    weights.narrow = NULL
    weights.int8 = NULL
    if weights.precision == LSTM_BFLOAT16:
        weights.narrow = isa.bfloat16
    elif weights.precision == LSTM_FLOAT16:
        weights.narrow = isa.float16()


cdef inline void set_products(
    LayerWeights *weights, const lstm_int8_kernels *products, ptrdiff_t panel_tile
) noexcept:
    """Multiply int8 by these; `panel_tile` is that of the float32 tiles of the ISA."""
    weights.int8 = products
    weights.row_panels = min(panel_tile, products.panel_tile)


cdef inline void set_sizes(
    LayerWeights *weights, ptrdiff_t lanes, ptrdiff_t panel_tile, ptrdiff_t weight_bytes
) noexcept:
    """What follows from input_size, hidden_size, state_size, projection and the kernels."""
    cdef ptrdiff_t vector_bytes = lanes * weight_bytes
    # A panel's four chains read a vector a cycle: what L2 yields if that is a cache line, else too little.
    cdef ptrdiff_t needed = LSTM_CACHE_LINE // vector_bytes
    cdef ptrdiff_t fitting = TILE_BYTES // (GATE_COUNT * vector_bytes * weights.state_size)
    weights.panels = (weights.hidden_size + lanes - 1) // lanes
    weights.row_panels = min(panel_tile, max(needed, fitting))
    if weights.narrow is not NULL and weights.narrow.gates[1][1] is NULL:
        weights.row_panels = 1  # one panel at a time is widened
    weights.state_width = weights.panels * lanes
    weights.projection_panels = 0
    if weights.projection is not NULL:
        weights.projection_panels = (weights.state_size + GATE_COUNT * lanes - 1) // (GATE_COUNT * lanes)
        weights.state_width = weights.projection_panels * GATE_COUNT * lanes


cdef inline int check_activations(activations) except -1:
    for kind, _, _ in activations:
        if not 0 <= kind < LSTM_ACTIVATION_COUNT:
            raise ValueError(f"there is no activation {kind}")
    return 0


cdef inline void set_variant(Variant *variant, clip, cell_clip, bint input_forget, activations) noexcept:
    """Fill it in: bounds or None, and three of (kind, alpha, beta)."""
    gates, candidate, cell_output = activations
    variant.gates.kind, variant.gates.alpha, variant.gates.beta = gates
    variant.candidate.kind, variant.candidate.alpha, variant.candidate.beta = candidate
    variant.cell_output.kind, variant.cell_output.alpha, variant.cell_output.beta = cell_output
    variant.clip = INFINITY if clip is None else clip
    variant.cell_clip = INFINITY if cell_clip is None else cell_clip
    variant.input_forget = input_forget


cdef inline int set_options(LayerWeights *weights, options) except -1:
    """Both variants and the bound of h, from the options of `PackedWeights`, None for the default ones."""
    default = ((LSTM_SIGMOID, 1.0, 0.0), (LSTM_TANH, 1.0, 0.0), (LSTM_TANH, 1.0, 0.0))
    clip, cell_clip, proj_clip, input_forget, activations = (
        (None, None, None, False, default) if options is None else options
    )
    weights.proj_clip = INFINITY if proj_clip is None else proj_clip
    check_activations(activations)
    set_variant[lstm_f32_variant](&weights.f32, clip, cell_clip, input_forget, activations)
    set_variant[lstm_f64_variant](&weights.f64, clip, cell_clip, input_forget, activations)
    return 0


cdef inline ptrdiff_t lanes_of(const LayerWeights *weights) noexcept nogil:
    """Units in one vector."""
    if weights.is_double:
        return lstm_isa_at(weights.isa).f64.lanes
    return lstm_isa_at(weights.isa).f32.lanes


cdef inline bint has_branches(int kind) noexcept nogil:
    """Whether the value of an activation does not tell its slope."""
    return kind == LSTM_LEAKY_RELU or kind == LSTM_THRESHOLDED_RELU or kind == LSTM_ELU


cdef inline bint needs_codes(const Variant *variant) noexcept nogil:
    """Whether the values of the gates do not tell the slopes at their sums."""
    return (
        variant.clip < INFINITY
        or has_branches(variant.gates.kind)
        or has_branches(variant.candidate.kind)
    )


cdef inline void bind_weights(Pass *layer, const LayerWeights *weights) noexcept nogil:
    """Point `layer` at the weights, and take their sizes."""
    if Pass is lstm_f32_pass:
        layer.kernels = lstm_isa_at(weights.isa).f32
        layer.input_weights = <const float *>weights.input
        layer.hidden_weights = <const float *>weights.hidden
        layer.bias = <const float *>weights.bias
        layer.projection = <const float *>weights.projection
        layer.peephole = <const float *>weights.peephole
        layer.variant = &weights.f32
    else:
        layer.kernels = lstm_isa_at(weights.isa).f64
        layer.input_weights = <const double *>weights.input
        layer.hidden_weights = <const double *>weights.hidden
        layer.bias = <const double *>weights.bias
        layer.projection = <const double *>weights.projection
        layer.peephole = <const double *>weights.peephole
        layer.variant = &weights.f64
    if weights.has_default_equations:
        layer.variant = NULL
    layer.input_size = weights.input_size
    layer.hidden_size = weights.hidden_size
    layer.state_size = weights.state_size
    layer.panels = weights.panels
    layer.row_panels = weights.row_panels
    layer.projection_panels = weights.projection_panels
    layer.proj_clip = weights.proj_clip
    layer.state_width = weights.state_width
    bind_precision(layer, weights)


cdef inline void bind_precision(Pass *layer, const LayerWeights *weights) noexcept nogil:
    """What tells how the weights are kept."""
    cdef ptrdiff_t vectors = GATE_COUNT * layer.kernels.lanes
    layer.weight_row = layer.projection_row = vectors
    layer.input_depth, layer.hidden_depth = layer.input_size, layer.state_size
    layer.narrow = weights.narrow
    layer.int8 = weights.int8
    layer.reads_packed = False
    if weights.narrow is not NULL:
        layer.weight_row = layer.projection_row = vectors // 2
    elif weights.int8 is not NULL:
        layer.weight_row = vectors // 4
        layer.input_depth = whole_groups(layer.input_size)
        layer.hidden_depth = whole_groups(layer.state_size)
        layer.input_scales, layer.hidden_scales = weights.input_scales, weights.hidden_scales
        layer.input_offsets, layer.hidden_offsets = weights.input_offsets, weights.hidden_offsets
        layer.least_hidden = 1 if weights.bounds_hidden else 0


cdef inline ptrdiff_t whole_groups(ptrdiff_t depth) noexcept nogil:
    """k that are packed as int8."""
    return (depth + LSTM_INT8_GROUP - 1) // LSTM_INT8_GROUP * LSTM_INT8_GROUP
