#include "observe.h"

#include <algorithm>
#include <vector>

#include "cpu.h"
#include "kernels/common/kernels.h"

namespace bitlite {
namespace {

constexpr int64_t kWide = 64;           // columns that keep vectors and their latencies busy
constexpr int64_t kBlock = 2048;        // elements whose bins are computed before they are counted
constexpr int64_t kCodeRows = 1 << 20;  // of codes whose sums fit into int32

const StatisticsKernel& Kernels() { return SelectKernel<statistics>(ActiveIsa()).fn(); }

// Few channels would leave vectors empty: several rows are taken as one wide row, then folded.
int64_t RowsAsOne(int64_t rows, int64_t channels) {
  int64_t wide = 1;
  while (channels * wide < kWide && rows >= 2 * wide) wide *= 2;
  return wide;
}

}  // namespace

bool ObserveChannels(const float* x, int64_t rows, int64_t channels, float* low, float* high,
                     double* sum) {
  if (rows == 0 || channels == 0) return true;
  const int64_t wide = RowsAsOne(rows, channels), width = channels * wide;
  std::vector<float> lo(x, x + width), hi(x, x + width);
  std::vector<double> total(width, 0.0);
  const int64_t whole = rows / wide;
  Kernels().columns(x, whole, width, lo.data(), hi.data(), total.data());
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

bool Extremes(const float* x, int64_t n, float* low, float* high) {
  return Kernels().extremes(x, n, low, high);
}

int64_t CountBins(const float* x, int64_t n, float factor, int32_t base, int32_t bins,
                  int64_t* counts) {
  const StatisticsKernel& kernel = Kernels();
  // Neighbours often fall into one bin: several tables keep an increment from waiting for the last.
  std::vector<uint32_t> tables(4 * static_cast<size_t>(bins), 0);
  uint32_t* const a = tables.data();
  uint32_t* const b = a + bins;
  uint32_t* const c = b + bins;
  uint32_t* const d = c + bins;
  int32_t index[kBlock];
  int64_t zeros = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int32_t count = static_cast<int32_t>(std::min(kBlock, n - begin));
    zeros += kernel.bins(x + begin, count, factor, base, bins, index);
    int32_t i = 0;
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

void ObserveCodes(const int8_t* x, int64_t rows, int64_t channels, int64_t* sum, int64_t* least) {
  std::fill(sum, sum + channels, 0);
  std::fill(least, least + channels, 0);
  if (rows == 0 || channels == 0) return;
  const StatisticsKernel& kernel = Kernels();
  const int64_t wide = RowsAsOne(rows, channels), width = channels * wide;
  const int64_t whole = rows / wide;
  std::vector<int8_t> lo(x, x + width), hi(x, x + width);
  std::vector<int32_t> part(width);
  for (int64_t r = 0; r < whole; r += kCodeRows) {
    std::fill(part.begin(), part.end(), 0);
    kernel.codes(x + r * width, std::min(kCodeRows, whole - r), width, lo.data(), hi.data(),
                 part.data());
    for (int64_t c = 0; c < width; ++c) sum[c % channels] += part[c];
  }
  for (int64_t c = channels; c < width; ++c) {
    lo[c % channels] = std::min(lo[c % channels], lo[c]);
    hi[c % channels] = std::max(hi[c % channels], hi[c]);
  }
  for (int64_t i = whole * width; i < rows * channels; ++i) {
    const int64_t c = i % channels;
    lo[c] = std::min(lo[c], x[i]);
    hi[c] = std::max(hi[c], x[i]);
    sum[c] += x[i];
  }
  for (int64_t c = channels; c < width; ++c) lo[c] = lo[c % channels];
  for (int64_t r = 0; r < whole; r += kCodeRows) {
    std::fill(part.begin(), part.end(), 0);
    kernel.equal(x + r * width, std::min(kCodeRows, whole - r), width, lo.data(), part.data());
    for (int64_t c = 0; c < width; ++c) least[c % channels] += part[c];
  }
  for (int64_t i = whole * width; i < rows * channels; ++i) {
    least[i % channels] += x[i] == lo[i % channels] ? 1 : 0;
  }
  for (int64_t c = 0; c < channels; ++c) {
    if (lo[c] == hi[c]) least[c] = 0;
  }
}

}  // namespace bitlite
