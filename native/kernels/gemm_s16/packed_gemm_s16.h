// int8 or int16 weights packed for the tiles of gemm_s16, with what turns their sums into outputs.
#pragma once

#include <cstdint>
#include <vector>

#include "gemm_s16.h"
#include "kernels/common/quant_step.h"
#include "step.h"

namespace bitlite {

// What the sums of a layer on codes of 16 bits become, by column, and the clamps.
struct OutputsS16 {
  std::vector<int64_t> bias;
  std::vector<float> multiplier, bias_f32;
  bool real = false;
  float low = 0, high = 0;
};

// From x, w, bias (inputs 0, 1, 2) and the output of a step: int16 with m = float32(sx * sw / sy),
// or float32 with m = float32(sx * sw) and a bias in float32 behind it. Zero points are 0. Refuses
// what the kernels do not take. Constant data is read unless plan.check_only.
OutputsS16 OutputsS16Of(const StepSpec& spec, PlanContext& plan, int64_t channels);

class PackedGemmS16 {
 public:
  // w [columns, segments, segment_length] of W, int8_t or int16_t. Refuses neighbours of -2^15,
  // whose products with two activations may pass int32.
  template <typename W>
  PackedGemmS16(const GemmS16Kernel& kernel, const W* w, int64_t columns, int64_t segments,
                int64_t segment_length, const OutputsS16& out, int64_t first_column);

  int64_t blocks() const { return (columns_ + kColumnsS16 - 1) / kColumnsS16; }

  // Rows that start at these addresses; y at column 0 of the first. Blocks [first, last).
  void Run(const int16_t* const* rows, int64_t m, const int32_t* segments, int64_t first,
           int64_t last, void* y, int64_t y_stride) const noexcept;

 private:
  const GemmS16Kernel& kernel_;
  const int64_t columns_, segments_, pairs_;
  const bool real_;
  const float low_, high_;
  const bool wide_;
  std::vector<GemmS16Run> runs_;
  std::vector<size_t> first_run_;  // by block, and behind the last
  bool in_double_ = true;
  Aligned<uint8_t> w_;
  Aligned<int64_t> bias_;
  Aligned<float> multiplier_, bias_f32_;
};

}  // namespace bitlite
