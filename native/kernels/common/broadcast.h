// numpy's broadcasting of two operands to an output.
#pragma once

#include <vector>

#include "step.h"

namespace bitlite {

// The common index space with neighbouring dimensions merged where both operands allow it.
struct BroadcastSpace {
  std::vector<int64_t> extents, a_strides, b_strides;  // outermost first; the last one is the run
};

// Refuses shapes that do not broadcast to y's.
BroadcastSpace MergeBroadcast(const Shape& a, const Shape& b, const Shape& y);

}  // namespace bitlite
