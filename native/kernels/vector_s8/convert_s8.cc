// quantize (float32 to int8, uint8 or int16; integer codes to others) and dequantize (integer to
// float32).
//   quantize    clamp(rne(float32(x * float32(1/s))) + z), NaN: z
//               from codes: clamp(rne(float32(x - zx) * float32(sx/sy)) + zy), equal parameters:
//               copied
//   dequantize  float32(q - z) * float32(s)
//   attrs       quantize: dtype (must be the output's) act qmin qmax rounding (float to int8)
#include <algorithm>
#include <limits>

#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int64_t kRun = 8192;

class Elementwise : public Step {
 public:
  Elementwise(int64_t count, double ns_per_element) : count_(count) {
    phases = {CeilDiv(count, kRun)};
    cost_ns = static_cast<double>(count) * ns_per_element;
  }
  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept final {
    const int64_t first = begin * kRun, last = std::min(count_, end * kRun);
    if (first < last) Convert(args, first, last - first);
  }

 private:
  virtual void Convert(const StepArgs& args, int64_t at, int64_t n) const noexcept = 0;
  const int64_t count_;
};

class QuantizeS8 final : public Elementwise {
 public:
  QuantizeS8(int64_t count, IsaMask isa, float inverse, bool fused, OutputCodesS8 out)
      : Elementwise(count, 0.1),
        kernel_(SelectKernel<vector_s8>(isa).fn()),
        inverse_(inverse),
        fused_(fused),
        out_(out) {}

 private:
  void Convert(const StepArgs& args, int64_t at, int64_t n) const noexcept override {
    const auto quantize = fused_ ? kernel_.quantize_fused : kernel_.quantize;
    quantize(args.In<float>(0) + at, args.Out<int8_t>(0) + at, n, inverse_, out_);
  }
  const VectorS8Kernel& kernel_;
  const float inverse_;
  const bool fused_;
  const OutputCodesS8 out_;
};

class RequantizeS8 final : public Elementwise {
 public:
  RequantizeS8(int64_t count, IsaMask isa, int32_t x_zero, float m, bool copy, OutputCodesS8 out)
      : Elementwise(count, 0.05),
        kernel_(SelectKernel<vector_s8>(isa).fn()),
        x_zero_(x_zero),
        m_(m),
        copy_(copy),
        out_(out) {
    in_place = 1;
  }

 private:
  void Convert(const StepArgs& args, int64_t at, int64_t n) const noexcept override {
    const int8_t* x = args.In<int8_t>(0) + at;
    int8_t* y = args.Out<int8_t>(0) + at;
    if (copy_) {
      kernel_.clamp(x, y, n, out_.qmin, out_.qmax);
    } else {
      kernel_.requantize(x, y, n, x_zero_, m_, out_);
    }
  }
  const VectorS8Kernel& kernel_;
  const int32_t x_zero_;
  const float m_;
  const bool copy_;
  const OutputCodesS8 out_;
};

class DequantizeS8 final : public Elementwise {
 public:
  DequantizeS8(int64_t count, IsaMask isa, int32_t zero_point, float scale)
      : Elementwise(count, 0.1),
        kernel_(SelectKernel<vector_s8>(isa).fn()),
        zero_point_(zero_point),
        scale_(scale) {}

 private:
  void Convert(const StepArgs& args, int64_t at, int64_t n) const noexcept override {
    kernel_.dequantize(args.In<int8_t>(0) + at, args.Out<float>(0) + at, n, zero_point_, scale_);
  }
  const VectorS8Kernel& kernel_;
  const int32_t zero_point_;
  const float scale_;
};

// int16 with the zero point 0, from and to float32 and itself.
template <typename X, typename Y>
class ConvertS16 final : public Elementwise {
 public:
  ConvertS16(int64_t count, IsaMask isa, float m, Range range)
      : Elementwise(count, 0.15),
        kernel_(SelectKernel<vector_s16>(isa).fn()),
        m_(m),
        clamp_{static_cast<float>(range.qmin), static_cast<float>(range.qmax)} {}

 private:
  void Convert(const StepArgs& args, int64_t at, int64_t n) const noexcept override {
    if constexpr (std::is_same_v<X, float>) {
      kernel_.quantize(args.In<float>(0) + at, args.Out<int16_t>(0) + at, n, m_, clamp_);
    } else if constexpr (std::is_same_v<Y, float>) {
      kernel_.dequantize(args.In<int16_t>(0) + at, args.Out<float>(0) + at, n, m_);
    } else {
      kernel_.requantize(args.In<int16_t>(0) + at, args.Out<int16_t>(0) + at, n, m_, clamp_);
    }
  }
  const VectorS16Kernel& kernel_;
  const float m_;
  const ClampS16 clamp_;
};

// Types other than int8, at the borders of a graph.
template <typename X, typename Y>
class ConvertCodes final : public Elementwise {
 public:
  ConvertCodes(int64_t count, int32_t x_zero, float m, int32_t y_zero, Range range)
      : Elementwise(count, 1), x_zero_(x_zero), m_(m), y_zero_(y_zero), range_(range) {}

 private:
  void Convert(const StepArgs& args, int64_t at, int64_t n) const noexcept override {
    const X* x = args.In<X>(0) + at;
    Y* y = args.Out<Y>(0) + at;
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (std::is_same_v<Y, float>) {
        y[i] = static_cast<float>(static_cast<int64_t>(x[i]) - x_zero_) * m_;
      } else if constexpr (std::is_same_v<X, float>) {
        const float v = x[i] * m_;
        y[i] = static_cast<Y>(RoundClamp(v == v ? v : 0.0f, y_zero_, range_.qmin, range_.qmax));
      } else {
        const float v = static_cast<float>(static_cast<int32_t>(x[i]) - x_zero_) * m_;
        y[i] = static_cast<Y>(RoundClamp(v, y_zero_, range_.qmin, range_.qmax));
      }
    }
  }
  const int32_t x_zero_;
  const float m_;
  const int32_t y_zero_;
  const Range range_;
};

template <typename X>
std::unique_ptr<Step> MakeFrom(DType y, int64_t n, int32_t x_zero, float m, int32_t y_zero,
                               Range range) {
  switch (y) {
    case DType::kI8:
      return std::make_unique<ConvertCodes<X, int8_t>>(n, x_zero, m, y_zero, range);
    case DType::kU8:
      return std::make_unique<ConvertCodes<X, uint8_t>>(n, x_zero, m, y_zero, range);
    case DType::kI16:
      return std::make_unique<ConvertCodes<X, int16_t>>(n, x_zero, m, y_zero, range);
    default:
      Refuse(std::string("quantization to ") + NameOf(y));
  }
}

void RequireSameCount(const TensorSpec& x, const TensorSpec& y) {
  Require(x.count == y.count, "input and output differ in shape");
}

}  // namespace

std::unique_ptr<Step> MakeQuantize(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  RequireSameCount(x, y);
  if (spec.Has("dtype") && spec.Str("dtype", "") != NameOf(y.dtype)) {
    Refuse("dtype is not the output's");
  }
  Require(y.dtype == DType::kI8 || y.dtype == DType::kU8 || y.dtype == DType::kI16,
          "output is not int8, uint8 or int16");
  const Range range = OutputRange(spec, y);
  const OutputCodesS8 out = {ZeroPointOf(y), range.qmin, range.qmax};
  const bool gemmlowp = RoundsAsGemmlowp(spec);
  if (x.constant) plan.KeepConstant(0);
  if (x.dtype == DType::kF32) {
    if (plan.check_only) return nullptr;
    const bool fused = gemmlowp && y.dtype == DType::kI8;
    const float inverse =
        fused ? 1.0f / static_cast<float>(ScaleOf(y)) : static_cast<float>(1.0 / ScaleOf(y));
    if (y.dtype == DType::kI8) {
      return std::make_unique<QuantizeS8>(x.count, plan.isa, inverse, fused, out);
    }
    if (y.dtype == DType::kI16 && out.zero_point == 0) {
      return std::make_unique<ConvertS16<float, int16_t>>(x.count, plan.isa, inverse, range);
    }
    return MakeFrom<float>(y.dtype, x.count, 0, inverse, out.zero_point, range);
  }
  const double scale = ScaleOf(x) / ScaleOf(y);
  const int32_t x_zero = ZeroPointOf(x);
  const bool byte = x.dtype == DType::kI8 || x.dtype == DType::kU8;
  Require(byte || x.dtype == DType::kI16, "input is not float32, int8, uint8 or int16");
  if (plan.check_only) return nullptr;
  const float m = static_cast<float>(scale);
  if (x.dtype == DType::kI8 && y.dtype == DType::kI8) {
    return std::make_unique<RequantizeS8>(x.count, plan.isa, x_zero, m, SameQuant(x, y), out);
  }
  if (x.dtype == DType::kI8) {
    return MakeFrom<int8_t>(y.dtype, x.count, x_zero, m, out.zero_point, range);
  }
  if (x.dtype == DType::kU8) {
    return MakeFrom<uint8_t>(y.dtype, x.count, x_zero, m, out.zero_point, range);
  }
  if (y.dtype == DType::kI16 && x_zero == 0 && out.zero_point == 0) {
    return std::make_unique<ConvertS16<int16_t, int16_t>>(x.count, plan.isa, m, range);
  }
  return MakeFrom<int16_t>(y.dtype, x.count, x_zero, m, out.zero_point, range);
}

std::unique_ptr<Step> MakeDequantize(const StepSpec&, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  RequireSameCount(x, y);
  Require(y.dtype == DType::kF32, "output is not float32");
  const float scale = static_cast<float>(ScaleOf(x));
  if (x.constant) plan.KeepConstant(0);
  switch (x.dtype) {
    case DType::kI8: {
      const int32_t zero_point = ZeroPointOf(x);
      if (plan.check_only) return nullptr;
      return std::make_unique<DequantizeS8>(x.count, plan.isa, zero_point, scale);
    }
    case DType::kU8: {
      const int32_t zero_point = ZeroPointOf(x);
      if (plan.check_only) return nullptr;
      return std::make_unique<ConvertCodes<uint8_t, float>>(x.count, zero_point, scale, 0, Range{});
    }
    case DType::kI16: {
      const int32_t zero_point = ZeroPointOf(x);
      if (plan.check_only) return nullptr;
      if (zero_point == 0) {
        return std::make_unique<ConvertS16<int16_t, float>>(x.count, plan.isa, scale, Range{});
      }
      return std::make_unique<ConvertCodes<int16_t, float>>(x.count, zero_point, scale, 0, Range{});
    }
    case DType::kI32: {
      Require(x.zero_point.empty() || x.zero_point[0] == 0, "zero point of int32");
      if (plan.check_only) return nullptr;
      return std::make_unique<ConvertCodes<int32_t, float>>(x.count, 0, scale, 0, Range{});
    }
    default:
      Refuse(std::string("input of type ") + NameOf(x.dtype));
  }
}

}  // namespace bitlite
