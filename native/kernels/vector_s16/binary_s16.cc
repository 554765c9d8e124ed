// add, sub, mul (with requantization) and maximum, minimum (equal parameters) on codes of 16 bits
// with zero points 0 and numpy's broadcasting.
//   attrs  act qmin qmax
#include <algorithm>
#include <cstring>

#include "kernels/common/broadcast.h"
#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "step_s16.h"

namespace bitlite {
namespace {

constexpr int64_t kRun = 4096;

class BinaryS16 final : public Step {
 public:
  using Function = void (*)(const VectorS16Kernel&, const BinaryS16Args&);

  BinaryS16(const PlanContext& plan, Function function, const BroadcastSpace& space,
            const BinaryS16Args& args, int64_t count)
      : kernel_(SelectKernel<vector_s16>(plan.isa).fn()),
        function_(function),
        space_(space),
        args_(args),
        run_(space.extents.back()),
        pieces_(std::max<int64_t>(1, CeilDiv(run_, kRun))) {
    int64_t rows = 1;
    for (size_t d = 0; d + 1 < space_.extents.size(); ++d) rows *= space_.extents[d];
    phases = {rows * pieces_};
    cost_ns = static_cast<double>(count) * 0.1 + static_cast<double>(phases[0]) * 5;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    BinaryS16Args t = args_;
    const size_t last = space_.extents.size() - 1;
    t.a_step = space_.a_strides[last];
    t.b_step = space_.b_strides[last];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / pieces_, first = run_ * (item % pieces_) / pieces_;
      int64_t rest = row, a = first * t.a_step, b = first * t.b_step;
      for (size_t d = last; d-- > 0;) {
        const int64_t index = rest % space_.extents[d];
        rest /= space_.extents[d];
        a += index * space_.a_strides[d];
        b += index * space_.b_strides[d];
      }
      t.a = args.In<int16_t>(0) + a;
      t.b = args.In<int16_t>(1) + b;
      t.y = args.Out<int16_t>(0) + row * run_ + first;
      t.n = run_ * (item % pieces_ + 1) / pieces_ - first;
      function_(kernel_, t);
    }
  }

 private:
  const VectorS16Kernel& kernel_;
  const Function function_;
  const BroadcastSpace space_;
  const BinaryS16Args args_;
  const int64_t run_, pieces_;
};

// y = max(a, b), by the run of the operand that is one.
template <bool kLargest>
void Order(const VectorS16Kernel& kernel, const BinaryS16Args& t) {
  const auto take = kLargest ? kernel.maximum : kernel.minimum;
  const int16_t* from = t.a_step == 1 ? t.a : t.b;
  const int64_t step = t.a_step == 1 ? t.b_step : t.a_step;
  const int16_t* other = t.a_step == 1 ? t.b : t.a;
  if (t.y != from) std::memmove(t.y, from, static_cast<size_t>(t.n) * sizeof(int16_t));
  if (step == 1) return take(t.y, other, t.n);
  for (int64_t i = 0; i < t.n; ++i) take(t.y + i, other, 1);
}

}  // namespace

std::unique_ptr<Step> MakeBinaryS16(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& a = plan.In(0);
  const TensorSpec& b = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  for (const TensorSpec* t : {&a, &b, &y}) RequireCodesS16(*t);
  const BroadcastSpace space = MergeBroadcast(a.shape, b.shape, y.shape);
  BinaryS16Args args{};
  BinaryS16::Function function = nullptr;
  if (spec.op == "maximum" || spec.op == "minimum") {
    Require(SameQuant(a, b) && SameQuant(a, y), "operands and output differ in quantization");
    function = spec.op == "maximum" ? Order<true> : Order<false>;
  } else {
    args.clamp = ClampS16Of(OutputRange(spec, y));
    if (spec.op == "mul") {
      args.a_scale = static_cast<float>(ScaleOf(a) * ScaleOf(b) / ScaleOf(y));
      function = [](const VectorS16Kernel& k, const BinaryS16Args& t) { k.mul(t); };
    } else {
      args.a_scale = static_cast<float>(ScaleOf(a) / ScaleOf(y));
      args.b_scale = static_cast<float>(ScaleOf(b) / ScaleOf(y));
      if (spec.op == "sub") args.b_scale = -args.b_scale;
      function = [](const VectorS16Kernel& k, const BinaryS16Args& t) { k.add(t); };
    }
  }
  if (a.constant) plan.KeepConstant(0);
  if (b.constant) plan.KeepConstant(1);
  if (plan.check_only) return nullptr;
  return std::make_unique<BinaryS16>(plan, function, space, args, y.count);
}

}  // namespace bitlite
