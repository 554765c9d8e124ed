#include "rnn_constants.h"

#include <algorithm>

namespace bitlite {

RnnConstants PackDirection(const RnnLayer& layer, const PlanContext& plan, int64_t d,
                           const RnnSchedule& schedule) {
  const int64_t parts = schedule.parts, lane_rows = schedule.lane_rows;
  const int many = layer.gates();
  const int64_t rows = many * layer.hidden;
  const RnnGates all{layer.hidden, 0, many};
  std::vector<float> first(static_cast<size_t>(rows)), second(static_cast<size_t>(rows));
  if (plan.Has(3)) {
    const std::vector<float> bias = RealValues(plan.In(3));
    const float* at = bias.data() + d * 2 * rows;
    std::copy_n(at, rows, first.begin());
    std::copy_n(at + rows, rows, second.begin());
  }
  const bool gru = layer.cell == RnnCell::kGru || layer.cell == RnnCell::kGruLinear;
  if (!gru) {
    for (int64_t i = 0; i < rows; ++i) second[i] = first[i] + second[i];
  }
  RnnConstants c;
  c.input = RnnMatrix(plan, plan.In(1), d, all, InColumns(gru ? first.data() : nullptr, all),
                      layer.dynamic, schedule.chunk * lane_rows, 1);
  const RnnGates now{layer.hidden, 0, layer.two_stages() ? 2 : many};
  c.state = RnnMatrix(plan, plan.In(2), d, now, {}, layer.dynamic, lane_rows, parts);
  if (layer.two_stages()) {
    c.candidate =
        RnnMatrix(plan, plan.In(2), d, {layer.hidden, 2, 1}, {}, layer.dynamic, lane_rows, parts);
  }
  c.bias = InColumns(second.data(), all);
  if (plan.Has(7)) {
    const std::vector<float> values = RealValues(plan.In(7));
    c.peephole = InColumns(values.data() + d * 3 * layer.hidden, {layer.hidden, 0, 3});
  }
  return c;
}

}  // namespace bitlite
