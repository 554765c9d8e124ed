// The packed_f32 kernel over Vec: codes are widened once for all rows of the tile.
#pragma once

#include "packed_f32.h"

namespace {

using bitlite::kNibbles;
constexpr int kPackedVecs = bitlite::kPackedPanel / Vec::kWidth;

// acc[r][v] += x * (code of k + i, which the words of `words` hold, less `centre`). Where that is
// what codes are raised by, a weight of zero leaves an output alone, however large its x is.
template <int MR, int NV>
inline void AddNibbles(const bitlite::PackedF32Tile& t, const uint8_t* words, int i, int64_t k,
                       int v, Vec centre, Vec (&acc)[MR][NV]) {
  const Vec b = LoadNibbles(words, i) - centre;
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) acc[r][v] = Fma(Set(t.a[r][k + i]), b, acc[r][v]);
}

// acc[r][v] += x * code over k in [first, last); w: where `first` stands.
template <int MR, int NV>
inline void AddCodes(const bitlite::PackedF32Tile& t, const uint8_t* w, int64_t first, int64_t last,
                     Vec (&acc)[MR][NV]) {
  if (t.bits == 8) {
    for (int64_t k = first; k < last; ++k, w += t.width) {
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        const Vec b = LoadCodes(reinterpret_cast<const int8_t*>(w) + v * Vec::kWidth);
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r) acc[r][v] = Fma(Set(t.a[r][k]), b, acc[r][v]);
      }
    }
  } else {
    const Vec centre = Set(t.offset == nullptr ? t.centre : 0.0f);
    for (int64_t k = first; k < last; k += kNibbles, w += t.width * kNibbles / 2) {
      const bool whole = k + kNibbles <= last;
      const int count = whole ? kNibbles : static_cast<int>(last - k);
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) {
        const uint8_t* words = w + v * Vec::kWidth * kNibbles / 2;
        if (whole) {
#pragma GCC unroll 8
          for (int i = 0; i < kNibbles; ++i) AddNibbles<MR, NV>(t, words, i, k, v, centre, acc);
        } else {
          for (int i = 0; i < count; ++i) AddNibbles<MR, NV>(t, words, i, k, v, centre, acc);
        }
      }
    }
  }
}

template <int MR, int PANELS>
inline void PackedBlock(const bitlite::PackedF32Tile& t, int64_t column) {
  constexpr int NV = PANELS * kPackedVecs;
  const int64_t blocks = (t.k + t.block - 1) / t.block;
  const int64_t bytes = t.bits == 8 ? 1 : kNibbles / 2;  // of a column in a line
  const uint8_t* w = t.w + column * bytes;
  // What the outputs are before a block: biases, then the sums so far, which of a single block stay
  // in registers.
  float so_far[MR][NV * Vec::kWidth];
  const float* before_block = t.bias + column;
  int64_t before_stride = 0;
  Vec acc[MR][NV];
  const auto scaled = [&](int r, int v, int64_t b) {
    const int64_t at = column + v * Vec::kWidth, of_block = b * t.width + at;
    const Vec before = Load(before_block + r * before_stride + v * Vec::kWidth);
    const Vec sum = Set(t.row_sums[r * blocks + b]), scale = Load(t.scale + of_block);
    if (t.offset == nullptr && t.bits == 4) return Fma(acc[r][v], scale, before);
    if (t.offset == nullptr) return Fma(Fma(sum, Set(-t.centre), acc[r][v]), scale, before);
    return Fma(acc[r][v], scale, Fma(sum, Load(t.offset + of_block), before));
  };
  for (int64_t b = 0;; ++b) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) acc[r][v] = Set(0.0f);
    }
    const int64_t first = b * t.block, last = first + t.block < t.k ? first + t.block : t.k;
    const int64_t line = t.bits == 8 ? first : b * ((t.block + kNibbles - 1) / kNibbles);
    AddCodes<MR, NV>(t, w + line * t.width * bytes, first, last, acc);
    if (b + 1 >= blocks) break;
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) Store(so_far[r] + v * Vec::kWidth, scaled(r, v, b));
    }
    before_block = so_far[0];
    before_stride = NV * Vec::kWidth;
  }
  const Vec lo = Set(t.lo), hi = Set(t.hi);
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      const int64_t at = column + v * Vec::kWidth, rest = t.n - at;
      if (rest <= 0) break;
      const Vec y = Min(hi, Max(lo, scaled(r, v, blocks - 1)));
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
