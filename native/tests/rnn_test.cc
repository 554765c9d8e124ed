// Recurrent layers: the gate kernels, row by row of kernels.def, and whole layers through a
// Program, against plain loops in double. Buffers have the exact size of their contents.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu.h"
#include "kernels/common/kernels.h"
#include "rows.h"
#include "runtime.h"
#include "testing.h"

namespace bitlite {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> Uniform(int64_t n, uint32_t seed, float limit = 1.0f) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> distribution(-limit, limit);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = distribution(random);
  return values;
}

double SigmoidOf(double x) { return 1 / (1 + std::exp(-x)); }
double Clipped(double x, double bound) { return std::min(bound, std::max(-bound, x)); }

struct GateCase {
  int64_t blocks;
  bool peephole, input_forget;
  float clip, cell_clip;
};

constexpr GateCase kGateCases[] = {{1, false, false, kInf, kInf},
                                   {3, true, false, kInf, kInf},
                                   {2, true, true, 0.6f, 0.4f},
                                   {5, false, true, 0.3f, kInf}};

void CheckLstm(const KernelRow& row, const GateCase& c) {
  const int64_t n = c.blocks * kRnnBlock;
  const std::vector<float> x = Uniform(4 * n, 1), h = Uniform(4 * n, 2), b = Uniform(4 * n, 3);
  const std::vector<float> p = Uniform(3 * n, 4), before = Uniform(n, 5);
  std::vector<float> cell = before, y(static_cast<size_t>(n));
  RnnF32Args t{};
  t.stage = RnnStage::kLstm;
  t.blocks = c.blocks;
  t.x = x.data();
  t.h = h.data();
  t.bias = b.data();
  t.peephole = c.peephole ? p.data() : nullptr;
  t.cell = cell.data();
  t.y = y.data();
  t.act_f.op = GateOp::kSigmoid;
  t.clip = c.clip;
  t.cell_clip = c.cell_clip;
  t.input_forget = c.input_forget;
  reinterpret_cast<rnn_f32::Fn*>(row.fn)(t);
  for (int64_t u = 0; u < n; ++u) {
    const auto at = [&](int64_t many, int64_t gate) {
      return static_cast<size_t>((u / kRnnBlock * many + gate) * kRnnBlock + u % kRnnBlock);
    };
    const auto sum = [&](int64_t gate, double more) {
      const size_t i = at(4, gate);
      return Clipped(static_cast<double>(x[i]) + h[i] + b[i] + more, c.clip);
    };
    const auto peep = [&](int64_t gate, double v) { return c.peephole ? p[at(3, gate)] * v : 0; };
    const double i = SigmoidOf(sum(0, peep(0, before[u])));
    const double f = c.input_forget ? 1 - i : SigmoidOf(sum(2, peep(2, before[u])));
    const double now = Clipped(f * before[u] + i * std::tanh(sum(3, 0)), c.cell_clip);
    CHECK(std::fabs(cell[u] - now) < 2e-6) << row.symbol << " cell " << u;
    const double want = SigmoidOf(sum(1, peep(1, now))) * std::tanh(now);
    CHECK(std::fabs(y[u] - want) < 2e-6) << row.symbol << " y " << u;
  }
}

void CheckGru(const KernelRow& row, const GateCase& c, bool linear) {
  const int64_t n = c.blocks * kRnnBlock;
  const std::vector<float> x = Uniform(3 * n, 1), h = Uniform(3 * n, 2), b = Uniform(3 * n, 3);
  const std::vector<float> state = Uniform(n, 4), product = Uniform(n, 5);
  std::vector<float> z(static_cast<size_t>(n)), reset(z), y(z), two(static_cast<size_t>(2 * n));
  const auto at = [](int64_t u, int64_t many, int64_t gate) {
    return static_cast<size_t>((u / kRnnBlock * many + gate) * kRnnBlock + u % kRnnBlock);
  };
  for (int64_t u = 0; u < n; ++u) {
    for (int64_t gate : {0, 1}) two[at(u, 2, gate)] = h[at(u, 3, gate)];
  }
  RnnF32Args t{};
  t.blocks = c.blocks;
  t.x = x.data();
  t.bias = b.data();
  t.state = state.data();
  t.z = z.data();
  t.act_f.op = GateOp::kSigmoid;
  t.clip = c.clip;
  const auto run = [&](RnnStage stage, const float* from, float* to) {
    t.stage = stage;
    t.h = from;
    t.y = to;
    reinterpret_cast<rnn_f32::Fn*>(row.fn)(t);
  };
  if (linear) {
    run(RnnStage::kGruLinear, h.data(), y.data());
  } else {
    run(RnnStage::kGruReset, two.data(), reset.data());
    run(RnnStage::kGruCandidate, product.data(), y.data());
  }
  for (int64_t u = 0; u < n; ++u) {
    const auto sum = [&](int64_t gate) {
      const size_t i = at(u, 3, gate);
      return SigmoidOf(Clipped(static_cast<double>(x[i]) + h[i] + b[i], c.clip));
    };
    const size_t i = at(u, 3, 2);
    const double zu = sum(0), r = sum(1);
    const double inner = linear ? x[i] + r * (static_cast<double>(h[i]) + b[i])
                                : static_cast<double>(x[i]) + product[u] + b[i];
    const double want = (1 - zu) * std::tanh(Clipped(inner, c.clip)) + zu * state[u];
    CHECK(std::fabs(y[u] - want) < 2e-6) << row.symbol << " y " << u;
    if (!linear) CHECK(std::fabs(reset[u] - r * state[u]) < 2e-6) << row.symbol << " reset " << u;
  }
}

void CheckPlain(const KernelRow& row, const GateCase& c) {
  const int64_t n = c.blocks * kRnnBlock;
  const std::vector<float> x = Uniform(n, 1), h = Uniform(n, 2), b = Uniform(n, 3);
  std::vector<float> y(static_cast<size_t>(n));
  RnnF32Args t{};
  t.stage = RnnStage::kRnn;
  t.blocks = c.blocks;
  t.x = x.data();
  t.h = h.data();
  t.bias = b.data();
  t.y = y.data();
  t.clip = c.clip;
  for (GateOp op : {GateOp::kTanh, GateOp::kSigmoid, GateOp::kRelu, GateOp::kHardSigmoid}) {
    t.act_f = {op, 0.3f, 0.4f};
    reinterpret_cast<rnn_f32::Fn*>(row.fn)(t);
    for (int64_t u = 0; u < n; ++u) {
      const double s = Clipped(static_cast<double>(x[u]) + h[u] + b[u], c.clip);
      const double want = op == GateOp::kTanh      ? std::tanh(s)
                          : op == GateOp::kSigmoid ? SigmoidOf(s)
                          : op == GateOp::kRelu    ? std::max(0.0, s)
                                                   : std::min(1.0, std::max(0.0, 0.3 * s + 0.4));
      CHECK(std::fabs(y[u] - want) < 2e-6) << row.symbol << " y " << u;
    }
  }
}

BITLITE_TEST(RnnF32) {
  ForEachRow("rnn_f32", [](const KernelRow& row) {
    for (const GateCase& c : kGateCases) {
      CheckLstm(row, c);
      CheckGru(row, c, false);
      CheckGru(row, c, true);
      CheckPlain(row, c);
    }
  });
}

// To the bit, also where sums wrap and where a float does not hold them.
void CheckScale(const KernelRow& row, int64_t columns, bool with_zeros, bool with_bias) {
  std::mt19937 random(static_cast<uint32_t>(columns));
  const auto ints = [&](uint32_t limit) {
    std::vector<int32_t> values(static_cast<size_t>(columns));
    for (int32_t& v : values) {
      v = static_cast<int32_t>(static_cast<int64_t>(random() % limit) - limit / 2);
    }
    return values;
  };
  const std::vector<int32_t> acc = ints(4000000000u), sums = ints(30000), zeros = ints(200);
  const std::vector<float> scales = Uniform(columns, 1), bias = Uniform(columns, 2, 1e5f);
  std::vector<float> y(static_cast<size_t>(columns));
  std::memcpy(y.data(), acc.data(), acc.size() * sizeof(int32_t));
  RnnScaleArgs t{};
  t.acc = reinterpret_cast<const int32_t*>(y.data());
  t.columns = columns;
  t.sums = sums.data();
  t.zeros = with_zeros ? zeros.data() : nullptr;
  t.scales = scales.data();
  t.bias = with_bias ? bias.data() : nullptr;
  t.factor = -77;
  t.zeros_factor = 123456;
  t.scale = 0.037f;
  t.y = y.data();
  reinterpret_cast<rnn_scale::Fn*>(row.fn)(t);
  for (int64_t c = 0; c < columns; ++c) {
    int64_t sum = int64_t{acc[c]} + int64_t{sums[c]} * t.factor;
    if (with_zeros) sum += int64_t{zeros[c]} * t.zeros_factor;
    const float scale = t.scale * scales[c];
    float want = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(sum))) * scale;
    if (with_bias) want = want + bias[c];
    CHECK(y[c] == want) << row.symbol << " " << c;
  }
}

BITLITE_TEST(RnnScale) {
  ForEachRow("rnn_scale", [](const KernelRow& row) {
    for (int64_t columns : {16, 48, 1024}) {
      for (bool zeros : {false, true}) {
        for (bool bias : {false, true}) CheckScale(row, columns, zeros, bias);
      }
    }
  });
}

BITLITE_TEST(RnnColumns) {
  ForEachRow("rnn_columns", [](const KernelRow& row) {
    for (int64_t columns : {16, 80}) {
      const std::vector<float> scales = Uniform(columns, 1);
      std::vector<int32_t> sums(static_cast<size_t>(columns)), bias(sums);
      std::vector<float> multiplier(scales);
      for (int64_t c = 0; c < columns; ++c) sums[c] = static_cast<int32_t>(c * 123457 - 5000000);
      reinterpret_cast<rnn_columns::Fn*>(row.fn)(
          {columns, sums.data(), scales.data(), -1277, 0.37f, bias.data(), multiplier.data()});
      for (int64_t c = 0; c < columns; ++c) {
        const int64_t product = int64_t{sums[c]} * -1277;
        CHECK(bias[c] == static_cast<int32_t>(static_cast<uint32_t>(product))) << row.symbol << c;
        CHECK(multiplier[c] == 0.37f * scales[c]) << row.symbol << c;
      }
    }
  });
}

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
}  // namespace bitlite
