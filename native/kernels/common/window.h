// The geometry of convolutions and pools: 1 to 3 spatial axes, normalized to three.
#pragma once

#include <array>

#include "step.h"

namespace bitlite {

// Where the axes of a 2-D window stand; a 1-D one has height 1.
constexpr int kAxisH = 1, kAxisW = 2;

struct Window {
  int64_t batch = 1, channels = 1;  // of the input
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1};
  std::array<int64_t, 3> stride{1, 1, 1}, dilation{1, 1, 1}, pad{0, 0, 0};  // pad: before the first

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t in_positions() const { return in[0] * in[1] * in[2]; }
  int64_t out_positions() const { return out[0] * out[1] * out[2]; }
  // Every output is one input position: no padding, kernel and strides of 1.
  bool pointwise() const;
};

// Reads stride, dilation, pad (and ceil_mode) and checks the shapes of x [N,*S,C] and y [N,*S',C']
// against them; throws std::invalid_argument. pad_mode is ignored: pads come resolved.
Window ParseWindow(const StepSpec& spec, const TensorSpec& x, const TensorSpec& y,
                   const std::vector<int64_t>& kernel);

// Input index range of a kernel axis: taps [first, last) of the window at `start` lie inside the
// input.
struct TapRange {
  int64_t first, last;
};
inline TapRange InsideTaps(int64_t start, int64_t kernel, int64_t dilation, int64_t extent) {
  const int64_t first = start < 0 ? (-start + dilation - 1) / dilation : 0;
  const int64_t room = extent - start;
  int64_t last = room <= 0 ? 0 : (room + dilation - 1) / dilation;
  if (last > kernel) last = kernel;
  return {first, last < first ? first : last};
}

}  // namespace bitlite
