/* Rounding to codes: every float operation rounds once, to nearest even. A volatile between two operations keeps wider
 * registers (x87) and fused multiply-adds out, whatever the compiler's options. */
#ifndef BITLITE_ROUND_H
#define BITLITE_ROUND_H

#ifdef __FAST_MATH__
#error "compile without -ffast-math: codes are rounded by float arithmetic as the standard has it"
#endif

#include "bitlite_kernels.h"

/* clamp(rne(v) + zero_point, qmin, qmax); clamped first, so that no conversion leaves its range. */
static inline int32_t bitlite_round(float v, const bitlite_codes *out) {
  const float magic = 12582912.0f; /* 1.5 * 2^23: the sum's last bit is worth 1 */
  const float low = (float)(out->qmin - out->zero_point);
  const float high = (float)(out->qmax - out->zero_point);
  volatile float rounded;
  v = v >= low ? v : low; /* also NaN */
  v = v > high ? high : v;
  rounded = v + magic;
  rounded = rounded - magic;
  return (int32_t)rounded + out->zero_point;
}

/* float32(acc) * scale */
static inline float bitlite_scaled(int32_t acc, float scale) {
  volatile float v = (float)acc;
  v = v * scale;
  return v;
}

static inline int32_t bitlite_wrap(uint32_t v) {
  return v <= INT32_MAX ? (int32_t)v : -(int32_t)(UINT32_MAX - v) - 1;
}

#endif
