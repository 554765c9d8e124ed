/* Fills with one code. */
#include <string.h>

#include "bitlite_kernels.h"

void bitlite_fill_s8(const bitlite_fill_s8_args *args, int8_t *y) { memset(y, args->value, (size_t)args->count); }
