// depthwise_s8 against plain loops over requant.h: whole steps, whose driver packs as the kernel's
// table says.
#include <memory>
#include <string>
#include <vector>

#include "requant.h"
#include "tests/conv_bench.h"
#include "tests/kernel_cases.h"
#include "tests/steps.h"
#include "tests/testing.h"

namespace bitlite {
namespace {

struct DepthwiseCase {
  int64_t h, w, c, kh, kw, stride, pad, dilation = 1;
  int weight_zero = 0;
};

constexpr int64_t kBatch = 2;
constexpr int kXZero = -30, kYZero = 4;
constexpr double kXScale = 0.02, kWScale = 0.01, kYScale = 0.2;

// The sum of one output, as wide as it comes.
int64_t Sum(const DepthwiseCase& d, const int8_t* x, const int8_t* w, int64_t top, int64_t left,
            int64_t c) {
  int64_t sum = 0;
  for (int64_t ky = 0; ky < d.kh; ++ky) {
    for (int64_t kx = 0; kx < d.kw; ++kx) {
      const int64_t row = top + ky * d.dilation, column = left + kx * d.dilation;
      if (row < 0 || row >= d.h || column < 0 || column >= d.w) continue;
      sum += (x[(row * d.w + column) * d.c + c] - kXZero) *
             (w[(c * d.kh + ky) * d.kw + kx] - d.weight_zero);
    }
  }
  return sum;
}

void CheckDepthwise(const Kernel<depthwise_s8>& entry, const DepthwiseCase& d, bool gemmlowp,
                    bool relu = false) {
  Random random(static_cast<uint32_t>(d.h * 100 + d.c));
  const int64_t oh = (d.h + 2 * d.pad - (d.kh - 1) * d.dilation - 1) / d.stride + 1;
  const int64_t ow = (d.w + 2 * d.pad - (d.kw - 1) * d.dilation - 1) / d.stride + 1;
  Tensors t;
  const auto x = RandomBytes(random, static_cast<size_t>(kBatch * d.h * d.w * d.c));
  const auto w = RandomBytes(random, static_cast<size_t>(d.c * d.kh * d.kw));
  std::vector<int32_t> bias;
  for (int64_t c = 0; c < d.c; ++c) bias.push_back(static_cast<int32_t>(random() % 2001) - 1000);
  const auto* raw = reinterpret_cast<const uint8_t*>(bias.data());
  const auto bias_bytes = std::make_shared<std::vector<uint8_t>>(raw, raw + 4 * d.c);
  const int ix = t.Add(DType::kI8, {kBatch, d.h, d.w, d.c}, {kXScale}, {kXZero});
  const int iw = t.Constant(t.Add(DType::kI8, {d.c, d.kh, d.kw, 1}, {kWScale}, {d.weight_zero}), w);
  const int ib = t.Constant(t.Add(DType::kI32, {d.c}, {}, {}), bias_bytes);
  const int iy = t.Add(DType::kI8, {kBatch, oh, ow, d.c}, {kYScale}, {kYZero});
  const int32_t low = relu ? kYZero : -128;
  StepSpec spec;
  spec.op = spec.name = "conv";
  spec.inputs = {ix, iw, ib};
  spec.outputs = {iy};
  spec.attrs = {{"stride", std::vector<int64_t>{d.stride, d.stride}},
                {"pad", std::vector<int64_t>{d.pad, d.pad, d.pad, d.pad}},
                {"dilation", std::vector<int64_t>{d.dilation, d.dilation}},
                {"group", d.c},
                {"qmin", int64_t{low}},
                {"rounding", std::string(gemmlowp ? "gemmlowp" : "rne_f32")}};
  const std::vector<int8_t> y = RunStep(t, spec, {ix}, {x->data()}, entry.isa, 1);
  const int8_t* in = reinterpret_cast<const int8_t*>(x->data());
  const int8_t* weights = reinterpret_cast<const int8_t*>(w->data());
  const float multiplier = static_cast<float>(kXScale * kWScale / kYScale);
  const GemmlowpMultiplier fixed =
      QuantizeMultiplier(GemmlowpScale(kXScale, kWScale, 1) / static_cast<float>(kYScale));
  size_t at = 0;
  for (int64_t n = 0; n < kBatch; ++n, in += d.h * d.w * d.c) {
    for (int64_t i = 0; i < oh; ++i) {
      for (int64_t j = 0; j < ow; ++j) {
        for (int64_t c = 0; c < d.c; ++c, ++at) {
          const int32_t sum = static_cast<int32_t>(
              Sum(d, in, weights, i * d.stride - d.pad, j * d.stride - d.pad, c) + bias[c]);
          const int32_t want = gemmlowp ? RequantizeGemmlowp(sum, fixed, kYZero, low, 127)
                                        : RequantizeRneF32(sum, multiplier, kYZero, low, 127);
          CHECK(y[at] == want) << entry.symbol << " " << d.h << "x" << d.w << "x" << d.c
                               << " kernel " << d.kh << "x" << d.kw << "/" << d.stride << ": "
                               << int{y[at]} << " for " << want << " at " << i << "," << j << ","
                               << c;
        }
      }
    }
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<depthwise_s8>& entry) {
  CHECK(SelectKernel<depthwise_s8>(entry.isa).fn == entry.fn) << entry.symbol << " is never chosen";
  for (bool gemmlowp : {false, true}) {
    for (int64_t c : {2, 3, 8, 15, 16, 17, 31, 32, 33, 40, 64, 65, 100}) {
      CheckDepthwise(entry, {9, 8, c, 3, 3, 1, 1}, gemmlowp);
      CheckDepthwise(entry, {8, 9, c, 3, 3, 2, 1}, gemmlowp);
    }
    for (int64_t width = 1; width <= 12; ++width) {
      CheckDepthwise(entry, {5, width, 16, 3, 3, 1, 1}, gemmlowp, width % 2 == 0);
      CheckDepthwise(entry, {6, width, 24, 3, 3, 2, 1}, gemmlowp, width % 2 == 1);
    }
    for (const DepthwiseCase& d :
         {DepthwiseCase{9, 11, 17, 5, 5, 2, 2}, DepthwiseCase{12, 9, 20, 2, 3, 1, 1},
          DepthwiseCase{7, 7, 16, 5, 5, 1, 2}, DepthwiseCase{11, 10, 16, 4, 3, 3, 1},
          DepthwiseCase{1, 20, 33, 1, 3, 1, 0}, DepthwiseCase{9, 10, 16, 3, 3, 1, 2, 2},
          DepthwiseCase{13, 12, 24, 3, 2, 2, 1, 3}, DepthwiseCase{9, 8, 65, 3, 3, 1, 1, 1, 9},
          DepthwiseCase{1, 1, 5, 3, 3, 1, 1}, DepthwiseCase{20, 9, 40, 7, 7, 1, 3},
          // Large enough for several blocks at a time, in some parts or bands.
          DepthwiseCase{30, 20, 70, 3, 3, 1, 1}, DepthwiseCase{41, 30, 40, 5, 5, 2, 2},
          DepthwiseCase{9, 400, 33, 3, 3, 1, 1}}) {
      CheckDepthwise(entry, d, gemmlowp);
    }
  }
}

// Times of depthwise convolutions, with the copy of their input that the kernel wants.
template <>
void TimeKernel(const Kernel<depthwise_s8>& entry) {
  using benching::ConvLayer;
  for (const ConvLayer& layer :
       {ConvLayer{112, 32, 32, 3, 1, true}, ConvLayer{112, 96, 96, 3, 2, true},
        ConvLayer{28, 192, 192, 3, 1, true}, ConvLayer{14, 384, 384, 5, 1, true}}) {
    benching::TimeConvS8(layer, entry.isa, entry.symbol);
  }
}

}  // namespace bitlite
