// Every kernel in every family's table, by the family's own test.
#include "kernel_cases.h"
#include "testing.h"

namespace bitlite {
namespace {

#define BITLITE_FAMILY(family) \
  BITLITE_TEST(family##_kernels) { ForEachKernel<family>(ActiveIsa(), TestKernel<family>); }
#define BITLITE_KERNEL(family, symbol, isa, mr)
#include "kernels/common/kernels.def"

BITLITE_TEST(EveryFamilyRunsOnAnyCpu) {
#define BITLITE_FAMILY(family) \
  CHECK(KernelTable<family>().front().isa == kIsaScalar) << KernelTable<family>().front().symbol;
#define BITLITE_KERNEL(family, symbol, isa, mr)
#include "kernels/common/kernels.def"
}

}  // namespace
}  // namespace bitlite
