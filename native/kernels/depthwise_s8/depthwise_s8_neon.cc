// Taps one by one: 16 channels widened to int16, multiplied into int32.
#include <arm_neon.h>

#include "depthwise_s8.h"
#include "kernels/common/gemmlowp_s8_neon.inc"

namespace bitlite {
namespace {

constexpr int kBlock = 16;

int Column(int i) { return i; }

void Row(const DepthwiseS8Row& t) {
  const int16_t* weights = static_cast<const int16_t*>(t.w);
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(t.zero_point));
  const int8x16_t qmin = vdupq_n_s8(static_cast<int8_t>(t.qmin));
  const int8x16_t qmax = vdupq_n_s8(static_cast<int8_t>(t.qmax));
  const uint8_t* x = t.x;
  for (int64_t o = 0; o < t.outputs; ++o, x += t.x_step) {
    int32x4_t acc[4];
    for (int j = 0; j < 4; ++j) acc[j] = vld1q_s32(t.bias + 4 * j);
    const int16_t* w = weights;
    for (int k = 0; k < t.groups; ++k, w += kBlock) {
      const int8x16_t v = vld1q_s8(reinterpret_cast<const int8_t*>(x + t.taps[k]));
      const int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_s8(vget_high_s8(v));
      const int16x8_t w0 = vld1q_s16(w), w1 = vld1q_s16(w + 8);
      acc[0] = vmlal_s16(acc[0], vget_low_s16(low), vget_low_s16(w0));
      acc[1] = vmlal_s16(acc[1], vget_high_s16(low), vget_high_s16(w0));
      acc[2] = vmlal_s16(acc[2], vget_low_s16(high), vget_low_s16(w1));
      acc[3] = vmlal_s16(acc[3], vget_high_s16(high), vget_high_s16(w1));
    }
    if (t.acc != nullptr) {
      for (int j = 0; j < 4; ++j) vst1q_s32(t.acc + o * kBlock + 4 * j, acc[j]);
      continue;
    }
    for (int j = 0; j < 4; ++j) {
      acc[j] =
          t.gemmlowp.mantissa != nullptr
              ? Rescale(acc[j], t.gemmlowp, 4 * j)
              : vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc[j]), vld1q_f32(t.multiplier + 4 * j)));
    }
    const int16x8_t s0 =
        vqaddq_s16(vcombine_s16(vqmovn_s32(acc[0]), vqmovn_s32(acc[1])), zero_point);
    const int16x8_t s1 =
        vqaddq_s16(vcombine_s16(vqmovn_s32(acc[2]), vqmovn_s32(acc[3])), zero_point);
    const int8x16_t r = vminq_s8(vmaxq_s8(vcombine_s8(vqmovn_s16(s0), vqmovn_s16(s1)), qmin), qmax);
    int8_t* out = t.y[0] + o * t.y_step;
    if (t.n == kBlock) {
      vst1q_s8(out, r);
    } else {
      int8_t part[kBlock];
      vst1q_s8(part, r);
      for (int c = 0; c < t.n; ++c) out[c] = part[c];
    }
  }
}

void LoadPlane(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n) {
  for (int64_t i = 0; i < pixels; ++i, dst += kBlock, src += src_step) {
    if (n == kBlock) {
      __builtin_memcpy(dst, src, kBlock);
    } else {
      for (int c = 0; c < kBlock; ++c) dst[c] = c < n ? static_cast<uint8_t>(src[c]) : 0;
    }
  }
}

}  // namespace

const DepthwiseS8Kernel& depthwise_s8_neon() {
  static constexpr DepthwiseS8Kernel kKernel = {kBlock, 1,   LhsPacking::kS8, true,      false,  1,
                                                Column, Row, nullptr,         LoadPlane, nullptr};
  return kKernel;
}

}  // namespace bitlite
