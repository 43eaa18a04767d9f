# cython: language_level=3, autotestdict=False
# The instruction sets that the kernel was built for, and the one that it uses.
from .micro_kernels cimport LSTM_ISA_COUNT, lstm_isa_at


cdef inline tuple isa_names(bint supported):
    """The names of all ISAs, or of those that this CPU runs, from the least to the best."""
    cdef int index
    names = []
    for index in range(LSTM_ISA_COUNT):
        if not supported or lstm_isa_at(index).supported():
            names.append(lstm_isa_at(index).name.decode())
    return tuple(names)


cdef inline default_isa(tuple known, tuple supported):
    """The best ISA, or that of LSTM_ISA; ValueError if this CPU does not run it."""
    import os

    forced = os.environ.get("LSTM_ISA")
    if not forced:
        return supported[-1]
    if forced not in supported:
        reason = "not run by this CPU" if forced in known else "unknown"
        raise ValueError(
            f"the environment variable LSTM_ISA is {forced!r}, which is {reason}; "
            f"this machine has {', '.join(supported)}"
        )
    return forced


cdef inline tuple tile_limits_of(int isa, dtype):
    """(lanes, rows of the tallest tile, panels of the widest tile) for "float32" or "float64"."""
    if dtype == "float32":
        f32 = lstm_isa_at(isa).f32
        return f32.lanes, f32.row_tile, f32.panel_tile
    if dtype == "float64":
        f64 = lstm_isa_at(isa).f64
        return f64.lanes, f64.row_tile, f64.panel_tile
    raise ValueError(f"dtype is {dtype!r}, but must be 'float32' or 'float64'")
