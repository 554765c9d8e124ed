#include "fuse.h"

#include <algorithm>

#include "kernels/common/line_step.h"
#include "kernels/common/tail_step.h"

namespace bitlite {
namespace {

// How often each tensor is read, graph outputs included.
std::vector<int> CountReads(size_t tensors, const std::vector<int>& outputs,
                            const std::vector<StepSpec>& specs) {
  std::vector<int> reads(tensors, 0);
  for (int t : outputs) ++reads[t];
  for (const StepSpec& spec : specs) {
    for (int t : spec.inputs) {
      if (t >= 0) ++reads[t];
    }
  }
  return reads;
}

bool PlainConv(const StepSpec& spec) {
  static const std::set<std::string> known = {"stride",   "dilation", "pad",
                                              "pad_mode", "group",    "act"};
  if (spec.op != "conv" || spec.inputs.size() < 2 || spec.inputs.size() > 3) return false;
  for (const auto& attr : spec.attrs) {
    if (known.count(attr.first) == 0) return false;
  }
  return spec.Str("act", "none") == "none" && spec.Int("group", 1) == 1;
}

bool Float(const TensorSpec& t) { return t.dtype == DType::kF32 && !t.quantized(); }
bool Codes(const TensorSpec& t) { return t.dtype == DType::kI8 && t.scale.size() == 1; }

// An int8 layer whose kernel takes a residual; its activation stays before the sum.
bool IntegerLayer(const StepSpec& spec, const std::vector<TensorSpec>& tensors) {
  if (spec.op != "conv" && spec.op != "fully_connected" && spec.op != "matmul") return false;
  if (spec.inputs.size() < 2 || spec.inputs.size() > 3 || spec.Has("qmin") || spec.Has("qmax")) {
    return false;
  }
  const TensorSpec& x = tensors[spec.inputs[0]];
  const bool depthwise =
      spec.op == "conv" && spec.Int("group", 1) > 1 && spec.Int("group", 1) == x.shape.back();
  return Codes(x) && !depthwise;
}

// Turns `layer`, an int8 one, into layer then add: the bits of both.
void AddResidual(const TensorSpec& sum, const StepSpec& add, StepSpec* layer) {
  layer->attrs["mid_scale"] = sum.scale[0];
  layer->attrs["mid_zero_point"] = sum.zero_point.empty() ? int64_t{0} : sum.zero_point[0];
  for (const char* key : {"act", "act_min", "act_max"}) {
    const auto attr = add.attrs.find(key);
    if (attr != add.attrs.end()) layer->attrs[std::string("add_") + key] = attr->second;
  }
}

// Functions that ParseAct knows by the operator's name.
bool OwnActivation(const StepSpec& spec) {
  static const std::set<std::string> known = {"leaky_relu", "elu",   "sigmoid",
                                              "tanh",       "swish", "hard_swish"};
  return known.count(spec.op) != 0 && spec.inputs.size() == 1;
}

// A float layer that applies no function yet.
bool TakesActivation(const StepSpec& spec, const std::vector<TensorSpec>& tensors) {
  static const std::set<std::string> layers = {"conv", "fully_connected", "matmul"};
  return layers.count(spec.op) != 0 && !spec.Has("dynamic") && spec.Str("act", "none") == "none" &&
         spec.outputs.size() == 1 && Float(tensors[spec.inputs[0]]);
}

// Drops the specs that are gone.
void Compact(const std::vector<char>& gone, std::vector<StepSpec>* specs) {
  size_t kept = 0;
  for (size_t s = 0; s < specs->size(); ++s) {
    if (gone[s]) continue;
    if (kept != s) (*specs)[kept] = std::move((*specs)[s]);
    ++kept;
  }
  specs->resize(kept);
}

}  // namespace

void FuseResiduals(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                   std::vector<StepSpec>* specs) {
  const std::vector<int> reads = CountReads(tensors.size(), outputs, *specs);
  std::vector<int> maker(tensors.size(), -1);  // step that computes the tensor
  std::vector<char> gone(specs->size(), 0);
  for (size_t s = 0; s < specs->size(); ++s) {
    StepSpec& add = (*specs)[s];
    for (int t : add.outputs) maker[t] = static_cast<int>(s);
    if (add.op != "add" || add.inputs.size() != 2 || add.outputs.size() != 1) continue;
    for (int side = 0; side < 2; ++side) {
      const int sum = add.inputs[side], other = add.inputs[1 - side];
      if (sum < 0 || other < 0 || sum == other || reads[sum] != 1 || maker[sum] < 0) continue;
      const int at = maker[sum];
      StepSpec& conv = (*specs)[at];
      const TensorSpec& y = tensors[add.outputs[0]];
      if (maker[other] >= at || tensors[other].constant || tensors[other].shape != y.shape ||
          tensors[sum].shape != y.shape) {
        continue;
      }
      const bool floats =
          PlainConv(conv) && Float(tensors[conv.inputs[0]]) && Float(y) && Float(tensors[other]);
      const bool codes = IntegerLayer(conv, tensors) && Codes(tensors[sum]) && Codes(y) &&
                         Codes(tensors[other]) && !add.Has("qmin") && !add.Has("qmax") &&
                         add.Str("rounding", "rne_f32") == "rne_f32";
      if (!floats && !codes) continue;
      conv.inputs.resize(3, -1);
      conv.inputs.push_back(other);
      conv.outputs = add.outputs;
      if (codes) {
        AddResidual(tensors[sum], add, &conv);
      } else {
        conv.attrs.erase("act");
        conv.attrs.insert(add.attrs.begin(), add.attrs.end());
      }
      conv.name += "+" + add.name;
      maker[conv.outputs[0]] = at;
      gone[s] = 1;
      break;
    }
  }
  Compact(gone, specs);
}

void FuseActivations(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                     std::vector<StepSpec>* specs) {
  const std::vector<int> reads = CountReads(tensors.size(), outputs, *specs);
  std::vector<int> maker(tensors.size(), -1);
  std::vector<char> gone(specs->size(), 0);
  for (size_t s = 0; s < specs->size(); ++s) {
    StepSpec& act = (*specs)[s];
    for (int t : act.outputs) maker[t] = static_cast<int>(s);
    if (!OwnActivation(act)) continue;
    const int x = act.inputs[0], y = act.outputs[0];
    if (x < 0 || reads[x] != 1 || maker[x] < 0 || !Float(tensors[x]) || !Float(tensors[y]))
      continue;
    StepSpec& layer = (*specs)[maker[x]];
    if (!TakesActivation(layer, tensors) || tensors[x].shape != tensors[y].shape) continue;
    layer.attrs["act"] = act.op;
    if (act.Has("alpha")) layer.attrs["act_alpha"] = act.Float("alpha", 0.0);
    layer.outputs = act.outputs;
    layer.name += "+" + act.name;
    maker[y] = maker[x];
    gone[s] = 1;
  }
  Compact(gone, specs);
}

void FuseChains(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                int threads, std::vector<StepSpec>* specs,
                std::vector<std::unique_ptr<Step>>* steps) {
  const std::vector<int> reads = CountReads(tensors.size(), outputs, *specs);
  const auto lines = [&](size_t s) -> const LineStep* {
    const auto* step = dynamic_cast<const LineStep*>((*steps)[s].get());
    const bool fits =
        step != nullptr && step->lines > 0 && !tensors[(*specs)[s].inputs[0]].constant;
    return fits ? step : nullptr;
  };
  std::vector<StepSpec> new_specs;
  std::vector<std::unique_ptr<Step>> new_steps;
  for (size_t s = 0; s < specs->size();) {
    size_t length = 1;
    // The longest run of up to three that gains.
    std::vector<const LineStep*> run;
    for (size_t k = s; k < specs->size() && k < s + 3; ++k) {
      const LineStep* step = lines(k);
      if (step == nullptr) break;
      if (k > s) {
        const StepSpec& before = (*specs)[k - 1];
        const bool follows = step->can_follow && (*specs)[k].inputs[0] == before.outputs[0] &&
                             reads[before.outputs[0]] == 1;
        // Only the last stage may take a residual.
        if (!follows || before.inputs.size() > 3) break;
      }
      run.push_back(step);
      if (ChainGains(run)) length = run.size();
    }
    StepSpec spec = std::move((*specs)[s]);
    std::unique_ptr<Step> step = std::move((*steps)[s]);
    if (length > 1) {
      std::vector<std::unique_ptr<Step>> stages;
      stages.push_back(std::move(step));
      for (size_t k = s + 1; k < s + length; ++k) {
        stages.push_back(std::move((*steps)[k]));
        spec.name += "+" + (*specs)[k].name;
      }
      const StepSpec& last = (*specs)[s + length - 1];
      spec.inputs = {spec.inputs[0], last.inputs.size() > 3 ? last.inputs[3] : -1};
      spec.outputs = last.outputs;
      step = MakeChain(std::move(stages), threads);
    }
    new_specs.push_back(std::move(spec));
    new_steps.push_back(std::move(step));
    s += length;
  }
  *specs = std::move(new_specs);
  *steps = std::move(new_steps);
}

void FuseConcats(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                 std::vector<StepSpec>* specs, std::vector<std::unique_ptr<Step>>* steps) {
  const std::vector<int> reads = CountReads(tensors.size(), outputs, *specs);
  std::vector<StepSpec> new_specs;
  std::vector<std::unique_ptr<Step>> new_steps;
  for (size_t s = 0; s < specs->size(); ++s) {
    StepSpec& concat = (*specs)[s];
    const size_t count = concat.inputs.size();
    const TensorSpec& y = tensors[concat.outputs[0]];
    const int64_t axis = concat.Int("axis", 0);
    bool fits = concat.op == "concat" && Float(y) && count > 1 && new_specs.size() >= count &&
                (axis == -1 || axis == y.rank() - 1);
    // The steps right before it, in the order of its inputs.
    const size_t first = new_specs.size() - std::min(count, new_specs.size());
    std::vector<size_t> makers;
    for (size_t i = 0; i < count && fits; ++i) {
      const int t = concat.inputs[i];
      size_t k = first;
      while (k < new_specs.size() && new_specs[k].outputs[0] != t) ++k;
      fits = k < new_specs.size() && reads[t] == 1 && new_specs[k].inputs.size() <= kJoinedInputs;
      if (!fits) break;
      const auto* step = dynamic_cast<const LineStep*>(new_steps[k].get());
      fits = step != nullptr && step->can_spread;
      makers.push_back(k);
    }
    if (!fits) {
      new_specs.push_back(std::move(concat));
      new_steps.push_back(std::move((*steps)[s]));
      continue;
    }
    std::vector<std::unique_ptr<Step>> stages;
    std::vector<int64_t> columns;
    std::vector<int> inputs;
    std::string name;
    int64_t column = 0;
    for (size_t i = 0; i < count; ++i) {
      StepSpec& spec = new_specs[makers[i]];
      static_cast<LineStep*>(new_steps[makers[i]].get())->SpreadRows(y.shape.back());
      stages.push_back(std::move(new_steps[makers[i]]));
      columns.push_back(column);
      column += tensors[concat.inputs[i]].shape.back();
      spec.inputs.resize(kJoinedInputs, -1);
      inputs.insert(inputs.end(), spec.inputs.begin(), spec.inputs.end());
      name += spec.name + "+";
    }
    StepSpec spec = std::move(concat);
    spec.name = name + spec.name;
    spec.inputs = std::move(inputs);
    new_specs.resize(first);
    new_steps.resize(first);
    new_specs.push_back(std::move(spec));
    new_steps.push_back(MakeJoined(std::move(stages), std::move(columns)));
  }
  *specs = std::move(new_specs);
  *steps = std::move(new_steps);
}

void FuseTails(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
               std::vector<StepSpec>* specs, std::vector<std::unique_ptr<Step>>* steps) {
  const std::vector<int> reads = CountReads(tensors.size(), outputs, *specs);
  std::vector<int> maker(tensors.size(), -1);
  std::vector<char> gone(specs->size(), 0);
  for (size_t s = 0; s < specs->size(); ++s) {
    StepSpec& spec = (*specs)[s];
    for (int t : spec.outputs) maker[t] = static_cast<int>(s);
    const auto* tail = dynamic_cast<const TailStep*>((*steps)[s].get());
    if (tail == nullptr || tail->tail_unit == 0 || spec.outputs.size() != 1) continue;
    const int x = spec.inputs[tail->tail_operand], y = spec.outputs[0];
    if (x < 0 || reads[x] != 1 || maker[x] < 0) continue;
    const size_t at = static_cast<size_t>(maker[x]);
    StepSpec& layer = (*specs)[at];
    const auto* runs = dynamic_cast<const RunsStep*>((*steps)[at].get());
    if (runs == nullptr || !runs->writes_runs || layer.inputs.size() > kTailedInputs) continue;
    bool fits = tensors[x].dtype == tensors[y].dtype && tensors[x].count == tensors[y].count &&
                tensors[x].shape.back() % tail->tail_unit == 0;
    std::vector<int> others;
    for (size_t i = 0; i < spec.inputs.size(); ++i) {
      if (static_cast<int>(i) == tail->tail_operand) continue;
      others.push_back(spec.inputs[i]);
      fits &= spec.inputs[i] < 0 || tensors[spec.inputs[i]].constant;
    }
    if (!fits || others.size() > kMinInputs - kTailedInputs) continue;
    layer.inputs.resize(kTailedInputs, -1);
    layer.inputs.insert(layer.inputs.end(), others.begin(), others.end());
    layer.outputs = spec.outputs;
    layer.name += "+" + spec.name;
    (*steps)[at] = MakeTailed(std::move((*steps)[at]), std::move((*steps)[s]));
    gone[s] = 1;
  }
  size_t kept = 0;
  for (size_t s = 0; s < steps->size(); ++s) {
    if (!gone[s]) (*steps)[kept++] = std::move((*steps)[s]);
  }
  steps->resize(kept);
  Compact(gone, specs);
}

}  // namespace bitlite
