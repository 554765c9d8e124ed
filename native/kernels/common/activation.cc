#include "activation.h"

#include <limits>

namespace bitlite {

FusedAct ParseAct(const StepSpec& spec) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  FusedAct act{-kInf, kInf};
  const auto unary = [&](UnaryOp op, double a = 0, double b = 0) {
    act.unary = true;
    act.op = op;
    act.a = static_cast<float>(a);
    act.b = static_cast<float>(b);
    return act;
  };
  const std::string name = spec.Str("act", "none");
  if (name == "none" || name.empty()) return act;
  if (name == "clip") {
    return {static_cast<float>(spec.Float("act_min", -kInf)),
            static_cast<float>(spec.Float("act_max", kInf))};
  }
  if (name == "leaky_relu") return unary(UnaryOp::kLeakyRelu, spec.Float("act_alpha", 0.01));
  if (name == "elu") return unary(UnaryOp::kElu, spec.Float("act_alpha", 1.0));
  if (name == "selu") return unary(UnaryOp::kSelu, 1.6732632423543772, 1.0507009873554805);
  if (name == "sigmoid") return unary(UnaryOp::kSigmoid);
  if (name == "tanh") return unary(UnaryOp::kTanh);
  if (name == "hard_swish") return unary(UnaryOp::kHardSwish);
  if (name == "hard_sigmoid") return unary(UnaryOp::kHardSigmoid, 1.0 / 6.0, 0.5);
  if (name == "swish") return unary(UnaryOp::kSwish);
  if (name == "gelu") return unary(UnaryOp::kGeluErf);
  if (name == "gelu_tanh") return unary(UnaryOp::kGeluTanh);
  Refuse("activation " + name + " is not known");
}

}  // namespace bitlite
