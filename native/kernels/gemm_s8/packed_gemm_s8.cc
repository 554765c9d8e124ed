#include "packed_gemm_s8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/common/kernels.h"

namespace bitlite {
namespace {

constexpr int kMaxTile = 1024;   // accumulators of the largest tile of any kernel
constexpr int kMaxColumns = 64;  // of the widest block

template <typename T>
std::vector<T> SliceOf(const std::vector<T>& v, int64_t begin, int64_t n) {
  if (v.size() < 2) return v;
  return std::vector<T>(v.begin() + begin, v.begin() + begin + n);
}

template <typename T>
T At(const std::vector<T>& v, int64_t i) {
  return v.size() == 1 ? v[0] : v[static_cast<size_t>(i)];
}

int32_t Wrap(int64_t v) { return static_cast<int32_t>(static_cast<uint32_t>(v)); }

// Columns of a block and their activations of a step, at most.
constexpr int kMaxWidth = 64, kMaxStep = 8;

// y[i * KSTEP + j] = rows[j][i]
template <int KSTEP>
void Interleave(const int8_t* const* rows, int n, int8_t* __restrict y) {
  const int8_t* row[KSTEP];
  for (int j = 0; j < KSTEP; ++j) row[j] = rows[j];
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < KSTEP; ++j) y[i * KSTEP + j] = row[j][i];
  }
}

using InterleaveFn = void (*)(const int8_t* const* rows, int n, int8_t* y);

InterleaveFn InterleaveOf(int kstep) {
  return kstep == 2   ? Interleave<2>
         : kstep == 4 ? Interleave<4>
         : kstep == 8 ? Interleave<8>
                      : Interleave<1>;
}

// Widths of the blocks for `vectors` vectors of columns: the widest have the cheapest epilogue.
std::vector<int> BlockWidths(int64_t vectors, int max_nv, int64_t min_blocks) {
  int nv = max_nv;
  while (nv > 1 && CeilDiv(vectors, nv) < min_blocks) --nv;
  std::vector<int> widths;
  for (; vectors > 0; vectors -= widths.back()) {
    widths.push_back(static_cast<int>(std::min<int64_t>(nv, vectors)));
  }
  return widths;
}

}  // namespace

const GemmS8Kernel& SelectGemmS8(IsaMask isa) { return SelectKernel<gemm_s8>(isa).fn(); }
const GemmS8Kernel& SelectGemvS8(IsaMask isa) { return SelectKernel<gemv_s8>(isa).fn(); }
const VectorS8Kernel& SelectVectorS8(IsaMask isa) { return SelectKernel<vector_s8>(isa).fn(); }

RequantEpilogue RequantEpilogue::Slice(int64_t begin, int64_t n) const {
  RequantEpilogue part = *this;
  part.acc_scale = SliceOf(acc_scale, begin, n);
  part.weight_zero = SliceOf(weight_zero, begin, n);
  if (!bias.empty()) part.bias.assign(bias.begin() + begin, bias.begin() + begin + n);
  if (!bias_f32.empty()) {
    part.bias_f32.assign(bias_f32.begin() + begin, bias_f32.begin() + begin + n);
  }
  return part;
}

RequantEpilogue RequantEpilogueOf(const StepSpec& spec, PlanContext& plan, int64_t channels,
                                  int axis, int residual_input) {
  const TensorSpec& w = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  const bool dynamic = plan.In(0).dtype == DType::kF32;
  RequantEpilogue out;
  out.dtype = y.dtype;
  out.gemmlowp = RoundsAsGemmlowp(spec);

  Require(w.quantized(), "weights have no quantization");
  if (w.scale.size() > 1 && w.axis != axis) Refuse("weights are quantized along another axis");
  const double sx = dynamic ? 1.0 : ScaleOf(plan.In(0));
  if (!dynamic) ZeroPointOf(plan.In(0));
  for (double sw : w.scale) {
    if (!(sw > 0) || !std::isfinite(sw)) Refuse(w.name + ": scale is not positive");
    out.acc_scale.push_back(out.gemmlowp ? GemmlowpScale(sx, sw, 1) : sx * sw);
  }
  const int64_t shift = w.dtype == DType::kU8 ? 128 : 0;
  bool any = false;
  for (int64_t z : w.zero_point) any |= z != shift;
  if (w.zero_point.empty() && shift != 0) any = true;
  if (any) {
    for (size_t i = 0; i < w.scale.size(); ++i) {
      const int64_t z = (w.zero_point.empty() ? 0 : At(w.zero_point, i)) - shift;
      if (z < -128 || z > 127) Refuse(w.name + ": zero point is not in the range of its type");
      out.weight_zero.push_back(static_cast<int32_t>(z));
    }
  }

  if (dynamic) RequireExactSums(w.count / channels, out.weight_zero.empty() ? 128 : 255);

  if (const TensorSpec* bias = plan.OptionalIn(2)) {
    if (!bias->constant || bias->count != channels)
      Refuse("bias is not a constant of one per channel");
    if (bias->dtype == DType::kI32 && !dynamic) {
      if (!plan.check_only) {
        out.bias.resize(channels);
        std::memcpy(out.bias.data(), bias->data, channels * sizeof(int32_t));
      }
    } else if (bias->dtype == DType::kF32 && y.dtype == DType::kF32) {
      if (!plan.check_only) {
        out.bias_f32.resize(channels);
        std::memcpy(out.bias_f32.data(), bias->data, channels * sizeof(float));
      }
    } else {
      Refuse(std::string("bias of type ") + NameOf(bias->dtype));
    }
  }

  const std::string act = spec.Str("act", "none");
  if (y.dtype == DType::kF32) {
    double low, high;
    ActBounds(act, &low, &high);
    out.fmin = static_cast<float>(low);
    out.fmax = static_cast<float>(high);
    Require(residual_input < 0 || !plan.Has(residual_input), "residual with float output");
    return out;
  }
  if (y.dtype != DType::kI8) Refuse(std::string("output of type ") + NameOf(y.dtype));
  if (residual_input < 0 || !plan.Has(residual_input)) {
    out.y_scale = ScaleOf(y);
    out.y_zero = ZeroPointOf(y);
    out.range = OutputRange(spec, y);
    return out;
  }
  const TensorSpec& r = plan.In(residual_input);
  Require(r.dtype == DType::kI8 && r.shape == y.shape, "residual differs from the output");
  out.residual = true;
  out.y_scale = spec.Float("mid_scale", 0);
  if (!(out.y_scale > 0) || !std::isfinite(out.y_scale)) Refuse("mid_scale is not positive");
  out.y_zero = static_cast<int32_t>(spec.Int("mid_zero_point", 0));
  Require(out.y_zero >= -128 && out.y_zero <= 127, "mid_zero_point is not int8");
  out.range = ActRange(act, out.y_scale, out.y_zero, DType::kI8);
  const double sum_scale = ScaleOf(y);
  out.lhs_scale = static_cast<float>(out.y_scale / sum_scale);
  out.rhs_scale = static_cast<float>(ScaleOf(r) / sum_scale);
  out.r_zero = ZeroPointOf(r);
  out.sum_zero = ZeroPointOf(y);
  out.sum_range = ActRange(spec.Str("add_act", "none"), sum_scale, out.sum_zero, DType::kI8);
  return out;
}

PackedGemmS8::PackedGemmS8(const GemmS8Kernel& kernel, const VectorS8Kernel& vector,
                           const Weights& weights, const RequantEpilogue& out, int32_t x_zero,
                           const Options& options)
    : kernel_(kernel),
      vector_(vector),
      out_(out),
      segments_(weights.segments),
      segment_length_(weights.segment_length),
      steps_(static_cast<int32_t>(CeilDiv(weights.segment_length, kernel.kstep))),
      x0_(kernel.packed_value(x_zero)),
      row_add_(out.weight_zero.size() == 1),
      dynamic_(options.dynamic) {
  const int64_t n = weights.columns;
  const int64_t length = segments_ * segment_length_;
  direct_ = (out.weight_zero.empty() || row_add_) && !(out.gemmlowp && out.residual);
  scale_.resize(n);
  if (out.gemmlowp) {
    mantissa_.resize(n);
    exponent_.resize(n);
  }
  for (int64_t o = 0; o < n; ++o) {
    const double acc_scale = At(out.acc_scale, o);
    if (out.dtype == DType::kF32) {
      scale_[o] = static_cast<float>(acc_scale);
      continue;
    }
    const double multiplier =
        acc_scale / (out.gemmlowp ? static_cast<float>(out.y_scale) : out.y_scale);
    scale_[o] = static_cast<float>(multiplier);
    const double bias = out.bias.empty() ? 0 : std::fabs(static_cast<double>(out.bias[o]));
    const double widest = out.weight_zero.empty() ? 128 : 255;
    const double bound = bias + 255 * widest * static_cast<double>(length);
    if (out.gemmlowp) {
      const GemmlowpMultiplier m = QuantizeMultiplier(multiplier);
      mantissa_[o] = m.mantissa;
      exponent_[o] = m.exponent;
      direct_ &= FitsGemmlowp(bound, m);
    } else {
      direct_ &= FitsInt32(bound, scale_[o]);
    }
  }
  if (out.residual) direct_ &= FitsInt32(256, out.lhs_scale) && FitsInt32(256, out.rhs_scale);

  int64_t column = 0, at = 0;
  for (int nv : BlockWidths(CeilDiv(n, kernel.lanes), kernel.max_nv, options.min_blocks)) {
    const int width = nv * kernel.lanes;
    blocks_.push_back({nv, static_cast<int32_t>(std::min<int64_t>(width, n - column)), column, at});
    column += width;
    // Blocks start on cache lines.
    at += CeilDiv(segments_ * steps_ * kernel.kstep * width, 64) * 64;
  }
  packed_columns_ = column;
  packed_bytes_ = static_cast<size_t>(at);
  multiplier_.Reset(column);
  bias_f32_.Reset(column);
  for (const Block& block : blocks_) {
    for (int i = 0; i < block.nv * kernel.lanes; ++i) {
      const int64_t o = ColumnAt(block, i);
      multiplier_[block.column + i] = o < n ? scale_[o] : 0.0f;
      bias_f32_[block.column + i] = o < n && !out.bias_f32.empty() ? out.bias_f32[o] : 0.0f;
    }
  }
  if (direct_ && out.gemmlowp) PackGemmlowp();
  if (options.computed) return;
  w_.Reset(packed_bytes_);
  bias_.Reset(column);
  for (int64_t b = 0; b < blocks(); ++b) PackBlock(weights, b, w_.data(), bias_.data());
  if (!dynamic_) return;
  column_sums_.resize(n);
  for (int64_t o = 0; o < n; ++o) column_sums_[o] = SumColumn(weights, o);
}

// The column that stands at position i of a block.
int64_t PackedGemmS8::ColumnAt(const Block& block, int i) const noexcept {
  const bool permuted = direct_ && out_.dtype == DType::kI8;
  return block.column + (permuted ? kernel_.column(block.nv, i) : i);
}

void PackedGemmS8::PackGemmlowp() {
  gemmlowp_multipliers_.Reset(static_cast<size_t>(packed_columns_));
  for (const Block& block : blocks_) {
    for (int i = 0; i < block.nv * kernel_.lanes; ++i) {
      const int64_t o = ColumnAt(block, i);
      if (o >= static_cast<int64_t>(mantissa_.size())) continue;
      gemmlowp_multipliers_.Set(static_cast<size_t>(block.column + i),
                                ColumnOf({mantissa_[o], exponent_[o]}));
    }
  }
}

int32_t PackedGemmS8::SumColumn(const Weights& weights, int64_t o) noexcept {
  const uint8_t* w = weights.data + o * weights.column_stride;
  const int64_t length = weights.segments * weights.segment_length;
  int64_t sum = 0;
  if (weights.stride == 1) {
    for (int64_t i = 0; i < length; ++i) sum += static_cast<int8_t>(w[i] ^ weights.flip);
  } else {
    for (int64_t i = 0; i < length; ++i) {
      sum += static_cast<int8_t>(w[i * weights.stride] ^ weights.flip);
    }
  }
  return Wrap(sum);
}

// Columns side by side, as those of a matrix that is not transposed: whole rows of them at a time.
void PackedGemmS8::PackRows(const Weights& weights, const Block& block, int8_t* packed,
                            int32_t* bias) const noexcept {
  static constexpr int8_t kZeros[kMaxWidth] = {};
  const int kstep = kernel_.kstep, width = block.nv * kernel_.lanes;
  const int8_t* w = reinterpret_cast<const int8_t*>(weights.data) + block.column;
  const InterleaveFn interleave = InterleaveOf(kstep);
  bool permuted = false;
  int64_t place[kMaxWidth];
  for (int i = 0; i < width; ++i) {
    place[i] = ColumnAt(block, i) - block.column;
    permuted |= place[i] != i;
  }
  int32_t sums[kMaxWidth] = {};
  vector_.sum_of_rows(w, weights.stride, segment_length_, block.n, sums, false);
  for (int i = 0; i < width; ++i) {
    const int64_t o = block.column + place[i];
    const bool given = !out_.bias.empty() && o < weights.columns;
    bias[block.column + i] = Wrap((given ? static_cast<int64_t>(out_.bias[o]) : 0) -
                                  static_cast<int64_t>(x0_) * sums[place[i]]);
  }
  int8_t line[kMaxWidth * kMaxStep] = {};
  for (int64_t k = 0; k < segment_length_; k += kstep, packed += width * kstep) {
    const int8_t* rows[kMaxStep];
    for (int j = 0; j < kstep; ++j) {
      rows[j] = k + j < segment_length_ ? w + (k + j) * weights.stride : kZeros;
    }
    interleave(rows, block.n, permuted ? line : packed);
    for (int i = 0; permuted && i < width; ++i) {
      std::memcpy(packed + i * kstep, line + place[i] * kstep, static_cast<size_t>(kstep));
    }
  }
}

void PackedGemmS8::PackBlock(const Weights& weights, int64_t b, int8_t* packed,
                             int32_t* bias) const noexcept {
  const Block& block = blocks_[b];
  const int kstep = kernel_.kstep, width = block.nv * kernel_.lanes;
  const int64_t step_bytes = static_cast<int64_t>(width) * kstep;
  packed += block.at;
  if (segment_length_ % kstep != 0 || block.n < width) {
    std::memset(packed, 0, static_cast<size_t>(segments_ * steps_ * step_bytes));
  }
  if (weights.column_stride == 1 && segments_ == 1 && weights.flip == 0 && !dynamic_) {
    return PackRows(weights, block, packed, bias);
  }
  for (int i = 0; i < width; ++i) {
    const int64_t o = ColumnAt(block, i);
    bias[block.column + i] = 0;
    if (o >= weights.columns) continue;
    if (!dynamic_) {
      // The activations' zero point adds a constant: it moves into the bias.
      bias[block.column + i] = Wrap((out_.bias.empty() ? 0 : static_cast<int64_t>(out_.bias[o])) -
                                    static_cast<int64_t>(x0_) * SumColumn(weights, o));
    }
    const uint8_t* w = weights.data + o * weights.column_stride;
    int8_t* dst = packed + static_cast<int64_t>(i) * kstep;
    for (int64_t s = 0; s < segments_; ++s) {
      int64_t k = 0;
      if (weights.stride == 1 && kstep == 4) {
        const uint32_t flip = weights.flip * 0x01010101u;
        for (; k + 4 <= segment_length_; k += 4, dst += step_bytes) {
          uint32_t four;
          std::memcpy(&four, w + k, 4);
          four ^= flip;
          std::memcpy(dst, &four, 4);
        }
      } else if (weights.stride == 1 && kstep == 2) {
        const uint16_t flip = static_cast<uint16_t>(weights.flip * 0x0101u);
        for (; k + 2 <= segment_length_; k += 2, dst += step_bytes) {
          uint16_t two;
          std::memcpy(&two, w + k, 2);
          two ^= flip;
          std::memcpy(dst, &two, 2);
        }
      }
      for (; k < segment_length_; k += kstep, dst += step_bytes) {
        const int64_t count = std::min<int64_t>(kstep, segment_length_ - k);
        for (int64_t j = 0; j < count; ++j) {
          dst[j] = static_cast<int8_t>(w[(k + j) * weights.stride] ^ weights.flip);
        }
      }
      w += segment_length_ * weights.stride;
    }
  }
}

int32_t PackedGemmS8::SumRow(const uint8_t* row, const int32_t* segments) const noexcept {
  int64_t sum = 0;
  for (int64_t s = 0; s < segments_; ++s) {
    const uint8_t* p = row + segments[s];
    switch (kernel_.lhs_packing) {
      case LhsPacking::kU8:
        for (int64_t i = 0; i < segment_length_; ++i) sum += p[i];
        break;
      case LhsPacking::kNibbles:
        for (int64_t i = 0; i < segment_length_; ++i) {
          const uint8_t* low = p + i / kernel_.kstep * 2 * kernel_.kstep + i % kernel_.kstep;
          sum += low[0] + 16 * low[kernel_.kstep];
        }
        break;
      case LhsPacking::kS8:
        for (int64_t i = 0; i < segment_length_; ++i) sum += static_cast<int8_t>(p[i]);
        break;
      case LhsPacking::kS16:
        for (int64_t i = 0; i < segment_length_; ++i) {
          int16_t v;
          std::memcpy(&v, p + 2 * i, sizeof(v));
          sum += v;
        }
        break;
    }
  }
  return Wrap(sum);
}

void PackedGemmS8::SumRows(const IndirectionBuffer& rows) const noexcept {
  // sum (x - x0) over the row, which the weights' zero points multiply.
  const int32_t x0 = rows.dynamic != nullptr ? kernel_.packed_value(rows.dynamic->zero_point) : x0_;
  const int64_t constant = x0 * segments_ * segment_length_;
  for (int64_t m = 0; m < rows.m; ++m) {
    const int64_t sum = SumRow(rows.address[m], rows.segments) - constant;
    rows.sums[m] = Wrap(row_add_ ? -static_cast<int64_t>(out_.weight_zero[0]) * sum : sum);
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
  tile.residual_stride = residual_stride;
  const size_t y_size = SizeOf(out_.dtype);
  int32_t acc[kMaxTile];
  int32_t dynamic_bias[kMaxColumns];
  float dynamic_multiplier[kMaxColumns];
  for (int64_t b = first; b < last; ++b) {
    const Block& block = blocks_[b];
    tile.w = (rows.w != nullptr ? rows.w : w_.data()) + block.at;
    tile.bias = (rows.bias != nullptr ? rows.bias : bias_.data()) + block.column;
    tile.multiplier = multiplier_.data() + block.column;
    tile.bias_f32 = bias_f32_.data() + block.column;
    if (tile.out == GemmS8Out::kS8Gemmlowp)
      tile.gemmlowp = gemmlowp_multipliers_.From(block.column, out_.range.qmin < out_.y_zero);
    if (dynamic_ && direct_) {
      const int64_t x0 = kernel_.packed_value(rows.dynamic->zero_point);
      for (int i = 0; i < block.nv * kernel_.lanes; ++i) {
        const int64_t o = block.column + i;
        dynamic_bias[i] = i < block.n ? Wrap(-x0 * column_sums_[o]) : 0;
        dynamic_multiplier[i] = i < block.n ? rows.dynamic->scale * scale_[o] : 0.0f;
      }
      tile.bias = dynamic_bias;
      tile.multiplier = dynamic_multiplier;
    }
    tile.n = block.n;
    const int64_t tiles = CeilDiv(rows.m, kernel_.max_mr[block.nv]);
    for (int64_t t = 0, m = 0; t < tiles; ++t) {
      const int64_t end = rows.m * (t + 1) / tiles;
      const int mr = static_cast<int>(end - m);
      tile.rows = rows.address + m;
      if (row_add_) tile.row_add = rows.sums + m;
      uint8_t* out = static_cast<uint8_t*>(y) + (m * y_stride + block.column) * y_size;
      if (residual != nullptr) tile.residual = residual + m * residual_stride + block.column;
      if (direct_) {
        tile.y = out;
        tile.y_stride = y_stride;
        kernel_.tile(block.nv, mr)(tile);
      } else {
        tile.y = acc;
        tile.y_stride = block.n;
        kernel_.tile(block.nv, mr)(tile);
        tile.y_stride = y_stride;
        ScalarEpilogue(tile, block, mr, acc, rows, m, out);
      }
      m = end;
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
  const bool correct_rows = needs_row_sums() && !row_add_;
  int32_t values[kMaxColumns];
  int8_t codes[kMaxColumns];
  for (int r = 0; r < mr; ++r) {
    for (int32_t c = 0; c < block.n; ++c) {
      const int64_t column = block.column + c;
      int64_t a = acc[static_cast<int64_t>(r) * block.n + c];
      if (dynamic != nullptr) a -= static_cast<int64_t>(x0) * column_sums_[column];
      if (correct_rows) {
        a -= static_cast<int64_t>(At(out_.weight_zero, column)) * rows.sums[m + r];
      }
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
