/* One vector of a record, as records.h lays it out.  The vector macros are those of the including file. */

/* Offsets of the vectors of row r and panel p in a record. */
static LSTM_INLINE ptrdiff_t NAME(record_offset)(const RECORD *record, int r, int p) {
    return (r * record->row_stride + p * record->panel_stride) * LANES;
}

static LSTM_INLINE ptrdiff_t NAME(record_cells_offset)(const RECORD *record, int r, int p) {
    return (r * record->cells_row_stride + p * record->cells_panel_stride) * LANES;
}

/* A gate's values (LANES,) of row r and panel p into the record, if there is one. */
static LSTM_INLINE void NAME(record_gate)(const RECORD *record, int gate, int r, int p, VEC values) {
    if (record->gates != NULL) {
        REAL *const gates = record->gates + NAME(record_offset)(record, r, p) * GATE_COUNT;
        VEC_STORE(gates + gate * LANES, values);
    }
}

/* C (LANES,) of row r and panel p after the step into the record, if there is one. */
static LSTM_INLINE void NAME(record_cell)(const RECORD *record, int r, int p, VEC after) {
    if (record->gates != NULL) {
        VEC_STORE(record->cells + NAME(record_cells_offset)(record, r, p), after);
    }
}

/* The activation of C (LANES,) of row r and panel p into the record, if there is one. */
static LSTM_INLINE void NAME(record_squashed)(const RECORD *record, int r, int p, VEC squashed) {
    if (record->gates != NULL) {
        VEC_STORE(record->squashed + NAME(record_offset)(record, r, p), squashed);
    }
}

/* Go on by so many steps, if there is a record. */
static LSTM_INLINE void NAME(next_record)(RECORD *record, ptrdiff_t steps) {
    if (record->gates != NULL) {
        record->gates += steps * GATE_COUNT * LANES;
        record->cells += steps * LANES;
        record->squashed += steps * LANES;
    }
}

/* Go on to a later panel, if there is a record. */
static LSTM_INLINE void NAME(skip_panels)(RECORD *record, ptrdiff_t panels) {
    if (record->gates != NULL) {
        record->gates += panels * record->panel_stride * GATE_COUNT * LANES;
        record->cells += panels * record->cells_panel_stride * LANES;
        record->squashed += panels * record->panel_stride * LANES;
    }
}

/* Bring the vectors of a panel at another step into L2: a record lies row by row, so that the next step's
 * are everywhere else. */
static LSTM_INLINE void NAME(prefetch_record)(const REAL *gates, const REAL *squashed, const REAL *cells,
                                              ptrdiff_t steps) {
    const char *const line = (const char *)(gates + steps * GATE_COUNT * LANES);
    for (size_t k = 0; k < GATE_COUNT * LANES * sizeof(REAL); k += LSTM_CACHE_LINE) {
        VEC_PREFETCH(line + k);
    }
    VEC_PREFETCH((const char *)(squashed + steps * LANES));
    VEC_PREFETCH((const char *)(cells + steps * LANES));
}

/* Bring the place of the next step's vectors of row r and panel p into L2, if there is a record. */
static LSTM_INLINE void NAME(prefetch_next_record)(const RECORD *record, int r, int p) {
    if (record->gates != NULL) {
        const ptrdiff_t place = NAME(record_offset)(record, r, p);
        NAME(prefetch_record)
        (record->gates + place * GATE_COUNT, record->squashed + place,
         record->cells + NAME(record_cells_offset)(record, r, p), record->step_stride);
    }
}
