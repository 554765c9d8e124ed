// Places buffers with known lifetimes in one block of memory.
#pragma once

#include <cstddef>
#include <vector>

namespace bitlite {

struct Lifetime {
  size_t bytes = 0;
  int first = 0;  // step that writes it
  int last = 0;   // last step that reads it, >= first
};

struct ArenaPlan {
  std::vector<size_t> offsets;  // multiples of 64
  size_t bytes = 0;
};

// Best fit, largest buffers first: each goes into the smallest gap, between the buffers alive at
// the same time, that takes it.
ArenaPlan PlanArena(const std::vector<Lifetime>& buffers);

// The largest sum of simultaneously live buffers: no plan can be smaller.
size_t ArenaLowerBound(const std::vector<Lifetime>& buffers);

}  // namespace bitlite
