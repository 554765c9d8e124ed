#include "runtime.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "fuse.h"
#include "thread_pool.h"

namespace bitlite {
namespace {

// A part of less than this is not worth its own claim.
constexpr double kMinPartNs = 1000;

// Work between two questions whether to stop: a person does not wait for it, and asking is free
// beside it.
constexpr double kStopNs = 10e6;

void CheckIndex(int index, size_t count, const std::string& what) {
  if (index < 0 || static_cast<size_t>(index) >= count) {
    Refuse(what + ": tensor index " + std::to_string(index) + " is not in 0.." +
           std::to_string(static_cast<int64_t>(count) - 1));
  }
}

void CheckTensor(const TensorSpec& t) {
  if (t.scale.size() > 1) {
    if (t.axis < 0 || t.axis >= t.rank()) Refuse(t.name + ": several scales need an axis");
    if (static_cast<int64_t>(t.scale.size()) != t.shape[t.axis]) {
      Refuse(t.name + ": " + std::to_string(t.scale.size()) + " scales for an axis of " +
             std::to_string(t.shape[t.axis]));
    }
  }
  if (t.zero_point.size() > 1 && t.zero_point.size() != t.scale.size()) {
    Refuse(t.name + ": scales and zero points differ in number");
  }
}

std::string Where(const StepSpec& spec) { return spec.name + " (" + spec.op + "): "; }

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

struct Program::Context {
  // A step's phase, as a thread needs it; written once, so that every core has it in its cache.
  struct Job {
    const Step* step;
    StepArgs args;
    size_t thread_stride;
    int phase;
    int64_t items;
    int64_t parts;   // of a thread's share; 0: the work is not worth a second thread
    int64_t slices;  // done one after the other, so that a long job can be stopped in between
    bool ask;        // before the job, whether to stop
  };
  struct Slice {
    const Job* job;
    int64_t begin;
  };

  Aligned<uint8_t> arena;
  std::vector<const void*> in;
  std::vector<void*> out;
  std::vector<Job> jobs;  // in the order of the steps and their phases
  bool shares = false;    // some job is worth a second thread
  std::atomic<const char*> fault{nullptr};
};

Program::Program(std::vector<TensorSpec> tensors, std::vector<StepSpec> steps,
                 std::vector<int> inputs, std::vector<int> outputs, int threads, IsaMask isa)
    : tensors_(std::move(tensors)),
      specs_(std::move(steps)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      threads_(threads),
      isa_(isa) {
  if (threads < 1 || threads > kMaxThreads) {
    Refuse("threads=" + std::to_string(threads) + " is not in 1.." + std::to_string(kMaxThreads));
  }
  Validate();
  BuildSteps();
  PlanMemory();
  first_ = MakeContext();
}

Program::~Program() = default;

void Program::Validate() const {
  const size_t n = tensors_.size();
  std::vector<char> known(n, 0);
  for (size_t i = 0; i < n; ++i) {
    CheckTensor(tensors_[i]);
    known[i] = tensors_[i].constant;
  }
  for (int i : inputs_) {
    CheckIndex(i, n, "inputs");
    if (known[i]) Refuse("inputs: " + tensors_[i].name + " is a constant or listed twice");
    known[i] = 1;
  }
  for (const StepSpec& spec : specs_) {
    for (int i : spec.inputs) {
      if (i == -1) continue;
      CheckIndex(i, n, Where(spec) + "input");
      if (!known[i]) Refuse(Where(spec) + "input " + tensors_[i].name + " has no value yet");
    }
    if (spec.outputs.empty()) Refuse(Where(spec) + "no output");
    for (int i : spec.outputs) {
      CheckIndex(i, n, Where(spec) + "output");
      if (known[i]) Refuse(Where(spec) + "output " + tensors_[i].name + " already has a value");
      known[i] = 1;
    }
  }
  for (int i : outputs_) {
    CheckIndex(i, n, "outputs");
    if (!known[i]) Refuse("outputs: " + tensors_[i].name + " has no value");
  }
}

void Program::BuildSteps() {
  const SlabScope slabs;
  std::vector<const TensorSpec*> pointers;
  for (const TensorSpec& t : tensors_) pointers.push_back(&t);
  std::set<int> kept(outputs_.begin(), outputs_.end());
  FuseResiduals(tensors_, outputs_, &specs_);
  FuseActivations(tensors_, outputs_, &specs_);
  std::vector<std::unique_ptr<Step>> planned;
  for (const StepSpec& spec : specs_) {
    PlanContext plan(spec, pointers, isa_, threads_, /*check_only=*/false);
    try {
      planned.push_back(MakeStep(spec, plan));
    } catch (const std::invalid_argument& e) {
      Refuse(Where(spec) + e.what());
    }
    kept.insert(plan.kept.begin(), plan.kept.end());
    // Layers pack their weights, but read their data while running, even where that is a constant.
    if (!spec.inputs.empty() && spec.inputs[0] >= 0) kept.insert(spec.inputs[0]);
  }
  FuseChains(tensors_, outputs_, threads_, &specs_, &planned);
  FuseConcats(tensors_, outputs_, &specs_, &planned);
  FuseTails(tensors_, outputs_, &specs_, &planned);
  for (std::unique_ptr<Step>& step : planned) {
    steps_.emplace_back();
    steps_.back().step = std::move(step);
  }
  for (size_t i = 0; i < tensors_.size(); ++i) {
    TensorSpec& t = tensors_[i];
    if (!t.constant) continue;
    if (kept.count(static_cast<int>(i)) != 0) {
      constant_bytes_ += t.bytes();
    } else {
      t.owner.reset();
      t.data = nullptr;
    }
  }
}

std::unique_ptr<Program::Context> Program::MakeContext() const {
  auto context = std::make_unique<Context>();
  if (arena_bytes_ > 0) context->arena.Reset(arena_bytes_);
  context->in.assign(in_slots_, nullptr);
  context->out.assign(out_slots_, nullptr);
  for (size_t s = 0; s < specs_.size(); ++s) {
    const void** in = context->in.data() + steps_[s].first_in;
    for (int i : specs_[s].inputs) *in++ = i < 0 ? nullptr : Address(i, *context, nullptr, nullptr);
    void** out = context->out.data() + steps_[s].first_out;
    for (int i : specs_[s].outputs) {
      *out++ = const_cast<void*>(Address(i, *context, nullptr, nullptr));
    }
  }
  double unasked_ns = 0;
  for (const Planned& planned : steps_) {
    const Step& step = *planned.step;
    const StepArgs args = {context->in.data() + planned.first_in,
                           context->out.data() + planned.first_out,
                           context->arena.data() + planned.scratch,
                           context->arena.data() + planned.thread_scratch, &context->fault};
    for (size_t phase = 0; phase < step.phases.size(); ++phase) {
      const int64_t items = step.phases[phase];
      const bool alone = threads_ == 1 || items < 2 || step.cost_ns < kMinParallelNs;
      const double phase_ns = step.cost_ns / static_cast<double>(step.phases.size());
      unasked_ns += phase_ns;
      const bool ask = unasked_ns >= kStopNs;
      if (ask) unasked_ns = 0;
      const int64_t slices = std::max<int64_t>(
          1, std::min<int64_t>(static_cast<int64_t>(std::min(1e9, phase_ns / kStopNs)),
                               items / threads_ / step.grain));
      const int64_t parts = std::min<int64_t>(
          {kMaxParts, items / slices / threads_ / step.grain,
           static_cast<int64_t>(
               std::min(1e9, step.cost_ns / static_cast<double>(slices) / threads_ / kMinPartNs))});
      context->jobs.push_back({&step, args, planned.thread_stride, static_cast<int>(phase), items,
                               alone ? 0 : std::max<int64_t>(1, parts), slices, ask});
      context->shares |= !alone;
    }
  }
  return context;
}

// Graph inputs and outputs are null until a run gives them.
const void* Program::Address(int tensor, const Context& c, const void* const* inputs,
                             void* const* outputs) const {
  const Place& place = places_[tensor];
  switch (place.home) {
    case Home::kConstant:
      return tensors_[place.index].data;
    case Home::kInput:
      return inputs == nullptr ? nullptr : inputs[place.index];
    case Home::kOutput:
      return outputs == nullptr ? nullptr : outputs[place.index];
    case Home::kArena:
      return c.arena.data() + place.offset;
    case Home::kNone:
      break;
  }
  return nullptr;
}

bool Program::Run(const void* const* inputs, void* const* outputs, int64_t* step_ns,
                  Stop stop) const {
  std::unique_ptr<Context> spare;
  const bool first = !first_taken_.exchange(true, std::memory_order_acquire);
  if (!first) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!spare_.empty()) {
        spare = std::move(spare_.back());
        spare_.pop_back();
      }
    }
    if (!spare) spare = MakeContext();
  }
  Context& context = first ? *first_ : *spare;
  for (const Patch& p : in_from_input_) context.in[p.slot] = inputs[p.index];
  for (const Patch& p : in_from_output_) context.in[p.slot] = outputs[p.index];
  for (const Patch& p : out_to_output_) context.out[p.slot] = outputs[p.index];
  // Only a view of a graph input has its place there, and a view writes nothing.
  for (const Patch& p : out_to_input_) context.out[p.slot] = const_cast<void*>(inputs[p.index]);
  bool whole;
  {
    // Waking the workers for nothing would cost a small program a part of its time.
    const PoolLease lease(context.shares ? threads_ : 1);
    whole = RunSteps(context, lease.threads(), step_ns, stop);
  }
  for (const Copy& copy : copies_) {
    if (!whole) break;
    const size_t bytes = tensors_[copy.from].bytes();
    if (bytes > 0) {
      std::memcpy(outputs[copy.to], Address(copy.from, context, inputs, outputs), bytes);
    }
  }
  const char* const fault = context.fault.load(std::memory_order_relaxed);
  if (fault != nullptr) context.fault.store(nullptr, std::memory_order_relaxed);
  if (first) {
    first_taken_.store(false, std::memory_order_release);
  } else {
    std::lock_guard<std::mutex> lock(mutex_);
    spare_.push_back(std::move(spare));
  }
  if (whole && fault != nullptr) throw std::out_of_range(fault);
  return whole;
}

bool Program::RunSteps(const Context& context, int threads, int64_t* step_ns, Stop stop) const {
  const Context::Job* job = context.jobs.data();
  for (size_t s = 0; s < steps_.size(); ++s) {
    const int64_t start = step_ns != nullptr ? NowNs() : 0;
    const Context::Job* const end = job + steps_[s].step->phases.size();
    if (steps_[s].nothing_to_do) job = end;
    for (; job < end; ++job) {
      for (int64_t slice = 0; slice < job->slices; ++slice) {
        if (stop != nullptr && (slice > 0 || job->ask) && stop()) return false;
        const Context::Slice piece = {job, job->items * slice / job->slices};
        const int64_t end_item = job->items * (slice + 1) / job->slices;
        if (threads == 1 || job->parts == 0) {
          job->step->Run(job->args, job->phase, piece.begin, end_item);
          continue;
        }
        ThreadPool::Get().ParallelFor(
            threads, end_item - piece.begin, job->parts,
            [](const void* opaque, int thread, int64_t first, int64_t last) {
              const auto& [j, begin] = *static_cast<const Context::Slice*>(opaque);
              StepArgs mine = j->args;
              mine.thread_scratch += thread * j->thread_stride;
              j->step->Run(mine, j->phase, begin + first, begin + last);
            },
            &piece);
      }
    }
    if (step_ns != nullptr) step_ns[s] = NowNs() - start;
  }
  return true;
}

std::string CheckStep(const std::vector<const TensorSpec*>& tensors, const StepSpec& spec,
                      IsaMask isa) {
  try {
    for (const auto* list : {&spec.inputs, &spec.outputs}) {
      for (int i : *list) {
        if (i == -1 && list == &spec.inputs) continue;
        CheckIndex(i, tensors.size(), "step");
        CheckTensor(*tensors[i]);
      }
    }
    PlanContext plan(spec, tensors, isa, 1, /*check_only=*/true);
    MakeStep(spec, plan);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

}  // namespace bitlite
