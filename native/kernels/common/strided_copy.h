// Moves elements between two strided layouts: the engine of transpose, slice, concat, split, pad,
// tile.
#pragma once

#include <cstdint>
#include <vector>

namespace bitlite {

// `rows` runs of n bytes, from_step and to_step bytes apart.
void CopyRuns(const void* src, int64_t from_step, void* dst, int64_t to_step, int64_t rows,
              int64_t n);

class StridedCopy {
 public:
  StridedCopy() = default;
  // Element i (a coordinate per extent) goes from src[Σ i*from] to dst[Σ i*to]; strides in
  // elements, may be zero or negative. size: bytes of an element, 1, 2, 4 or 8.
  StridedCopy(const std::vector<int64_t>& extents, const std::vector<int64_t>& from,
              const std::vector<int64_t>& to, int64_t size);

  int64_t items() const { return items_; }
  double cost_ns() const;
  // Work items [begin, end); src and dst are the addresses of coordinate 0.
  void Run(const void* src, void* dst, int64_t begin, int64_t end) const;

 private:
  struct Axis {
    int64_t extent, from, to;  // strides in bytes
  };
  void Inner(const char* src, char* dst, int64_t rows) const;

  std::vector<Axis> outer_;            // one work item per coordinate of these
  Axis rows_{1, 0, 0}, run_{1, 0, 0};  // done inside an item
  int64_t group_ = 0;                  // rows of an item when there is no outer axis
  int64_t size_ = 1, items_ = 0;
};

}  // namespace bitlite
