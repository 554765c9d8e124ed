#include "row_winograd_s16.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace bitlite {
namespace {

constexpr int64_t kRows = 3, kTaps = 3;
constexpr int64_t kLargestCode = 32767, kOffset = 32768;
constexpr int64_t kMostSum = int64_t{1} << 30;  // twice of which int32 holds
constexpr int kMostRows = 16;                   // of a tile

}  // namespace

bool RowWinogradS16::Takes(const int8_t* w, int64_t columns, int64_t channels,
                           const OutputsS16& out) {
  if (out.real || channels % 16 != 0 || columns < kColumnsS16) return false;
  const int64_t count = kRows * kTaps * channels;
  for (int64_t o = 0; o < columns; ++o, w += count) {
    int64_t size = 0;
    for (int64_t i = 0; i < count; ++i) size += std::abs(int{w[i]});
    const int64_t bias = out.bias[static_cast<size_t>(o)];
    if (bias >= kMostSum || bias <= -kMostSum) return false;
    if (size * kLargestCode + std::abs(bias) >= kMostSum) return false;
  }
  return true;
}

RowWinogradS16::RowWinogradS16(const GemmS16Kernel& kernel, const int8_t* w, int64_t columns,
                               int64_t channels, const OutputsS16& out, int64_t row, int64_t plane)
    : kernel_(kernel), columns_(columns), channels_(channels), low_(out.low), high_(out.high) {
  const int64_t blocks = CeilDiv(columns, kColumnsS16), point = kRows * channels * kColumnsS16;
  const size_t padded = static_cast<size_t>(blocks * kColumnsS16);
  w_.Reset(static_cast<size_t>(blocks * kPoints * point));
  bias_.Reset(padded);
  multiplier_.Reset(padded);
  std::memset(w_.data(), 0, w_.size() * sizeof(int16_t));
  std::memset(bias_.data(), 0, padded * sizeof(int32_t));
  std::memset(multiplier_.data(), 0, padded * sizeof(float));
  for (int64_t p = 0; p < kPoints; ++p) {
    for (int64_t r = 0; r < kRows; ++r) {
      segments_.push_back(static_cast<int32_t>(p * plane + r * row));
    }
  }
  for (int64_t o = 0; o < columns; ++o) {
    int16_t* to = w_.data() + o / kColumnsS16 * kPoints * point + o % kColumnsS16 * 2;
    int64_t offset = 0;
    for (int64_t r = 0; r < kRows; ++r) {
      const int8_t* at = w + (o * kRows + r) * kTaps * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const int f = at[c], g = at[channels + c], h = at[2 * channels + c];
        const int values[kPoints] = {2 * f, f + g + h, f - g + h, 2 * h};
        int16_t* pair = to + (r * channels + c) / 2 * 2 * kColumnsS16 + c % 2;
        for (int64_t p = 0; p < kPoints; ++p) {
          pair[p * point] = static_cast<int16_t>(values[p]);
        }
        offset += kOffset * values[1];
      }
    }
    const size_t at = static_cast<size_t>(o);
    bias_[at] = static_cast<int32_t>(static_cast<uint32_t>(2 * out.bias[at] + offset));
    multiplier_[at] = out.multiplier[at];
  }
}

void RowWinogradS16::Run(const int16_t* v, const int16_t** rows, int64_t lines, int64_t width,
                         int64_t first, int64_t last, int16_t* y, int64_t y_stride) const noexcept {
  alignas(64) int32_t m[kPoints * kMostRows * kColumnsS16];
  const int64_t across = CeilDiv(width, 2), windows = lines * across;
  for (int64_t i = 0; i < windows; ++i) rows[i] = v + i * channels_;
  GemmS16Tile sums{}, t{};
  sums.segment_count = static_cast<int32_t>(kRows);
  sums.segment_pairs = static_cast<int32_t>(channels_ / 2);
  sums.y_stride = kColumnsS16;
  sums.n = kColumnsS16;
  sums.sums = true;
  t.y_stride = y_stride;
  t.low = low_;
  t.high = high_;
  const int64_t most = std::min<int64_t>(kernel_.max_mr, kMostRows), tiles = CeilDiv(windows, most);
  const int64_t step = most * kColumnsS16, point = kRows * channels_ * kColumnsS16;
  for (int64_t b = first; b < last; ++b) {
    const int64_t column = b * kColumnsS16;
    t.n = static_cast<int32_t>(std::min<int64_t>(kColumnsS16, columns_ - column));
    t.multiplier = multiplier_.data() + column;
    int16_t* to = y + column;
    for (int64_t i = 0, row = 0, x = 0; i < tiles; ++i) {
      const int64_t end = windows * (i + 1) / tiles;
      sums.rows = rows + row;
      for (int64_t p = 0; p < kPoints; ++p) {
        sums.segments = segments_.data() + p * kRows;
        sums.w = w_.data() + (b * kPoints + p) * point;
        sums.y = m + p * step;
        kernel_.tile(static_cast<int>(end - row), true)(sums);
      }
      for (const int32_t* from = m; row < end; ++row, from += kColumnsS16) {
        const int count = x + 1 < width ? 2 : 1;
        t.y = to;
        kernel_.pixels(from, step, bias_.data() + column, t, count);
        to += count * y_stride;
        x = x + 2 < width ? x + 2 : 0;
      }
    }
  }
}

}  // namespace bitlite
