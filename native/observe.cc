#include "observe.h"

#include <algorithm>
#include <vector>

namespace bitlite {
namespace {

constexpr int64_t kWide = 64;     // columns that keep vectors and their latencies busy
constexpr int64_t kBlock = 4096;  // elements whose bins are computed before they are counted

}  // namespace

bool ObserveChannels(const float* x, int64_t rows, int64_t channels, float* low, float* high,
                     double* sum) {
  // Few channels would leave vectors empty: several rows are taken as one wide row, then folded.
  int64_t wide = 1;
  while (channels * wide < kWide && rows >= 2 * wide) wide *= 2;
  const int64_t width = channels * wide;
  std::vector<float> lo(width), hi(width);
  std::vector<double> total(width, 0.0);
  if (rows == 0 || channels == 0) return true;
  std::copy(x, x + width, lo.begin());
  std::copy(x, x + width, hi.begin());
  float* __restrict least = lo.data();
  float* __restrict most = hi.data();
  double* __restrict sums = total.data();
  const int64_t whole = rows / wide;
  for (int64_t r = 0; r < whole; ++r) {
    const float* p = x + r * width;
    for (int64_t c = 0; c < width; ++c) {
      const float v = p[c];
      least[c] = v < least[c] ? v : least[c];
      most[c] = v > most[c] ? v : most[c];
      sums[c] += v;
    }
  }
  double probe = 0.0;  // NaN when a value was NaN or infinite
  for (int64_t c = 0; c < width; ++c) {
    probe += total[c] - total[c];
    low[c % channels] = std::min(low[c % channels], lo[c]);
    high[c % channels] = std::max(high[c % channels], hi[c]);
    sum[c % channels] += total[c];
  }
  for (int64_t i = whole * width; i < rows * channels; ++i) {
    const float v = x[i];
    const int64_t c = i % channels;
    probe += v - v;
    low[c] = std::min(low[c], v);
    high[c] = std::max(high[c], v);
    sum[c] += v;
  }
  return probe == 0.0;
}

int64_t CountBins(const float* x, int64_t n, float factor, int32_t base, int32_t bins,
                  int64_t* counts) {
  // Neighbours often fall into one bin: several tables keep an increment from waiting for the last.
  std::vector<uint32_t> tables(4 * static_cast<size_t>(bins), 0);
  uint32_t* const a = tables.data();
  uint32_t* const b = a + bins;
  uint32_t* const c = b + bins;
  uint32_t* const d = c + bins;
  int32_t index[kBlock];
  int64_t zeros = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = std::min(kBlock, n - begin);
    int32_t zero = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float v = x[begin + i];
      const float scaled = v * factor;
      const int32_t cut = static_cast<int32_t>(scaled);
      // A negative number so small that the product became a zero is below zero all the same.
      const bool below = (scaled < static_cast<float>(cut)) | ((scaled == 0.0f) & (v < 0.0f));
      int32_t bin = cut - (below ? 1 : 0) - base;
      bin = bin < 0 ? 0 : bin;
      index[i] = bin < bins ? bin : bins - 1;
      zero += v == 0.0f ? 1 : 0;
    }
    zeros += zero;
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
      ++a[index[i]];
      ++b[index[i + 1]];
      ++c[index[i + 2]];
      ++d[index[i + 3]];
    }
    for (; i < count; ++i) ++a[index[i]];
  }
  for (int32_t i = 0; i < bins; ++i) {
    counts[i] += static_cast<int64_t>(a[i]) + b[i] + c[i] + d[i];
  }
  return zeros;
}

}  // namespace bitlite
