// Tests of whole steps: a program of one step, on any instruction set and number of threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime.h"
#include "values.h"

namespace bitlite {

struct Tensors {
  std::vector<TensorSpec> all;
  int Add(DType dtype, const Shape& shape, std::vector<double> scale, std::vector<int64_t> zero,
          int axis = -1) {
    TensorSpec t;
    t.name = "t" + std::to_string(all.size());
    t.dtype = dtype;
    t.shape = shape;
    t.count = CountOf(shape);
    t.scale = std::move(scale);
    t.zero_point = std::move(zero);
    t.axis = axis;
    all.push_back(t);
    return static_cast<int>(all.size()) - 1;
  }
  int Constant(int index, std::shared_ptr<std::vector<uint8_t>> bytes) {
    all[index].constant = true;
    all[index].data = bytes->data();
    all[index].owner = bytes;
    return index;
  }
};

std::shared_ptr<std::vector<uint8_t>> RandomBytes(Random& random, size_t n);

// Runs the one step on `isa`; the int8 output.
std::vector<int8_t> RunStep(const Tensors& tensors, const StepSpec& spec,
                            const std::vector<int>& fed, const std::vector<const void*>& inputs,
                            IsaMask isa, int threads);

// Equal on all instruction sets and thread counts.
void CheckStep(const Tensors& tensors, const StepSpec& spec, const std::vector<int>& fed,
               const std::vector<const void*>& inputs);

}  // namespace bitlite
