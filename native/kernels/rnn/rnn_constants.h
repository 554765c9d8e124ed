// The constants of one direction of a recurrent layer, in the order of its blocks.
#pragma once

#include "recurrent.h"
#include "rnn_matrix.h"
#include "rnn_schedule.h"

namespace bitlite {

struct RnnConstants {
  RnnMatrix input, state, candidate;  // candidate: of the second stage
  Aligned<float> bias, peephole;      // bias: that added after both products
};

// From the inputs w, r, bias and peepholes of a step.
RnnConstants PackDirection(const RnnLayer& layer, const PlanContext& plan, int64_t d,
                           const RnnSchedule& schedule);

}  // namespace bitlite
