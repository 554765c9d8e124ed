/* conv with group == channels on float32, with a channel multiplier. */
#include <stddef.h>

#include "bitlite_kernels.h"
#include "taps.h"

void bitlite_depthwise_f32(const bitlite_conv_f32_args *args, const float *x, float *y) {
  const bitlite_window *win = &args->window;
  const int32_t multiplier = win->out_c / win->in_c;
  int32_t n, oy, ox, channel, ky, kx;
  for (n = 0; n < win->batch; ++n, x += win->in_h * win->in_w * win->in_c) {
    for (oy = 0; oy < win->out_h; ++oy) {
      const bitlite_taps v =
          bitlite_taps_inside(oy * win->stride_h - win->pad_top, win->kernel_h, win->dilation_h, win->in_h);
      for (ox = 0; ox < win->out_w; ++ox, y += win->out_c) {
        const bitlite_taps h =
            bitlite_taps_inside(ox * win->stride_w - win->pad_left, win->kernel_w, win->dilation_w, win->in_w);
        for (channel = 0; channel < win->out_c; ++channel) y[channel] = args->bias != NULL ? args->bias[channel] : 0.0f;
        for (ky = v.first; ky < v.last; ++ky) {
          for (kx = h.first; kx < h.last; ++kx) {
            const float *w = args->weights + (ky * win->kernel_w + kx) * win->out_c;
            const float *pixel =
                x + ((v.start + ky * win->dilation_h) * win->in_w + h.start + kx * win->dilation_w) * win->in_c;
            if (multiplier == 1) {
              for (channel = 0; channel < win->out_c; ++channel) y[channel] += pixel[channel] * w[channel];
            } else {
              for (channel = 0; channel < win->out_c; ++channel) y[channel] += pixel[channel / multiplier] * w[channel];
            }
          }
        }
        for (channel = 0; channel < win->out_c; ++channel) {
          const float v0 = y[channel] < args->low ? args->low : y[channel];
          y[channel] = v0 > args->high ? args->high : v0;
        }
      }
    }
  }
}
