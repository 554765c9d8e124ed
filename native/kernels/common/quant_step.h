// What the factories of integer steps share: quantization parameters out of specs, and ranges.
#pragma once

#include <string>

#include "step.h"

namespace bitlite {

struct Range {
  int32_t qmin = -128, qmax = 127;
};

// The one scale and zero point of a per-tensor quantized tensor of integer type; otherwise refuses.
double ScaleOf(const TensorSpec& t);
int32_t ZeroPointOf(const TensorSpec& t);

// Codes of the output after the fused activation `act` (none, relu, relu6, relu_n1_to_1,
// relu_0_to_1; others are refused), narrowed by the attributes qmin and qmax when the step has them
// (outputs of fewer bits). The bounds are rint(bound / scale) + zero point, as activation_range in
// qparams.py.
Range ActRange(const std::string& act, double scale, int32_t zero_point, DType dtype);
Range OutputRange(const StepSpec& spec, const TensorSpec& y);

// Real bounds of such an activation, for float outputs.
void ActBounds(const std::string& act, double* low, double* high);

// Whether the attribute `rounding` says gemmlowp; refuses anything but rne_f32 and gemmlowp.
bool RoundsAsGemmlowp(const StepSpec& spec);

// Into how many items a step of that cost is cut for `threads`: a few each, of some microseconds,
// so that a thread that starts late leaves work to the others.
int64_t ItemsWanted(double cost_ns, int threads);

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Refuses k products of a code less its zero point and a weight of at most `widest` whose sum may
// leave int32.
void RequireExactSums(int64_t k, int64_t widest);

}  // namespace bitlite
