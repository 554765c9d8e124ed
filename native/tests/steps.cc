#include "steps.h"

#include "kernel_cases.h"
#include "testing.h"

namespace bitlite {

std::shared_ptr<std::vector<uint8_t>> RandomBytes(Random& random, size_t n) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(n);
  for (uint8_t& b : *bytes) b = static_cast<uint8_t>(Code(random));
  return bytes;
}

std::vector<int8_t> RunStep(const Tensors& tensors, const StepSpec& spec,
                            const std::vector<int>& fed, const std::vector<const void*>& inputs,
                            IsaMask isa, int threads) {
  const Program program(tensors.all, {spec}, fed, spec.outputs, threads, isa);
  std::vector<int8_t> y(tensors.all[spec.outputs[0]].bytes());
  void* out = y.data();
  program.Run(inputs.data(), &out);
  return y;
}

void CheckStep(const Tensors& tensors, const StepSpec& spec, const std::vector<int>& fed,
               const std::vector<const void*>& inputs) {
  const std::vector<int8_t> expected = RunStep(tensors, spec, fed, inputs, kIsaScalar, 1);
  for (const std::string& isa : PermittedIsas()) {
    for (int threads : {1, 3}) {
      const std::vector<int8_t> y = RunStep(tensors, spec, fed, inputs, IsaUpTo(isa), threads);
      CHECK(y == expected) << spec.op << " differs on " << isa << " with " << threads << " threads";
    }
  }
}

}  // namespace bitlite
