# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False, autotestdict=False
# The packed weights of one layer and direction as the loops see them: sizes and addresses, no Python object.
from libc.math cimport INFINITY

from .micro_kernels cimport (
    GATE_COUNT,
    LSTM_CACHE_LINE,
    LSTM_ACTIVATION_COUNT,
    LSTM_ELU,
    LSTM_LEAKY_RELU,
    LSTM_SIGMOID,
    LSTM_TANH,
    LSTM_THRESHOLDED_RELU,
    Pass,
    Real,
    Variant,
    lstm_f32_pass,
    lstm_f32_variant,
    lstm_f64_variant,
    lstm_isa_at,
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
    lstm_f32_variant f32
    lstm_f64_variant f64


cdef inline const void *address(const Real[:, :, :, ::1] array) noexcept:
    return &array[0, 0, 0, 0]


cdef inline const void *address_of(array, bint is_double):
    """The first element of an array of at most four axes, contiguous and not empty; NULL for None."""
    if array is None:
        return NULL
    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    return address[double](array) if is_double else address[float](array)


cdef inline int check_shapes(const LayerWeights *weights, ptrdiff_t lanes, dict arrays) except -1:
    """ValueError if packed arrays do not fit the sizes; peephole and projection may be None."""
    panels = (weights.hidden_size + lanes - 1) // lanes
    groups = (weights.state_size + GATE_COUNT * lanes - 1) // (GATE_COUNT * lanes)
    shapes = {
        "input": (panels, weights.input_size, GATE_COUNT, lanes),
        "hidden": (panels, weights.state_size, GATE_COUNT, lanes),
        "bias": (panels, GATE_COUNT, lanes),
        "peephole": (panels, 3, lanes),
        "projection": (groups, weights.hidden_size, GATE_COUNT, lanes),
    }
    if arrays["projection"] is None and weights.state_size != weights.hidden_size:
        raise ValueError(
            f"h has {weights.state_size} features, C {weights.hidden_size}, and there is no projection"
        )
    for name, shape in shapes.items():
        array = arrays[name]
        if array is not None and (array.shape != shape or 0 in shape):
            raise ValueError(f"packed {name} has shape {array.shape}, but must be {shape}")
    return 0


cdef inline void set_sizes(
    LayerWeights *weights, ptrdiff_t lanes, ptrdiff_t panel_tile, ptrdiff_t element_size
) noexcept:
    """What follows from input_size, hidden_size, state_size and projection."""
    cdef ptrdiff_t vector_bytes = lanes * element_size
    # A panel's four chains read a vector a cycle: what L2 yields if that is a cache line, else too little.
    cdef ptrdiff_t needed = LSTM_CACHE_LINE // vector_bytes
    cdef ptrdiff_t fitting = TILE_BYTES // (GATE_COUNT * vector_bytes * weights.state_size)
    weights.panels = (weights.hidden_size + lanes - 1) // lanes
    weights.row_panels = min(panel_tile, max(needed, fitting))
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
