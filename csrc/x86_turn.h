/* What AVX2 and AVX-512 share of turning a block of floats: all within 128 bits.
 *
 * turn_fours(rows, fours), of as many vectors as one has lanes: fours[4 q + c] has columns c, c + 4, ... of rows
 * 4 q to 4 q + 3, one in each 128 bits.  First neighbours, then pairs of them.
 */
#define LSTM_DEFINE_TURN_FOURS(BITS, ROWS)                                                                   \
    static inline __attribute__((always_inline)) void turn_fours(const __m##BITS *rows, __m##BITS *fours) {  \
        __m##BITS pairs[ROWS];                                                                               \
        _Pragma("GCC unroll 8") for (int k = 0; k < ROWS; k += 2) {                                          \
            pairs[k] = _mm##BITS##_unpacklo_ps(rows[k], rows[k + 1]);                                        \
            pairs[k + 1] = _mm##BITS##_unpackhi_ps(rows[k], rows[k + 1]);                                    \
        }                                                                                                    \
        _Pragma("GCC unroll 8") for (int k = 0; k < ROWS; k += 2) {                                          \
            const int half = k % 4 / 2;                                                                      \
            const int first = k / 4 * 4;                                                                     \
            const __m##BITS##d a = _mm##BITS##_castps_pd(pairs[first + half]);                               \
            const __m##BITS##d b = _mm##BITS##_castps_pd(pairs[first + half + 2]);                           \
            fours[first + 2 * half] = _mm##BITS##_castpd_ps(_mm##BITS##_unpacklo_pd(a, b));                  \
            fours[first + 2 * half + 1] = _mm##BITS##_castpd_ps(_mm##BITS##_unpackhi_pd(a, b));              \
        }                                                                                                    \
    }
