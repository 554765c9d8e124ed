// reshape, squeeze, expand_dims, flatten, identity: the same bytes under another shape. Further
// inputs (a shape tensor) and attributes have done their work in the output's static shape.
#include <cstring>

#include "step.h"

namespace bitlite {
namespace {

class Reshape final : public Step {
 public:
  explicit Reshape(size_t bytes) : bytes_(bytes) { view_of = 0; }
  void Run(const StepArgs& args, int, int64_t, int64_t) const noexcept override {
    if (args.out[0] != args.in[0] && bytes_ > 0) std::memcpy(args.out[0], args.in[0], bytes_);
  }

 private:
  const size_t bytes_;
};

}  // namespace

std::unique_ptr<Step> MakeReshape(const StepSpec& spec, PlanContext& plan) {
  for (const auto& attr : spec.attrs) spec.Ignore(attr.first.c_str());
  plan.IgnoreInput(1);
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  if (x.count != y.count) Refuse("cannot view " + ToString(x.shape) + " as " + ToString(y.shape));
  Require(SameQuant(x, y), "input and output differ in type or quantization");
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<Reshape>(x.bytes());
}

}  // namespace bitlite
