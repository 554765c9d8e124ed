/* How many elements a window of an average pool counts. */
#ifndef BITLITE_POOL_COUNTS_H
#define BITLITE_POOL_COUNTS_H

#include "taps.h"

/* Taps of a window at start that lie in -pad..counted - 1, the data with its padding. */
static inline int32_t bitlite_counted(const bitlite_taps *taps, int32_t kernel, int32_t dilation, int32_t pad,
                                      int32_t counted, int32_t include_pad) {
  bitlite_taps all;
  if (!include_pad) return taps->last - taps->first;
  all = bitlite_taps_inside(taps->start + pad, kernel, dilation, counted + pad);
  return all.last - all.first;
}

#endif
