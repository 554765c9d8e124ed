// The int8 kernels: every row of gemm_s8 and depthwise_s8 that this CPU can run against plain
// loops, and whole steps on every instruction set against the scalar one.
#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/common/kernels.h"
#include "kernels/gemm_s8/layer_s8.h"
#include "requant.h"
#include "rows.h"
#include "runtime.h"
#include "testing.h"

namespace bitlite {
namespace {

constexpr int kSizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65};

using Random = std::mt19937;

int8_t Code(Random& random) {
  const uint32_t r = random();
  if (r % 8 == 0) return -128;
  if (r % 8 == 1) return 127;
  return static_cast<int8_t>(r >> 8);
}

// --- gemm_s8: a layer of `n` columns over `segments` runs of `length` activations, m rows.

struct LayerCase {
  int m, n, segments, length;
  int32_t x_zero;
  DType dtype;
  bool residual;
  int weight_zero;  // 0: none
  bool gemmlowp = false;
  bool relu = false;
  bool ends = false;  // all codes stand at an end of their type
};

void CheckLayer(const KernelRow& row, const LayerCase& c, uint32_t seed) {
  Random random(seed);
  const GemmS8Kernel& kernel = reinterpret_cast<gemm_s8::Fn*>(row.fn)();
  const int k = c.segments * c.length, gap = 3;
  const int row_length = c.segments * (c.length + gap);
  std::vector<int8_t> x(static_cast<size_t>(c.m * row_length)), w(static_cast<size_t>(c.n * k));
  for (int8_t& v : x) v = Code(random);
  for (int8_t& v : w) v = Code(random);
  if (c.ends) {
    std::fill(x.begin(), x.end(), int8_t{127});
    for (int o = 0; o < c.n; ++o) {
      std::fill_n(w.begin() + o * k, k, static_cast<int8_t>(o % 2 == 0 ? 127 : -128));
    }
  }
  OutputS8 out;
  out.dtype = c.dtype;
  for (int o = 0; o < c.n; ++o) {
    // Multipliers from far below 1 to some above it.
    const double spread = c.gemmlowp ? std::ldexp(1.0, static_cast<int>(random() % 16) - 4) : 1;
    out.acc_scale.push_back(1e-4 * (1 + random() % 100) * spread);
    out.bias.push_back(static_cast<int32_t>(random()) % 100000);
    if (c.dtype == DType::kF32) out.bias_f32.push_back(0.25f * static_cast<float>(o));
  }
  if (c.weight_zero != 0) out.weight_zero = {c.weight_zero};
  out.y_scale = 0.11;
  out.y_zero = 5;
  out.range = {c.relu ? 5 : -100, 110};
  out.gemmlowp = c.gemmlowp;
  out.fmin = -50;
  out.fmax = 60;
  out.residual = c.residual;
  out.ma = 0.7f;
  out.mb = 0.3f;
  out.r_zero = -4;
  out.sum_zero = -9;
  out.sum_range = {-128, 120};
  const LayerS8::Weights weights{
      reinterpret_cast<uint8_t*>(w.data()), c.n, c.segments, c.length, k, 1};
  const LayerS8 layer(kernel, SelectVectorS8(ActiveIsa()), weights, out, c.x_zero, {});

  const int64_t run = kernel.run_bytes(c.length + gap);
  Aligned<uint8_t> image(static_cast<size_t>(c.m * c.segments * run + 64));
  for (int s = 0; s < c.m * c.segments; ++s) {
    kernel.load(image.data() + s * run, x.data() + s * (c.length + gap), c.length + gap);
  }
  std::vector<const uint8_t*> rows;
  std::vector<int32_t> segments, sums(static_cast<size_t>(c.m));
  for (int m = 0; m < c.m; ++m) rows.push_back(image.data() + m * c.segments * run);
  for (int s = 0; s < c.segments; ++s) segments.push_back(static_cast<int32_t>(s * run));
  const int64_t stride = c.n + 3;
  std::vector<int8_t> residual(static_cast<size_t>(c.m * stride));
  for (int8_t& v : residual) v = Code(random);
  std::vector<int8_t> y8(static_cast<size_t>(c.m * stride), 77);
  std::vector<float> y32(static_cast<size_t>(c.m * stride), 77.0f);
  LayerS8::Rows where{rows.data(), c.m, segments.data()};
  where.sums = sums.data();
  if (layer.needs_row_sums()) layer.SumRows(where);
  layer.Run(where, 0, layer.blocks(),
            c.dtype == DType::kF32 ? static_cast<void*>(y32.data()) : y8.data(), stride,
            c.residual ? residual.data() : nullptr, stride);

  for (int m = 0; m < c.m; ++m) {
    for (int o = 0; o < stride; ++o) {
      const size_t at = static_cast<size_t>(m * stride + o);
      if (o >= c.n) {
        CHECK(y8[at] == 77 && y32[at] == 77.0f) << row.symbol << " wrote behind its columns";
        continue;
      }
      uint32_t acc = static_cast<uint32_t>(out.bias[o]);
      for (int s = 0; s < c.segments; ++s) {
        for (int i = 0; i < c.length; ++i) {
          const int a =
              x[static_cast<size_t>(m * row_length + s * (c.length + gap) + i)] - c.x_zero;
          const int b = w[static_cast<size_t>(o * k + s * c.length + i)] - c.weight_zero;
          acc += static_cast<uint32_t>(a * b);
        }
      }
      const int32_t sum = static_cast<int32_t>(acc);
      if (c.dtype == DType::kF32) {
        float v = static_cast<float>(sum) * static_cast<float>(out.acc_scale[o]);
        v = v + out.bias_f32[o];
        v = std::min(std::max(v, out.fmin), out.fmax);
        CHECK(y32[at] == v) << row.symbol << " m=" << c.m << " n=" << c.n << " k=" << k << " row "
                            << m << " column " << o << ": " << y32[at] << " for " << v;
        continue;
      }
      const float multiplier = static_cast<float>(out.acc_scale[o] / out.y_scale);
      const GemmlowpMultiplier fixed =
          QuantizeMultiplier(out.acc_scale[o] / static_cast<float>(out.y_scale));
      int32_t q = c.gemmlowp ? RequantizeGemmlowp(sum, fixed, 5, out.range.qmin, 110)
                             : RequantizeRneF32(sum, multiplier, 5, out.range.qmin, 110);
      if (c.residual) {
        const float p = static_cast<float>(q - 5) * out.ma;
        const float r = static_cast<float>(residual[at] + 4) * out.mb;
        q = RoundClamp(p + r, -9, -128, 120);
      }
      CHECK(y8[at] == q) << row.symbol << " m=" << c.m << " n=" << c.n << " k=" << k << " row " << m
                         << " column " << o << ": " << int{y8[at]} << " for " << q;
    }
  }
}

void CheckTiles(const KernelRow& row) {
  uint32_t seed = 1;
  for (int m = 1; m <= 18; ++m) {
    for (int n : kSizes) CheckLayer(row, {m, n, 2, 9, -128, DType::kI8, false, 0}, ++seed);
  }
  for (int length : kSizes) {
    for (int segments : {1, 3}) {
      CheckLayer(row, {7, 33, segments, length, 127, DType::kI8, false, 0}, ++seed);
      CheckLayer(row, {7, 65, segments, length, 3, DType::kI8, true, 0}, ++seed);
      CheckLayer(row, {5, 31, segments, length, 0, DType::kF32, false, 0}, ++seed);
      CheckLayer(row, {6, 64, segments, length, -1, DType::kI8, false, -7}, ++seed);
    }
  }
  for (int n : kSizes) {
    for (bool relu : {false, true}) {
      CheckLayer(row, {9, n, 2, 11, 1, DType::kI8, false, 0, true, relu}, ++seed);
      CheckLayer(row, {7, n, 1, 24, -3, DType::kI8, false, 5, true, relu}, ++seed);
    }
    CheckLayer(row, {9, n, 1, 40, 1, DType::kI8, true, 0}, ++seed);
    CheckLayer(row, {9, n, 1, 40, 1, DType::kF32, false, 3}, ++seed);
    CheckLayer(row, {3, n, 1, 300, -128, DType::kF32, false, 0, false, false, true}, ++seed);
  }
}

BITLITE_TEST(GemmTilesMatchLoops) {
  ForEachRow("gemm_s8", CheckTiles);
  ForEachRow("gemv_s8", CheckTiles);
}

// Weights of one sign and the greatest activations are what narrow sums must hold.
BITLITE_TEST(NarrowSumsAreExact) {
  ForEachRow("gemv_s8", [](const KernelRow& row) {
    const GemmS8Kernel& kernel = reinterpret_cast<gemv_s8::Fn*>(row.fn)();
    if (kernel.narrow_steps == nullptr) return;
    constexpr int kSteps = 100;
    const int nv = kernel.max_nv, columns = nv * kernel.lanes, k = kSteps * kernel.kstep;
    int least = kSteps, most = 0;
    for (int magnitude : {1, 10, 21, 22, 34, 35, 60, 68, 127}) {
      Random random(static_cast<uint32_t>(magnitude));
      Aligned<int8_t> w(static_cast<size_t>(columns * k));
      for (int step = 0, at = 0; step < kSteps; ++step) {
        for (int column = 0; column < columns; ++column) {
          const int sign = column % 3 - 1;
          for (int i = 0; i < kernel.kstep; ++i, ++at) {
            w[at] = static_cast<int8_t>(sign != 0 ? sign * magnitude : Code(random) % magnitude);
          }
        }
      }
      for (int code : {-128, 127, 0}) {
        std::vector<int8_t> x(static_cast<size_t>(k), static_cast<int8_t>(code));
        for (int i = 0; code == 0 && i < k; ++i) x[i] = Code(random);
        std::vector<uint8_t> image(static_cast<size_t>(kernel.run_bytes(k) + 64));
        kernel.load(image.data(), x.data(), k);
        const uint8_t* rows = image.data();
        const int32_t segment = 0;
        const std::vector<int32_t> bias(static_cast<size_t>(columns), 5);
        std::vector<int32_t> y(static_cast<size_t>(columns));
        GemmS8Tile t{};
        t.rows = &rows;
        t.segments = &segment;
        t.segment_count = 1;
        t.segment_steps = kSteps;
        t.narrow_steps = kernel.narrow_steps(w.data(), kSteps, nv);
        t.w = w.data();
        t.bias = bias.data();
        t.y = y.data();
        t.n = columns;
        t.out = GemmS8Out::kS32;
        kernel.tile(nv, 1)(t);
        least = std::min(least, t.narrow_steps);
        most = std::max(most, t.narrow_steps);
        for (int column = 0; column < columns; ++column) {
          int32_t sum = 5;
          for (int i = 0; i < k; ++i) {
            const int step = i / kernel.kstep, rest = i % kernel.kstep;
            sum += kernel.form_value(x[i]) * w[(step * columns + column) * kernel.kstep + rest];
          }
          CHECK(y[column] == sum) << row.symbol << " weights up to " << magnitude << ", code "
                                  << code << ": " << y[column] << " for " << sum;
        }
      }
    }
    CHECK(least < 16 && most >= kSteps) << row.symbol << ": " << least << " to " << most;
  });
}

// --- whole steps

struct Tensors {
  std::vector<TensorSpec> all;
  int Add(DType dtype, const Shape& shape, std::vector<double> scale, std::vector<int64_t> zero,
          int axis = -1) {
    TensorSpec t;
    t.name = "t" + std::to_string(all.size());
    t.dtype = dtype;
    t.shape = shape;
    t.count = CountOf(shape);
    t.scale = std::move(scale);
    t.zero_point = std::move(zero);
    t.axis = axis;
    all.push_back(t);
    return static_cast<int>(all.size()) - 1;
  }
  int Constant(int index, std::shared_ptr<std::vector<uint8_t>> bytes) {
    all[index].constant = true;
    all[index].data = bytes->data();
    all[index].owner = bytes;
    return index;
  }
};

std::shared_ptr<std::vector<uint8_t>> RandomBytes(Random& random, size_t n) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(n);
  for (uint8_t& b : *bytes) b = static_cast<uint8_t>(Code(random));
  return bytes;
}

// Runs the one step on `isa`; the int8 output.
std::vector<int8_t> RunStep(const Tensors& tensors, const StepSpec& spec,
                            const std::vector<int>& fed, const std::vector<const void*>& inputs,
                            IsaMask isa, int threads) {
  const Program program(tensors.all, {spec}, fed, spec.outputs, threads, isa);
  std::vector<int8_t> y(tensors.all[spec.outputs[0]].bytes());
  void* out = y.data();
  program.Run(inputs.data(), &out);
  return y;
}

// Equal on all instruction sets and thread counts.
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

struct ConvCase {
  int64_t h, w, c, o, kh, kw, stride, pad, group, dilation = 1;
};

BITLITE_TEST(ConvolutionsAgreeOnAllInstructionSets) {
  Random random(5);
  for (const ConvCase& c :
       {ConvCase{9, 10, 3, 16, 3, 3, 2, 1, 1}, ConvCase{7, 6, 24, 65, 1, 1, 1, 0, 1},
        ConvCase{8, 9, 64, 33, 3, 3, 1, 1, 1}, ConvCase{6, 6, 8, 12, 3, 2, 1, 1, 4},
        ConvCase{9, 8, 65, 65, 3, 3, 1, 1, 65}, ConvCase{9, 8, 40, 40, 3, 3, 2, 1, 40},
        ConvCase{9, 11, 17, 34, 5, 5, 2, 2, 17}, ConvCase{12, 9, 20, 20, 2, 3, 1, 1, 20},
        ConvCase{7, 7, 16, 16, 5, 5, 1, 2, 16}, ConvCase{11, 10, 16, 32, 4, 3, 3, 1, 16},
        ConvCase{1, 20, 33, 33, 1, 3, 1, 0, 33}, ConvCase{9, 10, 16, 16, 3, 3, 1, 2, 16, 2},
        ConvCase{13, 12, 24, 24, 3, 2, 2, 1, 24, 3}}) {
    for (const char* rounding : {"rne_f32", "gemmlowp"}) {
      for (int zero : {0, 9}) {
        const int64_t oh = (c.h + 2 * c.pad - (c.kh - 1) * c.dilation - 1) / c.stride + 1;
        const int64_t ow = (c.w + 2 * c.pad - (c.kw - 1) * c.dilation - 1) / c.stride + 1;
        Tensors t;
        const auto x = RandomBytes(random, static_cast<size_t>(2 * c.h * c.w * c.c));
        const int ix = t.Add(DType::kI8, {2, c.h, c.w, c.c}, {0.02}, {-30});
        const Shape shape = {c.o, c.kh, c.kw, c.c / c.group};
        const int iw = t.Add(DType::kI8, shape, {0.01}, {zero});
        t.Constant(iw, RandomBytes(random, static_cast<size_t>(CountOf(shape))));
        const int iy = t.Add(DType::kI8, {2, oh, ow, c.o}, {0.2}, {4});
        StepSpec spec;
        spec.op = "conv";
        spec.name = "conv";
        spec.inputs = {ix, iw, -1};
        spec.outputs = {iy};
        spec.attrs = {{"stride", std::vector<int64_t>{c.stride, c.stride}},
                      {"pad", std::vector<int64_t>{c.pad, c.pad, c.pad, c.pad}},
                      {"dilation", std::vector<int64_t>{c.dilation, c.dilation}},
                      {"group", c.group},
                      {"rounding", std::string(rounding)}};
        CheckStep(t, spec, {ix}, {x->data()});
      }
    }
  }
}

// 3x3 of stride 1, which some kernels compute by Winograd's algorithm: windows cut by the edges,
// paddings of 0 to 2, sums of which a bound is known and sums (of 200 channels) of which it is not,
// and codes and weights that make the intermediate values largest.
BITLITE_TEST(ConvolutionsOf3x3AreExact) {
  Random random(9);
  for (const ConvCase& c :
       {ConvCase{4, 4, 16, 16, 3, 3, 1, 1, 1}, ConvCase{13, 7, 24, 40, 3, 3, 1, 1, 1},
        ConvCase{8, 19, 9, 8, 3, 3, 1, 1, 1}, ConvCase{10, 14, 32, 24, 3, 3, 1, 0, 1},
        ConvCase{9, 6, 33, 17, 3, 3, 1, 2, 1}, ConvCase{5, 8, 200, 16, 3, 3, 1, 1, 1}}) {
    const int64_t oh = c.h + 2 * c.pad - 2, ow = c.w + 2 * c.pad - 2;
    for (const char* codes : {"random", "largest", "alternating"}) {
      for (const bool add : {false, true}) {
        for (const int zero : {-128, 5, 127}) {
          const Shape shape = {c.o, 3, 3, c.c};
          auto x = RandomBytes(random, static_cast<size_t>(2 * c.h * c.w * c.c));
          auto w = RandomBytes(random, static_cast<size_t>(CountOf(shape)));
          if (codes[0] == 'l') {
            std::fill(x->begin(), x->end(), zero < 0 ? 127 : -128);
            std::fill(w->begin(), w->end(), -128);
          } else if (codes[0] == 'a') {
            for (size_t i = 0; i < x->size(); ++i) (*x)[i] = i / c.c % 2 == 0 ? 127 : 0x80;
            for (size_t i = 0; i < w->size(); ++i) (*w)[i] = i / c.c % 2 == 0 ? 127 : 0x80;
          }
          Tensors t;
          const int ix = t.Add(DType::kI8, {2, c.h, c.w, c.c}, {0.02}, {zero});
          const int iw = t.Constant(t.Add(DType::kI8, shape, {0.01}, {0}), w);
          const auto bias = RandomBytes(random, static_cast<size_t>(c.o * 4));
          for (size_t i = 0; i < bias->size(); i += 4) (*bias)[i + 3] = (*bias)[i + 2] = 0;
          const int ib = t.Constant(t.Add(DType::kI32, {c.o}, {}, {}), bias);
          const auto r = RandomBytes(random, static_cast<size_t>(2 * oh * ow * c.o));
          const int ir = t.Add(DType::kI8, {2, oh, ow, c.o}, {0.3}, {7});
          const int iy =
              t.Add(DType::kI8, {2, oh, ow, c.o}, {0.02 * static_cast<double>(c.c)}, {4});
          StepSpec spec;
          spec.op = spec.name = "conv";
          spec.inputs = add ? std::vector<int>{ix, iw, ib, ir} : std::vector<int>{ix, iw, ib};
          spec.outputs = {iy};
          spec.attrs = {{"stride", std::vector<int64_t>{1, 1}},
                        {"pad", std::vector<int64_t>{c.pad, c.pad, c.pad, c.pad}},
                        {"group", c.group}};
          if (add) {
            spec.attrs["mid_scale"] = 0.04 * static_cast<double>(c.c);
            spec.attrs["mid_zero_point"] = int64_t{-3};
          }
          std::vector<int> fed = {ix};
          std::vector<const void*> inputs = {x->data()};
          if (add) {
            fed.push_back(ir);
            inputs.push_back(r->data());
          }
          CheckStep(t, spec, fed, inputs);
        }
      }
    }
  }
}

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

// --- rounding

BITLITE_TEST(RoundingTiesGoToEven) {
  CHECK(RequantizeRneF32(5, 0.5f, 0, -128, 127) == 2);  // 2.5
  CHECK(RequantizeRneF32(7, 0.5f, 0, -128, 127) == 4);  // 3.5
  CHECK(RequantizeRneF32(-5, 0.5f, 0, -128, 127) == -2);
  CHECK(RequantizeRneF32(INT32_MAX, 1e9f, 1, -128, 127) == 127);
  CHECK(RequantizeRneF32(INT32_MIN, 1e9f, 1, -128, 127) == -128);
  CHECK(RequantizeRneF32(3, 1.0f, 100, -128, 101) == 101);
}

BITLITE_TEST(GemmlowpRoundsTwiceAndTiesAwayFromZero) {
  const GemmlowpMultiplier half = QuantizeMultiplier(0.5);
  CHECK(half.mantissa == 1 << 30 && half.exponent == 0);
  CHECK(RequantizeGemmlowp(5, half, 0, -128, 127) == 3);  // 2.5
  CHECK(RequantizeGemmlowp(-5, half, 0, -128, 127) ==
        -2);  // -2.5: the nudge of a product is not symmetric
  const GemmlowpMultiplier quarter = QuantizeMultiplier(0.25);
  CHECK(quarter.exponent == -1);
  CHECK(RequantizeGemmlowp(5, quarter, 0, -128, 127) ==
        2);  // 1.25 would be 1: 2.5 -> 3 -> 1.5 -> 2
  CHECK(SaturatingRoundingDoublingHighMul(INT32_MIN, INT32_MIN) == INT32_MAX);
  CHECK(RoundingDivideByPot(-3, 1) == -2);
  CHECK(RoundingDivideByPot(3, 1) == 2);
}

}  // namespace
}  // namespace bitlite
