// Whole convolutions on every instruction set against the scalar one.
#include <algorithm>
#include <memory>

#include "tests/benching.h"
#include "tests/conv_bench.h"
#include "tests/kernel_cases.h"
#include "tests/steps.h"
#include "tests/testing.h"

namespace bitlite {
namespace {

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

}  // namespace

// Times of whole int8 convolutions, with the copy of their input.
namespace {

using benching::ConvLayer;

BITLITE_BENCH(conv_s8_steps) {
  for (const std::string& isa : PermittedIsas()) {
    for (const ConvLayer& layer :
         {ConvLayer{32, 16, 16, 3, 1, false}, ConvLayer{16, 64, 64, 3, 1, false},
          ConvLayer{224, 3, 32, 3, 2, false}, ConvLayer{56, 24, 144, 1, 1, false},
          ConvLayer{14, 96, 576, 1, 1, false}}) {
      benching::TimeConvS8(layer, IsaUpTo(isa), isa);
    }
  }
}

}  // namespace

}  // namespace bitlite
