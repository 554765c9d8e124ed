// Every kernel in every family's table, by the family's own timing.
#include "benching.h"
#include "kernel_cases.h"

namespace bitlite {
namespace {

#define BITLITE_FAMILY(family) \
  BITLITE_BENCH(family##_kernels) { ForEachKernel<family>(ActiveIsa(), TimeKernel<family>); }
#define BITLITE_KERNEL(family, symbol, isa, mr)
#include "kernels/common/kernels.def"

}  // namespace
}  // namespace bitlite
