// A matrix of int8 weights, packed for the tile kernels, with everything that turns its
// accumulators into outputs. Convolutions, fully connected and matmul steps are ways to point rows
// at it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gemm_s8.h"
#include "kernels/common/gemmlowp_s8.h"
#include "kernels/vector_s8/vector_s8.h"
#include "requant_epilogue.h"
#include "step.h"

namespace bitlite {

const GemmS8Kernel& SelectGemmS8(IsaMask isa);
const VectorS8Kernel& SelectVectorS8(IsaMask isa);

// Activations quantized while running: y = float32(acc) * (scale * float32(sw)) + bias_f32, each
// operation rounded to float32.
struct DynamicS8 {
  float scale;
  int32_t zero_point;
};

// What pairs of weights have beyond a kernel's pair_limit, step by step.
struct ExcessS8 {
  std::vector<ExcessStepS8> steps;
  std::vector<int8_t> weights;
};

// Leaves to each pair of a block's packed weights what it may have and appends the rest to
// `excess`; returns of how many steps.
int32_t TakeExcess(const GemmS8Kernel& kernel, int nv, int64_t segments, int64_t steps, int8_t* w,
                   ExcessS8& excess);

class PackedGemmS8 {
 public:
  // Element i of segment s of column o is data[o * column_stride + (s * segment_length + i) *
  // stride], xor flip (0x80 for uint8 weights, whose zero points must already be 128 less).
  struct Weights {
    const uint8_t* data;
    int64_t columns, segments, segment_length;
    int64_t column_stride, stride;
    uint8_t flip = 0;
  };
  struct Options {
    bool dynamic = false;   // activations are quantized while running: see DynamicS8
    bool computed = false;  // weights come while running, through PackBlock; data is null
    int64_t min_blocks = 1;
    int64_t rows = INT64_MAX;  // of a run, at most
  };
  // The share of the steps of `weights` that `kernel` takes twice: see GemmS8Kernel::pair_limit.
  static double ExcessShare(const GemmS8Kernel& kernel, const Weights& weights) noexcept;

  PackedGemmS8(const GemmS8Kernel& kernel, const VectorS8Kernel& vector, const Weights& weights,
               const RequantEpilogue& out, int32_t x_zero, const Options& options);

  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  // Numbers that a run needs to know of each row, for which `sums` has room.
  int sums_of_row() const { return AddsRows() + CorrectsRows(); }
  size_t output_bytes() const { return SizeOf(out_.dtype); }
  // Whether the kernels' epilogue does it all.
  bool direct() const { return direct_; }
  size_t packed_bytes() const { return packed_bytes_; }  // a multiple of 64
  int64_t packed_columns() const { return packed_columns_; }

  // Packs block b of computed weights into w (packed_bytes) and bias (packed_columns).
  void PackBlock(const Weights& weights, int64_t b, int8_t* w, int32_t* bias) const noexcept;

  struct IndirectionBuffer {
    const uint8_t* const* address;  // m of them
    int64_t m;
    const int32_t* segments;  // byte offsets
    int64_t signs = 0;        // bytes from a magnitude to its sign
    int32_t* sums = nullptr;  // sums_of_row() * m, from SumRows
    // Null, or what the rows, of one segment and without gaps, were made of: sooner summed.
    const int8_t* codes = nullptr;
    const DynamicS8* dynamic = nullptr;
    const int8_t* w = nullptr;  // computed weights
    const int32_t* bias = nullptr;
  };
  // What the kernel and weight zero points other than 0 need to know of the rows, into rows.sums.
  void SumRows(const IndirectionBuffer& rows) const noexcept;

  // y, residual: at column 0 of row 0. Blocks [first, last).
  void Run(const IndirectionBuffer& rows, int64_t first, int64_t last, void* y, int64_t y_stride,
           const int8_t* residual, int64_t residual_stride) const noexcept;

  // What a direct() layer's epilogue needs for the columns from `column` on, which is a multiple of
  // the kernel's lanes: all but bias, y and residual. Only for kernels that leave columns in order.
  GemmS8Tile EpilogueAt(int64_t column) const noexcept;

 private:
  struct Block {
    int nv;
    int32_t n;
    int64_t column;  // first column, also in the arrays below
    int64_t at;      // of its weights
    int32_t excess_steps = 0;
    int64_t excess = 0;     // the first of them
    int64_t excess_at = 0;  // of their weights
  };
  GemmS8Tile Epilogue() const noexcept;
  void ScalarEpilogue(const GemmS8Tile& tile, const Block& block, int mr, const int32_t* acc,
                      const IndirectionBuffer& rows, int64_t m, void* y) const noexcept;
  void PackGemmlowp();
  int64_t ColumnAt(const Block& block, int i) const noexcept;
  void PackRows(const Weights& weights, const Block& block, int8_t* packed,
                int32_t* bias) const noexcept;
  static int32_t SumColumn(const Weights& weights, int64_t o) noexcept;
  int32_t SumRow(const uint8_t* row, const IndirectionBuffer& rows) const noexcept;
  // What enters the accumulators comes first in `sums`, then what ScalarEpilogue takes.
  bool AddsRows() const { return row_add_ || kernel_.row_terms != nullptr; }
  bool CorrectsRows() const { return !out_.weight_zero.empty() && !row_add_; }

  const GemmS8Kernel& kernel_;
  const VectorS8Kernel& vector_;
  RequantEpilogue out_;
  int64_t segments_, segment_length_;
  int32_t steps_;  // per segment
  int32_t x0_;     // the activations' zero point in the kernel's form
  bool direct_;    // the kernels' epilogue does it all
  bool row_add_;   // row sums enter the accumulators: they are stored times -weight_zero
  bool dynamic_;
  size_t packed_bytes_ = 0;
  int64_t packed_columns_ = 0;
  std::vector<Block> blocks_;
  Aligned<int8_t> w_;
  ExcessS8 excess_;
  Aligned<int32_t> bias_;
  Aligned<float> multiplier_, bias_f32_;
  PackedGemmlowpMultipliers gemmlowp_multipliers_;  // for kS8Gemmlowp
  // In natural column order, for ScalarEpilogue.
  std::vector<int32_t> column_sums_;
  std::vector<float> scale_;
  std::vector<int32_t> mantissa_, exponent_;
};

// `kernel`, or the one that it names for pairs, where that is faster for all of `weights`.
const GemmS8Kernel& FasterOfPairs(const GemmS8Kernel& kernel,
                                  const std::vector<PackedGemmS8::Weights>& weights);

}  // namespace bitlite
