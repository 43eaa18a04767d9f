/* Where the cycles of one time step go, for the micro-kernels alone, in float32 on the best ISA of this CPU.
 *
 * Compiled with the files of csrc/ and run by anatomy.py: anatomy INPUT_SIZE HIDDEN_SIZE BATCH ROW_PANELS.
 * Walks tiles as the driver does and prints JSON, nanoseconds a step: the x half (in tiles of time steps at
 * batch 1), the h half alone, the h half with the cell update, and the core's GHz by a chain of additions.
 */
#include "lstm_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { REPEATS = 60, HUGE_PAGE = 1 << 21 };

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *filled(size_t count) {
    const size_t page = count * sizeof(float) < HUGE_PAGE ? 64 : HUGE_PAGE;
    const size_t size = (count * sizeof(float) + page - 1) / page * page;
    float *memory = aligned_alloc(page, size);
#ifdef MADV_HUGEPAGE
    if (page == HUGE_PAGE) {
        madvise(memory, size, MADV_HUGEPAGE); /* as the package's weights have it */
    }
#endif
    for (size_t k = 0; k < count; k++) {
        memory[k] = (float)((k * 2654435761u >> 8) % 1000) * 2e-4f - 0.1f;
    }
    return memory;
}

typedef struct {
    const lstm_f32_kernels *kernels;
    ptrdiff_t input_size, hidden_size, batch, row_panels, panels;
    float *input, *input_weights, *hidden_weights, *sums, *hidden, *hidden_next, *cell;
} net;

static ptrdiff_t share(ptrdiff_t left, ptrdiff_t largest) {
    const ptrdiff_t parts = (left + largest - 1) / largest;
    return (left + parts - 1) / parts;
}

/* The x half of `rows` rows, all panels: rows are batch rows, or time steps at batch 1. */
static void input_half(const net *n, ptrdiff_t rows) {
    const ptrdiff_t vectors = GATE_COUNT * n->kernels->lanes;
    for (ptrdiff_t panel = 0; panel < n->panels; panel++) {
        for (ptrdiff_t k = 0; k < n->input_size; k += LSTM_SUM_BLOCK) {
            for (ptrdiff_t row = 0, part; row < rows; row += part) {
                part = share(rows - row, n->kernels->row_tile);
                lstm_f32_tile tile = {0};
                const ptrdiff_t left = n->input_size - k;
                tile.depth = left < LSTM_SUM_BLOCK ? left : LSTM_SUM_BLOCK;
                tile.input = n->input + row * n->input_size + k;
                tile.input_row_stride = n->input_size;
                tile.weights = n->input_weights + (panel * n->input_size + k) * vectors;
                tile.prefetch = tile.weights;
                tile.sums = n->sums + (row * n->panels + panel) * vectors;
                tile.start = tile.sums;
                tile.start_row_stride = tile.sums_row_stride = n->panels * vectors;
                n->kernels->gates[part][1](&tile);
            }
        }
    }
}

/* The h half, with or without the cell update: panels forward, or backward. */
static void hidden_half(const net *n, int with_cell, int forward) {
    const ptrdiff_t lanes = n->kernels->lanes, vectors = GATE_COUNT * lanes, width = n->panels * lanes;
    for (ptrdiff_t done = 0, panels; done < n->panels; done += panels) {
        panels = n->batch > 1 ? 1 : share(n->panels - done, n->row_panels);
        const ptrdiff_t panel = forward ? done : n->panels - done - panels;
        const ptrdiff_t block = n->batch > 1 ? LSTM_SUM_BLOCK : n->hidden_size;
        for (ptrdiff_t k = 0; k < n->hidden_size; k += block) {
            for (ptrdiff_t row = 0, part; row < n->batch; row += part) {
                part = share(n->batch - row, n->kernels->row_tile);
                lstm_f32_tile tile = {0};
                const ptrdiff_t left = n->hidden_size - k;
                tile.depth = left < block ? left : block;
                tile.input = n->hidden + row * width + k;
                tile.input_row_stride = width;
                tile.weights = n->hidden_weights + (panel * n->hidden_size + k) * vectors;
                tile.weights_panel_stride = n->hidden_size * vectors;
                tile.prefetch = tile.weights + tile.depth * vectors;
                tile.sums = n->sums + (row * n->panels + panel) * vectors;
                tile.start = tile.sums;
                tile.start_row_stride = tile.sums_row_stride = n->panels * vectors;
                tile.start_panel_stride = tile.sums_panel_stride = vectors;
                tile.cell = n->cell + row * width + panel * lanes;
                tile.hidden = n->hidden_next + row * width + panel * lanes;
                tile.state_row_stride = width;
                tile.output_units = n->hidden_size - panel * lanes;
                tile.steps = 1;
                const int is_last = k + block >= n->hidden_size;
                if (with_cell && is_last) {
                    n->kernels->step[part][panels](&tile);
                } else {
                    n->kernels->gates[part][panels](&tile);
                }
            }
        }
    }
}

/* Best nanoseconds of one `what` over many repeats; 0: x half, 1: h half, 2: h half and cell. */
static double best(net *n, int what, ptrdiff_t rows, long count) {
    double least = 1e9;
    const size_t states = (size_t)(n->batch * n->panels * n->kernels->lanes) * sizeof(float);
    const size_t sums = (size_t)(rows * n->panels * GATE_COUNT * n->kernels->lanes) * sizeof(float);
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        memset(n->sums, 0, sums);
        memset(n->cell, 0, states);
        const double start = now();
        for (long k = 0; k < count; k++) {
            if (what == 0) {
                input_half(n, rows);
            } else {
                hidden_half(n, what == 2, k % 2 == 0);
                /* As in the driver, the next step waits for this step's h. */
                float *const swapped = n->hidden;
                n->hidden = n->hidden_next;
                n->hidden_next = what == 2 ? swapped : n->hidden_next;
                n->hidden = what == 2 ? n->hidden : swapped;
            }
        }
        const double each = (now() - start) / (double)count * 1e9;
        least = each < least ? each : least;
    }
    return least;
}

static double gigahertz(void) {
    double most = 0;
    for (int repeat = 0; repeat < 20; repeat++) {
        const long steps = 1000000;
        uint64_t x = 1;
        const double start = now();
        for (long k = 0; k < steps; k++) {
            __asm__ volatile("addq $1, %0\n\taddq $1, %0\n\taddq $1, %0\n\taddq $1, %0" : "+r"(x));
        }
        const double rate = 4 * (double)steps / (now() - start) * 1e-9;
        most = rate > most ? rate : most;
    }
    return most;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        return 2;
    }
    net n = {0};
    n.input_size = atol(argv[1]);
    n.hidden_size = atol(argv[2]);
    n.batch = atol(argv[3]);
    n.row_panels = atol(argv[4]);
    int isa = LSTM_ISA_COUNT - 1;
    while (!lstm_isa_at(isa)->supported()) {
        isa--;
    }
    n.kernels = lstm_isa_at(isa)->f32;
    const ptrdiff_t lanes = n.kernels->lanes;
    n.panels = (n.hidden_size + lanes - 1) / lanes;
    const ptrdiff_t rows = n.batch > 1 ? n.batch : 60; /* time steps at batch 1 */
    n.input = filled((size_t)(rows * n.input_size));
    n.input_weights = filled((size_t)(n.panels * n.input_size * GATE_COUNT * lanes));
    n.hidden_weights = filled((size_t)(n.panels * n.hidden_size * GATE_COUNT * lanes));
    n.sums = filled((size_t)(rows * n.panels * GATE_COUNT * lanes));
    n.hidden = filled((size_t)(n.batch * n.panels * lanes));
    n.hidden_next = filled((size_t)(n.batch * n.panels * lanes));
    n.cell = filled((size_t)(n.batch * n.panels * lanes));
    const uint64_t found = lstm_fp_enter();
    const double work = (double)n.hidden_size * (double)(n.hidden_size + n.input_size) * (double)n.batch;
    const long count = 20 + (long)(4e6 / work);
    const double steps = n.batch > 1 ? 1 : (double)rows;
    const double x_half = best(&n, 0, rows, 1 + count / (long)steps) / steps;
    const double h_half = best(&n, 1, rows, count);
    const double step = best(&n, 2, rows, count);
    lstm_fp_leave(found);
    printf("{\"isa\": \"%s\", \"gigahertz\": %.3f, \"x_half\": %.2f, \"h_half\": %.2f, \"step\": %.2f}\n",
           lstm_isa_at(isa)->name, gigahertz(), x_half, h_half, step);
    return 0;
}
