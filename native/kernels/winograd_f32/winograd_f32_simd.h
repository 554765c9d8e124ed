// The transforms of winograd_f32.h over Vec.
#pragma once

#include "winograd_f32.h"

namespace {

constexpr float kRoot2 = 1.41421356237309505f, kHalfRoot2 = 0.70710678118654752f;

// x[i] becomes row i of B^T x.
inline void WinogradInLine(Vec (&x)[bitlite::kWinogradIn]) {
  const Vec root = Set(kRoot2), half_root = Set(kHalfRoot2);
  const Vec outer = Set(-2.5f), near_zero = Set(-0.5f), far = Set(-2.0f);
  const Vec even = Fma(near_zero, x[2], x[4]), odd = root * Fma(near_zero, x[1], x[3]);
  const Vec even2 = Fma(far, x[2], x[4]), odd2 = half_root * Fma(far, x[1], x[3]);
  x[0] = Fma(outer, x[2], x[0] + x[4]);
  x[5] = Fma(outer, x[3], x[1] + x[5]);
  x[1] = even + odd;
  x[2] = even - odd;
  x[3] = even2 + odd2;
  x[4] = even2 - odd2;
}

// y[i] = row i of A^T m.
inline void WinogradOutLine(const Vec (&m)[bitlite::kWinogradIn], Vec (&y)[bitlite::kWinogradOut]) {
  const Vec sum = m[1] + m[2], difference = m[1] - m[2];
  const Vec sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  y[0] = m[0] + (sum + sum2);
  y[1] = Fma(Set(kHalfRoot2), difference2, Set(kRoot2) * difference);
  y[2] = Fma(Set(2.0f), sum, Set(0.5f) * sum2);
  y[3] = Fma(Set(2.0f * kRoot2), difference, Fma(Set(0.5f * kHalfRoot2), difference2, m[5]));
}

// One vector of channels, `width` of which exist.
template <bool WHOLE>
inline void WinogradInBlock(const bitlite::WinogradInF32& t, int64_t c, int width) {
  constexpr int N = bitlite::kWinogradIn;
  Vec half[N][N];  // [column][row of B^T x]
#pragma GCC unroll 6
  for (int j = 0; j < N; ++j) {
#pragma GCC unroll 6
    for (int i = 0; i < N; ++i) {
      const float* from = t.pixels[i * N + j] + c;
      half[j][i] = WHOLE ? Load(from) : LoadN(from, width);
    }
    WinogradInLine(half[j]);
  }
  float* to = t.v + c;
#pragma GCC unroll 6
  for (int i = 0; i < N; ++i) {
    Vec line[N];
#pragma GCC unroll 6
    for (int j = 0; j < N; ++j) line[j] = half[j][i];
    WinogradInLine(line);
#pragma GCC unroll 6
    for (int j = 0; j < N; ++j, to += t.channels) {
      if constexpr (WHOLE) {
        Store(to, line[j]);
      } else {
        StoreN(to, line[j], width);
      }
    }
  }
}

inline void WinogradInKernel(const bitlite::WinogradInF32& t) {
  int64_t c = 0;
  for (; c + Vec::kWidth <= t.channels; c += Vec::kWidth) WinogradInBlock<true>(t, c, 0);
  if (c < t.channels) WinogradInBlock<false>(t, c, static_cast<int>(t.channels - c));
}

inline void WinogradOutKernel(const bitlite::WinogradOutF32& t) {
  constexpr int N = bitlite::kWinogradIn, M = bitlite::kWinogradOut;
  const Vec lo = Set(t.lo), hi = Set(t.hi);
  for (int c = 0; c < t.channels; c += Vec::kWidth) {
    Vec half[M][N];  // [row of A^T m][column]
#pragma GCC unroll 6
    for (int j = 0; j < N; ++j) {
      Vec column[N], sums[M];
#pragma GCC unroll 6
      for (int i = 0; i < N; ++i) column[i] = Load(t.m + (i * N + j) * t.kChannels + c);
      WinogradOutLine(column, sums);
#pragma GCC unroll 4
      for (int i = 0; i < M; ++i) half[i][j] = sums[i];
    }
    const Vec bias = Load(t.bias + c);
    const int width = t.channels - c < Vec::kWidth ? t.channels - c : Vec::kWidth;
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) {
      if (i >= t.lines) break;
      Vec line[M];
      WinogradOutLine(half[i], line);
      float* y = t.y + i * t.y_line + c;
      int64_t beside = i * t.residual_line + c;
#pragma GCC unroll 4
      for (int j = 0; j < M; ++j, y += t.y_pixel, beside += t.residual_pixel) {
        if (j >= t.columns) break;
        Vec sum = line[j] + bias;
        if (width == Vec::kWidth) {
          if (t.residual != nullptr) sum = sum + Load(t.residual + beside);
          Store(y, Min(hi, Max(lo, sum)));
        } else {
          if (t.residual != nullptr) sum = sum + LoadN(t.residual + beside, width);
          StoreN(y, Min(hi, Max(lo, sum)), width);
        }
      }
    }
  }
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(winograd_in_f32)(const WinogradInF32& t) { WinogradInKernel(t); }
void BITLITE_VEC_KERNEL(winograd_out_f32)(const WinogradOutF32& t) { WinogradOutKernel(t); }

}  // namespace bitlite
