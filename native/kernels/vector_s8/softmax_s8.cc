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
        out_{ZeroPointOf(plan.Out(0)), range.qmin, range.qmax} {
    const double step = ScaleOf(plan.In(0)) * beta;
    for (int d = 0; d < 256; ++d) {
      table_.whole[d] = static_cast<int32_t>(std::rint(std::exp(-d * step) * 16777216.0));
      table_.low[d] = static_cast<uint16_t>(table_.whole[d]);
      table_.high[d] = static_cast<uint16_t>(table_.whole[d] >> 16);
    }
    table_.y_scale = ScaleOf(plan.Out(0));
    phases = {n == 0 ? 0 : inner == 1 ? blocks_ : outer * blocks_};
    cost_ns = static_cast<double>(outer * n * inner);
    // Quotients of a block, and codes where rows do not lie in lines.
    thread_scratch = static_cast<size_t>(block_ * n) * (inner == 1 ? 4 : 5);
    in_place = 1;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    float* quotients = reinterpret_cast<float*>(args.thread_scratch);
    int8_t* lines = reinterpret_cast<int8_t*>(quotients + block_ * n_);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % blocks_ * block_, rows = std::min(block_, rows_ - first);
      const int64_t at = inner_ == 1 ? first * n_ : item / blocks_ * n_ * inner_ + first;
      const int8_t* x = args.In<int8_t>(0) + at;
      int8_t* y = args.Out<int8_t>(0) + at;
      if (inner_ == 1) {
        Divide(x, rows, quotients);
        kernel_.quantize(quotients, y, rows * n_, 1.0f, out_);
        continue;
      }
      for (int64_t i = 0; i < n_; ++i) {
        for (int64_t r = 0; r < rows; ++r) lines[r * n_ + i] = x[i * inner_ + r];
      }
      Divide(lines, rows, quotients);
      kernel_.quantize(quotients, lines, rows * n_, 1.0f, out_);
      for (int64_t i = 0; i < n_; ++i) {
        for (int64_t r = 0; r < rows; ++r) y[i * inner_ + r] = lines[r * n_ + i];
      }
    }
  }

 private:
  void Divide(const int8_t* x, int64_t rows, float* quotients) const {
    for (int64_t r = 0; r < rows; ++r) {
      kernel_.softmax_row(x + r * n_, n_, table_, quotients + r * n_);
    }
  }

  const int64_t n_, inner_, rows_, block_, blocks_;
  const VectorS8Kernel& kernel_;
  const OutputCodesS8 out_;
  SoftmaxS8Table table_;
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
