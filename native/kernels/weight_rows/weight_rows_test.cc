// The kernels on rows of weights against plain loops, bit for bit.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

constexpr int kLengths[] = {1, 2, 9, 15, 16, 17, 31, 32, 33, 200, 1023, 1024, 1025, 1041, 5000};
const std::vector<float> kFactors = {1.0f, 0.85f, 0.7f, 0.55f};

std::vector<float> Weights(Random& random, int n) {
  std::vector<float> w(static_cast<size_t>(n));
  for (float& v : w) {
    v = static_cast<float>(static_cast<int32_t>(random())) * 1e-10f + 0.013f;
    if (random() % 16 == 0) v *= 7.0f;
  }
  return w;
}

// kLanes sums that take turns, added up in order; those of the last elements apart.
template <typename Term>
double InLanes(int n, Term term) {
  double lanes[kLanes] = {}, sum = 0, rest = 0;
  const int whole = n / kLanes * kLanes;
  for (int i = 0; i < whole; ++i) lanes[i % kLanes] += term(i);
  for (int i = whole; i < n; ++i) rest += term(i);
  for (double lane : lanes) sum += lane;
  return sum + rest;
}

double PlainMean(const std::vector<float>& w) {
  const int n = static_cast<int>(w.size());
  return InLanes(n, [&](int i) { return static_cast<double>(w[i]); }) / n;
}

// The squared error of a row on the grid scale * u + low, with its nearest codes.
double ErrorOn(const std::vector<float>& centred, float scale, float low, int levels) {
  double sum = 0;
  for (float v : centred) {
    const double u =
        std::clamp(std::nearbyint((v - low) / scale), 0.0f, static_cast<float>(levels));
    const double off = u * scale + low - v;
    sum += off * off;
  }
  return sum;
}

void CheckMoments(const char* symbol, const WeightRowKernel& kernel) {
  Random random(1);
  for (int n : kLengths) {
    const std::vector<float> w = Weights(random, n);
    double mean, squares;
    kernel.moments(w.data(), n, &mean, &squares);
    const double middle = PlainMean(w);
    CHECK(mean == middle) << symbol << " mean of " << n;
    CHECK(squares == InLanes(n, [&](int i) { return (w[i] - middle) * (w[i] - middle); }))
        << symbol << " squares of " << n;
  }
}

template <typename T, typename Nearest, typename Sums, typename Error>
void CheckCodes(const std::string& symbol, Nearest nearest, Sums sums, Error error, double low,
                double high) {
  Random random(2);
  for (int n : kLengths) {
    const std::vector<float> w = Weights(random, n);
    const double scale = 0.9 / (high - low), zero = 3.0;
    std::vector<T> q(w.size());
    nearest(w.data(), n, scale, zero, low, high, q.data());
    int64_t total = 0, squares = 0, sum = -1, square = -1;
    for (int i = 0; i < n; ++i) {
      const double t = w[i] / scale + zero;
      CHECK(q[i] == std::clamp(std::trunc(t + std::copysign(0.5, t)), low, high))
          << symbol << " code " << i << " of " << n;
      total += q[i];
      squares += static_cast<int64_t>(q[i]) * q[i];
    }
    sums(q.data(), n, &sum, &square);
    CHECK(sum == total && square == squares) << symbol << " sums of " << n;
    double lost = 0.25, energy = 0.5, lanes[2][kLanes] = {};
    error(w.data(), q.data(), n, scale, zero, 0.01, &lost, &energy);
    for (int i = 0; i < n; ++i) {
      const double x = w[i], off = (q[i] - zero) * scale + 0.01 - x;
      lanes[0][i % kLanes] += off * off;
      lanes[1][i % kLanes] += x * x;
    }
    double want[] = {0.25, 0.5};
    for (int k = 0; k < 2; ++k) {
      for (double lane : lanes[k]) want[k] += lane;
    }
    CHECK(lost == want[0] && energy == want[1]) << symbol << " error of " << n;
  }
}

void CheckFit(const std::string& symbol, const WeightRowKernel& kernel) {
  const WeightRowKernel& plain = KernelTable<weight_rows>().front().fn();
  Random random(3);
  for (int levels : {1, 3, 7, 15}) {
    for (int n : kLengths) {
      const std::vector<float> w = Weights(random, n);
      std::vector<float> scratch(w.size());
      std::vector<int8_t> codes(w.size()), others(w.size());
      const auto fit = [&](const WeightRowKernel& by, std::vector<int8_t>& q) {
        return by.fit(w.data(), n, kFactors.data(), static_cast<int>(kFactors.size()), levels, 2,
                      1e-10f, scratch.data(), q.data());
      };
      const Grid grid = fit(kernel, codes), same = fit(plain, others);
      CHECK(grid.scale == same.scale && grid.low == same.low && grid.middle == same.middle &&
            codes == others)
          << symbol << " differs from scalar code on " << n << " with " << levels << " levels";
      CHECK(grid.middle == static_cast<float>(PlainMean(w))) << symbol << " middle of " << n;
      if (n < 9) continue;
      const float least = *std::min_element(scratch.begin(), scratch.end());
      const float most = *std::max_element(scratch.begin(), scratch.end());
      const double error = ErrorOn(scratch, grid.scale, grid.low, levels);
      const float top = static_cast<float>(levels);
      for (float factor : kFactors) {
        CHECK(error <= ErrorOn(scratch, (most - least) * factor / top, least * factor, levels))
            << symbol << " fits " << n << " worse than the grid of " << factor;
      }
      for (int i = 0; i < n; ++i) {
        const float u = std::nearbyint((scratch[i] - grid.low) / grid.scale);
        CHECK(codes[i] == static_cast<int>(std::clamp(u, 0.0f, top)) - 2)
            << symbol << " code " << i << " of " << n;
      }
    }
  }
  const std::vector<float> flat(40, 0.25f);
  std::vector<float> scratch(flat.size());
  std::vector<int8_t> codes(flat.size(), 1);
  const Grid grid =
      kernel.fit(flat.data(), 40, kFactors.data(), 4, 15, 8, 1e-10f, scratch.data(), codes.data());
  CHECK(grid.middle == 0.25f && codes == std::vector<int8_t>(40, 0)) << symbol << " of a constant";
}

// Codes of two neighbours, one real number after the other.
template <typename T>
std::vector<T> HeldPair(T v, T w, T most, T limit) {
  v = std::clamp(v, -limit, limit);
  w = std::clamp(w, -limit, limit);
  const T a = std::nearbyint(v), b = std::nearbyint(w);
  if (std::abs(a + b) <= most) return {a, b};
  const T near = std::nearbyint((std::abs(v) - std::abs(w) + most) / 2);
  const T first = std::clamp(near, most - limit, limit);
  return {std::copysign(first, a), std::copysign(most - first, a)};
}

void CheckHeld(const char* symbol, const WeightRowKernel& kernel) {
  Random random(5);
  for (int most : {128, 254}) {
    for (int n : kLengths) {
      std::vector<float> w = Weights(random, n);
      const float scale = 0.0021f, scales[] = {scale, 0.0017f};
      double sums[2][kLanes] = {};
      float largest = 0;
      std::vector<int8_t> q(w.size());
      kernel.held8(w.data(), n, scale, most, 127, q.data());
      for (int i = 0; i < n; i += 2) {
        const float v = w[i], u = i + 1 < n ? w[i + 1] : 0.0f;
        largest =
            std::max(largest, std::abs(std::nearbyint(v / scale) + std::nearbyint(u / scale)));
        for (int k = 0; k < 2; ++k) {
          const auto codes = HeldPair<float>(v / scales[k], u / scales[k], most, 127);
          const float a = codes[0] * scales[k] - v, b = codes[1] * scales[k] - u;
          sums[k][i / 2 % kLanes] += static_cast<double>(a * a) + static_cast<double>(b * b);
        }
        const double step = scale;
        const auto codes = HeldPair<double>(v / step, u / step, most, 127);
        CHECK(q[i] == codes[0] && (i + 1 == n || q[i + 1] == codes[1]))
            << symbol << " held code " << i << " of " << n << " within " << most;
      }
      CHECK(kernel.largest_pair(w.data(), n, scale) == largest) << symbol << " pair of " << n;
      double errors[2], want[2] = {};
      kernel.held_errors(w.data(), n, scales, 2, most, 127, errors);
      for (int k = 0; k < 2; ++k) {
        for (double sum : sums[k]) want[k] += sum;
      }
      CHECK(errors[0] == want[0] && errors[1] == want[1])
          << symbol << " errors of " << n << " within " << most;
    }
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<weight_rows>& entry) {
  const WeightRowKernel& kernel = entry.fn();
  const std::string symbol = entry.symbol;
  CheckMoments(entry.symbol, kernel);
  CheckCodes<int8_t>(symbol + " int8", kernel.nearest8, kernel.codes8, kernel.error8, -8, 7);
  CheckCodes<int8_t>(symbol + " int8", kernel.nearest8, kernel.codes8, kernel.error8, -128, 127);
  CheckCodes<int16_t>(symbol + " int16", kernel.nearest16, kernel.codes16, kernel.error16, -32768,
                      32767);
  CheckFit(symbol, kernel);
  CheckHeld(entry.symbol, kernel);
}

// Times of the largest layers of a MobileNet.
template <>
void TimeKernel(const Kernel<weight_rows>& entry) {
  const WeightRowKernel& kernel = entry.fn();
  constexpr int n = 1280;
  Random random(4);
  const std::vector<float> w = Weights(random, n);
  std::vector<float> scratch(w.size());
  std::vector<int8_t> codes(w.size());
  benching::Report(std::string(entry.symbol) + ": fit", benching::Time([&] {
                     kernel.fit(w.data(), n, kFactors.data(), 4, 15, 8, 1e-10f, scratch.data(),
                                codes.data());
                   }),
                   12.0 * n, 0);
  double mean, squares;
  benching::Report(std::string(entry.symbol) + ": moments",
                   benching::Time([&] { kernel.moments(w.data(), n, &mean, &squares); }), 2.0 * n,
                   0);
  const float scales[] = {0.0021f, 0.0022f, 0.0023f, 0.0024f, 0.0025f};
  double errors[5];
  benching::Report(std::string(entry.symbol) + ": held errors", benching::Time([&] {
                     kernel.held_errors(w.data(), n, scales, 5, 128, 127, errors);
                   }),
                   5.0 * n, 0);
}

}  // namespace bitlite
