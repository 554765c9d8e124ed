/* conv on int8 with float32 output: the last layer of an int8 model. */
#include "bitlite_round.h"

static float real_of(const bitlite_conv_s8_f32_args *args, uint32_t acc, int32_t channel) {
  float v = bitlite_scaled(bitlite_wrap(acc), args->scale[channel * args->scale_step]) + args->bias_f32[channel];
  v = v < args->low ? args->low : v;
  return v > args->high ? args->high : v;
}

#define ARGS bitlite_conv_s8_f32_args
#define OUT float
#define STORE real_of
#include "conv_s8.inc"

void bitlite_conv_s8_f32(const bitlite_conv_s8_f32_args *args, const int8_t *x, float *y) { convolve(args, x, y); }
