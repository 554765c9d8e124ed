// Activations quantized while running, per tensor: the range of x, widened to hold 0, on codes
// -128..127.
#pragma once

#include <cstdint>

#include "packed_gemm_s8.h"
#include "step.h"

namespace bitlite {

// low, high: the least and greatest finite-or-infinite value, NaN ignored. All in float32:
// scale = (high - low) / 255, zero_point = clamp(rne(-128 - low / scale)), and a range of less than
// 1e-30 or of no finite width has scale 1.
DynamicS8 ChooseDynamic(float low, float high) noexcept;

// The phases that stand before the computation proper: 0 finds ranges of parts of x, 1 quantizes
// parts. Both have `parts` items.
class DynamicInput {
 public:
  DynamicInput() = default;
  DynamicInput(int64_t count, int threads, const VectorS8Kernel& vector);

  int64_t parts() const { return parts_; }
  size_t scratch() const { return scratch_; }  // shared by the threads
  double cost_ns() const { return static_cast<double>(count_) * 0.1; }

  void FindRange(const float* x, uint8_t* scratch, int64_t begin, int64_t end) const noexcept;
  void Quantize(const float* x, uint8_t* scratch, int64_t begin, int64_t end) const noexcept;
  DynamicS8 Params(const uint8_t* scratch) const noexcept;
  const int8_t* Codes(const uint8_t* scratch) const noexcept {
    return reinterpret_cast<const int8_t*>(scratch + header_);
  }

 private:
  const VectorS8Kernel* vector_ = nullptr;
  int64_t count_ = 0, parts_ = 1;
  size_t header_ = 0, scratch_ = 0;
};

}  // namespace bitlite
