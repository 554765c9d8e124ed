#include "window.h"

namespace bitlite {

bool Window::pointwise() const {
  for (int d = 0; d < 3; ++d) {
    if (kernel[d] != 1 || stride[d] != 1 || pad[d] != 0 || in[d] != out[d]) return false;
  }
  return true;
}

Window ParseWindow(const StepSpec& spec, const TensorSpec& x, const TensorSpec& y,
                   const std::vector<int64_t>& kernel) {
  const int rank = x.rank() - 2;
  if (rank < 1 || rank > 3) Refuse("input of shape " + ToString(x.shape) + ": 1 to 3 spatial axes");
  const size_t r = static_cast<size_t>(rank);
  Require(y.rank() == x.rank(), "input and output differ in rank");
  Require(kernel.size() == r, "kernel does not have one extent per spatial axis");
  const auto stride = spec.Ints("stride", std::vector<int64_t>(r, 1));
  const auto dilation = spec.Ints("dilation", std::vector<int64_t>(r, 1));
  const auto pad = spec.Ints("pad", std::vector<int64_t>(2 * r, 0));
  const bool ceil_mode = spec.Bool("ceil_mode", false);
  spec.Ignore("pad_mode");
  Require(stride.size() == r, "stride does not have one value per spatial axis");
  Require(dilation.size() == r, "dilation does not have one value per spatial axis");
  Require(pad.size() == 2 * r, "pad does not have two values per spatial axis");

  Window w;
  w.batch = x.shape[0];
  w.channels = x.shape.back();
  Require(y.shape[0] == w.batch, "input and output differ in batch");
  constexpr int64_t kMax = int64_t{1} << 30;
  for (int d = 0; d < rank; ++d) {
    const size_t to = static_cast<size_t>(d + 3 - rank);
    const size_t from = static_cast<size_t>(d);
    w.in[to] = x.shape[d + 1];
    w.out[to] = y.shape[d + 1];
    w.kernel[to] = kernel[from];
    w.stride[to] = stride[from];
    w.dilation[to] = dilation[from];
    w.pad[to] = pad[2 * from];
    const int64_t pad_end = pad[2 * from + 1];
    if (kernel[from] < 1 || stride[from] < 1 || dilation[from] < 1 || kernel[from] > kMax ||
        stride[from] > kMax || dilation[from] > kMax || pad[2 * from] < 0 || pad_end < 0 ||
        pad[2 * from] > kMax || pad_end > kMax || w.in[to] > kMax) {
      Refuse("kernel, stride and dilation must be positive and pads not negative");
    }
    const int64_t span =
        w.in[to] + pad[2 * from] + pad_end - ((kernel[from] - 1) * dilation[from] + 1);
    if (span < 0 && w.out[to] != 0) Refuse("the kernel is larger than the padded input");
    const int64_t floor_extent = span < 0 ? 0 : span / stride[from] + 1;
    const int64_t ceil_extent = span < 0 ? 0 : (span + stride[from] - 1) / stride[from] + 1;
    const bool fits = w.out[to] == floor_extent || (ceil_mode && w.out[to] == ceil_extent);
    if (!fits) {
      Refuse("output shape " + ToString(y.shape) +
             " does not follow from stride, dilation and pad (" + std::to_string(floor_extent) +
             " expected on axis " + std::to_string(d + 1) + ")");
    }
  }
  return w;
}

}  // namespace bitlite
