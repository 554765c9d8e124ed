/* average_pool on int8. rne_f32: rne(float32(sum - n * x_zero) * float32(x_scale / (y_scale * counted))); gemmlowp, where
 * input and output have the same parameters: the mean of the codes, padding counted as the zero point, halves up. */
#include "bitlite_round.h"
#include "pool_counts.h"

static int32_t mean_of(const bitlite_average_pool_s8_args *args, int32_t sum, int32_t inside, int32_t divisor,
                       float scale) {
#ifdef BITLITE_GEMMLOWP
  if (args->same) {
    const int32_t shifted = sum + args->x_zero * (divisor - inside) + 128 * divisor + divisor / 2; /* not negative */
    const int32_t y = shifted / divisor - 128;
    return y < args->out.qmin ? args->out.qmin : y > args->out.qmax ? args->out.qmax : y;
  }
#else
  (void)divisor;
#endif
  return bitlite_round(bitlite_scaled(sum - args->x_zero * inside, scale), &args->out);
}

void bitlite_average_pool_s8(const bitlite_average_pool_s8_args *args, const int8_t *x, int8_t *y) {
  const bitlite_window *win = &args->window;
  int32_t n, oy, ox, ky, kx, c, divisor = 0;
  float scale = 0.0f;
  for (n = 0; n < win->batch; ++n, x += win->in_h * win->in_w * win->in_c) {
    for (oy = 0; oy < win->out_h; ++oy) {
      const bitlite_taps v =
          bitlite_taps_inside(oy * win->stride_h - win->pad_top, win->kernel_h, win->dilation_h, win->in_h);
      const int32_t counted_v = bitlite_counted(&v, win->kernel_h, win->dilation_h, win->pad_top, args->counted_h,
                                                args->include_pad);
      for (ox = 0; ox < win->out_w; ++ox, y += win->in_c) {
        const bitlite_taps h =
            bitlite_taps_inside(ox * win->stride_w - win->pad_left, win->kernel_w, win->dilation_w, win->in_w);
        const int32_t counted = counted_v * bitlite_counted(&h, win->kernel_w, win->dilation_w, win->pad_left,
                                                            args->counted_w, args->include_pad);
        const int32_t inside = (v.last - v.first) * (h.last - h.first);
        if (divisor != (counted > 0 ? counted : 1)) { /* at borders alone: division of doubles is slow */
          divisor = counted > 0 ? counted : 1;
          scale = (float)(args->x_scale / (args->y_scale * (double)divisor));
        }
        for (c = 0; c < win->in_c; ++c) {
          int32_t sum = 0;
          for (ky = v.first; ky < v.last; ++ky) {
            const int8_t *line = x + (v.start + ky * win->dilation_h) * win->in_w * win->in_c + c;
            for (kx = h.first; kx < h.last; ++kx) sum += line[(h.start + kx * win->dilation_w) * win->in_c];
          }
          y[c] = (int8_t)mean_of(args, sum, inside, divisor, scale);
        }
      }
    }
  }
}
