// max_pool and average_pool on int8, channels last, 1 to 3 spatial axes.
//   max      the greatest code inside the input; then a requantization if the parameters differ
//   average  clamp(rne(float32(sum (x - zx)) * float32(sx / (sy * n))) + zy), n as in the float
//   pool attrs    kernel stride dilation pad pad_mode ceil_mode act qmin qmax; average:
//   count_include_pad rounding (gemmlowp with equal parameters: halves up, in integers)
#include <algorithm>
#include <cstring>

#include "../requant.h"
#include "kernels.h"
#include "quant_step.h"
#include "window.h"

namespace bitlite {
namespace {

class PoolS8 final : public Step {
 public:
  PoolS8(const PlanContext& plan, const Window& window, std::array<int64_t, 3> padded_end,
         bool average, bool include_pad, bool gemmlowp, Range range)
      : w_(window),
        padded_end_(padded_end),
        average_(average),
        include_pad_(include_pad),
        kernel_(BITLITE_SELECT(vector_s8, plan.isa).fn()),
        x_zero_(ZeroPointOf(plan.In(0))),
        x_scale_(ScaleOf(plan.In(0))),
        y_scale_(ScaleOf(plan.Out(0))),
        same_(SameQuant(plan.In(0), plan.Out(0))),
        halves_up_(gemmlowp && same_),
        clamps_(range.qmin > -128 || range.qmax < 127),
        out_{ZeroPointOf(plan.Out(0)), range.qmin, range.qmax} {
    phases = {w_.batch * w_.out[0] * w_.out[1]};
    cost_ns = static_cast<double>(w_.batch * w_.out_positions()) *
              (10.0 + static_cast<double>(w_.taps() * w_.channels) / 40.0);
    if (average_) thread_scratch = static_cast<size_t>(w_.channels) * sizeof(int32_t);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int64_t c = w_.channels;
    int32_t* acc = reinterpret_cast<int32_t*>(args.thread_scratch);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item % w_.out[1], d = item / w_.out[1] % w_.out[0];
      const int8_t* image =
          args.In<int8_t>(0) + item / w_.out[1] / w_.out[0] * w_.in_positions() * c;
      const Span span_d = Find(0, d), span_h = Find(1, h);
      int8_t* y = args.Out<int8_t>(0) + item * w_.out[2] * c;
      for (int64_t o = 0; o < w_.out[2]; ++o, y += c) {
        const Span span_w = Find(2, o);
        int64_t inside = 0;
        if (average_) std::memset(acc, 0, static_cast<size_t>(c) * sizeof(int32_t));
        for (int64_t kd = span_d.taps.first; kd < span_d.taps.last; ++kd) {
          for (int64_t kh = span_h.taps.first; kh < span_h.taps.last; ++kh) {
            for (int64_t kw = span_w.taps.first; kw < span_w.taps.last; ++kw, ++inside) {
              const int64_t id = span_d.start + kd * w_.dilation[0];
              const int64_t ih = span_h.start + kh * w_.dilation[1];
              const int64_t iw = span_w.start + kw * w_.dilation[2];
              const int8_t* x = image + ((id * w_.in[1] + ih) * w_.in[2] + iw) * c;
              if (average_) {
                kernel_.accumulate(acc, x, c);
              } else if (inside == 0) {
                std::memcpy(y, x, static_cast<size_t>(c));
              } else {
                kernel_.maximum(y, x, c);
              }
            }
          }
        }
        if (average_) {
          const int64_t counted =
              include_pad_ ? span_d.padded * span_h.padded * span_w.padded : inside;
          if (halves_up_) {
            HalvesUp(acc, y, inside, counted);
            continue;
          }
          const float m = static_cast<float>(
              x_scale_ / (y_scale_ * static_cast<double>(std::max<int64_t>(counted, 1))));
          kernel_.finish(acc, y, c, static_cast<int32_t>(x_zero_ * inside), m, out_);
        } else if (inside == 0) {
          std::memset(y, out_.qmin, static_cast<size_t>(c));
        } else if (!same_) {
          kernel_.requantize(y, y, c, x_zero_, static_cast<float>(x_scale_ / y_scale_), out_);
        } else if (clamps_) {
          kernel_.clamp(y, y, c, out_.qmin, out_.qmax);
        }
      }
    }
  }

 private:
  // The mean of the codes, padding counted as the zero point.
  void HalvesUp(const int32_t* acc, int8_t* y, int64_t inside, int64_t counted) const {
    const int64_t n = std::max<int64_t>(counted, 1);
    const int64_t shift = x_zero_ * (n - inside) + 128 * n + n / 2;
    for (int64_t k = 0; k < w_.channels; ++k) {
      const int64_t q = (acc[k] + shift) / n - 128;
      y[k] = static_cast<int8_t>(std::clamp<int64_t>(q, out_.qmin, out_.qmax));
    }
  }

  struct Span {
    int64_t start;
    TapRange taps;   // inside the input
    int64_t padded;  // taps inside the input with its declared padding
  };
  Span Find(int axis, int64_t out) const {
    const int64_t start = out * w_.stride[axis] - w_.pad[axis];
    const TapRange padded =
        InsideTaps(0, w_.kernel[axis], w_.dilation[axis], padded_end_[axis] - start);
    return {start, InsideTaps(start, w_.kernel[axis], w_.dilation[axis], w_.in[axis]),
            padded.last - padded.first};
  }

  const Window w_;
  const std::array<int64_t, 3> padded_end_;
  const bool average_, include_pad_;
  const VectorS8Kernel& kernel_;
  const int32_t x_zero_;
  const double x_scale_, y_scale_;
  const bool same_, halves_up_, clamps_;
  const OutputCodesS8 out_;
};

}  // namespace

std::unique_ptr<Step> MakePoolS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  const bool average = spec.op == "average_pool";
  Require(y.dtype == DType::kI8, "output is not int8");
  Require(plan.outputs() == 1, "more than one output");
  const Window window = ParseWindow(spec, x, y, spec.Ints("kernel", {}));
  Require(y.shape.back() == window.channels, "input and output differ in channels");
  const bool include_pad = average && spec.Bool("count_include_pad", false);
  const bool gemmlowp = average && RoundsAsGemmlowp(spec);
  const std::vector<int64_t> pad = spec.Ints("pad", std::vector<int64_t>(2 * (x.rank() - 2), 0));
  std::array<int64_t, 3> padded_end = window.in;
  for (int d = 0; d < x.rank() - 2; ++d) padded_end[d + 5 - x.rank()] += pad[2 * d + 1];
  const Range range = OutputRange(spec, y);
  ScaleOf(x);
  ZeroPointOf(x);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<PoolS8>(plan, window, padded_end, average, include_pad, gemmlowp, range);
}

}  // namespace bitlite
