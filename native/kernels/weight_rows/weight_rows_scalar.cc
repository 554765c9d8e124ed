#include "weight_rows.h"

namespace {
constexpr int kVectorBytes = 16;
}

#include "weight_rows.inc"

namespace bitlite {

const WeightRowKernel& weight_rows_scalar() { return kKernel; }

}  // namespace bitlite
