// The gemm_f32 kernel over Vec. A tile of MR rows takes as many panels at a time as leave its
// accumulators and one vector per column in REGISTERS.
#pragma once

#include "gemm_f32.h"

namespace {

#define BITLITE_FAMILY(family)
#define BITLITE_VEC_KERNELS(family, scalar, avx2, avx512, neon) \
  constexpr int kTileRows = BITLITE_VEC_OF(scalar, avx2, avx512, neon);
#include "gemm_f32.def"
#undef BITLITE_VEC_KERNELS
#undef BITLITE_FAMILY
constexpr int kPanelVecs = bitlite::kGemmPanel / Vec::kWidth;

// NV: vectors of columns; less than the panels hold where the rest is beyond n.
template <int MR, int NV>
inline void GemmBlock(const bitlite::GemmF32Tile& t, int64_t column) {
  Vec acc[MR][NV];
#pragma GCC unroll 16
  for (int v = 0; v < NV; ++v) {
    const Vec bias = Load(t.bias + column + v * Vec::kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) acc[r][v] = bias;
  }
  const float* w = t.w + column / bitlite::kGemmPanel * t.panel_stride;
  const int64_t stride = t.panel_stride;
  const float* const* taps = t.a;
  for (int64_t tap = 0; tap < t.taps; ++tap, taps += MR) {
    const float* a[MR];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) a[r] = taps[r];
    for (int64_t k = 0; k < t.kc; ++k, w += bitlite::kGemmPanel) {
      Vec b[NV];
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        b[v] = Load(w + v / kPanelVecs * stride + v % kPanelVecs * Vec::kWidth);
      }
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) {
        const Vec x = Set(a[r][k]);
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) acc[r][v] = Fma(x, b[v], acc[r][v]);
      }
    }
  }
  const Vec lo = Set(t.lo), hi = Set(t.hi);
  const int64_t left = t.n - column;
  if (left >= NV * Vec::kWidth) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        Vec y = acc[r][v];
        if (t.residual != nullptr) {
          y = y + Load(t.residual + r * t.ldr + column + v * Vec::kWidth);
        }
        Store(t.y + r * t.ldy + column + v * Vec::kWidth, Min(hi, Max(lo, y)));
      }
    }
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      const int64_t rest = left - v * Vec::kWidth;
      if (rest <= 0) break;
      const int n = rest < Vec::kWidth ? static_cast<int>(rest) : Vec::kWidth;
      Vec y = acc[r][v];
      if (t.residual != nullptr) {
        y = y + LoadN(t.residual + r * t.ldr + column + v * Vec::kWidth, n);
      }
      StoreN(t.y + r * t.ldy + column + v * Vec::kWidth, Min(hi, Max(lo, y)), n);
    }
  }
}

template <int MR, int PANELS>
inline void GemmColumns(const bitlite::GemmF32Tile& t, int64_t column) {
  constexpr int kColumns = PANELS * bitlite::kGemmPanel;
  // A block of PANELS panels must not read panels beyond the last.
  const int64_t padded =
      (t.n + bitlite::kGemmPanel - 1) / bitlite::kGemmPanel * bitlite::kGemmPanel;
  constexpr int kVecs = PANELS * kPanelVecs;
  for (; column + kColumns <= padded; column += kColumns) {
    if constexpr (PANELS == 1 && kPanelVecs > 1) {
      if (t.n - column <= bitlite::kGemmPanel / 2) return GemmBlock<MR, kVecs / 2>(t, column);
    }
    GemmBlock<MR, kVecs>(t, column);
  }
  if constexpr (PANELS > 1) {
    if (column < t.n) GemmColumns<MR, PANELS / 2>(t, column);
  }
}

constexpr int PanelsFor(int mr, int registers) {
  int panels = 1;
  while (panels < 8 && (mr + 1) * panels * 2 * kPanelVecs <= registers) panels *= 2;
  return panels;
}

// The tile function for up to MR rows.
template <int MR, int REGISTERS>
inline void GemmTile(const bitlite::GemmF32Tile& t) {
  if (t.rows == MR) {
    GemmColumns<MR, PanelsFor(MR, REGISTERS)>(t, 0);
  } else if constexpr (MR > 1) {
    GemmTile<MR - 1, REGISTERS>(t);
  }
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(gemm_f32)(const GemmF32Tile& t) {
  GemmTile<kTileRows, BITLITE_VEC_OF(8, 16, 30, 28)>(t);
}

}  // namespace bitlite
