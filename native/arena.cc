#include "arena.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace bitlite {
namespace {

constexpr size_t kAlign = 64;

size_t RoundUp(size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

bool Overlap(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

ArenaPlan PlanArena(const std::vector<Lifetime>& buffers) {
  std::vector<int> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return buffers[a].bytes > buffers[b].bytes; });
  ArenaPlan plan;
  plan.offsets.assign(buffers.size(), 0);
  std::vector<int> placed;  // by offset
  for (int i : order) {
    const size_t need = RoundUp(buffers[i].bytes);
    size_t gap_begin = 0, best_gap = SIZE_MAX, offset = 0;
    for (int p : placed) {
      if (!Overlap(buffers[p], buffers[i])) continue;
      if (plan.offsets[p] > gap_begin) {
        const size_t gap = plan.offsets[p] - gap_begin;
        if (gap >= need && gap < best_gap) {
          best_gap = gap;
          offset = gap_begin;
        }
      }
      gap_begin = std::max(gap_begin, plan.offsets[p] + RoundUp(buffers[p].bytes));
    }
    if (best_gap == SIZE_MAX) offset = gap_begin;
    plan.offsets[i] = offset;
    plan.bytes = std::max(plan.bytes, offset + need);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int b) { return plan.offsets[a] < plan.offsets[b]; }),
                  i);
  }
  return plan;
}

size_t ArenaLowerBound(const std::vector<Lifetime>& buffers) {
  size_t peak = 0;
  for (const Lifetime& at : buffers) {
    size_t sum = 0;
    for (const Lifetime& b : buffers) {
      if (b.first <= at.first && at.first <= b.last) sum += RoundUp(b.bytes);
    }
    peak = std::max(peak, sum);
  }
  return peak;
}

}  // namespace bitlite
