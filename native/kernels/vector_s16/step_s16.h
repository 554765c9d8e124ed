// What the factories of steps on codes of 16 bits share.
#pragma once

#include "kernels/common/quant_step.h"
#include "vector_s16.h"

namespace bitlite {

// Refuses what is not int16 of one scale with the zero point 0.
inline void RequireCodesS16(const TensorSpec& t) {
  if (t.dtype != DType::kI16) Refuse(t.name + " is not int16");
  if (ZeroPointOf(t) != 0) Refuse(t.name + ": the zero point is not 0");
}

inline ClampS16 ClampS16Of(const Range& range) {
  return {static_cast<float>(range.qmin), static_cast<float>(range.qmax)};
}

}  // namespace bitlite
