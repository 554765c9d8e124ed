// Which steps of a program run as one. This is scheduling, not the rewriting of graphs that the
// passes of converter/ do: what is joined depends on the instruction set, the threads, and which
// kernels take the steps, which only the program knows, so that no graph and no file ever holds a
// joined step, and the values are those of the separate steps.
#pragma once

#include <memory>
#include <vector>

#include "step.h"

namespace bitlite {

// A conv (int8: also fully_connected and matmul) followed by an add of a computed tensor of the
// same shape, when nothing else reads its result: the tensor becomes the layer's residual input. On
// float32 the add's activation becomes the conv's own; on int8 the attributes mid_scale,
// mid_zero_point and add_act (_min, _max) describe the addition, and the bits are those of both
// steps.
void FuseResiduals(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                   std::vector<StepSpec>* specs);

// A float layer followed by a function of its result alone that nothing else reads: the layer
// applies it to its rows while they are in cache. The bits stay.
void FuseActivations(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                     std::vector<StepSpec>* specs);

// Runs of convolutions that gain from being done line by line become one step; names are joined by
// "+". Both vectors are parallel and shrink together.
void FuseChains(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                int threads, std::vector<StepSpec>* specs,
                std::vector<std::unique_ptr<Step>>* steps);

// Float convolutions whose results are only concatenated by channel, by the step right behind them,
// become one step that writes them in place. The bits stay.
void FuseConcats(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
                 std::vector<StepSpec>* specs, std::vector<std::unique_ptr<Step>>* steps);

// An int8 layer, or one that gives float32 of codes, followed by a step that computes each element
// for itself and alone reads them: a function, or prelu with constant slopes. It goes over what the
// layer has just written. The bits stay.
void FuseTails(const std::vector<TensorSpec>& tensors, const std::vector<int>& outputs,
               std::vector<StepSpec>* specs, std::vector<std::unique_ptr<Step>>* steps);

}  // namespace bitlite
