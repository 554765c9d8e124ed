// Geometry of 1-D and 2-D spatial steps on channels-last tensors; a 1-D step is a 2-D one of
// height 1.
#pragma once

#include <cstring>

#include "gemm_s8.h"
#include "kernels/common/quant_step.h"
#include "kernels/common/window.h"

namespace bitlite {

struct ConvGeometry : Window {
  int64_t out_channels = 1, group = 1;

  bool depthwise() const { return group > 1 && group == channels; }
};

// Reads x, w, y and the attributes stride, dilation, pad and group; refuses inconsistent shapes and
// three spatial dimensions. Checks types: x int8, int16 (or float32, quantized
// while running), w constant int8 or uint8, or int16 with x.
ConvGeometry ConvGeometryOf(const StepSpec& spec, const PlanContext& plan);

// The zero point in a kernel's form, as far as needed.
class PaddingS8 {
 public:
  PaddingS8() = default;
  PaddingS8(const GemmS8Kernel& kernel, int32_t zero_point)
      : PaddingS8(kernel.packed_value(zero_point), false) {}
  PaddingS8(int32_t value, bool wide) : value_(value), wide_(wide) {}
  void Fill(uint8_t* p, int64_t n) const noexcept {
    if (!wide_) {
      std::memset(p, value_, static_cast<size_t>(n));
    } else {
      int16_t* q = reinterpret_cast<int16_t*>(p);
      for (int64_t i = 0; i < n; ++i) q[i] = static_cast<int16_t>(value_);
    }
  }

 private:
  int32_t value_ = 0;
  bool wide_ = false;
};

}  // namespace bitlite
