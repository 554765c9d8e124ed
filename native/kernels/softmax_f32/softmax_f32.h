// Families softmax_f32 and norm_f32: whole rows.
#pragma once

#include <cstdint>

namespace bitlite {

struct SoftmaxF32Args {
  const float* x;
  float* y;  // may be x
  int64_t n;
  float beta;
  bool log;  // log(softmax(x)), beta = 1
};

struct softmax_f32 {
  using Fn = void(const SoftmaxF32Args&);
};

// y[i] = x[i] * scale[i] + offset[i]; when `standardize`, x is first brought to mean 0 and
// variance 1.
struct NormF32Args {
  const float* x;
  float* y;  // may be x
  int64_t n;
  const float* scale;   // may be null: 1
  const float* offset;  // may be null: 0
  bool standardize;
  float epsilon;
};

struct norm_f32 {
  using Fn = void(const NormF32Args&);
};

}  // namespace bitlite
