// Depthwise convolution on float32 with any kernel, stride and dilation over one or two spatial
// axes.
#include "depthwise_f32.h"

#include <algorithm>

#include "depthwise.h"
#include "gemm_pack.h"

namespace bitlite {
namespace {

// Kernel rows whose pointers fit on the stack.
constexpr int64_t kMaxKernelRows = 64;

class DepthwiseF32 final : public Step {
 public:
  DepthwiseF32(const Window& window, const FusedAct& act, const PlanContext& plan)
      : w_(window),
        act_(act),
        kernel_(BITLITE_SELECT(depthwise_f32, plan.isa)),
        unary_(BITLITE_SELECT(unary_f32, plan.isa).fn) {
    phases = {w_.batch * w_.out[0] * w_.out[1]};
    cost_ns = static_cast<double>(w_.batch * w_.out_positions()) * w_.taps() * w_.channels / 30.0;
    if (phases[0] < plan.threads) {
      // Few rows (1-D): cut the channels instead, in whole cache lines.
      constexpr int64_t kLine = 16;
      channel_blocks_ = std::max<int64_t>(1, std::min<int64_t>(plan.threads, w_.channels / kLine));
      phases[0] *= channel_blocks_;
    }
  }

  // w [C, *K, 1] to [*K][C].
  void Pack(const TensorSpec& w, const TensorSpec* bias) {
    const WeightValues values(w);
    const int64_t taps = w_.taps();
    weights_.Reset(static_cast<size_t>(taps * w_.channels));
    for (int64_t c = 0; c < w_.channels; ++c) {
      for (int64_t k = 0; k < taps; ++k)
        weights_[k * w_.channels + c] = values.data()[c * taps + k];
    }
    bias_ = PackBias(bias, w_.channels);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const float* x = args.In<float>(0);
    float* y = args.Out<float>(0);
    const int64_t c_all = w_.channels, in_row = w_.in[2] * c_all, out_row = w_.out[2] * c_all;
    DepthwiseF32Row t;
    t.bias = bias_.data();
    t.channels = c_all;
    t.in_w = w_.in[2];
    t.out_w = w_.out[2];
    t.kernel_w = w_.kernel[2];
    t.stride = w_.stride[2];
    t.dilation = w_.dilation[2];
    t.pad = w_.pad[2];
    t.lo = act_.lo;
    t.hi = act_.hi;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t block = item % channel_blocks_, line = item / channel_blocks_;
      t.c0 = c_all * block / channel_blocks_;
      t.c1 = c_all * (block + 1) / channel_blocks_;
      const int64_t h = line % w_.out[1], d = line / w_.out[1] % w_.out[0];
      const int64_t batch = line / w_.out[1] / w_.out[0];
      const int64_t h0 = h * w_.stride[1] - w_.pad[1];
      const TapRange in_h = InsideTaps(h0, w_.kernel[1], w_.dilation[1], w_.in[1]);
      const float* rows[kMaxKernelRows];
      t.row_count = 0;
      for (int64_t kh = in_h.first; kh < in_h.last; ++kh) {
        const int64_t ih = h0 + kh * w_.dilation[1];
        rows[t.row_count++] = x + ((batch * w_.in[0] + d) * w_.in[1] + ih) * in_row;
      }
      t.rows = rows;
      t.w = weights_.data() + in_h.first * w_.kernel[2] * c_all;
      t.y = y + line * out_row;
      kernel_.fn(t);
      if (act_.unary && channel_blocks_ == 1) {
        act_.Apply(unary_, t.y, out_row);
      } else if (act_.unary) {
        for (int64_t o = 0; o < t.out_w; ++o)
          act_.Apply(unary_, t.y + o * c_all + t.c0, t.c1 - t.c0);
      }
    }
  }

 private:
  const Window w_;
  const FusedAct act_;
  const Kernel<depthwise_f32::Fn> kernel_;
  unary_f32::Fn* const unary_;
  int64_t channel_blocks_ = 1;
  Aligned<float> weights_, bias_;
};

}  // namespace

bool DepthwiseTakes(const Window& window) {
  return window.kernel[0] == 1 && window.stride[0] == 1 && window.pad[0] == 0 &&
         window.kernel[1] <= kMaxKernelRows;
}

std::unique_ptr<Step> MakeDepthwiseF32(const Window& window, const FusedAct& act,
                                       PlanContext& plan) {
  if (plan.check_only) return nullptr;
  auto step = std::make_unique<DepthwiseF32>(window, act, plan);
  step->Pack(plan.In(1), plan.OptionalIn(2));
  return step;
}

}  // namespace bitlite
