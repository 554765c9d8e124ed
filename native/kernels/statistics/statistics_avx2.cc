#include "statistics.h"

namespace {
constexpr int kVectorBytes = 32;
}

#include "statistics.inc"

namespace bitlite {

const StatisticsKernel& statistics_avx2() { return kKernel; }

}  // namespace bitlite
