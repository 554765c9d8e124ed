// A weight of a recurrent layer, packed so that a block of its product holds every gate of
// kRnnBlock units: what rnn_f32.h reads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/gemm_f32/gemm_pack.h"
#include "kernels/gemm_s8/packed_gemm_s8.h"
#include "rnn_f32.h"
#include "step.h"

namespace bitlite {

// The gates [first, first + count) of `hidden` units, gate by gate in the file.
struct RnnGates {
  int64_t hidden;
  int first, count;

  int64_t blocks() const { return CeilDiv(hidden, kRnnBlock); }
  int64_t columns() const { return blocks() * count * kRnnBlock; }
  // The row of the file that a column stands for; -1 where a block sticks out.
  int64_t RowOf(int64_t column) const;
};

// values[row] in the order of columns, zero padded.
Aligned<float> InColumns(const float* values, const RnnGates& gates);

// The least and the greatest of values, 0 among them; NaN is not looked at.
struct RnnRange {
  float low = 0, high = 0;
  void Take(const RnnRange& other) noexcept;
};

// Rows quantized while running, in the form of the int8 kernels.
class RnnCodes {
 public:
  struct Rows {
    const uint8_t** address;
    int32_t* sums;   // of the codes, where they are wanted
    int32_t* terms;  // of kernels with row_terms
    int64_t signs;   // bytes from a magnitude to its sign
    int64_t count;
    DynamicS8 params;
  };

  RnnCodes() = default;
  RnnCodes(const GemmS8Kernel& kernel, const VectorS8Kernel& vector, int64_t k, int64_t rows,
           bool sums);

  size_t bytes() const { return bytes_; }  // of the memory that the calls below are given
  // `row` of a matrix that somebody else has quantized.
  void Take(uint8_t* memory, int64_t row, const int8_t* codes) const noexcept;
  // Rows of k floats, `stride` apart.
  void Quantize(uint8_t* memory, const float* x, int64_t rows, int64_t stride,
                const DynamicS8& params) const noexcept;
  Rows All(uint8_t* memory, int64_t rows, const DynamicS8& params) const noexcept;

 private:
  const GemmS8Kernel* kernel_ = nullptr;
  const VectorS8Kernel* vector_ = nullptr;
  int64_t k_ = 0, row_bytes_ = 0, signs_ = 0;
  bool summed_ = false;
  size_t sums_ = 0, terms_ = 0, line_ = 0, image_ = 0,
         bytes_ = 0;  // where they stand, after the addresses
};

class RnnMatrix {
 public:
  RnnMatrix() = default;
  // Direction d of w [D, rows, K], float or (dynamic) int8 with scales along axis 1. bias: in
  // columns, or empty. `rows` come at once; the columns are cut into `parts` of whole blocks.
  RnnMatrix(const PlanContext& plan, const TensorSpec& w, int64_t d, const RnnGates& gates,
            Aligned<float> bias, bool dynamic, int64_t rows, int64_t parts);

  // Of dynamic products.
  const GemmS8Kernel& tiles() const { return *tiles_; }
  // Whether products need the sums of rows.
  bool wants_sums() const { return zeros_.size() > 0; }
  int64_t FirstBlock(int64_t part) const { return gates_.blocks() * part / parts_; }
  int64_t Column(int64_t part) const { return FirstBlock(part) * gates_.count * kRnnBlock; }

  // y[m, columns] = x w' + bias for the columns of a part; y is at column 0. Backwards, the last
  // columns come first: where every other product is so, the weights that one has left in a cache
  // too small for all are the first that the next one reads.
  void Multiply(const float* const* x, int64_t m, int64_t part, bool backwards,
                float* y) const noexcept;
  void Multiply(const RnnCodes::Rows& x, int64_t part, bool backwards, float* y) const noexcept;

 private:
  // Columns that one call of an int8 tile computes.
  struct Block {
    int nv;
    int64_t column, columns, at;  // at: of its packed codes
    int32_t excess_steps = 0;
    int64_t excess = 0, excess_at = 0;  // the first of them, and where their weights are
  };

  void ScaleRows(const RnnCodes::Rows& x, int64_t part, int32_t factor, float* y) const noexcept;
  void PackFloat(const TensorSpec& w, int64_t d);
  void PackCodes(const TensorSpec& w, int64_t d, int64_t rows);

  RnnGates gates_{};
  int64_t k_ = 0, parts_ = 1;
  bool biased_ = false;
  Aligned<float> bias_;  // zeros where there is none

  Kernel<gemm_f32> gemm_;
  Aligned<float> w_;
  int64_t panel_stride_ = 0;

  const GemmS8Kernel* tiles_ = nullptr;
  int nv_ = 1;  // vectors of the widest blocks
  rnn_scale::Fn* scale_ = nullptr;
  ExcessS8 excess_;
  std::vector<std::vector<Block>> blocks_;  // by part
  Aligned<int8_t> codes_;
  Aligned<int32_t> sums_, zeros_, none_;  // zeros_: empty where all are 0; none_: zeros
  Aligned<float> scales_;
};

}  // namespace bitlite
