/* add and, with a negative b_scale, sub on int8. rne_f32: the operands times their scales, added in float32. gemmlowp:
 * both are brought to twice the larger scale, 20 bits up; of each `vector_run` elements, all but the last
 * `vector_run % 16` round as MindSpore Lite's vector code does. */
#include "requantize.h"

#ifdef BITLITE_GEMMLOWP
/* For negative values both roundings of the vector code differ from the scalar code's: the product ends one higher, and
 * the shift of an exact multiple one lower. */
static int32_t rescale_in_vector(int32_t acc, bitlite_scale scale) {
  const int32_t left = scale.exponent > 0 ? scale.exponent : 0;
  const int32_t right = scale.exponent > 0 ? 0 : -scale.exponent;
  const int32_t shifted = left < 32 ? bitlite_wrap((uint32_t)acc << left) : 0;
  const int64_t product = (int64_t)shifted * scale.mantissa + ((int64_t)1 << 30);
  const int64_t high = product / ((int64_t)1 << 31), mask = ((int64_t)1 << right) - 1;
  const int64_t quotient = high < 0 ? -(-high >> right) - 1 : high >> right;
  const int64_t rest = (high < 0 ? (mask + 1 - (-high & mask)) & mask : high & mask) - (high < 0 ? 1 : 0);
  return (int32_t)(quotient + (rest > (mask >> 1) ? 1 : 0));
}

void bitlite_add_s8(const bitlite_add_s8_args *args, const int8_t *a, const int8_t *b, int8_t *y) {
  const bitlite_broadcast *s = &args->space;
  const int32_t whole = args->vector_run - args->vector_run % 16;
  int32_t i, j, k, l, at = 0;
  for (i = 0; i < s->extent[0]; ++i) {
    for (j = 0; j < s->extent[1]; ++j) {
      for (k = 0; k < s->extent[2]; ++k) {
        const int8_t *pa = a + i * s->a_stride[0] + j * s->a_stride[1] + k * s->a_stride[2];
        const int8_t *pb = b + i * s->b_stride[0] + j * s->b_stride[1] + k * s->b_stride[2];
        for (l = 0; l < s->extent[3]; ++l, pa += s->a_stride[3], pb += s->b_stride[3]) {
          const int32_t p = (*pa - args->a_zero) * 1048576, q = args->b_sign * (*pb - args->b_zero) * 1048576;
          int64_t v;
          if (at < whole) {
            const int32_t left = rescale_in_vector(p, args->a_scale), right = rescale_in_vector(q, args->b_scale);
            v = rescale_in_vector(left + right, args->y_scale);
          } else {
            v = bitlite_rescale(bitlite_rescale(p, args->a_scale) + bitlite_rescale(q, args->b_scale), args->y_scale);
          }
          v += args->out.zero_point;
          *y++ = (int8_t)(v < args->out.qmin ? args->out.qmin : v > args->out.qmax ? args->out.qmax : v);
          if (++at == args->vector_run) at = 0;
        }
      }
    }
  }
}
#else
static int8_t sum_of(const bitlite_add_s8_args *args, int32_t a, int32_t b) {
  const float left = bitlite_scaled(a - args->a_zero, args->a_scale);
  return (int8_t)bitlite_round(left + bitlite_scaled(b - args->b_zero, args->b_scale), &args->out);
}

#define NAME bitlite_add_s8
#define ARGS bitlite_add_s8_args
#define TYPE int8_t
#define PAIR sum_of
#include "binary.inc"
#endif
