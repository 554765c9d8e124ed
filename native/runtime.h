// A program: steps over tensors, planned once, run many times and by several threads at once.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "step.h"

namespace bitlite {

class Program {
 public:
  // Validates everything; throws std::invalid_argument naming the step or tensor and the reason.
  // threads: the most that one run may use, >= 1.
  Program(std::vector<TensorSpec> tensors, std::vector<StepSpec> steps, std::vector<int> inputs,
          std::vector<int> outputs, int threads, IsaMask isa);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Asked on the calling thread every few milliseconds of a long run; true ends the run.
  using Stop = bool (*)();

  // Pointers to C-contiguous memory of the inputs' and outputs' shapes and types; outputs must not
  // overlap inputs or each other. step_ns, when given, receives the time of every step. False when
  // `stop` ended the run: outputs and times are then unfinished.
  bool Run(const void* const* inputs, void* const* outputs, int64_t* step_ns = nullptr,
           Stop stop = nullptr) const;

  const TensorSpec& input(size_t i) const { return tensors_[inputs_[i]]; }
  const TensorSpec& output(size_t i) const { return tensors_[outputs_[i]]; }
  size_t inputs() const { return inputs_.size(); }
  size_t outputs() const { return outputs_.size(); }
  const std::vector<StepSpec>& steps() const { return specs_; }

  size_t arena_bytes() const { return arena_bytes_; }
  size_t arena_lower_bound() const { return arena_lower_bound_; }
  size_t constant_bytes() const { return constant_bytes_; }
  IsaMask isa() const { return isa_; }

 private:
  // Where a tensor's bytes are.
  enum class Home { kNone, kConstant, kInput, kOutput, kArena };
  struct Place {
    Home home = Home::kNone;
    int index = 0;      // of the graph input or output
    size_t offset = 0;  // in the arena
  };
  struct Planned {
    std::unique_ptr<Step> step;
    bool nothing_to_do = false;       // a view in its input's memory, or all outputs are empty
    int first_in = 0, first_out = 0;  // in Context::in and Context::out
    size_t scratch = 0, thread_scratch = 0, thread_stride = 0;  // arena offsets
  };
  struct Patch {
    int slot;   // in Context::in or Context::out
    int index;  // of the graph input or output
  };
  struct Copy {
    int from, to;  // tensor, graph output
  };
  struct Context;

  void Validate() const;
  void BuildSteps();
  void PlanMemory();
  std::unique_ptr<Context> MakeContext() const;
  const void* Address(int tensor, const Context& c, const void* const* inputs,
                      void* const* outputs) const;
  bool RunSteps(const Context& context, int threads, int64_t* step_ns, Stop stop) const;

  std::vector<TensorSpec> tensors_;
  std::vector<StepSpec> specs_;
  std::vector<int> inputs_, outputs_;
  const int threads_;
  const IsaMask isa_;

  std::vector<Planned> steps_;
  std::vector<Place> places_;
  std::vector<Patch> in_from_input_, in_from_output_, out_to_output_, out_to_input_;
  std::vector<Copy> copies_;
  int in_slots_ = 0, out_slots_ = 0;
  size_t arena_bytes_ = 0, arena_lower_bound_ = 0, constant_bytes_ = 0;

  // The first context is taken without a lock; the rest only when calls run at the same time.
  std::unique_ptr<Context> first_;
  mutable std::atomic<bool> first_taken_{false};
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Context>> spare_;
};

// Why the step cannot be taken natively, or "" when it can. Only the tensors that the step refers
// to are looked at.
std::string CheckStep(const std::vector<const TensorSpec*>& tensors, const StepSpec& spec,
                      IsaMask isa);

}  // namespace bitlite
