// sdot multiplies four activations of a row, a lane of a register, with the weights of 4 columns.
#include <arm_neon.h>

#include "gemm_s8.h"
#include "gemm_s8_neon.inc"

namespace bitlite {
namespace {

template <int NV, int MR>
void Tile(const GemmS8Tile& t) {
  int32x4_t acc[MR][NV];
  for (int v = 0; v < NV; ++v) {
    const int32x4_t bias = t.sums == nullptr
                               ? vld1q_s32(t.bias + v * kLanes)
                               : vmulq_n_s32(vld1q_s32(t.sums + v * kLanes), t.sums_factor);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      acc[r][v] = t.row_add == nullptr ? bias : vaddq_s32(bias, vdupq_n_s32(t.row_add[r]));
    }
  }
  const int8_t* w = t.w;
  for (int s = 0; s < t.segment_count; ++s) {
    int64_t o = t.segments[s];
    int steps = t.segment_steps;
    for (; steps >= 4; steps -= 4, o += 16) {
      int8x16_t a[MR];
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) a[r] = vld1q_s8(reinterpret_cast<const int8_t*>(t.rows[r] + o));
#define BITLITE_LANE(lane)                                   \
  for (int v = 0; v < NV; ++v, w += 16) {                    \
    const int8x16_t b = vld1q_s8(w);                         \
    _Pragma("GCC unroll 8") for (int r = 0; r < MR; ++r) {   \
      acc[r][v] = vdotq_laneq_s32(acc[r][v], b, a[r], lane); \
    }                                                        \
  }
      BITLITE_LANE(0)
      BITLITE_LANE(1)
      BITLITE_LANE(2)
      BITLITE_LANE(3)
#undef BITLITE_LANE
    }
    for (; steps > 0; --steps, o += 4, w += 16 * NV) {
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) {
        int32_t four;
        __builtin_memcpy(&four, t.rows[r] + o, 4);
        const int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(four));
        for (int v = 0; v < NV; ++v) acc[r][v] = vdotq_s32(acc[r][v], vld1q_s8(w + 16 * v), a);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) StoreRow<NV>(t, r, acc[r]);
}

constexpr int kMaxMr[] = {0, 8, 8, 6, 5};
constexpr GemmS8TileFn kTiles[5][9] = {
    {},
    {nullptr, Tile<1, 1>, Tile<1, 2>, Tile<1, 3>, Tile<1, 4>, Tile<1, 5>, Tile<1, 6>, Tile<1, 7>,
     Tile<1, 8>},
    {nullptr, Tile<2, 1>, Tile<2, 2>, Tile<2, 3>, Tile<2, 4>, Tile<2, 5>, Tile<2, 6>, Tile<2, 7>,
     Tile<2, 8>},
    {nullptr, Tile<3, 1>, Tile<3, 2>, Tile<3, 3>, Tile<3, 4>, Tile<3, 5>, Tile<3, 6>},
    {nullptr, Tile<4, 1>, Tile<4, 2>, Tile<4, 3>, Tile<4, 4>, Tile<4, 5>},
};

GemmS8TileFn GetTile(int nv, int mr) { return kTiles[nv][mr]; }

}  // namespace

const GemmS8Kernel& gemm_s8_neondot() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 4,      4,       LhsPacking::kS8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
