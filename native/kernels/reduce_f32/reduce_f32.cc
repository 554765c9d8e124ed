// reduce on float32. attrs: mode mean|sum|max|min|prod|l1|l2|sum_square, axes (empty: all),
// keep_dims. The reduced axes must lie side by side (extents of 1 do not count).
#include "reduce_f32.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/kernels.h"
#include "step.h"

namespace bitlite {
namespace {

struct Mode {
  const char* name;
  ReduceOp op;
  bool mean, root;
};

constexpr Mode kModes[] = {
    {"mean", ReduceOp::kSum, true, false},     {"sum", ReduceOp::kSum, false, false},
    {"max", ReduceOp::kMax, false, false},     {"min", ReduceOp::kMin, false, false},
    {"prod", ReduceOp::kProd, false, false},   {"l1", ReduceOp::kSumAbs, false, false},
    {"l2", ReduceOp::kSumSquare, false, true}, {"sum_square", ReduceOp::kSumSquare, false, false},
};

class ReduceF32 final : public Step {
 public:
  ReduceF32(const Mode& mode, int64_t outer, int64_t extent, int64_t inner, const PlanContext& plan)
      : mode_(mode),
        outer_(outer),
        extent_(extent),
        inner_(inner),
        rows_(SelectKernel<reduce_rows_f32>(plan.isa).fn),
        run_(SelectKernel<reduce_run_f32>(plan.isa).fn) {
    if (inner_ > 1) {
      // Cut wide rows, in whole cache lines, when there are few.
      constexpr int64_t kLine = 64;
      blocks_ = outer_ >= 4 ? 1 : std::max<int64_t>(1, std::min<int64_t>(8, inner_ / kLine));
    }
    phases = {outer_ * blocks_};
    cost_ns = static_cast<double>(outer_) * extent_ * inner_ / 15.0;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    const float* x = args.In<float>(0);
    float* y = args.Out<float>(0);
    const float scale = mode_.mean ? 1.0f / static_cast<float>(extent_) : 1.0f;
    for (int64_t item = begin; item < end; ++item) {
      if (inner_ == 1) {
        const float value = run_({mode_.op, x + item * extent_, extent_}) * scale;
        y[item] = mode_.root ? std::sqrt(value) : value;
        continue;
      }
      const int64_t row = item / blocks_, block = item % blocks_;
      const int64_t first = inner_ * block / blocks_, last = inner_ * (block + 1) / blocks_;
      const float* start = x + row * extent_ * inner_ + first;
      float* to = y + row * inner_ + first;
      rows_({mode_.op, &start, 1, extent_, inner_, to, last - first, scale, -kInf, kInf});
      if (mode_.root) {
        for (int64_t i = 0; i < last - first; ++i) to[i] = std::sqrt(to[i]);
      }
    }
  }

 private:
  const Mode mode_;
  const int64_t outer_, extent_, inner_;
  int64_t blocks_ = 1;
  reduce_rows_f32::Fn* const rows_;
  reduce_run_f32::Fn* const run_;
};

}  // namespace

std::unique_ptr<Step> MakeReduceF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  Require(y.dtype == DType::kF32, "output is not float32");
  const std::string name = spec.Str("mode", "mean");
  const Mode* mode = std::find_if(std::begin(kModes), std::end(kModes),
                                  [&](const Mode& m) { return name == m.name; });
  if (mode == std::end(kModes)) Refuse("reduction " + name + " has no native kernel");
  spec.Ignore("keep_dims");
  const bool keep_all = spec.Bool("noop_if_empty", false);
  std::vector<int64_t> axes = spec.Ints("axes", {});
  if (plan.Has(1)) axes = IntValues(plan.In(1));
  Require(!axes.empty() || !spec.Bool("noop_if_empty", false), "nothing is reduced");
  std::vector<char> reduced(x.shape.size(), axes.empty() && !keep_all);
  for (int64_t axis : axes) {
    if (axis < 0) axis += x.rank();
    Require(axis >= 0 && axis < x.rank(), "an axis is out of range");
    reduced[static_cast<size_t>(axis)] = 1;
  }
  int64_t outer = 1, extent = 1, inner = 1;
  bool any = false;
  for (size_t d = 0; d < x.shape.size(); ++d) {
    if (x.shape[d] == 1) continue;
    if (reduced[d]) {
      if (inner != 1) Refuse("the reduced axes do not lie side by side");
      extent *= x.shape[d];
      any = true;
    } else {
      (any ? inner : outer) *= x.shape[d];
    }
  }
  Require(x.count > 0, "empty input");
  Require(y.count == outer * inner, "output shape does not follow from the axes");
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<ReduceF32>(*mode, outer, extent, inner, plan);
}

}  // namespace bitlite
