// Multipliers of gemmlowp as the kernels' epilogues take them. Not for the files of an instruction
// set: what is inline here may be compiled for the machine of whoever includes it.
#pragma once

#include "kernels/gemm_s8/gemm_s8.h"
#include "requant.h"
#include "step.h"

namespace bitlite {

static inline GemmlowpMultiplier MultiplierAt(const GemmlowpMultipliers& gemmlowp, int64_t i) {
  return {gemmlowp.mantissa[i],
          (gemmlowp.left == nullptr ? 0 : gemmlowp.left[i]) - gemmlowp.right[i]};
}

// The arrays of GemmlowpMultipliers, one behind the other.
class PackedGemmlowpMultipliers {
 public:
  void Reset(size_t columns) {
    columns_ = columns;
    any_left_ = false;
    data_.Reset(5 * columns);
    for (size_t i = 0; i < 5 * columns; ++i) data_[i] = 0;
  }
  void Set(size_t at, const GemmlowpColumn& c) {
    const int32_t fields[] = {c.left, c.mantissa, c.half, c.right, c.edge};
    for (size_t f = 0; f < 5; ++f) data_[f * columns_ + at] = fields[f];
    any_left_ |= c.left > 0;
  }
  GemmlowpMultipliers From(size_t at, bool negative) const {
    const int32_t* p = data_.data() + at;
    const size_t n = columns_;
    return {any_left_ ? p : nullptr, p + n, p + 2 * n, p + 3 * n, negative ? p + 4 * n : nullptr};
  }

 private:
  size_t columns_ = 0;
  bool any_left_ = false;
  Aligned<int32_t> data_;
};

}  // namespace bitlite
