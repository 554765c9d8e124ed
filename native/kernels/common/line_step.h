// Steps that can work line by line, and chains of them: expansion, depthwise convolution and
// projection run band by band, so that what lies between them never leaves the cache.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "step.h"

namespace bitlite {

// A line is all columns and channels of one (batch, row) of a channels-last float32 image, numbered
// through the batch.
class LineStep : public Step {
 public:
  struct Range {
    int64_t first, last;
  };

  // All set by the factory:
  int64_t lines = 0;        // of the output; 0: this step does not work by lines
  int64_t line_floats = 0;  // of an output line
  size_t weight_bytes = 0;
  bool can_follow = false;  // RunFrom works
  size_t line_scratch = 0;  // bytes for either call
  bool can_spread = false;  // SpreadRows works

  // From now on Run writes rows of channels that lie this many floats apart.
  virtual void SpreadRows(int64_t) {}

  // Lines of the input that a line of the output reads; neither bound falls as the line grows.
  virtual Range Needs(int64_t line) const = 0;
  // One output line from the whole input.
  virtual void RunLine(const float* x, int64_t line, float* y, const float* residual,
                       uint8_t* scratch) const noexcept = 0;
  // The same from the lines that it needs: in[i] is line Needs(line).first + i.
  virtual void RunFrom(const float* const* in, int64_t line, float* y, const float* residual,
                       uint8_t* scratch) const noexcept = 0;
};

// One step that runs `stages` line by line: input 0 is the first stage's, input 1 the last one's
// residual (may be absent). Its results have the bits of the stages run one by one.
std::unique_ptr<Step> MakeChain(std::vector<std::unique_ptr<Step>> stages, int threads);

// One step that runs `stages` one after another, each writing its columns of the rows of one
// output, from columns[i] on. Its inputs are theirs, kJoinedInputs for each.
constexpr int kJoinedInputs = 4;
std::unique_ptr<Step> MakeJoined(std::vector<std::unique_ptr<Step>> stages,
                                 std::vector<int64_t> columns);

// Whether a chain of these would gain: what lies between does not fit into the cache, and the
// weights do.
bool ChainGains(const std::vector<const LineStep*>& stages);

}  // namespace bitlite
