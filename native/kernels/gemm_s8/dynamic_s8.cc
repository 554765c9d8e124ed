#include "dynamic_s8.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace bitlite {

DynamicS8 ChooseDynamic(float low, float high) noexcept {
  low = low < 0.0f ? std::max(low, -FLT_MAX) : 0.0f;
  high = high > 0.0f ? std::min(high, FLT_MAX) : 0.0f;
  float scale = (high - low) / 255.0f;
  if (!(scale > 1e-30f) || !(scale <= FLT_MAX)) scale = 1.0f;
  return {scale, RoundClamp(-128.0f - low / scale, 0, -128, 127)};
}

DynamicInput::DynamicInput(int64_t count, int threads, const VectorS8Kernel& vector)
    : vector_(&vector),
      count_(count),
      parts_(threads),
      header_(static_cast<size_t>(CeilDiv(threads * 2 * sizeof(float), 64) * 64)),
      scratch_(header_ + static_cast<size_t>(count) + 64) {}

void DynamicInput::FindRange(const float* x, uint8_t* scratch, int64_t begin,
                             int64_t end) const noexcept {
  float* ranges = reinterpret_cast<float*>(scratch);
  for (int64_t part = begin; part < end; ++part) {
    const int64_t first = count_ * part / parts_, last = count_ * (part + 1) / parts_;
    float low = 0, high = 0;
    vector_->widen_range(x + first, last - first, &low, &high);
    ranges[2 * part] = low;
    ranges[2 * part + 1] = high;
  }
}

DynamicS8 DynamicInput::Params(const uint8_t* scratch) const noexcept {
  const float* ranges = reinterpret_cast<const float*>(scratch);
  float low = 0, high = 0;
  for (int64_t part = 0; part < parts_; ++part) {
    low = std::min(low, ranges[2 * part]);
    high = std::max(high, ranges[2 * part + 1]);
  }
  return ChooseDynamic(low, high);
}

void DynamicInput::Quantize(const float* x, uint8_t* scratch, int64_t begin,
                            int64_t end) const noexcept {
  const DynamicS8 params = Params(scratch);
  const float inverse = 1.0f / params.scale;
  int8_t* y = reinterpret_cast<int8_t*>(scratch + header_);
  const int64_t first = count_ * begin / parts_, last = count_ * end / parts_;
  vector_->quantize(x + first, y + first, last - first, inverse, {params.zero_point, -128, 127});
}

}  // namespace bitlite
