// The packed_f32 kernel over Vec: codes are widened once for all rows of the tile.
#pragma once

#include "packed_f32.h"

namespace {

constexpr int kPackedVecs = bitlite::kPackedPanel / Vec::kWidth;

template <int MR, int PANELS>
inline void PackedBlock(const bitlite::PackedF32Tile& t, int64_t column) {
  constexpr int NV = PANELS * kPackedVecs;
  Vec acc[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) acc[r][v] = Set(0.0f);
  }
  const uint8_t* w = t.w + column / bitlite::kPackedPanel * t.panel_stride;
  if (t.bits == 8) {
    for (int64_t k = 0; k < t.k; ++k, w += bitlite::kPackedPanel) {
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        const Vec b = LoadCodes(reinterpret_cast<const int8_t*>(w) +
                                v / kPackedVecs * t.panel_stride + v % kPackedVecs * Vec::kWidth);
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r) acc[r][v] = Fma(Set(t.a[r][k]), b, acc[r][v]);
      }
    }
  } else {
    for (int64_t k = 0; k < t.k; k += 2, w += bitlite::kPackedPanel) {
      const bool pair = k + 1 < t.k;
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        Vec low, high;
        LoadNibbles(w + v / kPackedVecs * t.panel_stride + v % kPackedVecs * Vec::kWidth, &low,
                    &high);
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r) {
          acc[r][v] = Fma(Set(t.a[r][k]), low, acc[r][v]);
          if (pair) acc[r][v] = Fma(Set(t.a[r][k + 1]), high, acc[r][v]);
        }
      }
    }
  }
  const Vec lo = Set(t.lo), hi = Set(t.hi);
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
    const Vec sum = Set(t.row_sums[r]);
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      const int64_t at = column + v * Vec::kWidth, rest = t.n - at;
      if (rest <= 0) break;
      const Vec constant = Fma(sum, Load(t.offset + at), Load(t.bias + at));
      const Vec y = Min(hi, Max(lo, Fma(acc[r][v], Load(t.scale + at), constant)));
      float* to = t.y + r * t.ldy + at;
      if (rest >= Vec::kWidth) {
        Store(to, y);
      } else {
        StoreN(to, y, static_cast<int>(rest));
      }
    }
  }
}

template <int MR, int PANELS>
inline void PackedColumns(const bitlite::PackedF32Tile& t, int64_t column) {
  constexpr int kColumns = PANELS * bitlite::kPackedPanel;
  const int64_t padded =
      (t.n + bitlite::kPackedPanel - 1) / bitlite::kPackedPanel * bitlite::kPackedPanel;
  for (; column + kColumns <= padded; column += kColumns) PackedBlock<MR, PANELS>(t, column);
  if constexpr (PANELS > 1) {
    if (column < t.n) PackedColumns<MR, PANELS / 2>(t, column);
  }
}

// PANELS: how many a single row takes at a time.
template <int PANELS>
inline void PackedTile(const bitlite::PackedF32Tile& t) {
  switch (t.rows) {
    case 1:
      return PackedColumns<1, PANELS>(t, 0);
    case 2:
      return PackedColumns<2, PANELS>(t, 0);
    case 3:
      return PackedColumns<3, (PANELS > 1 ? PANELS / 2 : 1)>(t, 0);
    default:
      return PackedColumns<4, (PANELS > 1 ? PANELS / 2 : 1)>(t, 0);
  }
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(packed_f32)(const PackedF32Tile& t) {
  PackedTile<BITLITE_VEC_OF(1, 4, 4, 2)>(t);
}

}  // namespace bitlite
