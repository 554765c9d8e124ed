// The parts of the extension, each in a file of its own.
#pragma once

#include <pybind11/pybind11.h>

namespace bitlite {

void DefineCalibration(pybind11::module_& m);
void DefineWeights(pybind11::module_& m);

}  // namespace bitlite
