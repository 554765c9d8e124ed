#include <cstring>

#include "depthwise_s8.h"
#include "kernels/common/gemmlowp_s8.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int kBlock = 16;

int Column(int i) { return i; }

void Row(const DepthwiseS8Row& t) {
  const int16_t* weights = static_cast<const int16_t*>(t.w);
  const uint8_t* x = t.x;
  for (int64_t o = 0; o < t.outputs; ++o, x += t.x_step) {
    uint32_t acc[kBlock];
    std::memcpy(acc, t.bias, sizeof(acc));
    for (int k = 0; k < t.groups; ++k) {
      const int8_t* in = reinterpret_cast<const int8_t*>(x + t.taps[k]);
      const int16_t* w = weights + k * kBlock;
      for (int c = 0; c < kBlock; ++c) acc[c] += static_cast<uint32_t>(in[c] * w[c]);
    }
    if (t.acc != nullptr) {
      std::memcpy(t.acc + o * kBlock, acc, sizeof(acc));
      continue;
    }
    for (int c = 0; c < t.n && t.gemmlowp.mantissa != nullptr; ++c) {
      t.y[0][o * t.y_step + c] = static_cast<int8_t>(RequantizeGemmlowp(
          static_cast<int32_t>(acc[c]), MultiplierAt(t.gemmlowp, c), t.zero_point, t.qmin, t.qmax));
    }
    for (int c = 0; c < t.n && t.gemmlowp.mantissa == nullptr; ++c) {
      t.y[0][o * t.y_step + c] = static_cast<int8_t>(RequantizeRneF32(
          static_cast<int32_t>(acc[c]), t.multiplier[c], t.zero_point, t.qmin, t.qmax));
    }
  }
}

void Load(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n) {
  for (int64_t i = 0; i < pixels; ++i, dst += kBlock, src += src_step) {
    std::memcpy(dst, src, static_cast<size_t>(n));
    std::memset(dst + n, 0, static_cast<size_t>(kBlock - n));
  }
}

}  // namespace

const DepthwiseS8Kernel& depthwise_s8_scalar() {
  static constexpr DepthwiseS8Kernel kKernel = {kBlock, 1,   LhsPacking::kS8, true, false,  1,
                                                Column, Row, nullptr,         Load, nullptr};
  return kKernel;
}

}  // namespace bitlite
