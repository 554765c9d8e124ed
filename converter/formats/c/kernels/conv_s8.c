/* conv on int8, also in groups; a matrix product is one of a single pixel per row. */
#include "requantize.h"

static int8_t code_of(const bitlite_conv_s8_args *args, uint32_t acc, int32_t channel) {
  return (int8_t)bitlite_requantize(bitlite_wrap(acc), args->scale[channel * args->scale_step], &args->out);
}

#define ARGS bitlite_conv_s8_args
#define OUT int8_t
#define STORE code_of
#include "conv_s8.inc"

void bitlite_conv_s8(const bitlite_conv_s8_args *args, const int8_t *x, int8_t *y) { convolve(args, x, y); }
