// Activations fused into float steps: a clamp that kernels apply themselves, or a unary function
// that the driver applies to finished rows while they are in cache.
#pragma once

#include "kernels/unary_f32/unary_f32.h"
#include "step.h"

namespace bitlite {

struct FusedAct {
  float lo, hi;        // for the kernel; infinite when there is nothing to clamp
  bool unary = false;  // `op` still has to be applied
  UnaryOp op = UnaryOp::kClamp;
  float a = 0, b = 0;

  void Apply(unary_f32::Fn* fn, float* y, int64_t n) const {
    if (unary) fn({op, y, y, n, a, b});
  }
  // Of rows of n elements, `stride` apart.
  void ApplyRows(unary_f32::Fn* fn, float* y, int64_t rows, int64_t n, int64_t stride) const {
    if (!unary) return;
    if (stride == n) return Apply(fn, y, rows * n);
    for (int64_t r = 0; r < rows; ++r) Apply(fn, y + r * stride, n);
  }
};

// Attribute `act`: none clip leaky_relu elu selu sigmoid tanh hard_swish hard_sigmoid swish gelu
// gelu_tanh; leaky_relu and elu read `act_alpha`, clip, which is what the plan makes of every
// clamp, `act_min` and `act_max`.
FusedAct ParseAct(const StepSpec& spec);

}  // namespace bitlite
