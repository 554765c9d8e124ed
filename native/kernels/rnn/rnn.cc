// lstm, gru and rnn on float32, as the ONNX operators: x [T,N,I], w [D,G*H,I], r [D,G*H,H], bias
// [D,2*G*H]?, lengths [N]?, h0 and c0 [D,N,H]?, peepholes [D,3*H]? -> y [T,D,N,H], h [D,N,H] and of
// an lstm c [D,N,H].
//   attrs: hidden_size, direction (forward|reverse|bidirectional), activations (names joined by
//   commas: sigmoid, tanh, relu, hardsigmoid), alpha, beta, clip, dynamic; lstm: input_forget,
//   cell_clip; gru: linear_before_reset
// w, r, bias and peepholes are constants. With the attribute dynamic w and r are int8 codes: x is
// quantized on one range, the state (of all sequences together) on one in every step.
// A length beyond 0..T is the nearest of the two, for a kernel cannot fail.
#include <algorithm>
#include <cctype>
#include <string>

#include "kernels/common/quant_step.h"
#include "kernels/gemm_f32/gemm_pack.h"
#include "recurrent.h"

namespace bitlite {
namespace {

struct ActName {
  const char* name;
  GateOp op;
};
constexpr ActName kActNames[] = {{"sigmoid", GateOp::kSigmoid},
                                 {"tanh", GateOp::kTanh},
                                 {"relu", GateOp::kRelu},
                                 {"hardsigmoid", GateOp::kHardSigmoid}};

// alpha and beta belong to the functions that have one, in order.
std::vector<GateAct> ActsOf(const StepSpec& spec, const RnnLayer& layer) {
  const int each = layer.acts_each();
  const size_t wanted = static_cast<size_t>(each * layer.directions);
  std::string names = spec.Str("activations", "");
  std::transform(names.begin(), names.end(), names.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::vector<double> alpha = spec.Floats("alpha", {}), beta = spec.Floats("beta", {});
  std::vector<GateAct> acts;
  if (names.empty()) {
    for (size_t i = 0; i < wanted; ++i) {
      const bool gate = layer.cell != RnnCell::kRnn && i % static_cast<size_t>(each) == 0;
      acts.push_back({gate ? GateOp::kSigmoid : GateOp::kTanh});
    }
    return acts;
  }
  size_t given = 0;
  for (size_t at = 0; at <= names.size();) {
    const size_t end = std::min(names.find(',', at), names.size());
    const std::string name = names.substr(at, end - at);
    at = end + 1;
    const ActName* found = std::find_if(std::begin(kActNames), std::end(kActNames),
                                        [&](const ActName& a) { return name == a.name; });
    if (found == std::end(kActNames)) Refuse("activation " + name);
    GateAct act{found->op};
    if (act.op == GateOp::kHardSigmoid) {
      act.a = given < alpha.size() ? static_cast<float>(alpha[given]) : 0.2f;
      act.b = given < beta.size() ? static_cast<float>(beta[given]) : 0.5f;
      ++given;
    }
    acts.push_back(act);
  }
  Require(acts.size() == wanted, "activations are not as many as the gates need");
  return acts;
}

// An input that is there must have this shape.
void RequireShape(const PlanContext& plan, int input, const Shape& shape) {
  if (!plan.Has(input) || plan.In(input).shape == shape) return;
  Refuse("input " + std::to_string(input) + " has shape " + ToString(plan.In(input).shape) +
         ", expected " + ToString(shape));
}

}  // namespace

std::unique_ptr<Step> MakeRecurrent(const StepSpec& spec, PlanContext& plan) {
  RnnLayer l;
  const bool linear = spec.Bool("linear_before_reset", false);
  l.cell = spec.op == "lstm"  ? RnnCell::kLstm
           : spec.op == "rnn" ? RnnCell::kRnn
           : linear           ? RnnCell::kGruLinear
                              : RnnCell::kGru;
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const TensorSpec& r = plan.In(2);
  const std::string direction = spec.Str("direction", "forward");
  Require(direction == "forward" || direction == "reverse" || direction == "bidirectional",
          "direction is not forward, reverse or bidirectional");
  l.reverse = direction == "reverse";
  l.directions = direction == "bidirectional" ? 2 : 1;
  l.dynamic = spec.Bool("dynamic", false);
  l.hidden = spec.Int("hidden_size", 0);
  const double clip = spec.Float("clip", 0), cell_clip = spec.Float("cell_clip", 0);
  if (clip > 0) l.clip = static_cast<float>(clip);
  if (cell_clip > 0) l.cell_clip = static_cast<float>(cell_clip);
  l.input_forget = spec.Bool("input_forget", false);
  l.acts = ActsOf(spec, l);

  Require(x.dtype == DType::kF32 && x.rank() == 3, "the input is not float32 of three axes");
  l.steps = x.shape[0];
  l.batch = x.shape[1];
  l.size = x.shape[2];
  Require(l.steps > 0 && l.batch > 0 && l.size > 0 && l.hidden > 0, "an empty axis");
  const int64_t rows = l.gates() * l.hidden, d = l.directions;
  RequireShape(plan, 1, {d, rows, l.size});
  RequireShape(plan, 2, {d, rows, l.hidden});
  RequireShape(plan, 3, {d, 2 * rows});
  RequireShape(plan, 4, {l.batch});
  RequireShape(plan, 5, {d, l.batch, l.hidden});
  RequireShape(plan, 6, {d, l.batch, l.hidden});
  RequireShape(plan, 7, {d, 3 * l.hidden});
  for (const TensorSpec* t : {&w, &r}) {
    if (!l.dynamic) {
      RequireWeight(*t, "a weight");
      continue;
    }
    Require(t->constant && t->dtype == DType::kI8 && t->quantized(),
            "a weight quantized while running is not constant int8 codes");
    Require(t->scale.size() == 1 || t->axis == 1, "a weight's scales do not lie along its rows");
    const bool shifted =
        std::any_of(t->zero_point.begin(), t->zero_point.end(), [](int64_t z) { return z != 0; });
    RequireExactSums(t->shape[2], shifted ? 255 : 128);
  }
  for (int i : {3, 7}) {
    if (plan.Has(i)) RequireWeight(plan.In(i), i == 3 ? "the bias" : "a peephole");
  }
  for (int i : {5, 6}) {
    if (!plan.Has(i)) continue;
    if (plan.In(i).constant) {
      RequireWeight(plan.In(i), "an initial state");
    } else {
      Require(plan.In(i).dtype == DType::kF32, "an initial state is not float32");
    }
  }
  if (plan.Has(4)) {
    const TensorSpec& lengths = plan.In(4);
    Require(lengths.dtype == DType::kI32 || lengths.dtype == DType::kI64,
            "lengths are not int32 or int64");
    if (lengths.constant) plan.KeepConstant(4);
  }
  Require(l.cell == RnnCell::kLstm || (!plan.Has(6) && !plan.Has(7)), "more inputs than it has");
  Require(plan.outputs() == (l.cell == RnnCell::kLstm ? 3 : 2), "outputs are not all there");
  const Shape state{d, l.batch, l.hidden};
  Require(plan.Out(0).shape == Shape({l.steps, d, l.batch, l.hidden}), "the output does not fit");
  for (int i = 0; i < plan.outputs(); ++i) {
    Require(plan.Out(i).dtype == DType::kF32, "an output is not float32");
    Require(i == 0 || plan.Out(i).shape == state, "a state does not fit");
  }
  if (plan.check_only) return nullptr;
  return NewRecurrent(l, plan);
}

}  // namespace bitlite
