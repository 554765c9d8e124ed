// Parameters that a row hands over as an attribute or as a constant input.
#ifndef BITLITE_NATIVE_KERNELS_PARAMS_H_
#define BITLITE_NATIVE_KERNELS_PARAMS_H_

#include <cstdint>
#include <vector>

#include "step.h"

namespace bitlite {

inline std::vector<int64_t> IntParameter(const StepSpec& spec, const char* key, PlanContext& plan,
                                         int input) {
  return spec.Has(key) ? spec.Ints(key, {}) : IntValues(plan.In(input));
}

}  // namespace bitlite

#endif  // BITLITE_NATIVE_KERNELS_PARAMS_H_
