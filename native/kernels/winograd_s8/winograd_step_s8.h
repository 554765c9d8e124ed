// The step of winograd_s8.h.
#pragma once

#include <memory>

#include "kernels/gemm_s8/packed_gemm_s8.h"
#include "kernels/gemm_s8/spatial_s8.h"

namespace bitlite {

// Null where the convolution does not have the form, the kernels have no transforms, the sums may
// be too large, or it would be no faster.
std::unique_ptr<Step> MakeWinogradS8(const PlanContext& plan, const ConvGeometry& g,
                                     const RequantEpilogue& out);

}  // namespace bitlite
