/* maximum of codes that have the same parameters. */
#include "bitlite_kernels.h"

#define NAME bitlite_maximum_s8
#define ARGS bitlite_order_s8_args
#define TYPE int8_t
#define PAIR(args, a, b) ((a) > (b) ? (a) : (b))
#include "binary.inc"
