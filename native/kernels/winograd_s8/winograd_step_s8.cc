// 3x3 convolutions by Winograd's algorithm: a band of windows is transformed, every point of it
// multiplied with its weights for a block of output channels, and transformed back. The band fits
// the cache.
#include "winograd_step_s8.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "winograd_s8.h"

namespace bitlite {
namespace {

constexpr int64_t kBandBytes = 192 * 1024;
constexpr int64_t kBlock = WinogradS8::kChannels;

int64_t Blocks(int64_t channels) { return CeilDiv(channels, kBlock); }

class WinogradStepS8 final : public Step {
 public:
  WinogradStepS8(const PlanContext& plan, const ConvGeometry& g, const RequantEpilogue& out,
                 PackedGemmS8 layer);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;

 private:
  void Pack(const TensorSpec& w);
  void CopyBand(const int8_t* x, int64_t first_row, int8_t* image) const noexcept;
  void Transform(const int8_t* image, int64_t lines, int16_t* v) const noexcept;
  void Outputs(const StepArgs& args, const int32_t* m, int64_t n, int64_t line, int64_t lines,
               int64_t block) const noexcept;

  const WinogradS8& kernel_;
  ConvGeometry g_;
  PackedGemmS8 layer_;
  int32_t zero_point_;
  int64_t channels_;                     // of the input, in whole blocks
  int64_t lines_, across_;               // windows of an image: lines of so many
  int64_t band_lines_, bands_, chunks_;  // chunks: parts of the output channels
  int64_t image_w_;                      // pixels of the padded band
  int64_t band_windows_;
  size_t image_bytes_, v_bytes_;
  Aligned<int16_t> u_;  // [block of output channels][point][input channel / 2][column][2]
  Aligned<int32_t> bias_;
};

WinogradStepS8::WinogradStepS8(const PlanContext& plan, const ConvGeometry& g,
                               const RequantEpilogue& out, PackedGemmS8 layer)
    : kernel_(*SelectGemmS8(plan.isa).winograd),
      g_(g),
      layer_(std::move(layer)),
      zero_point_(ZeroPointOf(plan.In(0))),
      channels_(Blocks(g.channels) * kBlock),
      lines_(CeilDiv(g.out[kAxisH], kWinogradOut)),
      across_(CeilDiv(g.out[kAxisW], kWinogradOut)),
      image_w_(across_ * kWinogradOut + kWinogradIn - kWinogradOut) {
  const int64_t window_bytes = kWinogradPoints * (2 * channels_ + 4 * kBlock);
  band_lines_ = std::clamp<int64_t>(kBandBytes / (window_bytes * across_), 1, lines_);
  chunks_ = 1;
  const double products = static_cast<double>(g.batch * lines_ * across_ * kWinogradPoints) *
                          static_cast<double>(channels_ * Blocks(g.out_channels) * kBlock);
  cost_ns = products / SelectGemmS8(plan.isa).macs_per_ns;
  if (const int64_t parts = ItemsWanted(cost_ns, plan.threads); parts > 1) {
    const int64_t wanted = CeilDiv(CeilDiv(g.batch * lines_, band_lines_), parts) * parts;
    if (g.batch * lines_ >= 2 * wanted) {
      band_lines_ = std::min(band_lines_, CeilDiv(g.batch * lines_, wanted));
    } else if (g.batch * CeilDiv(lines_, band_lines_) < plan.threads) {
      chunks_ = std::min<int64_t>(Blocks(g.out_channels), plan.threads);
    }
  }
  bands_ = CeilDiv(lines_, band_lines_);
  band_windows_ = band_lines_ * across_;
  phases = {g.batch * bands_ * chunks_};

  const auto lines_of_64 = [](int64_t bytes) {
    return static_cast<size_t>(CeilDiv(bytes, 64)) * 64;
  };
  const int64_t image_rows = band_lines_ * kWinogradOut + kWinogradIn - kWinogradOut;
  image_bytes_ = lines_of_64(image_rows * image_w_ * g.channels + kSlackS8);
  v_bytes_ = lines_of_64(kWinogradPoints * band_windows_ * channels_ * 2);
  thread_scratch = image_bytes_ + v_bytes_ +
                   static_cast<size_t>(kWinogradPoints * band_windows_ * kBlock) * sizeof(int32_t);
  if (out.residual) in_place = 1u << 3;

  Pack(plan.In(1));
  bias_.Reset(static_cast<size_t>(Blocks(g.out_channels) * kBlock));
  std::memset(bias_.data(), 0, bias_.size() * sizeof(int32_t));
  std::copy(out.bias.begin(), out.bias.end(), bias_.data());
}

// G w G^T of every pair of channels.
void WinogradStepS8::Pack(const TensorSpec& w) {
  const uint8_t* weights = static_cast<const uint8_t*>(w.data);
  const uint8_t flip = w.dtype == DType::kU8 ? 0x80 : 0;
  const int64_t point_step = channels_ * kBlock;
  u_.Reset(static_cast<size_t>(Blocks(g_.out_channels) * kWinogradPoints * point_step));
  std::memset(u_.data(), 0, u_.size() * sizeof(int16_t));
  for (int64_t o = 0; o < g_.out_channels; ++o) {
    for (int64_t c = 0; c < g_.channels; ++c) {
      int half[kWinogradIn][3];  // [point row][kernel column]
      for (int i = 0; i < kWinogradIn; ++i) {
        for (int kx = 0; kx < 3; ++kx) {
          half[i][kx] = 0;
          for (int ky = 0; ky < 3; ++ky) {
            const uint8_t code = weights[((o * 3 + ky) * 3 + kx) * g_.channels + c];
            half[i][kx] += kWinogradG[i][ky] * static_cast<int8_t>(code ^ flip);
          }
        }
      }
      int16_t* to = u_.data() + o / kBlock * kWinogradPoints * point_step + c / 2 * 2 * kBlock +
                    o % kBlock * 2 + c % 2;
      for (const auto& line : half) {
        for (const int* row : kWinogradG) {
          *to = static_cast<int16_t>(line[0] * row[0] + line[1] * row[1] + line[2] * row[2]);
          to += point_step;
        }
      }
    }
  }
}

// Rows [first_row, …) of an image, which may lie outside, with the zero point around them.
void WinogradStepS8::CopyBand(const int8_t* x, int64_t first_row, int8_t* image) const noexcept {
  const int64_t rows = band_lines_ * kWinogradOut + kWinogradIn - kWinogradOut;
  const size_t left = static_cast<size_t>(g_.pad[kAxisW] * g_.channels);
  const size_t inside =
      static_cast<size_t>(std::min(g_.in[kAxisW], image_w_ - g_.pad[kAxisW]) * g_.channels);
  const size_t line = static_cast<size_t>(image_w_ * g_.channels);
  for (int64_t r = 0; r < rows; ++r, image += line) {
    const int64_t row = first_row + r;
    if (row < 0 || row >= g_.in[kAxisH]) {
      std::memset(image, zero_point_, line);
      continue;
    }
    std::memset(image, zero_point_, left);
    std::memcpy(image + left, x + row * g_.in[kAxisW] * g_.channels, inside);
    std::memset(image + left + inside, zero_point_, line - left - inside);
  }
}

void WinogradStepS8::Transform(const int8_t* image, int64_t lines, int16_t* v) const noexcept {
  const int64_t row = image_w_ * g_.channels;
  for (int64_t line = 0; line < lines; ++line) {
    for (int64_t i = 0; i < across_; ++i, v += channels_) {
      kernel_.input(image + (line * row + i * g_.channels) * kWinogradOut, row, g_.channels,
                    channels_, zero_point_, v, band_windows_ * channels_);
    }
  }
}

void WinogradStepS8::Outputs(const StepArgs& args, const int32_t* m, int64_t n, int64_t line,
                             int64_t lines, int64_t block) const noexcept {
  const int64_t column = block * kBlock, row = g_.out[kAxisW] * g_.out_channels;
  const int64_t y_size = static_cast<int64_t>(layer_.output_bytes());
  GemmS8Tile tile = layer_.EpilogueAt(column);
  tile.bias = bias_.data() + column;
  tile.n = static_cast<int32_t>(std::min<int64_t>(kBlock, g_.out_channels - column));
  tile.y_stride = tile.residual_stride = g_.out_channels;
  for (int64_t end = line + lines; line < end; ++line) {
    const int rows = static_cast<int>(std::min<int64_t>(4, g_.out[kAxisH] - line * kWinogradOut));
    for (int64_t i = 0; i < across_; ++i, m += kWinogradPoints * kBlock) {
      const int columns = static_cast<int>(std::min<int64_t>(4, g_.out[kAxisW] - i * kWinogradOut));
      const int64_t at =
          ((n * g_.out[kAxisH] + line * kWinogradOut) * g_.out[kAxisW] + i * kWinogradOut) *
              g_.out_channels +
          column;
      tile.y = static_cast<uint8_t*>(args.out[0]) + at * y_size;
      if (tile.out == GemmS8Out::kS8Add) tile.residual = args.In<int8_t>(3) + at;
      kernel_.output(m, tile, rows, columns, row, row);
    }
  }
}

void WinogradStepS8::Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept {
  int8_t* image = reinterpret_cast<int8_t*>(args.thread_scratch);
  int16_t* v = reinterpret_cast<int16_t*>(args.thread_scratch + image_bytes_);
  int32_t* m = reinterpret_cast<int32_t*>(args.thread_scratch + image_bytes_ + v_bytes_);
  const int64_t blocks = Blocks(g_.out_channels);
  int64_t transformed = -1;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t chunk = item % chunks_, place = item / chunks_;
    const int64_t n = place / bands_, line = place % bands_ * band_lines_;
    const int64_t lines = std::min(band_lines_, lines_ - line);
    if (transformed != place) {
      CopyBand(args.In<int8_t>(0) + n * g_.in[kAxisH] * g_.in[kAxisW] * g_.channels,
               line * kWinogradOut - g_.pad[kAxisH], image);
      Transform(image, lines, v);
      transformed = place;
    }
    for (int64_t b = blocks * chunk / chunks_; b < blocks * (chunk + 1) / chunks_; ++b) {
      const int16_t* u = u_.data() + b * kWinogradPoints * channels_ * kBlock;
      for (int64_t p = 0; p < kWinogradPoints; ++p) {
        kernel_.product(v + p * band_windows_ * channels_, lines * across_, channels_ / 2,
                        u + p * channels_ * kBlock, m + p * kBlock, kWinogradPoints * kBlock);
      }
      Outputs(args, m, n, line, lines, b);
    }
  }
}

// Whether 36 products for each window, whole or not, are less work than 9 for each output.
bool Worthwhile(const ConvGeometry& g) {
  constexpr int64_t kFewestChannels = 8;
  const int64_t windows =
      CeilDiv(g.out[kAxisH], kWinogradOut) * CeilDiv(g.out[kAxisW], kWinogradOut);
  return g.channels >= kFewestChannels && g.out_channels >= kFewestChannels &&
         kWinogradPoints * windows * 3 <= 9 * g.out[kAxisH] * g.out[kAxisW] * 2;
}

// Of any column, however the activations are: of |x - zero_point| <= 255.
int64_t LargestSum(const TensorSpec& w, int64_t columns) {
  const uint8_t* weights = static_cast<const uint8_t*>(w.data);
  const uint8_t flip = w.dtype == DType::kU8 ? 0x80 : 0;
  const int64_t length = w.count / columns;
  int64_t largest = 0;
  for (int64_t o = 0; o < columns; ++o) {
    int64_t sum = 0;
    for (int64_t i = 0; i < length; ++i) {
      sum += std::abs(static_cast<int8_t>(weights[o * length + i] ^ flip));
    }
    largest = std::max(largest, sum);
  }
  return 255 * largest;
}

}  // namespace

std::unique_ptr<Step> MakeWinogradS8(const PlanContext& plan, const ConvGeometry& g,
                                     const RequantEpilogue& out) {
  const GemmS8Kernel& kernel = SelectGemmS8(plan.isa);
  const bool fits = plan.In(0).dtype == DType::kI8 && g.kernel[kAxisH] == 3 &&
                    g.kernel[kAxisW] == 3 && g.stride[kAxisH] == 1 && g.stride[kAxisW] == 1 &&
                    g.dilation[kAxisH] == 1 && g.dilation[kAxisW] == 1 && g.group == 1 &&
                    out.weight_zero.empty();
  if (kernel.winograd == nullptr || !fits || !Worthwhile(g)) return nullptr;
  if (LargestSum(plan.In(1), g.out_channels) > kWinogradMaxSum) return nullptr;
  PackedGemmS8::Options options;
  options.computed = true;  // the weights are packed here
  PackedGemmS8 layer(kernel, SelectVectorS8(plan.isa),
                     {nullptr, g.out_channels, 3, 3 * g.channels, 9 * g.channels, 1}, out, 0,
                     options);
  if (!layer.direct()) return nullptr;
  return std::make_unique<WinogradStepS8>(plan, g, out, std::move(layer));
}

}  // namespace bitlite
