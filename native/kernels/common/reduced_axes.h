// The axes that a reduction of codes goes over: neighbours, so that x is [outer, n, inner].
#pragma once

#include <string>

#include "step.h"

namespace bitlite {

struct ReducedAxes {
  std::string mode;  // mean sum max min
  int64_t outer = 1, n = 1, inner = 1;
};

// From the attributes mode, axes, keep_dims and noop_if_empty; refuses other modes, axes that are
// not neighbours, and an output of another size.
ReducedAxes ReducedAxesOf(const StepSpec& spec, const TensorSpec& x, const TensorSpec& y);

}  // namespace bitlite
