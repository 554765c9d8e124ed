#pragma once

#include "kernels/common/activation.h"
#include "kernels/common/window.h"

namespace bitlite {

// False for windows over three spatial axes and very tall ones: the grouped convolution does those.
bool DepthwiseTakes(const Window& window);

// conv with one filter per channel (group == C == O); inputs as conv's. Null in check_only mode.
std::unique_ptr<Step> MakeDepthwiseF32(const Window& window, const FusedAct& act,
                                       PlanContext& plan);

}  // namespace bitlite
