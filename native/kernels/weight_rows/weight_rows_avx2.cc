#include "weight_rows.h"

namespace {
constexpr int kVectorBytes = 32;
}

#include "weight_rows.inc"

namespace bitlite {

const WeightRowKernel& weight_rows_avx2() { return kKernel; }

}  // namespace bitlite
