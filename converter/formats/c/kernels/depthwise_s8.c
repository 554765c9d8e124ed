/* conv with group == channels on int8, with a channel multiplier. */
#include "requantize.h"
#include "taps.h"

#define COLUMNS 8

void bitlite_depthwise_s8(const bitlite_conv_s8_args *args, const int8_t *x, int8_t *y) {
  const bitlite_window *win = &args->window;
  const int32_t multiplier = win->out_c / win->in_c;
  int32_t n, oy, ox, channel, ky, kx, i;
  for (n = 0; n < win->batch; ++n, x += win->in_h * win->in_w * win->in_c) {
    for (oy = 0; oy < win->out_h; ++oy) {
      const bitlite_taps v =
          bitlite_taps_inside(oy * win->stride_h - win->pad_top, win->kernel_h, win->dilation_h, win->in_h);
      for (ox = 0; ox < win->out_w; ++ox) {
        const bitlite_taps h =
            bitlite_taps_inside(ox * win->stride_w - win->pad_left, win->kernel_w, win->dilation_w, win->in_w);
        for (channel = 0; channel < win->out_c; channel += COLUMNS) {
          const int32_t columns = win->out_c - channel < COLUMNS ? win->out_c - channel : COLUMNS;
          const int8_t *w = args->weights + channel;
          uint32_t acc[COLUMNS];
          for (i = 0; i < columns; ++i) acc[i] = (uint32_t)args->bias[channel + i];
          for (ky = 0; ky < win->kernel_h; ++ky) {
            const int inside = ky >= v.first && ky < v.last;
            for (kx = 0; kx < win->kernel_w; ++kx, w += win->out_c) {
              if (inside && kx >= h.first && kx < h.last) {
                const int8_t *pixel = x + ((v.start + ky * win->dilation_h) * win->in_w + h.start +
                                           kx * win->dilation_w) * win->in_c;
                if (multiplier == 1) {
                  pixel += channel;
                  for (i = 0; i < columns; ++i) acc[i] += (uint32_t)(pixel[i] * w[i]);
                } else {
                  for (i = 0; i < columns; ++i) acc[i] += (uint32_t)(pixel[(channel + i) / multiplier] * w[i]);
                }
              } else {
                for (i = 0; i < columns; ++i) acc[i] += (uint32_t)(args->x_zero * w[i]);
              }
            }
          }
          for (i = 0; i < columns; ++i) {
            *y++ = (int8_t)bitlite_requantize(bitlite_wrap(acc[i]), args->scale[(channel + i) * args->scale_step],
                                              &args->out);
          }
        }
      }
    }
  }
}
