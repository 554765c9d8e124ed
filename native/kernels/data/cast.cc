// cast: attrs dtype (y's type decides). Floats are cut towards zero, integers wrap, anything but 0
// is true.
#include <algorithm>
#include <cstring>

#include "step.h"

namespace bitlite {
namespace {

using CastFn = void (*)(const void* x, void* y, int64_t n);

// Through int64, so that values outside the target wrap; what int64 cannot hold becomes its lowest
// value, as the x86 conversion does.
template <typename From, typename To>
void CastRun(const void* from, void* to, int64_t n) {
  const From* x = static_cast<const From*>(from);
  To* y = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<To, bool>) {
      y[i] = x[i] != From(0);
    } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
      constexpr From kLimit = static_cast<From>(9223372036854775808.0);
      const bool fits = x[i] >= -kLimit && x[i] < kLimit;
      y[i] = static_cast<To>(fits ? static_cast<int64_t>(x[i]) : INT64_MIN);
    } else {
      y[i] = static_cast<To>(x[i]);
    }
  }
}

template <typename From>
CastFn CastTo(DType to) {
  switch (to) {
    case DType::kF32:
      return CastRun<From, float>;
    case DType::kF64:
      return CastRun<From, double>;
    case DType::kI8:
      return CastRun<From, int8_t>;
    case DType::kU8:
      return CastRun<From, uint8_t>;
    case DType::kI16:
      return CastRun<From, int16_t>;
    case DType::kI32:
      return CastRun<From, int32_t>;
    case DType::kI64:
      return CastRun<From, int64_t>;
    case DType::kBool:
      return CastRun<From, bool>;
    default:
      return nullptr;
  }
}

CastFn FindCast(DType from, DType to) {
  switch (from) {
    case DType::kF32:
      return CastTo<float>(to);
    case DType::kF64:
      return CastTo<double>(to);
    case DType::kI8:
      return CastTo<int8_t>(to);
    case DType::kU8:
      return CastTo<uint8_t>(to);
    case DType::kI16:
      return CastTo<int16_t>(to);
    case DType::kI32:
      return CastTo<int32_t>(to);
    case DType::kI64:
      return CastTo<int64_t>(to);
    case DType::kBool:
      return CastTo<bool>(to);
    default:
      return nullptr;
  }
}

constexpr int64_t kChunk = 4096;

class Cast final : public Step {
 public:
  Cast(CastFn fn, int64_t n, int64_t from_size, int64_t to_size)
      : fn_(fn), n_(n), from_size_(from_size), to_size_(to_size) {
    phases = {(n + kChunk - 1) / kChunk};
    cost_ns = static_cast<double>(n) * 0.5;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int64_t first = begin * kChunk, last = std::min(n_, end * kChunk);
    fn_(args.In<char>(0) + first * from_size_, args.Out<char>(0) + first * to_size_, last - first);
  }

 private:
  const CastFn fn_;
  const int64_t n_, from_size_, to_size_;
};

}  // namespace

std::unique_ptr<Step> MakeCast(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  spec.Ignore("dtype");
  Require(x.count == y.count, "input and output differ in shape");
  Require(!x.quantized() && !y.quantized(), "cast of quantized codes");
  const CastFn fn = FindCast(x.dtype, y.dtype);
  if (fn == nullptr) Refuse(std::string("cast from ") + NameOf(x.dtype) + " to " + NameOf(y.dtype));
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<Cast>(fn, x.count, static_cast<int64_t>(SizeOf(x.dtype)),
                                static_cast<int64_t>(SizeOf(y.dtype)));
}

}  // namespace bitlite
