#include "requant_epilogue.h"

#include <cmath>
#include <cstring>

namespace bitlite {
namespace {

template <typename T>
std::vector<T> SliceOf(const std::vector<T>& v, int64_t begin, int64_t n) {
  if (v.size() < 2) return v;
  return std::vector<T>(v.begin() + begin, v.begin() + begin + n);
}

}  // namespace

RequantEpilogue RequantEpilogue::Slice(int64_t begin, int64_t n) const {
  RequantEpilogue part = *this;
  part.acc_scale = SliceOf(acc_scale, begin, n);
  part.weight_zero = SliceOf(weight_zero, begin, n);
  if (!bias.empty()) part.bias.assign(bias.begin() + begin, bias.begin() + begin + n);
  if (!bias_f32.empty()) {
    part.bias_f32.assign(bias_f32.begin() + begin, bias_f32.begin() + begin + n);
  }
  return part;
}

RequantEpilogue RequantEpilogueOf(const StepSpec& spec, PlanContext& plan, int64_t channels,
                                  int axis, int residual_input) {
  const TensorSpec& w = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  const bool dynamic = plan.In(0).dtype == DType::kF32;
  RequantEpilogue out;
  out.dtype = y.dtype;
  out.gemmlowp = RoundsAsGemmlowp(spec);

  Require(w.quantized(), "weights have no quantization");
  if (w.scale.size() > 1 && w.axis != axis) Refuse("weights are quantized along another axis");
  const double sx = dynamic ? 1.0 : ScaleOf(plan.In(0));
  if (!dynamic) ZeroPointOf(plan.In(0));
  for (double sw : w.scale) {
    if (!(sw > 0) || !std::isfinite(sw)) Refuse(w.name + ": scale is not positive");
    out.acc_scale.push_back(out.gemmlowp ? GemmlowpScale(sx, sw, 1) : sx * sw);
  }
  const int64_t shift = w.dtype == DType::kU8 ? 128 : 0;
  bool any = false;
  for (int64_t z : w.zero_point) any |= z != shift;
  if (w.zero_point.empty() && shift != 0) any = true;
  if (any) {
    for (size_t i = 0; i < w.scale.size(); ++i) {
      const int64_t z =
          (w.zero_point.empty() ? 0 : PerColumn(w.zero_point, static_cast<int64_t>(i))) - shift;
      if (z < -128 || z > 127) Refuse(w.name + ": zero point is not in the range of its type");
      out.weight_zero.push_back(static_cast<int32_t>(z));
    }
  }

  if (dynamic) RequireExactSums(w.count / channels, out.weight_zero.empty() ? 128 : 255);

  if (const TensorSpec* bias = plan.OptionalIn(2)) {
    if (!bias->constant || bias->count != channels)
      Refuse("bias is not a constant of one per channel");
    if (bias->dtype == DType::kI32 && !dynamic) {
      if (!plan.check_only) {
        out.bias.resize(channels);
        std::memcpy(out.bias.data(), bias->data, channels * sizeof(int32_t));
      }
    } else if (bias->dtype == DType::kF32 && y.dtype == DType::kF32) {
      if (!plan.check_only) {
        out.bias_f32.resize(channels);
        std::memcpy(out.bias_f32.data(), bias->data, channels * sizeof(float));
      }
    } else {
      Refuse(std::string("bias of type ") + NameOf(bias->dtype));
    }
  }

  if (y.dtype == DType::kF32) {
    const Clamp clamp = ClampOf(spec);
    out.fmin = static_cast<float>(clamp.low);
    out.fmax = static_cast<float>(clamp.high);
    Require(residual_input < 0 || !plan.Has(residual_input), "residual with float output");
    return out;
  }
  if (y.dtype != DType::kI8) Refuse(std::string("output of type ") + NameOf(y.dtype));
  if (residual_input < 0 || !plan.Has(residual_input)) {
    out.y_scale = ScaleOf(y);
    out.y_zero = ZeroPointOf(y);
    out.range = OutputRange(spec, y);
    return out;
  }
  const TensorSpec& r = plan.In(residual_input);
  Require(r.dtype == DType::kI8 && r.shape == y.shape, "residual differs from the output");
  out.residual = true;
  out.y_scale = spec.Float("mid_scale", 0);
  if (!(out.y_scale > 0) || !std::isfinite(out.y_scale)) Refuse("mid_scale is not positive");
  out.y_zero = static_cast<int32_t>(spec.Int("mid_zero_point", 0));
  Require(out.y_zero >= -128 && out.y_zero <= 127, "mid_zero_point is not int8");
  out.range = ClampedRange(ClampOf(spec), out.y_scale, out.y_zero, DType::kI8);
  const double sum_scale = ScaleOf(y);
  out.lhs_scale = static_cast<float>(out.y_scale / sum_scale);
  out.rhs_scale = static_cast<float>(ScaleOf(r) / sum_scale);
  out.r_zero = ZeroPointOf(r);
  out.sum_zero = ZeroPointOf(y);
  out.sum_range = ClampedRange(ClampOf(spec, "add_act"), sum_scale, out.sum_zero, DType::kI8);
  return out;
}

}  // namespace bitlite
