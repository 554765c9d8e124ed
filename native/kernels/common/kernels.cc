#include "kernels.h"

#include <type_traits>

namespace bitlite {

#define BITLITE_FAMILY(family)
#define BITLITE_KERNEL(family, symbol, isa, mr) family::Fn symbol;
#include "kernels.def"

template <typename Family>
const std::vector<Kernel<Family>>& KernelTable() {
  static const std::vector<Kernel<Family>> table = [] {
    std::vector<Kernel<Family>> kernels;
    const auto add = [&](auto family, auto* fn, const char* symbol, IsaMask isa, int mr) {
      if constexpr (std::is_same_v<decltype(family), Family>) {
        kernels.push_back({fn, symbol, isa, mr});
      }
    };
#define BITLITE_FAMILY(family)
#define BITLITE_KERNEL(family, symbol, isa, mr) add(family{}, symbol, #symbol, isa, mr);
#include "kernels.def"
    return kernels;
  }();
  return table;
}

#define BITLITE_FAMILY(family) template const std::vector<Kernel<family>>& KernelTable<family>();
#define BITLITE_KERNEL(family, symbol, isa, mr)
#include "kernels.def"

}  // namespace bitlite
