/* One step of the cell from its last operation to its first, on one vector of units at a time.
 *
 * Written dv for the gradient of the loss by v; lstm/core/reference_gradients.py has the equations.
 * Included by kernels_impl.h for each dtype: the same sequence of IEEE operations on every ISA. */

/* 1 where the function's other branch is taken at z, 0 elsewhere: what its value does not tell. */
static LSTM_INLINE VEC NAME(other_branch)(const ACTIVATION *function, VEC z) {
    const VEC zero = VEC_ZERO();
    const VEC one = VEC_SET1(1);
    switch (function->kind) {
    case LSTM_LEAKY_RELU:
    case LSTM_ELU:
        return VEC_SELECT_LESS(z, zero, one, zero);
    case LSTM_THRESHOLDED_RELU:
        return VEC_SELECT_LESS(VEC_SET1(function->alpha), z, zero, one);
    default:
        return zero;
    }
}

/* The code of a gate's slope: 2 where the bound cut its sum, else `other_branch`. */
static LSTM_INLINE VEC NAME(slope_code)(const ACTIVATION *function, VEC low, VEC high, VEC z) {
    const VEC cut = VEC_SET1(2);
    return VEC_SELECT_LESS(z, low, cut, VEC_SELECT_LESS(high, z, cut, NAME(other_branch)(function, z)));
}

/* The derivative of a function whose value is y; `other` is `other_branch`. */
static VEC NAME(slope)(const ACTIVATION *function, VEC y, VEC other) {
    const VEC zero = VEC_ZERO();
    const VEC one = VEC_SET1(1);
    const VEC alpha = VEC_SET1(function->alpha);
    switch (function->kind) {
    case LSTM_TANH:
        return VEC_FNMA(y, y, one);
    case LSTM_RELU:
        return VEC_SELECT_LESS(zero, y, one, zero);
    case LSTM_AFFINE:
        return alpha;
    case LSTM_LEAKY_RELU:
        return VEC_SELECT_LESS(zero, other, alpha, one);
    case LSTM_THRESHOLDED_RELU:
        return VEC_SUB(one, other);
    case LSTM_SCALED_TANH:
        if (function->alpha == 0) {
            return zero;
        }
        return VEC_MUL(VEC_SET1(function->beta), VEC_FNMA(y, VEC_DIV(y, alpha), alpha));
    case LSTM_HARD_SIGMOID:
        return VEC_SELECT_LESS(zero, y, VEC_SELECT_LESS(y, one, alpha, zero), zero);
    case LSTM_ELU:
        return VEC_SELECT_LESS(zero, other, VEC_ADD(y, alpha), one);
    case LSTM_SOFTSIGN: {
        const VEC rest = VEC_ADD(one, VEC_MINUS_ABS(y));
        return VEC_MUL(rest, rest);
    }
    case LSTM_SOFTPLUS:
        return VEC_SUB(zero, NAME(vec_exp_minus_one)(VEC_SUB(zero, y)));
    default:
        return VEC_MUL(y, VEC_SUB(one, y));
    }
}

/* The next code of a slope from the rest of the codes of all gates, whose unit is `place`: 0, 1 or 2. */
static LSTM_INLINE VEC NAME(next_code)(VEC *codes, REAL place) {
    const VEC one = VEC_SET1(1);
    const VEC two = VEC_SET1(2);
    const VEC code = VEC_SELECT_LESS(*codes, VEC_SET1(place), VEC_ZERO(),
                                     VEC_SELECT_LESS(*codes, VEC_SET1(2 * place), one, two));
    *codes = VEC_FNMA(code, VEC_SET1(place), *codes);
    return code;
}

/* The slope at a gate's sum, 0 if a bound cut that. */
static LSTM_INLINE VEC NAME(coded_slope)(const ACTIVATION *function, VEC y, VEC code) {
    return VEC_SELECT_LESS(VEC_SET1(1), code, VEC_ZERO(), NAME(slope)(function, y, code));
}

/* One vector of units: what was recorded, and the gradients that come in and go out. */
typedef struct {
    VEC i, f, g, o, before, after, squashed;
    VEC d_hidden, d_cell;            /* in; d_cell becomes that of the step before */
    VEC d_i, d_f, d_g, d_o, d_total; /* out: of the gates' sums, and of C with all that reaches it */
} NAME(cell_vectors);

static LSTM_INLINE void NAME(backward_default)(NAME(cell_vectors) * c) {
    const VEC one = VEC_SET1(1);
    const VEC through_o = VEC_MUL(c->d_hidden, c->o);
    c->d_total = VEC_FMA(through_o, VEC_FNMA(c->squashed, c->squashed, one), c->d_cell);
    c->d_o = VEC_MUL(VEC_MUL(through_o, c->squashed), VEC_SUB(one, c->o));
    const VEC through_i = VEC_MUL(c->d_total, c->i);
    c->d_i = VEC_MUL(VEC_MUL(through_i, c->g), VEC_SUB(one, c->i));
    c->d_g = VEC_MUL(through_i, VEC_FNMA(c->g, c->g, one));
    c->d_cell = VEC_MUL(c->d_total, c->f);
    c->d_f = VEC_MUL(VEC_MUL(c->d_cell, c->before), VEC_SUB(one, c->f));
}

/* With all that a variant may ask for; `peephole` is (3, LANES) or NULL. */
static void NAME(backward_variant)(NAME(cell_vectors) * c, const VARIANT *variant, int has_codes,
                                   const REAL *peephole) {
    const VEC zero = VEC_ZERO();
    const VEC sum = VEC_FMA(c->f, c->before, VEC_MUL(c->i, c->g));
    VEC code_i = zero, code_f = zero, code_g = zero, code_o = zero;
    if (has_codes) {
        VEC codes = c->squashed;
        code_o = NAME(next_code)(&codes, 64);
        code_g = NAME(next_code)(&codes, 16);
        code_f = NAME(next_code)(&codes, 4);
        code_i = codes;
        c->squashed = NAME(vec_activation)(&variant->cell_output, c->after);
    }
    const VEC at_output =
        NAME(slope)(&variant->cell_output, c->squashed, NAME(other_branch)(&variant->cell_output, c->after));
    const VEC at_o = NAME(coded_slope)(&variant->gates, c->o, code_o);
    c->d_o = VEC_MUL(VEC_MUL(c->d_hidden, c->squashed), at_o);
    c->d_total = VEC_FMA(VEC_MUL(c->d_hidden, c->o), at_output, c->d_cell);
    if (peephole != NULL) {
        c->d_total = VEC_FMA(VEC_LOAD(peephole + 2 * LANES), c->d_o, c->d_total);
    }
    VEC within = VEC_SELECT_LESS(VEC_SET1(variant->cell_clip), sum, zero, c->d_total);
    within = VEC_SELECT_LESS(sum, VEC_SET1(-variant->cell_clip), zero, within);
    const VEC at_i = NAME(coded_slope)(&variant->gates, c->i, code_i);
    if (variant->input_forget) {
        c->d_i = VEC_MUL(VEC_MUL(within, VEC_SUB(c->g, c->before)), at_i);
        c->d_f = zero;
    } else {
        c->d_i = VEC_MUL(VEC_MUL(within, c->g), at_i);
        c->d_f = VEC_MUL(VEC_MUL(within, c->before), NAME(coded_slope)(&variant->gates, c->f, code_f));
    }
    c->d_g = VEC_MUL(VEC_MUL(within, c->i), NAME(coded_slope)(&variant->candidate, c->g, code_g));
    c->d_cell = VEC_MUL(within, c->f);
    if (peephole != NULL) {
        c->d_cell = VEC_FMA(VEC_LOAD(peephole), c->d_i, c->d_cell);
        c->d_cell = VEC_FMA(VEC_LOAD(peephole + LANES), c->d_f, c->d_cell);
    }
}

/* Sums of squares are spread over LSTM_SQUARES places by unit, so that their order is that of no ISA. */
enum { NAME(SQUARE_VECTORS) = LSTM_SQUARES / LANES };

/* The vector of `squares` that has the places of units from `unit` on gets those of x. */
static LSTM_INLINE void NAME(add_squares)(VEC *squares, ptrdiff_t unit, VEC x) {
    VEC *const place = squares + unit / LANES % NAME(SQUARE_VECTORS);
    *place = VEC_FMA(x, x, *place);
}

/* The sum of so many vectors, a power of two, those that are half as far apart added first; it changes them. */
static LSTM_INLINE VEC NAME(folded)(VEC *vectors, const int count) {
    for (int width = count / 2; width > 0; width /= 2) {
        for (int k = 0; k < width; k++) {
            vectors[k] = VEC_ADD(vectors[k], vectors[k + width]);
        }
    }
    return vectors[0];
}

/* The sum of all lanes, in the order of `folded`. */
static LSTM_INLINE REAL NAME(lane_sum)(VEC x) {
    REAL sums[LANES];
    VEC_STORE(sums, x);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int k = 0; k < width; k++) {
            sums[k] += sums[k + width];
        }
    }
    return sums[0];
}

static LSTM_INLINE REAL NAME(root)(REAL sum) {
    const REAL root = REAL_SQRT(sum);
    return root == root ? root : (REAL)NAN;
}

/* norms (count,) of as many rows from their folded squares, rows (LANES,), which it may change. */
static LSTM_INLINE void NAME(norms)(VEC *rows, ptrdiff_t count, REAL *norms) {
    /* All rows side by side: one by one they took a twelfth of the backward pass of H = 32, B = 32. */
    if (count > LANES / 4) {
        for (ptrdiff_t r = count; r < LANES; r++) {
            rows[r] = VEC_ZERO();
        }
        VEC_TRANSPOSE(rows);
        VEC_STORE(norms, NAME(folded)(rows, LANES));
        for (int k = 0; k < LANES; k++) {
            norms[k] = NAME(root)(norms[k]);
        }
        return;
    }
    for (ptrdiff_t r = 0; r < count; r++) {
        norms[r] = NAME(root)(NAME(lane_sum)(rows[r]));
    }
}

/* The first `units` of x, zeros for the others: what is past the net's last unit may be NaN. */
static LSTM_INLINE VEC NAME(first_units)(VEC x, ptrdiff_t units) {
    if (units < LANES) {
        REAL values[LANES] = {0};
        VEC_STORE_FIRST(values, units, x);
        return VEC_LOAD(values);
    }
    return x;
}

/* One row; hidden_squares, if its norm is asked for, and cell_squares are the folded squares of dh and dC. */
static LSTM_INLINE void NAME(backward_row)(const CELL_GRADIENT *step, ptrdiff_t r, VEC *hidden_squares,
                                           VEC *cell_squares) {
    const RECORD *const record = &step->record;
    const ptrdiff_t caller_row = step->order == NULL ? r : step->order[r];
    const ptrdiff_t width = step->panels * LANES;
    VEC of_hidden[NAME(SQUARE_VECTORS)], of_cell[NAME(SQUARE_VECTORS)];
    for (int k = 0; k < NAME(SQUARE_VECTORS); k++) {
        of_hidden[k] = of_cell[k] = VEC_ZERO();
    }
    REAL *const d_sums = step->d_sums + r * step->d_sums_row_stride;
    for (ptrdiff_t p = 0; p < step->panels; p++) {
        const ptrdiff_t unit = p * LANES;
        const ptrdiff_t units = step->units - unit;
        const ptrdiff_t place = p * record->panel_stride + r * record->row_stride;
        REAL *const gates = record->gates + place * GATE_COUNT * LANES;
        REAL *const squashed = record->squashed + place * LANES;
        const REAL *const cells =
            record->cells + (p * record->cells_panel_stride + r * record->cells_row_stride) * LANES;
        REAL *const d_cell = step->d_cell + r * width + unit;
        if (step->prefetch != 0) {
            NAME(prefetch_record)(gates, squashed, cells, step->prefetch);
        }
        NAME(cell_vectors) c;
        c.i = VEC_LOAD(gates + GATE_I * LANES);
        c.f = VEC_LOAD(gates + GATE_F * LANES);
        c.g = VEC_LOAD(gates + GATE_G * LANES);
        c.o = VEC_LOAD(gates + GATE_O * LANES);
        c.before = VEC_LOAD(cells + (step->reverse ? LANES : 0));
        c.after = VEC_LOAD(cells + (step->reverse ? 0 : LANES));
        c.squashed = VEC_LOAD(squashed);
        c.d_hidden = VEC_LOAD(step->d_hidden + r * width + unit);
        if (step->d_output != NULL) {
            const REAL *const d_output = step->d_output + caller_row * step->d_output_row_stride + unit;
            if (step->prefetch != 0) {
                VEC_PREFETCH((const char *)(d_output + step->prefetch * step->d_output_step_stride));
            }
            const VEC added = units < LANES ? VEC_LOAD_FIRST(d_output, units) : VEC_LOAD(d_output);
            c.d_hidden = VEC_ADD(c.d_hidden, added);
        }
        c.d_cell = VEC_LOAD(d_cell);
        if (step->variant == NULL) {
            NAME(backward_default)(&c);
        } else {
            NAME(backward_variant)
            (&c, step->variant, record->has_codes, step->peephole == NULL ? NULL : step->peephole + 3 * unit);
        }
        VEC_STORE(d_cell, c.d_cell);
        VEC_STORE(gates + GATE_I * LANES, c.d_i);
        VEC_STORE(gates + GATE_F * LANES, c.d_f);
        VEC_STORE(gates + GATE_G * LANES, c.d_g);
        VEC_STORE(gates + GATE_O * LANES, c.d_o);
        VEC_STORE(d_sums + GATE_I * width + unit, c.d_i);
        VEC_STORE(d_sums + GATE_F * width + unit, c.d_f);
        VEC_STORE(d_sums + GATE_G * width + unit, c.d_g);
        VEC_STORE(d_sums + GATE_O * width + unit, c.d_o);
        if (step->projects) {
            VEC_STORE(squashed, VEC_MUL(c.o, c.squashed));
        }
        if (step->hidden_norms != NULL) {
            NAME(add_squares)(of_hidden, unit, NAME(first_units)(c.d_hidden, units));
        }
        NAME(add_squares)(of_cell, unit, NAME(first_units)(c.d_total, units));
    }
    *hidden_squares = NAME(folded)(of_hidden, NAME(SQUARE_VECTORS));
    *cell_squares = NAME(folded)(of_cell, NAME(SQUARE_VECTORS));
}

/* norms (caller's rows,) of `count` rows from `row` on, from their folded squares (LANES,); NULL takes none. */
static LSTM_INLINE void NAME(store_norms)(const CELL_GRADIENT *step, ptrdiff_t row, ptrdiff_t count,
                                          VEC *squares, REAL *norms) {
    REAL found[LANES];
    if (norms == NULL) {
        return;
    }
    NAME(norms)(squares, count, found);
    for (ptrdiff_t r = 0; r < count; r++) {
        const ptrdiff_t caller_row = step->order == NULL ? row + r : step->order[row + r];
        norms[caller_row * step->norms_row_stride] = found[r];
    }
}

/* gates (rows, panels, 4, LANES) and d_sums (rows, 4, panels, LANES) = gradients of the gates' sums, d_cell
 * that of C before the step, norms those of h and C. */
static void LSTM_MAP(DTYPE, cell_backward, ISA)(const CELL_GRADIENT *step) {
    VEC hidden_squares[LANES], cell_squares[LANES];
    for (ptrdiff_t first = 0; first < step->rows; first += LANES) {
        const ptrdiff_t count = step->rows - first < LANES ? step->rows - first : LANES;
        for (ptrdiff_t r = 0; r < count; r++) {
            NAME(backward_row)(step, first + r, &hidden_squares[r], &cell_squares[r]);
        }
        NAME(store_norms)(step, first, count, hidden_squares, step->hidden_norms);
        NAME(store_norms)(step, first, count, cell_squares, step->cell_norms);
    }
}

static void LSTM_MAP(DTYPE, cell_output, ISA)(const CELL_GRADIENT *step, ptrdiff_t r, REAL *output) {
    const RECORD *const record = &step->record;
    for (ptrdiff_t p = 0; p < step->panels; p++) {
        const ptrdiff_t place = (p * record->panel_stride + r * record->row_stride) * LANES;
        const REAL *const cells =
            record->cells + (p * record->cells_panel_stride + r * record->cells_row_stride) * LANES;
        VEC squashed = VEC_LOAD(record->squashed + place);
        if (record->has_codes) {
            squashed = NAME(vec_activation)(&step->variant->cell_output,
                                            VEC_LOAD(cells + (step->reverse ? 0 : LANES)));
        }
        const VEC o = VEC_LOAD(record->gates + (place * GATE_COUNT + GATE_O * LANES));
        VEC_STORE(output + p * LANES, VEC_MUL(o, squashed));
    }
}

static REAL LSTM_MAP(DTYPE, add_norm, ISA)(REAL *x, const REAL *y, ptrdiff_t n) {
    VEC squares[NAME(SQUARE_VECTORS)];
    for (int k = 0; k < NAME(SQUARE_VECTORS); k++) {
        squares[k] = VEC_ZERO();
    }
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        VEC sum = VEC_LOAD_FIRST(x + k, count);
        if (y != NULL) {
            sum = VEC_ADD(sum, VEC_LOAD_FIRST(y + k, count));
            VEC_STORE_FIRST(x + k, count, sum);
        }
        NAME(add_squares)(squares, k, sum);
    }
    return NAME(root)(NAME(lane_sum)(NAME(folded)(squares, NAME(SQUARE_VECTORS))));
}

/* dp_i += dz_i C_before, dp_f += dz_f C_before, dp_o += dz_o C_after, steps ascending in time, in blocks. */
static void LSTM_MAP(DTYPE, peephole_sums, ISA)(const REAL *gates, const REAL *cells, ptrdiff_t steps,
                                                int reverse, REAL *sums) {
    const REAL *const before = cells + (reverse ? LANES : 0);
    const REAL *const after = cells + (reverse ? 0 : LANES);
    for (ptrdiff_t block = 0; block < steps; block += LSTM_SUM_BLOCK) {
        const ptrdiff_t end = steps - block < LSTM_SUM_BLOCK ? steps : block + LSTM_SUM_BLOCK;
        VEC i = VEC_ZERO(), f = VEC_ZERO(), o = VEC_ZERO();
        for (ptrdiff_t t = block; t < end; t++) {
            const REAL *const dz = gates + t * GATE_COUNT * LANES;
            i = VEC_FMA(VEC_LOAD(dz + GATE_I * LANES), VEC_LOAD(before + t * LANES), i);
            f = VEC_FMA(VEC_LOAD(dz + GATE_F * LANES), VEC_LOAD(before + t * LANES), f);
            o = VEC_FMA(VEC_LOAD(dz + GATE_O * LANES), VEC_LOAD(after + t * LANES), o);
        }
        const VEC sum_i = VEC_ADD(VEC_LOAD(sums), i);
        VEC_STORE(sums, VEC_CANONICAL_NAN(sum_i));
        const VEC sum_f = VEC_ADD(VEC_LOAD(sums + LANES), f);
        VEC_STORE(sums + LANES, VEC_CANONICAL_NAN(sum_f));
        const VEC sum_o = VEC_ADD(VEC_LOAD(sums + 2 * LANES), o);
        VEC_STORE(sums + 2 * LANES, VEC_CANONICAL_NAN(sum_o));
    }
}
