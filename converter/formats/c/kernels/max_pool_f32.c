/* max_pool on float32; padding never wins. */
#include <math.h>

#define NAME bitlite_max_pool_f32
#define FIRST -INFINITY
#define TAKE(best, v)          \
  do {                         \
    const float value = (v);   \
    if (value > best) best = value; \
  } while (0)
#define RESULT(best, counted) ((void)(counted), (best))
#include "pool_f32.inc"
