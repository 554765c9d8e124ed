// Times of depthwise convolutions, with the copy of their input that the kernel wants.
#include "tests/conv_bench.h"
#include "tests/kernel_cases.h"

namespace bitlite {

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
