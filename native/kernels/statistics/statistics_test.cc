// The statistics kernels against plain loops, bit for bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

constexpr int kWidths[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 200, 257};

std::vector<float> Floats(Random& random, int n) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) {
    v = static_cast<float>(static_cast<int32_t>(random())) * 1e-9f;
    if (random() % 4 == 0) v = 0.0f;
  }
  return x;
}

std::vector<int16_t> Centred(Random& random, int64_t n) {
  std::vector<int16_t> x(static_cast<size_t>(n));
  for (int16_t& v : x) v = static_cast<int16_t>(static_cast<int>(random() % 511) - 255);
  return x;
}

void CheckFloats(const char* symbol, const StatisticsKernel& kernel) {
  Random random(1);
  for (int n : kWidths) {
    const std::vector<float> x = Floats(random, 5 * n);
    std::vector<float> low(x.begin(), x.begin() + n), high = low;
    std::vector<double> sum(static_cast<size_t>(n), 0.5);
    kernel.columns(x.data(), 5, n, low.data(), high.data(), sum.data());
    for (int c = 0; c < n; ++c) {
      float least = x[c], most = x[c];
      double total = 0.5;
      for (int r = 0; r < 5; ++r) {
        least = std::min(least, x[r * n + c]);
        most = std::max(most, x[r * n + c]);
        total += x[r * n + c];
      }
      CHECK(low[c] == least && high[c] == most && sum[c] == total) << symbol << " column " << c;
    }
    float least = 0, most = 0;
    CHECK(kernel.extremes(x.data(), 5 * n, &least, &most)) << symbol;
    CHECK(least == *std::min_element(x.begin(), x.end())) << symbol << " " << n;
    CHECK(most == *std::max_element(x.begin(), x.end())) << symbol << " " << n;
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      std::vector<float> y = x;
      y[random() % y.size()] = bad;
      CHECK(!kernel.extremes(y.data(), 5 * n, &least, &most)) << symbol << " " << n;
    }
    std::vector<int32_t> index(x.size());
    const int32_t zeros = kernel.bins(x.data(), 5 * n, 64.0f, -100, 180, index.data());
    CHECK(zeros == std::count(x.begin(), x.end(), 0.0f)) << symbol;
    for (size_t i = 0; i < x.size(); ++i) {
      const int32_t bin = static_cast<int32_t>(std::floor(x[i] * 64.0f)) + 100;
      CHECK(index[i] == std::min(std::max(bin, 0), 179)) << symbol << " " << x[i];
    }
  }
}

void CheckCodes(const char* symbol, const StatisticsKernel& kernel) {
  Random random(2);
  for (int n : kWidths) {
    std::vector<int8_t> x(static_cast<size_t>(6 * n));
    for (int8_t& v : x) v = static_cast<int8_t>(random() % 5 == 0 ? -128 : random());
    std::vector<int8_t> low(x.begin(), x.begin() + n), high = low;
    std::vector<int32_t> sum(static_cast<size_t>(n), 3), equal(static_cast<size_t>(n), 2);
    kernel.codes(x.data(), 6, n, low.data(), high.data(), sum.data());
    kernel.equal(x.data(), 6, n, low.data(), equal.data());
    for (int c = 0; c < n; ++c) {
      int least = 127, most = -128, total = 3, count = 2;
      for (int r = 0; r < 6; ++r) {
        least = std::min<int>(least, x[r * n + c]);
        most = std::max<int>(most, x[r * n + c]);
        total += x[r * n + c];
      }
      for (int r = 0; r < 6; ++r) count += x[r * n + c] == least;
      CHECK(low[c] == least && high[c] == most && sum[c] == total && equal[c] == count) << symbol;
    }
  }
}

void CheckProducts(const char* symbol, const StatisticsKernel& kernel) {
  Random random(3);
  for (int pairs : {1, 2, 31, 600}) {
    const std::vector<int16_t> left = Centred(random, 2 * pairs * kPanel);
    const std::vector<int16_t> right = Centred(random, 2 * pairs * kPanel);
    std::vector<int32_t> a(static_cast<size_t>(pairs) * kPanel), b(a.size());
    std::memcpy(a.data(), left.data(), a.size() * 4);
    std::memcpy(b.data(), right.data(), b.size() * 4);
    int32_t tile[kTileRows * kPanel];
    for (int first : {0, kTileRows}) {
      kernel.products(a.data() + first, b.data(), pairs, tile);
      for (int i = 0; i < kTileRows * kPanel; ++i) {
        int32_t sum = 0;
        for (int p = 0; p < pairs; ++p) {
          const int16_t* l = left.data() + 2 * (p * kPanel + first + i / kPanel);
          const int16_t* r = right.data() + 2 * (p * kPanel + i % kPanel);
          sum += l[0] * r[0] + l[1] * r[1];
        }
        CHECK(tile[i] == sum) << symbol << " " << pairs << " pairs";
      }
    }
  }
  for (int channels : kWidths) {
    const int rows = 5, taps = 3, stride = channels + 2;
    const std::vector<int16_t> x = Centred(random, rows * taps * stride);
    std::vector<int32_t> sums(static_cast<size_t>(6 * channels), 1);
    kernel.products_by_channel(x.data(), rows, taps, stride, channels, sums.data());
    size_t at = 0;
    for (int i = 0; i < taps; ++i) {
      for (int j = i; j < taps; ++j) {
        for (int c = 0; c < channels; ++c, ++at) {
          int32_t sum = 1;
          for (int r = 0; r < rows; ++r) {
            sum += x[(r * taps + i) * stride + c] * x[(r * taps + j) * stride + c];
          }
          CHECK(sums[at] == sum) << symbol << " channel " << c << " of " << channels;
        }
      }
    }
  }
}

// Plain coordinate descent, one column.
void Plain(const std::vector<double>& gram, const std::vector<double>& real, int k, int stride,
           int column, double low, double high, double pair, int sweeps, std::vector<double>* q) {
  std::vector<double> slope(static_cast<size_t>(k), 0.0);
  const auto shift = [&](int i, double step) {
    for (int j = 0; j < k; ++j) slope[j] += gram[i * k + j] * step;
  };
  for (int i = 0; i < k; ++i) shift(i, (*q)[i * stride + column] - real[i * stride + column]);
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (int i = 0; i < k; ++i) {
      double& code = (*q)[i * stride + column];
      const double wish = std::nearbyint(code - slope[i] / gram[i * k + i]);
      const double mate = (i ^ 1) < k ? (*q)[(i ^ 1) * stride + column] : 0.0;
      const double least = std::max(low, -pair - std::min(mate, 0.0));
      const double most = std::min(high, pair - std::max(mate, 0.0));
      const double best = std::min(std::max(wish, least), most);
      const double step = best - code;
      code = best;
      if (step != 0.0) shift(i, step);
    }
  }
}

void CheckDescent(const char* symbol, const StatisticsKernel& kernel) {
  Random random(4);
  for (int k : {1, 9, 31, 32, 33, 70}) {
    std::vector<double> gram(static_cast<size_t>(k * k));
    const std::vector<int16_t> x = Centred(random, 40 * k);
    for (int i = 0; i < k; ++i) {
      for (int j = 0; j < k; ++j) {
        for (int r = 0; r < 40; ++r) gram[i * k + j] += x[r * k + i] * x[r * k + j];
      }
      gram[i * k + i] += 0.37;
    }
    for (int columns : {1, kernel.descent - 1, kernel.descent}) {
      const int stride = columns + 1;
      std::vector<double> real(static_cast<size_t>(k * stride)), q(real.size());
      for (size_t i = 0; i < real.size(); ++i) {
        real[i] = static_cast<int32_t>(random()) * 4e-9;
        q[i] = std::min(std::max(std::nearbyint(real[i]), -7.0), 7.0);
      }
      for (double pair : {14.0, 9.0}) {
        std::vector<double> plain = q, descended = q;
        std::vector<double> scratch(static_cast<size_t>(3 * k * kMostColumns));
        for (int c = 0; c < columns; ++c) Plain(gram, real, k, stride, c, -7, 7, pair, 3, &plain);
        kernel.descend({gram.data(), real.data(), descended.data(), scratch.data(), k, stride,
                        columns, -7, 7, pair, 3});
        CHECK(descended == plain) << symbol << " k " << k << " columns " << columns << " " << pair;
      }
    }
  }
}

// Plain elimination of one column: what a row loses goes to the rows before it.
std::vector<double> Eliminated(const std::vector<double>& factor, const std::vector<double>& real,
                               int k, int stride, int column, double low, double high) {
  std::vector<double> sums(static_cast<size_t>(k), 0.0), q(static_cast<size_t>(k));
  for (int i = k - 1; i >= 0; --i) {
    const double value = real[i * stride + column];
    const double wish = value + sums[i] / factor[i * k + i];
    q[i] = std::nearbyint(std::min(std::max(wish, low), high));
    for (int j = 0; j < i; ++j) sums[j] += factor[i * k + j] * (value - q[i]);
  }
  return q;
}

void CheckElimination(const char* symbol, const StatisticsKernel& kernel) {
  Random random(5);
  for (int k : {1, 9, 31, 32, 33, 70}) {
    std::vector<double> matrix(static_cast<size_t>(k * k)), plain(matrix.size(), 0.0);
    const std::vector<int16_t> x = Centred(random, 90 * k);
    for (int i = 0; i < k; ++i) {
      for (int j = 0; j < k; ++j) {
        for (int r = 0; r < 90; ++r) matrix[i * k + j] += x[r * k + i] * x[r * k + j];
      }
    }
    for (int j = 0; j < k; ++j) {
      for (int i = j; i < k; ++i) {
        double sum = 0.0;
        for (int s = 0; s < j; ++s) sum += plain[s * k + i] * plain[s * k + j];
        const double rest = matrix[j * k + i] - sum;
        plain[j * k + i] = plain[i * k + j] = i == j ? std::sqrt(rest) : rest / plain[j * k + j];
      }
    }
    std::vector<double> scratch(static_cast<size_t>(2 * k * kMostColumns));
    CHECK(kernel.factor(matrix.data(), k, scratch.data())) << symbol << " factor, k " << k;
    CHECK(matrix == plain) << symbol << " factor, k " << k;
    for (int columns : {1, kernel.descent - 1, kernel.descent}) {
      const int stride = columns + 1;
      std::vector<double> real(static_cast<size_t>(k * stride)), q(real.size(), 99.0);
      for (double& v : real) v = static_cast<int32_t>(random()) * 4e-9;
      kernel.eliminate(
          {plain.data(), real.data(), q.data(), scratch.data(), k, stride, columns, -7, 7, 0.0, 0});
      for (int c = 0; c < stride; ++c) {
        const std::vector<double> want = c < columns
                                             ? Eliminated(plain, real, k, stride, c, -7, 7)
                                             : std::vector<double>(static_cast<size_t>(k), 99.0);
        for (int i = 0; i < k; ++i) {
          CHECK(q[i * stride + c] == want[i]) << symbol << " k " << k << " column " << c;
        }
      }
    }
  }
}

// Products with a matrix and solutions of a factor, against plain loops in the kernels' order.
void CheckSystems(const char* symbol, const StatisticsKernel& kernel) {
  Random random(6);
  for (int k : {1, 9, 32, 33, 70}) {
    std::vector<double> factor(static_cast<size_t>(k * k));
    for (int i = 0; i < k; ++i) {
      for (int j = 0; j <= i; ++j) {
        factor[i * k + j] = factor[j * k + i] =
            i == j ? 3.0 : static_cast<int32_t>(random()) * 1e-11;
      }
    }
    std::vector<double> scratch(static_cast<size_t>(2 * k * kMostColumns));
    for (int columns : {1, kernel.descent}) {
      const int stride = columns + 1;
      std::vector<double> real(static_cast<size_t>(k * stride)), product(real.size(), 99.0);
      std::vector<double> solved = product;
      for (double& v : real) v = static_cast<int32_t>(random()) * 4e-9;
      kernel.multiply({factor.data(), real.data(), product.data(), scratch.data(), k, stride,
                       columns, 0.0, 0.0, 0.0, 0});
      kernel.solve({factor.data(), real.data(), solved.data(), scratch.data(), k, stride, columns,
                    0.0, 0.0, 0.0, 0});
      for (int c = 0; c < columns; ++c) {
        std::vector<double> want(static_cast<size_t>(k));
        for (int i = 0; i < k; ++i) {
          double sum = 0.0, gone = 0.0;
          for (int j = 0; j < k; ++j) sum += real[j * stride + c] * factor[j * k + i];
          for (int j = 0; j < i; ++j) gone += want[j] * factor[j * k + i];
          want[i] = (real[i * stride + c] - gone) / factor[i * k + i];
          CHECK(product[i * stride + c] == sum) << symbol << " product, k " << k;
        }
        for (int i = k - 1; i >= 0; --i) {
          double gone = 0.0;
          for (int j = k - 1; j > i; --j) gone += want[j] * factor[j * k + i];
          want[i] = (want[i] - gone) / factor[i * k + i];
          CHECK(solved[i * stride + c] == want[i]) << symbol << " solution, k " << k;
        }
        CHECK(solved[columns] == 99.0 && product[columns] == 99.0) << symbol << " wrote beyond";
      }
    }
  }
}

void CheckIndefinite(const char* symbol, const StatisticsKernel& kernel) {
  std::vector<double> matrix = {1.0, 2.0, 2.0, 1.0};
  std::vector<double> scratch(static_cast<size_t>(4 * kMostColumns));
  CHECK(!kernel.factor(matrix.data(), 2, scratch.data()))
      << symbol << " factors what is indefinite";
}

}  // namespace

template <>
void TestKernel(const Kernel<statistics>& entry) {
  CheckSystems(entry.symbol, entry.fn());
  CheckIndefinite(entry.symbol, entry.fn());
  CheckFloats(entry.symbol, entry.fn());
  CheckCodes(entry.symbol, entry.fn());
  CheckProducts(entry.symbol, entry.fn());
  CheckDescent(entry.symbol, entry.fn());
  CheckElimination(entry.symbol, entry.fn());
}

// Times of the statistics kernels, on the sizes of a MobileNet.
template <>
void TimeKernel(const Kernel<statistics>& entry) {
  const StatisticsKernel& kernel = entry.fn();
  const std::string symbol = entry.symbol;
  constexpr int kValues = 112 * 112 * 32;
  std::vector<float> x(kValues);
  for (int k = 0; k < kValues; ++k) x[k] = static_cast<float>(k % 1013) * 0.006f;
  std::vector<int32_t> index(kValues);
  float low, high;
  benching::Report(symbol + ": extremes",
                   benching::Time([&] { kernel.extremes(x.data(), kValues, &low, &high); }),
                   kValues, 0);
  benching::Report(symbol + ": bins", benching::Time([&] {
                     kernel.bins(x.data(), kValues, 256.0f, 0, 2048, index.data());
                   }),
                   kValues, 0);
  constexpr int64_t kPairs = 1024;
  const std::vector<int32_t> panels(2 * kPairs * kPanel, 0x00030005);
  int32_t tile[kTileRows * kPanel];
  benching::Report(symbol + ": products", benching::Time([&] {
                     kernel.products(panels.data(), panels.data() + kPairs * kPanel, kPairs, tile);
                   }),
                   4.0 * kPairs * kTileRows * kPanel, 0);
  constexpr int64_t k = 576;
  const int64_t columns = kernel.descent;
  std::vector<double> gram(k * k, 1.0), real(k * columns), q(k * columns),
      scratch(3 * k * kMostColumns);
  for (int64_t n = 0; n < k; ++n) gram[n * k + n] = 300.0;
  for (size_t n = 0; n < real.size(); ++n) real[n] = static_cast<double>(n % 251) * 0.9 - 110.0;
  benching::Report(symbol + ": descent from zero", benching::Time([&] {
                     std::fill(q.begin(), q.end(), 0.0);
                     kernel.descend({gram.data(), real.data(), q.data(), scratch.data(), k, columns,
                                     columns, -127.0, 127.0, 254.0, 1});
                   }),
                   4.0 * k * k * static_cast<double>(columns), 0);
  benching::Report(symbol + ": elimination", benching::Time([&] {
                     kernel.eliminate({gram.data(), real.data(), q.data(), scratch.data(), k,
                                       columns, columns, -7.0, 7.0, 0.0, 0});
                   }),
                   1.0 * k * k * static_cast<double>(columns), 0);
  std::vector<double> matrix(gram.size());
  benching::Report(symbol + ": factor", benching::Time([&] {
                     matrix = gram;
                     kernel.factor(matrix.data(), k, scratch.data());
                   }),
                   1.0 / 3 * k * k * k, 0);
}

}  // namespace bitlite
