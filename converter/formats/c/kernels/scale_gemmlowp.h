/* The rounding profile gemmlowp: integers alone, as the MindSpore Lite kernels round. Its functions have names of their
 * own, so that models of both profiles go into one program. */
#ifndef BITLITE_SCALE_H
#define BITLITE_SCALE_H

#include <stdint.h>

#define BITLITE_GEMMLOWP

/* mantissa * 2^(exponent - 31) */
typedef struct {
  int32_t mantissa, exponent;
} bitlite_scale;

#define bitlite_conv_s8 bitlite_conv_s8_gemmlowp
#define bitlite_depthwise_s8 bitlite_depthwise_s8_gemmlowp
#define bitlite_add_s8 bitlite_add_s8_gemmlowp
#define bitlite_mul_s8 bitlite_mul_s8_gemmlowp
#define bitlite_average_pool_s8 bitlite_average_pool_s8_gemmlowp
#define bitlite_quantize_s8 bitlite_quantize_s8_gemmlowp

#endif
