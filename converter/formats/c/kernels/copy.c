/* Moves runs of bytes: transpositions, slices, joins, padding. */
#include <string.h>

#include "bitlite_kernels.h"

void bitlite_copy(const bitlite_copy_args *args, const void *x, void *y) {
  const int32_t *n = args->extent, *sx = args->x_stride, *sy = args->y_stride;
  int32_t i, j, k, l, m;
  for (i = 0; i < n[0]; ++i) {
    for (j = 0; j < n[1]; ++j) {
      for (k = 0; k < n[2]; ++k) {
        for (l = 0; l < n[3]; ++l) {
          const char *from = (const char *)x + args->x_offset + i * sx[0] + j * sx[1] + k * sx[2] + l * sx[3];
          char *to = (char *)y + args->y_offset + i * sy[0] + j * sy[1] + k * sy[2] + l * sy[3];
          for (m = 0; m < n[4]; ++m, from += sx[4], to += sy[4]) memcpy(to, from, (size_t)args->run_bytes);
        }
      }
    }
  }
}
