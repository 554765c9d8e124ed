// The depthwise_f32 kernel over Vec: channels in a vector, several output columns at a time so that
// a loaded input column serves all windows that it lies in.
#pragma once

#include "depthwise_f32.h"

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

// COLUMNS output columns, kernel width and stride known, dilation 1. CLIP: their windows may stick
// out left or right.
template <int KW, int STRIDE, int COLUMNS, bool CLIP, typename Lanes>
inline void DepthwiseColumns(const bitlite::DepthwiseF32Row& t, int64_t c, int64_t column,
                             Lanes lanes) {
  constexpr int kInputs = (COLUMNS - 1) * STRIDE + KW;
  const int64_t step = t.channels;
  const int64_t left = column * STRIDE - t.pad, start = left * step + c;
  Vec acc[COLUMNS];
  const Vec bias = lanes.load(t.bias + c);
#pragma GCC unroll 16
  for (int i = 0; i < COLUMNS; ++i) acc[i] = bias;
  for (int r = 0; r < t.row_count; ++r) {
    const float* row = t.rows[r];
    const float* w = t.w + r * KW * step + c;
    Vec wk[KW];
#pragma GCC unroll 16
    for (int k = 0; k < KW; ++k) wk[k] = lanes.load(w + k * step);
    // Column by column of the input; each output still adds its taps in ascending order.
#pragma GCC unroll 32
    for (int i = 0; i < kInputs; ++i) {
      if (CLIP && static_cast<uint64_t>(left + i) >= static_cast<uint64_t>(t.in_w)) continue;
      const Vec v = lanes.load(row + (start + i * step));
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

constexpr int kMostColumns = 7;

template <int KW, int STRIDE, int COLUMNS, bool CLIP>
inline void DepthwiseBlock(const bitlite::DepthwiseF32Row& t, int64_t column) {
  OverChannels(t, [&](int64_t c, auto lanes) {
    DepthwiseColumns<KW, STRIDE, COLUMNS, CLIP>(t, c, column, lanes);
  });
}

template <int KW, int STRIDE, int COLUMNS = kMostColumns - 1>
inline void DepthwiseClipped(const bitlite::DepthwiseF32Row& t, int64_t column, int64_t columns) {
  if (columns == COLUMNS) {
    DepthwiseBlock<KW, STRIDE, COLUMNS, true>(t, column);
  } else if constexpr (COLUMNS > 1) {
    DepthwiseClipped<KW, STRIDE, COLUMNS - 1>(t, column, columns);
  }
}

// The line in blocks of nearly equal width.
template <int KW, int STRIDE>
inline void DepthwiseLine(const bitlite::DepthwiseF32Row& t) {
  const int64_t blocks = (t.out_w + kMostColumns - 1) / kMostColumns;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t column = t.out_w * b / blocks, end = t.out_w * (b + 1) / blocks;
    if (end - column < kMostColumns) {
      DepthwiseClipped<KW, STRIDE>(t, column, end - column);
    } else if (column * STRIDE >= t.pad && (end - 1) * STRIDE - t.pad + KW <= t.in_w) {
      DepthwiseBlock<KW, STRIDE, kMostColumns, false>(t, column);
    } else {
      DepthwiseBlock<KW, STRIDE, kMostColumns, true>(t, column);
    }
  }
}

inline void DepthwiseKernel(const bitlite::DepthwiseF32Row& t) {
  if (t.dilation == 1) {
    if (t.kernel_w == 3 && t.stride == 1) return DepthwiseLine<3, 1>(t);
    if (t.kernel_w == 3 && t.stride == 2) return DepthwiseLine<3, 2>(t);
    if (t.kernel_w == 5 && t.stride == 1) return DepthwiseLine<5, 1>(t);
    if (t.kernel_w == 5 && t.stride == 2) return DepthwiseLine<5, 2>(t);
  }
  DepthwiseBorders(t, 0, t.out_w);
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(depthwise_f32)(const DepthwiseF32Row& t) { DepthwiseKernel(t); }

}  // namespace bitlite
