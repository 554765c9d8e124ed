// Whole recurrent layers.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "cpu.h"
#include "runtime.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

TensorSpec Named(const char* name, Shape shape, DType dtype = DType::kF32,
                 const void* data = nullptr) {
  TensorSpec t;
  t.name = name;
  t.dtype = dtype;
  t.shape = std::move(shape);
  t.count = CountOf(t.shape);
  t.constant = data != nullptr;
  t.data = data;
  return t;
}

// An lstm, gru or rnn over steps x batch x size in both directions; the second sequence ends early.
struct RecurrentCase {
  const char* op;
  int64_t gates, steps, size, hidden;
  bool linear, dynamic;
  int64_t batch = 2;

  std::vector<float> Run(int threads, IsaMask isa) const {
    const int64_t rows = gates * hidden;
    const float limit = 1.0f / std::sqrt(static_cast<float>(hidden));
    const std::vector<float> w = Uniform(2 * rows * size, 1), b = Uniform(4 * rows, 3);
    const std::vector<float> r = Uniform(2 * rows * hidden, 2, limit);
    const std::vector<float> x = Uniform(steps * batch * size, 4);
    std::vector<int8_t> codes[2];
    for (float v : w) codes[0].push_back(static_cast<int8_t>(std::lround(v * 120)));
    for (float v : r) codes[1].push_back(static_cast<int8_t>(std::lround(v / limit * 120)));
    std::vector<int32_t> lengths(static_cast<size_t>(batch), static_cast<int32_t>(steps));
    lengths[1] = 1;
    std::vector<TensorSpec> tensors = {Named("x", {steps, batch, size}),
                                       Named("w", {2, rows, size}, DType::kF32, w.data()),
                                       Named("r", {2, rows, hidden}, DType::kF32, r.data()),
                                       Named("b", {2, 2 * rows}, DType::kF32, b.data()),
                                       Named("lengths", {batch}, DType::kI32),
                                       Named("y", {steps, 2, batch, hidden}),
                                       Named("h", {2, batch, hidden})};
    const double scales[] = {1.0 / 120, limit / 120};
    for (int i = 0; dynamic && i < 2; ++i) {
      tensors[i + 1].dtype = DType::kI8;
      tensors[i + 1].data = codes[i].data();
      tensors[i + 1].scale = {scales[i]};
      tensors[i + 1].zero_point = {0};
    }
    StepSpec step;
    step.op = op;
    step.name = op;
    step.inputs = {0, 1, 2, 3, 4};
    step.outputs = {5, 6};
    if (gates == 4) {
      tensors.push_back(Named("c", {2, batch, hidden}));
      step.outputs.push_back(7);
    }
    step.attrs = {
        {"hidden_size", hidden}, {"direction", std::string("bidirectional")}, {"dynamic", dynamic}};
    if (gates == 3) step.attrs["linear_before_reset"] = linear;
    const Program program(tensors, {step}, {0, 4}, step.outputs, threads, isa);
    const void* in[] = {x.data(), lengths.data()};
    std::vector<float> y(static_cast<size_t>(tensors[5].count)), h(tensors[6].count), c(h);
    void* out[] = {y.data(), h.data(), c.data()};
    program.Run(in, out);
    y.insert(y.end(), h.begin(), h.end());
    if (gates == 4) y.insert(y.end(), c.begin(), c.end());
    return y;
  }
};

constexpr RecurrentCase kRecurrent[] = {
    {"lstm", 4, 11, 7, 19, false, false},  {"lstm", 4, 11, 7, 19, false, true},
    {"lstm", 4, 4, 9, 170, false, false},  {"lstm", 4, 4, 9, 250, false, true},
    {"gru", 3, 11, 7, 19, false, false},   {"gru", 3, 11, 7, 19, false, true},
    {"gru", 3, 4, 9, 190, false, false},   {"gru", 3, 11, 7, 33, true, false},
    {"gru", 3, 11, 7, 33, true, true},     {"rnn", 1, 40, 7, 16, false, false},
    {"rnn", 1, 40, 7, 16, false, true},    {"lstm", 4, 5, 7, 19, false, false, 9},
    {"gru", 3, 5, 7, 90, false, true, 13},
};

BITLITE_TEST(RecurrentLayersDoNotDependOnThreads) {
  for (const RecurrentCase& c : kRecurrent) {
    const std::vector<float> plain = c.Run(1, IsaUpTo("scalar"));
    for (const std::string& isa : PermittedIsas()) {
      const std::vector<float> one = c.Run(1, IsaUpTo(isa));
      for (int threads : {2, 3, 5}) {
        CHECK(c.Run(threads, IsaUpTo(isa)) == one) << c.op << " " << isa << " " << threads;
      }
      // Where an activation differs in its last bit, a code may be the one beside.
      const float tolerance = c.dynamic ? 2e-2f : 1e-5f;
      for (size_t i = 0; i < plain.size(); ++i) {
        CHECK(std::fabs(one[i] - plain[i]) < tolerance) << c.op << " " << isa << " " << i;
      }
    }
  }
}

BITLITE_TEST(SequencesEndAtTheirLengths) {
  for (const RecurrentCase& c : kRecurrent) {
    const std::vector<float> y = c.Run(1, ActiveIsa());
    const int64_t h = c.hidden, states = c.steps * 2 * c.batch * h;
    // The second sequence has one step: later outputs are zero and the state is the first output.
    for (int64_t d : {0, 1}) {
      for (int64_t u = 0; u < h; ++u) {
        const auto at = [&](int64_t t) { return y[((t * 2 + d) * c.batch + 1) * h + u]; };
        for (int64_t t = 1; t < c.steps; ++t) CHECK(at(t) == 0) << c.op << " " << t;
        CHECK(at(0) == y[states + (d * c.batch + 1) * h + u]) << c.op << " " << u;
      }
    }
  }
}

}  // namespace

// Times recurrent layers, whole steps: float, and quantized while running.
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
