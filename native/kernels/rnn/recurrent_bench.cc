// Times recurrent layers, whole steps: float, and quantized while running.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "cpu.h"
#include "runtime.h"
#include "tests/benching.h"

namespace bitlite {
namespace {

struct Lstm {
  int64_t size, hidden, steps, batch, directions;
};

TensorSpec Tensor(const char* name, Shape shape, DType dtype = DType::kF32) {
  TensorSpec t;
  t.name = name;
  t.dtype = dtype;
  t.shape = std::move(shape);
  t.count = CountOf(t.shape);
  return t;
}

void TimeLstm(const Lstm& l, bool dynamic) {
  const int64_t rows = 4 * l.hidden;
  const DType dtype = dynamic ? DType::kI8 : DType::kF32;
  const double limit = 1 / std::sqrt(static_cast<double>(l.hidden));
  std::vector<TensorSpec> t = {Tensor("x", {l.steps, l.batch, l.size}),
                               Tensor("w", {l.directions, rows, l.size}, dtype),
                               Tensor("r", {l.directions, rows, l.hidden}, dtype),
                               Tensor("y", {l.steps, l.directions, l.batch, l.hidden}),
                               Tensor("h", {l.directions, l.batch, l.hidden}),
                               Tensor("c", {l.directions, l.batch, l.hidden})};
  std::mt19937 random(1);
  std::vector<float> values[2];
  std::vector<int8_t> codes[2];
  for (int i : {0, 1}) {
    TensorSpec& w = t[i + 1];
    for (int64_t k = 0; k < w.count; ++k) {
      codes[i].push_back(static_cast<int8_t>(static_cast<int>(random() % 255) - 127));
      values[i].push_back(static_cast<float>(codes[i].back() * limit / 127));
    }
    w.constant = true;
    w.data = dynamic ? static_cast<const void*>(codes[i].data()) : values[i].data();
    if (dynamic) {
      w.scale = {limit / 127};
      w.zero_point = {0};
    }
  }
  StepSpec step;
  step.op = step.name = "lstm";
  step.inputs = {0, 1, 2};
  step.outputs = {3, 4, 5};
  step.attrs = {{"hidden_size", l.hidden},
                {"direction", std::string(l.directions == 2 ? "bidirectional" : "forward")},
                {"dynamic", dynamic}};
  std::vector<float> x(static_cast<size_t>(t[0].count)), y(static_cast<size_t>(t[3].count));
  std::vector<float> h(static_cast<size_t>(t[4].count)), c(h);
  for (float& v : x) v = static_cast<float>(random() % 1000) * 1e-3f;
  const double macs = static_cast<double>(l.steps * l.batch * l.directions * rows) *
                      static_cast<double>(l.size + l.hidden);
  const Program program(t, {step}, {0}, {3, 4, 5}, 1, ActiveIsa());
  const void* in = x.data();
  void* out[] = {y.data(), h.data(), c.data()};
  benching::Report(std::string(dynamic ? "int8" : "float") + " lstm " + std::to_string(l.size) +
                       "->" + std::to_string(l.hidden) + ", steps " + std::to_string(l.steps) +
                       ", sequences " + std::to_string(l.batch) + ", directions " +
                       std::to_string(l.directions),
                   benching::Time([&] { program.Run(&in, out); }), 2 * macs, 0);
}

BITLITE_BENCH(Recurrent) {
  for (bool dynamic : {false, true}) {
    for (const Lstm& l :
         {Lstm{64, 128, 50, 1, 1}, Lstm{128, 128, 50, 1, 1}, Lstm{64, 256, 100, 1, 2},
          Lstm{64, 128, 50, 8, 1}, Lstm{64, 512, 30, 1, 1}}) {
      TimeLstm(l, dynamic);
    }
  }
}

}  // namespace
}  // namespace bitlite
