#include "gemm_pack.h"

#include <cstring>

namespace bitlite {

void PackPanels(const float* src, int64_t n, int64_t k, int64_t stride_n, int64_t stride_k,
                float* dst) {
  for (int64_t n0 = 0; n0 < n; n0 += kGemmPanel, dst += k * kGemmPanel) {
    const int64_t columns = std::min<int64_t>(kGemmPanel, n - n0);
    const float* from = src + n0 * stride_n;
    if (columns < kGemmPanel)
      std::memset(dst, 0, static_cast<size_t>(k) * kGemmPanel * sizeof(float));
    if (stride_n == 1) {
      for (int64_t i = 0; i < k; ++i) {
        std::memcpy(dst + i * kGemmPanel, from + i * stride_k, columns * sizeof(float));
      }
      continue;
    }
    // Sixteen k at a time: whole cache lines on both sides.
    constexpr int64_t kBlock = 16;
    for (int64_t k0 = 0; k0 < k; k0 += kBlock) {
      const int64_t end = std::min(k, k0 + kBlock);
      for (int64_t j = 0; j < columns; ++j) {
        const float* row = from + j * stride_n;
        for (int64_t i = k0; i < end; ++i) dst[i * kGemmPanel + j] = row[i * stride_k];
      }
    }
  }
}

void RequireWeight(const TensorSpec& w, const char* what) {
  if (!w.constant) Refuse(std::string(what) + " is not a constant");
  const bool real = w.dtype == DType::kF32 || w.dtype == DType::kF16 || w.dtype == DType::kF64;
  const bool codes = w.dtype == DType::kI8 || w.dtype == DType::kU8 || w.dtype == DType::kI16 ||
                     w.dtype == DType::kI32;
  if (!real && !(codes && w.quantized())) {
    Refuse(std::string(what) + " of type " + NameOf(w.dtype) + " has no real values");
  }
}

Aligned<float> PackBias(const TensorSpec* bias, int64_t n) {
  Aligned<float> packed(static_cast<size_t>(PanelsOf(n) * kGemmPanel));
  std::memset(packed.data(), 0, packed.size() * sizeof(float));
  if (bias != nullptr) {
    const WeightValues values(*bias);
    std::copy_n(values.data(), n, packed.data());
  }
  return packed;
}

Tiling::Tiling(int64_t rows, int64_t n, int64_t k, int max_rows, int threads) : rows(rows), n(n) {
  row_tiles = std::max<int64_t>(1, (rows + max_rows - 1) / max_rows);
  // Half of a 1 MB L2 for the weights of a block.
  constexpr int64_t kBlockBytes = 512 * 1024;
  constexpr int64_t kColumnStep = 4 * kGemmPanel;
  const int64_t column_bytes = std::max<int64_t>(1, k) * static_cast<int64_t>(sizeof(float));
  block_columns = std::max(kColumnStep, kBlockBytes / column_bytes / kColumnStep * kColumnStep);
  if (row_tiles == 1) block_columns = kColumnStep * 2;  // a vector: nothing to keep in cache
  // Enough items for the threads.
  constexpr int64_t kItemsPerThread = 4;
  while (threads > 1 && block_columns > kColumnStep &&
         row_tiles * ((n + block_columns - 1) / block_columns) < kItemsPerThread * threads) {
    block_columns = std::max(kColumnStep, block_columns / 2 / kColumnStep * kColumnStep);
  }
  if (block_columns >= n) block_columns = std::max<int64_t>(n, 1);
  blocks = std::max<int64_t>(1, (n + block_columns - 1) / block_columns);
}

}  // namespace bitlite
