// What the factories of integer steps share: quantization parameters out of specs, and ranges.
#pragma once

#include <limits>
#include <string>

#include "step.h"

namespace bitlite {

struct Range {
  int32_t qmin = -128, qmax = 127;
};

// The one scale and zero point of a per-tensor quantized tensor of integer type; otherwise refuses.
double ScaleOf(const TensorSpec& t);
int32_t ZeroPointOf(const TensorSpec& t);

// Real bounds of a fused activation.
struct Clamp {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
};
// Attribute `act`, none or clip with <act>_min and <act>_max where they are bounded; others are
// refused.
Clamp ClampOf(const StepSpec& spec, const std::string& act = "act");

// Codes of a clamped output: the bounds are rint(bound / scale) + zero point, as activation_range
// in qparams.py.
Range ClampedRange(const Clamp& clamp, double scale, int32_t zero_point, DType dtype);
// Those of a step's output, narrowed by the attributes qmin and qmax when the step has them
// (outputs of fewer bits).
Range OutputRange(const StepSpec& spec, const TensorSpec& y);

// Whether the attribute `rounding` says gemmlowp; refuses anything but rne_f32 and gemmlowp.
bool RoundsAsGemmlowp(const StepSpec& spec);

// Into how many items a step of that cost is cut for `threads`: a few each, of some microseconds,
// so that a thread that starts late leaves work to the others. 1 where it is not shared.
int64_t ItemsWanted(double cost_ns, int threads);

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Refuses k products of a code less its zero point and a weight of at most `widest` whose sum may
// leave int32.
void RequireExactSums(int64_t k, int64_t widest);

}  // namespace bitlite
