/* One vector of h to the caller.  The vector macros are those of the including file. */

/* output (rows, units) of one vector of units = hidden (LANES,), as far as the net has units. */
static LSTM_INLINE void NAME(store_output)(REAL *output, ptrdiff_t units, VEC hidden) {
    const VEC canonical = VEC_CANONICAL_NAN(hidden);
    if (units >= LANES) {
        VEC_STORE(output, canonical);
    } else if (units > 0) {
        memcpy(output, &canonical, (size_t)units * sizeof(REAL));
    }
}
