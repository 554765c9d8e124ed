#include "rounding.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "cpu.h"
#include "kernels/common/kernels.h"

namespace bitlite {
namespace {

constexpr int64_t kChannels = 64;  // whose products stay in the nearest cache

const StatisticsKernel& Kernels() { return SelectKernel<statistics>(ActiveIsa()).fn(); }

// Columns first .. first + kPanel of x as [pairs, kPanel] of two rows' int16, with zeros beyond.
void Pack(const int16_t* x, int64_t rows, int64_t k, int64_t first, int32_t* panel) {
  const int64_t width = std::min<int64_t>(kPanel, k - first);
  for (int64_t r = 0; r < rows; r += 2, panel += kPanel) {
    const int16_t* a = x + r * k + first;
    const int16_t* b = a + k;
    std::fill(panel, panel + kPanel, 0);
    for (int64_t c = 0; c < width; ++c) {
      const uint32_t high = r + 1 < rows ? static_cast<uint16_t>(b[c]) : 0;
      panel[c] = static_cast<int32_t>(high << 16 | static_cast<uint16_t>(a[c]));
    }
  }
}

// All columns of x [rows, k] packed, with their sums and the sums' shares in a row.
struct Panels {
  Panels(const int16_t* x, int64_t rows, int64_t k)
      : stride((rows + 1) / 2 * kPanel),
        packed((k + kPanel - 1) / kPanel * stride),
        total(k, 0.0),
        share(k) {
    for (int64_t p = 0; p * kPanel < k; ++p) {
      Pack(x, rows, k, p * kPanel, packed.data() + p * stride);
    }
    std::vector<int64_t> sums(k, 0);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < k; ++i) sums[i] += x[r * k + i];
    }
    for (int64_t i = 0; i < k; ++i) {
      total[i] = static_cast<double>(sums[i]);
      share[i] = total[i] / static_cast<double>(rows);
    }
  }
  // Where the pairs of a column begin.
  const int32_t* At(int64_t column) const {
    return packed.data() + column / kPanel * stride + column % kPanel;
  }

  const int64_t stride;
  std::vector<int32_t> packed;
  std::vector<double> total, share;
};

}  // namespace

void Gram(const int16_t* x, int64_t rows, int64_t k, int part, int parts, double* gram) {
  const StatisticsKernel& kernel = Kernels();
  const int64_t pairs = (rows + 1) / 2, panels = (k + kPanel - 1) / kPanel;
  const Panels columns(x, rows, k);
  int32_t tile[kTileRows * kPanel];
  // Tiles on and above the diagonal; the rest is their mirror image.
  for (int64_t p = part; p < panels; p += parts) {
    const int64_t most = std::min(k, (p + 1) * kPanel);
    for (int64_t i = 0; i < most; i += kTileRows) {
      kernel.products(columns.At(i), columns.At(p * kPanel), pairs, tile);
      for (int64_t a = i; a < std::min(most, i + kTileRows); ++a) {
        const int32_t* product = tile + (a - i) * kPanel;
        for (int64_t b = p * kPanel; b < most; ++b) {
          const double sum = product[b - p * kPanel];
          gram[a * k + b] = sum - columns.total[a] * columns.share[b];
          gram[b * k + a] = sum - columns.total[b] * columns.share[a];
        }
      }
    }
  }
}

void GramByChannel(const int16_t* x, int64_t rows, int64_t taps, int64_t channels,
                   int32_t* products, int32_t* sums) {
  const StatisticsKernel& kernel = Kernels();
  std::vector<int32_t> sum(taps * (taps + 1) / 2 * kChannels);
  for (int64_t first = 0; first < channels; first += kChannels) {
    const int64_t width = std::min(kChannels, channels - first);
    std::fill(sum.begin(), sum.end(), 0);
    kernel.products_by_channel(x + first, rows, taps, channels, width, sum.data());
    const int32_t* from = sum.data();
    for (int64_t i = 0; i < taps; ++i) {
      for (int64_t j = i; j < taps; ++j, from += width) {
        for (int64_t c = 0; c < width; ++c) {
          int32_t* to = products + (first + c) * taps * taps;
          to[i * taps + j] += from[c];
          if (i != j) to[j * taps + i] += from[c];
        }
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < taps; ++i) {
      const int16_t* row = x + (r * taps + i) * channels;
      for (int64_t c = 0; c < channels; ++c) sums[c * taps + i] += row[c];
    }
  }
}

void Descend(const double* gram, const double* real, double* q, int64_t k, int64_t columns,
             int64_t begin, int64_t end, double low, double high, double pair, int sweeps) {
  const StatisticsKernel& kernel = Kernels();
  std::vector<double> scratch(3 * k * kMostColumns);
  const int64_t width = kernel.descent;
  for (int64_t c = begin; c < end; c += width) {
    kernel.descend({gram, real + c, q + c, scratch.data(), k, columns, std::min(width, end - c),
                    low, high, pair, sweeps});
  }
}

bool Factor(double* matrix, int64_t k) {
  std::vector<double> scratch(2 * k * kMostColumns);
  return Kernels().factor(matrix, k, scratch.data());
}

void Cross(const int16_t* x, const int16_t* y, int64_t rows, int64_t k, int part, int parts,
           double* cross) {
  const StatisticsKernel& kernel = Kernels();
  const int64_t pairs = (rows + 1) / 2, panels = (k + kPanel - 1) / kPanel;
  const Panels left(x, rows, k), right(y, rows, k);
  int32_t tile[kTileRows * kPanel];
  for (int64_t p = part; p < panels; p += parts) {
    const int64_t most = std::min(k, (p + 1) * kPanel);
    for (int64_t i = 0; i < k; i += kTileRows) {
      kernel.products(left.At(i), right.At(p * kPanel), pairs, tile);
      for (int64_t a = i; a < std::min(k, i + kTileRows); ++a) {
        const int32_t* product = tile + (a - i) * kPanel;
        for (int64_t b = p * kPanel; b < most; ++b) {
          cross[a * k + b] = product[b - p * kPanel] - left.total[a] * right.share[b];
        }
      }
    }
  }
}

namespace {

void ByColumns(void (*function)(const DescendArgs&), const double* matrix, const double* real,
               double* q, int64_t k, int64_t columns, int64_t begin, int64_t end) {
  std::vector<double> scratch(2 * k * kMostColumns);
  const int64_t width = Kernels().descent;
  for (int64_t c = begin; c < end; c += width) {
    function({matrix, real + c, q + c, scratch.data(), k, columns, std::min(width, end - c), 0.0,
              0.0, 0.0, 0});
  }
}

}  // namespace

void Multiply(const double* matrix, const double* real, double* q, int64_t k, int64_t columns,
              int64_t begin, int64_t end) {
  ByColumns(Kernels().multiply, matrix, real, q, k, columns, begin, end);
}

void Solve(const double* factor, const double* real, double* q, int64_t k, int64_t columns,
           int64_t begin, int64_t end) {
  ByColumns(Kernels().solve, factor, real, q, k, columns, begin, end);
}

void Eliminate(const double* factor, const double* real, double* q, int64_t k, int64_t columns,
               int64_t begin, int64_t end, double low, double high) {
  const StatisticsKernel& kernel = Kernels();
  std::vector<double> scratch(2 * k * kMostColumns);
  const int64_t width = kernel.descent;
  for (int64_t c = begin; c < end; c += width) {
    kernel.eliminate({factor, real + c, q + c, scratch.data(), k, columns, std::min(width, end - c),
                      low, high, 0.0, 0});
  }
}

namespace {

constexpr int64_t kTile = 32;  // of a matrix and its mirror image, which both stay in a cache

// Adds half of twice + twice' to the tile of costs [n, n] at i and j, below the diagonal, and to
// its mirror image.
void AddHalves(const int32_t* twice, int64_t n, int64_t i, int64_t j, double* costs) {
  for (int64_t a = i; a < std::min(n, i + kTile); ++a) {
    for (int64_t b = j; b < std::min(a, j + kTile); ++b) {
      const int64_t sum = int64_t{twice[a * n + b]} + twice[b * n + a];
      costs[a * n + b] += static_cast<double>(sum / 2);
      costs[b * n + a] += static_cast<double>(sum / 2);
    }
  }
}

}  // namespace

void AddExcess(const uint8_t* w, int64_t rows, int64_t n, int most, double* costs) {
  // One of two that exceed is large, above half of `most`. Few are: each is added to all others of
  // its row. Two large ones meet twice, so others count twice.
  constexpr int64_t kRun = 1 << 15;  // twice the squares of so many rows are within int32
  std::vector<int32_t> twice(n * n);
  for (int64_t first = 0; first < rows; first += kRun) {
    std::fill(twice.begin(), twice.end(), 0);
    for (int64_t i = 0; i < n; ++i) {
      int32_t* const to = twice.data() + i * n;
      for (int64_t r = first; r < std::min(rows, first + kRun); ++r) {
        const uint8_t* row = w + r * n;
        if (row[i] <= most / 2) continue;
        const int16_t rest = static_cast<int16_t>(row[i] - most), half = most / 2;
        for (int64_t j = 0; j < n; ++j) {
          const int16_t value = row[j], over = static_cast<int16_t>(value + rest);
          const int16_t excess = over > 0 ? over : int16_t{0}, times = value > half ? 1 : 2;
          to[j] += static_cast<int16_t>(excess * excess * times);
        }
      }
    }
    for (int64_t i = 0; i < n; i += kTile) {
      for (int64_t j = 0; j <= i; j += kTile) AddHalves(twice.data(), n, i, j, costs);
    }
  }
}

void MatchPairs(const double* costs, int64_t n, int sweeps, int64_t* order) {
  const int64_t pairs = n / 2;
  std::vector<double> cost(pairs);
  for (int64_t a = 0; a < pairs; ++a) cost[a] = costs[order[2 * a] * n + order[2 * a + 1]];
  bool moved = true;
  for (int sweep = 0; moved && sweep < sweeps; ++sweep) {
    moved = false;
    for (int64_t a = 0; a < pairs; ++a) {
      const double* of_first = costs + order[2 * a] * n;
      const double* of_second = costs + order[2 * a + 1] * n;
      if (cost[a] == 0) continue;
      double most = 0;
      int64_t other = -1;
      for (int64_t b = 0; b < pairs; ++b) {
        const double both = cost[a] + cost[b];
        if (both <= most) continue;
        const int64_t first = order[2 * b], second = order[2 * b + 1];
        const double crossed = of_first[second] + of_second[first];  // second for first of b
        const double straight = of_first[first] + of_second[second];
        const double gain = both - (straight < crossed ? straight : crossed);
        if (b == a || gain <= most || gain <= 1e-9 * both) continue;
        most = gain;
        other = straight < crossed ? 2 * b : 2 * b + 1;
      }
      if (other < 0) continue;
      std::swap(order[other], order[2 * a + 1]);
      for (int64_t b : {a, other / 2}) cost[b] = costs[order[2 * b] * n + order[2 * b + 1]];
      moved = true;
    }
  }
}

}  // namespace bitlite
