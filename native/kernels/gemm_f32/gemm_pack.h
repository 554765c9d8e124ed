// Packed weights and the tiling that the float GEMM users share.
#pragma once

#include <algorithm>

#include "gemm_f32.h"
#include "kernels/common/activation.h"
#include "kernels/common/kernels.h"
#include "step.h"

namespace bitlite {

// dst[panel][k][kGemmPanel] from src[n * stride_n + k * stride_k]; columns beyond n are zero.
void PackPanels(const float* src, int64_t n, int64_t k, int64_t stride_n, int64_t stride_k,
                float* dst);

inline int64_t PanelsOf(int64_t n) { return (n + kGemmPanel - 1) / kGemmPanel; }

// The values of a float weight, without a copy where it is float32 already.
class WeightValues {
 public:
  explicit WeightValues(const TensorSpec& w) {
    if (w.dtype == DType::kF32 && !w.quantized()) {
      data_ = static_cast<const float*>(w.data);
    } else {
      own_ = RealValues(w);
      data_ = own_.data();
    }
  }
  const float* data() const { return data_; }

 private:
  std::vector<float> own_;
  const float* data_;
};

// Throws unless the tensor is a constant whose real values are float.
void RequireWeight(const TensorSpec& w, const char* what);

// A bias of n values (absent: zeros), zero padded to whole panels.
Aligned<float> PackBias(const TensorSpec* bias, int64_t n);

// rows x n outputs cut into tiles: column blocks whose weights stay in L2, then row tiles of nearly
// equal height. Items are ordered block by block.
struct Tiling {
  int64_t rows = 0, n = 0;
  int64_t row_tiles = 1, blocks = 1, block_columns = 0;

  Tiling() = default;
  Tiling(int64_t rows, int64_t n, int64_t k, int max_rows, int threads);

  int64_t items() const { return row_tiles * blocks; }
  int64_t RowBegin(int64_t tile) const { return rows * tile / row_tiles; }
};

// Rough cost of a float multiply-add count, for Step::cost_ns.
inline double GemmCostNs(double macs) { return macs / 50.0; }

}  // namespace bitlite
