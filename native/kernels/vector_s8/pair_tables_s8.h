// gemmlowp's rounding of sums and products of two int8 codes, as tables of all pairs.
#pragma once

#include <string>
#include <vector>

#include "step.h"
#include "vector_s8.h"

namespace bitlite {

// The results of gemmlowp rounding for all pairs of codes, at [code of a + 128][code of b + 128].
struct PairTables {
  std::vector<int8_t> main, tail;  // tail, when there is one, for the last `rest` of every `run`
  int64_t run = 1, rest = 0;
  RoundingTieBand tie_band;  // covers every pair whose real value rounds to another code
};

// op: add, sub or mul, with the parameters of args. a, b, y: the operands and the output.
PairTables GemmlowpTables(const std::string& op, const BinaryS8Args& args, const TensorSpec& a,
                          const TensorSpec& b, const TensorSpec& y);

}  // namespace bitlite
