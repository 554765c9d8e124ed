/* Which taps of a window lie on the data. */
#ifndef BITLITE_TAPS_H
#define BITLITE_TAPS_H

#include <stdint.h>

typedef struct {
  int32_t first, last; /* taps first..last - 1 of the window at start */
  int32_t start;       /* index of tap 0, which may lie outside */
} bitlite_taps;

static inline bitlite_taps bitlite_taps_inside(int32_t start, int32_t kernel, int32_t dilation, int32_t extent) {
  bitlite_taps taps = {0, 0, start};
  if (start < 0) taps.first = (dilation - 1 - start) / dilation;
  if (start < extent) taps.last = (extent - start + dilation - 1) / dilation;
  if (taps.last > kernel) taps.last = kernel;
  if (taps.last < taps.first) taps.last = taps.first;
  return taps;
}

#endif
