// conv with group == channels on int8, any kernel, stride and dilation, with a channel multiplier.
// A work item is a band of output rows of some blocks of channels; its padded input is copied plane
// by plane, which stays in the cache.
#include <algorithm>
#include <cstring>

#include "kernels/common/kernels.h"
#include "kernels/gemm_s8/packed_gemm_s8.h"
#include "kernels/gemm_s8/spatial_s8.h"

namespace bitlite {
namespace {

constexpr int64_t kPlaneBytes = 128 * 1024;
constexpr int kMaxBlock = 64;

struct Taps {
  std::vector<int64_t> order;    // by tap of a group: which kernel element, or -1
  std::vector<int32_t> offsets;  // as DepthwiseS8Row::taps
  int32_t groups = 0;
};

class DepthwiseS8 final : public Step {
 public:
  DepthwiseS8(PlanContext& plan, const ConvGeometry& g, const RequantEpilogue& out);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;

 private:
  Taps TapsOf(int64_t row) const;
  int32_t TapOffset(int64_t line, int64_t kx) const;
  void SetFixed(int64_t p, GemmlowpMultiplier m);
  void Pack(const uint8_t* weights, uint8_t flip);
  void RunParts(const StepArgs& args, DepthwiseS8Row row, int64_t n, int64_t first,
                int64_t last) const noexcept;
  void CallRow(const DepthwiseS8Row& row) const noexcept;
  void CopyPlane(const int8_t* x, int64_t first_row, int64_t rows, int64_t channel, int n,
                 uint8_t* plane) const noexcept;
  void CopyPairs(const int8_t* x, int64_t first_row, int64_t rows, int64_t channel, int n,
                 uint8_t* plane) const noexcept;
  void ScalarEpilogue(const DepthwiseS8Row& row, int64_t channel, int8_t* y) const noexcept;

  const DepthwiseS8Kernel& kernel_;
  ConvGeometry g_;
  RequantEpilogue out_;
  int64_t multiplier_;  // output channels of an input channel
  bool direct_, by_columns_;
  int32_t padding_;      // zero point in the kernel's form
  int64_t image_w_;      // columns of a plane
  int64_t pixel_bytes_;  // of a block of a column of a line
  int64_t blocks_, chunks_, bands_, band_rows_;
  // The last block, when it is narrow, holds so many rows side by side, `block / parts_` lanes
  // each.
  int parts_ = 1;
  size_t plane_bytes_;
  Taps taps_[2];  // of outputs that begin on the first and on the second row of a line
  size_t block_weight_bytes_;
  Aligned<uint8_t> w_;
  Aligned<int32_t> bias_;
  Aligned<float> scale_;  // multipliers, packed
  // Of gemmlowp, packed: what the general form takes, and the kernel's.
  std::vector<int32_t> mantissa_, exponent_;
  PackedGemmlowpMultipliers gemmlowp_multipliers_;
  uint8_t columns_[kMaxBlock];  // channel at a position
  const VectorS8Kernel& vector_;
};

// Weights with zero points need more than int8.
const DepthwiseS8Kernel& Select(IsaMask isa, bool wide_weights) {
  if (wide_weights) isa &= kIsaAvx2 | kIsaNeon;
  return SelectKernel<depthwise_s8>(isa).fn();
}

template <typename T>
T At(const std::vector<T>& v, int64_t i) {
  return v[v.size() == 1 ? 0 : static_cast<size_t>(i)];
}

DepthwiseS8::DepthwiseS8(PlanContext& plan, const ConvGeometry& g, const RequantEpilogue& out)
    : kernel_(Select(plan.isa, !out.weight_zero.empty())),
      g_(g),
      out_(out),
      multiplier_(g.out_channels / g.channels),
      direct_(true),
      vector_(SelectVectorS8(plan.isa)) {
  const TensorSpec& w = plan.In(1);
  const int32_t x_zero = ZeroPointOf(plan.In(0));
  const int block = kernel_.block;
  padding_ = kernel_.lhs_packing == LhsPacking::kU8 ? x_zero + 128 : x_zero;
  pixel_bytes_ = block * kernel_.rows * (kernel_.lhs_packing == LhsPacking::kS16 ? 2 : 1);
  image_w_ =
      (g.out[kAxisW] - 1) * g.stride[kAxisW] + (g.kernel[kAxisW] - 1) * g.dilation[kAxisW] + 1;
  blocks_ = CeilDiv(g.out_channels, block);
  by_columns_ = kernel_.groups_columns_of_3 && g.kernel[kAxisH] == 3 && g.kernel[kAxisW] == 3 &&
                g.dilation[kAxisH] == 1 && g.dilation[kAxisW] == 1 && g.stride[kAxisW] <= 2;

  for (int i = 0; i < block; ++i) columns_[i] = static_cast<uint8_t>(kernel_.column(i));

  for (int row = 0; row < kernel_.rows; ++row) taps_[row] = TapsOf(row);

  const size_t weight_size = kernel_.wide_weights ? 2 : 1;
  block_weight_bytes_ =
      std::max(taps_[0].order.size(), taps_[1].order.size()) * block * weight_size;
  w_.Reset(blocks_ * kernel_.rows * block_weight_bytes_);
  bias_.Reset(blocks_ * block);
  scale_.Reset(blocks_ * block);
  if (out.gemmlowp) {
    mantissa_.resize(blocks_ * block);
    exponent_.resize(blocks_ * block);
    gemmlowp_multipliers_.Reset(static_cast<size_t>(blocks_ * block));
  }
  const uint8_t* weights = static_cast<const uint8_t*>(w.data);
  const uint8_t flip = w.dtype == DType::kU8 ? 0x80 : 0;
  const int64_t tail = g.out_channels % block;
  if (direct_ && multiplier_ == 1 && tail > 0) {
    while (2 * parts_ <= kernel_.max_parts && tail * 2 * parts_ <= block &&
           g.out[kAxisH] >= 2 * parts_) {
      parts_ *= 2;
    }
  }
  Pack(weights, flip);
  if (!direct_ && parts_ > 1) {
    parts_ = 1;
    Pack(weights, flip);
  }

  const int64_t line_bytes =
      std::max<int64_t>(1, g.stride[kAxisH] * image_w_ * pixel_bytes_ / kernel_.rows);
  bands_ = CeilDiv(g.out[kAxisH], std::max<int64_t>(2, kPlaneBytes / line_bytes));
  chunks_ = 1;
  cost_ns = static_cast<double>(g.batch * g.out[kAxisH] * g.out[kAxisW] * g.out_channels) *
            (kernel_.output_ns +
             kernel_.tap_ns * static_cast<double>(g.kernel[kAxisH] * g.kernel[kAxisW]));
  if (plan.threads > 1) {
    const int64_t items = g.batch * bands_;
    const int64_t parts = ItemsWanted(cost_ns, plan.threads);
    if (items % parts != 0) {
      if (blocks_ % parts == 0 || blocks_ >= 4 * parts) {
        chunks_ = parts;
      } else {
        bands_ = CeilDiv(CeilDiv(items, parts) * parts, std::max<int64_t>(1, g.batch));
      }
    }
  }
  band_rows_ = std::max<int64_t>(1, CeilDiv(g.out[kAxisH], std::max<int64_t>(1, bands_)));
  bands_ = CeilDiv(g.out[kAxisH], band_rows_);
  phases = {g.batch * bands_ * chunks_};
  const int64_t rows =
      (band_rows_ - 1) * g.stride[kAxisH] + (g.kernel[kAxisH] - 1) * g.dilation[kAxisH] + 1;
  plane_bytes_ = static_cast<size_t>(CeilDiv(rows, kernel_.rows) * image_w_ * pixel_bytes_);
  // The last column of 3 that a row prefetches stays within the plane; loads never pass its end.
  thread_scratch = CeilDiv(plane_bytes_ + kSlackS8, 64) * 64;
  if (!direct_) thread_scratch += static_cast<size_t>(g.out[kAxisW] * block) * sizeof(int32_t);
}

int32_t DepthwiseS8::TapOffset(int64_t line, int64_t kx) const {
  const int64_t offset = (line * image_w_ + kx * g_.dilation[kAxisW]) * pixel_bytes_;
  Require(offset < INT32_MAX, "the padded image is too large");
  return static_cast<int32_t>(offset);
}

// Of outputs that begin on that row of a line.
Taps DepthwiseS8::TapsOf(int64_t row) const {
  Taps taps;
  const auto add = [&](int64_t ky, int64_t kx, bool inside) {
    taps.order.push_back(inside ? ky * g_.kernel[kAxisW] + kx : -1);
    if (kernel_.rows == 1) {
      taps.offsets.push_back(inside ? TapOffset(ky * g_.dilation[kAxisH], kx) : 0);
    }
  };
  if (kernel_.rows == 2) {
    const int64_t last = (row + (g_.kernel[kAxisH] - 1) * g_.dilation[kAxisH]) / 2;
    for (int64_t line = 0; line <= last; ++line) {
      // The kernel rows that lie on the two rows of this line, where there are any.
      int64_t ky[2];
      for (int64_t i = 0; i < 2; ++i) {
        const int64_t at = 2 * line + i - row;
        const bool inside = at >= 0 && at % g_.dilation[kAxisH] == 0 &&
                            at / g_.dilation[kAxisH] < g_.kernel[kAxisH];
        ky[i] = inside ? at / g_.dilation[kAxisH] : -1;
      }
      if (ky[0] < 0 && ky[1] < 0) continue;
      for (int64_t kx = 0; kx < g_.kernel[kAxisW]; ++kx) {
        taps.offsets.push_back(TapOffset(line, kx));
        for (int64_t y : ky) add(y, kx, y >= 0);
      }
    }
  } else if (by_columns_) {
    for (int64_t kx = 0; kx < 3; ++kx) {
      for (int64_t ky = 0; ky < 4; ++ky) add(ky, kx, ky < 3);
    }
  } else {
    const int64_t elements = g_.kernel[kAxisH] * g_.kernel[kAxisW];
    for (int64_t e = 0; e < CeilDiv(elements, kernel_.group) * kernel_.group; ++e) {
      add(e / g_.kernel[kAxisW], e % g_.kernel[kAxisW], e < elements);
    }
  }
  taps.groups = static_cast<int32_t>(taps.order.size()) / kernel_.group;
  return taps;
}

// Weights, biases and multipliers in the kernel's order; whether its epilogue can do it.
void DepthwiseS8::Pack(const uint8_t* weights, uint8_t flip) {
  const int block = kernel_.block, group = kernel_.group;
  const int64_t elements = g_.kernel[kAxisH] * g_.kernel[kAxisW];
  std::memset(w_.data(), 0, w_.size());
  for (int64_t p = 0; p < blocks_ * block; ++p) {
    const int64_t at = p % block, b = p / block;
    int64_t channel = kernel_.column(static_cast<int>(at));
    if (b == blocks_ - 1) channel %= block / parts_;
    const int64_t o = b * block + channel;
    bias_[p] = 0;
    scale_[p] = 0;
    if (out_.gemmlowp) SetFixed(p, {0, 0});
    if (o >= g_.out_channels) continue;
    const int32_t zero = out_.weight_zero.empty() ? 0 : At(out_.weight_zero, o);
    const auto weight = [&](int64_t e) {
      return static_cast<int8_t>(weights[o * elements + e] ^ flip) - zero;
    };
    int64_t sum = 0;
    for (int64_t e = 0; e < elements; ++e) sum += weight(e);
    for (int row = 0; row < kernel_.rows; ++row) {
      const std::vector<int64_t>& order = taps_[row].order;
      uint8_t* base = w_.data() + (b * kernel_.rows + row) * block_weight_bytes_;
      for (size_t t = 0; t < order.size(); ++t) {
        if (order[t] < 0) continue;
        const size_t index = (t / group * block + at) * group + t % group;
        if (kernel_.wide_weights) {
          reinterpret_cast<int16_t*>(base)[index] = static_cast<int16_t>(weight(order[t]));
        } else {
          base[index] = static_cast<uint8_t>(weight(order[t]));
        }
      }
    }
    const int64_t bias = out_.bias.empty() ? 0 : out_.bias[o];
    bias_[p] = static_cast<int32_t>(static_cast<uint32_t>(bias - padding_ * sum));
    const double m =
        At(out_.acc_scale, o) / (out_.gemmlowp ? static_cast<float>(out_.y_scale) : out_.y_scale);
    scale_[p] = static_cast<float>(m);
    const double bound = std::abs(static_cast<double>(bias)) + 65025.0 * elements;
    if (out_.gemmlowp) {
      const GemmlowpMultiplier gemmlowp = QuantizeMultiplier(m);
      SetFixed(p, gemmlowp);
      direct_ &= FitsGemmlowp(bound, gemmlowp);
    } else {
      direct_ &= FitsInt32(bound, scale_[p]);
    }
  }
}

void DepthwiseS8::SetFixed(int64_t p, GemmlowpMultiplier m) {
  mantissa_[p] = m.mantissa;
  exponent_[p] = m.exponent;
  gemmlowp_multipliers_.Set(static_cast<size_t>(p), ColumnOf(m));
}

// Channels [channel, channel + n) of the outputs' input rows, padded.
void DepthwiseS8::CopyPlane(const int8_t* x, int64_t first_row, int64_t rows, int64_t channel,
                            int n, uint8_t* plane) const noexcept {
  if (kernel_.rows == 2) return CopyPairs(x, first_row, rows, channel, n, plane);
  const int64_t left = std::min(g_.pad[kAxisW], image_w_);
  const int64_t inside = std::max<int64_t>(0, std::min(g_.in[kAxisW], image_w_ - left));
  const int64_t right = image_w_ - left - inside;
  const PaddingS8 padding(padding_, kernel_.lhs_packing == LhsPacking::kS16);
  const int64_t block = kernel_.block;
  for (int64_t r = 0; r < rows; ++r, plane += image_w_ * pixel_bytes_) {
    const int64_t ih = first_row + r;
    if (ih < 0 || ih >= g_.in[kAxisH]) {
      padding.Fill(plane, image_w_ * block);
      continue;
    }
    padding.Fill(plane, left * block);
    uint8_t* dst = plane + left * pixel_bytes_;
    const int8_t* src = x + ih * g_.in[kAxisW] * g_.channels;
    if (multiplier_ == 1) {
      kernel_.load(dst, src + channel, g_.channels, inside, n);
    } else {
      for (int64_t i = 0; i < inside; ++i, dst += pixel_bytes_, src += g_.channels) {
        int8_t repeated[kMaxBlock];
        for (int c = 0; c < n; ++c) repeated[c] = src[(channel + c) / multiplier_];
        kernel_.load(dst, repeated, 0, 1, n);
      }
    }
    padding.Fill(plane + (left + inside) * pixel_bytes_, right * block);
  }
}

// The same in lines of two rows.
void DepthwiseS8::CopyPairs(const int8_t* x, int64_t first_row, int64_t rows, int64_t channel,
                            int n, uint8_t* plane) const noexcept {
  const int64_t left = std::min(g_.pad[kAxisW], image_w_);
  const int64_t inside = std::max<int64_t>(0, std::min(g_.in[kAxisW], image_w_ - left));
  const int64_t right = image_w_ - left - inside;
  const PaddingS8 padding(padding_, kernel_.lhs_packing == LhsPacking::kS16);
  const int64_t block = 2 * kernel_.block;
  const auto row_of = [&](int64_t r) {
    return r < 0 || r >= g_.in[kAxisH] ? nullptr : x + r * g_.in[kAxisW] * g_.channels;
  };
  for (int64_t r = first_row; r < first_row + rows; r += 2, plane += image_w_ * pixel_bytes_) {
    const int8_t *first = row_of(r), *second = row_of(r + 1);
    padding.Fill(plane, left * block);
    uint8_t* dst = plane + left * pixel_bytes_;
    if (multiplier_ == 1) {
      kernel_.load_pair(dst, first == nullptr ? nullptr : first + channel,
                        second == nullptr ? nullptr : second + channel, g_.channels, inside, n,
                        padding_);
    } else {
      int8_t repeated[2][kMaxBlock];
      for (int64_t i = 0; i < inside; ++i, dst += pixel_bytes_) {
        for (int c = 0; c < n; ++c) {
          const int64_t at = i * g_.channels + (channel + c) / multiplier_;
          repeated[0][c] = first == nullptr ? 0 : first[at];
          repeated[1][c] = second == nullptr ? 0 : second[at];
        }
        kernel_.load_pair(dst, first == nullptr ? nullptr : repeated[0],
                          second == nullptr ? nullptr : repeated[1], 0, 1, n, padding_);
      }
    }
    padding.Fill(plane + (left + inside) * pixel_bytes_, right * block);
  }
}

// Accumulators of a row to outputs, where the kernel does not do it.
void DepthwiseS8::ScalarEpilogue(const DepthwiseS8Row& row, int64_t channel,
                                 int8_t* y) const noexcept {
  const int block = kernel_.block;
  int8_t codes[kMaxBlock];
  for (int64_t o = 0; o < row.outputs; ++o) {
    const int32_t* acc = row.acc + o * block;
    if (out_.gemmlowp) {
      vector_.requantize_s32_gemmlowp(acc, codes, block, mantissa_.data() + channel,
                                      exponent_.data() + channel,
                                      {out_.y_zero, out_.range.qmin, out_.range.qmax});
    } else {
      for (int i = 0; i < block; ++i) {
        codes[i] = static_cast<int8_t>(RequantizeRneF32(acc[i], row.multiplier[i], out_.y_zero,
                                                        out_.range.qmin, out_.range.qmax));
      }
    }
    int8_t ordered[kMaxBlock];
    for (int i = 0; i < block; ++i) ordered[columns_[i]] = codes[i];
    std::memcpy(y + o * g_.out_channels, ordered, static_cast<size_t>(row.n));
  }
}

void DepthwiseS8::CallRow(const DepthwiseS8Row& row) const noexcept {
  if (by_columns_) {
    kernel_.row3x3(row, static_cast<int>(g_.stride[kAxisW]));
  } else {
    kernel_.row(row);
  }
}

// Output rows [first, last) of the narrow last block: a plane holds parts_ groups of them side by
// side.
void DepthwiseS8::RunParts(const StepArgs& args, DepthwiseS8Row row, int64_t n, int64_t first,
                           int64_t last) const noexcept {
  const int64_t channel = (blocks_ - 1) * kernel_.block, lanes = kernel_.block / parts_;
  const int64_t rows = CeilDiv(last - first, parts_);  // of a part
  const int64_t plane_rows =
      (rows - 1) * g_.stride[kAxisH] + (g_.kernel[kAxisH] - 1) * g_.dilation[kAxisH] + 1;
  const int64_t left = std::min(g_.pad[kAxisW], image_w_);
  const int64_t inside = std::max<int64_t>(0, std::min(g_.in[kAxisW], image_w_ - left));
  const int8_t* x = args.In<int8_t>(0) + n * g_.in[kAxisH] * g_.in[kAxisW] * g_.channels + channel;
  uint8_t* plane = args.thread_scratch;
  PaddingS8(padding_, kernel_.lhs_packing == LhsPacking::kS16)
      .Fill(plane, plane_rows * image_w_ * kernel_.block);
  for (int part = 0; part < parts_; ++part) {
    const int64_t top = (first + part * rows) * g_.stride[kAxisH] - g_.pad[kAxisH];
    for (int64_t r = std::max<int64_t>(0, -top); r < std::min(plane_rows, g_.in[kAxisH] - top);
         ++r) {
      kernel_.load_part(plane + (r * image_w_ + left) * pixel_bytes_ + part * lanes,
                        x + (top + r) * g_.in[kAxisW] * g_.channels, g_.channels, inside, row.n);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    row.x = plane + r * g_.stride[kAxisH] * row.x_row;
    for (int part = 0; part < parts_; ++part) {
      const int64_t oh = first + part * rows + r;
      row.y[part] =
          oh >= last ? nullptr
                     : args.Out<int8_t>(0) +
                           ((n * g_.out[kAxisH] + oh) * g_.out[kAxisW]) * g_.out_channels + channel;
    }
    CallRow(row);
  }
}

void DepthwiseS8::Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept {
  const int block = kernel_.block;
  DepthwiseS8Row row{};
  row.taps = taps_[0].offsets.data();
  row.groups = taps_[0].groups;
  row.x_step = g_.stride[kAxisW] * pixel_bytes_;
  row.x_row = image_w_ * pixel_bytes_;
  row.outputs = g_.out[kAxisW];
  row.zero_point = out_.y_zero;
  row.qmin = out_.range.qmin;
  row.qmax = out_.range.qmax;
  row.y_step = g_.out_channels;
  uint8_t* plane = args.thread_scratch;
  if (!direct_) {
    row.acc = reinterpret_cast<int32_t*>(plane + CeilDiv(plane_bytes_ + kSlackS8, 64) * 64);
  }
  for (int64_t item = begin; item < end; ++item) {
    const int64_t chunk = item % chunks_, band = item / chunks_ % bands_;
    const int64_t n = item / chunks_ / bands_;
    const int64_t first = band * band_rows_, last = std::min(g_.out[kAxisH], first + band_rows_);
    const int8_t* x = args.In<int8_t>(0) + n * g_.in[kAxisH] * g_.in[kAxisW] * g_.channels;
    for (int64_t b = blocks_ * chunk / chunks_; b < blocks_ * (chunk + 1) / chunks_; ++b) {
      const int64_t channel = b * block;
      row.n = static_cast<int32_t>(std::min<int64_t>(block, g_.out_channels - channel));
      const uint8_t* w = w_.data() + b * kernel_.rows * block_weight_bytes_;
      row.w = w;
      row.bias = bias_.data() + channel;
      row.multiplier = scale_.data() + channel;
      if (out_.gemmlowp) {
        row.gemmlowp =
            gemmlowp_multipliers_.From(static_cast<size_t>(channel), out_.range.qmin < out_.y_zero);
      }
      row.parts = b == blocks_ - 1 ? parts_ : 1;
      if (row.parts > 1) {
        RunParts(args, row, n, first, last);
        continue;
      }
      CopyPlane(x, first * g_.stride[kAxisH] - g_.pad[kAxisH],
                (last - first - 1) * g_.stride[kAxisH] +
                    (g_.kernel[kAxisH] - 1) * g_.dilation[kAxisH] + 1,
                channel, row.n, plane);
      for (int64_t oh = first; oh < last; ++oh) {
        const int64_t top = (oh - first) * g_.stride[kAxisH], in_line = top % kernel_.rows;
        row.x = plane + top / kernel_.rows * row.x_row;
        row.taps = taps_[in_line].offsets.data();
        row.groups = taps_[in_line].groups;
        row.w = w + in_line * block_weight_bytes_;
        int8_t* y = args.Out<int8_t>(0) +
                    ((n * g_.out[kAxisH] + oh) * g_.out[kAxisW]) * g_.out_channels + channel;
        row.y[0] = direct_ ? y : nullptr;
        CallRow(row);
        if (!direct_) ScalarEpilogue(row, channel, y);
      }
    }
  }
}

}  // namespace

std::unique_ptr<Step> MakeDepthwiseS8(const StepSpec& spec, PlanContext& plan) {
  const ConvGeometry g = ConvGeometryOf(spec, plan);
  Require(g.depthwise(), "not depthwise");
  Require(plan.In(0).dtype == DType::kI8 && plan.Out(0).dtype == DType::kI8,
          "input and output are not int8");
  Require(!plan.Has(3), "depthwise with residual");
  spec.Ignore("dynamic");
  const RequantEpilogue out = RequantEpilogueOf(spec, plan, g.out_channels, 0, -1);
  if (plan.check_only) return nullptr;
  return std::make_unique<DepthwiseS8>(plan, g, out);
}

}  // namespace bitlite
