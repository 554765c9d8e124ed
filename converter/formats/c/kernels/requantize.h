/* Sums of products to codes, by the rounding profile of the model. */
#ifndef BITLITE_REQUANTIZE_H
#define BITLITE_REQUANTIZE_H

#include "bitlite_round.h"

#ifdef BITLITE_GEMMLOWP
/* Both roundings of the MindSpore Lite kernels: a doubling high product, then a shift, halves away from zero. */
static inline int32_t bitlite_high_mul(int32_t a, int32_t b) {
  const int64_t product = (int64_t)a * b;
  const int64_t nudge = product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30);
  return (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

static inline int32_t bitlite_rescale(int32_t acc, bitlite_scale scale) {
  const int32_t left = scale.exponent > 0 ? scale.exponent : 0;
  const int32_t right = scale.exponent > 0 ? 0 : -scale.exponent;
  const int32_t shifted = left < 32 ? bitlite_wrap((uint32_t)acc << left) : 0;
  const int32_t high = bitlite_high_mul(shifted, scale.mantissa);
  const uint32_t mask = ((uint32_t)1 << right) - 1, rest = (uint32_t)high & mask;
  const int32_t quotient = high < 0 ? ~(~high >> right) : high >> right; /* rounded down */
  return quotient + (rest > (mask >> 1) + (high < 0 ? 1 : 0) ? 1 : 0);
}

static inline int32_t bitlite_requantize(int32_t acc, bitlite_scale scale, const bitlite_codes *out) {
  const int64_t y = (int64_t)bitlite_rescale(acc, scale) + out->zero_point;
  return (int32_t)(y < out->qmin ? out->qmin : y > out->qmax ? out->qmax : y);
}
#else
static inline int32_t bitlite_requantize(int32_t acc, bitlite_scale scale, const bitlite_codes *out) {
  return bitlite_round(bitlite_scaled(acc, scale), out);
}
#endif

#endif
