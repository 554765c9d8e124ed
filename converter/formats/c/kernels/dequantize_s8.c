/* Codes to float32: float32(q - x_zero) * scale. */
#include "bitlite_round.h"

void bitlite_dequantize_s8(const bitlite_dequantize_s8_args *args, const void *x, float *y) {
  const uint8_t *from = (const uint8_t *)x;
  int32_t i;
  for (i = 0; i < args->count; ++i) {
    const int32_t code = (int32_t)((from[i] ^ args->x_flip) ^ 128) - 128;
    y[i] = bitlite_scaled(code - args->x_zero, args->scale);
  }
}
