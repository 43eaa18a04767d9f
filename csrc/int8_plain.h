/* The macros of int8_impl.h in standard C, for any LANES: slow, and right on every CPU. */
#define SET_NAME "plain C"
#define PARTS 1
#define INT plain_sums
#define WEIGHTS plain_integers
#define INPUT plain_integers
#define INTEGER_BYTES 1
#define LOAD_WEIGHTS(p) (p)
#define LOAD_INPUT(p) ((plain_integers)(p))
#define INT_START(offsets) ((void)(offsets), (plain_sums){{0}})
#define ADD_PRODUCTS(sums, input, weights) plain_add(&(sums), input, weights)
#define VEC_FROM_SUMS(sums) VEC_FROM_INTEGERS((sums).lanes)

typedef const int8_t *plain_integers;

typedef struct {
    int32_t lanes[LANES];
} plain_sums;

static inline void plain_add(plain_sums *sums, plain_integers input, plain_integers weights) {
    for (int lane = 0; lane < LANES; lane++) {
        for (int k = 0; k < LSTM_INT8_GROUP; k++) {
            sums->lanes[lane] += input[k] * weights[lane * LSTM_INT8_GROUP + k];
        }
    }
}
