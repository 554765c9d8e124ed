// Row functions on float32.
//   softmax      attrs axis (-1) beta (1)      log_softmax  attrs axis
//   layer_norm   x, gamma?, beta? constant; attrs axis (the first normalized one) epsilon
//   batch_norm   x, scale, offset, mean, variance constant; attrs epsilon; channels are the last
//   axis
#include "softmax_f32.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/kernels.h"
#include "kernels/gemm_f32/gemm_pack.h"

namespace bitlite {
namespace {

class SoftmaxF32 final : public Step {
 public:
  SoftmaxF32(int64_t outer, int64_t extent, int64_t inner, float beta, bool log,
             const PlanContext& plan)
      : extent_(extent),
        inner_(inner),
        beta_(beta),
        log_(log),
        fn_(SelectKernel<softmax_f32>(plan.isa).fn) {
    phases = {outer * inner};
    cost_ns = static_cast<double>(outer * inner) * (30.0 + static_cast<double>(extent) * 0.6);
    if (inner_ > 1) thread_scratch = static_cast<size_t>(extent_) * sizeof(float);
    in_place = 1;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const float* x = args.In<float>(0);
    float* y = args.Out<float>(0);
    float* row = reinterpret_cast<float*>(args.thread_scratch);
    for (int64_t item = begin; item < end; ++item) {
      if (inner_ == 1) {
        fn_({x + item * extent_, y + item * extent_, extent_, beta_, log_});
        continue;
      }
      const int64_t start = item / inner_ * extent_ * inner_ + item % inner_;
      for (int64_t i = 0; i < extent_; ++i) row[i] = x[start + i * inner_];
      fn_({row, row, extent_, beta_, log_});
      for (int64_t i = 0; i < extent_; ++i) y[start + i * inner_] = row[i];
    }
  }

 private:
  const int64_t extent_, inner_;
  const float beta_;
  const bool log_;
  softmax_f32::Fn* const fn_;
};

class NormF32 final : public Step {
 public:
  NormF32(int64_t rows, int64_t n, bool standardize, float epsilon, const PlanContext& plan)
      : n_(n),
        standardize_(standardize),
        epsilon_(epsilon),
        fn_(SelectKernel<norm_f32>(plan.isa).fn) {
    phases = {rows};
    cost_ns = static_cast<double>(rows) * (10.0 + 0.2 * static_cast<double>(n));
    in_place = 1;
  }

  Aligned<float> scale, offset;  // empty: none

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    for (int64_t row = begin; row < end; ++row) {
      fn_({args.In<float>(0) + row * n_, args.Out<float>(0) + row * n_, n_,
           scale.size() > 0 ? scale.data() : nullptr, offset.size() > 0 ? offset.data() : nullptr,
           standardize_, epsilon_});
    }
  }

 private:
  const int64_t n_;
  const bool standardize_;
  const float epsilon_;
  norm_f32::Fn* const fn_;
};

int64_t NormalAxis(int64_t axis, const TensorSpec& x) {
  if (axis < 0) axis += x.rank();
  Require(axis >= 0 && axis < x.rank(), "axis is out of range");
  return axis;
}

void RequireSame(const TensorSpec& x, const TensorSpec& y) {
  Require(y.dtype == DType::kF32 && x.shape == y.shape,
          "output is not float32 of the input's shape");
}

Aligned<float> Copy(const TensorSpec& t) {
  const WeightValues values(t);
  Aligned<float> copy(static_cast<size_t>(t.count));
  std::copy_n(values.data(), t.count, copy.data());
  return copy;
}

}  // namespace

std::unique_ptr<Step> MakeSoftmaxF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  RequireSame(x, plan.Out(0));
  const int64_t axis = NormalAxis(spec.Int("axis", -1), x);
  const double beta = spec.op == "softmax" ? spec.Float("beta", 1.0) : 1.0;
  Require(beta > 0, "beta is not positive");
  Require(x.count > 0, "empty input");
  int64_t outer = 1, inner = 1;
  for (int64_t d = 0; d < x.rank(); ++d) {
    if (d < axis) outer *= x.shape[d];
    if (d > axis) inner *= x.shape[d];
  }
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<SoftmaxF32>(outer, x.shape[axis], inner, static_cast<float>(beta),
                                      spec.op == "log_softmax", plan);
}

std::unique_ptr<Step> MakeLayerNormF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  RequireSame(x, plan.Out(0));
  const int64_t axis = NormalAxis(spec.Int("axis", -1), x);
  const double epsilon = spec.Float("epsilon", 1e-5);
  int64_t rows = 1, n = 1;
  for (int64_t d = 0; d < x.rank(); ++d) (d < axis ? rows : n) *= x.shape[d];
  Require(n > 0, "empty input");
  for (int i = 1; i < 3; ++i) {
    const TensorSpec* t = plan.OptionalIn(i);
    if (t == nullptr) continue;
    RequireWeight(*t, "gamma or beta");
    Require(t->count == n, "gamma or beta does not have one value per normalized element");
  }
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  auto step = std::make_unique<NormF32>(rows, n, true, static_cast<float>(epsilon), plan);
  if (plan.Has(1)) step->scale = Copy(plan.In(1));
  if (plan.Has(2)) step->offset = Copy(plan.In(2));
  return step;
}

std::unique_ptr<Step> MakeBatchNormF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  RequireSame(x, plan.Out(0));
  const double epsilon = spec.Float("epsilon", 1e-5);
  Require(x.rank() >= 1, "input is a scalar");
  const int64_t n = x.shape.back();
  for (int i = 1; i < 5; ++i) {
    RequireWeight(plan.In(i), "a parameter");
    Require(plan.In(i).count == n, "a parameter does not have one value per channel");
  }
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  const WeightValues scale(plan.In(1)), offset(plan.In(2)), mean(plan.In(3)), variance(plan.In(4));
  auto step = std::make_unique<NormF32>(n == 0 ? 0 : x.count / n, n, false, 0.0f, plan);
  step->scale.Reset(static_cast<size_t>(n));
  step->offset.Reset(static_cast<size_t>(n));
  for (int64_t c = 0; c < n; ++c) {
    const double factor = scale.data()[c] / std::sqrt(variance.data()[c] + epsilon);
    step->scale[c] = static_cast<float>(factor);
    step->offset[c] = static_cast<float>(offset.data()[c] - mean.data()[c] * factor);
  }
  return step;
}

}  // namespace bitlite
