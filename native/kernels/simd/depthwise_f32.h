// The depthwise_f32 kernel over Vec: channels in a vector, several output columns at a time so that
// a loaded input column serves all windows that it lies in.
#pragma once

#include "../depthwise_f32.h"

namespace {

struct WholeVec {
  Vec load(const float* p) const { return Load(p); }
  void store(float* p, Vec v) const { Store(p, v); }
};
struct PartVec {
  int n;
  Vec load(const float* p) const { return LoadN(p, n); }
  void store(float* p, Vec v) const { StoreN(p, v, n); }
};

// One output column whose window may stick out left or right.
template <typename Lanes>
inline void DepthwiseBorder(const bitlite::DepthwiseF32Row& t, int64_t c, int64_t column,
                            Lanes lanes) {
  const int64_t start = column * t.stride - t.pad;
  Vec acc = lanes.load(t.bias + c);
  for (int r = 0; r < t.row_count; ++r) {
    const float* x = t.rows[r] + c;
    const float* w = t.w + r * t.kernel_w * t.channels + c;
    for (int64_t k = 0; k < t.kernel_w; ++k) {
      const int64_t i = start + k * t.dilation;
      if (i < 0 || i >= t.in_w) continue;
      acc = Fma(lanes.load(x + i * t.channels), lanes.load(w + k * t.channels), acc);
    }
  }
  lanes.store(t.y + column * t.channels + c, Min(Set(t.hi), Max(Set(t.lo), acc)));
}

// COLUMNS output columns with whole windows, kernel width and stride known, dilation 1.
template <int KW, int STRIDE, int COLUMNS, typename Lanes>
inline void DepthwiseColumns(const bitlite::DepthwiseF32Row& t, int64_t c, int64_t column,
                             Lanes lanes) {
  constexpr int kInputs = (COLUMNS - 1) * STRIDE + KW;
  const int64_t step = t.channels;
  const int64_t start = (column * STRIDE - t.pad) * step + c;
  Vec acc[COLUMNS];
  const Vec bias = lanes.load(t.bias + c);
#pragma GCC unroll 16
  for (int i = 0; i < COLUMNS; ++i) acc[i] = bias;
  for (int r = 0; r < t.row_count; ++r) {
    const float* x = t.rows[r] + start;
    const float* w = t.w + r * KW * step + c;
    Vec wk[KW];
#pragma GCC unroll 16
    for (int k = 0; k < KW; ++k) wk[k] = lanes.load(w + k * step);
    // Column by column of the input; each output still adds its taps in ascending order.
#pragma GCC unroll 16
    for (int i = 0; i < kInputs; ++i) {
      const Vec v = lanes.load(x + i * step);
#pragma GCC unroll 16
      for (int o = 0; o < COLUMNS; ++o) {
        const int k = i - o * STRIDE;
        if (k >= 0 && k < KW) acc[o] = Fma(v, wk[k], acc[o]);
      }
    }
  }
  const Vec lo = Set(t.lo), hi = Set(t.hi);
#pragma GCC unroll 16
  for (int i = 0; i < COLUMNS; ++i) {
    lanes.store(t.y + (column + i) * step + c, Min(hi, Max(lo, acc[i])));
  }
}

// All channels of one group of columns, so that memory is read in order.
template <typename Do>
inline void OverChannels(const bitlite::DepthwiseF32Row& t, Do run) {
  int64_t c = t.c0;
  for (; c + Vec::kWidth <= t.c1; c += Vec::kWidth) run(c, WholeVec{});
  if (c < t.c1) run(c, PartVec{static_cast<int>(t.c1 - c)});
}

inline void DepthwiseBorders(const bitlite::DepthwiseF32Row& t, int64_t column, int64_t end) {
  for (; column < end; ++column) {
    OverChannels(t, [&](int64_t c, auto lanes) { DepthwiseBorder(t, c, column, lanes); });
  }
}

template <int KW, int STRIDE, int COLUMNS>
inline int64_t DepthwiseInner(const bitlite::DepthwiseF32Row& t, int64_t column, int64_t end) {
  for (; column + COLUMNS <= end; column += COLUMNS) {
    OverChannels(t, [&](int64_t c, auto lanes) {
      DepthwiseColumns<KW, STRIDE, COLUMNS>(t, c, column, lanes);
    });
  }
  return column;
}

template <int KW, int STRIDE>
inline int64_t DepthwiseWhole(const bitlite::DepthwiseF32Row& t, int64_t column, int64_t end) {
  column = DepthwiseInner<KW, STRIDE, 4>(t, column, end);
  return DepthwiseInner<KW, STRIDE, 1>(t, column, end);
}

inline void DepthwiseKernel(const bitlite::DepthwiseF32Row& t) {
  // Columns [first, last) have their whole window inside.
  int64_t first = (t.pad + t.stride - 1) / t.stride;
  const int64_t room = t.in_w - ((t.kernel_w - 1) * t.dilation + 1) + t.pad;
  int64_t last = room < 0 ? 0 : room / t.stride + 1;
  if (last > t.out_w) last = t.out_w;
  if (first > last) first = last;
  DepthwiseBorders(t, 0, first);
  int64_t column = first;
  if (t.dilation == 1) {
    if (t.kernel_w == 3 && t.stride == 1) column = DepthwiseWhole<3, 1>(t, column, last);
    if (t.kernel_w == 3 && t.stride == 2) column = DepthwiseWhole<3, 2>(t, column, last);
    if (t.kernel_w == 5 && t.stride == 1) column = DepthwiseWhole<5, 1>(t, column, last);
    if (t.kernel_w == 5 && t.stride == 2) column = DepthwiseWhole<5, 2>(t, column, last);
  }
  DepthwiseBorders(t, column, t.out_w);
}

}  // namespace
