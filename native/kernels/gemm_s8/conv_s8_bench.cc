// Times of whole int8 convolutions, with the copy of their input.
#include "tests/benching.h"
#include "tests/conv_bench.h"
#include "tests/kernel_cases.h"

namespace bitlite {
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
