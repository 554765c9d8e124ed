// What tests a kernel, and what times one. A family's <family>_test.cc defines both, the harness
// calls them for every kernel in the family's table that this CPU has and BITLITE_ISA permits;
// without them neither bitlite_tests nor bitlite_bench links.
#pragma once

#include <string>
#include <vector>

#include "cpu.h"
#include "kernels/common/kernels.h"

namespace bitlite {

template <typename Family>
void TestKernel(const Kernel<Family>& entry);
template <typename Family>
void TimeKernel(const Kernel<Family>& entry);

#define BITLITE_FAMILY(family)                  \
  template <>                                   \
  void TestKernel(const Kernel<family>& entry); \
  template <>                                   \
  void TimeKernel(const Kernel<family>& entry);
#define BITLITE_KERNEL(family, symbol, isa, mr)
#include "kernels/common/kernels.def"

// The instruction sets of this CPU that BITLITE_ISA permits.
inline std::vector<std::string> PermittedIsas() {
  std::vector<std::string> names;
  for (const std::string& name : AvailableIsas()) {
    if ((IsaUpTo(name) & ~ActiveIsa()) == 0) names.push_back(name);
  }
  return names;
}

}  // namespace bitlite
