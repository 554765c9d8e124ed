// Depthwise convolution on float32 with any kernel, stride and dilation over one or two spatial
// axes.
#include "depthwise_f32.h"

#include <algorithm>

#include "depthwise.h"
#include "kernels/common/line_step.h"
#include "kernels/gemm_f32/gemm_pack.h"

namespace bitlite {
namespace {

// Kernel rows whose pointers fit on the stack.
constexpr int64_t kMaxKernelRows = 64;

class DepthwiseF32 final : public LineStep {
 public:
  DepthwiseF32(const Window& window, const FusedAct& act, const PlanContext& plan)
      : w_(window),
        act_(act),
        kernel_(SelectKernel<depthwise_f32>(plan.isa)),
        unary_(SelectKernel<unary_f32>(plan.isa).fn) {
    phases = {w_.batch * w_.out[1]};
    cost_ns = static_cast<double>(w_.batch * w_.out_positions()) * w_.taps() * w_.channels / 30.0;
    if (phases[0] < plan.threads) {
      // Few rows (1-D): cut the channels instead, in whole cache lines.
      constexpr int64_t kLine = 16;
      channel_blocks_ = std::max<int64_t>(1, std::min<int64_t>(plan.threads, w_.channels / kLine));
      phases[0] *= channel_blocks_;
    }
    lines = w_.batch * w_.out[1];
    line_floats = w_.out[2] * w_.channels;
    weight_bytes = static_cast<size_t>(w_.taps() * w_.channels) * sizeof(float);
    can_follow = true;
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
    const int64_t c_all = w_.channels;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t block = item % channel_blocks_, line = item / channel_blocks_;
      const float* rows[kMaxKernelRows];
      FindRows(x, line, rows);
      Line(rows, line, args.Out<float>(0) + line * w_.out[2] * c_all,
           c_all * block / channel_blocks_, c_all * (block + 1) / channel_blocks_);
    }
  }

  Range Needs(int64_t line) const override {
    const TapRange taps = TapsOf(line);
    const int64_t image = line / w_.out[1] * w_.in[1];
    if (taps.first == taps.last) return {image, image};
    const int64_t first = image + StartOf(line);
    return {first + taps.first * w_.dilation[1], first + (taps.last - 1) * w_.dilation[1] + 1};
  }

  void RunLine(const float* x, int64_t line, float* y, const float*,
               uint8_t*) const noexcept override {
    const float* rows[kMaxKernelRows];
    FindRows(x, line, rows);
    Line(rows, line, y, 0, w_.channels);
  }

  void RunFrom(const float* const* in, int64_t line, float* y, const float*,
               uint8_t*) const noexcept override {
    const float* rows[kMaxKernelRows];
    const TapRange taps = TapsOf(line);
    for (int64_t k = 0; k < taps.last - taps.first; ++k) rows[k] = in[k * w_.dilation[1]];
    Line(rows, line, y, 0, w_.channels);
  }

 private:
  int64_t StartOf(int64_t line) const { return line % w_.out[1] * w_.stride[1] - w_.pad[1]; }
  TapRange TapsOf(int64_t line) const {
    return InsideTaps(StartOf(line), w_.kernel[1], w_.dilation[1], w_.in[1]);
  }

  // The image rows under the kernel rows that lie inside.
  void FindRows(const float* x, int64_t line, const float** rows) const {
    const TapRange taps = TapsOf(line);
    const int64_t first = line / w_.out[1] * w_.in[1] + StartOf(line);
    for (int64_t k = taps.first; k < taps.last; ++k) {
      *rows++ = x + (first + k * w_.dilation[1]) * w_.in[2] * w_.channels;
    }
  }

  // Channels [c0, c1) of an output line, from the rows of its kernel rows that lie inside.
  void Line(const float* const* rows, int64_t line, float* y, int64_t c0, int64_t c1) const {
    const TapRange taps = TapsOf(line);
    DepthwiseF32Row t;
    t.rows = rows;
    t.row_count = static_cast<int>(taps.last - taps.first);
    t.w = weights_.data() + taps.first * w_.kernel[2] * w_.channels;
    t.bias = bias_.data();
    t.y = y;
    t.channels = w_.channels;
    t.c0 = c0;
    t.c1 = c1;
    t.in_w = w_.in[2];
    t.out_w = w_.out[2];
    t.kernel_w = w_.kernel[2];
    t.stride = w_.stride[2];
    t.dilation = w_.dilation[2];
    t.pad = w_.pad[2];
    t.lo = act_.lo;
    t.hi = act_.hi;
    kernel_.fn(t);
    act_.ApplyRows(unary_, y + c0, t.out_w, c1 - c0, t.channels);
  }

  const Window w_;
  const FusedAct act_;
  const Kernel<depthwise_f32> kernel_;
  unary_f32::Fn* const unary_;
  int64_t channel_blocks_ = 1;
  Aligned<float> weights_, bias_;
};

}  // namespace

bool DepthwiseTakes(const Window& window) {
  return window.in[0] == 1 && window.out[0] == 1 && window.kernel[0] == 1 &&
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
