// gather: x, indices (int32 or int64, any rank); attrs axis, batch_dims (0). Negative indices count
// from the end; one beyond the axis fails the run.
#include <cstring>
#include <string>

#include "step.h"

namespace bitlite {
namespace {

class Gather final : public Step {
 public:
  Gather(const std::string& name, int64_t outer, int64_t extent, int64_t indices, int64_t bytes,
         bool wide)
      : fault_(name + ": an index is beyond the " + std::to_string(extent) + " entries"),
        extent_(extent),
        indices_(indices),
        bytes_(bytes),
        wide_(wide) {
    phases = {outer * indices};
    cost_ns = static_cast<double>(phases[0]) * (5.0 + static_cast<double>(bytes) / 10.0);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t k = item % indices_, row = item / indices_;
      int64_t i = wide_ ? args.In<int64_t>(1)[k] : args.In<int32_t>(1)[k];
      if (i < 0) i += extent_;
      if (i < 0 || i >= extent_) {
        args.fault->store(fault_.c_str(), std::memory_order_relaxed);
        i = 0;
      }
      std::memcpy(args.Out<char>(0) + item * bytes_,
                  args.In<char>(0) + (row * extent_ + i) * bytes_, static_cast<size_t>(bytes_));
    }
  }

 private:
  const std::string fault_;
  const int64_t extent_, indices_, bytes_;
  const bool wide_;
};

}  // namespace

std::unique_ptr<Step> MakeGather(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& indices = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(SameQuant(x, y) && x.scale.size() < 2, "input and output differ in type or quantization");
  Require(indices.dtype == DType::kI32 || indices.dtype == DType::kI64,
          "indices are not int32 or int64");
  Require(spec.Int("batch_dims", 0) == 0, "batch_dims is not 0");
  spec.Ignore("rounding");  // entries are copied
  int64_t axis = spec.Int("axis", 0);
  if (axis < 0) axis += x.rank();
  Require(axis >= 0 && axis < x.rank(), "axis is out of range");
  int64_t outer = 1, inner = static_cast<int64_t>(SizeOf(x.dtype));
  for (int d = 0; d < x.rank(); ++d) {
    if (d < axis) outer *= x.shape[d];
    if (d > axis) inner *= x.shape[d];
  }
  const int64_t extent = x.shape[axis];
  Require(extent > 0, "an empty axis");
  Require(y.count * static_cast<int64_t>(SizeOf(x.dtype)) == outer * indices.count * inner,
          "output shape does not follow");
  if (x.constant) plan.KeepConstant(0);
  if (indices.constant) plan.KeepConstant(1);
  if (plan.check_only) return nullptr;
  return std::make_unique<Gather>(spec.name, outer, extent, indices.count, inner,
                                  indices.dtype == DType::kI64);
}

}  // namespace bitlite
