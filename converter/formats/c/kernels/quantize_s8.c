/* float32 to codes. rne_f32: rne(x * inverse); gemmlowp: multiplied and shifted in one operation, halves away from
 * zero. */
#include "bitlite_round.h"

#ifdef BITLITE_GEMMLOWP
#include <math.h>

static int32_t code_of(float x, float inverse, const bitlite_codes *out) {
  const float low = (float)out->qmin, high = (float)out->qmax;
  const float v = x == x ? fmaf(x, inverse, (float)out->zero_point) : (float)out->zero_point;
  const float inside = v < low ? low : v > high ? high : v;
  const int32_t whole = (int32_t)inside;
  const float part = v - (float)whole;
  const int32_t y = whole + (part >= 0.5f ? 1 : part <= -0.5f ? -1 : 0);
  return y < out->qmin ? out->qmin : y > out->qmax ? out->qmax : y;
}
#else
static int32_t code_of(float x, float inverse, const bitlite_codes *out) {
  volatile float v = x * inverse;
  return bitlite_round(v == v ? v : 0.0f, out);
}
#endif

void bitlite_quantize_s8(const bitlite_quantize_s8_args *args, const float *x, void *y) {
  uint8_t *to = (uint8_t *)y;
  int32_t i;
  for (i = 0; i < args->count; ++i) {
    to[i] = (uint8_t)((uint32_t)code_of(x[i], args->inverse, &args->out) ^ (uint32_t)args->y_flip);
  }
}
