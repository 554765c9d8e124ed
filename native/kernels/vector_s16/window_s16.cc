// max_pool, average_pool and reduce over neighbouring axes on codes of 16 bits, zero points 0.
//   max, min      the extreme code inside the input; then a requantization if the parameters differ
//   average, mean, sum   clamp(rne(float32(sum x) * float32(sx / (sy * n)))), sums exact
//   attrs         those of the int8 steps
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "kernels/common/kernels.h"
#include "kernels/common/reduced_axes.h"
#include "kernels/common/window.h"
#include "step_s16.h"

namespace bitlite {
namespace {

enum class Mode { kSum, kMax, kMin };

// Elements of channels that lie `step` apart, one by one, into what they come to.
struct Gathered {
  const VectorS16Kernel& kernel;
  Mode mode;
  float unit;  // sx / sy
  bool same;   // codes that are chosen stay
  ClampS16 clamp;

  Gathered(const PlanContext& plan, Mode m, const StepSpec& spec)
      : kernel(SelectKernel<vector_s16>(plan.isa).fn()),
        mode(m),
        unit(0),
        same(SameQuant(plan.In(0), plan.Out(0))),
        clamp(ClampS16Of(OutputRange(spec, plan.Out(0)))) {}

  void Start(int64_t n, int64_t* sums, int16_t* codes) const noexcept {
    if (mode == Mode::kSum) {
      std::fill(sums, sums + n, 0);
    } else {
      std::fill(codes, codes + n, static_cast<int16_t>(mode == Mode::kMax ? -32768 : 32767));
    }
  }
  void Take(const int16_t* x, int64_t n, int64_t* sums, int16_t* codes) const noexcept {
    if (mode == Mode::kSum) {
      kernel.sum_rows(x, 0, 1, n, sums);
    } else {
      (mode == Mode::kMax ? kernel.maximum : kernel.minimum)(codes, x, n);
    }
  }
  // m: of the sums.
  void Finish(int64_t n, float m, const int64_t* sums, int16_t* codes) const noexcept {
    if (mode == Mode::kSum) {
      kernel.requantize_s64(sums, codes, n, m, clamp);
    } else {
      kernel.requantize(codes, codes, n, same ? 1.0f : unit, clamp);
    }
  }
};

class PoolS16 final : public Step {
 public:
  PoolS16(const PlanContext& plan, const Window& window, std::array<int64_t, 3> padded_end,
          const Gathered& gathered, bool include_pad)
      : w_(window), padded_end_(padded_end), gathered_(gathered), include_pad_(include_pad) {
    scale_ = ScaleOf(plan.In(0));
    y_scale_ = ScaleOf(plan.Out(0));
    gathered_.unit = static_cast<float>(scale_ / y_scale_);
    phases = {w_.batch * w_.out_positions()};
    cost_ns = static_cast<double>(phases[0] * w_.channels * w_.taps()) * 0.15;
    thread_scratch = static_cast<size_t>(w_.channels) * sizeof(int64_t);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    int64_t* sums = reinterpret_cast<int64_t*>(args.thread_scratch);
    const int64_t c = w_.channels;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t at[3] = {item / w_.out[2] / w_.out[1] % w_.out[0], item / w_.out[2] % w_.out[1],
                             item % w_.out[2]};
      const int16_t* image =
          args.In<int16_t>(0) + item / w_.out_positions() * w_.in_positions() * c;
      int16_t* y = args.Out<int16_t>(0) + item * c;
      TapRange taps[3];
      int64_t start[3], counted = 1, inside = 1;
      for (int d = 0; d < 3; ++d) {
        start[d] = at[d] * w_.stride[d] - w_.pad[d];
        taps[d] = InsideTaps(start[d], w_.kernel[d], w_.dilation[d], w_.in[d]);
        inside *= taps[d].last - taps[d].first;
        const TapRange padded =
            InsideTaps(0, w_.kernel[d], w_.dilation[d], padded_end_[d] - start[d]);
        counted *= include_pad_ ? padded.last - padded.first : taps[d].last - taps[d].first;
      }
      if (inside == 0) {
        const float empty = gathered_.mode == Mode::kSum ? 0.0f : gathered_.clamp.low;
        const float code = std::clamp(empty, gathered_.clamp.low, gathered_.clamp.high);
        std::fill(y, y + c, static_cast<int16_t>(code));
        continue;
      }
      gathered_.Start(c, sums, y);
      for (int64_t i = taps[0].first; i < taps[0].last; ++i) {
        for (int64_t j = taps[1].first; j < taps[1].last; ++j) {
          for (int64_t k = taps[2].first; k < taps[2].last; ++k) {
            const int64_t row =
                (start[0] + i * w_.dilation[0]) * w_.in[1] + start[1] + j * w_.dilation[1];
            gathered_.Take(image + (row * w_.in[2] + start[2] + k * w_.dilation[2]) * c, c, sums,
                           y);
          }
        }
      }
      gathered_.Finish(c, static_cast<float>(scale_ / (y_scale_ * static_cast<double>(counted))),
                       sums, y);
    }
  }

 private:
  const Window w_;
  const std::array<int64_t, 3> padded_end_;
  Gathered gathered_;
  const bool include_pad_;
  double scale_, y_scale_;
};

// x as [outer, n, inner].
class ReduceS16 final : public Step {
 public:
  ReduceS16(const PlanContext& plan, const Gathered& gathered, int64_t outer, int64_t n,
            int64_t inner, bool mean)
      : gathered_(gathered), n_(n), inner_(inner) {
    const double unit = ScaleOf(plan.In(0)) / ScaleOf(plan.Out(0));
    gathered_.unit = static_cast<float>(unit);
    m_ = static_cast<float>(ScaleOf(plan.In(0)) /
                            (ScaleOf(plan.Out(0)) * (mean ? static_cast<double>(n) : 1.0)));
    phases = {outer};
    cost_ns = static_cast<double>(outer * n * inner) * 0.15;
    thread_scratch = static_cast<size_t>(inner) * sizeof(int64_t);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    int64_t* sums = reinterpret_cast<int64_t*>(args.thread_scratch);
    for (int64_t item = begin; item < end; ++item) {
      const int16_t* x = args.In<int16_t>(0) + item * n_ * inner_;
      int16_t* y = args.Out<int16_t>(0) + item * inner_;
      gathered_.Start(inner_, sums, y);
      for (int64_t i = 0; i < n_; ++i) gathered_.Take(x + i * inner_, inner_, sums, y);
      gathered_.Finish(inner_, m_, sums, y);
    }
  }

 private:
  Gathered gathered_;
  const int64_t n_, inner_;
  float m_;
};

}  // namespace

std::unique_ptr<Step> MakePoolS16(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  RequireCodesS16(x);
  RequireCodesS16(y);
  Require(plan.outputs() == 1, "more than one output");
  const bool average = spec.op == "average_pool";
  const Window window = ParseWindow(spec, x, y, spec.Ints("kernel", {}));
  Require(y.shape.back() == window.channels, "input and output differ in channels");
  const bool include_pad = average && spec.Bool("count_include_pad", false);
  if (average) RoundsAsGemmlowp(spec);
  const std::vector<int64_t> pad = spec.Ints("pad", std::vector<int64_t>(2 * (x.rank() - 2), 0));
  std::array<int64_t, 3> padded_end = window.in;
  for (int d = 0; d < x.rank() - 2; ++d) padded_end[d + 5 - x.rank()] += pad[2 * d + 1];
  const Gathered gathered(plan, average ? Mode::kSum : Mode::kMax, spec);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<PoolS16>(plan, window, padded_end, gathered, include_pad);
}

std::unique_ptr<Step> MakeReduceS16(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  RequireCodesS16(x);
  RequireCodesS16(plan.Out(0));
  const ReducedAxes axes = ReducedAxesOf(spec, x, plan.Out(0));
  const Gathered gathered(plan,
                          axes.mode == "max"   ? Mode::kMax
                          : axes.mode == "min" ? Mode::kMin
                                               : Mode::kSum,
                          spec);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<ReduceS16>(plan, gathered, axes.outer, axes.n, axes.inner,
                                     axes.mode == "mean");
}

}  // namespace bitlite
