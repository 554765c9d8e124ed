// Rows times packed weights.
#include <cmath>
#include <cstring>

#include "packed_gemm_s8.h"

namespace bitlite {
namespace {

constexpr int kMaxTile = 1024;   // accumulators of the largest tile of any kernel
constexpr int kMaxColumns = 64;  // of the widest block

}  // namespace

int32_t PackedGemmS8::SumRow(const uint8_t* row, const IndirectionBuffer& rows) const noexcept {
  int64_t sum = 0;
  for (int64_t s = 0; s < segments_; ++s) {
    const uint8_t* p = row + rows.segments[s];
    switch (kernel_.lhs_packing) {
      case LhsPacking::kU8:
        for (int64_t i = 0; i < segment_length_; ++i) sum += p[i];
        break;
      case LhsPacking::kSigns:
        for (int64_t i = 0; i < segment_length_; ++i) sum += p[rows.signs + i] != 0 ? -p[i] : p[i];
        break;
      case LhsPacking::kS8:
        for (int64_t i = 0; i < segment_length_; ++i) sum += static_cast<int8_t>(p[i]);
        break;
      case LhsPacking::kS16:
        break;  // of depthwise kernels alone
    }
  }
  return Wrap(sum);
}

void PackedGemmS8::SumRows(const IndirectionBuffer& rows) const noexcept {
  if (kernel_.row_terms != nullptr) {
    kernel_.row_terms({rows.address, rows.m, rows.segments, segments_,
                       static_cast<int64_t>(steps_) * kernel_.kstep, rows.signs},
                      rows.sums);
  }
  if (out_.weight_zero.empty()) return;
  // sum (x - x0) over the row, which the weights' zero points multiply.
  const int32_t x0 = rows.dynamic != nullptr ? kernel_.packed_value(rows.dynamic->zero_point) : x0_;
  const int32_t from = rows.codes != nullptr ? kernel_.packed_value(0) : 0;
  const int64_t constant = (x0 - from) * segments_ * segment_length_;
  for (int64_t m = 0; m < rows.m; ++m) {
    const int64_t all = rows.codes != nullptr
                            ? vector_.sum(rows.codes + m * segment_length_, segment_length_)
                            : SumRow(rows.address[m], rows);
    const int64_t sum = all - constant;
    if (!row_add_) {
      rows.sums[(AddsRows() ? rows.m : 0) + m] = Wrap(sum);
      continue;
    }
    const int64_t term = kernel_.row_terms != nullptr ? rows.sums[m] : 0;
    rows.sums[m] = Wrap(term - static_cast<int64_t>(out_.weight_zero[0]) * sum);
  }
}

GemmS8Tile PackedGemmS8::Epilogue() const noexcept {
  GemmS8Tile tile{};
  tile.zero_point = out_.y_zero;
  tile.qmin = out_.range.qmin;
  tile.qmax = out_.range.qmax;
  tile.fmin = out_.fmin;
  tile.fmax = out_.fmax;
  tile.lhs_scale = out_.lhs_scale;
  tile.rhs_scale = out_.rhs_scale;
  tile.r_zero_point = out_.r_zero;
  tile.add_zero_point = out_.sum_zero;
  tile.add_qmin = out_.sum_range.qmin;
  tile.add_qmax = out_.sum_range.qmax;
  tile.out = !direct_                    ? GemmS8Out::kS32
             : out_.dtype == DType::kF32 ? GemmS8Out::kF32
             : out_.residual             ? GemmS8Out::kS8Add
             : out_.gemmlowp             ? GemmS8Out::kS8Gemmlowp
                                         : GemmS8Out::kS8;
  return tile;
}

GemmS8Tile PackedGemmS8::EpilogueAt(int64_t column) const noexcept {
  GemmS8Tile tile = Epilogue();
  tile.multiplier = multiplier_.data() + column;
  tile.bias_f32 = bias_f32_.data() + column;
  if (tile.out == GemmS8Out::kS8Gemmlowp) {
    tile.gemmlowp = gemmlowp_multipliers_.From(column, out_.range.qmin < out_.y_zero);
  }
  return tile;
}

void PackedGemmS8::Run(const IndirectionBuffer& rows, int64_t first, int64_t last, void* y,
                       int64_t y_stride, const int8_t* residual,
                       int64_t residual_stride) const noexcept {
  if (rows.m == 0) return;
  GemmS8Tile tile = Epilogue();
  tile.segments = rows.segments;
  tile.segment_count = static_cast<int32_t>(segments_);
  tile.segment_steps = steps_;
  tile.signs = rows.signs;
  tile.residual_stride = residual_stride;
  const size_t y_size = SizeOf(out_.dtype);
  int32_t acc[kMaxTile];
  if (dynamic_ && direct_) {
    tile.sums_factor = -kernel_.packed_value(rows.dynamic->zero_point);
    tile.scale = rows.dynamic->scale;
  }
  const bool many = direct_ && kernel_.many_tiles;
  int nv = 0, least = 0;
  int64_t tiles = 0, larger = 0;
  GemmS8TileFn fn = nullptr, larger_fn = nullptr;
  for (int64_t b = first; b < last; ++b) {
    const Block& block = blocks_[b];
    tile.w = (rows.w != nullptr ? rows.w : w_.data()) + block.at;
    tile.bias = (rows.bias != nullptr ? rows.bias : bias_.data()) + block.column;
    tile.multiplier = multiplier_.data() + block.column;
    tile.bias_f32 = bias_f32_.data() + block.column;
    if (tile.out == GemmS8Out::kS8Gemmlowp)
      tile.gemmlowp = gemmlowp_multipliers_.From(block.column, out_.range.qmin < out_.y_zero);
    if (dynamic_ && direct_) tile.sums = column_sums_.data() + block.column;
    tile.n = block.n;
    tile.excess = excess_.steps.data() + block.excess;
    tile.excess_w = excess_.weights.data() + block.excess_at;
    tile.excess_steps = block.excess_steps;
    if (block.nv != nv) {
      // Tiles of about as many rows each, the first ones a row larger.
      nv = block.nv;
      tiles = CeilDiv(rows.m, kernel_.max_mr[nv]);
      least = static_cast<int>(rows.m / tiles);
      larger = rows.m % tiles;
      fn = kernel_.tile(nv, least);
      larger_fn = larger > 0 ? kernel_.tile(nv, least + 1) : fn;
    }
    for (int64_t t = 0, m = 0; t < tiles; t += tile.tiles) {
      const bool is_larger = t < larger;
      const int mr = is_larger ? least + 1 : least;
      const GemmS8TileFn multiply = is_larger ? larger_fn : fn;
      tile.tiles = many ? static_cast<int32_t>((is_larger ? larger : tiles) - t) : 1;
      tile.rows = rows.address + m;
      if (AddsRows()) tile.row_add = rows.sums + m;
      uint8_t* out = static_cast<uint8_t*>(y) + (m * y_stride + block.column) * y_size;
      if (residual != nullptr) tile.residual = residual + m * residual_stride + block.column;
      if (direct_) {
        tile.y = out;
        tile.y_stride = y_stride;
        multiply(tile);
      } else {
        tile.y = acc;
        tile.y_stride = block.n;
        multiply(tile);
        tile.y_stride = y_stride;
        ScalarEpilogue(tile, block, mr, acc, rows, m, out);
      }
      m += mr * tile.tiles;
    }
  }
}

// The epilogue in its general form: weight zero points, multipliers too large for the kernels'
// conversions, parameters known only now.
void PackedGemmS8::ScalarEpilogue(const GemmS8Tile& tile, const Block& block, int mr,
                                  const int32_t* acc, const IndirectionBuffer& rows, int64_t m,
                                  void* y) const noexcept {
  const DynamicS8* dynamic = dynamic_ ? rows.dynamic : nullptr;
  const int32_t x0 = dynamic != nullptr ? kernel_.packed_value(dynamic->zero_point) : x0_;
  const int32_t* sums = CorrectsRows() ? rows.sums + (AddsRows() ? rows.m : 0) + m : nullptr;
  int32_t values[kMaxColumns];
  int8_t codes[kMaxColumns];
  for (int r = 0; r < mr; ++r) {
    for (int32_t c = 0; c < block.n; ++c) {
      const int64_t column = block.column + c;
      int64_t a = acc[static_cast<int64_t>(r) * block.n + c];
      if (dynamic != nullptr) a -= static_cast<int64_t>(x0) * column_sums_[column];
      if (sums != nullptr) a -= static_cast<int64_t>(PerColumn(out_.weight_zero, column)) * sums[r];
      values[c] = Wrap(a);
    }
    if (out_.dtype == DType::kF32) {
      float* to = static_cast<float*>(y) + r * tile.y_stride;
      for (int32_t c = 0; c < block.n; ++c) {
        const float scale = dynamic != nullptr ? dynamic->scale * scale_[block.column + c]
                                               : scale_[block.column + c];
        const float v = static_cast<float>(values[c]) * scale + tile.bias_f32[c];
        const float low = v < out_.fmin ? out_.fmin : v;
        to[c] = low > out_.fmax ? out_.fmax : low;
      }
      continue;
    }
    int8_t* to = static_cast<int8_t*>(y) + r * tile.y_stride;
    if (out_.gemmlowp) {
      vector_.requantize_s32_gemmlowp(values, codes, block.n, mantissa_.data() + block.column,
                                      exponent_.data() + block.column,
                                      {out_.y_zero, out_.range.qmin, out_.range.qmax});
    } else {
      for (int32_t c = 0; c < block.n; ++c) {
        codes[c] = static_cast<int8_t>(RequantizeRneF32(
            values[c], scale_[block.column + c], out_.y_zero, out_.range.qmin, out_.range.qmax));
      }
    }
    if (out_.residual) {
      const int8_t* residual = tile.residual + r * tile.residual_stride;
      for (int32_t c = 0; c < block.n; ++c) {
        const float p = static_cast<float>(codes[c] - out_.y_zero) * out_.lhs_scale;
        const float s = static_cast<float>(residual[c] - out_.r_zero) * out_.rhs_scale;
        codes[c] = static_cast<int8_t>(
            RoundClamp(p + s, out_.sum_zero, out_.sum_range.qmin, out_.sum_range.qmax));
      }
    }
    std::memcpy(to, codes, static_cast<size_t>(block.n));
  }
}

}  // namespace bitlite
