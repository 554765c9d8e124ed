// What quantization counts and solves natively: observe.h and rounding.h on numpy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "bind.h"
#include "observe.h"
#include "rounding.h"

namespace py = pybind11;

namespace bitlite {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;

// Extremes and sums along the last axis, as (low float32, high float32, sum float64).
py::tuple PyObserveChannels(const FloatArray& x, int64_t channels) {
  if (channels < 1 || x.size() % channels != 0) {
    throw std::invalid_argument(std::to_string(x.size()) + " values are not rows of " +
                                std::to_string(channels));
  }
  py::array_t<float> low(channels), high(channels);
  py::array_t<double> sum(channels);
  float* const lo = low.mutable_data();
  float* const hi = high.mutable_data();
  double* const total = sum.mutable_data();
  std::fill(lo, lo + channels, std::numeric_limits<float>::infinity());
  std::fill(hi, hi + channels, -std::numeric_limits<float>::infinity());
  std::fill(total, total + channels, 0.0);
  bool finite;
  {
    py::gil_scoped_release release;
    finite = ObserveChannels(x.data(), x.size() / channels, channels, lo, hi, total);
  }
  if (!finite) throw std::domain_error("values are NaN or infinite");
  return py::make_tuple(low, high, sum);
}

// (low, high) of at least one float.
py::tuple PyExtremes(const FloatArray& x) {
  if (x.size() < 1) throw std::invalid_argument("no values have no extremes");
  float low, high;
  bool finite;
  {
    py::gil_scoped_release release;
    finite = Extremes(x.data(), x.size(), &low, &high);
  }
  if (!finite) throw std::domain_error("values are NaN or infinite");
  return py::make_tuple(low, high);
}

// (sum int64[channels], least int64[channels]); see ObserveCodes.
py::tuple PyObserveCodes(const py::array_t<int8_t, py::array::c_style>& x, int64_t channels) {
  if (channels < 1 || x.size() % channels != 0) {
    throw std::invalid_argument(std::to_string(x.size()) + " codes are not rows of " +
                                std::to_string(channels));
  }
  py::array_t<int64_t> sum(channels), least(channels);
  int64_t* const total = sum.mutable_data();
  int64_t* const lowest = least.mutable_data();
  {
    py::gil_scoped_release release;
    ObserveCodes(x.data(), x.size() / channels, channels, total, lowest);
  }
  return py::make_tuple(sum, least);
}

// (counts int64[bins], number of zeros); see CountBins.
py::tuple PyCountBins(const FloatArray& x, float factor, int32_t base, int32_t bins) {
  if (bins < 1) throw std::invalid_argument("at least one bin is needed");
  py::array_t<int64_t> counts(bins);
  int64_t* const out = counts.mutable_data();
  std::fill(out, out + bins, 0);
  int64_t zeros;
  {
    py::gil_scoped_release release;
    zeros = CountBins(x.data(), x.size(), factor, base, bins, out);
  }
  return py::make_tuple(counts, zeros);
}

using Rows = py::array_t<int16_t, py::array::c_style>;

// Fills the part of gram [k, k]; see Gram.
void PyGram(const Rows& x, py::array_t<double, py::array::c_style>& gram, int part, int parts) {
  const bool fit = x.ndim() == 2 && gram.ndim() == 2 && gram.shape(0) == x.shape(1) &&
                   gram.shape(1) == x.shape(1) && x.shape(0) >= 1 && x.shape(0) <= kMostGramRows;
  if (!fit || parts < 1 || part < 0 || part >= parts) {
    throw std::invalid_argument("1 to " + std::to_string(kMostGramRows) +
                                " rows [n, k], gram [k, k] and a part of the parts are needed");
  }
  double* const out = gram.mutable_data();
  py::gil_scoped_release release;
  Gram(x.data(), x.shape(0), x.shape(1), part, parts, out);
}

// Adds to products [channels, taps, taps] and sums [channels, taps]; see GramByChannel.
void PyGramByChannel(const Rows& x, py::array_t<int32_t, py::array::c_style>& products,
                     py::array_t<int32_t, py::array::c_style>& sums) {
  bool fit = x.ndim() == 3 && products.ndim() == 3 && sums.ndim() == 2;
  fit = fit && x.shape(0) <= kMostGramRows && products.shape(0) == x.shape(2) &&
        products.shape(1) == x.shape(1) && products.shape(2) == x.shape(1) &&
        sums.shape(0) == x.shape(2) && sums.shape(1) == x.shape(1);
  if (!fit) {
    throw std::invalid_argument("rows [n, t, c], products [c, t, t] and sums [c, t] are needed");
  }
  int32_t* const to = products.mutable_data();
  int32_t* const total = sums.mutable_data();
  py::gil_scoped_release release;
  GramByChannel(x.data(), x.shape(0), x.shape(1), x.shape(2), to, total);
}

struct ProblemSize {
  int64_t batch, k, columns;
};

ProblemSize Problem(const py::array_t<double, py::array::c_style>& gram,
                    const py::array_t<double, py::array::c_style>& real,
                    const py::array_t<double, py::array::c_style>& q, int64_t begin, int64_t end) {
  if (gram.ndim() != 3 || q.ndim() != 3 || real.ndim() != 3) {
    throw std::invalid_argument("gram, real and q have three axes");
  }
  const int64_t batch = q.shape(0), k = q.shape(1), columns = q.shape(2);
  const bool fit = gram.shape(0) == batch && gram.shape(1) == k && gram.shape(2) == k &&
                   real.shape(0) == batch && real.shape(1) == k && real.shape(2) == columns;
  if (!fit || begin < 0 || end > columns || begin > end) {
    throw std::invalid_argument(
        "gram [b, k, k], real and q [b, k, n] and columns within n are needed");
  }
  return {batch, k, columns};
}

// w [rows, n], costs [n, n]; see AddExcess.
void PyAddExcess(const py::array_t<uint8_t, py::array::c_style>& w, int most,
                 py::array_t<double, py::array::c_style>& costs) {
  Require(w.ndim() == 2 && costs.ndim() == 2 && costs.shape(0) == w.shape(1) &&
              costs.shape(1) == w.shape(1) && most >= 127 && most <= 254,
          "weights are not [rows, n], costs not [n, n], or most is not 127 to 254");
  double* to = costs.mutable_data();
  py::gil_scoped_release release;
  AddExcess(w.data(), w.shape(0), w.shape(1), most, to);
}

// costs [n, n] → order [n]; see MatchPairs.
py::array_t<int64_t> PyMatchPairs(const py::array_t<double, py::array::c_style>& costs,
                                  int sweeps) {
  Require(costs.ndim() == 2 && costs.shape(0) == costs.shape(1), "costs are not [n, n]");
  py::array_t<int64_t> order(costs.shape(0));
  int64_t* to = order.mutable_data();
  std::iota(to, to + costs.shape(0), int64_t{0});
  py::gil_scoped_release release;
  MatchPairs(costs.data(), costs.shape(0), sweeps, to);
  return order;
}

// In place on q [batch, k, columns]; see Descend. Each call takes columns begin..end of every
// batch.
void PyDescend(const py::array_t<double, py::array::c_style>& gram,
               const py::array_t<double, py::array::c_style>& real,
               py::array_t<double, py::array::c_style>& q, int64_t begin, int64_t end, double low,
               double high, double pair, int sweeps) {
  const auto [batch, k, columns] = Problem(gram, real, q, begin, end);
  double* const codes = q.mutable_data();
  py::gil_scoped_release release;
  for (int64_t b = 0; b < batch; ++b) {
    Descend(gram.data() + b * k * k, real.data() + b * k * columns, codes + b * k * columns, k,
            columns, begin, end, low, high, pair, sweeps);
  }
}

// In place on matrix [batch, k, k]; whether all of them are positive definite; see Factor.
bool PyFactor(py::array_t<double, py::array::c_style>& matrix) {
  if (matrix.ndim() != 3 || matrix.shape(1) != matrix.shape(2)) {
    throw std::invalid_argument("a matrix [b, k, k] is needed");
  }
  const int64_t batch = matrix.shape(0), k = matrix.shape(1);
  double* const out = matrix.mutable_data();
  py::gil_scoped_release release;
  bool positive = true;
  for (int64_t b = 0; b < batch; ++b) positive &= Factor(out + b * k * k, k);
  return positive;
}

// Fills the part of cross [k, k] of rows x and y [n, k]; see Cross.
void PyCross(const Rows& x, const Rows& y, py::array_t<double, py::array::c_style>& cross, int part,
             int parts) {
  const bool fit = x.ndim() == 2 && y.ndim() == 2 && cross.ndim() == 2 &&
                   x.shape(0) == y.shape(0) && x.shape(1) == y.shape(1) &&
                   cross.shape(0) == x.shape(1) && cross.shape(1) == x.shape(1) &&
                   x.shape(0) >= 1 && x.shape(0) <= kMostGramRows;
  if (!fit || parts < 1 || part < 0 || part >= parts) {
    throw std::invalid_argument("1 to " + std::to_string(kMostGramRows) +
                                " rows x and y [n, k], cross [k, k] and a part of the parts");
  }
  double* const out = cross.mutable_data();
  py::gil_scoped_release release;
  Cross(x.data(), y.data(), x.shape(0), x.shape(1), part, parts, out);
}

// Columns begin..end of q [batch, k, columns] by `function`; see Multiply and Solve.
template <void (*function)(const double*, const double*, double*, int64_t, int64_t, int64_t,
                           int64_t)>
void PyByColumns(const py::array_t<double, py::array::c_style>& matrix,
                 const py::array_t<double, py::array::c_style>& real,
                 py::array_t<double, py::array::c_style>& q, int64_t begin, int64_t end) {
  const auto [batch, k, columns] = Problem(matrix, real, q, begin, end);
  double* const out = q.mutable_data();
  py::gil_scoped_release release;
  for (int64_t b = 0; b < batch; ++b) {
    function(matrix.data() + b * k * k, real.data() + b * k * columns, out + b * k * columns, k,
             columns, begin, end);
  }
}

// In place on q [batch, k, columns]; see Eliminate. Each call takes columns begin..end of every
// batch.
void PyEliminate(const py::array_t<double, py::array::c_style>& factor,
                 const py::array_t<double, py::array::c_style>& real,
                 py::array_t<double, py::array::c_style>& q, int64_t begin, int64_t end, double low,
                 double high) {
  const auto [batch, k, columns] = Problem(factor, real, q, begin, end);
  double* const codes = q.mutable_data();
  py::gil_scoped_release release;
  for (int64_t b = 0; b < batch; ++b) {
    Eliminate(factor.data() + b * k * k, real.data() + b * k * columns, codes + b * k * columns, k,
              columns, begin, end, low, high);
  }
}

}  // namespace

void DefineCalibration(py::module_& m) {
  m.def("observe_channels", &PyObserveChannels, py::arg("x").noconvert(), py::arg("channels"));
  m.def("extremes", &PyExtremes, py::arg("x").noconvert());
  m.def("observe_codes", &PyObserveCodes, py::arg("x").noconvert(), py::arg("channels"));
  m.def("gram", &PyGram, py::arg("x").noconvert(), py::arg("gram").noconvert(), py::arg("part"),
        py::arg("parts"));
  m.def("gram_by_channel", &PyGramByChannel, py::arg("x").noconvert(),
        py::arg("products").noconvert(), py::arg("sums").noconvert());
  m.def("add_excess", &PyAddExcess, py::arg("w").noconvert(), py::arg("most"),
        py::arg("costs").noconvert());
  m.def("match_pairs", &PyMatchPairs, py::arg("costs").noconvert(), py::arg("sweeps"));
  m.def("descend", &PyDescend, py::arg("gram").noconvert(), py::arg("real").noconvert(),
        py::arg("q").noconvert(), py::arg("begin"), py::arg("end"), py::arg("low"), py::arg("high"),
        py::arg("pair"), py::arg("sweeps"));
  m.def("factor", &PyFactor, py::arg("matrix").noconvert());
  m.def("cross", &PyCross, py::arg("x").noconvert(), py::arg("y").noconvert(),
        py::arg("cross").noconvert(), py::arg("part"), py::arg("parts"));
  m.def("multiply", &PyByColumns<Multiply>, py::arg("matrix").noconvert(),
        py::arg("real").noconvert(), py::arg("q").noconvert(), py::arg("begin"), py::arg("end"));
  m.def("solve", &PyByColumns<Solve>, py::arg("factor").noconvert(), py::arg("real").noconvert(),
        py::arg("q").noconvert(), py::arg("begin"), py::arg("end"));
  m.def("eliminate", &PyEliminate, py::arg("factor").noconvert(), py::arg("real").noconvert(),
        py::arg("q").noconvert(), py::arg("begin"), py::arg("end"), py::arg("low"),
        py::arg("high"));
  m.def("count_bins", &PyCountBins, py::arg("x").noconvert(), py::arg("factor"), py::arg("base"),
        py::arg("bins"));
}

}  // namespace bitlite
