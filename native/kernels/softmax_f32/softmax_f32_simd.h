// The softmax_f32 and norm_f32 kernels over Vec.
#pragma once

#include "kernels/common/math_f32.h"
#include "kernels/reduce_f32/reduce_f32_simd.h"
#include "softmax_f32.h"

namespace {

inline void SoftmaxKernel(const bitlite::SoftmaxF32Args& t) {
  constexpr int W = Vec::kWidth;
  const float largest = ReduceRun(t.x, t.n, Joined<MaxFn, MaxFn>{});
  const Vec top = Set(largest), beta = Set(t.beta);
  Vec total = Set(0.0f);
  int64_t i = 0;
  // The exponentials go to y unless the logarithm is wanted.
  for (; i + W <= t.n; i += W) {
    const Vec e = Exp((Load(t.x + i) - top) * beta);
    total = total + e;
    if (!t.log) Store(t.y + i, e);
  }
  float sum = Sum(total);
  const int rest = static_cast<int>(t.n - i);
  if (rest > 0) {
    float lanes[W];
    const Vec e = Exp((LoadN(t.x + i, rest) - top) * beta);
    Store(lanes, e);
    for (int k = 0; k < rest; ++k) sum += lanes[k];
    if (!t.log) StoreN(t.y + i, e, rest);
  }
  if (t.log) {
    float lanes[W];
    Store(lanes, Log(Set(sum)));
    const Vec log_sum = Set(lanes[0]);
    for (i = 0; i + W <= t.n; i += W) Store(t.y + i, Load(t.x + i) - top - log_sum);
    if (rest > 0) StoreN(t.y + i, LoadN(t.x + i, rest) - top - log_sum, rest);
    return;
  }
  const Vec factor = Set(1.0f / sum);
  for (i = 0; i + W <= t.n; i += W) Store(t.y + i, Load(t.y + i) * factor);
  if (rest > 0) StoreN(t.y + i, LoadN(t.y + i, rest) * factor, rest);
}

inline void NormKernel(const bitlite::NormF32Args& t) {
  constexpr int W = Vec::kWidth;
  Vec mean = Set(0.0f), inverse = Set(1.0f);
  if (t.standardize) {
    const float n = static_cast<float>(t.n);
    const float m = ReduceRun(t.x, t.n, Joined<SumFn, SumFn>{}) / n;
    mean = Set(m);
    Vec squares = Set(0.0f);
    int64_t i = 0;
    for (; i + W <= t.n; i += W) {
      const Vec d = Load(t.x + i) - mean;
      squares = Fma(d, d, squares);
    }
    float sum = Sum(squares);
    for (; i < t.n; ++i) sum += (t.x[i] - m) * (t.x[i] - m);
    inverse = Set(1.0f / __builtin_sqrtf(sum / n + t.epsilon));
  }
  const auto finish = [&](Vec x, Vec scale, Vec offset) {
    return Fma((x - mean) * inverse, scale, offset);
  };
  const Vec one = Set(1.0f), zero = Set(0.0f);
  int64_t i = 0;
  for (; i + W <= t.n; i += W) {
    Store(t.y + i, finish(Load(t.x + i), t.scale != nullptr ? Load(t.scale + i) : one,
                          t.offset != nullptr ? Load(t.offset + i) : zero));
  }
  const int rest = static_cast<int>(t.n - i);
  if (rest > 0) {
    StoreN(t.y + i,
           finish(LoadN(t.x + i, rest), t.scale != nullptr ? LoadN(t.scale + i, rest) : one,
                  t.offset != nullptr ? LoadN(t.offset + i, rest) : zero),
           rest);
  }
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(softmax_f32)(const SoftmaxF32Args& t) { SoftmaxKernel(t); }
void BITLITE_VEC_KERNEL(norm_f32)(const NormF32Args& t) { NormKernel(t); }

}  // namespace bitlite
