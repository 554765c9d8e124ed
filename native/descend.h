// Coordinate descent on integer codes; see quant/rounding.py.
#pragma once

#include <cstdint>

namespace bitlite {

// Lowers (q - real)' gram (q - real) column by column: q and real are [k, columns], gram is [k, k],
// symmetric with a positive diagonal. Codes stay within [low, high]. The result does not depend on
// how columns are parted among calls.
void Descend(const double* gram, const double* real, double* q, int64_t k, int64_t columns,
             int64_t begin, int64_t end, double low, double high, int sweeps);

}  // namespace bitlite
