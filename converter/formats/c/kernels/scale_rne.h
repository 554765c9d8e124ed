/* The rounding profile rne_f32: float32(sum) * scale, rounded half to even. */
#ifndef BITLITE_SCALE_H
#define BITLITE_SCALE_H

#include <stdint.h>

typedef float bitlite_scale;

#endif
