// The kernels of every family, typed, as their tables name them: see kernels.def.
#pragma once

#include <vector>

#include "cpu.h"
#include "family_headers.h"

namespace bitlite {

template <typename Family>
struct Kernel {
  typename Family::Fn* fn;
  const char* symbol;
  IsaMask isa;  // bits that the CPU must have
  int mr;       // most rows of a tile; 0 in families without
};

// All that were built, from worst to best; the first runs everywhere.
template <typename Family>
const std::vector<Kernel<Family>>& KernelTable();

// Those that a CPU with these features can run, from worst to best.
template <typename Family, typename Visit>
void ForEachKernel(IsaMask isa, Visit visit) {
  for (const Kernel<Family>& kernel : KernelTable<Family>()) {
    if ((kernel.isa & ~isa) == 0) visit(kernel);
  }
}

template <typename Family>
const Kernel<Family>& SelectKernel(IsaMask isa) {
  const Kernel<Family>* best = nullptr;
  ForEachKernel<Family>(isa, [&](const Kernel<Family>& kernel) { best = &kernel; });
  return *best;
}

}  // namespace bitlite
