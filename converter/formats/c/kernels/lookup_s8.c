/* A unary function of codes, as a table. */
#include "bitlite_kernels.h"

void bitlite_lookup_s8(const bitlite_lookup_s8_args *args, const int8_t *x, int8_t *y) {
  int32_t i;
  for (i = 0; i < args->count; ++i) y[i] = args->table[x[i] + 128];
}
