/* max_pool on int8; padding never wins. */
#include "bitlite_round.h"
#include "taps.h"

void bitlite_max_pool_s8(const bitlite_max_pool_s8_args *args, const int8_t *x, int8_t *y) {
  const bitlite_window *win = &args->window;
  int32_t n, oy, ox, ky, kx, c;
  for (n = 0; n < win->batch; ++n, x += win->in_h * win->in_w * win->in_c) {
    for (oy = 0; oy < win->out_h; ++oy) {
      const bitlite_taps v =
          bitlite_taps_inside(oy * win->stride_h - win->pad_top, win->kernel_h, win->dilation_h, win->in_h);
      for (ox = 0; ox < win->out_w; ++ox, y += win->in_c) {
        const bitlite_taps h =
            bitlite_taps_inside(ox * win->stride_w - win->pad_left, win->kernel_w, win->dilation_w, win->in_w);
        for (c = 0; c < win->in_c; ++c) {
          int32_t best = -128;
          for (ky = v.first; ky < v.last; ++ky) {
            const int8_t *line = x + (v.start + ky * win->dilation_h) * win->in_w * win->in_c + c;
            for (kx = h.first; kx < h.last; ++kx) {
              const int32_t code = line[(h.start + kx * win->dilation_w) * win->in_c];
              if (code > best) best = code;
            }
          }
          if (!args->same) {
            best = bitlite_round(bitlite_scaled(best - args->x_zero, args->scale), &args->out);
          } else if (best < args->out.qmin) {
            best = args->out.qmin;
          } else if (best > args->out.qmax) {
            best = args->out.qmax;
          }
          y[c] = (int8_t)best;
        }
      }
    }
  }
}
