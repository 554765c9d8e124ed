#include <algorithm>

#include "line_step.h"

namespace bitlite {
namespace {

constexpr int kMaxNeeded = 64;  // lines of one window

size_t RoundUp(size_t n) { return (n + 63) / 64 * 64; }

class Chain final : public Step {
 public:
  Chain(std::vector<std::unique_ptr<Step>> stages, int threads) : owned_(std::move(stages)) {
    size_t offset = 0;
    for (const auto& step : owned_) {
      Stage stage;
      stage.step = static_cast<const LineStep*>(step.get());
      cost_ns += step->cost_ns;
      offset = std::max(offset, RoundUp(stage.step->line_scratch));
      stages_.push_back(stage);
    }
    for (size_t i = 0; i + 1 < stages_.size(); ++i) {
      const LineStep& next = *stages_[i + 1].step;
      for (int64_t line = 0; line < next.lines; ++line) {
        const LineStep::Range range = next.Needs(line);
        stages_[i].ring = std::max(stages_[i].ring, range.last - range.first);
      }
      stages_[i].offset = offset;
      offset += RoundUp(static_cast<size_t>(stages_[i].ring * stages_[i].step->line_floats) *
                        sizeof(float));
    }
    thread_scratch = offset;
    const int64_t lines = stages_.back().step->lines;
    phases = {lines};
    // Every part computes the lines that its first window shares with the part before: few, large
    // parts.
    grain = std::max<int64_t>(1, lines / (2 * threads));
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    int64_t done[kMaxStages] =
        {};  // lines of each stage before this one are computed or not needed
    const LineStep& last = *stages_.back().step;
    for (int64_t line = begin; line < end; ++line) {
      const float* residual = args.In<float>(1);
      if (residual != nullptr) residual += line * last.line_floats;
      Compute(args, stages_.size() - 1, line, args.Out<float>(0) + line * last.line_floats,
              residual, done);
    }
  }

  static constexpr size_t kMaxStages = 4;

 private:
  struct Stage {
    const LineStep* step = nullptr;
    int64_t ring = 0;   // lines kept for the next stage
    size_t offset = 0;  // of the ring in thread_scratch
  };

  float* Slot(const StepArgs& args, size_t stage, int64_t line) const {
    const Stage& s = stages_[stage];
    return reinterpret_cast<float*>(args.thread_scratch + s.offset) +
           line % s.ring * s.step->line_floats;
  }

  void Compute(const StepArgs& args, size_t stage, int64_t line, float* y, const float* residual,
               int64_t* done) const {
    const LineStep& step = *stages_[stage].step;
    if (stage == 0) {
      step.RunLine(args.In<float>(0), line, y, residual, args.thread_scratch);
      return;
    }
    const LineStep::Range needs = step.Needs(line);
    const float* in[kMaxNeeded];
    int64_t& next = done[stage - 1];
    for (next = std::max(next, needs.first); next < needs.last; ++next) {
      Compute(args, stage - 1, next, Slot(args, stage - 1, next), nullptr, done);
    }
    for (int64_t i = needs.first; i < needs.last; ++i)
      in[i - needs.first] = Slot(args, stage - 1, i);
    step.RunFrom(in, line, y, residual, args.thread_scratch);
  }

  const std::vector<std::unique_ptr<Step>> owned_;
  std::vector<Stage> stages_;
};

class Joined final : public Step {
 public:
  Joined(std::vector<std::unique_ptr<Step>> stages, std::vector<int64_t> columns)
      : stages_(std::move(stages)), columns_(std::move(columns)) {
    phases.clear();
    for (size_t i = 0; i < stages_.size(); ++i) {
      const Step& step = *stages_[i];
      for (size_t k = 0; k < step.phases.size(); ++k) {
        phases.push_back(step.phases[k]);
        parts_.push_back({i, static_cast<int>(k)});
      }
      cost_ns = std::max(cost_ns, step.cost_ns);
      scratch = std::max(scratch, step.scratch);
      thread_scratch = std::max(thread_scratch, step.thread_scratch);
    }
  }

  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override {
    const Part part = parts_[static_cast<size_t>(phase)];
    void* out = args.Out<float>(0) + columns_[part.stage];
    const StepArgs own = {args.in + part.stage * kJoinedInputs, &out, args.scratch,
                          args.thread_scratch, args.fault};
    stages_[part.stage]->Run(own, part.phase, begin, end);
  }

 private:
  struct Part {
    size_t stage;
    int phase;
  };
  const std::vector<std::unique_ptr<Step>> stages_;
  const std::vector<int64_t> columns_;
  std::vector<Part> parts_;  // by phase of this step
};

}  // namespace

std::unique_ptr<Step> MakeJoined(std::vector<std::unique_ptr<Step>> stages,
                                 std::vector<int64_t> columns) {
  return std::make_unique<Joined>(std::move(stages), std::move(columns));
}

std::unique_ptr<Step> MakeChain(std::vector<std::unique_ptr<Step>> stages, int threads) {
  return std::make_unique<Chain>(std::move(stages), threads);
}

bool ChainGains(const std::vector<const LineStep*>& stages) {
  // Of a core's L2: what the stages hand over one by one, and what a chain keeps at hand.
  constexpr size_t kTooLarge = size_t{768} << 10, kFits = size_t{384} << 10;
  if (stages.size() < 2 || stages.size() > Chain::kMaxStages) return false;
  size_t between = 0, kept = 0;
  for (size_t i = 0; i < stages.size(); ++i) {
    kept += stages[i]->weight_bytes;
    if (i + 1 == stages.size()) break;
    between += static_cast<size_t>(stages[i]->lines * stages[i]->line_floats) * sizeof(float);
    const LineStep& next = *stages[i + 1];
    int64_t ring = 0;
    for (int64_t line = 0; line < next.lines; ++line) {
      const LineStep::Range range = next.Needs(line);
      ring = std::max(ring, range.last - range.first);
    }
    if (ring > kMaxNeeded || ring == 0) return false;
    kept += static_cast<size_t>(ring * stages[i]->line_floats) * sizeof(float);
  }
  return between > kTooLarge && kept <= kFits;
}

}  // namespace bitlite
