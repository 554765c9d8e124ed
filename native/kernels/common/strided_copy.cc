#include "strided_copy.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace bitlite {
namespace {

// Runs of kUnit to 2 * kUnit bytes, which their first and last kUnit bytes cover.
template <int64_t kUnit>
void CopyShortRuns(const char* src, int64_t from_step, char* dst, int64_t to_step, int64_t rows,
                   int64_t n) {
  for (int64_t r = 0; r < rows; ++r, src += from_step, dst += to_step) {
    char first[kUnit], last[kUnit];
    std::memcpy(first, src, kUnit);
    std::memcpy(last, src + n - kUnit, kUnit);
    std::memcpy(dst, first, kUnit);
    std::memcpy(dst + n - kUnit, last, kUnit);
  }
}

// Rows x columns elements in blocks that stay in the cache whichever side jumps.
template <typename T>
void CopyBlock(const char* src, char* dst, int64_t rows, int64_t row_from, int64_t row_to,
               int64_t columns, int64_t from, int64_t to) {
  constexpr int64_t kBlock = 16;
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock) {
    const int64_t r1 = std::min(rows, r0 + kBlock);
    for (int64_t c0 = 0; c0 < columns; c0 += kBlock) {
      const int64_t c1 = std::min(columns, c0 + kBlock);
      for (int64_t r = r0; r < r1; ++r) {
        const char* s = src + r * row_from + c0 * from;
        char* d = dst + r * row_to + c0 * to;
        for (int64_t c = c0; c < c1; ++c, s += from, d += to) std::memcpy(d, s, sizeof(T));
      }
    }
  }
}

// N planes, `plane` bytes apart, to rows of N.
template <typename T, int N>
void Interleave(const char* src, char* dst, int64_t rows, int64_t plane) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int n = 0; n < N; ++n) {
      std::memcpy(dst + (r * N + n) * sizeof(T), src + n * plane + r * sizeof(T), sizeof(T));
    }
  }
}

template <typename T>
void Move(const char* src, char* dst, int64_t rows, int64_t row_from, int64_t row_to,
          int64_t columns, int64_t from, int64_t to) {
  constexpr int64_t kSize = sizeof(T);
  if (row_from == kSize && to == kSize && row_to == columns * kSize) {
    if (columns == 2) return Interleave<T, 2>(src, dst, rows, from);
    if (columns == 3) return Interleave<T, 3>(src, dst, rows, from);
    if (columns == 4) return Interleave<T, 4>(src, dst, rows, from);
  }
  CopyBlock<T>(src, dst, rows, row_from, row_to, columns, from, to);
}

}  // namespace

void CopyRuns(const void* src, int64_t from_step, void* dst, int64_t to_step, int64_t rows,
              int64_t n) {
  const char* s = static_cast<const char*>(src);
  char* d = static_cast<char*>(dst);
  if (n == from_step && n == to_step) {
    if (rows > 0) std::memcpy(d, s, static_cast<size_t>(rows * n));
    return;
  }
  if (n > 64) {
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(d + r * to_step, s + r * from_step, static_cast<size_t>(n));
    }
    return;
  }
  const auto copy = n > 32   ? CopyShortRuns<32>
                    : n > 16 ? CopyShortRuns<16>
                    : n > 8  ? CopyShortRuns<8>
                    : n > 4  ? CopyShortRuns<4>
                    : n > 1  ? CopyShortRuns<2>
                             : CopyShortRuns<1>;
  if (n > 0) copy(s, from_step, d, to_step, rows, n);
}

StridedCopy::StridedCopy(const std::vector<int64_t>& extents, const std::vector<int64_t>& from,
                         const std::vector<int64_t>& to, int64_t size)
    : size_(size) {
  std::vector<Axis> axes;
  items_ = 1;
  for (size_t d = 0; d < extents.size(); ++d) {
    if (extents[d] == 0) items_ = 0;
    if (extents[d] != 1) axes.push_back({extents[d], from[d] * size, to[d] * size});
  }
  // Written in order of address; neighbours that go on evenly on both sides are one axis.
  std::stable_sort(axes.begin(), axes.end(),
                   [](const Axis& a, const Axis& b) { return std::abs(a.to) > std::abs(b.to); });
  std::vector<Axis> merged;
  for (const Axis& axis : axes) {
    if (!merged.empty() && merged.back().from == axis.extent * axis.from &&
        merged.back().to == axis.extent * axis.to) {
      merged.back() = {merged.back().extent * axis.extent, axis.from, axis.to};
    } else {
      merged.push_back(axis);
    }
  }
  if (!merged.empty()) {
    run_ = merged.back();
    merged.pop_back();
  } else {
    run_ = {1, size, size};
  }
  // Beside the axis that is dense on the writing side, take the one that is dense on the reading
  // side, so that a block uses whole cache lines of both; else the next outer axis.
  if (!merged.empty()) {
    auto pick = merged.end() - 1;
    for (auto it = merged.begin(); it != merged.end(); ++it) {
      if (std::abs(it->from) < std::abs(pick->from)) pick = it;
    }
    if (run_.from == size) pick = merged.end() - 1;
    rows_ = *pick;
    merged.erase(pick);
  }
  for (const Axis& axis : merged) items_ *= axis.extent;
  outer_ = std::move(merged);
  if (outer_.empty() && items_ != 0 && rows_.extent > 1) {
    group_ = 64;
    items_ = (rows_.extent + group_ - 1) / group_;
  }
}

double StridedCopy::cost_ns() const {
  const double elements = static_cast<double>(group_ > 0 ? 1 : items_) * rows_.extent * run_.extent;
  return run_.from == size_ && run_.to == size_ ? elements * size_ / 10.0 : elements;
}

void StridedCopy::Inner(const char* src, char* dst, int64_t rows) const {
  if (run_.from == size_ && run_.to == size_) {
    CopyRuns(src, rows_.from, dst, rows_.to, rows, run_.extent * size_);
    return;
  }
  const auto copy = size_ == 1   ? Move<uint8_t>
                    : size_ == 2 ? Move<uint16_t>
                    : size_ == 4 ? Move<uint32_t>
                                 : Move<uint64_t>;
  copy(src, dst, rows, rows_.from, rows_.to, run_.extent, run_.from, run_.to);
}

void StridedCopy::Run(const void* src, void* dst, int64_t begin, int64_t end) const {
  const char* s = static_cast<const char*>(src);
  char* d = static_cast<char*>(dst);
  for (int64_t item = begin; item < end; ++item) {
    if (group_ > 0) {
      const int64_t first = item * group_;
      Inner(s + first * rows_.from, d + first * rows_.to, std::min(group_, rows_.extent - first));
      continue;
    }
    int64_t rest = item, from = 0, to = 0;
    for (size_t k = outer_.size(); k-- > 0;) {
      const int64_t i = rest % outer_[k].extent;
      rest /= outer_[k].extent;
      from += i * outer_[k].from;
      to += i * outer_[k].to;
    }
    Inner(s + from, d + to, rows_.extent);
  }
}

}  // namespace bitlite
