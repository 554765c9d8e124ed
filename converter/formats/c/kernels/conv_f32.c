/* conv on float32, also in groups; a matrix product is one of a single pixel per row. */
#include <stddef.h>

#include "bitlite_kernels.h"
#include "taps.h"

void bitlite_conv_f32(const bitlite_conv_f32_args *args, const float *x, float *y) {
  const bitlite_window *win = &args->window;
  const int32_t group_in = win->in_c / args->group, group_out = win->out_c / args->group;
  int32_t n, oy, ox, channel, ky, kx, k;
  for (n = 0; n < win->batch; ++n, x += win->in_h * win->in_w * win->in_c) {
    for (oy = 0; oy < win->out_h; ++oy) {
      const bitlite_taps v =
          bitlite_taps_inside(oy * win->stride_h - win->pad_top, win->kernel_h, win->dilation_h, win->in_h);
      for (ox = 0; ox < win->out_w; ++ox) {
        const bitlite_taps h =
            bitlite_taps_inside(ox * win->stride_w - win->pad_left, win->kernel_w, win->dilation_w, win->in_w);
        const float *w = args->weights;
        for (channel = 0; channel < win->out_c; ++channel, w += win->kernel_h * win->kernel_w * group_in) {
          float sum = args->bias != NULL ? args->bias[channel] : 0.0f;
          for (ky = v.first; ky < v.last; ++ky) {
            const float *line = x + (v.start + ky * win->dilation_h) * win->in_w * win->in_c;
            for (kx = h.first; kx < h.last; ++kx) {
              const float *pixel =
                  line + (h.start + kx * win->dilation_w) * win->in_c + channel / group_out * group_in;
              const float *tap = w + (ky * win->kernel_w + kx) * group_in;
              for (k = 0; k < group_in; ++k) sum += pixel[k] * tap[k];
            }
          }
          sum = sum < args->low ? args->low : sum;
          *y++ = sum > args->high ? args->high : sum;
        }
      }
    }
  }
}
