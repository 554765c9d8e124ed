#include "descend.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace bitlite {
namespace {

constexpr int kColumns = 8;

// One block of columns, padded with columns that have no error.
void Block(const double* gram, const double* real, double* q, int64_t k, int64_t stride, int width,
           double low, double high, int sweeps) {
  std::vector<double> codes(k * kColumns, 0.0), slope(k * kColumns, 0.0);
  double step[kColumns];
  double* const __restrict slopes = slope.data();
  const auto shift = [&](int64_t i) {
    const double* const g = gram + i * k;  // symmetric: row i is column i
    for (int64_t j = 0; j < k; ++j) {
      for (int c = 0; c < kColumns; ++c) slopes[j * kColumns + c] += g[j] * step[c];
    }
  };
  for (int64_t i = 0; i < k; ++i) {
    bool any = false;
    for (int c = 0; c < kColumns; ++c) {
      step[c] = 0.0;
      if (c >= width) continue;
      codes[i * kColumns + c] = q[i * stride + c];
      step[c] = q[i * stride + c] - real[i * stride + c];
      any = any || step[c] != 0.0;
    }
    if (any) shift(i);
  }
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    bool moved = false;
    for (int64_t i = 0; i < k; ++i) {
      bool any = false;
      for (int c = 0; c < kColumns; ++c) {
        double& code = codes[i * kColumns + c];
        const double wish = std::nearbyint(code - slopes[i * kColumns + c] / gram[i * k + i]);
        const double best = std::min(std::max(wish, low), high);
        step[c] = c < width ? best - code : 0.0;
        if (step[c] == 0.0) continue;
        code = best;
        any = true;
      }
      if (any) shift(i);
      moved = moved || any;
    }
    if (!moved) break;
  }
  for (int64_t i = 0; i < k; ++i) {
    for (int c = 0; c < width; ++c) q[i * stride + c] = codes[i * kColumns + c];
  }
}

}  // namespace

void Descend(const double* gram, const double* real, double* q, int64_t k, int64_t columns,
             int64_t begin, int64_t end, double low, double high, int sweeps) {
  for (int64_t c = begin; c < end; c += kColumns) {
    const int width = static_cast<int>(std::min<int64_t>(kColumns, end - c));
    Block(gram, real + c, q + c, k, columns, width, low, high, sweeps);
  }
}

}  // namespace bitlite
