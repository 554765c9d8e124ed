/* mul on int8. */
#include "requantize.h"

static int8_t product_of(const bitlite_mul_s8_args *args, int32_t a, int32_t b) {
  return (int8_t)bitlite_requantize((a - args->a_zero) * (b - args->b_zero), args->scale, &args->out);
}

#define NAME bitlite_mul_s8
#define ARGS bitlite_mul_s8_args
#define TYPE int8_t
#define PAIR product_of
#include "binary.inc"
