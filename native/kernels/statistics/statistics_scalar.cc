#include "statistics.h"

namespace {
constexpr int kVectorBytes = 16;
}

#include "statistics.inc"

namespace bitlite {

const StatisticsKernel& statistics_scalar() { return kKernel; }

}  // namespace bitlite
