# cython: language_level=3, autotestdict=False
# The sets of instructions that multiply int8, of one ISA: csrc/small_weights.h.
from .micro_kernels cimport lstm_int8_kernels, lstm_isa_at


cdef inline dict int8_limits(int isa):
    """(rows, panels, bytes of an integer) of those that this CPU runs by name, the fastest first."""
    cdef const lstm_int8_kernels *const *sets = lstm_isa_at(isa).int8
    limits = {}
    while sets[0] is not NULL:
        if sets[0].supported():
            limits[sets[0].name.decode()] = (sets[0].row_tile, sets[0].panel_tile, sets[0].integer_bytes)
        sets += 1
    return limits


cdef inline const lstm_int8_kernels *int8_set(int isa, name) except NULL:
    """That of this name among those that this CPU runs, or for None the fastest; else ValueError."""
    cdef const lstm_int8_kernels *const *sets = lstm_isa_at(isa).int8
    while sets[0] is not NULL:
        if sets[0].supported() and (name is None or sets[0].name.decode() == name):
            return sets[0]
        sets += 1
    raise ValueError(f"this CPU does not multiply int8 by {name!r}, but by {', '.join(int8_limits(isa))}")
