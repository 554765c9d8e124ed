// A function of one code: a table of 256 results, or lines where those give the same.
#pragma once

#include <memory>

#include "step.h"

namespace bitlite {

// y = table[x + 128] of int8 input `operand`.
std::unique_ptr<Step> MakeLookup(int64_t count, IsaMask isa, int operand, const int8_t* table);

// The same without a table; null if it cannot be.
std::unique_ptr<Step> MakeLines(int64_t count, IsaMask isa, int operand, const int8_t* table);

}  // namespace bitlite
