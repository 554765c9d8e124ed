#include "spatial_s8.h"

namespace bitlite {

ConvGeometry ConvGeometryOf(const StepSpec& spec, const PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(x.dtype == DType::kI8 || x.dtype == DType::kI16 || x.dtype == DType::kF32,
          "input is not int8 or int16");
  Require(w.constant && (w.dtype == DType::kI8 || w.dtype == DType::kU8 ||
                         (w.dtype == DType::kI16 && x.dtype == DType::kI16)),
          "weights are not an int8 or uint8 constant, or int16 with an int16 input");
  Require(w.rank() >= 3 && w.rank() == x.rank(), "weights do not have the input's rank");
  ConvGeometry g{ParseWindow(spec, x, y, Shape(w.shape.begin() + 1, w.shape.end() - 1))};
  Require(g.in[0] == 1 && g.kernel[0] == 1 && g.out[0] == 1 && g.pad[0] == 0,
          "three spatial dimensions");
  g.out_channels = y.shape.back();
  g.group = spec.Int("group", 1);
  Require(g.group >= 1 && g.channels % g.group == 0 && g.out_channels % g.group == 0,
          "channels are not divisible by group");
  Require(w.shape.front() == g.out_channels && w.shape.back() * g.group == g.channels,
          "shapes of input, weights and output do not fit");
  Require(g.taps() >= 1 && g.channels >= 1 && g.out_channels >= 1, "empty kernel");
  return g;
}

}  // namespace bitlite
