// softmax on int8 along one axis, with integer sums, so that no order of summation matters:
//   t[d] = rint(exp(-d * sx * beta) * 2^24), d = max - x in 0..255 (double, at plan time)
//   y    = clamp(rne(float32(t[d]) * float32(1 / (sum(t) * sy))) + zy), the quotient in double
// A negative beta is refused.
//   attrs  axis beta qmin qmax
#include <cmath>

#include "../requant.h"
#include "kernels.h"
#include "quant_step.h"

namespace bitlite {
namespace {

class SoftmaxS8 final : public Step {
 public:
  SoftmaxS8(const PlanContext& plan, int64_t outer, int64_t n, int64_t inner, double beta,
            Range range)
      : n_(n),
        inner_(inner),
        y_scale_(ScaleOf(plan.Out(0))),
        y_zero_(ZeroPointOf(plan.Out(0))),
        range_(range) {
    const double step = ScaleOf(plan.In(0)) * beta;
    for (int d = 0; d < 256; ++d) {
      table_[d] = static_cast<int32_t>(std::rint(std::exp(-d * step) * 16777216.0));
    }
    phases = {outer * inner};
    cost_ns = static_cast<double>(outer * n * inner) * 2;
    in_place = 1;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t at = item / inner_ * n_ * inner_ + item % inner_;
      const int8_t* x = args.In<int8_t>(0) + at;
      int8_t* y = args.Out<int8_t>(0) + at;
      int32_t top = -128;
      for (int64_t i = 0; i < n_; ++i) top = x[i * inner_] > top ? x[i * inner_] : top;
      int64_t sum = 0;
      for (int64_t i = 0; i < n_; ++i) sum += table_[top - x[i * inner_]];
      const float m = static_cast<float>(1.0 / (static_cast<double>(sum) * y_scale_));
      for (int64_t i = 0; i < n_; ++i) {
        const float v = static_cast<float>(table_[top - x[i * inner_]]) * m;
        y[i * inner_] = static_cast<int8_t>(RoundClamp(v, y_zero_, range_.qmin, range_.qmax));
      }
    }
  }

 private:
  const int64_t n_, inner_;
  const double y_scale_;
  const int32_t y_zero_;
  const Range range_;
  int32_t table_[256];
};

}  // namespace

std::unique_ptr<Step> MakeSoftmaxS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  Require(y.dtype == DType::kI8 && x.shape == y.shape, "output is not int8 of the input's shape");
  int64_t axis = spec.Int("axis", -1);
  if (axis < 0) axis += x.rank();
  Require(axis >= 0 && axis < x.rank(), "axis is not one of the input's");
  const double beta = spec.Float("beta", 1.0);
  Require(beta >= 0 && std::isfinite(beta), "beta is negative");
  const Range range = OutputRange(spec, y);
  ScaleOf(x);
  ZeroPointOf(x);
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < x.rank(); ++d) {
    if (d < axis) outer *= x.shape[d];
    if (d > axis) inner *= x.shape[d];
  }
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<SoftmaxS8>(plan, outer, x.shape[axis], inner, beta, range);
}

}  // namespace bitlite
