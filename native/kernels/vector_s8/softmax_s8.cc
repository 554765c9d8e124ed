// softmax on int8 along one axis, with integer sums, so that no order of summation matters:
//   t[d] = rint(exp(-d * sx * beta) * 2^24), d = max - x in 0..255 (double, at plan time)
//   y    = clamp(rne(float32(t[d]) * float32(1 / (sum(t) * sy))) + zy), the quotient in double
// A negative beta is refused.
//   attrs  axis beta qmin qmax
#include <algorithm>
#include <cmath>

#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int64_t kBlock = 2048;  // elements whose results are rounded together
constexpr int64_t kColumns = 64;  // rows that lie side by side, brought into lines together
constexpr int64_t kLanes = 8;

class SoftmaxS8 final : public Step {
 public:
  SoftmaxS8(const PlanContext& plan, int64_t outer, int64_t n, int64_t inner, double beta,
            Range range)
      : n_(n),
        inner_(inner),
        rows_(inner == 1 ? outer : inner),
        block_(std::clamp<int64_t>(kBlock / std::max<int64_t>(n, 1), 1, kColumns)),
        blocks_(CeilDiv(rows_, block_)),
        kernel_(SelectKernel<vector_s8>(plan.isa).fn()),
        y_scale_(ScaleOf(plan.Out(0))),
        out_{ZeroPointOf(plan.Out(0)), range.qmin, range.qmax} {
    const double step = ScaleOf(plan.In(0)) * beta;
    for (int d = 0; d < 256; ++d) {
      table_[d] = static_cast<int32_t>(std::rint(std::exp(-d * step) * 16777216.0));
    }
    phases = {n == 0 ? 0 : inner == 1 ? blocks_ : outer * blocks_};
    cost_ns = static_cast<double>(outer * n * inner);
    // Quotients of a block, powers of a row, and codes where rows do not lie in lines.
    const size_t values = static_cast<size_t>(block_ * n + kLanes);
    thread_scratch = (values + static_cast<size_t>(n + kLanes)) * 4 + (inner == 1 ? 0 : values);
    in_place = 1;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    float* quotients = reinterpret_cast<float*>(args.thread_scratch);
    int32_t* powers = reinterpret_cast<int32_t*>(quotients + block_ * n_ + kLanes);
    int8_t* lines = reinterpret_cast<int8_t*>(powers + n_ + kLanes);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % blocks_ * block_, rows = std::min(block_, rows_ - first);
      const int64_t at = inner_ == 1 ? first * n_ : item / blocks_ * n_ * inner_ + first;
      const int8_t* x = args.In<int8_t>(0) + at;
      int8_t* y = args.Out<int8_t>(0) + at;
      if (inner_ == 1) {
        Divide(x, rows, quotients, powers);
        kernel_.quantize(quotients, y, rows * n_, 1.0f, out_);
        continue;
      }
      for (int64_t i = 0; i < n_; ++i) {
        for (int64_t r = 0; r < rows; ++r) lines[r * n_ + i] = x[i * inner_ + r];
      }
      Divide(lines, rows, quotients, powers);
      kernel_.quantize(quotients, lines, rows * n_, 1.0f, out_);
      for (int64_t i = 0; i < n_; ++i) {
        for (int64_t r = 0; r < rows; ++r) y[i * inner_ + r] = lines[r * n_ + i];
      }
    }
  }

 private:
  // Up to kLanes - 1 elements more than there are of either are written.
  void Divide(const int8_t* x, int64_t rows, float* quotients, int32_t* powers) const {
    for (int64_t r = 0; r < rows; ++r, x += n_, quotients += n_) {
      const int32_t* power = table_ + kernel_.largest(x, n_);
      int64_t sum = 0;
      for (int64_t i = 0; i < n_; ++i) {
        powers[i] = power[-x[i]];
        sum += powers[i];
      }
      const float m = static_cast<float>(1.0 / (static_cast<double>(sum) * y_scale_));
      for (int64_t i = 0; i < n_; i += kLanes) {
        for (int64_t k = 0; k < kLanes; ++k) {
          quotients[i + k] = static_cast<float>(powers[i + k]) * m;
        }
      }
    }
  }

  const int64_t n_, inner_, rows_, block_, blocks_;
  const VectorS8Kernel& kernel_;
  const double y_scale_;
  const OutputCodesS8 out_;
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
