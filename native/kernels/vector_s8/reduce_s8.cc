// reduce on int8 along neighbouring axes.
//   mean      clamp(rne(float32(sum (x - zx)) * float32(sx / (sy * n))) + zy)      sum: with n = 1
//             to float32: float32(sum (x - zx)) * float32(sx / n)
//   max, min  the extreme code; then a requantization if the parameters differ
//   attrs     mode axes keep_dims act qmin qmax
#include <algorithm>
#include <cstring>

#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "kernels/common/reduced_axes.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int64_t kColumns = 256;  // of a work item
constexpr int64_t kLine = 8192;    // elements of a work item where there is one column
constexpr int64_t kNarrow = 128;   // columns that several shorter rows make together

enum class Mode { kSum, kMax, kMin };

class ReduceS8 final : public Step {
 public:
  // x as [outer, n, inner].
  ReduceS8(const PlanContext& plan, Mode mode, int64_t outer, int64_t n, int64_t inner,
           double count, Range range)
      : mode_(mode),
        outer_(outer),
        n_(n),
        inner_(inner),
        pieces_(CeilDiv(inner, kColumns)),
        joined_(std::clamp<int64_t>(kNarrow / std::max<int64_t>(inner, 1), 1, n)),
        kernel_(SelectKernel<vector_s8>(plan.isa).fn()),
        x_zero_(ZeroPointOf(plan.In(0))),
        to_float_(plan.Out(0).dtype == DType::kF32),
        m_(static_cast<float>(ScaleOf(plan.In(0)) /
                              (to_float_ ? count : ScaleOf(plan.Out(0)) * count))),
        same_(!to_float_ && SameQuant(plan.In(0), plan.Out(0))),
        out_{to_float_ ? 0 : ZeroPointOf(plan.Out(0)), range.qmin, range.qmax} {
    // A work item of whole lines gives so many results that they are worth rounding together.
    lines_ = inner > 1 ? 1 : std::clamp<int64_t>(kLine / n, 1, kColumns);
    phases = {CeilDiv(outer, lines_) * pieces_};
    cost_ns = static_cast<double>(outer * n * inner) * 0.05;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t from = item / pieces_ * lines_, first = item % pieces_ * kColumns;
      const int64_t results =
          inner_ > 1 ? std::min(kColumns, inner_ - first) : std::min(lines_, outer_ - from);
      const int8_t* x = args.In<int8_t>(0) + from * n_ * inner_ + first;
      const int64_t at = from * inner_ + first;
      int8_t* y = args.Out<int8_t>(0) + at;
      if (mode_ == Mode::kSum) {
        int32_t sums[kColumns];
        if (inner_ > 1) {
          SumColumns(x, results, sums);
        } else {
          for (int64_t i = 0; i < results; ++i) {
            sums[i] = static_cast<int32_t>(static_cast<uint32_t>(kernel_.sum(x + i * n_, n_)));
          }
        }
        const uint32_t zeros = static_cast<uint32_t>(x_zero_ * n_);
        if (to_float_) {
          float* reals = args.Out<float>(0) + at;
          for (int64_t i = 0; i < results; ++i) {
            const uint32_t sum = static_cast<uint32_t>(sums[i]) - zeros;
            reals[i] = static_cast<float>(static_cast<int32_t>(sum)) * m_;
          }
          continue;
        }
        kernel_.requantize_s32(sums, y, results, static_cast<int32_t>(zeros), m_, out_);
        continue;
      }
      if (inner_ > 1) {
        PickColumns(x, results, y);
      } else {
        const auto pick = mode_ == Mode::kMax ? kernel_.largest : kernel_.smallest;
        for (int64_t i = 0; i < results; ++i) y[i] = pick(x + i * n_, n_);
      }
      if (same_) {
        kernel_.clamp(y, y, results, out_.qmin, out_.qmax);
      } else {
        kernel_.requantize(y, y, results, x_zero_, m_, out_);
      }
    }
  }

 private:
  // Short rows are joined to longer ones, whose parts come together in the end.
  void SumColumns(const int8_t* x, int64_t columns, int32_t* sums) const {
    if (joined_ == 1) return kernel_.sum_of_rows(x, inner_, n_, columns, sums, false);
    int32_t parts[kNarrow];
    const int64_t width = joined_ * inner_, whole = n_ / joined_;
    kernel_.sum_of_rows(x, width, whole, width, parts, false);
    std::memcpy(sums, parts, static_cast<size_t>(inner_) * sizeof(int32_t));
    for (int64_t i = inner_; i < width; ++i) Add(&sums[i % inner_], parts[i]);
    for (int64_t i = whole * width; i < n_ * inner_; ++i) Add(&sums[i % inner_], x[i]);
  }

  static void Add(int32_t* sum, int32_t v) {
    *sum = static_cast<int32_t>(static_cast<uint32_t>(*sum) + static_cast<uint32_t>(v));
  }

  void PickColumns(const int8_t* x, int64_t columns, int8_t* y) const {
    const bool max = mode_ == Mode::kMax;
    const auto pick = max ? kernel_.largest_of_rows : kernel_.smallest_of_rows;
    if (joined_ == 1) return pick(x, inner_, n_, columns, y);
    int8_t parts[kNarrow];
    const int64_t width = joined_ * inner_, whole = n_ / joined_;
    pick(x, width, whole, width, parts);
    pick(parts, inner_, joined_, inner_, y);
    const auto better = [&](int8_t a, int8_t b) { return max ? std::max(a, b) : std::min(a, b); };
    for (int64_t i = whole * width; i < n_ * inner_; ++i) {
      y[i % inner_] = better(y[i % inner_], x[i]);
    }
  }

  const Mode mode_;
  const int64_t outer_, n_, inner_, pieces_;
  const int64_t joined_;  // rows that are worked on as one where columns are few
  int64_t lines_;         // outer indices of a work item
  const VectorS8Kernel& kernel_;
  const int32_t x_zero_;
  const bool to_float_;
  const float m_;
  const bool same_;
  const OutputCodesS8 out_;
};

}  // namespace

std::unique_ptr<Step> MakeReduceS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  const bool to_float = y.dtype == DType::kF32;
  Require(to_float || y.dtype == DType::kI8, "output is not int8 or float32");
  const ReducedAxes axes = ReducedAxesOf(spec, x, y);
  if (to_float) {
    Require(axes.mode == "mean" || axes.mode == "sum", "an extreme code is no float32");
    RequireExactSums(axes.n, 1);
  }
  const Range range = to_float ? Range{} : OutputRange(spec, y);
  ScaleOf(x);
  ZeroPointOf(x);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  const Mode mode = axes.mode == "max" ? Mode::kMax : axes.mode == "min" ? Mode::kMin : Mode::kSum;
  return std::make_unique<ReduceS8>(plan, mode, axes.outer, axes.n, axes.inner,
                                    axes.mode == "mean" ? static_cast<double>(axes.n) : 1.0, range);
}

}  // namespace bitlite
