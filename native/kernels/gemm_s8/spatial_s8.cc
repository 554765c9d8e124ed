#include "spatial_s8.h"

#include "kernels/common/window.h"

namespace bitlite {

ConvGeometry ConvGeometryOf(const StepSpec& spec, const PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(x.dtype == DType::kI8 || x.dtype == DType::kF32, "input is not int8");
  Require(w.constant && (w.dtype == DType::kI8 || w.dtype == DType::kU8),
          "weights are not an int8 or uint8 constant");
  Require(w.rank() >= 3 && w.rank() == x.rank(), "weights do not have the input's rank");
  const Window window = ParseWindow(spec, x, y, Shape(w.shape.begin() + 1, w.shape.end() - 1));
  Require(window.in[0] == 1 && window.kernel[0] == 1 && window.out[0] == 1 && window.pad[0] == 0,
          "three spatial dimensions");
  ConvGeometry g;
  g.batch = window.batch;
  g.h = window.in[1];
  g.w = window.in[2];
  g.c = window.channels;
  g.oh = window.out[1];
  g.ow = window.out[2];
  g.o = y.shape.back();
  g.kh = window.kernel[1];
  g.kw = window.kernel[2];
  g.stride_h = window.stride[1];
  g.stride_w = window.stride[2];
  g.dilation_h = window.dilation[1];
  g.dilation_w = window.dilation[2];
  g.pad_top = window.pad[1];
  g.pad_left = window.pad[2];
  g.group = spec.Int("group", 1);
  Require(g.group >= 1 && g.c % g.group == 0 && g.o % g.group == 0,
          "channels are not divisible by group");
  Require(w.shape.front() == g.o && w.shape.back() * g.group == g.c,
          "shapes of input, weights and output do not fit");
  Require(g.kh >= 1 && g.kw >= 1 && g.c >= 1 && g.o >= 1, "empty kernel");
  return g;
}

}  // namespace bitlite
