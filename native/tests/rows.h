// The kernels of a family that this CPU can run.
#pragma once

#include <cstring>

#include "../kernels/kernels.h"
#include "testing.h"

namespace bitlite {

template <typename Check>
void ForEachRow(const char* family, Check check) {
  int count = 0, found = 0;
  const KernelRow* rows = KernelRows(&count);
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(rows[i].family, family) != 0 || (rows[i].isa & ~CpuIsa()) != 0) continue;
    check(rows[i]);
    ++found;
  }
  CHECK(found > 0) << family;
}

}  // namespace bitlite
