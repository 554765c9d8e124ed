// Element-wise functions of two float32 tensors with numpy broadcasting.
//   add sub mul div (act)   minimum maximum squared_difference   prelu (x, slope)
#include "binary_f32.h"

#include <algorithm>

#include "kernels/common/activation.h"
#include "kernels/common/kernels.h"

namespace bitlite {
namespace {

struct Row {
  const char* name;
  BinaryOp op;
};

constexpr Row kRows[] = {
    {"add", BinaryOp::kAdd},     {"sub", BinaryOp::kSub},
    {"mul", BinaryOp::kMul},     {"div", BinaryOp::kDiv},
    {"minimum", BinaryOp::kMin}, {"maximum", BinaryOp::kMax},
    {"prelu", BinaryOp::kPRelu}, {"squared_difference", BinaryOp::kSquaredDifference},
};

// One axis of the joint iteration; strides in elements, 0 where the operand repeats.
struct Axis {
  int64_t extent, a, b;
};

// The output's axes from the outermost, without extents of 1, neighbours merged where both operands
// go on evenly.
std::vector<Axis> JointAxes(const Shape& a, const Shape& b, const Shape& y) {
  if (a.size() > y.size() || b.size() > y.size()) Refuse("operands do not broadcast to the output");
  std::vector<Axis> axes;
  int64_t stride_a = 1, stride_b = 1;
  const auto operand = [&](const Shape& s, size_t from_end, int64_t extent,
                           int64_t& stride) -> int64_t {
    if (from_end >= s.size()) return 0;
    const int64_t own = s[s.size() - 1 - from_end];
    if (own != extent && own != 1) {
      Refuse("operands " + ToString(a) + " and " + ToString(b) + " do not broadcast to " +
             ToString(y));
    }
    const int64_t step = own == 1 ? 0 : stride;
    stride *= own;
    return step;
  };
  for (size_t d = 0; d < y.size(); ++d) {
    const int64_t extent = y[y.size() - 1 - d];
    const int64_t sa = operand(a, d, extent, stride_a), sb = operand(b, d, extent, stride_b);
    if (extent == 1) continue;
    if (!axes.empty()) {
      Axis& inner = axes.back();
      const bool even_a = sa == inner.a * inner.extent, even_b = sb == inner.b * inner.extent;
      if (even_a && even_b) {
        inner.extent *= extent;
        continue;
      }
    }
    axes.push_back({extent, sa, sb});
  }
  if (axes.empty()) axes.push_back({1, 1, 1});
  std::reverse(axes.begin(), axes.end());
  return axes;
}

// Elements of a work item, roughly.
constexpr int64_t kChunk = 4096;

class BinaryF32 final : public Step {
 public:
  BinaryF32(BinaryOp op, std::vector<Axis> axes, const FusedAct& act, const PlanContext& plan)
      : op_(op),
        act_(act),
        fn_(SelectKernel<binary_f32>(plan.isa).fn),
        unary_(SelectKernel<unary_f32>(plan.isa).fn),
        inner_(axes.back()),
        rows_(axes.size() > 1 ? axes[axes.size() - 2] : Axis{1, 0, 0}),
        outer_(axes.begin(), axes.end() - std::min<int64_t>(2, axes.size())) {
    const int64_t shared = rows_.extent > 1 ? rows_.extent : inner_.extent;
    block_ = rows_.extent > 1 ? std::max<int64_t>(1, kChunk / std::max<int64_t>(1, inner_.extent))
                              : kChunk;
    blocks_ = (shared + block_ - 1) / block_;
    int64_t outer = 1;
    for (const Axis& axis : outer_) outer *= axis.extent;
    phases = {outer * blocks_};
    const double rows = static_cast<double>(outer * rows_.extent);
    cost_ns = rows * (2.0 + 0.1 * inner_.extent);
    if (act_.unary) cost_ns += rows * inner_.extent;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    BinaryF32Args t;
    t.op = op_;
    t.repeat_a = inner_.a == 0;
    t.repeat_b = inner_.b == 0;
    t.lo = act_.lo;
    t.hi = act_.hi;
    t.a_row = rows_.a;
    t.b_row = rows_.b;
    const bool by_rows = rows_.extent > 1;
    const Axis& shared = by_rows ? rows_ : inner_;
    for (int64_t item = begin; item < end; ++item) {
      int64_t rest = item / blocks_, a = 0, b = 0;
      for (size_t d = outer_.size(); d-- > 0;) {
        const int64_t i = rest % outer_[d].extent;
        rest /= outer_[d].extent;
        a += i * outer_[d].a;
        b += i * outer_[d].b;
      }
      const int64_t first = item % blocks_ * block_,
                    count = std::min(block_, shared.extent - first);
      t.rows = by_rows ? count : 1;
      t.n = by_rows ? inner_.extent : count;
      t.a = args.In<float>(0) + a + first * shared.a;
      t.b = args.In<float>(1) + b + first * shared.b;
      t.y = args.Out<float>(0) + item / blocks_ * rows_.extent * inner_.extent +
            first * (by_rows ? inner_.extent : 1);
      fn_(t);
      act_.Apply(unary_, t.y, t.rows * t.n);
    }
  }

 private:
  const BinaryOp op_;
  const FusedAct act_;
  binary_f32::Fn* const fn_;
  unary_f32::Fn* const unary_;
  const Axis inner_, rows_;  // a call of the kernel covers both, or a part of one
  const std::vector<Axis> outer_;
  int64_t block_, blocks_;  // rows (elements where there is one row) of a work item; items
};

}  // namespace

std::unique_ptr<Step> MakeBinaryF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& a = plan.In(0);
  const TensorSpec& b = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(a.dtype == DType::kF32 && b.dtype == DType::kF32 && y.dtype == DType::kF32,
          "operands or output are not float32");
  const Row* row = std::find_if(std::begin(kRows), std::end(kRows),
                                [&](const Row& r) { return spec.op == r.name; });
  Require(row != std::end(kRows), "no native kernel");
  const FusedAct act = ParseAct(spec);
  std::vector<Axis> axes = JointAxes(a.shape, b.shape, y.shape);
  // An output extent that neither operand has would be repeated, which numpy does not do.
  for (size_t d = 0; d < y.shape.size(); ++d) {
    const auto extent = [&](const Shape& s) {
      return d < s.size() ? s[s.size() - 1 - d] : int64_t{1};
    };
    Require(std::max(extent(a.shape), extent(b.shape)) == y.shape[y.shape.size() - 1 - d] ||
                y.count == 0,
            "output is larger than its operands");
  }
  if (a.constant) plan.KeepConstant(0);
  if (b.constant) plan.KeepConstant(1);
  if (plan.check_only) return nullptr;
  auto step = std::make_unique<BinaryF32>(row->op, std::move(axes), act, plan);
  if (a.shape == y.shape) step->in_place |= 1;
  if (b.shape == y.shape) step->in_place |= 2;
  return step;
}

}  // namespace bitlite
