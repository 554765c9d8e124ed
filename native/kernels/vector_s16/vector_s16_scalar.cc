#include "vector_s16.inc"

namespace bitlite {

const VectorS16Kernel& vector_s16_scalar() { return kKernel; }

}  // namespace bitlite
