// Element-wise functions of one float32 tensor: one row of the table below per operator.
//   relu relu6 relu_n1_to_1 abs neg square reciprocal sqrt rsqrt exp log floor ceil round (half to
//   even) sigmoid tanh hard_swish swish erf softplus mish                                       no
//   attributes clip(min, max)  leaky_relu(alpha=0.01)  elu(alpha=1)  selu(alpha, gamma)
//   hard_sigmoid(alpha=0.2, beta=0.5)  gelu(approximate: bool, or "none"|"tanh")
#include "unary_f32.h"

#include <algorithm>
#include <limits>

#include "kernels/common/kernels.h"
#include "kernels/common/tail_step.h"
#include "step.h"

namespace bitlite {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Row {
  const char* name;
  UnaryOp op;
  const char*
      attr_a;  // attributes of the kernel's parameters and their defaults; null: fixed value
  double a;
  const char* attr_b;
  double b;
  double ns_per_element;
};

constexpr Row kRows[] = {
#define BITLITE_UNARY_OP(op, value, ...) {op, UnaryOp::value, __VA_ARGS__},
#include "unary_f32_functions.inc"
};

// Elements of a work item: large enough to be worth a call, small enough to balance.
constexpr int64_t kChunk = 4096;

class UnaryF32 final : public TailStep {
 public:
  UnaryF32(UnaryOp op, float a, float b, int64_t n, double ns_per_element, unary_f32::Fn* fn)
      : op_(op), a_(a), b_(b), n_(n), fn_(fn) {
    phases = {(n + kChunk - 1) / kChunk};
    cost_ns = static_cast<double>(n) * ns_per_element;
    in_place = 1;
    tail_unit = 1;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int64_t first = begin * kChunk, last = std::min(n_, end * kChunk);
    RunElements(args, {first, last - first});
  }

  void RunElements(const StepArgs& args, Elements elements) const noexcept override {
    fn_({op_, args.In<float>(0) + elements.first, args.Out<float>(0) + elements.first,
         elements.count, a_, b_});
  }

 private:
  const UnaryOp op_;
  const float a_, b_;
  const int64_t n_;
  unary_f32::Fn* const fn_;
};

}  // namespace

std::unique_ptr<Step> MakeUnaryF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  Require(x.count == plan.Out(0).count && plan.Out(0).dtype == DType::kF32,
          "output is not float32 of the input's shape");
  Require(plan.inputs() == 1, "more than one input");
  if (x.constant) plan.KeepConstant(0);
  Row row{};
  if (spec.op == "gelu") {
    bool tanh = false;
    const auto it = spec.attrs.find("approximate");
    if (it != spec.attrs.end() && std::holds_alternative<std::string>(it->second)) {
      const std::string kind = spec.Str("approximate", "none");
      Require(kind == "none" || kind == "tanh", "approximate must be none or tanh");
      tanh = kind == "tanh";
    } else {
      tanh = spec.Bool("approximate", false);
    }
    row = {"gelu", tanh ? UnaryOp::kGeluTanh : UnaryOp::kGeluErf, nullptr, 0, nullptr, 0, 0.7};
  } else {
    const Row* found = std::find_if(std::begin(kRows), std::end(kRows),
                                    [&](const Row& r) { return spec.op == r.name; });
    Require(found != std::end(kRows), "no native kernel");
    row = *found;
  }
  const double a = row.attr_a != nullptr ? spec.Float(row.attr_a, row.a) : row.a;
  const double b = row.attr_b != nullptr ? spec.Float(row.attr_b, row.b) : row.b;
  if (plan.check_only) return nullptr;
  return std::make_unique<UnaryF32>(row.op, static_cast<float>(a), static_cast<float>(b), x.count,
                                    row.ns_per_element, SelectKernel<unary_f32>(plan.isa).fn);
}

}  // namespace bitlite
