// Whole elementwise steps on every instruction set against the scalar one.
#include <string>

#include "tests/steps.h"
#include "tests/testing.h"

namespace bitlite {
namespace {

BITLITE_TEST(ElementwiseStepsAgreeOnAllInstructionSets) {
  Random random(6);
  for (int64_t n : {1, 31, 64, 65, 9001}) {
    const auto a = RandomBytes(random, static_cast<size_t>(n)),
               b = RandomBytes(random, static_cast<size_t>(n));
    for (const std::string op : {"add", "sub", "mul", "add gemmlowp", "mul gemmlowp"}) {
      Tensors t;
      const int ia = t.Add(DType::kI8, {n}, {0.1}, {-128}),
                ib = t.Add(DType::kI8, {n}, {0.07}, {127});
      const int iy = t.Add(DType::kI8, {n}, {0.2}, {3});
      StepSpec spec;
      spec.op = spec.name = op.substr(0, 3);
      if (op.size() > 3) spec.attrs["rounding"] = op.substr(4);
      spec.inputs = {ia, ib};
      spec.outputs = {iy};
      CheckStep(t, spec, {ia, ib}, {a->data(), b->data()});
    }
    Tensors t;
    const int ix = t.Add(DType::kI8, {n}, {0.1}, {-128});
    const int table = t.Constant(t.Add(DType::kI8, {256}, {}, {}), RandomBytes(random, 256));
    const int iy = t.Add(DType::kI8, {n}, {0.2}, {3});
    StepSpec spec;
    spec.op = spec.name = "lut";
    spec.inputs = {ix, table};
    spec.outputs = {iy};
    CheckStep(t, spec, {ix}, {a->data()});
  }
}

}  // namespace

}  // namespace bitlite
