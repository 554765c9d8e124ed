// The kernels and the instruction sets that tests and timings go through: those that this CPU has
// and BITLITE_ISA permits.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu.h"
#include "kernels/common/kernels.h"

namespace bitlite {

template <typename Visit>
void ForEachRow(const char* family, Visit visit) {
  int count = 0, found = 0;
  const KernelRow* rows = KernelRows(&count);
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(rows[i].family, family) != 0 || (rows[i].isa & ~ActiveIsa()) != 0) continue;
    visit(rows[i]);
    ++found;
  }
  if (found == 0) throw std::logic_error(std::string("no kernel of family ") + family);
}

inline std::vector<std::string> PermittedIsas() {
  std::vector<std::string> names;
  for (const std::string& name : AvailableIsas()) {
    if ((IsaUpTo(name) & ~ActiveIsa()) == 0) names.push_back(name);
  }
  return names;
}

}  // namespace bitlite
