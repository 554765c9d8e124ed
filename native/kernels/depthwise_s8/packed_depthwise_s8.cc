#include "packed_depthwise_s8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace bitlite {

PackedDepthwiseS8::PackedDepthwiseS8(const DepthwiseS8Kernel& kernel, const VectorS8Kernel& vector,
                                     const ConvGeometry& g, const RequantEpilogue& out,
                                     const TensorSpec& w, int32_t x_zero)
    : kernel_(kernel),
      vector_(vector),
      g_(g),
      out_(out),
      blocks_(CeilDiv(g.out_channels, kernel.block)),
      image_w_((g.out[kAxisW] - 1) * g.stride[kAxisW] +
               (g.kernel[kAxisW] - 1) * g.dilation[kAxisW] + 1),
      pixel_bytes_(kernel.block * kernel.rows * (kernel.lhs_packing == LhsPacking::kS16 ? 2 : 1)),
      padding_(kernel.rows == 2                        ? 0
               : kernel.lhs_packing == LhsPacking::kU8 ? x_zero + 128
                                                       : x_zero),
      by_columns_(kernel.groups_columns_of_3 && g.kernel[kAxisH] == 3 && g.kernel[kAxisW] == 3 &&
                  g.dilation[kAxisH] == 1 && g.dilation[kAxisW] == 1 && g.stride[kAxisW] <= 2) {
  const int block = kernel.block;
  for (int i = 0; i < block; ++i) {
    columns_[i] = static_cast<uint8_t>(kernel.column(i));
    in_order_ &= columns_[i] == i;
  }
  for (int row = 0; row < kernel.rows; ++row) taps_[row] = TapsOf(row);
  block_weight_bytes_ = std::max(taps_[0].order.size(), taps_[1].order.size()) * block *
                        (kernel.wide_weights ? 2 : 1);
  w_.Reset(blocks_ * kernel.rows * block_weight_bytes_);
  bias_.Reset(blocks_ * block);
  scale_.Reset(blocks_ * block);
  bias_f32_.Reset(blocks_ * block);
  direct_ = !gives_float();
  if (out.gemmlowp) {
    mantissa_.resize(blocks_ * block);
    exponent_.resize(blocks_ * block);
    gemmlowp_multipliers_.Reset(static_cast<size_t>(blocks_ * block));
  }
  const uint8_t* weights = static_cast<const uint8_t*>(w.data);
  const uint8_t flip = w.dtype == DType::kU8 ? 0x80 : 0;
  const int64_t tail = g.out_channels % block;
  if (g.out_channels == g.channels && tail > 0) {
    while (2 * parts_ <= kernel.max_parts && tail * 2 * parts_ <= block &&
           g.out[kAxisH] >= 2 * parts_) {
      parts_ *= 2;
    }
  }
  Pack(weights, flip);
  if (!direct_ && parts_ > 1) {
    parts_ = 1;
    Pack(weights, flip);
  }
}

DepthwiseS8Row PackedDepthwiseS8::Epilogue() const noexcept {
  DepthwiseS8Row row{};
  row.taps = taps_[0].offsets.data();
  row.groups = taps_[0].groups;
  row.zero_point = out_.y_zero;
  row.qmin = out_.range.qmin;
  row.qmax = out_.range.qmax;
  return row;
}

void PackedDepthwiseS8::SetBlock(int64_t b, DepthwiseS8Row* row) const noexcept {
  const int64_t channel = b * kernel_.block;
  row->w = w_.data() + b * kernel_.rows * block_weight_bytes_;
  row->bias = bias_.data() + channel;
  row->multiplier = scale_.data() + channel;
  if (out_.gemmlowp) {
    row->gemmlowp =
        gemmlowp_multipliers_.From(static_cast<size_t>(channel), out_.range.qmin < out_.y_zero);
  }
  row->parts = b == blocks_ - 1 ? parts_ : 1;
}

int32_t PackedDepthwiseS8::TapOffset(int64_t line, int64_t kx) const {
  const int64_t offset = (line * image_w_ + kx * g_.dilation[kAxisW]) * pixel_bytes_;
  Require(offset < INT32_MAX, "the padded image is too large");
  return static_cast<int32_t>(offset);
}

// Of outputs that begin on that row of a line.
PackedDepthwiseS8::Taps PackedDepthwiseS8::TapsOf(int64_t row) const {
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
      taps.lines.push_back(static_cast<int32_t>(taps.offsets.size()));
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
    taps.lines.push_back(static_cast<int32_t>(taps.offsets.size()));
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
void PackedDepthwiseS8::Pack(const uint8_t* weights, uint8_t flip) {
  const int block = kernel_.block, group = kernel_.group;
  const int64_t elements = g_.kernel[kAxisH] * g_.kernel[kAxisW];
  std::memset(w_.data(), 0, w_.size());
  for (int64_t p = 0; p < blocks_ * block; ++p) {
    const int64_t at = p % block, b = p / block;
    int64_t channel = kernel_.column(static_cast<int>(at));
    if (b == blocks_ - 1) channel %= block / parts_;
    const int64_t o = b * block + channel;
    bias_[p] = 0;
    scale_[p] = bias_f32_[p] = 0;
    if (out_.gemmlowp) SetGemmlowp(p, {0, 0});
    if (o >= g_.out_channels) continue;
    const int32_t zero = out_.weight_zero.empty() ? 0 : PerColumn(out_.weight_zero, o);
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
    bias_[p] = Wrap(bias - padding_ * sum);
    if (gives_float()) {
      scale_[p] = static_cast<float>(PerColumn(out_.acc_scale, o));
      if (!out_.bias_f32.empty()) bias_f32_[p] = out_.bias_f32[o];
      continue;
    }
    const double m = PerColumn(out_.acc_scale, o) /
                     (out_.gemmlowp ? static_cast<float>(out_.y_scale) : out_.y_scale);
    scale_[p] = static_cast<float>(m);
    const double bound = std::abs(static_cast<double>(bias)) + 65025.0 * elements;
    if (out_.gemmlowp) {
      const GemmlowpMultiplier gemmlowp = QuantizeMultiplier(m);
      SetGemmlowp(p, gemmlowp);
      direct_ &= FitsGemmlowp(bound, gemmlowp);
    } else {
      direct_ &= FitsInt32(bound, scale_[p]);
    }
  }
}

void PackedDepthwiseS8::SetGemmlowp(int64_t p, GemmlowpMultiplier m) {
  mantissa_[p] = m.mantissa;
  exponent_[p] = m.exponent;
  gemmlowp_multipliers_.Set(static_cast<size_t>(p), ColumnOf(m));
}

// Accumulators of a row to outputs, where the kernel does not do it.
void PackedDepthwiseS8::ScalarEpilogue(const DepthwiseS8Row& row, int64_t channel,
                                       int8_t* y) const noexcept {
  const int block = kernel_.block;
  int8_t codes[kMaxDepthwiseBlock];
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
    int8_t ordered[kMaxDepthwiseBlock];
    for (int i = 0; i < block; ++i) ordered[columns_[i]] = codes[i];
    std::memcpy(y + o * g_.out_channels, ordered, static_cast<size_t>(row.n));
  }
}

void PackedDepthwiseS8::FloatEpilogue(const DepthwiseS8Row& row, int64_t channel,
                                      float* y) const noexcept {
  const int block = kernel_.block;
  constexpr int kLanes = 16;  // divides every block; a fixed count of a loop becomes vectors
  const float* bias = bias_f32_.data() + channel;
  const float low = out_.fmin, high = out_.fmax;
  for (int64_t o = 0; o < row.outputs; ++o, y += g_.out_channels) {
    const int32_t* acc = row.acc + o * block;
    float values[kMaxDepthwiseBlock];
    for (int first = 0; first < block; first += kLanes) {
      for (int i = first; i < first + kLanes; ++i) {
        const float v = static_cast<float>(acc[i]) * row.multiplier[i] + bias[i];
        values[i] = std::min(std::max(v, low), high);
      }
    }
    if (in_order_) {
      std::memcpy(y, values, static_cast<size_t>(row.n) * sizeof(float));
      continue;
    }
    for (int i = 0; i < block; ++i) {
      if (columns_[i] < row.n) y[columns_[i]] = values[i];
    }
  }
}

}  // namespace bitlite
