// Layers that write their output run by run, and steps that compute each element from the one in
// the same place: such a step goes over a run while it is in cache.
#pragma once

#include <memory>

#include "step.h"

namespace bitlite {

struct Elements {
  int64_t first = 0, count = 0;
};

// A layer of one phase whose work items write whole pixels, one behind the other.
class RunsStep : public Step {
 public:
  bool writes_runs = false;  // set by the factory; else Written is not asked

  virtual Elements Written(int64_t item) const noexcept = 0;
};

class TailStep : public Step {
 public:
  // Set by the factory:
  int tail_operand = 0;  // the input whose elements are in the places of the output's
  int64_t tail_unit =
      0;  // RunElements takes whole multiples of so many elements; 0: there is none of it

  // These elements of output 0, which may lie on the operand.
  virtual void RunElements(const StepArgs& args, Elements elements) const noexcept = 0;
};

// What a layer may have as inputs in front of its tail's.
constexpr int kTailedInputs = 4;

// One step that runs `layer` and, on what each work item wrote, `tail`. Its inputs are those of the
// layer, kTailedInputs with absent ones, and those of the tail but for the operand.
std::unique_ptr<Step> MakeTailed(std::unique_ptr<Step> layer, std::unique_ptr<Step> tail);

}  // namespace bitlite
