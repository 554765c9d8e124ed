/* Sums of products of int8 runs; modulo 2^32 like all sums here. */
#ifndef BITLITE_DOT_S8_H
#define BITLITE_DOT_S8_H

#include <stdint.h>

#define BITLITE_DOT_COLUMNS 4

/* acc[i] += sum of x[k] * w[i * w_step + k], i < columns: each x is loaded once for all columns. */
static inline void bitlite_dot_s8(const int8_t *x, const int8_t *w, int32_t w_step, int32_t n, int32_t columns,
                                  uint32_t *acc) {
  int32_t i, k;
  if (columns == BITLITE_DOT_COLUMNS) {
    const int8_t *w0 = w, *w1 = w + w_step, *w2 = w1 + w_step, *w3 = w2 + w_step;
    uint32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    for (k = 0; k < n; ++k) {
      const int32_t v = x[k];
      a0 += (uint32_t)(v * w0[k]);
      a1 += (uint32_t)(v * w1[k]);
      a2 += (uint32_t)(v * w2[k]);
      a3 += (uint32_t)(v * w3[k]);
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
    return;
  }
  for (i = 0; i < columns; ++i, w += w_step) {
    uint32_t a = acc[i];
    for (k = 0; k < n; ++k) a += (uint32_t)(x[k] * w[k]);
    acc[i] = a;
  }
}

/* The same of n times the value x. */
static inline void bitlite_dot_s8_constant(int32_t x, const int8_t *w, int32_t w_step, int32_t n, int32_t columns,
                                           uint32_t *acc) {
  int32_t i, k;
  for (i = 0; i < columns; ++i, w += w_step) {
    int32_t sum = 0;
    for (k = 0; k < n; ++k) sum += w[k];
    acc[i] += (uint32_t)sum * (uint32_t)x;
  }
}

#endif
