#include "gemm_s16.h"
#include "requant_s16.h"

namespace {
constexpr int kVectorBytes = 16;
}

#include "row_winograd_s16.inc"

namespace bitlite {
namespace {

constexpr int kMaxMr = 4;

template <typename W, int MR>
void Tile(const GemmS16Tile& t) {
  int64_t acc[MR][kColumnsS16];
  for (int r = 0; r < MR; ++r) {
    for (int c = 0; c < kColumnsS16; ++c) acc[r][c] = t.sums ? 0 : t.bias[c];
  }
  const W* w = static_cast<const W*>(t.w);
  for (int s = 0; s < t.segment_count; ++s) {
    for (int p = 0; p < t.segment_pairs; ++p, w += 2 * kColumnsS16) {
      for (int r = 0; r < MR; ++r) {
        const int16_t* x = t.rows[r] + t.segments[s] + 2 * p;
        for (int c = 0; c < kColumnsS16; ++c) {
          acc[r][c] += int64_t{x[0] * w[2 * c]} + x[1] * w[2 * c + 1];
        }
      }
    }
  }
  for (int r = 0; r < MR; ++r) {
    if (t.sums) {
      int32_t* y = static_cast<int32_t*>(t.y) + r * t.y_stride;
      for (int c = 0; c < kColumnsS16; ++c) {
        y[c] = static_cast<int32_t>(static_cast<uint32_t>(acc[r][c]));
      }
    } else {
      StoreS16(t, acc[r], r);
    }
  }
}

void Pixels(const int32_t* m, int64_t step, const int32_t* bias, const GemmS16Tile& t, int count) {
  int64_t acc[2][kColumnsS16];
  for (int c = 0; c < kColumnsS16; ++c) {
    const uint32_t a = static_cast<uint32_t>(m[c]), b = static_cast<uint32_t>(m[step + c]);
    const uint32_t d = static_cast<uint32_t>(m[2 * step + c]);
    const uint32_t e = static_cast<uint32_t>(m[3 * step + c]);
    const uint32_t offset = static_cast<uint32_t>(bias[c]) + b;
    acc[0][c] = static_cast<int32_t>(offset + a + d) >> 1;
    acc[1][c] = static_cast<int32_t>(offset - d - e) >> 1;
  }
  for (int r = 0; r < count; ++r) StoreS16(t, acc[r], r);
}

template <typename W>
constexpr GemmS16TileFn kTiles[] = {nullptr, Tile<W, 1>, Tile<W, 2>, Tile<W, 3>, Tile<W, 4>};

GemmS16TileFn GetTile(int mr, bool wide) { return wide ? kTiles<int16_t>[mr] : kTiles<int8_t>[mr]; }

}  // namespace

const GemmS16Kernel& gemm_s16_scalar() {
  static constexpr GemmS16Kernel kKernel = {kMaxMr, GetTile, 1, Windows, Pixels};
  return kKernel;
}

}  // namespace bitlite
