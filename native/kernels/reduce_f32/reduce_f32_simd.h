// The reduce_rows_f32 and reduce_run_f32 kernels over Vec.
#pragma once

#include "reduce_f32.h"

namespace {

struct SumFn {
  static constexpr float kStart = 0.0f;
  Vec operator()(Vec acc, Vec x) const { return acc + x; }
  float operator()(float acc, float x) const { return acc + x; }
};
struct MaxFn {
  static constexpr float kStart = -__builtin_inff();
  Vec operator()(Vec acc, Vec x) const { return IfNan(acc, acc, Max(acc, x)); }
  float operator()(float acc, float x) const { return acc > x || acc != acc ? acc : x; }
};
struct MinFn {
  static constexpr float kStart = __builtin_inff();
  Vec operator()(Vec acc, Vec x) const { return IfNan(acc, acc, Min(acc, x)); }
  float operator()(float acc, float x) const { return acc < x || acc != acc ? acc : x; }
};
struct ProdFn {
  static constexpr float kStart = 1.0f;
  Vec operator()(Vec acc, Vec x) const { return acc * x; }
  float operator()(float acc, float x) const { return acc * x; }
};
struct SumAbsFn {
  static constexpr float kStart = 0.0f;
  Vec operator()(Vec acc, Vec x) const { return acc + Abs(x); }
  float operator()(float acc, float x) const { return acc + __builtin_fabsf(x); }
};
struct SumSquareFn {
  static constexpr float kStart = 0.0f;
  Vec operator()(Vec acc, Vec x) const { return Fma(x, x, acc); }
  float operator()(float acc, float x) const { return acc + x * x; }
};

// first: the position's offset in each row.
template <int NV, typename F>
inline void ReduceColumns(const bitlite::ReduceRowsF32Args& t, int64_t first, float* y, F f) {
  Vec acc[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) acc[v] = Set(F::kStart);
  for (int64_t r = 0; r < t.row_count; ++r) {
    const float* x = t.rows[r] + first;
    for (int64_t k = 0; k < t.taps; ++k, x += t.tap_stride) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[v] = f(acc[v], Load(x + v * Vec::kWidth));
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    Store(y + v * Vec::kWidth, Min(Set(t.hi), Max(Set(t.lo), acc[v] * Set(t.scale))));
  }
}

template <typename F>
inline void ReduceRows(const bitlite::ReduceRowsF32Args& t, F f) {
  constexpr int W = Vec::kWidth;
  for (int64_t p = 0; p < t.positions; ++p) {
    const int64_t first = p * t.step;
    float* y = t.y + p * t.n;
    int64_t c = 0;
    for (; c + 4 * W <= t.n; c += 4 * W) ReduceColumns<4>(t, first + c, y + c, f);
    for (; c + 2 * W <= t.n; c += 2 * W) ReduceColumns<2>(t, first + c, y + c, f);
    for (; c + W <= t.n; c += W) ReduceColumns<1>(t, first + c, y + c, f);
    const int rest = static_cast<int>(t.n - c);
    if (rest == 0) continue;
    Vec acc = Set(F::kStart);
    for (int64_t r = 0; r < t.row_count; ++r) {
      const float* x = t.rows[r] + first + c;
      for (int64_t k = 0; k < t.taps; ++k, x += t.tap_stride) acc = f(acc, LoadN(x, rest));
    }
    StoreN(y + c, Min(Set(t.hi), Max(Set(t.lo), acc * Set(t.scale))), rest);
  }
}

inline void ReduceRowsKernel(const bitlite::ReduceRowsF32Args& t) {
  using bitlite::ReduceOp;
  switch (t.op) {
    case ReduceOp::kSum:
      return ReduceRows(t, SumFn{});
    case ReduceOp::kMax:
      return ReduceRows(t, MaxFn{});
    case ReduceOp::kMin:
      return ReduceRows(t, MinFn{});
    case ReduceOp::kProd:
      return ReduceRows(t, ProdFn{});
    case ReduceOp::kSumAbs:
      return ReduceRows(t, SumAbsFn{});
    case ReduceOp::kSumSquare:
      return ReduceRows(t, SumSquareFn{});
  }
}

// Four running vectors: the additions of a long run do not wait for each other.
template <typename F>
inline float ReduceRun(const float* x, int64_t n, F f) {
  constexpr int W = Vec::kWidth;
  Vec a = Set(F::kStart), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    a = f(a, Load(x + i));
    b = f(b, Load(x + i + W));
    c = f(c, Load(x + i + 2 * W));
    d = f(d, Load(x + i + 3 * W));
  }
  for (; i + W <= n; i += W) a = f(a, Load(x + i));
  // The partial results are themselves values of the reduction.
  using Join = typename F::Join;
  const Join join{};
  float lanes[W];
  Store(lanes, join(join(a, b), join(c, d)));
  float y = lanes[0];
  for (int k = 1; k < W; ++k) y = join(y, lanes[k]);
  for (; i < n; ++i) y = f(y, x[i]);
  return y;
}

template <typename F, typename J>
struct Joined : F {
  using Join = J;
};

inline float ReduceRunKernel(const bitlite::ReduceRunF32Args& t) {
  using bitlite::ReduceOp;
  switch (t.op) {
    case ReduceOp::kSum:
      return ReduceRun(t.x, t.n, Joined<SumFn, SumFn>{});
    case ReduceOp::kMax:
      return ReduceRun(t.x, t.n, Joined<MaxFn, MaxFn>{});
    case ReduceOp::kMin:
      return ReduceRun(t.x, t.n, Joined<MinFn, MinFn>{});
    case ReduceOp::kProd:
      return ReduceRun(t.x, t.n, Joined<ProdFn, ProdFn>{});
    case ReduceOp::kSumAbs:
      return ReduceRun(t.x, t.n, Joined<SumAbsFn, SumFn>{});
    case ReduceOp::kSumSquare:
      return ReduceRun(t.x, t.n, Joined<SumSquareFn, SumFn>{});
  }
  return 0.0f;
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(reduce_rows_f32)(const ReduceRowsF32Args& t) { ReduceRowsKernel(t); }
float BITLITE_VEC_KERNEL(reduce_run_f32)(const ReduceRunF32Args& t) { return ReduceRunKernel(t); }

}  // namespace bitlite
