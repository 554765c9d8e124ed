#include "reduced_axes.h"

#include <algorithm>
#include <vector>

namespace bitlite {

ReducedAxes ReducedAxesOf(const StepSpec& spec, const TensorSpec& x, const TensorSpec& y) {
  ReducedAxes found;
  found.mode = spec.Str("mode", "mean");
  const bool known =
      found.mode == "mean" || found.mode == "sum" || found.mode == "max" || found.mode == "min";
  Require(known, "mode is not mean, sum, max, min");
  spec.Ignore("keep_dims");
  std::vector<int64_t> axes = spec.Ints("axes", {});
  const bool keep_all = spec.Bool("noop_if_empty", false);
  Require(!axes.empty() || !keep_all, "no axis is reduced");
  if (axes.empty()) {
    for (int d = 0; d < x.rank(); ++d) axes.push_back(d);
  }
  for (int64_t& a : axes) a += a < 0 ? x.rank() : 0;
  std::sort(axes.begin(), axes.end());
  for (int d = 0; d < x.rank(); ++d) {
    if (!axes.empty() && d >= axes.front() && d <= axes.back()) {
      // An axis of 1 between the others is as good as reduced.
      Require(std::binary_search(axes.begin(), axes.end(), d) || x.shape[d] == 1,
              "axes are not neighbours");
      found.n *= x.shape[d];
    } else {
      (axes.empty() || d < axes.front() ? found.outer : found.inner) *= x.shape[d];
    }
  }
  Require(y.count == found.outer * found.inner && found.n > 0, "the output's shape does not fit");
  return found;
}

}  // namespace bitlite
