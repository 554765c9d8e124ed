// Where the tensors of a program live.
#include <algorithm>
#include <numeric>

#include "arena.h"
#include "runtime.h"

namespace bitlite {
namespace {

size_t RoundUp(size_t n) { return (n + 63) / 64 * 64; }

}  // namespace

// Groups tensors into buffers (views and in-place results share one), gives each buffer a home, and
// lays the arena.
void Program::PlanMemory() {
  const int n = static_cast<int>(tensors_.size());
  std::vector<int> parent(n);
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](int t) {
    while (parent[t] != t) t = parent[t] = parent[parent[t]];
    return t;
  };
  places_.assign(n, Place{});
  std::vector<int> uses(n, 0);  // by buffer: reads that are still to come
  for (const StepSpec& spec : specs_) {
    for (int i : spec.inputs) {
      if (i >= 0) ++uses[i];
    }
  }
  for (int i = 0; i < n; ++i) {
    if (tensors_[i].constant) places_[i].home = Home::kConstant;
  }
  for (size_t i = 0; i < inputs_.size(); ++i) {
    places_[inputs_[i]] = {Home::kInput, static_cast<int>(i), 0};
  }
  std::vector<int> wanted(n, -1);  // graph output that a tensor should be written to directly
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const int t = outputs_[i];
    if (places_[t].home == Home::kNone && wanted[t] < 0) {
      wanted[t] = static_cast<int>(i);
    } else {
      copies_.push_back({t, static_cast<int>(i)});
    }
  }

  std::vector<Lifetime> life(n);
  for (size_t s = 0; s < specs_.size(); ++s) {
    const StepSpec& spec = specs_[s];
    const Step& step = *steps_[s].step;
    const int now = static_cast<int>(s);
    for (int i : spec.inputs) {
      if (i < 0) continue;
      --uses[root(i)];
      life[root(i)].last = now;
    }
    const int out = spec.outputs[0];
    const auto share = [&](int i) {
      const int r = root(i);
      parent[out] = r;
      uses[r] += uses[out];
      if (wanted[out] >= 0) places_[r] = {Home::kOutput, wanted[out], 0};
    };
    bool shared = false;
    const auto may_hold = [&](int i) {
      const Home home = places_[root(i)].home;
      return tensors_[i].bytes() == tensors_[out].bytes() &&
             !(wanted[out] >= 0 && home != Home::kArena);
    };
    if (step.view_of >= 0 && step.view_of < static_cast<int>(spec.inputs.size())) {
      const int i = spec.inputs[step.view_of];
      if (i >= 0 && may_hold(i) &&
          !(tensors_[i].constant && tensors_[i].data == nullptr && tensors_[i].count != 0)) {
        share(i);
        shared = steps_[s].nothing_to_do = true;
      }
    }
    steps_[s].nothing_to_do |= std::all_of(spec.outputs.begin(), spec.outputs.end(),
                                           [&](int i) { return tensors_[i].count == 0; });
    // A convolution may overwrite its residual, but not when that is its input as well.
    const auto read_otherwise = [&](int i) {
      for (size_t k = 0; k < spec.inputs.size() && k < 32; ++k) {
        const int other = spec.inputs[k];
        if ((step.in_place >> k & 1) == 0 && other >= 0 && root(other) == root(i)) return true;
      }
      return false;
    };
    for (size_t k = 0; k < spec.inputs.size() && k < 32 && !shared; ++k) {
      const int i = spec.inputs[k];
      if ((step.in_place >> k & 1) == 0 || i < 0) continue;
      if (places_[root(i)].home == Home::kArena && uses[root(i)] == 0 && may_hold(i) &&
          !read_otherwise(i)) {
        share(i);
        shared = true;
      }
    }
    for (size_t k = 0; k < spec.outputs.size(); ++k) {
      const int t = spec.outputs[k];
      if (k == 0 && shared) {
        life[root(t)].last = now;
        continue;
      }
      places_[t] = wanted[t] >= 0 ? Place{Home::kOutput, wanted[t], 0} : Place{Home::kArena, 0, 0};
      life[t] = {tensors_[t].bytes(), now, now};
    }
  }
  // A value that is copied out at the end lives until then.
  const int end = static_cast<int>(specs_.size());
  for (const Copy& copy : copies_) life[root(copy.from)].last = end;

  std::vector<Lifetime> buffers;
  std::vector<int> buffer_of(n, -1);
  for (int t = 0; t < n; ++t) {
    if (root(t) != t || places_[t].home != Home::kArena) continue;
    buffer_of[t] = static_cast<int>(buffers.size());
    buffers.push_back(life[t]);
  }
  std::vector<int> scratch_of;
  for (size_t s = 0; s < steps_.size(); ++s) {
    const Step& step = *steps_[s].step;
    scratch_of.push_back(static_cast<int>(buffers.size()));
    const size_t bytes = RoundUp(step.scratch) + threads_ * RoundUp(step.thread_scratch);
    if (bytes > 0) buffers.push_back({bytes, static_cast<int>(s), static_cast<int>(s)});
  }
  const ArenaPlan arena = PlanArena(buffers);
  arena_bytes_ = arena.bytes;
  arena_lower_bound_ = ArenaLowerBound(buffers);

  for (int t = 0; t < n; ++t) {
    places_[t] = places_[root(t)];
    if (places_[t].home == Home::kArena) places_[t].offset = arena.offsets[buffer_of[root(t)]];
    if (places_[t].home == Home::kConstant) places_[t].index = root(t);
  }
  for (size_t s = 0; s < specs_.size(); ++s) {
    Planned& planned = steps_[s];
    planned.first_in = in_slots_;
    planned.first_out = out_slots_;
    if (planned.step->scratch + planned.step->thread_scratch > 0) {
      planned.scratch = arena.offsets[scratch_of[s]];
      planned.thread_scratch = planned.scratch + RoundUp(planned.step->scratch);
      planned.thread_stride = RoundUp(planned.step->thread_scratch);
    }
    for (int i : specs_[s].inputs) {
      if (i >= 0 && places_[i].home == Home::kInput) {
        in_from_input_.push_back({in_slots_, places_[i].index});
      } else if (i >= 0 && places_[i].home == Home::kOutput) {
        in_from_output_.push_back({in_slots_, places_[i].index});
      }
      ++in_slots_;
    }
    in_slots_ = std::max(in_slots_, planned.first_in + kMinInputs);
    for (int i : specs_[s].outputs) {
      if (places_[i].home == Home::kOutput) {
        out_to_output_.push_back({out_slots_, places_[i].index});
      } else if (places_[i].home == Home::kInput) {
        out_to_input_.push_back({out_slots_, places_[i].index});
      }
      ++out_slots_;
    }
  }
}

}  // namespace bitlite
