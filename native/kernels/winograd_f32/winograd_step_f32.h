// The step of winograd_f32.h.
#pragma once

#include <memory>

#include "kernels/common/activation.h"
#include "kernels/common/line_step.h"
#include "kernels/common/window.h"

namespace bitlite {

// Whether a convolution of one group has the form, and is faster so.
bool WinogradTakes(const Window& window, int64_t out_channels);

// conv's inputs; w and bias hold real values.
std::unique_ptr<LineStep> MakeWinogradF32(const Window& window, const FusedAct& act,
                                          const TensorSpec& w, const TensorSpec* bias,
                                          const PlanContext& plan);

}  // namespace bitlite
