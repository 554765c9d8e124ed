// max_pool and average_pool on int8, channels last, 1 to 3 spatial axes.
//   max      the greatest code inside the input; then a requantization if the parameters differ
//   average  clamp(rne(float32(sum (x - zx)) * float32(sx / (sy * n))) + zy), n as in the float
//   pool attrs    kernel stride dilation pad pad_mode ceil_mode act qmin qmax; average:
//   count_include_pad rounding (gemmlowp with equal parameters: halves up, in integers)
#include <algorithm>
#include <cstring>

#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "kernels/common/strided_copy.h"
#include "kernels/common/window.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int64_t kNarrow = 32;  // channels below which windows of a stride are done as of stride 1
constexpr int64_t kMostStride = 4;  // … unless too many would be done in vain
constexpr int64_t kFewTaps = 8;     // summed straight from the codes
constexpr int64_t kWideChannels = 16;

// The rows of a window come together first, over a whole line of the input; then columns, where
// neighbouring windows are one run if the stride is 1.
class PoolS8 final : public Step {
 public:
  PoolS8(const PlanContext& plan, const Window& window, std::array<int64_t, 3> padded_end,
         bool average, bool include_pad, bool gemmlowp, Range range)
      : w_(window),
        padded_end_(padded_end),
        average_(average),
        include_pad_(include_pad),
        line_(window.in[2] * window.channels),
        kernel_(SelectKernel<vector_s8>(plan.isa).fn()),
        x_zero_(ZeroPointOf(plan.In(0))),
        x_scale_(ScaleOf(plan.In(0))),
        y_scale_(ScaleOf(plan.Out(0))),
        same_(SameQuant(plan.In(0), plan.Out(0))),
        halves_up_(gemmlowp && same_),
        clamps_(range.qmin > -128 || range.qmax < 127),
        out_{ZeroPointOf(plan.Out(0)), range.qmin, range.qmax} {
    FindRuns();
    phases = {w_.batch * w_.out[0] * w_.out[1]};
    const size_t calls = w_.stride[2] == 1 ? runs_.size() : static_cast<size_t>(w_.out[2]);
    const double rows = static_cast<double>(w_.kernel[0] * w_.kernel[1] * line_);
    const double columns = static_cast<double>(w_.out[2] * w_.channels * w_.kernel[2]);
    cost_ns = static_cast<double>(phases[0]) *
              (10.0 * static_cast<double>(calls) + (rows + columns) / 40.0);
    const int64_t lines = average_ ? sizeof(int32_t) : w_.kernel[0] > 1 ? w_.kernel[0] + 1 : 1;
    // Lines, then windows of all columns.
    all_columns_ = static_cast<size_t>(line_ * lines);
    thread_scratch = all_columns_ + static_cast<size_t>(PicksColumns() ? line_ : 0);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int64_t y_line = w_.out[2] * w_.channels;
    for (int64_t item = begin; item < end; ++item) {
      const int8_t* image =
          args.In<int8_t>(0) + item / w_.out[1] / w_.out[0] * w_.in_positions() * w_.channels;
      const Span d = Find(0, item / w_.out[1] % w_.out[0]), h = Find(1, item % w_.out[1]);
      int8_t* y = args.Out<int8_t>(0) + item * y_line;
      if (d.inside() * h.inside() == 0) {
        std::memset(y, Empty(), static_cast<size_t>(y_line));
      } else if (average_) {
        Average(image, d, h, args.thread_scratch, y);
      } else {
        Largest(image, d, h, args.thread_scratch, y);
      }
    }
  }

 private:
  struct Span {
    int64_t start;
    TapRange taps;   // inside the input
    int64_t padded;  // taps inside the input with its declared padding
    int64_t inside() const { return taps.last - taps.first; }
  };
  // Outputs side by side whose windows have as many columns inside the input.
  struct ColumnRun {
    int64_t out, count;
    Span span;  // of the first
  };

  Span Find(int axis, int64_t out) const {
    const int64_t start = out * w_.stride[axis] - w_.pad[axis];
    const TapRange padded =
        InsideTaps(0, w_.kernel[axis], w_.dilation[axis], padded_end_[axis] - start);
    return {start, InsideTaps(start, w_.kernel[axis], w_.dilation[axis], w_.in[axis]),
            padded.last - padded.first};
  }

  void FindRuns() {
    for (int64_t o = 0; o < w_.out[2]; ++o) {
      const Span span = Find(2, o);
      if (!runs_.empty()) {
        ColumnRun& run = runs_.back();
        if (run.span.taps.first == span.taps.first && run.span.taps.last == span.taps.last &&
            run.span.padded == span.padded) {
          ++run.count;
          continue;
        }
      }
      runs_.push_back({o, 1, span});
    }
  }

  bool PicksColumns() const {
    return w_.stride[2] > 1 && w_.stride[2] <= kMostStride && w_.channels < kNarrow;
  }

  // take(columns of the input, where to, how many) for the windows of a run, all of them together
  // where the stride is 1. Of narrow ones those of every column, from which every few are picked.
  template <typename F>
  void EachWindow(const ColumnRun& run, uint8_t* scratch, int8_t* y, const F& take) const {
    const int64_t c = w_.channels, stride = w_.stride[2];
    y += run.out * c;
    if (PicksColumns()) {
      int8_t* all = reinterpret_cast<int8_t*>(scratch + all_columns_);
      take(Column(run.span), all, ((run.count - 1) * stride + 1) * c);
      CopyRuns(all, stride * c, y, c, run.count, c);
      return;
    }
    const int64_t together = stride == 1 ? run.count : 1;
    for (int64_t o = 0; o < run.count; o += together) {
      take(Column(run.span) + o * stride * c, y + o * c, together * c);
    }
  }

  // What an output is whose window lies in padding.
  int8_t Empty() const {
    return static_cast<int8_t>(average_ ? RoundClamp(0.0f, out_.zero_point, out_.qmin, out_.qmax)
                                        : out_.qmin);
  }

  const int8_t* Row(const int8_t* image, const Span& d, const Span& h, int64_t kd) const {
    const int64_t id = d.start + kd * w_.dilation[0];
    return image + (id * w_.in[1] + h.start + h.taps.first * w_.dilation[1]) * line_;
  }

  int64_t Column(const Span& span) const {
    return (span.start + span.taps.first * w_.dilation[2]) * w_.channels;
  }

  // The taps of the windows of a run as distances from the first one's beginning; how many.
  int64_t Taps(const Span& d, const Span& h, const Span& w, int64_t* taps) const {
    int64_t n = 0;
    for (int64_t kd = 0; kd < d.inside(); ++kd) {
      for (int64_t kh = 0; kh < h.inside(); ++kh) {
        for (int64_t kw = 0; kw < w.inside(); ++kw) {
          taps[n++] = (kd * w_.dilation[0] * w_.in[1] + kh * w_.dilation[1]) * line_ +
                      kw * w_.dilation[2] * w_.channels;
        }
      }
    }
    return n;
  }

  // Few taps of windows that share little.
  bool SumsDirectly() const {
    return w_.kernel[0] * w_.kernel[1] * w_.kernel[2] <= kFewTaps && w_.stride[2] > 1 &&
           w_.channels >= kWideChannels && !halves_up_;
  }

  void Average(const int8_t* image, const Span& d, const Span& h, uint8_t* scratch,
               int8_t* y) const {
    int32_t* sums = reinterpret_cast<int32_t*>(scratch);
    const bool direct = SumsDirectly();
    for (int64_t kd = d.taps.first; !direct && kd < d.taps.last; ++kd) {
      kernel_.sum_of_rows(Row(image, d, h, kd), w_.dilation[1] * line_, h.inside(), line_, sums,
                          kd > d.taps.first);
    }
    for (const ColumnRun& run : runs_) {
      const int64_t taps = run.span.inside();
      const int64_t inside = d.inside() * h.inside() * taps;
      const int64_t counted = include_pad_ ? d.padded * h.padded * run.span.padded : inside;
      if (inside == 0) {
        std::memset(y + run.out * w_.channels, Empty(),
                    static_cast<size_t>(run.count * w_.channels));
        continue;
      }
      const int64_t step = w_.dilation[2] * w_.channels;
      if (halves_up_) {
        EachWindow(run, scratch, y, [&](int64_t from, int8_t* to, int64_t n) {
          HalvesUp(sums + from, step, taps, n, inside, counted, to);
        });
        continue;
      }
      const float m = static_cast<float>(
          x_scale_ / (y_scale_ * static_cast<double>(std::max<int64_t>(counted, 1))));
      const int32_t subtract = static_cast<int32_t>(x_zero_ * inside);
      if (direct) {
        int64_t at[kFewTaps];
        const int64_t n = Taps(d, h, run.span, at);
        kernel_.average_windows({Row(image, d, h, d.taps.first) + Column(run.span),
                                 y + run.out * w_.channels, at, n, run.count,
                                 w_.stride[2] * w_.channels, w_.channels, subtract, m, out_});
        continue;
      }
      EachWindow(run, scratch, y, [&](int64_t from, int8_t* to, int64_t n) {
        kernel_.requantize_window_sums(sums + from, step, taps, to, n, subtract, m, out_);
      });
    }
  }

  // The mean of the codes, padding counted as the zero point. A quotient of whole numbers is half a
  // divisor from the next one, so that the product with the inverse cannot miss it.
  void HalvesUp(const int32_t* sums, int64_t step, int64_t taps, int64_t n, int64_t inside,
                int64_t counted, int8_t* y) const {
    constexpr int64_t kBlock = 64;
    const int64_t divisor = std::max<int64_t>(counted, 1);
    const double shift =
        static_cast<double>(x_zero_ * (divisor - inside) + 128 * divisor + divisor / 2) + 0.5;
    const double inverse = 1.0 / static_cast<double>(divisor);
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t c = std::min(kBlock, n - first);
      int32_t of_taps[kBlock] = {};
      for (int64_t t = 0; t < taps; ++t) {
        const int32_t* tap = sums + t * step + first;
        for (int64_t i = 0; i < c; ++i) of_taps[i] += tap[i];
      }
      for (int64_t i = 0; i < c; ++i) {
        const double quotient = (static_cast<double>(of_taps[i]) + shift) * inverse;
        const int32_t q = static_cast<int32_t>(quotient) - 128;
        y[first + i] = static_cast<int8_t>(std::clamp(q, out_.qmin, out_.qmax));
      }
    }
  }

  void Largest(const int8_t* image, const Span& d, const Span& h, uint8_t* scratch,
               int8_t* y) const {
    int8_t* lines = reinterpret_cast<int8_t*>(scratch);
    const int8_t* best = Row(image, d, h, d.taps.first);
    if (d.inside() * h.inside() > 1) {
      int8_t* planes = d.inside() > 1 ? lines + line_ : lines;
      for (int64_t kd = d.taps.first; kd < d.taps.last; ++kd) {
        kernel_.largest_of_rows(Row(image, d, h, kd), w_.dilation[1] * line_, h.inside(), line_,
                                planes + (kd - d.taps.first) * line_);
      }
      if (d.inside() > 1) kernel_.largest_of_rows(planes, line_, d.inside(), line_, lines);
      best = lines;
    }
    for (const ColumnRun& run : runs_) {
      if (run.span.inside() == 0) continue;
      EachWindow(run, scratch, y, [&](int64_t from, int8_t* to, int64_t n) {
        kernel_.largest_of_rows(best + from, w_.dilation[2] * w_.channels, run.span.inside(), n,
                                to);
      });
    }
    const int64_t n = w_.out[2] * w_.channels;
    if (!same_) {
      kernel_.requantize(y, y, n, x_zero_, static_cast<float>(x_scale_ / y_scale_), out_);
    } else if (clamps_) {
      kernel_.clamp(y, y, n, out_.qmin, out_.qmax);
    }
    for (const ColumnRun& run : runs_) {
      if (run.span.inside() != 0) continue;
      std::memset(y + run.out * w_.channels, Empty(), static_cast<size_t>(run.count * w_.channels));
    }
  }

  const Window w_;
  const std::array<int64_t, 3> padded_end_;
  const bool average_, include_pad_;
  const int64_t line_;  // elements of a row of the input
  const VectorS8Kernel& kernel_;
  const int32_t x_zero_;
  const double x_scale_, y_scale_;
  const bool same_, halves_up_, clamps_;
  const OutputCodesS8 out_;
  std::vector<ColumnRun> runs_;
  size_t all_columns_ = 0;  // where in the scratch they begin
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
