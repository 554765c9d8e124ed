// add, sub, mul (with requantization) and maximum, minimum (equal parameters) on int8, with numpy's
// broadcasting.
//   attrs  act qmin qmax (add, sub, mul)
#include <algorithm>

#include "../requant.h"
#include "kernels.h"
#include "quant_step.h"

namespace bitlite {
namespace {

constexpr int64_t kRun = 8192;  // elements of a work item when the operands are one run

// The common index space with neighbouring dimensions merged where both operands allow it.
struct Broadcast {
  std::vector<int64_t> extents, a_strides, b_strides;  // outermost first; the last one is the run
};

Broadcast Merge(const Shape& a, const Shape& b, const Shape& y) {
  const size_t rank = y.size();
  std::vector<int64_t> sa(rank, 0), sb(rank, 0);
  const auto strides = [&](const Shape& shape, std::vector<int64_t>& s) {
    Require(shape.size() <= rank, "the output has fewer dimensions than an operand");
    int64_t stride = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      const size_t d = shape.size() - 1 - i, to = rank - 1 - i;
      Require(shape[d] == y[to] || shape[d] == 1, "operands do not broadcast to the output");
      s[to] = shape[d] == 1 ? 0 : stride;
      stride *= shape[d];
    }
  };
  strides(a, sa);
  strides(b, sb);
  Broadcast m;
  for (size_t d = 0; d < rank; ++d) {
    if (y[d] == 1) continue;
    if (!m.extents.empty() && m.a_strides.back() == sa[d] * y[d] &&
        m.b_strides.back() == sb[d] * y[d]) {
      m.extents.back() *= y[d];
      m.a_strides.back() = sa[d];
      m.b_strides.back() = sb[d];
    } else {
      m.extents.push_back(y[d]);
      m.a_strides.push_back(sa[d]);
      m.b_strides.push_back(sb[d]);
    }
  }
  if (m.extents.empty()) {
    m.extents = {1};
    m.a_strides = m.b_strides = {1};
  }
  return m;
}

class BinaryS8 final : public Step {
 public:
  enum class Op { kAdd, kMul, kMaximum, kMinimum };

  BinaryS8(Op op, const Broadcast& space, const BinaryS8Args& args, int64_t count, IsaMask isa)
      : op_(op), space_(space), args_(args), kernel_(BITLITE_SELECT(vector_s8, isa).fn()) {
    run_ = space.extents.back();
    // Long runs are cut, so that there is something to share out.
    pieces_ = std::max<int64_t>(1, CeilDiv(run_, kRun));
    int64_t outer = 1;
    for (size_t d = 0; d + 1 < space.extents.size(); ++d) outer *= space.extents[d];
    phases = {outer * pieces_};
    cost_ns = static_cast<double>(count) * 0.05 + static_cast<double>(outer) * 5;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    BinaryS8Args t = args_;
    const size_t last = space_.extents.size() - 1;
    t.a_step = space_.a_strides[last];
    t.b_step = space_.b_strides[last];
    for (int64_t item = begin; item < end; ++item) {
      int64_t outer = item / pieces_, at_a = 0, at_b = 0;
      const int64_t y_row = outer * run_;
      for (size_t d = last; d-- > 0;) {
        const int64_t index = outer % space_.extents[d];
        outer /= space_.extents[d];
        at_a += index * space_.a_strides[d];
        at_b += index * space_.b_strides[d];
      }
      const int64_t first = run_ * (item % pieces_) / pieces_;
      t.n = run_ * (item % pieces_ + 1) / pieces_ - first;
      t.a = args.In<int8_t>(0) + at_a + first * t.a_step;
      t.b = args.In<int8_t>(1) + at_b + first * t.b_step;
      t.y = args.Out<int8_t>(0) + y_row + first;
      if (op_ == Op::kAdd) {
        kernel_.add(t);
      } else if (op_ == Op::kMul) {
        kernel_.mul(t);
      } else {
        Order(t);
      }
    }
  }

 private:
  void Order(const BinaryS8Args& t) const noexcept {
    if (t.a_step == 1 && t.b_step == 1) {
      if (t.y != t.a) std::memcpy(t.y, t.a, static_cast<size_t>(t.n));
      (op_ == Op::kMaximum ? kernel_.maximum : kernel_.minimum)(t.y, t.b, t.n);
      return;
    }
    const int8_t* x = t.a_step == 0 ? t.b : t.a;
    const int8_t value = t.a_step == 0 ? *t.a : *t.b;
    kernel_.clamp(x, t.y, t.n, op_ == Op::kMaximum ? value : -128,
                  op_ == Op::kMaximum ? 127 : value);
  }

  const Op op_;
  const Broadcast space_;
  const BinaryS8Args args_;
  const VectorS8Kernel& kernel_;
  int64_t run_, pieces_;
};

}  // namespace

std::unique_ptr<Step> MakeBinaryS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& a = plan.In(0);
  const TensorSpec& b = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(a.dtype == DType::kI8 && b.dtype == DType::kI8 && y.dtype == DType::kI8,
          "operands and output are not all int8");
  const Broadcast space = Merge(a.shape, b.shape, y.shape);
  BinaryS8Args args{};
  BinaryS8::Op op = BinaryS8::Op::kAdd;
  if (spec.op == "maximum" || spec.op == "minimum") {
    Require(a.quantized() && SameQuant(a, b) && SameQuant(a, y),
            "operands and output differ in quantization");
    op = spec.op == "maximum" ? BinaryS8::Op::kMaximum : BinaryS8::Op::kMinimum;
  } else {
    const Range range = OutputRange(spec, y);
    args.a_zero = ZeroPointOf(a);
    args.b_zero = ZeroPointOf(b);
    args.out = {ZeroPointOf(y), range.qmin, range.qmax};
    if (spec.op == "mul") {
      op = BinaryS8::Op::kMul;
      args.ma = static_cast<float>(ScaleOf(a) * ScaleOf(b) / ScaleOf(y));
    } else {
      args.ma = static_cast<float>(ScaleOf(a) / ScaleOf(y));
      args.mb = static_cast<float>(ScaleOf(b) / ScaleOf(y));
      if (spec.op == "sub") args.mb = -args.mb;
    }
  }
  if (a.constant) plan.KeepConstant(0);
  if (b.constant) plan.KeepConstant(1);
  if (plan.check_only) return nullptr;
  auto step = std::make_unique<BinaryS8>(op, space, args, y.count, plan.isa);
  if (a.shape == y.shape) step->in_place |= 1u;
  // maximum and minimum first copy a.
  if (b.shape == y.shape && op != BinaryS8::Op::kMaximum && op != BinaryS8::Op::kMinimum) {
    step->in_place |= 2u;
  }
  return step;
}

}  // namespace bitlite
