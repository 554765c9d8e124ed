// smmla multiplies eight activations of two rows with the weights of two columns.
#include <arm_neon.h>

#include "gemm_s8.h"
#include "gemm_s8_neon.inc"

namespace bitlite {
namespace {

template <int NV, int MR>
void Tile(const GemmS8Tile& t) {
  constexpr int kPairs = (MR + 1) / 2, kColumnPairs = 2 * NV;
  int32x4_t acc[kPairs][kColumnPairs];
#pragma GCC unroll 4
  for (int p = 0; p < kPairs; ++p) {
    const int second = 2 * p + 1 < MR ? 2 * p + 1 : 2 * p;
    int32x4_t add = vdupq_n_s32(0);
    if (t.row_add != nullptr) {
      add = vcombine_s32(vdup_n_s32(t.row_add[2 * p]), vdup_n_s32(t.row_add[second]));
    }
#pragma GCC unroll 8
    for (int c = 0; c < kColumnPairs; ++c) {
      const int32x2_t bias = t.sums == nullptr
                                 ? vld1_s32(t.bias + 2 * c)
                                 : vmul_n_s32(vld1_s32(t.sums + 2 * c), t.sums_factor);
      acc[p][c] = vaddq_s32(vcombine_s32(bias, bias), add);
    }
  }
  const int8_t* w = t.w;
  for (int s = 0; s < t.segment_count; ++s) {
    int64_t o = t.segments[s];
    for (int k = t.segment_steps; k > 0; --k, o += 8) {
      int8x16_t a[kPairs];
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) {
        const int second = 2 * p + 1 < MR ? 2 * p + 1 : 2 * p;
        a[p] = vcombine_s8(vld1_s8(reinterpret_cast<const int8_t*>(t.rows[2 * p] + o)),
                           vld1_s8(reinterpret_cast<const int8_t*>(t.rows[second] + o)));
      }
#pragma GCC unroll 8
      for (int c = 0; c < kColumnPairs; ++c, w += 16) {
        const int8x16_t b = vld1q_s8(w);
#pragma GCC unroll 4
        for (int p = 0; p < kPairs; ++p) acc[p][c] = vmmlaq_s32(acc[p][c], a[p], b);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
    int32x4_t row[NV];
    for (int v = 0; v < NV; ++v) {
      const int32x4_t left = acc[r / 2][2 * v], right = acc[r / 2][2 * v + 1];
      row[v] = r % 2 == 0 ? vcombine_s32(vget_low_s32(left), vget_low_s32(right))
                          : vcombine_s32(vget_high_s32(left), vget_high_s32(right));
    }
    StoreRow<NV>(t, r, row);
  }
}

constexpr int kMaxMr[] = {0, 8, 8, 6, 4};
constexpr GemmS8TileFn kTiles[5][9] = {
    {},
    {nullptr, Tile<1, 1>, Tile<1, 2>, Tile<1, 3>, Tile<1, 4>, Tile<1, 5>, Tile<1, 6>, Tile<1, 7>,
     Tile<1, 8>},
    {nullptr, Tile<2, 1>, Tile<2, 2>, Tile<2, 3>, Tile<2, 4>, Tile<2, 5>, Tile<2, 6>, Tile<2, 7>,
     Tile<2, 8>},
    {nullptr, Tile<3, 1>, Tile<3, 2>, Tile<3, 3>, Tile<3, 4>, Tile<3, 5>, Tile<3, 6>},
    {nullptr, Tile<4, 1>, Tile<4, 2>, Tile<4, 3>, Tile<4, 4>},
};

GemmS8TileFn GetTile(int nv, int mr) { return kTiles[nv][mr]; }

}  // namespace

const GemmS8Kernel& gemm_s8_neoni8mm() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 4,      8,       LhsPacking::kS8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
