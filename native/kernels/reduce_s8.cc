// reduce on int8 along neighbouring axes.
//   mean      clamp(rne(float32(sum (x - zx)) * float32(sx / (sy * n))) + zy)      sum: with n = 1
//   max, min  the extreme code; then a requantization if the parameters differ
//   attrs     mode axes keep_dims act qmin qmax
#include <algorithm>
#include <cstring>

#include "../requant.h"
#include "kernels.h"
#include "quant_step.h"

namespace bitlite {
namespace {

constexpr int64_t kColumns = 256;  // of a work item

enum class Mode { kSum, kMax, kMin };

class ReduceS8 final : public Step {
 public:
  // x as [outer, n, inner].
  ReduceS8(const PlanContext& plan, Mode mode, int64_t outer, int64_t n, int64_t inner,
           double count, Range range)
      : mode_(mode),
        n_(n),
        inner_(inner),
        pieces_(CeilDiv(inner, kColumns)),
        kernel_(BITLITE_SELECT(vector_s8, plan.isa).fn()),
        x_zero_(ZeroPointOf(plan.In(0))),
        m_(static_cast<float>(ScaleOf(plan.In(0)) / (ScaleOf(plan.Out(0)) * count))),
        same_(SameQuant(plan.In(0), plan.Out(0))),
        out_{ZeroPointOf(plan.Out(0)), range.qmin, range.qmax} {
    phases = {outer * pieces_};
    cost_ns = static_cast<double>(outer * n * inner) * 0.05;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % pieces_ * kColumns;
      const int64_t c = std::min(kColumns, inner_ - first);
      const int8_t* x = args.In<int8_t>(0) + item / pieces_ * n_ * inner_ + first;
      int8_t* y = args.Out<int8_t>(0) + item / pieces_ * inner_ + first;
      if (mode_ == Mode::kSum) {
        int32_t acc[kColumns] = {};
        if (inner_ == 1) {
          acc[0] = static_cast<int32_t>(static_cast<uint32_t>(kernel_.sum(x, n_)));
        } else {
          for (int64_t i = 0; i < n_; ++i) kernel_.accumulate(acc, x + i * inner_, c);
        }
        kernel_.finish(acc, y, c, static_cast<int32_t>(static_cast<uint32_t>(x_zero_ * n_)), m_,
                       out_);
        continue;
      }
      std::memcpy(y, x, static_cast<size_t>(c));
      for (int64_t i = 1; i < n_; ++i) {
        (mode_ == Mode::kMax ? kernel_.maximum : kernel_.minimum)(y, x + i * inner_, c);
      }
      if (same_) {
        kernel_.clamp(y, y, c, out_.qmin, out_.qmax);
      } else {
        kernel_.requantize(y, y, c, x_zero_, m_, out_);
      }
    }
  }

 private:
  const Mode mode_;
  const int64_t n_, inner_, pieces_;
  const VectorS8Kernel& kernel_;
  const int32_t x_zero_;
  const float m_;
  const bool same_;
  const OutputCodesS8 out_;
};

}  // namespace

std::unique_ptr<Step> MakeReduceS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  Require(y.dtype == DType::kI8, "output is not int8");
  const std::string mode = spec.Str("mode", "mean");
  const bool mean = mode == "mean";
  Require(mean || mode == "sum" || mode == "max" || mode == "min",
          "mode is not mean, sum, max, min");
  spec.Ignore("keep_dims");
  std::vector<int64_t> axes = spec.Ints("axes", {});
  const bool keep_all = spec.Bool("noop_if_empty", false);
  Require(!axes.empty() || !keep_all, "no axis is reduced");
  if (axes.empty()) {
    for (int d = 0; d < x.rank(); ++d) axes.push_back(d);
  }
  for (int64_t& a : axes) a += a < 0 ? x.rank() : 0;
  std::sort(axes.begin(), axes.end());
  int64_t outer = 1, n = 1, inner = 1;
  for (int d = 0; d < x.rank(); ++d) {
    if (!axes.empty() && d >= axes.front() && d <= axes.back()) {
      // An axis of 1 between the others is as good as reduced.
      Require(std::binary_search(axes.begin(), axes.end(), d) || x.shape[d] == 1,
              "axes are not neighbours");
      n *= x.shape[d];
    } else {
      (axes.empty() || d < axes.front() ? outer : inner) *= x.shape[d];
    }
  }
  Require(y.count == outer * inner && n > 0, "the output's shape does not fit");
  const Range range = OutputRange(spec, y);
  ScaleOf(x);
  ZeroPointOf(x);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<ReduceS8>(plan,
                                    mode == "max"   ? Mode::kMax
                                    : mode == "min" ? Mode::kMin
                                                    : Mode::kSum,
                                    outer, n, inner, mean ? static_cast<double>(n) : 1.0, range);
}

}  // namespace bitlite
