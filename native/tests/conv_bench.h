// Times of whole int8 convolutions.
#pragma once

#include <cstdint>
#include <string>

#include "cpu.h"

namespace bitlite {
namespace benching {

// A square image of size x size x c, `o` outputs channels, a square kernel with padding that keeps
// the extents.
struct ConvLayer {
  int64_t size, c, o, kernel, stride;
  bool depthwise;
};

// The step with the copy of its input, on one thread; `who` begins the line.
void TimeConvS8(const ConvLayer& layer, IsaMask isa, const std::string& who);

}  // namespace benching
}  // namespace bitlite
