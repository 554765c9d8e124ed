// rnn_f32 and rnn_scale against plain loops in double, the latter to the bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

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

void CheckLstm(const Kernel<rnn_f32>& entry, const GateCase& c) {
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
  entry.fn(t);
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
    CHECK(std::fabs(cell[u] - now) < 2e-6) << entry.symbol << " cell " << u;
    const double want = SigmoidOf(sum(1, peep(1, now))) * std::tanh(now);
    CHECK(std::fabs(y[u] - want) < 2e-6) << entry.symbol << " y " << u;
  }
}

void CheckGru(const Kernel<rnn_f32>& entry, const GateCase& c, bool linear) {
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
    entry.fn(t);
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
    CHECK(std::fabs(y[u] - want) < 2e-6) << entry.symbol << " y " << u;
    if (!linear) CHECK(std::fabs(reset[u] - r * state[u]) < 2e-6) << entry.symbol << " reset " << u;
  }
}

void CheckPlain(const Kernel<rnn_f32>& entry, const GateCase& c) {
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
    entry.fn(t);
    for (int64_t u = 0; u < n; ++u) {
      const double s = Clipped(static_cast<double>(x[u]) + h[u] + b[u], c.clip);
      const double want = op == GateOp::kTanh      ? std::tanh(s)
                          : op == GateOp::kSigmoid ? SigmoidOf(s)
                          : op == GateOp::kRelu    ? std::max(0.0, s)
                                                   : std::min(1.0, std::max(0.0, 0.3 * s + 0.4));
      CHECK(std::fabs(y[u] - want) < 2e-6) << entry.symbol << " y " << u;
    }
  }
}

// To the bit, also where sums wrap and where a float does not hold them.
void CheckScale(const Kernel<rnn_scale>& entry, int64_t columns, bool with_zeros, bool with_bias) {
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
  entry.fn(t);
  for (int64_t c = 0; c < columns; ++c) {
    int64_t sum = int64_t{acc[c]} + int64_t{sums[c]} * t.factor;
    if (with_zeros) sum += int64_t{zeros[c]} * t.zeros_factor;
    const float scale = t.scale * scales[c];
    float want = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(sum))) * scale;
    if (with_bias) want = want + bias[c];
    CHECK(y[c] == want) << entry.symbol << " " << c;
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<rnn_f32>& entry) {
  for (const GateCase& c : kGateCases) {
    CheckLstm(entry, c);
    CheckGru(entry, c, false);
    CheckGru(entry, c, true);
    CheckPlain(entry, c);
  }
}

template <>
void TestKernel(const Kernel<rnn_scale>& entry) {
  for (int64_t columns : {16, 48, 1024}) {
    for (bool zeros : {false, true}) {
      for (bool bias : {false, true}) CheckScale(entry, columns, zeros, bias);
    }
  }
}

// Times of what stands around the products of recurrent layers.
namespace {

using benching::kElements;

}  // namespace

template <>
void TimeKernel(const Kernel<rnn_f32>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  constexpr int64_t kUnits = kElements / 4;
  Aligned<float> cell(static_cast<size_t>(kUnits));
  std::fill_n(cell.data(), kUnits, 0.0f);
  RnnF32Args t{};
  t.stage = RnnStage::kLstm;
  t.blocks = kUnits / kRnnBlock;
  t.x = t.h = t.bias = x.data();
  t.cell = cell.data();
  t.y = y.data();
  t.act_f.op = GateOp::kSigmoid;
  t.clip = t.cell_clip = 1e30f;
  const auto fn = entry.fn;
  benching::ReportElements(entry.symbol, "gates of an lstm", benching::Time([&] { fn(t); }));
}

template <>
void TimeKernel(const Kernel<rnn_scale>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  const std::vector<int32_t> sums(static_cast<size_t>(kElements), 7);
  const RnnScaleArgs t = {sums.data(), kElements, sums.data(), nullptr,  x.data(),
                          nullptr,     3,         0,           1.0f / 3, y.data()};
  const auto fn = entry.fn;
  benching::ReportElements(entry.symbol, "", benching::Time([&] { fn(t); }));
}

}  // namespace bitlite
