#include <cstring>

#include "gemm_s8.h"
#include "kernels/common/gemmlowp_s8.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int kLanes = 4;
constexpr int kMaxMr[] = {0, 4, 4, 4, 2};

int Column(int, int i) { return i; }

void Load(void* dst, const int8_t* src, int64_t n) {
  std::memcpy(dst, src, static_cast<size_t>(n));
}

template <int NV, int MR>
void Tile(const GemmS8Tile& t) {
  constexpr int kColumns = NV * kLanes;
  int32_t acc[MR][kColumns];
  for (int r = 0; r < MR; ++r) {
    const uint32_t add = t.row_add == nullptr ? 0 : static_cast<uint32_t>(t.row_add[r]);
    for (int c = 0; c < kColumns; ++c) {
      const uint32_t bias = t.sums == nullptr ? static_cast<uint32_t>(t.bias[c])
                                              : static_cast<uint32_t>(t.sums[c]) *
                                                    static_cast<uint32_t>(t.sums_factor);
      acc[r][c] = static_cast<int32_t>(bias + add);
    }
  }
  const int8_t* w = t.w;
  for (int s = 0; s < t.segment_count; ++s) {
    const int64_t o = t.segments[s];
    for (int k = 0; k < t.segment_steps; ++k, w += kColumns) {
      for (int r = 0; r < MR; ++r) {
        const int32_t a = static_cast<int8_t>(t.rows[r][o + k]);
        for (int c = 0; c < kColumns; ++c) {
          // Accumulators wrap: unsigned, because signed overflow is undefined.
          acc[r][c] = static_cast<int32_t>(static_cast<uint32_t>(acc[r][c]) +
                                           static_cast<uint32_t>(a * w[c]));
        }
      }
    }
  }
  for (int r = 0; r < MR; ++r) {
    for (int c = 0; c < t.n; ++c) {
      const int64_t at = r * t.y_stride + c;
      switch (t.out) {
        case GemmS8Out::kS32:
          static_cast<int32_t*>(t.y)[at] = acc[r][c];
          break;
        case GemmS8Out::kF32: {
          const float multiplier = t.sums == nullptr ? t.multiplier[c] : t.scale * t.multiplier[c];
          const float v = static_cast<float>(acc[r][c]) * multiplier + t.bias_f32[c];
          const float low = v < t.fmin ? t.fmin : v;
          static_cast<float*>(t.y)[at] = low > t.fmax ? t.fmax : low;
          break;
        }
        case GemmS8Out::kS8:
          static_cast<int8_t*>(t.y)[at] = static_cast<int8_t>(
              RequantizeRneF32(acc[r][c], t.multiplier[c], t.zero_point, t.qmin, t.qmax));
          break;
        case GemmS8Out::kS8Gemmlowp:
          static_cast<int8_t*>(t.y)[at] = static_cast<int8_t>(RequantizeGemmlowp(
              acc[r][c], MultiplierAt(t.gemmlowp, c), t.zero_point, t.qmin, t.qmax));
          break;
        case GemmS8Out::kS8Add: {
          const int32_t q =
              RequantizeRneF32(acc[r][c], t.multiplier[c], t.zero_point, t.qmin, t.qmax);
          const int32_t other = t.residual[r * t.residual_stride + c] - t.r_zero_point;
          const float a = static_cast<float>(q - t.zero_point) * t.lhs_scale;
          const float b = static_cast<float>(other) * t.rhs_scale;
          static_cast<int8_t*>(t.y)[at] =
              static_cast<int8_t>(RoundClamp(a + b, t.add_zero_point, t.add_qmin, t.add_qmax));
          break;
        }
      }
    }
  }
}

constexpr GemmS8TileFn kTiles[5][5] = {
    {},
    {nullptr, Tile<1, 1>, Tile<1, 2>, Tile<1, 3>, Tile<1, 4>},
    {nullptr, Tile<2, 1>, Tile<2, 2>, Tile<2, 3>, Tile<2, 4>},
    {nullptr, Tile<3, 1>, Tile<3, 2>, Tile<3, 3>, Tile<3, 4>},
    {nullptr, Tile<4, 1>, Tile<4, 2>},
};

GemmS8TileFn GetTile(int nv, int mr) { return kTiles[nv][mr]; }

}  // namespace

const GemmS8Kernel& gemm_s8_scalar() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 4,      1,       LhsPacking::kS8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
