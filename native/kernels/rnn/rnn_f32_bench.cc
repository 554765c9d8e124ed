// Times of what stands around the products of recurrent layers.
#include <algorithm>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
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

template <>
void TimeKernel(const Kernel<rnn_columns>& entry) {
  const Aligned<float> scales = benching::Floats(kElements);
  const std::vector<int32_t> sums(static_cast<size_t>(kElements), 7);
  std::vector<int32_t> bias(sums);
  Aligned<float> multiplier(kElements);
  const RnnColumnsArgs t = {kElements, sums.data(), scales.data(),    3,
                            1.0f / 3,  bias.data(), multiplier.data()};
  benching::ReportElements(entry.symbol, "", benching::Time([&] { entry.fn(t); }));
}

}  // namespace bitlite
