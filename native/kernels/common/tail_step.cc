#include "tail_step.h"

namespace bitlite {
namespace {

class Tailed final : public Step {
 public:
  Tailed(std::unique_ptr<Step> layer, std::unique_ptr<Step> tail)
      : owned_layer_(std::move(layer)),
        owned_tail_(std::move(tail)),
        layer_(static_cast<const RunsStep&>(*owned_layer_)),
        tail_(static_cast<const TailStep&>(*owned_tail_)) {
    phases = layer_.phases;
    grain = layer_.grain;
    cost_ns = layer_.cost_ns + tail_.cost_ns;
    scratch = layer_.scratch;
    thread_scratch = layer_.thread_scratch;
    in_place = layer_.in_place;
  }

  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override {
    const void* in[kMinInputs] = {};
    for (int i = 0, from = kTailedInputs; from < kMinInputs; ++i) {
      in[i] = i == tail_.tail_operand ? args.out[0] : args.in[from++];
    }
    const StepArgs own = {in, args.out, nullptr, nullptr, args.fault};
    for (int64_t item = begin; item < end; ++item) {
      layer_.Run(args, phase, item, item + 1);
      tail_.RunElements(own, layer_.Written(item));
    }
  }

 private:
  const std::unique_ptr<Step> owned_layer_, owned_tail_;
  const RunsStep& layer_;
  const TailStep& tail_;
};

}  // namespace

std::unique_ptr<Step> MakeTailed(std::unique_ptr<Step> layer, std::unique_ptr<Step> tail) {
  return std::make_unique<Tailed>(std::move(layer), std::move(tail));
}

}  // namespace bitlite
