#include "vector_s8.h"
#include "vector_s8.inc"

namespace bitlite {

const VectorS8Kernel& vector_s8_scalar() { return kLoops; }

}  // namespace bitlite
