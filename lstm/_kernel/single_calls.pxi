# The micro-kernels one by one, for tests: a part of kernel.pyx.

from .single_int8 cimport int8_row_typed, int8_tile_typed, quantize_typed
from .single_tiles cimport check_row, check_tile, map_arrays, row_limits_of, run_single_row, run_tile


def sigmoid(x, y, isa=DEFAULT_ISA):
    """x (n,), y (n,): y = 1 / (1 + exp(-x)), as the cell update computes it."""
    map_arrays(x, y, isa_index(isa), False)


def tanh(x, y, isa=DEFAULT_ISA):
    """x (n,), y (n,): y = tanh(x), as the cell update computes it."""
    map_arrays(x, y, isa_index(isa), True)


def gates_tile(input, weights, start, sums, isa=DEFAULT_ISA):
    """input (rows, depth), weights (panels, depth, 4, L), start, sums (rows, panels, 4, L): one tile.

    sums = start + input . weights, of `lstm_<dtype>_gates_<rows>x<panels L>__<isa>`.
    """
    arrays = {"weights": weights, "start": start, "sums": sums}
    check_tile(isa, tile_limits(isa, start.dtype.name), input, arrays)
    run_tile(isa_index(isa), input, weights, start, {"sums": sums})


def step_tile(input, weights, start, cell, hidden, output=None, isa=DEFAULT_ISA):
    """gates_tile, then the cell update: cell, hidden (rows, panels, L), output (rows, units) or None.

    `cell` holds C before the step and is overwritten with C after it; `hidden`, and `output` for the
    units it has, are overwritten with h. Of `lstm_<dtype>_step_<rows>x<panels L>__<isa>`.
    """
    arrays = {"weights": weights, "start": start, "cell": cell, "hidden": hidden}
    rows, panels = check_tile(isa, tile_limits(isa, start.dtype.name), input, arrays)
    units = panels * start.shape[3]
    if output is not None and not (output.shape[0] == rows and 1 <= output.shape[1] <= units):
        raise ValueError(f"output has shape {output.shape}, but must be ({rows}, 1 to {units})")
    run_tile(isa_index(isa), input, weights, start, {"cell": cell, "hidden": hidden, "output": output})


def row_limits(isa, dtype):
    """(most panels of a net of one tile, whether there is a kernel for more): the kernels of a row alone."""
    return row_limits_of(isa_index(isa), dtype == "float64")


def row_steps(
    bint is_net, weights, start, cell, hidden, output=None, x=None, x_weights=None, bint forward=True,
    isa=DEFAULT_ISA,
):
    """weights (P, depth, 4, L), start (T, P, 4, L), cell (P, L), hidden (2, P, L): all steps of a row alone.

    hidden holds h before the steps in its first part, where also that after them is, but after an odd number
    of steps of a net of several tiles, whose h is in the second. output (T, depth) is overwritten with every
    h. `is_net` asks for the kernel of a net of one tile, which adds x (T,) times x_weights (P, 4, L).
    """
    others = {
        "start": start, "cell": cell, "hidden": hidden, "output": output, "x": x, "x_weights": x_weights
    }
    dtype = start.dtype.name
    limits = (lanes(isa, dtype), *row_limits(isa, dtype))
    check_row(isa, limits, is_net, weights, others)
    run_single_row(is_net, isa_index(isa), weights, others, forward)


def quantize_row(x, float least, integers, isa, name):
    """x (n,) -> its scale and its integers, bytes of n rounded up to 16 of them, by a set of `int8_sets`.

    The largest |x| counts as `least` if it is smaller.
    """
    return quantize_typed(int8_set(isa_index(isa), name), x, least, integers)


def int8_tile(arrays, sums, isa, name):
    """sums (rows, panels, 4, L) = start + input_scales scales (integers . weights), by one of `int8_sets`.

    `arrays` are integers (rows, bytes) of `quantize_row`, input_scales (rows,), weights
    (panels, K / 4, 4, L, 4), scales and offsets (panels, 4, L), -128 times the sums of weights, and start.
    """
    integers, input_scales, weights, scales, offsets, start = arrays
    int8_tile_typed(
        int8_set(isa_index(isa), name), integers, input_scales, weights, scales, offsets, start, sums
    )


def has_int8_row(isa, name):
    """Whether one of `int8_sets` runs all steps of a row by one call."""
    return int8_set(isa_index(isa), name).row_steps is not NULL


def int8_row_steps(arrays, states, output, ptrdiff_t depth, bint forward, isa, name):
    """All steps of a row alone of the default equations, by one of `int8_sets`.

    `arrays` are weights (P, K / 4, 4, L, 4), scales, offsets (P, 4, L) and start (T, P, 4, L), sums without
    h. `states` are cell and hidden (P, L), before the steps and then after them, and room for 2 P L integers.
    output (T, depth) is overwritten with every h, or None.
    """
    weights, scales, offsets, start = arrays
    cell, hidden, integers = states
    int8_row_typed(
        int8_set(isa_index(isa), name), weights, scales, offsets, start, cell, hidden, integers, output,
        depth, forward,
    )
