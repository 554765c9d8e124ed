/* average_pool on float32. */
#define NAME bitlite_average_pool_f32
#define FIRST 0.0f
#define TAKE(sum, v) sum += (v)
#define RESULT(sum, counted) ((sum) / (float)((counted) > 0 ? (counted) : 1))
#include "pool_f32.inc"
