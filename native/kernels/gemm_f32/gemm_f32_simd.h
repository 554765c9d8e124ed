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

template <class V>
inline V LoadAs(const float* p) {
  return Load(p);
}
template <class V>
inline V LoadNAs(const float* p, int n) {
  return LoadN(p, n);
}
template <class V>
inline V SetAs(float a) {
  return Set(a);
}
#ifdef BITLITE_HALF_VEC
template <>
inline HalfVec LoadAs<HalfVec>(const float* p) {
  return LoadHalf(p);
}
template <>
inline HalfVec LoadNAs<HalfVec>(const float* p, int n) {
  return LoadHalfN(p, n);
}
template <>
inline HalfVec SetAs<HalfVec>(float a) {
  return SetHalf(a);
}
#endif

// NV: vectors of columns; less than the panels hold where the rest is beyond n.
template <int MR, int NV, class V = Vec>
inline void GemmBlock(const bitlite::GemmF32Tile& t, int64_t column) {
  constexpr int kVecs = bitlite::kGemmPanel / V::kWidth;  // of a panel
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int v = 0; v < NV; ++v) {
    const V bias = LoadAs<V>(t.bias + column + v * V::kWidth);
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
      V b[NV];
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        b[v] = LoadAs<V>(w + v / kVecs * stride + v % kVecs * V::kWidth);
      }
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) {
        const V x = SetAs<V>(a[r][k]);
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) acc[r][v] = Fma(x, b[v], acc[r][v]);
      }
    }
  }
  const V lo = SetAs<V>(t.lo), hi = SetAs<V>(t.hi);
  const int64_t left = t.n - column;
  if (left >= NV * V::kWidth) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        V y = acc[r][v];
        if (t.residual != nullptr) {
          y = y + LoadAs<V>(t.residual + r * t.ldr + column + v * V::kWidth);
        }
        Store(t.y + r * t.ldy + column + v * V::kWidth, Min(hi, Max(lo, y)));
      }
    }
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      const int64_t rest = left - v * V::kWidth;
      if (rest <= 0) break;
      const int n = rest < V::kWidth ? static_cast<int>(rest) : V::kWidth;
      V y = acc[r][v];
      if (t.residual != nullptr) {
        y = y + LoadNAs<V>(t.residual + r * t.ldr + column + v * V::kWidth, n);
      }
      StoreN(t.y + r * t.ldy + column + v * V::kWidth, Min(hi, Max(lo, y)), n);
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
#ifdef BITLITE_HALF_VEC
    if constexpr (PANELS == 1) {
      if (t.n - column <= HalfVec::kWidth) return GemmBlock<MR, 1, HalfVec>(t, column);
    }
#endif
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
