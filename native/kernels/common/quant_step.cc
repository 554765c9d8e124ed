#include "quant_step.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bitlite {

double ScaleOf(const TensorSpec& t) {
  if (t.scale.size() != 1) Refuse(t.name + " is not quantized per tensor");
  if (!(t.scale[0] > 0) || !std::isfinite(t.scale[0])) Refuse(t.name + ": scale is not positive");
  return t.scale[0];
}

int32_t ZeroPointOf(const TensorSpec& t) {
  ScaleOf(t);
  const int64_t z = t.zero_point.empty() ? 0 : t.zero_point[0];
  const int64_t low = t.dtype == DType::kI8 ? -128 : t.dtype == DType::kI16 ? -32768 : 0;
  const int64_t high = t.dtype == DType::kI8    ? 127
                       : t.dtype == DType::kU8  ? 255
                       : t.dtype == DType::kI16 ? 32767
                                                : 65535;
  if (z < low || z > high) {
    Refuse(t.name + ": zero point " + std::to_string(z) + " is not in the range of its type");
  }
  return static_cast<int32_t>(z);
}

Clamp ClampOf(const StepSpec& spec, const std::string& act) {
  Clamp clamp;
  const std::string name = spec.Str(act.c_str(), "none");
  if (name == "none") return clamp;
  if (name != "clip") Refuse("activation " + name + " is not a clamp");
  clamp.low = spec.Float((act + "_min").c_str(), clamp.low);
  clamp.high = spec.Float((act + "_max").c_str(), clamp.high);
  return clamp;
}

Range ClampedRange(const Clamp& clamp, double scale, int32_t zero_point, DType dtype) {
  Range range;
  if (dtype == DType::kU8) range = {0, 255};
  if (dtype == DType::kI16) range = {-32768, 32767};
  const double qmin = range.qmin, qmax = range.qmax;
  const auto code = [&](double real) {
    const double q = std::nearbyint(real / scale) + zero_point;
    return static_cast<int32_t>(std::min(std::max(q, qmin), qmax));
  };
  if (std::isfinite(clamp.low)) range.qmin = code(clamp.low);
  if (std::isfinite(clamp.high)) range.qmax = code(clamp.high);
  range.qmax = std::max(range.qmax, range.qmin);
  return range;
}

Range OutputRange(const StepSpec& spec, const TensorSpec& y) {
  Range range = ClampedRange(ClampOf(spec), ScaleOf(y), ZeroPointOf(y), y.dtype);
  const int64_t qmin = spec.Int("qmin", range.qmin), qmax = spec.Int("qmax", range.qmax);
  range.qmin = static_cast<int32_t>(std::max<int64_t>(range.qmin, qmin));
  range.qmax = static_cast<int32_t>(std::min<int64_t>(range.qmax, qmax));
  Require(range.qmin <= range.qmax, "qmin and qmax leave no code");
  return range;
}

bool RoundsAsGemmlowp(const StepSpec& spec) {
  const std::string rounding = spec.Str("rounding", "rne_f32");
  if (rounding != "rne_f32" && rounding != "gemmlowp") {
    Refuse("rounding=" + rounding + " is not rne_f32 or gemmlowp");
  }
  return rounding == "gemmlowp";
}

int64_t ItemsWanted(double cost_ns, int threads) {
  constexpr double kItemNs = 4000, kMostPerThread = 4;
  if (threads <= 1 || cost_ns < kMinParallelNs) return 1;
  const double each = std::clamp(cost_ns / threads / kItemNs, 1.0, kMostPerThread);
  return threads * static_cast<int64_t>(each);
}

void RequireExactSums(int64_t k, int64_t widest) {
  constexpr int64_t kWidestCode = 255;
  if (k > std::numeric_limits<int32_t>::max() / (kWidestCode * widest)) {
    Refuse("sums of " + std::to_string(k) + " products may not fit into 32 bits");
  }
}

}  // namespace bitlite
