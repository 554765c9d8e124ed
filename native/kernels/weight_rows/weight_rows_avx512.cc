#include "weight_rows.h"

namespace {
constexpr int kVectorBytes = 64;
}

#include "weight_rows.inc"

namespace bitlite {

const WeightRowKernel& weight_rows_avx512() { return kKernel; }

}  // namespace bitlite
