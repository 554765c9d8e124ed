// What turns the accumulators of an int8 layer into outputs, as its step asks for it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/common/gemmlowp_s8.h"
#include "kernels/common/quant_step.h"
#include "requant.h"
#include "step.h"

namespace bitlite {

// Of a vector that holds one value, or one per column.
template <typename T>
T PerColumn(const std::vector<T>& v, int64_t i) {
  return v[v.size() == 1 ? 0 : static_cast<size_t>(i)];
}

// Sums are exact modulo 2^32.
inline int32_t Wrap(int64_t v) { return static_cast<int32_t>(static_cast<uint32_t>(v)); }

// How accumulators (at scale sx * sw) become outputs; one value, or one per column of the layer.
struct RequantEpilogue {
  DType dtype = DType::kI8;  // kI8 or kF32
  std::vector<double> acc_scale;
  std::vector<int32_t> weight_zero;  // empty: all zero
  std::vector<int32_t> bias;         // in accumulator units; empty: none
  std::vector<float> bias_f32;       // float output only, added after scaling
  double y_scale = 1;
  int32_t y_zero = 0;
  Range range;
  bool gemmlowp = false;
  float fmin = 0, fmax = 0;
  // The fused addition: then y_* and range above describe the value before it.
  bool residual = false;
  float lhs_scale = 0, rhs_scale = 0;
  int32_t r_zero = 0, sum_zero = 0;
  Range sum_range;

  // The columns [begin, begin + n) of this layer, for groups.
  RequantEpilogue Slice(int64_t begin, int64_t n) const;
};

// From x, w, bias (inputs 0, 1, 2) and the output of a step; refuses what the kernels do not take.
// `channels` columns; w's axis, when it has several scales, must be `axis`.
//   output int8: m = float32(sx * sw / sy)            output float32: m = float32(sx * sw)
//   bias int32 belongs to the accumulator; a float32 bias needs a float32 output.
// residual_input >= 0 and present: the step is conv, then add of that input:
//   attributes mid_scale, mid_zero_point: the output of the conv alone; act is its activation;
//   add_act (_min, _max) the activation of the sum. y is the sum.
// Constant data is read unless plan.check_only.
RequantEpilogue RequantEpilogueOf(const StepSpec& spec, PlanContext& plan, int64_t channels,
                                  int axis, int residual_input);

}  // namespace bitlite
