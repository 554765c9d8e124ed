/* Functions of two float32 operands. */
#include "bitlite_kernels.h"

static float pair(const bitlite_binary_f32_args *args, float a, float b) {
  float v = a;
  switch (args->function) {
    case BITLITE_ADD:
      v = a + b;
      break;
    case BITLITE_SUB:
      v = a - b;
      break;
    case BITLITE_MUL:
      v = a * b;
      break;
    case BITLITE_DIV:
      v = a / b;
      break;
    case BITLITE_MAXIMUM:
      v = a > b ? a : b;
      break;
    case BITLITE_MINIMUM:
      v = a < b ? a : b;
      break;
    case BITLITE_SQUARED_DIFFERENCE:
      v = (a - b) * (a - b);
      break;
  }
  v = v < args->low ? args->low : v;
  return v > args->high ? args->high : v;
}

#define NAME bitlite_binary_f32
#define ARGS bitlite_binary_f32_args
#define TYPE float
#define PAIR pair
#include "binary.inc"
