// Who does what of a recurrent layer.
//
// Steps come in chunks: the products with x of a chunk are one matrix product, and those with the
// state follow step by step. A lane, the sequences or some of them in one direction, stays on one
// thread, while others make the products of the chunk after. Where one step is work enough for
// several threads, they go step by step together: lanes of one range, or parts of the units.
#pragma once

#include <cstdint>
#include <vector>

#include "recurrent.h"

namespace bitlite {

struct RnnSchedule {
  enum class Kind { kLanes, kChunk, kUnits, kCandidates };
  struct Phase {
    Kind kind;
    int64_t index;  // chunk or step
    int64_t items;  // lanes times something
  };

  // tile_rows: of a matrix product.
  RnnSchedule(const RnnLayer& layer, int threads, int tile_rows);

  int64_t sets = 1;                      // of sequences
  int64_t lanes = 1, lane_rows = 1;      // lane_rows: the most that one has
  int64_t parts = 1;                     // of the units
  bool together = false;                 // every step is a phase
  int64_t chunk = 1, chunks = 1;         // steps of one, and how many
  int64_t buffers = 1;                   // chunks whose products are there at a time
  int64_t first_shares = 1, shares = 1;  // of a chunk's rows: of the first and of the others
  std::vector<Phase> phases;
  double cost_ns = 0;

 private:
  void AddPhases(const RnnLayer& layer);
};

}  // namespace bitlite
