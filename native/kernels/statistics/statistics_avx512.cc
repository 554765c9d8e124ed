#include "statistics.h"

namespace {
constexpr int kVectorBytes = 64;
}

#include "statistics.inc"

namespace bitlite {

const StatisticsKernel& statistics_avx512() { return kKernel; }

}  // namespace bitlite
