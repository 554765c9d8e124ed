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

void ActBounds(const std::string& act, double* low, double* high) {
  const double inf = std::numeric_limits<double>::infinity();
  *low = -inf;
  *high = inf;
  if (act == "none") return;
  if (act == "relu" || act == "relu6" || act == "relu_0_to_1") *low = 0;
  if (act == "relu6") *high = 6;
  if (act == "relu_0_to_1") *high = 1;
  if (act == "relu_n1_to_1") {
    *low = -1;
    *high = 1;
  }
  if (*low == -inf) Refuse("activation " + act + " is not a clamp");
}

Range ActRange(const std::string& act, double scale, int32_t zero_point, DType dtype) {
  Range range;
  if (dtype == DType::kU8) range = {0, 255};
  if (dtype == DType::kI16) range = {-32768, 32767};
  double low, high;
  ActBounds(act, &low, &high);
  const double qmin = range.qmin, qmax = range.qmax;
  const auto code = [&](double real) {
    const double q = std::nearbyint(real / scale) + zero_point;
    return static_cast<int32_t>(std::min(std::max(q, qmin), qmax));
  };
  if (std::isfinite(low)) range.qmin = code(low);
  if (std::isfinite(high)) range.qmax = code(high);
  range.qmax = std::max(range.qmax, range.qmin);
  return range;
}

Range OutputRange(const StepSpec& spec, const TensorSpec& y) {
  Range range = ActRange(spec.Str("act", "none"), ScaleOf(y), ZeroPointOf(y), y.dtype);
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
  if (threads <= 1) return 1;
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
