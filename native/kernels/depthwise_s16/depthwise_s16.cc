// conv with group == channels on codes of 16 bits, weights int8 or int16, zero points 0, any
// kernel, stride and dilation.
//   y = clamp(rne(float32(sum + bias) * m)), m = float32(sx * sw / sy)
#include "depthwise_s16.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "channels_s16.h"
#include "kernels/common/kernels.h"
#include "kernels/gemm_s16/packed_gemm_s16.h"
#include "kernels/gemm_s8/spatial_s8.h"

namespace bitlite {
namespace {

class DepthwiseS16 final : public Step {
 public:
  template <typename W>
  DepthwiseS16(PlanContext& plan, const ConvGeometry& g, const OutputsS16& out, const W* w)
      : kernel_(SelectKernel<depthwise_s16>(plan.isa).fn), g_(g), pairs_((g.taps() + 1) / 2) {
    const int64_t blocks = CeilDiv(g.channels, kChannelsS16);
    const size_t padded = static_cast<size_t>(blocks * kChannelsS16);
    bias_.Reset(padded);
    multiplier_.Reset(padded);
    w_.Reset(padded * static_cast<size_t>(pairs_) * 2);
    std::memset(bias_.data(), 0, padded * sizeof(int32_t));
    std::memset(multiplier_.data(), 0, padded * sizeof(float));
    std::memset(w_.data(), 0, w_.size() * sizeof(int16_t));
    for (int64_t c = 0; c < g.channels; ++c) {
      bias_[static_cast<size_t>(c)] = static_cast<int32_t>(out.bias[static_cast<size_t>(c)]);
      multiplier_[static_cast<size_t>(c)] = out.multiplier[static_cast<size_t>(c)];
      int16_t* to = w_.data() + (c / kChannelsS16 * pairs_ * kChannelsS16 + c % kChannelsS16) * 2;
      for (int64_t t = 0; t < g.taps(); ++t) {
        to[t / 2 * 2 * kChannelsS16 + t % 2] = w[c * g.taps() + t];
      }
    }
    zeros_.Reset(static_cast<size_t>(g.channels));
    std::memset(zeros_.data(), 0, zeros_.size() * sizeof(int16_t));
    row_.pairs = static_cast<int32_t>(pairs_);
    row_.w = w_.data();
    row_.bias = bias_.data();
    row_.multiplier = multiplier_.data();
    row_.channels = g.channels;
    row_.low = out.low;
    row_.high = out.high;
    phases = {g.batch * g.out[kAxisH]};
    cost_ns = static_cast<double>(g.batch * g.out[kAxisH] * g.out[kAxisW] * g.channels) *
              (0.05 + 0.03 * static_cast<double>(g.taps()));
    thread_scratch = static_cast<size_t>(2 * pairs_) * sizeof(void*);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int16_t** taps = reinterpret_cast<const int16_t**>(args.thread_scratch);
    const int64_t c = g_.channels, width = g_.in[kAxisW], out = g_.out[kAxisW];
    std::fill(taps, taps + 2 * pairs_, zeros_.data());
    DepthwiseS16Row row = row_;
    row.taps = taps;
    for (int64_t line = begin; line < end; ++line) {
      const int64_t n = line / g_.out[kAxisH];
      const int64_t top = line % g_.out[kAxisH] * g_.stride[kAxisH] - g_.pad[kAxisH];
      const int16_t* image = args.In<int16_t>(0) + n * g_.in[kAxisH] * width * c;
      for (int64_t ow = 0; ow < out; ++ow) {
        const int64_t left = ow * g_.stride[kAxisW] - g_.pad[kAxisW];
        const int16_t** tap = taps;
        for (int64_t ky = 0; ky < g_.kernel[kAxisH]; ++ky) {
          const int64_t ih = top + ky * g_.dilation[kAxisH];
          for (int64_t kx = 0; kx < g_.kernel[kAxisW]; ++kx) {
            const int64_t iw = left + kx * g_.dilation[kAxisW];
            const bool inside = ih >= 0 && ih < g_.in[kAxisH] && iw >= 0 && iw < width;
            *tap++ = inside ? image + (ih * width + iw) * c : zeros_.data();
          }
        }
        row.y = args.Out<int16_t>(0) + (line * out + ow) * c;
        kernel_(row);
      }
    }
  }

 private:
  depthwise_s16::Fn* const kernel_;
  const ConvGeometry g_;
  const int64_t pairs_;
  DepthwiseS16Row row_{};
  Aligned<int16_t> w_, zeros_;
  Aligned<int32_t> bias_;
  Aligned<float> multiplier_;
};

}  // namespace

void depthwise_s16_scalar(const DepthwiseS16Row& t) { ChannelsS16(t, 0, t.channels); }

std::unique_ptr<Step> MakeConvS16(const StepSpec& spec, PlanContext& plan);

namespace {

// The step for weights of W, of convolutions where sums may pass int32.
template <typename W>
std::unique_ptr<Step> Made(const StepSpec& spec, PlanContext& plan, const ConvGeometry& g,
                           const OutputsS16& out, const W* w) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max(), kLargest = 32768;
  for (int64_t c = 0; c < g.channels; ++c) {
    const int64_t bias = out.bias[static_cast<size_t>(c)];
    int64_t size = 0;
    for (int64_t t = 0; t < g.taps(); ++t) size += std::abs(int{w[c * g.taps() + t]});
    if (bias > kMost || bias < -kMost || size * kLargest + std::abs(bias) > kMost) {
      return MakeConvS16(spec, plan);
    }
  }
  return std::make_unique<DepthwiseS16>(plan, g, out, w);
}

}  // namespace

std::unique_ptr<Step> MakeDepthwiseS16(const StepSpec& spec, PlanContext& plan) {
  const ConvGeometry g = ConvGeometryOf(spec, plan);
  spec.Ignore("dynamic");
  const OutputsS16 out = OutputsS16Of(spec, plan, g.out_channels);
  if (plan.check_only) return nullptr;
  const void* w = plan.In(1).data;
  if (plan.In(1).dtype == DType::kI16)
    return Made(spec, plan, g, out, static_cast<const int16_t*>(w));
  return Made(spec, plan, g, out, static_cast<const int8_t*>(w));
}

}  // namespace bitlite
