// What choosing codes of weights asks of their rows: kernels/weight_rows on numpy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <limits>
#include <vector>

#include "bind.h"
#include "cpu.h"
#include "kernels/common/kernels.h"
#include "step.h"

namespace py = pybind11;

namespace bitlite {
namespace {

using Weights = py::array_t<float, py::array::c_style>;
using Doubles = py::array_t<double, py::array::c_style>;
template <typename T>
using Codes = py::array_t<T, py::array::c_style>;

constexpr int kMostLevels = 255;

const WeightRowKernel& Kernels() { return SelectKernel<weight_rows>(ActiveIsa()).fn(); }

// w [c, n] → codes int8 [c, n] and scale, low, middle float32 [c]; see WeightRowKernel::fit.
py::tuple PyFitGrids(const Weights& w, const Weights& factors, int levels, int zero, float flat) {
  Require(w.ndim() == 2 && w.shape(1) > 0 && factors.ndim() == 1,
          "w is not [c, n > 0], or factors not [k]");
  Require(levels > 0 && levels <= kMostLevels && zero >= levels - 127 && zero <= 128,
          "levels are not 1 to 255, or codes not int8");
  const int64_t channels = w.shape(0), n = w.shape(1);
  Codes<int8_t> codes({channels, n});
  Weights scale(channels), low(channels), middle(channels);
  int8_t* const to = codes.mutable_data();
  float* const grid[] = {scale.mutable_data(), low.mutable_data(), middle.mutable_data()};
  {
    py::gil_scoped_release release;
    const WeightRowKernel& kernel = Kernels();
    std::vector<float> scratch(n);
    for (int64_t c = 0; c < channels; ++c) {
      const Grid fit =
          kernel.fit(w.data() + c * n, n, factors.data(), static_cast<int>(factors.size()), levels,
                     zero, flat, scratch.data(), to + c * n);
      grid[0][c] = fit.scale;
      grid[1][c] = fit.low;
      grid[2][c] = fit.middle;
    }
  }
  return py::make_tuple(codes, scale, low, middle);
}

// w [c, n] → mean and the sum of squares about it, float64 [c].
py::tuple PyRowMoments(const Weights& w) {
  Require(w.ndim() == 2 && w.shape(1) > 0, "w is not [c, n > 0]");
  Doubles mean(w.shape(0)), squares(w.shape(0));
  double* const to[] = {mean.mutable_data(), squares.mutable_data()};
  {
    py::gil_scoped_release release;
    const WeightRowKernel& kernel = Kernels();
    for (int64_t c = 0; c < w.shape(0); ++c) {
      kernel.moments(w.data() + c * w.shape(1), w.shape(1), to[0] + c, to[1] + c);
    }
  }
  return py::make_tuple(mean, squares);
}

// Fills q [c, n] with the codes low .. high of w; scale, zero float64 [c]; see nearest8.
template <typename T>
void PyNearestCodes(const Weights& w, const Doubles& scale, const Doubles& zero, int low, int high,
                    Codes<T>& q) {
  Require(w.ndim() == 2 && q.ndim() == 2 && q.shape(0) == w.shape(0) && q.shape(1) == w.shape(1) &&
              scale.size() == w.shape(0) && zero.size() == w.shape(0),
          "w and q are not [c, n], or scale and zero not [c]");
  Require(
      low >= std::numeric_limits<T>::min() && low <= high && high <= std::numeric_limits<T>::max(),
      "codes are wider than q");
  T* const to = q.mutable_data();
  py::gil_scoped_release release;
  const WeightRowKernel& kernel = Kernels();
  const int64_t n = w.shape(1);
  for (int64_t c = 0; c < w.shape(0); ++c) {
    const double s = scale.data()[c], z = zero.data()[c];
    if constexpr (sizeof(T) == 1) {
      kernel.nearest8(w.data() + c * n, n, s, z, low, high, to + c * n);
    } else {
      kernel.nearest16(w.data() + c * n, n, s, z, low, high, to + c * n);
    }
  }
}

// q [c, n] → sums and sums of squares, int64 [c].
template <typename T>
py::tuple PyCodeSums(const Codes<T>& q) {
  Require(q.ndim() == 2 && q.shape(1) < int64_t{1} << 32, "q is not [c, n < 2^32]");
  py::array_t<int64_t> sum(q.shape(0)), squares(q.shape(0));
  int64_t* const to[] = {sum.mutable_data(), squares.mutable_data()};
  {
    py::gil_scoped_release release;
    const WeightRowKernel& kernel = Kernels();
    for (int64_t c = 0; c < q.shape(0); ++c) {
      const T* row = q.data() + c * q.shape(1);
      if constexpr (sizeof(T) == 1) {
        kernel.codes8(row, q.shape(1), to[0] + c, to[1] + c);
      } else {
        kernel.codes16(row, q.shape(1), to[0] + c, to[1] + c);
      }
    }
  }
  return py::make_tuple(sum, squares);
}

// w, q [c, n]; scale, zero, mean float64 [c] → (Σ (scale * (q - zero) + mean - w)², Σ w²).
template <typename T>
py::tuple PyCodeError(const Weights& w, const Codes<T>& q, const Doubles& scale,
                      const Doubles& zero, const Doubles& mean) {
  Require(w.ndim() == 2 && q.ndim() == 2 && q.shape(0) == w.shape(0) && q.shape(1) == w.shape(1) &&
              scale.size() == w.shape(0) && zero.size() == w.shape(0) && mean.size() == w.shape(0),
          "w and q are not [c, n], or scale, zero and mean not [c]");
  double error = 0, energy = 0;
  {
    py::gil_scoped_release release;
    const WeightRowKernel& kernel = Kernels();
    const int64_t n = w.shape(1);
    for (int64_t c = 0; c < w.shape(0); ++c) {
      const double s = scale.data()[c], z = zero.data()[c], m = mean.data()[c];
      if constexpr (sizeof(T) == 1) {
        kernel.error8(w.data() + c * n, q.data() + c * n, n, s, z, m, &error, &energy);
      } else {
        kernel.error16(w.data() + c * n, q.data() + c * n, n, s, z, m, &error, &energy);
      }
    }
  }
  return py::make_tuple(error, energy);
}

// w [c, n], scale float32 [c] → float32 [c]; see largest_pair.
Weights PyLargestPairs(const Weights& w, const Weights& scale) {
  Require(w.ndim() == 2 && scale.size() == w.shape(0), "w is not [c, n], or scale not [c]");
  Weights largest(w.shape(0));
  float* const to = largest.mutable_data();
  py::gil_scoped_release release;
  const WeightRowKernel& kernel = Kernels();
  for (int64_t c = 0; c < w.shape(0); ++c) {
    to[c] = kernel.largest_pair(w.data() + c * w.shape(1), w.shape(1), scale.data()[c]);
  }
  return largest;
}

void RequireHeld(int most, int limit) {
  Require(0 < limit && limit <= 127 && limit <= most && most <= 2 * limit,
          "codes are not int8, or sums not from one code to two");
}

// w [c, n], scales float32 [c, k] → the squared errors, float64 [c, k]; see held_errors.
Doubles PyHeldErrors(const Weights& w, const Weights& scales, int most, int limit) {
  Require(w.ndim() == 2 && scales.ndim() == 2 && scales.shape(0) == w.shape(0),
          "w is not [c, n], or scales not [c, k]");
  RequireHeld(most, limit);
  const int64_t n = w.shape(1), count = scales.shape(1);
  Doubles errors({w.shape(0), count});
  double* const to = errors.mutable_data();
  py::gil_scoped_release release;
  const WeightRowKernel& kernel = Kernels();
  for (int64_t c = 0; c < w.shape(0); ++c) {
    kernel.held_errors(w.data() + c * n, n, scales.data() + c * count, static_cast<int>(count),
                       most, limit, to + c * count);
  }
  return errors;
}

// w [c, n], scale float64 [c] → codes int8 [c, n]; see held8.
Codes<int8_t> PyHeldCodes(const Weights& w, const Doubles& scale, int most, int limit) {
  Require(w.ndim() == 2 && scale.size() == w.shape(0), "w is not [c, n], or scale not [c]");
  RequireHeld(most, limit);
  const int64_t n = w.shape(1);
  Codes<int8_t> codes({w.shape(0), n});
  int8_t* const to = codes.mutable_data();
  py::gil_scoped_release release;
  const WeightRowKernel& kernel = Kernels();
  for (int64_t c = 0; c < w.shape(0); ++c) {
    kernel.held8(w.data() + c * n, n, scale.data()[c], most, limit, to + c * n);
  }
  return codes;
}

}  // namespace

void DefineWeights(py::module_& m) {
  m.def("largest_pairs", &PyLargestPairs, py::arg("w").noconvert(), py::arg("scale").noconvert());
  m.def("held_errors", &PyHeldErrors, py::arg("w").noconvert(), py::arg("scales").noconvert(),
        py::arg("most"), py::arg("limit"));
  m.def("held_codes", &PyHeldCodes, py::arg("w").noconvert(), py::arg("scale").noconvert(),
        py::arg("most"), py::arg("limit"));
  m.def("fit_grids", &PyFitGrids, py::arg("w").noconvert(), py::arg("factors").noconvert(),
        py::arg("levels"), py::arg("zero"), py::arg("flat"));
  m.def("row_moments", &PyRowMoments, py::arg("w").noconvert());
  m.def("nearest_codes", &PyNearestCodes<int8_t>, py::arg("w").noconvert(), py::arg("scale"),
        py::arg("zero"), py::arg("low"), py::arg("high"), py::arg("q").noconvert());
  m.def("nearest_codes", &PyNearestCodes<int16_t>, py::arg("w").noconvert(), py::arg("scale"),
        py::arg("zero"), py::arg("low"), py::arg("high"), py::arg("q").noconvert());
  m.def("code_sums", &PyCodeSums<int8_t>, py::arg("q").noconvert());
  m.def("code_sums", &PyCodeSums<int16_t>, py::arg("q").noconvert());
  m.def("code_error", &PyCodeError<int8_t>, py::arg("w").noconvert(), py::arg("q").noconvert(),
        py::arg("scale"), py::arg("zero"), py::arg("mean"));
  m.def("code_error", &PyCodeError<int16_t>, py::arg("w").noconvert(), py::arg("q").noconvert(),
        py::arg("scale"), py::arg("zero"), py::arg("mean"));
}

}  // namespace bitlite
