// The weights of an int8 depthwise convolution, packed for a kernel of depthwise_s8.h, with
// everything that turns its sums into outputs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "depthwise_s8.h"
#include "kernels/gemm_s8/packed_gemm_s8.h"
#include "kernels/gemm_s8/spatial_s8.h"

namespace bitlite {

constexpr int kMaxDepthwiseBlock = 64;  // channels of the widest block

class PackedDepthwiseS8 {
 public:
  PackedDepthwiseS8(const DepthwiseS8Kernel& kernel, const VectorS8Kernel& vector,
                    const ConvGeometry& g, const RequantEpilogue& out, const TensorSpec& w,
                    int32_t x_zero);

  int64_t blocks() const { return blocks_; }
  // Rows that the last block, when it is narrow, holds side by side, `block / parts()` lanes each.
  int parts() const { return parts_; }
  // Whether the kernel's epilogue does it all.
  bool direct() const { return direct_; }
  // Whether outputs are float32; never direct().
  bool gives_float() const { return out_.dtype == DType::kF32; }
  // Whether row3x3 is the function to call.
  bool by_columns() const { return by_columns_; }
  // Planes: the zero point in the kernel's form, columns, bytes of a block of a column of a line.
  int32_t padding() const { return padding_; }
  int64_t image_w() const { return image_w_; }
  int64_t pixel_bytes() const { return pixel_bytes_; }

  // A row with the taps of outputs that begin on the first row of a line, and the range.
  DepthwiseS8Row Epilogue() const noexcept;
  // Weights, bias, multipliers and parts of block b.
  void SetBlock(int64_t b, DepthwiseS8Row* row) const noexcept;
  // Taps and weights of block b for outputs that begin on row `in_line` of a line.
  void SetTaps(int64_t b, int64_t in_line, DepthwiseS8Row* row) const noexcept {
    row->taps = taps_[in_line].offsets.data();
    row->groups = taps_[in_line].groups;
    row->w = w_.data() + (b * kernel_.rows + in_line) * block_weight_bytes_;
  }
  // The same where lines have two rows, of the lines [first, last) of the kernel: others are
  // outside.
  void SetLines(int64_t b, int64_t in_line, int64_t first, int64_t last,
                DepthwiseS8Row* row) const noexcept {
    SetTaps(b, in_line, row);
    const Taps& taps = taps_[in_line];
    const int64_t count = static_cast<int64_t>(taps.lines.size()) - 1;
    if (first == 0 && last >= count) return;
    const int32_t begin = taps.lines[std::min(first, count)];
    row->taps += begin;
    row->groups = taps.lines[std::max(std::min(last, count), std::min(first, count))] - begin;
    row->w = static_cast<const uint8_t*>(row->w) +
             begin * kernel_.group * kernel_.block * (kernel_.wide_weights ? 2 : 1);
  }
  // Accumulators of a row, whose first channel is `channel`, to outputs, where not direct().
  void ScalarEpilogue(const DepthwiseS8Row& row, int64_t channel, int8_t* y) const noexcept;
  // The same to float: clamp(float32(acc) * multiplier + bias_f32, fmin, fmax), two roundings.
  void FloatEpilogue(const DepthwiseS8Row& row, int64_t channel, float* y) const noexcept;

 private:
  struct Taps {
    std::vector<int64_t> order;    // by tap of a group: which kernel element, or -1
    std::vector<int32_t> offsets;  // as DepthwiseS8Row::taps
    std::vector<int32_t> lines;  // of two rows: the first group of each, and of one behind the last
    int32_t groups = 0;
  };

  Taps TapsOf(int64_t row) const;
  int32_t TapOffset(int64_t line, int64_t kx) const;
  void SetGemmlowp(int64_t p, GemmlowpMultiplier m);
  void Pack(const uint8_t* weights, uint8_t flip);

  const DepthwiseS8Kernel& kernel_;
  const VectorS8Kernel& vector_;
  const ConvGeometry g_;
  const RequantEpilogue out_;
  const int64_t blocks_, image_w_, pixel_bytes_;
  const int32_t padding_;
  const bool by_columns_;
  bool direct_ = true;
  int parts_ = 1;
  Taps taps_[2];  // of outputs that begin on the first and on the second row of a line
  size_t block_weight_bytes_;
  Aligned<uint8_t> w_;
  Aligned<int32_t> bias_;
  Aligned<float> scale_, bias_f32_;  // multipliers and what float outputs add, packed
  // Of gemmlowp, packed: what the general form takes, and the kernel's.
  std::vector<int32_t> mantissa_, exponent_;
  PackedGemmlowpMultipliers gemmlowp_multipliers_;
  uint8_t columns_[kMaxDepthwiseBlock];  // channel at a position
  bool in_order_ = true;                 // which is the position itself
};

}  // namespace bitlite
