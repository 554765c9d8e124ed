/* Functions of one float32 value. */
#include <math.h>

#include "bitlite_kernels.h"

static float clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

static float sigmoid(float x) {
  const float e = expf(-fabsf(x)); /* of what is not positive, so that it cannot overflow */
  return x >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
}

static float value_of(const bitlite_unary_f32_args *args, float x) {
  switch (args->function) {
    case BITLITE_ABS:
      return fabsf(x);
    case BITLITE_CEIL:
      return ceilf(x);
    case BITLITE_COS:
      return cosf(x);
    case BITLITE_ELU:
      return x > 0.0f ? x : args->a * expm1f(x);
    case BITLITE_ERF:
      return erff(x);
    case BITLITE_EXP:
      return expf(x);
    case BITLITE_FLOOR:
      return floorf(x);
    case BITLITE_GELU:
      return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case BITLITE_GELU_TANH:
      return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case BITLITE_HARD_SIGMOID:
      return clamp(x * args->a + args->b, 0.0f, 1.0f);
    case BITLITE_HARD_SWISH:
      return x * clamp(x + 3.0f, 0.0f, 6.0f) / 6.0f;
    case BITLITE_LEAKY_RELU:
      return x > 0.0f ? x : x * args->a;
    case BITLITE_LOG:
      return logf(x);
    case BITLITE_NEG:
      return -x;
    case BITLITE_RECIPROCAL:
      return 1.0f / x;
    case BITLITE_RSQRT:
      return 1.0f / sqrtf(x);
    case BITLITE_SIGMOID:
      return sigmoid(x);
    case BITLITE_SIN:
      return sinf(x);
    case BITLITE_SOFTPLUS:
      return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x)));
    case BITLITE_SQRT:
      return sqrtf(x);
    case BITLITE_SQUARE:
      return x * x;
    case BITLITE_SWISH:
      return x * sigmoid(x);
    case BITLITE_TANH:
      return tanhf(x);
  }
  return x;
}

void bitlite_unary_f32(const bitlite_unary_f32_args *args, const float *x, float *y) {
  int32_t i;
  for (i = 0; i < args->count; ++i) y[i] = value_of(args, x[i]);
}
