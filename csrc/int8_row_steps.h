/* A row of an int8 net: all time steps by one call, the cell update of a tile between the products of the next one,
 * so that neither waits for the other.  Included by int8_impl.h, for sets of one part.
 *
 * Of the default equations |h| is at most 1, so that its scale is known before it is: h becomes integers panel by
 * panel as it is computed.  Only a NaN changes the scale, which sums need at their end.
 */

/* Over the sums of a tile: clang leaves them in memory unless it is told to unroll. */
#ifdef __clang__
#define FOR_EACH_SUM(v, count) _Pragma("clang loop unroll(full)") for (int v = 0; v < (count); v++)
#else
#define FOR_EACH_SUM(v, count) _Pragma("GCC unroll 16") for (int v = 0; v < (count); v++)
#endif

enum {
    /* Most panels of a net of one tile: 16 sums, and as many registers for the cell update. */
    INT8_NAME(NET_PANELS) = 4,
    /* k of a panel of units, in groups. */
    INT8_NAME(PANEL_GROUPS) = LANES / LSTM_INT8_GROUP,
    /* Places between the stages of a panel's update at which products are added: PLACES / 2 times each of two
     * numbers of them. */
    INT8_NAME(PLACES) = 8
};

/* A tile whose sums are known and whose cell update is left to do. */
typedef struct {
    float sums[INT8_NAME(NET_PANELS) * GATE_COUNT * LANES] __attribute__((aligned(64)));
    ptrdiff_t panel;
    ptrdiff_t panels; /* 0: nothing */
    char *integers;   /* (panels of the net, LANES): h after the step */
    float *output;    /* (depth,) of the step, or NULL */
} INT8_NAME(update);

/* The products of a tile that are left to add: groups of k from `group` on, the first one after the last. */
typedef struct {
    const char *integers; /* h before the step */
    const int8_t *weights;
    ptrdiff_t panel_stride;
    ptrdiff_t groups;
    ptrdiff_t group;
    ptrdiff_t left;
    ptrdiff_t first;  /* how many to add at a place, and */
    ptrdiff_t second; /* at the one after it */
} INT8_NAME(products_left);

/* Add `n` groups to the sums of the tile. */
static LSTM_INLINE void INT8_NAME(add_groups)(INT8_NAME(products_left) * products, const int panels,
                                              ptrdiff_t n, INT *sums) {
    for (; n > 0; n--) {
        const INPUT x = LOAD_INPUT(products->integers + products->group * LSTM_INT8_GROUP * INTEGER_BYTES);
        const int8_t *const weights =
            products->weights + products->group * GATE_COUNT * LANES * LSTM_INT8_GROUP;
        FOR_EACH_SUM(v, panels * GATE_COUNT) {
            const ptrdiff_t at = v / GATE_COUNT * products->panel_stride;
            ADD_PRODUCTS_AT(sums[v], x, weights + at + v % GATE_COUNT * LANES * LSTM_INT8_GROUP);
        }
        products->group++;
        products->group = products->group == products->groups ? 0 : products->group;
        products->left--;
    }
}

/* C of panel p of a tile, and the activation of o in the place of its sum. */
static LSTM_INLINE void INT8_NAME(update_cell)(const lstm_int8_row *row, INT8_NAME(update) * update,
                                               ptrdiff_t p) {
    float *const gates = update->sums + p * GATE_COUNT * LANES;
    float *const cell = row->cell + (update->panel + p) * LANES;
    const VEC i = vec_sigmoid_f32(VEC_LOAD(gates + GATE_I * LANES));
    const VEC f = vec_sigmoid_f32(VEC_LOAD(gates + GATE_F * LANES));
    const VEC g = vec_tanh_f32(VEC_LOAD(gates + GATE_G * LANES));
    VEC_STORE(gates + GATE_O * LANES, vec_sigmoid_f32(VEC_LOAD(gates + GATE_O * LANES)));
    VEC_STORE(cell, VEC_FMA(f, VEC_LOAD(cell), VEC_MUL(i, g)));
}

/* The same with products of another tile of `panels` between the stages of two gates at a time. */
static LSTM_INLINE void INT8_NAME(update_cell_between)(const lstm_int8_row *row, INT8_NAME(update) * update,
                                                       ptrdiff_t p, INT8_NAME(products_left) * products,
                                                       const int panels, INT *sums) {
    float *const gates = update->sums + p * GATE_COUNT * LANES;
    float *const cell = row->cell + (update->panel + p) * LANES;
    stage_f32 i, f, g, o;
    sigmoid_range_f32(&i, VEC_LOAD(gates + GATE_I * LANES));
    tanh_range_f32(&g, VEC_LOAD(gates + GATE_G * LANES));
    INT8_NAME(add_groups)(products, panels, products->first, sums);
    sigmoid_tail_f32(&i);
    tanh_denominator_f32(&g);
    INT8_NAME(add_groups)(products, panels, products->second, sums);
    const VEC ig = VEC_MUL(sigmoid_quotient_f32(&i), tanh_quotient_f32(&g));
    INT8_NAME(add_groups)(products, panels, products->first, sums);
    sigmoid_range_f32(&f, VEC_LOAD(gates + GATE_F * LANES));
    sigmoid_range_f32(&o, VEC_LOAD(gates + GATE_O * LANES));
    INT8_NAME(add_groups)(products, panels, products->second, sums);
    sigmoid_tail_f32(&f);
    sigmoid_tail_f32(&o);
    INT8_NAME(add_groups)(products, panels, products->first, sums);
    VEC_STORE(cell, VEC_FMA(sigmoid_quotient_f32(&f), VEC_LOAD(cell), ig));
    VEC_STORE(gates + GATE_O * LANES, sigmoid_quotient_f32(&o));
    INT8_NAME(add_groups)(products, panels, products->second, sums);
}

/* h of panel p of a tile, as integers too, and whether any of it is NaN; `products` between, unless NULL. */
static LSTM_INLINE int INT8_NAME(update_hidden)(const lstm_int8_row *row, INT8_NAME(update) * update,
                                                ptrdiff_t p, INT8_NAME(products_left) * products,
                                                const int panels, INT *sums) {
    const ptrdiff_t unit = (update->panel + p) * LANES;
    const VEC o = VEC_LOAD(update->sums + (p * GATE_COUNT + GATE_O) * LANES);
    stage_f32 c;
    tanh_range_f32(&c, VEC_LOAD(row->cell + unit));
    tanh_denominator_f32(&c);
    if (products != NULL) {
        INT8_NAME(add_groups)(products, panels, products->first, sums);
    }
    const VEC hidden = VEC_MUL(o, tanh_quotient_f32(&c));
    if (products != NULL) {
        INT8_NAME(add_groups)(products, panels, products->second, sums);
    }
    STORE_INTEGERS(update->integers + unit * INTEGER_BYTES, VEC_MUL(hidden, VEC_SET1(127)));
    VEC_STORE(row->hidden + unit, hidden);
    if (update->output != NULL) {
        store_output_f32(update->output + unit, row->depth - unit, hidden);
    }
    return HAS_NAN(hidden);
}

/* The update of a tile whose h is needed by no products of this call. */
static LSTM_INLINE void INT8_NAME(update_last)(const lstm_int8_row *row, INT8_NAME(update) * update) {
    for (ptrdiff_t p = 0; p < update->panels; p++) {
        INT8_NAME(update_cell)(row, update, p);
        INT8_NAME(update_hidden)(row, update, p, NULL, 0, NULL);
    }
}

/* The products of a tile of `panels` from `panel` on, none of which is added yet. */
static LSTM_INLINE INT8_NAME(products_left)
    INT8_NAME(start_products)(const lstm_int8_row *row, const char *integers, ptrdiff_t panel,
                              const int panels, INT *sums) {
    const ptrdiff_t stride = row->groups * GATE_COUNT * LANES * LSTM_INT8_GROUP;
    const INT8_NAME(products_left)
        products = {integers, row->weights + panel * stride, stride, row->groups, 0, row->groups, 0, 0};
    FOR_EACH_SUM(v, panels * GATE_COUNT) {
        sums[v] = INT_START(row->offsets + panel * GATE_COUNT * LANES + v * LANES);
    }
    return products;
}

/* sums (panels, 4, LANES) = start + totals of a tile times both scales: that of h and those of its panels. */
static LSTM_INLINE void INT8_NAME(finish_sums)(const float *start, float scale, const float *scales,
                                               const int panels, const INT *totals, float *sums) {
    const VEC input_scale = VEC_SET1(scale);
    FOR_EACH_SUM(v, panels * GATE_COUNT) {
        const VEC both = VEC_MUL(input_scale, VEC_LOAD(scales + v * LANES));
        VEC_STORE(sums + v * LANES, VEC_FMA(VEC_FROM_SUMS(totals[v]), both, VEC_LOAD(start + v * LANES)));
    }
}

/* The scale of h after a step, of which `is_nan` says whether any is NaN. */
static LSTM_INLINE float INT8_NAME(hidden_scale)(int is_nan) { return is_nan ? NAN : 1.0f / 127; }

/* Add the groups of k of a panel of units, of the last one what there is of it; of a net of one tile, whose places
 * are constants. */
static LSTM_INLINE void INT8_NAME(add_panel)(const lstm_int8_row *row, const int unit_panel, const int panels,
                                             INT *sums) {
    const ptrdiff_t stride = row->groups * GATE_COUNT * LANES * LSTM_INT8_GROUP;
#pragma GCC unroll 4
    for (int n = 0; n < INT8_NAME(PANEL_GROUPS); n++) {
        const ptrdiff_t group = unit_panel * INT8_NAME(PANEL_GROUPS) + n;
        if (unit_panel == panels - 1 && group >= row->groups) {
            return;
        }
        const INPUT x = LOAD_INPUT(row->integers + group * LSTM_INT8_GROUP * INTEGER_BYTES);
        FOR_EACH_SUM(v, panels * GATE_COUNT) {
            const ptrdiff_t at = (group * GATE_COUNT + v % GATE_COUNT) * LANES * LSTM_INT8_GROUP;
            ADD_PRODUCTS_AT(sums[v], x, row->weights + v / GATE_COUNT * stride + at);
        }
    }
}

/* A net of one tile: the products with a panel's h come two panels after it, when it is known. */
static LSTM_INLINE void INT8_NAME(row_of_one_tile)(const lstm_int8_row *row, const int panels) {
    INT8_NAME(update) update;
    INT sums[INT8_NAME(NET_PANELS) * GATE_COUNT];
    float scale;
    int is_nan;
    INT8_NAME(quantize)(row->hidden, row->depth, 1, row->integers, &scale);
    INT8_NAME(products_left) products = INT8_NAME(start_products)(row, row->integers, 0, panels, sums);
    INT8_NAME(add_groups)(&products, panels, row->groups, sums);
    INT8_NAME(finish_sums)(row->start, scale, row->scales, panels, sums, update.sums);
    update.panel = 0;
    update.panels = panels;
    update.integers = row->integers;
    update.output = row->output;
    for (ptrdiff_t step = 1; step < row->steps; step++) {
        products = INT8_NAME(start_products)(row, row->integers, 0, panels, sums);
        is_nan = 0;
#pragma GCC unroll 6
        for (int p = 0; p < panels + 2; p++) {
            if (p < panels) {
                INT8_NAME(update_cell)(row, &update, p);
            }
            if (p > 0 && p <= panels) {
                is_nan |= INT8_NAME(update_hidden)(row, &update, p - 1, NULL, 0, NULL);
            }
            if (p > 1) {
                INT8_NAME(add_panel)(row, p - 2, panels, sums);
            }
        }
        const float *const start = row->start + step * row->start_step_stride;
        INT8_NAME(finish_sums)
        (start, INT8_NAME(hidden_scale)(is_nan), row->scales, panels, sums, update.sums);
        update.output = update.output == NULL ? NULL : update.output + row->output_step_stride;
    }
    INT8_NAME(update_last)(row, &update);
}

/* How many groups to add at each place of the update of `before`: the first tile of a step needs its h at last. */
static LSTM_INLINE void INT8_NAME(place_products)(INT8_NAME(products_left) * products,
                                                  const INT8_NAME(update) * before, int is_first_tile) {
    ptrdiff_t ready = products->groups;
    if (is_first_tile) {
        const ptrdiff_t begin = before->panel * INT8_NAME(PANEL_GROUPS);
        const ptrdiff_t end = begin + before->panels * INT8_NAME(PANEL_GROUPS);
        products->group = end < products->groups ? end : 0;
        ready = end < products->groups ? products->groups - end + begin : begin;
    }
    const ptrdiff_t half = ready / before->panels / (INT8_NAME(PLACES) / 2);
    products->first = (half + 1) / 2;
    products->second = half / 2;
}

/* after->sums of a tile; meanwhile the update of the tile before it. */
static LSTM_INLINE void INT8_NAME(row_tile)(const lstm_int8_row *row, const char *integers,
                                            const float *start, float *scale, int *is_nan, int is_first_tile,
                                            const int panels, INT8_NAME(update) * before,
                                            INT8_NAME(update) * after) {
    INT sums[2 * GATE_COUNT];
    INT8_NAME(products_left)
    products = INT8_NAME(start_products)(row, integers, after->panel, panels, sums);
    if (before->panels > 0) {
        INT8_NAME(place_products)(&products, before, is_first_tile);
        for (ptrdiff_t p = 0; p < before->panels; p++) {
            INT8_NAME(update_cell_between)(row, before, p, &products, panels, sums);
        }
        for (ptrdiff_t p = 0; p < before->panels; p++) {
            *is_nan |= INT8_NAME(update_hidden)(row, before, p, &products, panels, sums);
        }
    }
    INT8_NAME(add_groups)(&products, panels, products.left, sums);
    if (is_first_tile) {
        *scale = INT8_NAME(hidden_scale)(*is_nan);
        *is_nan = 0;
    }
    const ptrdiff_t vectors = after->panel * GATE_COUNT * LANES;
    INT8_NAME(finish_sums)(start + vectors, *scale, row->scales + vectors, panels, sums, after->sums);
}

/* A net of more tiles, of one or two panels each: forward at one step and backward at the next, as row_steps.h. */
static void INT8_NAME(row_of_tiles)(const lstm_int8_row *row) {
    const ptrdiff_t tiles = (row->panels + 1) / 2;
    const float *start = row->start;
    float *output = row->output;
    char *integers = row->integers;
    char *integers_next = row->integers + row->panels * LANES * INTEGER_BYTES;
    float scale;
    int is_nan = 0;
    INT8_NAME(update) updates[2];
    INT8_NAME(update) *before = &updates[0];
    INT8_NAME(update) *after = &updates[1];
    INT8_NAME(quantize)(row->hidden, row->depth, 1, integers, &scale);
    before->panels = 0;
    for (ptrdiff_t step = 0; step < row->steps; step++) {
        const int forward = row->forward ^ (int)(step % 2);
        for (ptrdiff_t done = 0; done < tiles; done++) {
            const ptrdiff_t tile = forward ? done : tiles - 1 - done;
            const int is_first = done == 0 && step > 0;
            after->panel = row->panels * tile / tiles;
            after->panels = row->panels * (tile + 1) / tiles - after->panel;
            after->integers = integers_next;
            after->output = output;
            if (after->panels == 1) {
                INT8_NAME(row_tile)(row, integers, start, &scale, &is_nan, is_first, 1, before, after);
            } else {
                INT8_NAME(row_tile)(row, integers, start, &scale, &is_nan, is_first, 2, before, after);
            }
            INT8_NAME(update) *const done_with = before;
            before = after;
            after = done_with;
        }
        start += row->start_step_stride;
        output = output == NULL ? NULL : output + row->output_step_stride;
        char *const turned = integers;
        integers = integers_next;
        integers_next = turned;
    }
    INT8_NAME(update_last)(row, before);
}

static void INT8_NAME(row_of_1)(const lstm_int8_row *row) { INT8_NAME(row_of_one_tile)(row, 1); }
static void INT8_NAME(row_of_2)(const lstm_int8_row *row) { INT8_NAME(row_of_one_tile)(row, 2); }
static void INT8_NAME(row_of_3)(const lstm_int8_row *row) { INT8_NAME(row_of_one_tile)(row, 3); }
static void INT8_NAME(row_of_4)(const lstm_int8_row *row) { INT8_NAME(row_of_one_tile)(row, 4); }

static void INT8_NAME(row_steps)(const lstm_int8_row *row) {
    static const lstm_int8_row_kernel of_one_tile[] = {INT8_NAME(row_of_1), INT8_NAME(row_of_2),
                                                       INT8_NAME(row_of_3), INT8_NAME(row_of_4)};
    (row->panels > INT8_NAME(NET_PANELS) ? INT8_NAME(row_of_tiles) : of_one_tile[row->panels - 1])(row);
}

#undef FOR_EACH_SUM
