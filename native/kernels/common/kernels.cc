#include "kernels.h"

#include <iterator>

namespace bitlite {

#define BITLITE_KERNEL(family, symbol, isa, a, b, c) family::Fn symbol;
#include "kernels.def"
#undef BITLITE_KERNEL

namespace {

const KernelRow kRows[] = {
#define BITLITE_KERNEL(family, symbol, isa, a, b, c) \
  {#family, #symbol, isa, reinterpret_cast<void (*)()>(&symbol), a, b, c},
#include "kernels.def"
#undef BITLITE_KERNEL
    {"", "", 0, nullptr, 0, 0, 0},
};

}  // namespace

const KernelRow* KernelRows(int* count) {
  *count = static_cast<int>(std::size(kRows)) - 1;
  return kRows;
}

const KernelRow* SelectRow(const char* family, IsaMask isa) {
  const KernelRow* best = nullptr;
  int count = 0;
  const KernelRow* rows = KernelRows(&count);
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(rows[i].family, family) == 0 && (rows[i].isa & ~isa) == 0) best = &rows[i];
  }
  return best;
}

}  // namespace bitlite
