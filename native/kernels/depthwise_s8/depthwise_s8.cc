// conv with group == channels on int8, any kernel, stride and dilation, with a channel multiplier,
// to int8 or float32.
// A work item is a band of output rows of some blocks of channels; its padded input is copied plane
// by plane, which stays in the cache.
#include <algorithm>
#include <cstring>

#include "kernels/common/gemmlowp_s8.h"
#include "kernels/common/kernels.h"
#include "kernels/common/tail_step.h"
#include "packed_depthwise_s8.h"
#include "requant.h"

namespace bitlite {
namespace {

// The reference, for any CPU.
namespace scalar {

constexpr int kBlock = 16;

int Column(int i) { return i; }

void Row(const DepthwiseS8Row& t) {
  const int16_t* weights = static_cast<const int16_t*>(t.w);
  const uint8_t* x = t.x;
  for (int64_t o = 0; o < t.outputs; ++o, x += t.x_step) {
    uint32_t acc[kBlock];
    std::memcpy(acc, t.bias, sizeof(acc));
    for (int k = 0; k < t.groups; ++k) {
      const int8_t* in = reinterpret_cast<const int8_t*>(x + t.taps[k]);
      const int16_t* w = weights + k * kBlock;
      for (int c = 0; c < kBlock; ++c) acc[c] += static_cast<uint32_t>(in[c] * w[c]);
    }
    if (t.acc != nullptr) {
      std::memcpy(t.acc + o * kBlock, acc, sizeof(acc));
      continue;
    }
    for (int c = 0; c < t.n && t.gemmlowp.mantissa != nullptr; ++c) {
      t.y[0][o * t.y_step + c] = static_cast<int8_t>(RequantizeGemmlowp(
          static_cast<int32_t>(acc[c]), MultiplierAt(t.gemmlowp, c), t.zero_point, t.qmin, t.qmax));
    }
    for (int c = 0; c < t.n && t.gemmlowp.mantissa == nullptr; ++c) {
      t.y[0][o * t.y_step + c] = static_cast<int8_t>(RequantizeRneF32(
          static_cast<int32_t>(acc[c]), t.multiplier[c], t.zero_point, t.qmin, t.qmax));
    }
  }
}

void Load(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n) {
  for (int64_t i = 0; i < pixels; ++i, dst += kBlock, src += src_step) {
    std::memcpy(dst, src, static_cast<size_t>(n));
    std::memset(dst + n, 0, static_cast<size_t>(kBlock - n));
  }
}

}  // namespace scalar

// Of the second level of cache: a plane, and several that are filled together.
constexpr int64_t kPlaneBytes = 128 * 1024, kPlanesBytes = 2 * kPlaneBytes;
// Of the first level: half of it, a plane or what several planes are copied from at a time.
constexpr int64_t kNearBytes = 16 * 1024;
// Blocks of the smallest kernel in a line of the cache; output rows of a band that are worth it.
constexpr int64_t kTogether = 4, kFewestRows = 4;

class DepthwiseS8 final : public RunsStep {
 public:
  DepthwiseS8(PlanContext& plan, const ConvGeometry& g, const RequantEpilogue& out);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;
  Elements Written(int64_t item) const noexcept override;

 private:
  void RunParts(const StepArgs& args, DepthwiseS8Row row, int64_t n, int64_t first,
                int64_t last) const noexcept;
  void RunRows(const StepArgs& args, DepthwiseS8Row& row, int64_t n, int64_t b, int64_t first,
               int64_t last) const noexcept;
  void CallRow(const DepthwiseS8Row& row) const noexcept;
  void CopyPlane(const int8_t* x, int64_t first_row, int64_t rows, int64_t channel, int n,
                 uint8_t* plane) const noexcept;
  void CopyPairs(const int8_t* x, int64_t first_row, int64_t rows, int64_t channel, int n,
                 uint8_t* plane) const noexcept;

  const DepthwiseS8Kernel& kernel_;
  const ConvGeometry g_;
  const PackedDepthwiseS8 packed_;
  const int64_t multiplier_;        // output channels of an input channel
  const int32_t x_zero_, padding_;  // zero point, and in the kernel's form
  const int64_t image_w_;           // columns of a plane
  const int64_t pixel_bytes_;       // of a block of a column of a line
  int64_t chunks_, bands_, band_rows_;
  // Blocks whose input is copied together, so many rows of each at a time.
  int64_t together_ = 1, copied_rows_ = INT64_MAX / 4;
  size_t plane_stride_;
};

// Weights with zero points need more than int8.
const DepthwiseS8Kernel& Select(IsaMask isa, bool wide_weights) {
  if (wide_weights) isa &= kIsaAvx2 | kIsaNeon;
  return SelectKernel<depthwise_s8>(isa).fn();
}

DepthwiseS8::DepthwiseS8(PlanContext& plan, const ConvGeometry& g, const RequantEpilogue& out)
    : kernel_(Select(plan.isa, !out.weight_zero.empty())),
      g_(g),
      packed_(kernel_, SelectVectorS8(plan.isa), g, out, plan.In(1), ZeroPointOf(plan.In(0))),
      multiplier_(g.out_channels / g.channels),
      x_zero_(ZeroPointOf(plan.In(0))),
      padding_(packed_.padding()),
      image_w_(packed_.image_w()),
      pixel_bytes_(packed_.pixel_bytes()) {
  const int64_t blocks = packed_.blocks();
  const int64_t line_bytes =
      std::max<int64_t>(1, g.stride[kAxisH] * image_w_ * pixel_bytes_ / kernel_.rows);
  // What several blocks have of a line of the cache would be gone before the next one reads it.
  if (kernel_.rows == 2 && line_bytes * g.out[kAxisH] > kNearBytes) {
    together_ = std::min<int64_t>(kTogether, blocks);
    while (together_ > 1 && kPlanesBytes / together_ < kFewestRows * line_bytes) --together_;
  }
  const int64_t plane_bytes = std::min(kPlaneBytes, kPlanesBytes / together_);
  bands_ = CeilDiv(g.out[kAxisH], std::max<int64_t>(2, plane_bytes / line_bytes));
  chunks_ = 1;
  cost_ns = static_cast<double>(g.batch * g.out[kAxisH] * g.out[kAxisW] * g.out_channels) *
            (kernel_.output_ns +
             kernel_.tap_ns * static_cast<double>(g.kernel[kAxisH] * g.kernel[kAxisW]));
  if (plan.threads > 1) {
    const int64_t items = g.batch * bands_;
    const int64_t parts = ItemsWanted(cost_ns, plan.threads);
    if (items % parts != 0) {
      if (blocks % parts == 0 || blocks >= 4 * parts) {
        chunks_ = parts;
      } else {
        bands_ = CeilDiv(CeilDiv(items, parts) * parts, std::max<int64_t>(1, g.batch));
      }
    }
  }
  band_rows_ = std::max<int64_t>(1, CeilDiv(g.out[kAxisH], std::max<int64_t>(1, bands_)));
  bands_ = CeilDiv(g.out[kAxisH], band_rows_);
  phases = {g.batch * bands_ * chunks_};
  writes_runs = chunks_ == 1;
  const int64_t rows =
      (band_rows_ - 1) * g.stride[kAxisH] + (g.kernel[kAxisH] - 1) * g.dilation[kAxisH] + 1;
  // The last column of 3 that a row prefetches stays within the plane; loads never pass its end.
  const int64_t read = CeilDiv(rows, kernel_.rows) * image_w_ * pixel_bytes_ + kSlackS8;
  plane_stride_ = static_cast<size_t>(CeilDiv(read, 64) * 64);
  if (together_ > 1) {
    const int64_t row_bytes = together_ * kernel_.block * std::max<int64_t>(1, g.in[kAxisW]);
    copied_rows_ = std::max<int64_t>(2, kNearBytes / row_bytes / 2 * 2);
  }
  thread_scratch = together_ * plane_stride_;
  if (!packed_.direct())
    thread_scratch += static_cast<size_t>(g.out[kAxisW] * kernel_.block) * sizeof(int32_t);
}

Elements DepthwiseS8::Written(int64_t item) const noexcept {
  const int64_t line = g_.out[kAxisW] * g_.out_channels, lines = g_.out[kAxisH];
  const int64_t first = item % bands_ * band_rows_, last = std::min(lines, first + band_rows_);
  return {(item / bands_ * lines + first) * line, (last - first) * line};
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
        int8_t repeated[kMaxDepthwiseBlock];
        for (int c = 0; c < n; ++c) repeated[c] = src[(channel + c) / multiplier_];
        kernel_.load(dst, repeated, 0, 1, n);
      }
    }
    padding.Fill(plane + (left + inside) * pixel_bytes_, right * block);
  }
}

// The same in lines of two rows, but for lines outside, which are not read.
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
    if (first == nullptr && second == nullptr) continue;
    padding.Fill(plane, left * block);
    uint8_t* dst = plane + left * pixel_bytes_;
    if (multiplier_ == 1) {
      kernel_.load_pair(dst, first == nullptr ? nullptr : first + channel,
                        second == nullptr ? nullptr : second + channel, g_.channels, inside, n,
                        x_zero_);
    } else {
      int8_t repeated[2][kMaxDepthwiseBlock];
      for (int64_t i = 0; i < inside; ++i, dst += pixel_bytes_) {
        for (int c = 0; c < n; ++c) {
          const int64_t at = i * g_.channels + (channel + c) / multiplier_;
          repeated[0][c] = first == nullptr ? 0 : first[at];
          repeated[1][c] = second == nullptr ? 0 : second[at];
        }
        kernel_.load_pair(dst, first == nullptr ? nullptr : repeated[0],
                          second == nullptr ? nullptr : repeated[1], 0, 1, n, x_zero_);
      }
    }
    padding.Fill(plane + (left + inside) * pixel_bytes_, right * block);
  }
}

void DepthwiseS8::CallRow(const DepthwiseS8Row& row) const noexcept {
  if (packed_.by_columns()) {
    kernel_.row3x3(row, static_cast<int>(g_.stride[kAxisW]));
  } else {
    kernel_.row(row);
  }
}

// Output rows [first, last) of the narrow last block: a plane holds parts_ groups of them side by
// side.
void DepthwiseS8::RunParts(const StepArgs& args, DepthwiseS8Row row, int64_t n, int64_t first,
                           int64_t last) const noexcept {
  const int parts = packed_.parts();
  const int64_t channel = (packed_.blocks() - 1) * kernel_.block, lanes = kernel_.block / parts;
  const int64_t rows = CeilDiv(last - first, parts);  // of a part
  const int64_t plane_rows =
      (rows - 1) * g_.stride[kAxisH] + (g_.kernel[kAxisH] - 1) * g_.dilation[kAxisH] + 1;
  const int64_t left = std::min(g_.pad[kAxisW], image_w_);
  const int64_t inside = std::max<int64_t>(0, std::min(g_.in[kAxisW], image_w_ - left));
  const int8_t* x = args.In<int8_t>(0) + n * g_.in[kAxisH] * g_.in[kAxisW] * g_.channels + channel;
  uint8_t* plane = args.thread_scratch;
  PaddingS8(padding_, kernel_.lhs_packing == LhsPacking::kS16)
      .Fill(plane, plane_rows * image_w_ * kernel_.block);
  for (int part = 0; part < parts; ++part) {
    const int64_t top = (first + part * rows) * g_.stride[kAxisH] - g_.pad[kAxisH];
    for (int64_t r = std::max<int64_t>(0, -top); r < std::min(plane_rows, g_.in[kAxisH] - top);
         ++r) {
      kernel_.load_part(plane + (r * image_w_ + left) * pixel_bytes_ + part * lanes,
                        x + (top + r) * g_.in[kAxisW] * g_.channels, g_.channels, inside, row.n);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    row.x = plane + r * g_.stride[kAxisH] * row.x_row;
    for (int part = 0; part < parts; ++part) {
      const int64_t oh = first + part * rows + r;
      row.y[part] =
          oh >= last ? nullptr
                     : args.Out<int8_t>(0) +
                           ((n * g_.out[kAxisH] + oh) * g_.out[kAxisW]) * g_.out_channels + channel;
    }
    CallRow(row);
  }
}

// Output rows [first, last) of image n and block b, whose input is in row.x.
void DepthwiseS8::RunRows(const StepArgs& args, DepthwiseS8Row& row, int64_t n, int64_t b,
                          int64_t first, int64_t last) const noexcept {
  const int64_t channel = b * kernel_.block;
  const uint8_t* plane = row.x;
  packed_.SetTaps(b, 0, &row);
  for (int64_t oh = first; oh < last; ++oh) {
    int64_t line = (oh - first) * g_.stride[kAxisH];
    if (kernel_.rows == 2) {
      // Of the lines from the row's first, those with a row of the image.
      const int64_t in_line = line % 2, start = oh * g_.stride[kAxisH] - g_.pad[kAxisH] - in_line;
      packed_.SetLines(b, in_line, std::max<int64_t>(0, -start / 2),
                       std::max<int64_t>(0, CeilDiv(g_.in[kAxisH] - start, 2)), &row);
      line /= 2;
    }
    row.x = plane + line * row.x_row;
    const int64_t at = ((n * g_.out[kAxisH] + oh) * g_.out[kAxisW]) * g_.out_channels + channel;
    row.y[0] = packed_.direct() ? args.Out<int8_t>(0) + at : nullptr;
    CallRow(row);
    if (packed_.gives_float()) {
      packed_.FloatEpilogue(row, channel, args.Out<float>(0) + at);
    } else if (!packed_.direct()) {
      packed_.ScalarEpilogue(row, channel, args.Out<int8_t>(0) + at);
    }
  }
}

void DepthwiseS8::Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept {
  const int64_t block = kernel_.block, blocks = packed_.blocks();
  DepthwiseS8Row row = packed_.Epilogue();
  row.x_step = g_.stride[kAxisW] * pixel_bytes_;
  row.x_row = image_w_ * pixel_bytes_;
  row.outputs = g_.out[kAxisW];
  row.y_step = g_.out_channels;
  uint8_t* planes = args.thread_scratch;
  if (!packed_.direct()) row.acc = reinterpret_cast<int32_t*>(planes + together_ * plane_stride_);
  const auto set_block = [&](int64_t b) {
    row.n = static_cast<int32_t>(std::min<int64_t>(block, g_.out_channels - b * block));
    packed_.SetBlock(b, &row);
  };
  for (int64_t item = begin; item < end; ++item) {
    const int64_t chunk = item % chunks_, band = item / chunks_ % bands_;
    const int64_t n = item / chunks_ / bands_;
    const int64_t first = band * band_rows_, last = std::min(g_.out[kAxisH], first + band_rows_);
    const int64_t top = first * g_.stride[kAxisH] - g_.pad[kAxisH];
    const int64_t rows =
        (last - first - 1) * g_.stride[kAxisH] + (g_.kernel[kAxisH] - 1) * g_.dilation[kAxisH] + 1;
    const int8_t* x = args.In<int8_t>(0) + n * g_.in[kAxisH] * g_.in[kAxisW] * g_.channels;
    const int64_t last_block = blocks * (chunk + 1) / chunks_;
    for (int64_t b = blocks * chunk / chunks_; b < last_block; b += together_) {
      const int64_t end_block = std::min(last_block, b + together_);
      if (packed_.parts() > 1 && b == blocks - 1) {
        set_block(b);
        RunParts(args, row, n, first, last);
        continue;
      }
      // Some rows at a time, so that what the blocks have of a line of the cache is read once.
      for (int64_t r = 0; r < rows; r += copied_rows_) {
        for (int64_t c = b; c < end_block; ++c) {
          const int64_t channel = c * block;
          CopyPlane(x, top + r, std::min(copied_rows_, rows - r), channel,
                    static_cast<int>(std::min(block, g_.out_channels - channel)),
                    planes + (c - b) * plane_stride_ + r / kernel_.rows * row.x_row);
        }
      }
      for (int64_t c = b; c < end_block; ++c) {
        set_block(c);
        row.x = planes + (c - b) * plane_stride_;
        RunRows(args, row, n, c, first, last);
      }
    }
  }
}

}  // namespace

const DepthwiseS8Kernel& depthwise_s8_scalar() {
  static constexpr DepthwiseS8Kernel kKernel = {
      scalar::kBlock, 1,           LhsPacking::kS8, true,         false,  1,
      scalar::Column, scalar::Row, nullptr,         scalar::Load, nullptr};
  return kKernel;
}

std::unique_ptr<Step> MakeDepthwiseS8(const StepSpec& spec, PlanContext& plan) {
  const ConvGeometry g = ConvGeometryOf(spec, plan);
  Require(g.depthwise(), "not depthwise");
  Require(plan.In(0).dtype == DType::kI8, "input is not int8");
  Require(!plan.Has(3), "depthwise with residual");
  spec.Ignore("dynamic");
  const RequantEpilogue out = RequantEpilogueOf(spec, plan, g.out_channels, 0, -1);
  if (plan.check_only) return nullptr;
  return std::make_unique<DepthwiseS8>(plan, g, out);
}

}  // namespace bitlite
