// Rewrites of a program's steps before its memory is planned.
#pragma once

#include <memory>
#include <vector>

#include "step.h"

namespace bitlite {

// float32 conv followed by an add of a tensor of the same shape, when nothing else reads the conv's
// result: the tensor becomes the conv's residual input and the add's activation its own.
void FuseResiduals(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                   std::vector<StepSpec>* specs);

// Runs of convolutions that gain from being done line by line become one step; names are joined by
// "+". Both vectors are parallel and shrink together.
void FuseChains(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                int threads, std::vector<StepSpec>* specs,
                std::vector<std::unique_ptr<Step>>* steps);

}  // namespace bitlite
