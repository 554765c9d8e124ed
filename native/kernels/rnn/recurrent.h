// What a recurrent layer is, and the step that runs it.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "rnn_f32.h"
#include "step.h"

namespace bitlite {

enum class RnnCell { kLstm, kGru, kGruLinear, kRnn };

struct RnnLayer {
  RnnCell cell = RnnCell::kRnn;
  int64_t steps = 0, batch = 0, size = 0, hidden = 0, directions = 1;
  bool reverse = false;  // direction 0; direction 1 always is
  bool dynamic = false;
  float clip = std::numeric_limits<float>::infinity(),
        cell_clip = std::numeric_limits<float>::infinity();
  bool input_forget = false;
  std::vector<GateAct> acts;  // by direction

  int gates() const { return cell == RnnCell::kLstm ? 4 : cell == RnnCell::kRnn ? 1 : 3; }
  int acts_each() const { return cell == RnnCell::kLstm ? 3 : cell == RnnCell::kRnn ? 1 : 2; }
  bool two_stages() const { return cell == RnnCell::kGru; }
};

// The layer fits the tensors of the plan, which rnn.cc has checked; not for check_only.
std::unique_ptr<Step> NewRecurrent(const RnnLayer& layer, PlanContext& plan);

}  // namespace bitlite
